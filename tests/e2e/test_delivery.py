"""Everybody in a room gets everything, in order, once, byte for byte, whatever client and codec they use."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from engine.text import clean

from .conftest import Connect, Running
from .nodes import lively
from .viewers import CUSTOM, DIRECT, JSON, LEAVE, LIKE, MSGPACK, Viewer, open_viewer

MAKES = ("websockets", "trio-websocket", "ws")
TEXTS = (
    "大家好，欢迎来到直播间",
    "👩‍👩‍👧‍👦🎉 7",
    "界" * 666 + "ab",
    'quotes " and \\ and / and \u2028 and \u202e',
    "\x00 and \x7f between",
    "  spaces stay  ",
    "a" * 2000,
)
ROOM = "大厅 1"


async def say_all(viewer: Viewer, texts: tuple[str, ...], offsets: dict[int, tuple[str, int, str]]) -> None:
    for number, text in enumerate(texts):
        offset = await viewer.comment(text)
        assert offset not in offsets, "two comments at one offset"
        offsets[offset] = (viewer.user, viewer.refs, clean(text))
        await viewer.send(LIKE, viewer.handle, number + 1)


@pytest.mark.parametrize("compression", [True, False], ids=["deflate", "plain"])
async def test_all_clients_get_everything_in_order_once(running: Running, compression: bool, ws_home: Path) -> None:
    async with running(lively(edge={"compression": compression})) as node, AsyncExitStack() as stack:
        viewers = []
        for make in MAKES:
            for codec in (MSGPACK, JSON):
                for _ in range(2):
                    viewer = await stack.enter_async_context(open_viewer(make, node.url, codec, home=ws_home))
                    assert viewer.transport.deflate is (compression and make != "trio-websocket")
                    viewers.append(viewer)
        for number, viewer in enumerate(viewers):
            joined = await viewer.join(ROOM, name=f"观众 {number}", attributes={"level": str(number)})
            assert joined[5:7] == ["viewer", False]
        start = viewers[0].snapshots[0][4]
        offsets: dict[int, tuple[str, int, str]] = {}
        async with trio.open_nursery() as nursery:
            for viewer in viewers:
                nursery.start_soon(say_all, viewer, TEXTS, offsets)
        total = len(viewers) * len(TEXTS)
        for viewer in viewers:
            await viewer.until_offset(start + total)
            await viewer.until(lambda viewer=viewer: viewer.counters == (total, len(viewers)))  # type: ignore[misc]
        first = viewers[0]
        assert list(first.events) == list(range(start + 1, start + total + 1)) == sorted(offsets)
        for offset, (user, ref, text) in offsets.items():
            kind, author, its_ref, body = first.events[offset]
            assert (kind, author[0], its_ref, body) == (1, user, ref, text)
        names = {viewer.user: (f"观众 {number}", {"level": str(number)}) for number, viewer in enumerate(viewers)}
        assert {event[1][0]: (event[1][1], event[1][2]) for event in first.events.values()} == names
        for viewer in viewers:
            assert viewer.events == first.events
            assert viewer.times == first.times
            assert not viewer.gaps
            assert not viewer.overlap
        times = list(first.times.values())
        assert times == sorted(times)
        assert node.counters(ROOM) == (total, len(viewers))


async def test_a_burst_is_received_by_all_in_order(connect: Connect, codec: str) -> None:
    from engine.node import open_node

    async with (
        open_node(lively()) as node,
        connect(node.url, codec) as one,
        connect(node.url, codec) as two,
    ):
        await one.join("burst")
        await two.join("burst")
        for number in range(300):
            await one.send(3, 1 + number, one.handle, f"{number} {'字' * (number % 50)}")
        for viewer in (one, two):
            await viewer.until_offset(300)
            assert viewer.bodies == [f"{number} {'字' * (number % 50)}" for number in range(300)]
        await one.until(lambda: len(one.replies) == 300)
        assert [one.replies[1 + number].offset for number in range(300)] == list(range(1, 301))


async def test_two_rooms_do_not_mix(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node, AsyncExitStack() as stack:
        here = [await stack.enter_async_context(connect(node.url, codec)) for _ in range(2)]
        there = [await stack.enter_async_context(connect(node.url, codec)) for _ in range(2)]
        for viewer in here:
            await viewer.join("甲")
        for viewer in there:
            await viewer.join("乙")
        assert here[0].handle != there[0].handle
        for number in range(10):
            assert await here[number % 2].comment(f"甲 {number}") == number + 1
            assert await there[number % 2].comment(f"乙 {number}") == number + 1
        await here[0].send(LIKE, here[0].handle, 3)
        await there[0].send(LIKE, there[0].handle, 5)
        for viewers, name, likes in ((here, "甲", 3), (there, "乙", 5)):
            for viewer in viewers:
                await viewer.until_offset(10)
                await viewer.until(lambda viewer=viewer, likes=likes: viewer.counters == (likes, 2))  # type: ignore[misc]
                await viewer.settle()
                assert viewer.bodies == [f"{name} {number}" for number in range(10)]
                assert not viewer.faults


async def test_a_handle_of_another_room_is_refused(running: Running, codec: str) -> None:
    async with (
        running(lively()) as node,
        open_viewer("raw", node.url, codec) as here,
        open_viewer("raw", node.url, codec) as there,
    ):
        await here.join("here")
        await there.join("there")
        assert (await here.ask(3, there.handle, "smuggled")).code == 102
        await there.settle()
        assert not there.events


async def test_leaving_and_joining_again_on_one_connection(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node, connect(node.url, codec) as viewer, open_viewer("raw", node.url) as other:
        await other.join("r")
        await viewer.join("r")
        await viewer.until_offset(await viewer.comment("one"))
        assert (await viewer.ask(LEAVE, viewer.handle)).code == 0
        await other.comment("while away")
        await viewer.settle()
        assert viewer.bodies == ["one"]
        assert (await viewer.ask(3, viewer.handle, "not here")).code == 102
        session, position = viewer.session, viewer.position
        joined = await viewer.join("r", position, session=session)
        assert joined[3] == session
        assert joined[6] is True
        await viewer.comment("back")
        await viewer.until_offset(3)
        assert viewer.bodies == ["one", "while away", "back"]
        assert (await viewer.ask(LEAVE, viewer.handle)).code == 0
        await viewer.join("elsewhere")
        assert await viewer.comment("hello") == 1


async def test_custom_and_direct_need_a_permission(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node, connect(node.url, codec) as viewer, connect(node.url, codec) as other:
        await viewer.join("r")
        await other.join("r")
        assert (await viewer.ask(CUSTOM, viewer.handle, "gift", "{}")).code == 104
        assert (await viewer.ask(DIRECT, viewer.handle, other.user, "psst")).code == 104
        assert await node.custom("r", "gift", '{"n": 1}') == 1
        for each in (viewer, other):
            await each.until_offset(1)
            await each.settle()
            assert each.events == {1: [2, ["server", "", {}, "server", 0], 0, "gift", '{"n": 1}']}
            assert not each.directs


async def test_readers_only_read(running: Running, codec: str) -> None:
    async with running(lively(access={"anonymous": "read"})) as node, open_viewer("raw", node.url, codec) as viewer:
        joined = await viewer.join("r")
        assert joined[5] == "reader"
        assert (await viewer.ask(3, viewer.handle, "no")).code == 104
        await viewer.send(LIKE, viewer.handle, 5)
        await viewer.until(lambda: bool(viewer.faults))
        assert viewer.faults[0].code == 104
        await node.comment("r", "for you")
        await viewer.until_offset(1)
        assert viewer.bodies == ["for you"]


async def test_the_node_speaks_and_counts_too(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join("r")
        assert await node.comment("r", "first", session="s", ref=1) == 1
        assert await node.comment("r", "first", session="s", ref=1) == 1
        node.like("r", 7)
        await viewer.until_offset(1)
        await viewer.until(lambda: viewer.counters == (7, 1))
        await viewer.settle()
        assert viewer.bodies == ["first"]


async def test_a_silent_room_beats(running: Running, codec: str) -> None:
    async with (
        running(lively(room={"heartbeat_seconds": 1.0, "counters_seconds": 60.0})) as node,
        open_viewer("raw", node.url, codec) as viewer,
    ):
        joined = await viewer.join("r")
        assert joined[7] == 1000
        await viewer.until(lambda: viewer.heartbeats >= 2)
        assert viewer.position == (viewer.snapshots[0][3], 0)


async def test_likes_are_totals_so_repeating_them_adds_nothing(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join("r")
        for total in (3, 3, 2, 10, 10, 0):
            await viewer.send(LIKE, viewer.handle, total)
        await viewer.until(lambda: viewer.counters[0] == 10)
        session = viewer.session
        assert (await viewer.ask(LEAVE, viewer.handle)).code == 0
        await viewer.join("r", session=session)
        await viewer.send(LIKE, viewer.handle, 10)
        await viewer.send(LIKE, viewer.handle, 12)
        await viewer.until(lambda: viewer.counters[0] >= 12)
        await viewer.settle()
        assert node.counters("r") == (12, 1)
