"""Notable viewers: each coming and going is told once, however fast it is and however late what was written down is known."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from engine.brokers.base import Amended, Broker, Deliver
from engine.brokers.memory import MemoryBroker
from engine.hub.presence import field_of
from engine.link.messages import CloseRoom, Notable, Standing
from engine.schema import Author
from engine.settings import BrokerSettings

from .harness import FakeEdge, Harness, now_ms, open_hub, settle

ROOM = "大厅"
USER = "主播"
RETURN_SECONDS = 10.0


class LateBroker(MemoryBroker):
    """What was written down is known only when the test says so, as over a network."""

    def __init__(self, deliver: Deliver) -> None:
        super().__init__(BrokerSettings(), self._keep, now_ms)
        self._told = deliver
        self._kept: list[Any] = []
        self.late = False

    def _keep(self, delivery: Any) -> None:
        if self.late and isinstance(delivery, Amended):
            self._kept.append(delivery)
        else:
            self._told(delivery)

    def tell(self) -> None:
        self.late = False
        kept, self._kept = self._kept, []
        for each in kept:
            self._told(each)


def late_of(harness: Harness) -> LateBroker:
    broker: Broker = harness.hub.broker
    assert isinstance(broker, LateBroker)
    return broker


def host(present: bool) -> Notable:
    return Notable(ROOM, Author(USER), Standing("host"), "session", present)


async def told(edge: FakeEdge) -> list[bool]:
    """Of the comings and goings, in order."""
    await trio.sleep(1)
    return [event[2] for event in edge.events() if event[0] == 7]


def written(harness: Harness) -> bool:
    record = harness.hub.record(ROOM)
    return record is not None and field_of(USER) in record.fields


async def parted_and_back(harness: Harness) -> tuple[FakeEdge, FakeEdge]:
    """Another edge, and one that has lost its link with the host there and has another; it has said nothing of the host."""
    witness, edge = harness.edge("witness"), harness.edge("edge")
    for each in (witness, edge):
        await each.open(ROOM)
    edge.send(host(True))
    assert await told(witness) == [True]
    edge.end.close()
    await settle()
    again = harness.edge("edge")
    await again.open(ROOM)
    return witness, again


async def test_who_goes_before_the_coming_is_known_has_gone(autojump_clock: MockClock) -> None:
    async with open_hub(broker=LateBroker) as harness:
        edge = harness.edge("edge")
        await edge.open(ROOM)
        broker = late_of(harness)
        broker.late = True
        edge.send(host(True))
        await settle()
        edge.send(host(False))
        await settle()
        assert not written(harness)
        broker.tell()
        assert await told(edge) == [True, False]
        assert not written(harness)


async def test_who_comes_back_before_the_going_is_known_is_there(autojump_clock: MockClock) -> None:
    async with open_hub(broker=LateBroker) as harness:
        edge = harness.edge("edge")
        await edge.open(ROOM)
        edge.send(host(True))
        assert await told(edge) == [True]
        broker = late_of(harness)
        broker.late = True
        for present in (False, True):
            edge.send(host(present))
            await settle()
        broker.tell()
        assert await told(edge) == [True, False, True]
        assert written(harness)


async def test_who_comes_and_goes_many_times_is_where_it_is_last(autojump_clock: MockClock) -> None:
    async with open_hub(broker=LateBroker) as harness:
        edge = harness.edge("edge")
        await edge.open(ROOM)
        late_of(harness).late = True
        for number in range(20):
            edge.send(host(number % 2 == 0))
            await settle()
        late_of(harness).tell()
        assert await told(edge) == [True, False]
        assert not written(harness)


async def test_what_stays_unknown_for_long_holds_nobody_up(autojump_clock: MockClock) -> None:
    async with open_hub(broker=LateBroker) as harness:
        edge = harness.edge("edge")
        await edge.open(ROOM)
        broker = late_of(harness)
        broker.late = True
        edge.send(host(True))
        await trio.sleep(5)
        edge.send(host(False))
        await settle()
        broker.tell()
        assert await told(edge) == [True, False]


async def test_who_leaves_while_the_link_is_broken_has_gone_when_it_is_back(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        witness, _ = await parted_and_back(harness)
        assert await told(witness) == [True]
        await trio.sleep(RETURN_SECONDS)
        assert await told(witness) == [True, False]
        assert not written(harness)


async def test_who_is_there_still_when_the_link_is_back_was_never_gone(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        witness, again = await parted_and_back(harness)
        again.send(host(True))
        await trio.sleep(2 * RETURN_SECONDS)
        assert await told(witness) == [True]
        # Its room closes only when nobody is there, and it says so first.
        again.send(host(False), CloseRoom(ROOM))
        assert await told(witness) == [True, False]
