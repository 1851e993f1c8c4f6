"""Speaking in a live room: links, lifetimes, modes, slow mode, repetition, words, budgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import Code
from engine.node import open_node
from engine.settings import WordList

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .viewers import COMMENT, CUSTOM, DIRECT, MODERATE, NOTICE, Viewer, open_viewer

FAMILY = "👨\u200d👩\u200d👧\u200d👦"


async def say(viewer: Viewer, *fields: object) -> Code:
    return Code((await viewer.ask(COMMENT, viewer.handle, *fields)).code)


async def test_answers_mentions_and_emoji_reach_everybody_alike(running: Running, foreign: Foreign) -> None:
    async with (
        running(live()) as node,
        foreign(node.url, token("主播-1", "host", name="主播"), token("anna", name="安娜", level=7), None) as (
            host,
            anna,
            guest,
        ),
    ):
        first = await anna.comment(f"cafe\u0301 {FAMILY} 你好")
        await host.act(COMMENT, "欢迎 👋", first, [anna.user, "某人"])
        ref = host.refs
        await host.act(CUSTOM, "礼物", '{"名": "🚀"}')
        for viewer in (host, anna, guest):
            await viewer.until(lambda viewer=viewer: len(viewer.bodies) == 3)
            events = [event for event in viewer.events.values() if event[0] in (1, 2)]
            assert events[0][1] == ["anna", "安娜", {}, "viewer", 7]
            assert events[0][3] == f"caf\u00e9 {FAMILY} 你好"
            assert events[1] == [1, ["主播-1", "主播", {}, "host", 0], ref, "欢迎 👋", first, ["anna", "某人"], 0]
            assert events[2][3:] == ["礼物", '{"名": "🚀"}']
        assert next(offset for offset, event in anna.events.items() if event[0] == 1) == first
        # To one user only.
        await host.act(DIRECT, "anna", "悄悄话 🤫")
        await anna.until(lambda: bool(anna.directs))
        assert anna.directs[0][2:4] == [["主播-1", "主播", {}, "host", 0], "悄悄话 🤫"]
        assert (await guest.ask(DIRECT, guest.handle, "anna", "x")).code == Code.FORBIDDEN
        await guest.settle()
        assert not guest.directs


async def test_a_comment_with_a_lifetime_vanishes_everywhere(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, None, None) as (one, two):
        position = two.position
        assert await say(one, "马上消失 💨", 0, [], 300) == Code.OK
        assert await say(one, "留下") == Code.OK
        await two.until_offset(2)
        assert 0 < two.events[1][6] <= two.times[1] + 300
        assert await say(one, "太久", 0, [], 10**12) == Code.INVALID
        past = await two.past()
        while past[1][0]:
            past = await two.past()
        assert past[1] == [0, 2, 1]
        assert past[2][3] == "留下"
        async with foreign(node.url, None, None) as late:
            for viewer in late:
                assert viewer.shown == {2: "留下"}
        async with open_viewer("websockets", node.url) as back:
            await back.join(ROOM, position, session=two.session)
            await back.until_offset(2)
            assert (back.bodies, back.omitted) == (["留下"], {1: 2})


async def test_the_mode_says_who_may_speak(running: Running, foreign: Foreign) -> None:
    async with (
        running(live()) as node,
        foreign(node.url, token("h", "host"), token("粉丝", follower=True), None) as (host, fan, guest),
    ):
        allowed = {
            "open": "hfg",
            "followers": "hf",
            "staff": "h",
            "closed": "",
        }
        for mode, who in allowed.items():
            await host.change("mode", "", {"mode": mode})
            for letter, viewer in zip("hfg", (host, fan, guest), strict=True):
                reply = await viewer.ask(COMMENT, viewer.handle, f"{mode} 你好")
                assert reply.code == (Code.OK if letter in who else Code.ROOM_MODE), (mode, letter)
                assert letter in who or reply.text.startswith(mode)
        await host.change("mode", "", {"mode": "emotes"})
        assert await say(guest, f"{FAMILY} ❤️ 🇨🇳") == Code.OK
        assert await say(guest, "你好 ❤️") == Code.ROOM_MODE
        assert await say(host, "你好 ❤️") == Code.OK
        assert guest.value("mode") == {"mode": "emotes", "slow": {}}
        # Once the room is closed nobody but those who lead it speaks.
        await host.change("life", "", {"state": "closed", "title": "明天见 🌙"})
        assert await say(guest, "❤️") == Code.ROOM_MODE
        assert await say(host, "再见") == Code.OK


async def test_slow_mode_and_repetition_hold_at_every_node(running: Running, foreign: Foreign, redis: dict[str, Any]) -> None:
    settings = live(redis=redis, limits={"duplicate_seconds": 600.0})
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("h", "host"), token("anna")) as (host, here),
        foreign(two.url, token("anna")) as (there,),
    ):
        assert await say(here, "ＡＢＣ 重复") == Code.OK
        await there.until_offset(2)
        assert await say(there, "abc 重复") == Code.DUPLICATE
        assert await say(there, "别的") == Code.OK
        await host.change("mode", "", {"slow": {"viewer": 3600, "host": 0}})
        await there.until(lambda: there.value("mode") is not None)
        for viewer in (here, there):
            reply = await viewer.ask(COMMENT, viewer.handle, "太快")
            assert reply.code == Code.SLOW_MODE
            assert 3_500_000 < reply.retry_after_ms <= 3_600_000
        for body in ("我", "可以"):
            assert await say(host, body) == Code.OK
        # What was not answered may be asked again.
        await host.change("mode", "", {"slow": {}})
        await there.until(lambda: not there.value("mode")["slow"])
        offset = await there.comment("一次", ref=77)
        await host.change("mode", "", {"slow": {"viewer": 3600}})
        assert await there.comment("一次", ref=77) == offset
        assert (await one.room(ROOM).statistics()).refused == {"slow_mode": 1}
        assert (await two.room(ROOM).statistics()).refused == {"slow_mode": 1, "duplicate": 1}


async def test_words_are_blocked_masked_or_held_and_lists_change_while_it_runs(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    lists = {}
    for action, words in (("block", "赌博\nviagra\n"), ("mask", "笨蛋\n"), ("hold", "加微信\n")):
        lists[action] = tmp_path / f"{action}.txt"
        lists[action].write_text(words, encoding="utf-8")
    moderation = {
        "lists": tuple(WordList(file=str(file), action=action) for action, file in lists.items()),  # type: ignore[arg-type]
        "reload_seconds": 0.1,
    }
    async with (
        running(live(moderation=moderation)) as node,
        foreign(node.url, token("h", "host"), None) as (host, guest),
        foreign(node.url, token("mod", "moderator"), room=f"{ROOM}#backstage") as (stage,),
    ):
        assert await say(guest, "来 赌 博 吧") == Code.BLOCKED
        assert await say(guest, "Ｖｉａgra") == Code.BLOCKED
        assert await say(guest, "你这个笨蛋 😀") == Code.OK
        assert await say(guest, "加微信 123") == Code.HELD
        assert await say(guest, "加微信 456") == Code.HELD
        assert await say(host, "我说赌博") == Code.OK
        await stage.until(lambda: len(stage.of_kind(6)) == 2)
        held = {event[4][3]: (offset, event) for offset, event in stage.events.items() if event[0] == 6}
        assert held["加微信 123"][1][5] == "加微信"
        assert held["加微信 123"][1][4][1] == [guest.user, "", {}]
        published = (await host.act(MODERATE, "approve", "", held["加微信 123"][0])).offset
        await host.act(MODERATE, "reject", "", held["加微信 456"][0])
        for viewer in (host, guest):
            await viewer.until_offset(published)
            assert viewer.bodies == ["你这个** 😀", "我说赌博", "加微信 123"]
        await stage.until(lambda: len(stage.of_kind(5)) == 2)
        assert [event[1][0] + event[2] for event in stage.of_kind(5)] == ["happrove", "hreject"]
        lists["block"].write_text("苹果\n", encoding="utf-8")
        while await say(guest, "苹果") == Code.OK:
            pass
        assert await say(guest, "赌博") == Code.OK


async def test_beyond_the_budget_what_is_withheld_is_told_to_everybody(running: Running, foreign: Foreign) -> None:
    settings = live(limits={"room_events_per_second": 20.0, "withhold": "newest"})
    async with running(settings) as node, foreign(node.url, token("h", "host"), None, None) as (host, one, two):
        offered = 200
        for number in range(offered):
            await (one, two)[number % 2].send(COMMENT, 1_000 + number, (one, two)[number % 2].handle, f"第{number}条 🌊")
            if number % 50 == 0:
                await host.act(NOTICE, f"公告 {number}")
        for viewer in (one, two):
            await viewer.until(lambda viewer=viewer: sum(ref < 2_000 for ref in viewer.replies) == offered // 2)
        codes = [reply.code for viewer in (one, two) for ref, reply in viewer.replies.items() if ref < 2_000]
        withheld = codes.count(Code.WITHHELD)
        assert set(codes) == {Code.OK, Code.WITHHELD}
        last = (await host.act(NOTICE, "最后")).offset
        for viewer in (host, one, two):
            await viewer.until_offset(last)
            await viewer.until(lambda viewer=viewer: viewer.totals.get("withheld") == {"events": withheld})
            assert len(viewer.of_kind(1)) + withheld == offered
            assert [event[3] for event in viewer.of_kind(4)] == [*(f"公告 {number}" for number in range(0, 200, 50)), "最后"]
        statistics = await node.room(ROOM).statistics()
        assert json.dumps(statistics.totals["withheld"]) == json.dumps({"events": withheld})
