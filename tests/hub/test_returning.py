"""An edge that comes back over a new link is given what its viewers are missing before it goes on with the others."""

from __future__ import annotations

from itertools import pairwise

import trio
from trio.testing import MockClock

from engine.brokers.base import History, Unavailable
from engine.errors import Code
from engine.link.messages import CloseRoom, Frames, Gate, OpenRoom, Packets, Presence, RefuseRoom, Restart, SharedSnapshot, Up
from engine.settings import RoomSettings

from .harness import FakeEdge, Harness, ScriptedBroker, batches, open_hub, settle

SETTINGS = RoomSettings(tick_grid_seconds=0.0)


def back(epoch: int, offset: int, opening: int = 7) -> list[Up]:
    return [OpenRoom("room", opening, [0], epoch, offset), Presence("room", 1)]


async def seated(harness: Harness, *bodies: str) -> FakeEdge:
    """An edge in a room in which these were said before it came."""
    harness.scripted.add(*bodies)
    edge = harness.edge()
    await edge.open("room")
    return edge


def order(edge: FakeEdge) -> list[str]:
    """What comes, but for which red packets are open and whether viewers knock."""
    return [type(message).__name__ for _, message in edge.got if not isinstance(message, Gate | Packets)]


async def test_what_is_missing_comes_first_and_joins(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        await seated(harness, "a", "b", "c", "d")
        edge = harness.edge()
        edge.send(*back(1, 1))
        await settle()
        assert order(edge) == ["Frames", "SharedSnapshot"]
        assert batches(edge.messages()) == [(2, 4, ["b", "c", "d"])]
        snapshot = edge.of(SharedSnapshot)[0]
        assert (snapshot.opening, snapshot.epoch, snapshot.offset) == (7, 1, 4)


async def test_an_edge_that_misses_nothing_just_goes_on(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        await seated(harness, "a")
        edge = harness.edge()
        edge.send(*back(1, 1))
        await settle()
        assert order(edge) == ["SharedSnapshot"]


async def test_the_first_edge_at_a_new_hub_is_brought_up_to_where_the_broker_stands(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        harness.scripted.add("a", "b", "c")
        one, two = harness.edge(), harness.edge()
        one.send(*back(1, 2))
        two.send(*back(1, 0))
        await settle()
        assert batches(one.messages()) == [(3, 3, ["c"])]
        assert batches(two.messages()) == [(1, 3, ["a", "b", "c"])]
        assert order(one) == order(two) == ["Frames", "SharedSnapshot"]


async def test_what_others_are_given_meanwhile_waits_for_the_past(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        near = await seated(harness, "a", "b")
        broker = harness.scripted
        broker.gates["history"] = trio.Event()
        edge = harness.edge()
        edge.send(*back(1, 1))
        await settle()
        broker.add("c")
        broker.deliver(broker.piece("room", 3, 3))
        await trio.sleep(1)
        assert batches(near.messages()) == [(3, 3, ["c"])]
        assert not order(edge)
        broker.gates["history"].set()
        await settle()
        assert [(first, last) for first, last, _ in batches(edge.messages())] == [(2, 3)]
        broker.add("d")
        broker.deliver(broker.piece("room", 4, 4))
        await trio.sleep(1)
        assert batches(edge.messages())[-1] == (4, 4, ["d"])
        assert order(edge) == ["Frames", "SharedSnapshot", "Frames"]


async def test_a_long_past_comes_in_several_batches(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=RoomSettings(tick_grid_seconds=0.0, batch_bytes=1024)) as harness:
        await seated(harness, *(f"{number}" for number in range(1, 2_501)))
        edge = harness.edge()
        edge.send(*back(1, 10))
        await settle()
        got = batches(edge.messages())
        assert [body for _, _, bodies in got for body in bodies] == [f"{number}" for number in range(11, 2_501)]
        assert len(got) > 10
        assert all(one[1] + 1 == two[0] for one, two in pairwise(got))


async def test_what_the_broker_has_lost_is_named(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        await seated(harness, "a", "b", "c", "d", "e")
        harness.scripted.past[:3] = [None, None, None]
        edge = harness.edge()
        edge.send(*back(1, 1))
        await settle()
        messages = edge.messages()
        assert messages[0][0] == 36
        assert messages[0][2:] == [1, 2, 3, "history"]
        assert batches(messages) == [(4, 5, ["d", "e"])]
        assert [(frames.first, frames.last) for frames in edge.of(Frames)] == [(2, 3), (4, 5)]


async def test_another_epoch_is_told_and_given_from_its_beginning(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        harness.scripted.restart("x", "y")
        edge = harness.edge()
        edge.send(*back(1, 20))
        await settle()
        assert order(edge) == ["Restart", "Frames", "SharedSnapshot"]
        restart = edge.of(Restart)[0]
        assert (restart.epoch, restart.offset) == (2, 0)
        gap, snapshot, batch = edge.messages()
        assert gap[2:] == [1, 21, 0, "epoch"]
        assert snapshot[3:5] == [2, 0]
        assert batches([batch]) == [(1, 2, ["x", "y"])]


async def test_a_new_epoch_that_is_long_already_is_given_from_its_last_page(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        harness.scripted.restart(*(f"{number}" for number in range(1, 1_501)))
        edge = harness.edge()
        edge.send(*back(1, 20))
        await settle()
        assert edge.of(Restart)[0].offset == 500
        assert [(first, last) for first, last, _ in batches(edge.messages())] == [(501, 1_500)]


async def test_a_room_that_restarts_meanwhile_tells_the_edge_that_waits(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        near = await seated(harness, "a", "b")
        broker = harness.scripted
        broker.gates["history"] = trio.Event()
        edge = harness.edge()
        edge.send(*back(1, 1))
        await settle()
        broker.restart("x")
        broker.gates["history"].set()
        # Nothing is delivered: that the broker is in another epoch shows in the history alone.
        await settle()
        assert near.of(Restart)[0].epoch == 2
        assert order(edge) == ["Restart", "Frames", "SharedSnapshot"]
        assert edge.messages()[0][2:] == [1, 2, 0, "epoch"]
        assert batches(edge.messages()) == [(1, 1, ["x"])]
        broker.add("y")
        broker.deliver(broker.piece("room", 2, 2))
        await trio.sleep(1)
        assert batches(edge.messages())[-1] == batches(near.messages())[-1] == (2, 2, ["y"])


class Unsteady(ScriptedBroker):
    """Out of reach for a while."""

    failures = 3

    async def history(self, room: str, after: int, limit: int) -> History:
        if self.failures:
            self.failures -= 1
            raise Unavailable("not now")
        return await super().history(room, after, limit)


async def test_a_broker_out_of_reach_is_asked_again(autojump_clock: MockClock) -> None:
    async with open_hub(broker=Unsteady, room=SETTINGS) as harness:
        await seated(harness, "a", "b")
        edge = harness.edge()
        edge.send(*back(1, 1))
        await trio.sleep(10)
        assert batches(edge.messages())[0] == (2, 2, ["b"])


async def test_an_edge_that_knows_more_than_the_broker_is_to_close_the_room(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        near = await seated(harness, "a")
        edge = harness.edge()
        edge.send(*back(1, 5))
        await settle()
        refusal = edge.of(RefuseRoom)[0]
        assert (refusal.opening, refusal.code) == (7, Code.UNAVAILABLE)
        edge.forget()
        edge.send(CloseRoom("room"))
        broker = harness.scripted
        broker.add("b")
        broker.deliver(broker.piece("room", 2, 2))
        await trio.sleep(1)
        assert not order(edge)
        assert batches(near.messages())[0] == (2, 2, ["b"])


async def test_an_edge_that_is_gone_again_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker, room=SETTINGS) as harness:
        near = await seated(harness, "a", "b")
        broker = harness.scripted
        broker.gates["history"] = trio.Event()
        edge = harness.edge()
        edge.send(*back(1, 1))
        await settle()
        edge.end.close()
        await settle()
        broker.gates["history"].set()
        broker.add("c")
        broker.deliver(broker.piece("room", 3, 3))
        await trio.sleep(1)
        assert batches(near.messages())[0] == (3, 3, ["c"])
        assert harness.hub.counters("room") is not None
