"""No map whose names people choose has one that pages cannot decode: `@msgpack/msgpack` throws at ``__proto__``."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from e2e.nodes import lively
from e2e.viewers import CHANGE, JSON, LIKE, MSGPACK, open_viewer

from engine.access import attributes_of
from engine.api.models.common import AuthorBody
from engine.api.spoken import BatchAuthor
from engine.errors import Code, Refused
from engine.hub.kinds import KINDS, value_after
from engine.node import open_node
from engine.schema import Author
from engine.tokens import mint

SECRET = "s" * 32
NAME = "__proto__"
EVIL = {"level": "7", NAME: "x"}


def test_attributes_are_cleaned_and_may_have_any_other_name() -> None:
    assert attributes_of({"proto": " a ", "constructor": "b", "__proto": "c"}) == {
        "proto": "a",
        "constructor": "b",
        "__proto": "c",
    }
    with pytest.raises(Refused, match=NAME) as refused:
        attributes_of(EVIL)
    assert refused.value.code is Code.INVALID


def test_no_token_is_made_with_one() -> None:
    with pytest.raises(ValueError, match=NAME):
        mint(SECRET, "anna", attributes=EVIL)


@pytest.mark.parametrize("body", [BatchAuthor("anna", attributes=EVIL), AuthorBody(id="anna", attributes=EVIL)])
def test_the_product_names_nobody_so(body: BatchAuthor | AuthorBody) -> None:
    with pytest.raises(Refused, match=NAME):
        body.author()


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("value", [{NAME: 1}, {"slow": {NAME: 1}}, {"author": {"id": "a", "name": "b", NAME: 1}}])
def test_no_state_holds_one(kind: str, value: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        value_after(KINDS[kind], value, {}, 1)
    assert refused.value.code is Code.INVALID


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
async def test_nothing_of_the_kind_reaches_a_page(codec: str) -> None:
    async with open_node(lively()) as node, open_viewer("websockets", node.url, codec) as viewer:
        refusal = await viewer.knock("room", attributes=EVIL)
        assert refusal is not None
        assert refusal.code == Code.INVALID
        assert NAME in refusal.text
        await viewer.join("room", attributes={"level": "7"})
        await viewer.send(LIKE, viewer.handle, 1, {NAME: 3, "👍": 2})
        host = node.room("room")
        with pytest.raises(Refused, match=NAME):
            node.room("room", author=Author("anna", "Anna", EVIL))
        with pytest.raises(Refused, match=NAME):
            await host.gift(Author("anna", "Anna", EVIL), "rose", key="k")
        assert (await viewer.ask(CHANGE, viewer.handle, "mode", "", {"slow": {NAME: 1}})).code in (Code.INVALID, Code.FORBIDDEN)
        await viewer.until(lambda: viewer.counters[0] == 1 and "reactions" in viewer.totals)
        assert viewer.totals["reactions"] == {"👍": 2}


async def test_a_token_that_somebody_else_made_with_one_is_refused() -> None:
    settings = lively(access={"secret": SECRET})
    token = jwt.encode({"sub": "anna", "exp": 2**33, "attributes": EVIL}, SECRET, algorithm="HS256")
    async with open_node(settings) as node, open_viewer("websockets", node.url) as viewer:
        refusal = await viewer.knock("room", token=token)
        assert refusal is not None
        assert (refusal.code, NAME in refusal.text) == (Code.INVALID, True)
