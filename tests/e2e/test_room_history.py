"""What was: the last events on coming in, pages of the past, coming back by position, and a snapshot of all that is."""

from __future__ import annotations

from typing import Any

from engine.errors import Code
from engine.node import open_node

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .viewers import COMMENT, MODERATE, READ_HISTORY, READ_STATE, open_viewer


async def test_newcomers_are_shown_the_last_events_and_all_that_is(
    running: Running, foreign: Foreign, redis: dict[str, Any]
) -> None:
    settings = live(redis=redis, room={"recent_events": 5})
    async with running(settings) as one, open_node(settings) as two, foreign(one.url, token("host", "host")) as (host,):
        offsets = [await host.comment(f"第{number}条 🎈") for number in range(8)]
        await host.change("card", "茶", {"title": "龙井"})
        told = (await host.act(MODERATE, "delete", "", offsets[6])).offset
        await host.until_offset(told)
        for node in (one, two):
            async with foreign(node.url, None, None) as late:
                for viewer in late:
                    assert viewer.value("card", "茶")["title"] == "龙井"
                    shown = list(viewer.shown.values())
                    assert shown[-1] == "第7条 🎈"
                    assert "第6条 🎈" not in shown
                    _, _, _, epoch, offset, totals, state = await viewer.read(READ_STATE)
                    assert (epoch, offset) == viewer.position
                    assert totals["peak"] >= 1
                    assert [entry[:2] for entry in state] == [["card", "茶"]]
        assert (await one.room(ROOM).state()) == (await two.room(ROOM).state())


async def test_the_past_is_read_page_by_page_from_any_offset(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, token("host", "host"), None) as (host, guest):
        for number in range(60):
            await guest.send(COMMENT, 1 + number, guest.handle, f"{number} " + "长" * 200)
        await guest.until_offset(61)
        for viewer in (host, guest):
            for limit in (1, 7, 1_000):
                past = await viewer.past(limit)
                assert list(past) == list(range(1, 62))
                assert [event[3].split()[0] for event in past.values() if event[0] == 1] == [str(n) for n in range(60)]
            page = await viewer.read(READ_HISTORY, 10, 3)
            assert page[4:6] == [7, 9]
            # Nothing is before the first, and the newest is before whatever is to come.
            assert (await viewer.read(READ_HISTORY, 1, 3))[4:] == [1, 0, [], []]
            assert (await viewer.read(READ_HISTORY, 2**53 - 1, 1))[4:6] == [61, 61]
            # A page has room among what waits for one viewer.
            page = await viewer.read(READ_HISTORY, 0, 1_000)
            assert len(str(page[7]).encode()) < 10_000
        await host.send(READ_HISTORY, 9_999, host.handle, 0, 1_001)
        await host.until(lambda: bool(host.faults))
        assert host.faults[0].code == Code.INVALID


async def test_what_is_too_old_is_nowhere_and_said_to_be(running: Running, foreign: Foreign) -> None:
    async with running(live(broker={"history_events": 10}, room={"linger_seconds": 0.0})) as node:
        async with foreign(node.url, None, None) as people:
            position, session = people[0].position, people[0].session
            await people[0].comment("最早的")
        for number in range(30):
            await node.comment(ROOM, f"{number}")
        async with foreign(node.url, None, None) as people:
            for viewer in people:
                past = await viewer.past(4)
                assert list(past) == list(range(22, 32))
        async with open_viewer("websockets", node.url) as back:
            await back.join(ROOM, position, session=session)
            await back.until_offset(await node.comment(ROOM, "最新 🆕"))
            assert position is not None
            covered = {*back.events, *back.omitted, *(n for _, first, last, _ in back.gaps for n in range(first, last + 1))}
            assert covered == set(range(position[1] + 1, 33))


async def test_a_node_reads_and_writes_as_viewers_do(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, token("host", "host"), None) as (host, guest):
        room = node.room(ROOM)
        said = await guest.comment("你好 👋")
        notice = await room.notice("公告 📢")
        await room.poll("水果", "吃什么？", ["🍎", "🍐"])
        await room.pin(said)
        await room.mode("emotes", slow={"viewer": 5})
        await guest.until(lambda: guest.value("mode") is not None)
        assert guest.value("mode") == {"mode": "emotes", "slow": {"viewer": 5}}
        await room.unpin(said)
        await room.mode()
        await room.close_poll("水果")
        await room.delete(said, reason="测试")
        await guest.until(lambda: said in guest.gone)
        past = {event.offset: event.event async for event in room.history()}
        assert past == await guest.past() == await host.past()
        assert past[said][0] == 0
        assert past[notice][3] == "公告 📢"
        assert (await room.statistics()).offset == max(past)
