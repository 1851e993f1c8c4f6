"""Viewers who stop reading, on real sockets: others do not notice, memory stays bounded, and what they miss is named.

The kernel hides a slow reader behind its own buffers, so both are made small and far more than they hold is sent.
"""

from __future__ import annotations

import random
import socket
from contextlib import AsyncExitStack

import pytest
import trio

from engine.brokers.base import Pending
from engine.errors import Close
from engine.node import Node, open_node
from engine.schema import MSGPACK, Author, CommentEvent
from engine.ws import Opcode, client_frame

from .conftest import Running
from .nodes import lively
from .transports import ABNORMAL, Gone
from .viewers import PATIENCE, Viewer, open_viewer

ROOM = "慢"
BATCH = 34
SMALL = {"send_buffer_bytes": 4096}
PACE = 20
"""Comments between looks at the one who keeps up: who is to be slow is slow, the others are not."""
LOG, FRAME = 262_144, PACE * 2_100
MANY = 600
"""Comments of 2,000 bytes: 1.2 MB, more than four times what the kernel holds for a stopped reader here."""


def text(number: int) -> str:
    """2,000 bytes that do not compress well."""
    return f"{number} ".ljust(8) + random.Random(number).randbytes(996).hex()


async def flood(node: Node, first: int, count: int) -> None:
    for number in range(first, first + count):
        await node.comment(ROOM, text(number))


async def follow(viewer: Viewer, offset: int) -> None:
    await viewer.until_offset(offset)


async def test_a_slow_viewer_catches_up_and_nobody_notices(running: Running, codec: str) -> None:
    async with (
        running(lively(edge=SMALL)) as node,
        open_viewer("raw", node.url, codec, receive_buffer=4096) as slow,
        AsyncExitStack() as stack,
    ):
        await slow.join(ROOM)
        others = [await stack.enter_async_context(open_viewer("raw", node.url, codec)) for _ in range(3)]
        for other in others:
            await other.join(ROOM)
        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(follow, other, MANY)
            await flood(node, 1, MANY)
        statistics = node.statistics().edge
        assert statistics.laggards == 1
        assert statistics.stalls >= 0
        assert not slow.events
        await slow.until_offset(MANY)
        for viewer in (slow, *others):
            assert viewer.bodies == [text(number) for number in range(1, MANY + 1)]
            assert not viewer.gaps
        # Live again: the next one comes like everybody's.
        await flood(node, MANY + 1, 1)
        await slow.until_offset(MANY + 1)
        assert node.statistics().edge.laggards == 0
        assert node.statistics().edge.lag_policies == 0


async def test_requests_of_a_slow_viewer_are_answered_between_frames(running: Running, codec: str) -> None:
    async with running(lively(edge=SMALL)) as node, open_viewer("raw", node.url, codec, receive_buffer=4096) as slow:
        await slow.join(ROOM)
        await flood(node, 1, MANY)
        await slow.send(5, 4711)
        await slow.send(3, 4712, slow.handle, "still me")
        await slow.until_offset(MANY + 1)
        await slow.until(lambda: 4711 in slow.pongs and 4712 in slow.replies)
        assert slow.replies[4712].offset == MANY + 1
        assert slow.bodies == [*(text(number) for number in range(1, MANY + 1)), "still me"]


@pytest.mark.parametrize("policy", ["skip", "close"])
async def test_beyond_the_log_the_lag_policy_applies(running: Running, codec: str, policy: str) -> None:
    room = {"log_bytes": LOG, "batch_bytes": 16_384, "lag_policy": policy}
    async with (
        running(lively(edge=SMALL, room=room)) as node,
        open_viewer("raw", node.url, codec, receive_buffer=4096, deflate=False) as slow,
        open_viewer("raw", node.url, codec, deflate=False) as other,
    ):
        await slow.join(ROOM)
        await other.join(ROOM)
        session = slow.session
        largest = 0
        for number in range(1, MANY + 1, PACE):
            await flood(node, number, PACE)
            await other.until_offset(number + PACE - 1)
            largest = max(largest, node.statistics().edge.log_bytes)
        assert largest <= LOG + FRAME
        assert other.bodies == [text(number) for number in range(1, MANY + 1)]
        assert not other.gaps
        if policy == "skip":
            await slow.until(lambda: bool(slow.gaps))
            await slow.until_offset(MANY)
            await flood(node, MANY + 1, 1)
            await slow.until_offset(MANY + 1)
            # One gap may follow another at once: it fell behind again before it had read of the first.
            assert {reason for _, _, _, reason in slow.gaps} == {"lag"}
            missing = [offset for _, first, last, _ in slow.gaps for offset in range(first, last + 1)]
            assert sorted([*slow.events, *missing]) == list(range(1, MANY + 2))
            assert node.statistics().edge.lag_policies == len(slow.gaps)
            assert all(slow.events[offset][-1] == text(offset) for offset in slow.events)
        else:
            gone = await slow.until_gone()
            # Whoever has half a frame cannot be sent a close frame any more.
            assert gone.code in (Close.LAG, ABNORMAL)
            assert node.statistics().edge.closed[Close.LAG] == 1
            got = len(slow.events)
            assert list(slow.events) == list(range(1, got + 1))
            async with open_viewer("raw", node.url, codec) as back:
                await back.join(ROOM, slow.position, session=session)
                await back.until_offset(MANY)


