"""Rooms over HTTP: listed, read, created, closed; who may speak; who watches."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import trio

from engine.client import Closed, Counters, State
from engine.errors import Code, Refused
from engine.settings import RoomSettings

from .calling import calling, fault_of, key_of, settings
from .watching import ROOM, at, key, restarted, token, until, watching


async def test_a_room_is_created_opened_and_closed_and_its_viewers_see_it() -> None:
    async with calling() as called, watching(called, "anna") as viewer:
        made = await called.call("PUT", at(), json={"title": "新品 发布 🎉", "stream": "周一"})
        assert made.status_code == 201
        assert made.headers["location"] == at().replace("%1F", "%2F")
        told = made.json()
        assert (told["room"], told["title"], told["stream"], told["life"]) == (ROOM, "新品 发布 🎉", "周一", "open")
        seen = await until(viewer, State, kind="life")
        assert seen.value == {"state": "open", "title": "新品 发布 🎉", "stream": "周一"}
        assert (await called.call("PUT", at(), json={"stream": "周二"})).status_code == 200
        closed = await called.call("DELETE", at())
        assert (closed.status_code, closed.content) == (204, b"")
        told = (await called.call("GET", at())).json()
        assert (told["life"], told["title"], told["stream"]) == ("closed", "新品 发布 🎉", "周二")
        with pytest.raises(Refused) as refused:
            await viewer.comment("还有人吗？")
        assert refused.value.code == Code.ROOM_MODE
        again = await called.call("PUT", at(), json={})
        assert (again.status_code, again.json()["life"]) == (200, "open")
        assert await viewer.comment("又开了 😀")


async def test_nobody_enters_an_archived_room_and_nothing_changes_in_it() -> None:
    async with calling() as called, watching(called) as viewer:
        assert (await called.call("DELETE", at(), params={"archive": True})).status_code == 204
        with pytest.raises((Refused, Closed)), trio.fail_after(20):
            async for _ in viewer:
                pass
        refused = await called.call("PUT", at("attributes", "天气"), json={"value": "雨 🌧"})
        assert fault_of(refused)["name"] == "room_mode"
        assert fault_of(await called.call("POST", at("likes"), json={"count": 1}))["name"] == "room_mode"
        assert (await called.call("PUT", at(), json={})).json()["life"] == "open"


async def test_the_list_holds_the_callers_rooms_page_by_page() -> None:
    names = ["一/甲", "一/乙", "二", "🎤"]
    keys = key_of("first", "rooms:read", rooms=["一/*"]), key_of("one", "rooms:read", rooms=["🎤"])
    async with calling(settings(*keys)) as called, AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(watching(called, room=name))
        listed = (await called.call("GET", "/v1/rooms")).json()
        assert [line["room"] for line in listed["rooms"]] == sorted(names)
        assert listed["next"] is None
        assert all(line["epoch"] for line in listed["rooms"])
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = (await called.call("GET", "/v1/rooms", params={"after": after, "limit": 1})).json()
            found += [line["room"] for line in page["rooms"]]
            after = page["next"]
        assert found == sorted(names)
        for who, theirs in (("rc_first", sorted(names[:2])), ("rc_one", ["🎤"])):
            listed = (await called.call("GET", "/v1/rooms", key=who)).json()
            assert [line["room"] for line in listed["rooms"]] == theirs


async def test_a_room_tells_how_it_stands_whether_somebody_watches_or_not() -> None:
    async with calling() as called:
        empty = (await called.call("GET", at())).json()
        assert (empty["offset"], empty["viewers"], empty["mode"], empty["title"], empty["slow"]) == (0, 0, "open", "", {})
        async with watching(called, "anna") as viewer, watching(called):
            offset = await viewer.comment("大家好 👋")
            viewer.react("🔥", 2)
            await until(viewer, Counters, reactions={"🔥": 2})
            told = (await called.call("GET", at())).json()
            assert told["totals"]["reactions"] == {"🔥": 2}
            assert told["offset"] == offset
            assert told["viewers"] == 2
            watched = (await called.call("GET", at("viewers"))).json()
            assert watched == {"now": 2, "peak": 2, "unique": 2}
        assert (await called.call("GET", at("viewers"))).json()["peak"] == 2


async def test_a_mode_holds_for_viewers_and_not_for_the_product() -> None:
    async with calling() as called, watching(called, "anna") as viewer:
        put = await called.call("PUT", at("mode"), json={"mode": "emotes", "slow": {"viewer": 0.5}})
        assert put.json() == {"mode": "emotes", "slow": {"viewer": 0.5}}
        # What is left out stays.
        assert (await called.call("PUT", at("mode"), json={"mode": "staff"})).json()["slow"] == {"viewer": 0.5}
        with pytest.raises(Refused) as refused:
            await viewer.comment("我能说话吗")
        assert refused.value.code == Code.ROOM_MODE
        assert (await called.call("POST", at("comments"), json={"body": "系统公告"})).status_code == 201
        room = (await called.call("GET", at())).json()
        assert (room["mode"], room["slow"], room["refused"]) == ("staff", {"viewer": 0.5}, {"room_mode": 1})


async def test_a_retry_changes_nothing_also_when_its_answer_was_forgotten() -> None:
    async with calling() as called, watching(called) as viewer:
        await called.call("PUT", at(), json={"title": "一"}, headers=key("a"))
        offset = (await until(viewer, State, kind="life")).offset
        await called.call("PUT", at(), json={"title": "二"})
        async with restarted(called) as other:
            again = await other.call("PUT", at(), json={"title": "一"}, headers=key("a"))
        assert again.status_code == 200
        assert again.json()["title"] == "二"
        assert (await called.call("GET", at())).json()["offset"] == offset + 1


async def test_what_is_wrong_is_told() -> None:
    keys = key_of("reader", "rooms:read"), key_of("elsewhere", rooms=["别处"])
    made = replace(settings(*keys), room=RoomSettings(created_only=True))
    async with calling(made) as called:
        assert fault_of(await called.call("GET", at()))["name"] == "not_found"
        assert (await called.call("PUT", at(), json={})).status_code == 201
        assert (await called.call("GET", at())).status_code == 200
        assert (await called.call("GET", at(), key=None)).status_code == 401
        assert (await called.call("PUT", at(), key="rc_reader", json={})).status_code == 403
        assert (await called.call("GET", at(), key="rc_elsewhere")).status_code == 403
        assert (await called.call("GET", "/v1/rooms/%E5%88%AB%E5%A4%84%23backstage", key="rc_reader")).status_code == 403
        bad: Any
        for bad in ({"title": "长" * 257}, {"stream": 7}, {"name": "x"}, {"title": "x", "stream": "y" * 65}, []):
            assert fault_of(await called.call("PUT", at(), json=bad))["name"] == "invalid"
        for bad in ({"mode": "quiet"}, {}, {"mode": "open", "slow": {"viewer": -1}}, {"mode": "open", "slow": {"dog": 1}}):
            assert fault_of(await called.call("PUT", at("mode"), json=bad))["name"] == "invalid"
        assert fault_of(await called.call("GET", at(room="名\n字")))["name"] == "bad_room"
        assert fault_of(await called.call("GET", at(room="#everywhere")))["name"] == "bad_room"
        assert (await called.call("GET", at(room="长" * 129))).status_code == 422
        for bad in ("0", "1001", "x"):
            assert (await called.call("GET", "/v1/rooms", params={"limit": bad})).status_code == 422


async def test_the_token_of_a_moderator_is_for_the_rooms_in_it() -> None:
    async with calling() as called:
        mine = token("mod", "moderator", rooms=["大厅/*"])
        assert (await called.call("GET", at(), key=mine)).status_code == 200
        assert (await called.call("GET", at(room="别处"), key=mine)).status_code == 403
        assert (await called.call("DELETE", at(), key=mine)).status_code == 403
