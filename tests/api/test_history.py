"""A room's past over HTTP: page by page, each event with named fields."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.api.events import as_object

from .calling import calling, key_of, settings
from .watching import ROOM, at, token


async def test_the_past_is_read_page_by_page_with_named_fields() -> None:
    async with calling() as called:
        for body in ("一 😀", "二", "三"):
            await called.call("POST", at("comments"), json={"body": body, "author": {"id": "u-1", "name": "小林"}})
        await called.call("POST", at("events"), json={"name": "cart.add", "body": "{}"})
        await called.call("PUT", at("pins", 1))
        await called.call("DELETE", at("comments", 2))
        await called.node.publish(ROOM, msgspec.msgpack.encode([99, ["新"], {"more": 1}]))
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = (await called.call("GET", at("history"), params={"after": after, "limit": 2})).json()
            assert (page["head"], len(page["events"]) <= 2) == (7, True)
            found += page["events"]
            after = page["next"]
        assert [each["offset"] for each in found] == [1, 2, 3, 4, 5, 6, 7]
        events = [each["event"] for each in found]
        assert events[0] == {
            "type": "comment",
            "author": {"id": "u-1", "name": "小林", "attributes": {}, "role": "", "level": 0},
            "ref": 0,
            "body": "一 😀",
            "reply_to": 0,
            "mentions": [],
            "expires": 0,
        }
        assert events[1] == {"type": "omitted", "reason": "deleted", "count": 1}
        assert (events[3]["type"], events[3]["name"], events[3]["author"]["role"]) == ("custom", "cart.add", "server")
        assert events[4]["value"]["event"]["body"] == "一 😀"
        assert (events[5]["type"], events[5]["action"], events[5]["offsets"]) == ("moderated", "delete", [2, 2])
        assert events[6] == {"type": "unknown", "kind": 99, "fields": [["新"], {"more": 1}]}
        assert (await called.call("GET", at("history"), params={"after": 7})).json()["events"] == []
        assert (await called.call("GET", at("history"), params={"after": 2**53 - 1})).json()["next"] is None


async def test_an_event_that_no_json_could_hold_is_told_nevertheless() -> None:
    async with calling() as called:
        strange = msgspec.msgpack.encode([2, ["server"], 0, "x", b"\xff\x00", float("inf")])
        await called.node.publish(ROOM, strange)
        told = (await called.call("GET", at("history"))).json()["events"][0]["event"]
        assert (told["type"], told["name"]) == ("custom", "x")


async def test_what_is_told_backstage_is_for_moderators() -> None:
    async with calling(settings(key_of("reader", "rooms:read"))) as called:
        backstage = at("history", room=ROOM + "#backstage")
        assert (await called.call("GET", backstage, key="rc_reader")).status_code == 403
        assert (await called.call("GET", backstage, key=token("mod", "moderator", rooms=[ROOM]))).status_code == 200
        assert (await called.call("GET", at("history"), key=token("anna"))).status_code == 403


def test_an_event_of_another_shape_is_told_as_it_is() -> None:
    assert as_object([]) == {"type": "unknown", "kind": None, "fields": []}
    assert as_object(["?", 1]) == {"type": "unknown", "kind": "?", "fields": [1]}
    assert as_object([1, 7]) == {"type": "unknown", "kind": 1, "fields": [7]}
    assert as_object([6, ["u"], "s", 1, [], "词"]) == {"type": "unknown", "kind": 6, "fields": [["u"], "s", 1, [], "词"]}