async def test_half_a_frame_that_must_leave_the_log_closes_its_viewer(running: Running, codec: str) -> None:
    room = {"log_seconds": 1.0, "lag_seconds": 1.0, "log_bytes": 8 << 20, "batch_bytes": 2 << 20}
    async with (
        running(lively(edge=SMALL, room=room)) as node,
        open_viewer("raw", node.url, codec, receive_buffer=4096) as slow,
        open_viewer("raw", node.url, codec) as other,
    ):
        await slow.join(ROOM)
        await other.join(ROOM)
        session = slow.session
        before = other.told.count(BATCH)
        # All at once, so that they are one frame of which half is certainly stuck.
        comments = [CommentEvent(Author("server"), 0, text(number)) for number in range(MANY)]
        await node.publish_many([(ROOM, Pending(MSGPACK.encode(each))) for each in comments])
        await other.until_offset(MANY)
        assert other.told.count(BATCH) == before + 1
        assert node.statistics().edge.laggards == 1
        head = MANY
        with trio.fail_after(PATIENCE):
            while Close.LOG_FULL not in node.statistics().edge.closed:
                head = await node.comment(ROOM, "time passes")
                await other.until_offset(head)
        assert (await slow.until_gone()).code == ABNORMAL
        got = len(slow.events)
        assert list(slow.events) == list(range(1, got + 1))
        async with open_viewer("raw", node.url, codec) as back:
            await back.join(ROOM, slow.position, session=session)
            await back.until_offset(head)
            assert list(back.events) == list(range(got + 1, head + 1))


async def test_a_reset_in_the_middle_of_a_frame(running: Running, codec: str) -> None:
    async with running(lively(edge=SMALL)) as node, open_viewer("raw", node.url, codec) as other:
        await other.join(ROOM)
        async with open_viewer("raw", node.url, codec, receive_buffer=4096) as slow:
            await slow.join(ROOM)
            await flood(node, 1, MANY)
            await other.until_offset(MANY)
            assert node.statistics().edge.laggards == 1
            slow.raw.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        with trio.fail_after(PATIENCE):
            while node.statistics().edge.viewers > 1:
                await trio.lowlevel.checkpoint()
        assert node.statistics().edge.laggards == 0
        await other.until_offset(await node.comment(ROOM, "unharmed"))
        assert other.bodies[-1] == "unharmed"


async def test_half_a_message_of_ours_harms_nobody(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as other:
        await other.join(ROOM)
        async with open_viewer("raw", node.url, codec) as viewer:
            await viewer.join(ROOM)
            message = viewer.encode(3, 1, viewer.handle, "never complete")
            raw = message.encode() if isinstance(message, str) else message
            whole = client_frame(Opcode.BINARY, raw)
            await viewer.raw.stream.send_all(whole[:-1])
            viewer.raw.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await other.until(lambda: other.counters[1] == 1)
        assert await other.comment("fine") == 1


async def test_many_slow_viewers_at_different_places(codec: str) -> None:
    room = {"log_bytes": LOG, "batch_bytes": 16_384}
    async with open_node(lively(edge=SMALL, room=room)) as node, AsyncExitStack() as stack:
        slow = [
            await stack.enter_async_context(open_viewer("raw", node.url, codec, receive_buffer=4096, deflate=False))
            for _ in range(6)
        ]
        other = await stack.enter_async_context(open_viewer("raw", node.url, codec, deflate=False))
        await other.join(ROOM)
        sent = 0
        largest = 0
        for viewer in slow:
            await viewer.join(ROOM)
            for _ in range(10):
                await flood(node, sent + 1, PACE)
                sent += PACE
                await other.until_offset(sent)
                largest = max(largest, node.statistics().edge.log_bytes)
        assert largest <= LOG + FRAME
        assert len(other.events) == sent
        for viewer in slow:
            closed = False
            try:
                await viewer.until_offset(sent)
            except Gone:
                closed = True
            start = viewer.snapshots[0][4]
            missing = {offset for _, first, last, _ in viewer.gaps for offset in range(first, last + 1)}
            until = viewer.position[1] if viewer.position else 0
            assert set(viewer.events) == set(range(start + 1, until + 1)) - missing
            assert closed or until == sent
            assert all(viewer.events[offset][-1] == text(offset) for offset in viewer.events)
