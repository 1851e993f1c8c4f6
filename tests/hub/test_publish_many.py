"""What the product behind a node says and counts in one go: in order, each with its own outcome, once for a key."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from trio.testing import MockClock

from engine.brokers.base import Deliver, Pending, Report, Unavailable
from engine.brokers.memory import MemoryBroker
from engine.errors import Code, Refused
from engine.link.messages import Likes
from engine.schema import MSGPACK, Author, GiftEvent, StateEvent
from engine.settings import BrokerSettings, LimitSettings

from .harness import comment, now_ms, open_hub, settle

ROOM, OTHER = "大厅", "别处 🎤"


class Fragile(MemoryBroker):
    """One that can be out of reach for reports."""

    def __init__(self, deliver: Deliver) -> None:
        super().__init__(BrokerSettings(), deliver, now_ms)
        self.down = False

    async def report_all(self, reports: Mapping[str, Report]) -> None:
        if self.down:
            raise Unavailable("out of reach")
        await super().report_all(reports)


async def test_each_event_has_its_own_outcome_and_each_room_its_order(autojump_clock: MockClock) -> None:
    async with open_hub(limits=LimitSettings(pending_events=2)) as harness:
        events = [(room, Pending(comment(str(number)), "s", number + 1)) for number, room in enumerate((ROOM, OTHER) * 3)]
        outcomes = await harness.hub.publish_many(events)
        # What is not limited may wait twice as long.
        assert [outcome.code for outcome in outcomes] == [Code.OK] * 4 + [Code.OVERLOADED] * 2
        assert [outcome.offset for outcome in outcomes] == [1, 1, 2, 2, 0, 0]
        assert outcomes[-1].retry_after_ms
        again = await harness.hub.publish_many(events[2:])
        assert [outcome.offset for outcome in again] == [2, 2, 3, 3]
        assert await harness.hub.publish_many([]) == []


async def test_what_changes_something_is_not_said_in_passing(autojump_clock: MockClock) -> None:
    state = MSGPACK.encode(StateEvent(Author("u"), 0, "card", "x", None, 1))
    gift = MSGPACK.encode(GiftEvent(Author("u"), 1, 0, "rose", 1, 1, "", 1, 1, 0, 1))
    async with open_hub() as harness:
        for room, event in ((ROOM, state), (ROOM, gift), ("名\n字", comment("x")), (ROOM, b"")):
            with pytest.raises(Refused):
                await harness.hub.publish_many([(ROOM, Pending(comment("x"))), (room, Pending(event))])
        assert harness.hub.statistics().events_published == 0


async def test_applause_from_outside_counts_in_any_room_once_for_its_source(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        hub = harness.hub

        async def likes() -> int:
            async with hub.opened(ROOM) as room:
                return room.state.counters[0]

        await hub.applaud(ROOM, 3, {"🔥": 1})
        await hub.applaud(ROOM, 3, {"🔥": 1})
        for _ in range(3):
            await hub.applaud(ROOM, 10, {}, "a")
        assert await likes() == 16
        edge = harness.edge()
        await edge.open(ROOM)
        edge.send(Likes(ROOM, 5, {}))
        await settle()
        async with trio.open_nursery() as nursery:
            for source in ("a", "b", "b", "", ""):
                nursery.start_soon(hub.applaud, ROOM, 10, {"🔥": 2}, source)
        assert await likes() == 51
        async with hub.opened(ROOM) as room:
            assert room.state.all_totals()["reactions"] == {"🔥": 10}
            # What the broker has need not be kept here.
            assert set(room.counts.likes) <= {room.counts.own, *(port.source(ROOM) for port in room.ports)}
        with pytest.raises(Refused):
            await hub.applaud(ROOM, 1, {"没有": 1})


async def test_whoever_applauds_is_told_that_the_broker_does_not_know(autojump_clock: MockClock) -> None:
    async with open_hub(broker=Fragile) as harness:
        broker = harness.hub.broker
        assert isinstance(broker, Fragile)
        async with harness.hub.opened(ROOM) as room:
            broker.down = True
            with pytest.raises(Unavailable):
                await harness.hub.applaud(ROOM, 7, {}, "a")
            broker.down = False
            # It was counted, and is told with the next report: a retry adds nothing.
            await harness.hub.applaud(ROOM, 7, {}, "a")
            await harness.hub.applaud(ROOM, 1, {}, "b")
            assert room.state.counters[0] == 8
