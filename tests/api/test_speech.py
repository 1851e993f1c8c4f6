"""Speaking over HTTP: what viewers see of it, how texts are bounded, retries, batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.client import Comment, Custom, Notice
from engine.settings import LimitSettings

from .calling import Called, calling, fault_of, key_of, settings
from .watching import ROOM, at, key, restarted, token, until, watching


async def test_viewers_see_comments_events_and_notices_of_whom_they_name() -> None:
    lin = {"id": "u-17", "name": "小林 🌸", "attributes": {"badge": "金牌"}}
    async with calling() as called, watching(called) as viewer:
        said = await called.call("POST", at("comments"), json={"body": "欢迎\u202e来到直播间 🎉", "author": lin})
        assert said.status_code == 201
        offset = said.json()["offset"]
        assert said.headers["location"] == at("comments", offset).replace("%1F", "%2F")
        seen = await until(viewer, Comment, offset=offset)
        assert (seen.body, seen.author.id, seen.author.name) == ("欢迎来到直播间 🎉", "u-17", "小林 🌸")
        assert (dict(seen.author.attributes), seen.ref) == ({"badge": "金牌"}, 0)
        more = {"body": "@小林 好", "reply_to": offset, "mentions": ["u-17"], "lifetime_seconds": 60}
        answer = (await called.call("POST", at("comments"), json=more)).json()["offset"]
        linked = await until(viewer, Comment, offset=answer)
        assert (linked.reply_to, linked.mentions, linked.author.id) == (offset, ("u-17",), "server")
        assert 59_000 <= linked.expires - linked.time <= 60_000
        custom = await called.call("POST", at("events"), json={"name": "cart.add", "body": '{"sku": "茶🍵"}', "author": lin})
        event = await until(viewer, Custom, offset=custom.json()["offset"])
        assert (event.name, event.body, event.author.name) == ("cart.add", '{"sku": "茶🍵"}', "小林 🌸")
        notice = await called.call(
            "POST", at("notices"), json={"body": "十分钟后抽奖 🎁", "receipts": True, "deadline_seconds": 600}
        )
        told = await until(viewer, Notice, offset=notice.json()["offset"])
        assert (told.body, told.receipts) == ("十分钟后抽奖 🎁", True)
        assert ("notice", str(told.offset)) in await called.node.room(ROOM).state()


async def test_a_retry_says_nothing_twice_also_when_its_answer_was_forgotten() -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("comments", {"body": "一次 ☝️"}),
        ("events", {"name": "x", "body": "一次"}),
        ("notices", {"body": "只说一次", "receipts": True, "deadline_seconds": 60}),
    ]
    async with calling() as called:
        firsts = [await called.call("POST", at(name), json=body, headers=key("same")) for name, body in calls]
        offsets = [first.json()["offset"] for first in firsts]
        async with restarted(called) as other:
            for where in (called, other):
                for (name, body), offset in zip(calls, offsets, strict=True):
                    again = await where.call("POST", at(name), json=body, headers=key("same"))
                    assert (again.status_code, again.json()["offset"]) == (201, offset)
        kinds = [past.event[0] async for past in called.node.room(ROOM).history()]
        assert kinds == [1, 2, 4, 3]


async def test_likes_count_in_any_room_and_once_for_a_key() -> None:
    async def count(where: Called) -> tuple[int, dict[str, int]]:
        told = (await where.call("GET", at())).json()
        return told["likes"], told["totals"].get("reactions", {})

    async with calling() as called:
        body = {"count": 25, "reactions": {"🔥": 3, "👏": 1}}
        assert (await called.call("POST", at("likes"), json=body)).status_code == 204
        assert await count(called) == (25, {"🔥": 3, "👏": 1})
        for _ in range(2):
            await called.call("POST", at("likes"), json=body, headers=key("a"))
        async with restarted(called) as other, watching(called, "anna") as viewer:
            await other.call("POST", at("likes"), json=body, headers=key("a"))
            assert await count(other) == (50, {"🔥": 6, "👏": 2})
            assert viewer.counters is not None
            await other.call("POST", at("likes"), json={"reactions": {"🔥": 1}}, headers=key("b"))
            await other.call("POST", at("likes"), json=body)
            await other.call("POST", at("likes"), json=body)
            assert await count(other) == (100, {"🔥": 13, "👏": 4})
        for bad in ({}, {"count": -1}, {"reactions": {"没有": 1}}, {"reactions": {"🔥": 0}}, {"count": 1_000_001}):
            assert fault_of(await called.call("POST", at("likes"), json=bad))["name"] == "invalid"


NOT_TO_BE_SHOWN: list[tuple[str, dict[str, Any], str]] = [
    ("comments", {"body": " \u200b\u3164 "}, "empty"),
    ("comments", {"body": "长" * 101}, "too_long"),
    ("comments", {"body": "好" * 51}, "too_long"),
    ("comments", {"body": "好", "lifetime_seconds": 100_000}, "invalid"),
    ("comments", {"body": "好", "lifetime_seconds": -1}, "invalid"),
    ("comments", {"body": "好", "mentions": ["a\nb"]}, "invalid"),
    ("comments", {"body": "好", "mentions": ["u"] * 17}, "invalid"),
    ("comments", {"body": "好", "reply_to": 2**53}, "invalid"),
    ("comments", {"body": "好", "author": {"id": " u "}}, "invalid"),
    ("comments", {"body": "好", "author": {"id": "u", "name": "\u3164"}}, "invalid"),
    ("comments", {"body": "好", "author": {"id": "u", "attributes": {"a": "x" * 129}}}, "invalid"),
    ("comments", {"body": "好", "author": {"id": "u" * 65}}, "invalid"),
    ("comments", {"body": "好", "ref": 3}, "invalid"),
    ("comments", {"body": 3}, "invalid"),
    ("comments", {}, "invalid"),
    ("events", {"name": "", "body": "x"}, "invalid"),
    ("events", {"name": "x", "body": "字" * 51}, "too_long"),
    ("notices", {"body": ""}, "empty"),
    ("notices", {"body": "好", "deadline_seconds": 1e9}, "invalid"),
]


async def test_what_could_not_be_shown_is_refused() -> None:
    small = replace(settings(), limits=LimitSettings(comment_bytes=150, comment_characters=50))
    async with calling(small) as called:
        for path, body, name in NOT_TO_BE_SHOWN:
            assert fault_of(await called.call("POST", at(path), json=body))["name"] == name, (path, body)
        assert (await called.call("GET", at())).json()["offset"] == 0


async def test_a_batch_is_published_in_order_and_tells_of_each_event() -> None:
    other = "别的房间"
    events: list[dict[str, Any]] = [
        {"room": ROOM, "type": "comment", "body": "一 1️⃣", "author": {"id": "u-1", "name": "甲"}},
        {"room": other, "type": "comment", "body": "别处"},
        {"room": ROOM, "type": "comment", "body": "\u3164"},
        {"room": ROOM, "type": "custom", "name": "二", "body": "{}"},
        {"room": ROOM, "type": "custom", "body": "没有名字"},
        {"room": ROOM, "type": "notice", "body": "三 📣"},
        {"room": ROOM, "type": "comment", "body": "四", "reply_to": 1, "mentions": ["u-1"]},
        {"room": ROOM, "type": "notice", "body": "五", "reply_to": 1},
        {"room": ROOM, "type": "comment", "body": "六", "name": "x"},
        {"room": ROOM, "type": "comment", "body": "七", "author": {"id": "\u3164"}},
        {"room": ROOM, "type": "comment", "body": "八", "author": {"id": "u", "name": "\u3164"}},
        {"room": ROOM, "type": "comment", "body": "九", "mentions": ["\n"]},
    ]
    async with calling() as called, watching(called) as viewer:
        answer = await called.call("POST", "/v1/batch", json={"events": events}, headers=key("batch"))
        assert answer.status_code == 200
        told = answer.json()
        assert told["published"] == 5
        assert [each.get("offset") for each in told["results"][:7]] == [1, 1, None, 2, None, 3, 4]
        problems = [each["problem"]["name"] for each in told["results"] if "problem" in each]
        assert problems == ["empty", "invalid", "invalid", "invalid", "invalid", "empty", "invalid"]
        assert told["results"][2]["problem"]["status"] == 422
        assert (await until(viewer, Comment, offset=1)).author.name == "甲"
        assert (await until(viewer, Custom, offset=2)).name == "二"
        assert (await until(viewer, Notice, offset=3)).body == "三 📣"
        assert (await until(viewer, Comment, offset=4)).mentions == ("u-1",)
        async with restarted(called) as later:
            again = await later.call("POST", "/v1/batch", json={"events": events}, headers=key("batch"))
        assert again.json() == told
        assert (await called.call("GET", at())).json()["offset"] == 4
        assert (await called.call("POST", "/v1/batch", json={"events": []})).json() == {"published": 0, "results": []}


NO_BATCH = [
    "",
    "{",
    "[]",
    '{"events": 3}',
    '{"events": [{"room": "a"}]}',
    '{"events": [{"room": "a", "type": "gift", "body": ""}]}',
    '{"events": [{"room": "a", "type": "comment", "body": "x", "more": 1}]}',
    '{"events": [{"room": "", "type": "comment", "body": "x"}]}',
    '{"events": [{"room": "a\\nb", "type": "comment", "body": "x"}]}',
    '{"events": [{"room": "a", "type": "comment", "body": "\\ud800"}]}',
    '{"events": [' + ", ".join(['{"room": "a", "type": "comment", "body": "x"}'] * 4) + "]}",
    '{"events": ' + "[" * 3000 + "]" * 3000 + "}",
]


async def test_a_batch_that_cannot_be_read_publishes_nothing() -> None:
    async with calling(settings(batch_events=3)) as called:
        for body in NO_BATCH:
            answer = await called.call("POST", "/v1/batch", content=body, headers={"Content-Type": "application/json"})
            assert fault_of(answer)["name"] in ("invalid", "bad_request", "bad_room"), body
        assert called.node.statistics().hub.events_published == 0


async def test_a_batch_is_for_the_callers_rooms_and_a_user_names_nobody_else() -> None:
    async with calling(settings(key_of("here", "publish", rooms=["大厅/*"]))) as called:
        here = {"room": ROOM, "type": "comment", "body": "好"}
        there = {**here, "room": "别处"}
        assert (await called.call("POST", "/v1/batch", key="rc_here", json={"events": [here]})).status_code == 200
        assert (await called.call("POST", "/v1/batch", key="rc_here", json={"events": [here, there]})).status_code == 403
        assert (await called.call("POST", "/v1/batch", key=None, json={"events": [here]})).status_code == 401
        assert (await called.call("GET", at())).json()["offset"] == 1
        mine = token("host-1", "host", name="主播 🎤")
        assert (await called.call("POST", at("comments"), key=mine, json={"body": "大家好"})).status_code == 201
        said = [past.event async for past in called.node.room(ROOM).history(1)]
        assert said[0][1][:2] == ["host-1", "主播 🎤"]
        named = {"body": "冒充", "author": {"id": "anna"}}
        assert (await called.call("POST", at("comments"), key=mine, json=named)).status_code == 403
        batch = {"events": [{**here, "author": {"id": "anna"}}, {**here, "author": {"id": "host-1"}}]}
        told = (await called.call("POST", "/v1/batch", key=mine, json=batch)).json()
        assert told["results"][0]["problem"]["name"] == "forbidden"
        assert told["results"][1]["offset"]
        # Backstage is not for everybody who may read or speak in front of it.
        backstage = at("comments", room=ROOM + "#backstage")
        assert (await called.call("POST", backstage, key="rc_here", json={"body": "好"})).status_code == 403


async def test_an_event_of_the_product_is_told_when_the_node_stops() -> None:
    async with calling() as called:
        await called.node.hub.drain()
        answer = await called.call("POST", at("comments"), json={"body": "晚了"})
        assert (answer.status_code, fault_of(answer)["name"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        batch = {"events": [{"room": ROOM, "type": "comment", "body": "晚了"}]}
        told = await called.call("POST", "/v1/batch", json=batch)
        assert (told.status_code, fault_of(told)["retry_after_ms"]) == (503, 1000)
