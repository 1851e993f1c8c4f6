"""A link that ends, with or without its hub: viewers keep their sockets, and are given everything or told what is missing."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from e2e.transports import connect_raw, request, upgrade
from e2e.viewers import COMMENT, JSON, MSGPACK, Reply, Viewer, open_viewer

from engine.errors import Code, Refused
from engine.link import memory_link
from engine.link.messages import Arrivals, Likes, OpenRoom, Presence, RefuseRoom, Say

from .cutting import Cutting, open_cutting
from .nodes import until_new_epoch

ROOM = "断线"


async def seated(stack: AsyncExitStack, cutting: Cutting, edge: int, codec: str = MSGPACK) -> Viewer:
    viewer = await stack.enter_async_context(open_viewer("raw", cutting.url(edge), codec))
    await viewer.join(ROOM)
    return viewer


async def until_counters(viewer: Viewer, *counters: int) -> None:
    await viewer.until(lambda: viewer.counters == counters)


async def test_the_same_hub_gives_an_edge_what_it_missed_from_the_history() -> None:
    async with open_cutting() as cutting, AsyncExitStack() as stack:
        near = [await seated(stack, cutting, 0, codec) for codec in (MSGPACK, JSON)]
        far = [await seated(stack, cutting, 1, codec) for codec in (JSON, MSGPACK)]
        for number in range(5):
            await near[0].comment(f"before {number}")
        await near[0].until_offset(5)
        for viewer in far:
            await viewer.until_offset(5)
        await cutting.cut(1)
        for number in range(2_500):
            await near[0].send(COMMENT, 1 + number, near[0].handle, f"meanwhile {number}")
        await near[0].until_offset(2_505)
        await cutting.link(1)
        await far[0].comment("after")
        for viewer in (*near, *far):
            await viewer.until_offset(2_506)
            assert list(viewer.events) == list(range(1, 2_507))
            assert not viewer.gaps
            assert len(viewer.snapshots) == 1
        newcomer = await seated(stack, cutting, 1)
        await newcomer.until_offset(2_506)
        assert not newcomer.gaps


async def test_what_the_history_does_not_hold_any_more_is_named() -> None:
    async with open_cutting(broker={"history_events": 10}) as cutting, AsyncExitStack() as stack:
        near, far = await seated(stack, cutting, 0), await seated(stack, cutting, 1)
        await far.comment("before")
        await far.until_offset(1)
        await cutting.cut(1)
        for number in range(50):
            await near.comment(f"{number}")
        await cutting.link(1)
        await far.until_offset(51)
        assert far.position is not None
        assert far.gaps == [(far.position[0], 2, 41, "history")]
        assert far.bodies == ["before", *(f"{number}" for number in range(40, 50))]
        await near.until_offset(51)
        assert not near.gaps


async def test_a_new_hub_continues_in_a_new_epoch_from_its_beginning() -> None:
    async with open_cutting(3) as cutting, AsyncExitStack() as stack:
        viewers = [await seated(stack, cutting, edge, codec) for edge in (0, 1) for codec in (MSGPACK, JSON)]
        await viewers[0].comment("old")
        for viewer in viewers:
            await viewer.until_offset(1)
        old = viewers[0].position
        assert old is not None
        await cutting.lose_hub()
        await cutting.start_hub()
        await cutting.link(0)
        assert await viewers[0].comment("new") == 1
        assert await viewers[1].comment("newer") == 2
        # The other edge comes back when the new epoch has begun.
        await cutting.link(1)
        for viewer in viewers:
            await until_new_epoch(viewer, old[0], 2)
            assert viewer.position is not None
            assert viewer.position[0] != old[0]
            assert viewer.gaps == [(old[0], 2, 0, "epoch")]
            assert viewer.bodies == ["new", "newer"]
            assert len(viewer.snapshots) == 2
        await cutting.link(2)
        late = await seated(stack, cutting, 2)
        assert late.snapshots[0][3:5] == [viewers[0].position[0] if viewers[0].position else 0, 2]
        await until_counters(late, 0, 5)


async def test_likes_and_presence_are_right_after_every_kind_of_loss() -> None:
    async with open_cutting() as cutting, AsyncExitStack() as stack:
        near, far = await seated(stack, cutting, 0), await seated(stack, cutting, 1)
        await near.send(4, near.handle, 10)
        await far.send(4, far.handle, 5)
        await until_counters(near, 15, 2)
        await cutting.cut(1)
        await until_counters(near, 15, 1)
        await far.send(4, far.handle, 7)
        await far.settle()
        await cutting.link(1)
        # Not counted again: the hub knows the edge.
        await until_counters(near, 17, 2)
        # The room was closed at the hub meanwhile.
        await cutting.cut(0)
        await cutting.cut(1)
        await cutting.link(0)
        await cutting.link(1)
        await near.send(4, near.handle, 11)
        await until_counters(far, 18, 2)
        # Nobody remembers but the edges.
        await cutting.lose_hub()
        await cutting.start_hub()
        await cutting.link(0)
        await cutting.link(1)
        await until_counters(far, 18, 2)
        await until_counters(near, 18, 2)


async def test_an_edge_that_comes_back_before_its_old_link_was_seen_to_end_is_counted_once() -> None:
    async with open_cutting(1) as cutting, AsyncExitStack() as stack:
        viewer = await seated(stack, cutting, 0)
        await viewer.send(4, viewer.handle, 10)
        await until_counters(viewer, 10, 1)
        hub = cutting.hub
        assert hub is not None
        ours, theirs = memory_link(encoded=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.serve, theirs, "edge 0")
            ours.send([OpenRoom(ROOM, 1, [0]), Presence(ROOM, 1), Likes(ROOM, 12)])
            while hub.counters(ROOM) != (12, 1):
                await trio.lowlevel.checkpoint()
            assert not cutting.edges[0].rooms.linked
            ours.close()


async def test_what_nobody_answered_is_said_again_and_is_there_once() -> None:
    async with open_cutting() as cutting, AsyncExitStack() as stack:
        speaker, witness = await seated(stack, cutting, 0), await seated(stack, cutting, 1)
        await speaker.comment("0")
        await cutting.cut(0)
        for ref in range(1, 21):
            await speaker.send(COMMENT, ref, speaker.handle, f"{ref}")
        await speaker.settle()
        assert not [ref for ref in speaker.replies if ref <= 20]
        await cutting.link(0)
        await speaker.until(lambda: all(ref in speaker.replies for ref in range(1, 21)))
        assert [speaker.replies[ref].offset for ref in range(1, 21)] == list(range(2, 22))
        for viewer in (speaker, witness):
            await viewer.until_offset(21)
            assert viewer.bodies == [f"{number}" for number in range(21)]


async def test_what_was_published_before_its_answer_was_lost_is_not_there_twice() -> None:
    async with open_cutting(1) as cutting, AsyncExitStack() as stack:
        speaker = await seated(stack, cutting, 0)
        hub = cutting.hub
        assert hub is not None
        offset = await hub.say(ROOM, "once", session=speaker.session, ref=7)
        assert await speaker.comment("once", ref=7) == offset
        await speaker.until_offset(offset)
        await speaker.settle()
        assert speaker.bodies == ["once"]


async def test_input_beyond_the_bound_is_refused_and_the_rest_is_kept() -> None:
    limits = {"comment_bytes": 16_384, "comment_characters": 16_384}
    async with open_cutting(1, limits=limits, edge={"message_bytes": 1 << 20}) as cutting, AsyncExitStack() as stack:
        speaker = await seated(stack, cutting, 0)
        await cutting.cut(0)
        count = (16 << 20) // 16_000 + 50
        for ref in range(1, count + 1):
            await speaker.send(COMMENT, ref, speaker.handle, "x" * 16_000)
        await speaker.settle()
        refused = {ref: reply for ref, reply in speaker.replies.items() if ref <= count}
        assert 50 <= len(refused) < 200
        assert {reply.code for reply in refused.values()} == {Code.OVERLOADED}
        assert min(reply.retry_after_ms for reply in refused.values()) > 0
        await cutting.link(0)
        await speaker.until(lambda: len([ref for ref in speaker.replies if ref <= count]) == count)
        accepted = [reply for ref, reply in speaker.replies.items() if ref <= count and reply.code == 0]
        assert len(accepted) == count - len(refused)
        assert await speaker.comment("goes on") == len(accepted) + 1


async def refused(viewer: Viewer, room: str) -> Reply:
    reply = await viewer.ask(1, room)
    assert reply.code == Code.UNAVAILABLE
    assert reply.retry_after_ms > 0
    return reply


async def test_without_a_hub_open_rooms_are_entered_and_others_refused_until_it_is_back() -> None:
    async with open_cutting(1) as cutting, AsyncExitStack() as stack:
        first = await seated(stack, cutting, 0)
        await first.until_offset(await first.comment("a"))
        await cutting.cut(0)
        # From the log, as before.
        position = first.position
        back = await stack.enter_async_context(open_viewer("raw", cutting.url(0)))
        joined = await back.join(ROOM, (position[0], 0) if position else None)
        assert joined[6] is True
        await back.until_offset(1)
        # What only the hub could bring.
        stranger = await stack.enter_async_context(open_viewer("raw", cutting.url(0)))
        await refused(stranger, "another room")
        other_codec = await stack.enter_async_context(open_viewer("raw", cutting.url(0), JSON))
        await refused(other_codec, ROOM)
        assert (await first.ask(8, first.handle, first.user, "direct")).code in (Code.UNAVAILABLE, Code.FORBIDDEN)
        await cutting.link(0)
        for viewer, room in ((stranger, "another room"), (other_codec, ROOM)):
            await viewer.join(room)
        offset = await first.comment("b")
        for viewer in (first, back, other_codec):
            await viewer.until_offset(offset)
            assert not viewer.gaps


async def test_who_waits_when_the_link_ends_is_let_in_when_there_is_one_again() -> None:
    """The link is cut before the hub has answered: one waits for a room to open, one for the past."""
    async with open_cutting(1, room={"linger_seconds": 0.0}) as cutting, AsyncExitStack() as stack:
        viewer = await seated(stack, cutting, 0)
        for number in range(20):
            await viewer.comment(f"{number}")
        await viewer.until_offset(20)
        session, epoch = viewer.session, viewer.position[0] if viewer.position else 0
        await viewer.ask(2, viewer.handle)
        edge = cutting.edges[0]
        while len(edge.rooms):
            await trio.lowlevel.checkpoint()
        # A hub that never answers.
        await cutting.cut(0)
        ours, theirs = memory_link(encoded=True)
        returning = await stack.enter_async_context(open_viewer("raw", cutting.url(0)))
        async with trio.open_nursery() as nursery:
            await nursery.start(edge.serve, ours)
            await returning.send(1, 1, ROOM, epoch, 10, session)
            assert isinstance((await theirs.receive())[0], OpenRoom)
            theirs.close()
        assert not edge.rooms.linked
        returning.position, returning._asked = None, (epoch, 10)
        await cutting.link(0)
        await returning.until(lambda: returning.position == (epoch, 20))
        assert returning.bodies == [f"{number}" for number in range(10, 20)]
        assert not returning.gaps


async def test_a_room_that_cannot_be_continued_sends_its_viewers_elsewhere() -> None:
    async with open_cutting(1) as cutting, AsyncExitStack() as stack:
        viewer = await seated(stack, cutting, 0)
        await cutting.cut(0)
        ours, theirs = memory_link(encoded=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(cutting.edges[0].serve, ours)
            opening = (await theirs.receive())[0]
            assert isinstance(opening, OpenRoom)
            theirs.send([RefuseRoom(ROOM, opening.opening, Code.UNAVAILABLE, "no")])
            assert (await viewer.until_gone()).code == 1001
            theirs.close()
        assert not len(cutting.edges[0].rooms)


async def test_an_edge_that_leaves_answers_everybody_first() -> None:
    async with open_cutting(2, node={"return_window_seconds": 0.5}) as cutting, AsyncExitStack() as stack:
        viewer, other = await seated(stack, cutting, 0), await seated(stack, cutting, 1)
        await cutting.cut(0)
        await viewer.send(COMMENT, 1, viewer.handle, "under way")
        await viewer.settle()
        edge = cutting.edges[0]
        async with trio.open_nursery() as nursery:
            edge.stop_accepting()
            nursery.start_soon(edge.leave)
            while not edge.rooms.leaving:
                await trio.lowlevel.checkpoint()
            reply = await viewer.ask(COMMENT, viewer.handle, "too late")
            assert reply.code == Code.UNAVAILABLE
            await cutting.link(0)
            assert (await viewer.until_gone()).code == 4000
        assert viewer.replies[1].code == 0
        assert viewer.bye is not None
        assert viewer.bye[4] == 500
        await other.until_offset(1)
        assert other.bodies == ["under way"]


async def test_an_edge_that_leaves_lets_a_handshake_under_way_finish() -> None:
    async with open_cutting(1) as cutting, AsyncExitStack() as stack:
        viewer = await seated(stack, cutting, 0)
        edge, url = cutting.edges[0], cutting.url(0)
        stream = await connect_raw(url)
        head = request(url, MSGPACK)
        await stream.send_all(head[:20])
        while len(edge.connections) < 2:
            await trio.lowlevel.checkpoint()
        async with stream, trio.open_nursery() as nursery:
            edge.stop_accepting()
            nursery.start_soon(edge.leave)
            assert (await viewer.until_gone()).code == 4000
            late = Viewer(await upgrade(stream, head[20:]), MSGPACK)
            assert (await late.until_gone()).code == 4000
            assert late.bye is not None


async def test_a_hub_that_has_stopped_tells_an_edge_that_comes_late() -> None:
    async with open_cutting(1) as cutting:
        await cutting.cut(0)
        assert cutting.hub is not None
        await cutting.hub.drain()
        await cutting.link(0)
        with trio.fail_after(30):
            await cutting.edges[0].rooms.stopped.wait()
        with pytest.raises(Refused):
            await cutting.hub.say(ROOM, "too late")


async def test_an_event_said_twice_before_the_answer_is_held_once() -> None:
    async with open_cutting(1) as cutting, AsyncExitStack() as stack:
        viewer = await seated(stack, cutting, 0)
        await cutting.cut(0)
        for _ in range(3):
            await viewer.send(COMMENT, 1, viewer.handle, "again")
        await viewer.settle()
        ours, theirs = memory_link(encoded=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(cutting.edges[0].serve, ours)
            messages = [*await theirs.receive()]
            while not any(isinstance(message, Say) for message in messages):
                messages += await theirs.receive()
            assert [type(message) for message in messages] == [OpenRoom, Presence, Arrivals, Say]
            theirs.close()
        await cutting.link(0)
        await viewer.until_offset(1)
        await viewer.settle()
        assert viewer.bodies == ["again"]


def test_every_epoch_of_a_new_hub_is_new() -> None:
    """Two hubs that a restart separates begin rooms in different epochs, whatever the first one did."""

    async def epochs() -> list[int]:
        found = []
        for _ in range(3):
            async with open_cutting(1) as cutting, AsyncExitStack() as stack:
                viewer = await seated(stack, cutting, 0)
                found.append(viewer.position[0] if viewer.position else 0)
        return found

    assert len(set(trio.run(epochs)) - {0}) == 3
