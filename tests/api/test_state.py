"""A room's state over HTTP: attributes, cards, polls, pins; versions, retries, and what cannot be."""

from __future__ import annotations

from typing import Any

from engine.client import State
from engine.settings import LedgerSettings

from .calling import calling, fault_of, settings
from .watching import ROOM, at, key, restarted, until, watching


async def test_cards_and_attributes_are_shown_changed_and_deleted() -> None:
    async with calling() as called, watching(called) as viewer:
        made = await called.call("PUT", at("cards", "茶/1"), json={"title": "龙井 🍵", "price": "¥99", "stock": 3, "now": True})
        assert made.status_code == 201
        assert made.headers["location"] == at("cards", "茶/1").replace("%1F", "%2F")
        card = made.json()
        assert (card["kind"], card["key"]) == ("card", "茶/1")
        assert (await until(viewer, State, key="茶/1")).value == card["value"]
        changed = await called.call("PUT", at("cards", "茶/1"), json={"stock": 2})
        assert changed.status_code == 200
        assert changed.json()["value"] == {**card["value"], "stock": 2}
        await called.call("PUT", at("cards", "瓷"), json={"title": "青花瓷", "now": True})
        fact = await called.call("PUT", at("attributes", "天气 🌧"), json={"value": "雨"})
        assert (fact.status_code, fact.json()["value"]) == (201, {"value": "雨"})
        entries = (await called.call("GET", at("state"))).json()["entries"]
        assert {each["key"] for each in entries} == {"茶/1", "瓷", "天气 🌧"}
        assert next(each["value"]["now"] for each in entries if each["key"] == "茶/1") is False
        assert (await called.call("DELETE", at("cards", "茶/1"))).status_code == 204
        assert (await until(viewer, State, key="茶/1", value=None)).version > changed.json()["version"]
        assert (await called.call("DELETE", at("attributes", "天气 🌧"))).status_code == 204
        assert [each["key"] for each in (await called.call("GET", at("state"))).json()["entries"]] == ["瓷"]
        # One that comes back is another.
        assert (await called.call("PUT", at("cards", "茶/1"), json={"title": "毛峰"})).status_code == 201


async def test_an_attribute_is_a_text_a_number_or_a_boolean() -> None:
    async with calling() as called:
        for value in ("文字 📝", True, 0, -(2**53) + 1, 2**53 - 1, 0.5):
            told = (await called.call("PUT", at("attributes", "a"), json={"value": value})).json()["value"]
            assert (told, type(told["value"])) == ({"value": value}, type(value))


async def test_whoever_builds_on_a_version_that_is_not_the_last_is_told() -> None:
    async with calling() as called:
        first = (await called.call("PUT", at("attributes", "比分"), json={"value": 1, "expect": 0})).json()
        for expect in (0, first["version"] + 1):
            refused = await called.call("PUT", at("attributes", "比分"), json={"value": 9, "expect": expect})
            assert (refused.status_code, fault_of(refused)["name"]) == (409, "conflict")
        body = {"value": 2, "expect": first["version"]}
        second = await called.call("PUT", at("attributes", "比分"), json=body, headers=key("a"))
        assert (second.status_code, second.json()["value"]) == (200, {"value": 2})
        gone = await called.call("DELETE", at("attributes", "比分"), params={"expect": first["version"]})
        assert gone.status_code == 409
        # The same once more is what it was, though the entry has another version by now.
        async with restarted(called) as other:
            again = await other.call("PUT", at("attributes", "比分"), json=body, headers=key("a"))
            assert again.json() == second.json()
            for where in (called, other):
                params = {"expect": second.json()["version"]}
                answer = await where.call("DELETE", at("attributes", "比分"), params=params, headers=key("b"))
                assert answer.status_code == 204
        assert [past.event[0] async for past in called.node.room(ROOM).history()] == [3, 3, 3]


async def test_viewers_vote_until_a_poll_is_closed() -> None:
    async with calling() as called, watching(called, "anna") as viewer:
        poll = {"question": "下一首唱什么？🎵", "options": ["月亮代表我的心", "甜蜜蜜"], "closes_seconds": 600}
        made = await called.call("PUT", at("polls", "歌"), json=poll)
        assert (made.status_code, made.json()["value"]["open"]) == (201, True)
        await until(viewer, State, kind="poll")
        await viewer.vote("poll", "歌", 1)
        totals = (await called.call("GET", at())).json()["totals"]
        assert totals["votes"] == {"poll:歌": [0, 1]}
        closed = await called.call("POST", at("polls", "歌", "close"))
        assert (closed.status_code, closed.json()["value"]["open"]) == (200, False)
        assert (await called.call("POST", at("polls", "歌", "close"))).status_code == 200
        changed = await called.call("PUT", at("polls", "歌"), json={**poll, "options": ["一", "二"]})
        assert fault_of(changed)["name"] == "invalid"
        assert (await called.call("DELETE", at("polls", "歌"))).status_code == 204
        assert fault_of(await called.call("POST", at("polls", "歌", "close")))["name"] == "not_found"


