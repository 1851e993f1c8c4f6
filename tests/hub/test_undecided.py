"""How many comments wait for a decision: what is held, kept and undecided, read only when there is something new."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec import Raw
from trio.testing import MockClock

from engine.brokers.base import Deliver, Events, History, Pending, Unavailable
from engine.brokers.memory import MemoryBroker
from engine.hub import Hub
from engine.hub.backfill import PAGE
from engine.hub.undecided import Undecided
from engine.schema import MSGPACK, Author, HeldEvent, ModeratedEvent, backstage_of
from engine.settings import BrokerSettings

from .harness import ScriptedBroker, comment, now_ms, open_hub, settle

ROOM = "大厅"


class CountedBroker(MemoryBroker):
    """Tells how often history was read, and may be out of reach for it.

    :ivar reads: by room; ``away`` are those whose history cannot be read now.
    :ivar beginnings: whether it can be read where a history begins.
    """

    def __init__(self, settings: BrokerSettings, deliver: Deliver) -> None:
        super().__init__(settings, deliver, now_ms)
        self.reads = Counter[str]()
        self.away: set[str] = set()
        self.beginnings = True

    async def history(self, room: str, after: int, limit: int) -> History:
        self.reads[room] += 1
        if room in self.away or not (after or self.beginnings):
            raise Unavailable("away")
        return await super().history(room, after, limit)


@asynccontextmanager
async def looked_at(**broker: Any) -> AsyncIterator[tuple[Hub, CountedBroker, Undecided]]:
    settings = BrokerSettings(**broker)
    async with open_hub(broker=lambda deliver: CountedBroker(settings, deliver), broker_settings=settings) as harness:
        counted = harness.hub.broker
        assert isinstance(counted, CountedBroker)
        yield harness.hub, counted, harness.hub.undecided


def a_held_one(text: str = "加微信") -> bytes:
    return MSGPACK.encode(HeldEvent(Author("anna"), "s", 1, Raw(comment(text, "anna")), text))


async def hold(hub: Hub, room: str = ROOM, text: str = "加微信") -> int:
    return await hub.publish(backstage_of(room), a_held_one(text))


async def decide(hub: Hub, *offsets: int, action: str = "approve", room: str = ROOM) -> None:
    await hub.publish(backstage_of(room), MSGPACK.encode(ModeratedEvent(Author("mod"), action, "", list(offsets))))


async def test_what_is_held_counts_until_somebody_decides(autojump_clock: MockClock) -> None:
    async with looked_at() as (hub, _, undecided):
        assert undecided.count(ROOM) is None
        before = await hold(hub)
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 1
        offsets = [await hold(hub) for _ in range(3)]
        await hub.say(backstage_of(ROOM), "看一下")
        await decide(hub, 99, 99, action="mute")
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 4
        for decision in ((before, before), (offsets[0], offsets[1]), (before, before), (7_000, 7_000)):
            await decide(hub, *decision, action="reject")
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 1


async def test_nothing_is_read_where_nothing_is_new(autojump_clock: MockClock) -> None:
    async with looked_at() as (hub, broker, undecided):
        rooms = [f"room-{number}" for number in range(10)]
        await hold(hub, "room-3")
        await undecided.look(rooms)
        assert [undecided.count(room) for room in rooms] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        assert broker.reads.keys() == {backstage_of("room-3")}
        broker.reads.clear()
        for _ in range(20):
            await undecided.look(rooms)
        assert not broker.reads
        await hold(hub, "room-7")
        await undecided.look(rooms)
        assert broker.reads == {backstage_of("room-7"): 2}, "what is new, and where the past begins"
        assert undecided.count("room-7") == 1


async def test_a_backstage_is_open_only_as_long_as_its_room_is_looked_at(autojump_clock: MockClock) -> None:
    async with looked_at() as (hub, _, undecided):
        await undecided.look([ROOM, "other"])
        assert {hub.counters(backstage_of(room)) for room in (ROOM, "other")} == {(0, 0)}
        assert hub.statistics().rooms == 0
        await undecided.look(["other"])
        assert hub.counters(backstage_of(ROOM)) is None
        assert (undecided.count(ROOM), undecided.count("other")) == (None, 0)
        await undecided.look(())
        assert hub.counters(backstage_of("other")) is None
        # What happened meanwhile counts when it is looked at again.
        await hold(hub)
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 1


@pytest.mark.parametrize("kept", [{"history_events": 4}, {"history_bytes": 400}], ids=["events", "bytes"])
async def test_what_the_history_does_not_keep_does_not_wait(autojump_clock: MockClock, kept: dict[str, int]) -> None:
    async with looked_at(**kept) as (hub, broker, undecided):
        for number in range(20):
            await hold(hub, text=f"加微信 {number}")
            await undecided.look([ROOM])
            assert undecided.count(ROOM) == len((await broker.history(backstage_of(ROOM), 0, 100)).events.events)
        assert 1 < (undecided.count(ROOM) or 0) < 10


async def test_what_is_too_old_for_the_history_does_not_wait(autojump_clock: MockClock) -> None:
    async with looked_at(history_seconds=60) as (hub, broker, undecided):
        await hold(hub)
        await trio.sleep(40)
        await hold(hub)
        await undecided.look([ROOM])
        broker.reads.clear()
        for seconds, waiting in ((19, 2), (2, 1), (38, 1), (2, 0)):
            await trio.sleep(seconds)
            await undecided.look([ROOM])
            assert undecided.count(ROOM) == waiting
        assert not broker.reads


async def test_another_epoch_begins_with_nothing(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker) as harness:
        broker, stage, undecided = harness.scripted, backstage_of(ROOM), harness.hub.undecided
        broker.past = [a_held_one(), a_held_one(), a_held_one()]
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 3
        broker.restart()
        broker.past = [a_held_one()]
        broker.deliver(Events(stage, 2, 1, list(filter(None, broker.past)), [now_ms()]))
        await settle()
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 1


async def test_another_epoch_in_which_nothing_was_held_yet_has_nothing_that_waits(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker) as harness:
        broker, stage, undecided = harness.scripted, backstage_of(ROOM), harness.hub.undecided
        broker.past = [a_held_one(), a_held_one()]
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 2
        # Its first event makes the room ask where the broker stands, and is lost, too.
        broker.restart()
        broker.deliver(Events(stage, 2, 1, [a_held_one()], [now_ms()]))
        broker.restart()
        await settle()
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 0


async def test_a_long_past_is_read_a_page_at_a_time_and_others_get_their_turn(autojump_clock: MockClock) -> None:
    async with looked_at() as (_, broker, undecided):
        held, turns, reads = a_held_one(), 0, broker.reads[backstage_of(ROOM)]
        await broker.publish(backstage_of(ROOM), [Pending(held)] * 5 * PAGE)

        async def others() -> None:
            nonlocal turns
            while undecided.count(ROOM) is None:
                await trio.lowlevel.checkpoint()
                turns += broker.reads[backstage_of(ROOM)] > reads

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await undecided.look([ROOM])
        assert undecided.count(ROOM) == 5 * PAGE
        assert turns >= 5


async def test_many_that_become_too_old_together_are_gone_together(autojump_clock: MockClock) -> None:
    async with looked_at(history_seconds=60, history_events=1_000_000, history_bytes=1 << 40) as (hub, broker, undecided):
        await broker.publish(backstage_of(ROOM), [Pending(a_held_one())] * 100_000)
        await trio.sleep(1)
        await hold(hub)
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 100_001
        await trio.sleep(59.5)
        # Takes seconds if all that were there are passed again for each that goes.
        assert undecided.count(ROOM) == 1


async def test_what_has_left_is_forgotten_the_next_time_if_it_could_not_be_read_where_the_past_begins(
    autojump_clock: MockClock,
) -> None:
    async with looked_at(history_events=3) as (hub, broker, undecided):
        for _ in range(3):
            await hold(hub)
        await undecided.look([ROOM])
        for _ in range(2):
            await hold(hub)
        broker.beginnings = False
        await undecided.look([ROOM])
        broker.beginnings = True
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 3


async def test_a_room_out_of_reach_is_looked_at_the_next_time_and_others_now(autojump_clock: MockClock) -> None:
    async with looked_at() as (hub, broker, undecided):
        for room in (ROOM, "other"):
            await hold(hub, room)
        broker.away.add(backstage_of(ROOM))
        await undecided.look([ROOM, "other"])
        assert (undecided.count(ROOM), undecided.count("other")) == (None, 1)
        broker.away.clear()
        await undecided.look([ROOM, "other"])
        assert undecided.count(ROOM) == 1
        broker.away.add(backstage_of(ROOM))
        await hold(hub)
        await undecided.look([ROOM, "other"])
        assert undecided.count(ROOM) == 1, "as it was when it was last looked at"
        broker.away.clear()
        await undecided.look([ROOM, "other"])
        assert undecided.count(ROOM) == 2


async def test_what_was_never_read_to_its_end_is_not_known(autojump_clock: MockClock) -> None:
    async with looked_at() as (hub, broker, undecided):
        await undecided.look([ROOM])
        assert undecided.count(ROOM) == 0
        await undecided.look(())
        await hold(hub)
        async with hub.opened(backstage_of(ROOM)):
            broker.away.add(backstage_of(ROOM))
            await undecided.look([ROOM])
            assert undecided.count(ROOM) is None
            broker.away.clear()
            await undecided.look([ROOM])
            assert undecided.count(ROOM) == 1
