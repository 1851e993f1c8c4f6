"""Likes and reactions of a page that comes back: what was told first, then what is new; against a server that says what it is
told, and at two edges, where each counts once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from e2e.edges import Edges, open_edges
from e2e.nodes import lively
from e2e.people import ROOM

from .puppet import Puppet, Strings, open_puppet, snapshot
from .visitors import Visitor, Visitors, open_visitors

LEAVE, COMMENT, LIKE, RECEIPT = 2, 3, 4, 12
SOON: list[Any] = [["read", 1], ["say", "back"], ["like", 2]]
"""What a page does as soon as it is in."""


@pytest.fixture
async def visitors() -> AsyncIterator[Visitors]:
    async with open_visitors() as opened:
        yield opened


@pytest.fixture
async def puppet() -> AsyncIterator[Puppet]:
    async with open_puppet() as opened:
        yield opened


async def come(puppet: Puppet, *, session: str = "session-0123456789") -> Strings:
    """The next connection, let in."""
    strings = await puppet.accept()
    await strings.let_in(snapshot(4), session=session)
    return strings


async def said(strings: Strings, count: int) -> list[list[Any]]:
    """The next messages of these kinds, without refs and handles."""
    messages = [await strings.receive(LEAVE, COMMENT, LIKE, RECEIPT) for _ in range(count)]
    return [[kind, *fields[kind in (LEAVE, COMMENT) :][1:]] for kind, *fields in messages]


async def test_what_was_told_comes_before_anything_that_a_page_says_when_it_is_back(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False, likeMs=0, opened=SOON)
    strings = await come(puppet)
    first: list[Any] = [[RECEIPT, 1, True], [COMMENT, "back", 0, [], 0], [LIKE, 2, {}]]
    assert await said(strings, 3) == first, "the first time there is nothing to repeat"
    for total in (2, 4):
        await strings.close(4000)
        strings = await come(puppet)
        again = [first[1]] * (total // 2)
        assert await said(strings, 4 + len(again)) == [[LIKE, total, {}], *again, *first[:2], [LIKE, total + 2, {}]]
    assert len(visitor.of("pending")) == 3


async def test_who_has_given_nothing_says_so(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False)
    strings = await come(puppet)
    await visitor.get("ready")
    await strings.close(4000)
    strings = await come(puppet)
    assert await said(strings, 1) == [[LIKE, 0, {}]]
    await visitor.call("react", "🎉")
    assert await said(strings, 1) == [[LIKE, 0, {"🎉": 1}]]


async def test_another_session_begins_with_nothing_and_has_what_the_old_one_did_not_tell(
    visitors: Visitors, puppet: Puppet
) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False, likeMs=0, opened=[["like", 2]])
    strings = await come(puppet)
    assert await said(strings, 1) == [[LIKE, 2, {}]]
    await strings.close(4000)
    await visitor.status("waiting")
    await visitor.call("react", "🎉", 3)
    strings = await come(puppet, session="another-0123456789")
    assert await said(strings, 3) == [[LIKE, 0, {}], [LIKE, 0, {"🎉": 3}], [LIKE, 2, {"🎉": 3}]]


async def test_whoever_leaves_as_soon_as_it_is_back_has_told_all_in_order(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False)
    strings = await come(puppet)
    await visitor.get("ready")
    await visitor.call("like", 2)
    assert await said(strings, 1) == [[LIKE, 2, {}]]
    later = await visitors.join(
        puppet.url, "大厅", ready=False, session=await visitor.get("session"), opened=[["like", 1], ["leave"]], quality=1
    )
    strings = await come(puppet)
    assert await said(strings, 4) == [[LIKE, 2, {}], [LIKE, 2, {}], [LIKE, 3, {}], [LEAVE]], "twice does no harm"
    assert await strings.closed() == 1000
    assert (await later.get("session"))["told"] == {"": 3}


async def test_a_later_page_tells_what_the_earlier_one_could_not(visitors: Visitors, puppet: Puppet) -> None:
    away = {"baseMs": 10**9, "capMs": 10**9}
    visitor = await visitors.join(puppet.url, "大厅", ready=False, likeMs=60_000, **away)
    strings = await come(puppet)
    await visitor.get("ready")
    await visitor.call("like", 3)
    await visitor.call("like", 1)
    assert await said(strings, 1) == [[LIKE, 3, {}]]
    session = await visitor.get("session")
    assert (session["taps"], session["told"]) == ({"": 4}, {"": 4}), "whoever keeps it may leave now"
    assert await said(strings, 1) == [[LIKE, 4, {}]]
    await strings.close(4000)
    await visitor.status("waiting")
    await visitor.call("like", 5)
    session = await visitor.get("session")
    assert (session["taps"], session["told"]) == ({"": 9}, {"": 4})
    await visitor.call("leave")
    await visitors.join(puppet.url, "大厅", ready=False, session=session)
    strings = await come(puppet)
    assert await said(strings, 2) == [[LIKE, 4, {}], [LIKE, 9, {}]]


# -- edge, likes while away, likes as soon as it is in
VISITS = [(1, 0), (0, 0), (1, 3), (1, 0), (0, 1), (0, 2), (1, 0), (0, 7)]


@pytest.mark.parametrize(("first", "back"), [(0, 0), (4, 0), (0, 2)])
async def test_likes_are_exact_at_whichever_edge_the_page_comes_back(visitors: Visitors, first: int, back: int) -> None:
    async with open_edges(lively()) as edges:
        visitor = await visitors.join(edges.url, ROOM, opened=[["like", back]])
        await visitor.call("like", first)
        total = back + first
        await quiet(edges, visitor, total)
        for number, (edge, away) in enumerate(VISITS, 1):
            edges.move(edge)
            await visitor.status("waiting", number)
            await visitor.call("like", away)
            total += away + back
            await visitor.status("open", number + 1)
            await quiet(edges, visitor, total)


async def quiet(edges: Edges, visitor: Visitor, total: int) -> None:
    """Wait until nothing is on its way: likes that are, when a connection breaks, count only at the same edge. And something
    happens, by which an edge sees that a viewer was elsewhere."""
    await edges.counted(ROOM, total)
    await visitor.reach(await visitor.call("say", "here"))
    assert edges.likes(ROOM) == total