async def test_a_pin_keeps_a_comment_in_sight_with_what_it_says() -> None:
    async with calling() as called, watching(called) as viewer:
        offset = (await called.call("POST", at("comments"), json={"body": "置顶我 📌"})).json()["offset"]
        pinned = await called.call("PUT", at("pins", offset))
        assert pinned.status_code == 201
        assert pinned.json()["value"]["event"]["body"] == "置顶我 📌"
        seen = (await until(viewer, State, kind="pin")).value
        assert seen is not None
        assert seen["event"][3] == "置顶我 📌"
        assert (await called.call("GET", at("state"))).json()["entries"][0]["value"]["event"]["type"] == "comment"
        assert (await called.call("DELETE", at("pins", offset))).status_code == 204
        for bad in (offset + 100, offset + 1):
            assert fault_of(await called.call("PUT", at("pins", bad)))["name"] == "not_found"
        assert fault_of(await called.call("DELETE", at("pins", offset)))["name"] == "not_found"
        assert (await called.call("PUT", at("pins", 0))).status_code == 422


async def test_entries_of_any_kind_can_be_changed() -> None:
    async with calling() as called:
        made = await called.call("PUT", at("state", "card", "x"), json={"value": {"title": "一 1️⃣"}})
        assert (made.status_code, made.json()["value"]["title"]) == (201, "一 1️⃣")
        assert (await called.call("DELETE", at("state", "card", "x"))).status_code == 204


NO_STATE: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (("state", "nothing", "x"), {"value": {}}, "invalid"),
    (("state", "packet", "1"), {"value": {}}, "forbidden"),
    (("state", "notice", "1"), {"value": {"offset": 1}}, "forbidden"),
    (("state", "question", "x"), {"value": {"answered": True}}, "not_found"),
    (("state", "mode", "x"), {"value": {"mode": "open"}}, "invalid"),
    (("state", "card", "x"), {"value": {str(number): 1 for number in range(33)}}, "invalid"),
    (("state", "card", "x"), {"value": None}, "invalid"),
    (("cards", "x"), {}, "invalid"),
    (("cards", "x"), {"title": "\u3164"}, "empty"),
    (("cards", "x"), {"title": "一", "url": "javascript:alert(1)"}, "invalid"),
    (("cards", "x"), {"title": "一", "stock": -1}, "invalid"),
    (("cards", "x"), {"title": "一", "on_sale": False, "now": True}, "invalid"),
    (("cards", "x\n"), {"title": "一"}, "invalid"),
    (("cards", "x" * 65), {"title": "一"}, "invalid"),
    (("attributes", "x"), {"value": None}, "invalid"),
    (("attributes", "x"), {"value": [1]}, "invalid"),
    (("attributes", "x"), {"value": 2**53}, "invalid"),
    (("attributes", "x"), {"value": "长" * 20_000}, "too_long"),
    (("attributes", "x"), {"value": 1, "expect": -2}, "invalid"),
    (("polls", "x"), {"question": "?", "options": ["一"]}, "invalid"),
    (("polls", "x"), {"question": "?", "options": ["一", "一"]}, "invalid"),
    (("polls", "x"), {"question": "?", "options": ["一", "二"], "closes_seconds": 3e6}, "invalid"),
]


async def test_what_is_no_state_is_refused() -> None:
    async with calling() as called:
        for path, body, name in NO_STATE:
            assert fault_of(await called.call("PUT", at(*path), json=body))["name"] == name, (path, body)
        assert (await called.call("GET", at("state"))).json() == {"entries": []}


async def test_what_is_not_there_cannot_be_deleted() -> None:
    async with calling(settings(ledger=LedgerSettings())) as called:
        for path in (("cards", "x"), ("attributes", "x"), ("polls", "x"), ("state", "card", "x")):
            assert fault_of(await called.call("DELETE", at(*path)))["name"] == "not_found"
