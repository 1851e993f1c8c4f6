"""Coming back: with a position and a session, nothing is missing, nothing is there twice, and what cannot come is named."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from engine.node import Node

from .conftest import Connect, Running
from .nodes import lively
from .viewers import LIKE, PATIENCE, Viewer, open_viewer

ROOM = "回放"


async def fill(node: Node, count: int, *, size: int = 10) -> None:
    for _ in range(count):
        await node.comment(ROOM, "x" * size)


async def forgotten(node: Node) -> None:
    """Wait until the edge has let an empty room go."""
    with trio.fail_after(PATIENCE):
        while node.statistics().edge.rooms or node.statistics().hub.rooms:
            await trio.lowlevel.checkpoint()


async def test_a_retry_after_a_reconnect_gets_the_same_offset_and_no_second_event(
    running: Running, connect: Connect, codec: str
) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url) as witness:
        await witness.join(ROOM)
        async with connect(node.url, codec) as viewer:
            await viewer.join(ROOM)
            offset = await viewer.comment("once", ref=4711)
            session, position, user = viewer.session, viewer.position, viewer.user
        async with connect(node.url, codec) as viewer:
            joined = await viewer.join(ROOM, position, session=session)
            assert (joined[3], joined[4]) == (session, user)
            assert await viewer.comment("once", ref=4711) == offset
            assert await viewer.comment("twice", ref=4712) == offset + 1
            await viewer.until_offset(offset + 1)
        await witness.until_offset(offset + 1)
        await witness.settle()
        assert witness.bodies == ["once", "twice"]


async def test_two_sessions_with_the_same_ref_are_two_events(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as one, open_viewer("raw", node.url) as two:
        await one.join(ROOM)
        await two.join(ROOM)
        assert one.session != two.session
        assert await one.comment("a", ref=5) == 1
        assert await two.comment("b", ref=5) == 2


async def test_resume_from_the_log(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node:
        async with connect(node.url, codec) as viewer:
            await viewer.join(ROOM)
            for number in range(5):
                await viewer.comment(f"before {number}")
            await viewer.until_offset(5)
            session, position = viewer.session, viewer.position
        for number in range(20):
            await node.comment(ROOM, f"meanwhile {number}")
        async with connect(node.url, codec) as viewer:
            joined = await viewer.join(ROOM, position, session=session)
            assert joined[6] is True
            await viewer.comment("after")
            await viewer.until_offset(26)
            assert list(viewer.events) == list(range(6, 27))
            assert viewer.bodies == [*(f"meanwhile {number}" for number in range(20)), "after"]
            assert not viewer.gaps
            assert not viewer.snapshots


async def test_every_position_resumes_exactly_there(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as first, AsyncExitStack() as stack:
        await first.join(ROOM)
        for number in range(30):
            await first.send(3, 1 + number, first.handle, f"{number}")
        await first.until_offset(30)
        epoch = first.position[0] if first.position else 0
        for offset in range(31):
            viewer = await stack.enter_async_context(open_viewer("raw", node.url, codec))
            joined = await viewer.join(ROOM, (epoch, offset))
            assert joined[6] is True
            await viewer.until_offset(30)
            await viewer.settle()
            assert viewer.bodies == [f"{number}" for number in range(offset, 30)]
            assert not viewer.gaps


async def test_resume_from_the_history_of_a_room_that_was_let_go(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively(room={"linger_seconds": 0.0})) as node:
        async with connect(node.url, codec) as viewer:
            await viewer.join(ROOM)
            await viewer.until_offset(await viewer.comment("first"))
            session, position = viewer.session, viewer.position
        await forgotten(node)
        await fill(node, 2_500)
        async with connect(node.url, codec) as viewer, connect(node.url, codec) as newcomer:
            joined = await viewer.join(ROOM, position, session=session)
            assert joined[6] is True
            await newcomer.join(ROOM)
            assert newcomer.snapshots[0][4] == 2_501
            await viewer.comment("last")
            for each in (viewer, newcomer):
                await each.until_offset(2_502)
                assert not each.gaps
            assert list(viewer.events) == list(range(2, 2_503))
            assert newcomer.bodies == ["last"]


async def test_several_come_back_from_the_history_at_once_from_different_positions(running: Running, codec: str) -> None:
    async with running(lively(room={"linger_seconds": 0.0})) as node, AsyncExitStack() as stack:
        async with open_viewer("raw", node.url, codec) as viewer:
            await viewer.join(ROOM)
            epoch = viewer.position[0] if viewer.position else 0
        await forgotten(node)
        await fill(node, 100)
        viewers: dict[int, Viewer] = {}
        for offset in (90, 10, 50, 0, 100, 10):
            viewers[offset] = viewer = await stack.enter_async_context(open_viewer("raw", node.url, codec))
            await viewer.send(1, 1, ROOM, epoch, offset)
            viewer._asked = (epoch, offset)
        for offset, viewer in viewers.items():
            await viewer.until_offset(100)
            assert list(viewer.events) == list(range(offset + 1, 101))
            assert not viewer.gaps


async def test_resume_from_the_history_after_the_log_was_trimmed_by_age(running: Running, codec: str) -> None:
    async with (
        running(lively(room={"log_seconds": 1.0, "lag_seconds": 1.0})) as node,
        open_viewer("raw", node.url, codec) as steady,
    ):
        await steady.join(ROOM)
        epoch = steady.position[0] if steady.position else 0
        head = await node.comment(ROOM, "old " * 400)
        await steady.until_offset(head)
        largest = 0
        with trio.fail_after(PATIENCE):
            # Until the first, large frame has left the log.
            while (size := node.statistics().edge.log_bytes) >= largest:
                largest = size
                head = await node.comment(ROOM, "y")
                await steady.until_offset(head)
        async with open_viewer("raw", node.url, codec) as viewer:
            joined = await viewer.join(ROOM, (epoch, 0))
            await viewer.until_offset(head)
            assert not viewer.gaps
            assert joined[6] is True
            assert viewer.events == steady.events


async def test_resume_from_the_history_after_the_log_was_trimmed_by_size(running: Running, codec: str) -> None:
    room = {"log_bytes": 65_536, "batch_bytes": 4_096}
    async with running(lively(room=room)) as node, open_viewer("raw", node.url, codec, deflate=False) as steady:
        await steady.join(ROOM)
        epoch = steady.position[0] if steady.position else 0
        for number in range(60):
            await steady.until_offset(await node.comment(ROOM, f"{number} ".ljust(2_000, "z")))
        assert node.statistics().edge.log_bytes <= 65_536 + 4_096 + 64
        async with open_viewer("raw", node.url, codec, deflate=False) as viewer:
            # A little older than the log: the history has all of it.
            await viewer.join(ROOM, (epoch, 20))
            await viewer.until_offset(60)
            assert not viewer.gaps
            assert list(viewer.events) == list(range(21, 61))
        assert node.statistics().edge.log_bytes <= 65_536 * 3 // 2


async def test_older_than_the_history_is_a_gap_and_a_snapshot(running: Running, connect: Connect, codec: str) -> None:
    settings = lively(room={"linger_seconds": 0.0}, broker={"history_events": 5})
    async with running(settings) as node:
        async with connect(node.url, codec) as viewer:
            await viewer.join(ROOM)
            await viewer.until_offset(await viewer.comment("first"))
            session, position = viewer.session, viewer.position
            assert position is not None
        await forgotten(node)
        await fill(node, 20)
        async with connect(node.url, codec) as viewer:
            joined = await viewer.join(ROOM, position, session=session)
            assert joined[6] is False
            assert viewer.gaps == [(position[0], 2, 21, "history")]
            assert viewer.snapshots[0][3:5] == [position[0], 21]
            assert viewer.told[:3] == [32, 36, 33]
            assert await viewer.comment("on") == 22
            await viewer.until_offset(22)
            assert viewer.bodies == ["on"]


@pytest.mark.parametrize("offset", [0, 1, 2**53 - 1])
async def test_a_position_of_another_epoch_is_a_gap_and_a_snapshot(running: Running, codec: str, offset: int) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as witness:
        await witness.join(ROOM)
        await witness.comment("here")
        async with open_viewer("raw", node.url, codec) as viewer:
            joined = await viewer.join(ROOM, (1, offset))
            assert joined[6] is False
            assert viewer.gaps == [(1, offset + 1, 0, "epoch")]
            await viewer.until_offset(await viewer.comment("on"))
            assert viewer.bodies[-1] == "on"


async def test_a_position_from_the_future_continues_when_the_room_gets_there(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as witness:
        await witness.join(ROOM)
        epoch = witness.position[0] if witness.position else 0
        await fill(node, 3)
        await witness.until_offset(3)
        async with open_viewer("raw", node.url, codec) as viewer:
            await viewer.join(ROOM, (epoch, 10))
            await fill(node, 10)
            await viewer.until_offset(13)
            await witness.until_offset(13)
            assert list(viewer.events) == [11, 12, 13]
            assert viewer.overlap == 7


async def test_likes_of_a_session_are_counted_once_across_reconnects(running: Running, codec: str) -> None:
    async with running(lively()) as node:
        async with open_viewer("raw", node.url, codec) as viewer:
            await viewer.join(ROOM)
            await viewer.send(LIKE, viewer.handle, 8)
            await viewer.until(lambda: viewer.counters[0] == 8)
            session, position = viewer.session, viewer.position
        async with open_viewer("raw", node.url, codec) as viewer:
            await viewer.join(ROOM, position, session=session)
            await viewer.send(LIKE, viewer.handle, 8)
            await viewer.send(LIKE, viewer.handle, 9)
            await viewer.until(lambda: viewer.counters[0] >= 9)
            await viewer.settle()
            assert viewer.counters == (9, 1)


async def test_a_viewer_who_vanishes_leaves_the_count(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join(ROOM)
        async with open_viewer("raw", node.url, codec) as other:
            await other.join(ROOM)
            await viewer.until(lambda: viewer.counters[1] == 2)
        await viewer.until(lambda: viewer.counters[1] == 1)
