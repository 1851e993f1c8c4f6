"""The memory broker: the contract, and a machine that compares it with plain lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.brokers.base import Broker, Events, Pending, Position, Totals
from engine.brokers.memory import MemoryBroker
from engine.settings import BrokerSettings

from .contract import BrokerContract, Clock, Deliveries

T = TypeVar("T")
ROOMS = ("a", "二")


class TestMemoryBroker(BrokerContract):
    @asynccontextmanager
    async def open(self, settings: BrokerSettings, deliver: Deliveries, clock: Clock) -> AsyncIterator[Broker]:
        yield MemoryBroker(settings, deliver, clock)

    async def lose(self, broker: Broker, room: str, settings: BrokerSettings, clock: Clock) -> None:
        assert isinstance(broker, MemoryBroker)
        clock.ms += int(settings.history_seconds * 1000) + 1
        broker.sweep()


async def test_rooms_that_die_and_come_back_never_share_an_epoch_though_the_clock_stands() -> None:
    clock = Clock()
    broker = MemoryBroker(BrokerSettings(history_seconds=1), Deliveries(), clock)
    epochs = set()
    for _ in range(5):
        epochs.add((await broker.subscribe("a")).epoch)
        await broker.unsubscribe("a")
        clock.ms += 10_000
        broker.sweep()
        clock.ms -= 10_000
    assert len(epochs) == 5


async def test_a_sweep_takes_only_rooms_that_nobody_watches_and_nobody_can_read() -> None:
    clock = Clock()
    broker = MemoryBroker(BrokerSettings(history_seconds=10), Deliveries(), clock)
    first = await broker.publish("a", [Pending(b"x")])
    clock.ms += 9_000
    broker.sweep()
    assert (await broker.publish("a", [Pending(b"y")])).epoch == first.epoch
    clock.ms += 5_000
    broker.sweep()
    history = await broker.history("a", 0, 10)
    assert history.head == Position(first.epoch, 2)
    assert history.events.events == [b"y"]


@dataclass
class Room:
    """What a room must be."""

    epoch: int = 0
    events: list[tuple[bytes, int]] = field(default_factory=list)
    keys: list[tuple[tuple[str, int], int]] = field(default_factory=list)
    watched: bool = False
    delivered: int = 0
    totals: Totals | None = None
    likes: int = 0
    base: int = 0
    viewers: int = 0


def finished(step: Coroutine[Any, Any, T]) -> T:
    """Run what cannot block here."""
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typed by the coroutine
    raise AssertionError("it waited")


class BrokerMachine(RuleBasedStateMachine):
    """Publishes with and without keys, subscriptions, reports, sweeps, and a clock that jumps."""

    @initialize(keys=st.integers(0, 4))
    def begin(self, keys: int) -> None:
        self.settings = BrokerSettings(retry_keys=keys, history_events=5, history_bytes=40, history_seconds=10)
        self.clock = Clock()
        self.model = {room: Room() for room in ROOMS}
        self.broker = MemoryBroker(self.settings, self._deliver, self.clock)

    def _deliver(self, delivery: Events | Totals) -> None:
        room = self.model[delivery.room]
        if isinstance(delivery, Totals):
            room.totals = delivery
            return
        assert room.watched
        assert delivery.epoch == room.epoch
        assert delivery.first == room.delivered + 1
        room.delivered = delivery.last
        for body, time in zip(delivery.events, delivery.times, strict=True):
            assert not room.events or time >= room.events[-1][1]
            room.events.append((body, time))

    @rule(
        name=st.sampled_from(ROOMS),
        events=st.lists(
            st.tuples(st.binary(max_size=15), st.sampled_from(("", "s", "t")), st.integers(1, 4)), min_size=1, max_size=4
        ),
    )
    def publish(self, name: str, events: list[tuple[bytes, str, int]]) -> None:
        room = self.model[name]
        head = len(room.events)
        expected, accepted = [], []
        for body, session, ref in events:
            known = dict(room.keys).get((session, ref)) if session else None
            if known is None:
                accepted.append(body)
                known = head + len(accepted)
                if session:
                    room.keys.append(((session, ref), known))
            expected.append(known)
        room.keys = (
            room.keys[len(room.keys) - self.settings.retry_keys :] if len(room.keys) > self.settings.retry_keys else room.keys
        )
        receipt = finished(self.broker.publish(name, [Pending(*event) for event in events]))
        assert receipt.offsets == expected
        assert receipt.epoch == room.epoch or not room.epoch
        room.epoch = receipt.epoch
        if not room.watched:
            time = max(self.clock.ms, max((time for _, time in room.events), default=0))
            room.events += [(body, time) for body in accepted]
        assert [body for body, _ in room.events[head:]] == accepted

    @rule(name=st.sampled_from(ROOMS))
    def subscribe(self, name: str) -> None:
        room = self.model[name]
        position = finished(self.broker.subscribe(name))
        assert position.offset == len(room.events)
        assert position.epoch == room.epoch or not room.epoch
        room.epoch, room.watched, room.delivered = position.epoch, True, position.offset
        assert room.totals == Totals(name, room.base + room.likes, room.viewers)

    @rule(name=st.sampled_from(ROOMS))
    def unsubscribe(self, name: str) -> None:
        room = self.model[name]
        if room.watched:
            finished(self.broker.unsubscribe(name))
            room.watched = False
            room.base, room.likes, room.viewers = room.base + room.likes, 0, 0

    @rule(name=st.sampled_from(ROOMS), likes=st.integers(0, 5), viewers=st.integers(0, 5))
    def report(self, name: str, likes: int, viewers: int) -> None:
        room = self.model[name]
        if room.watched:
            room.likes, room.viewers = room.likes + likes, viewers
            finished(self.broker.report(name, room.likes, viewers))
            assert room.totals == Totals(name, room.base + room.likes, viewers)

    @rule(milliseconds=st.sampled_from((1, 4_000, 11_000, -6_000)))
    def wait(self, milliseconds: int) -> None:
        self.clock.ms += milliseconds

    @rule()
    def sweep(self) -> None:
        self.broker.sweep()
        for name, room in self.model.items():
            if room.epoch and not room.watched:
                history = finished(self.broker.history(name, 0, 1))
                if history.head.epoch != room.epoch:
                    assert all(time < self.clock.ms - 10_000 for _, time in room.events)
                    self.model[name] = Room(epoch=history.head.epoch)

    @precondition(lambda self: hasattr(self, "broker"))
    @invariant()
    def history_is_the_end_of_the_list(self) -> None:
        for name, room in self.model.items():
            if not room.epoch:
                continue
            whole = finished(self.broker.history(name, 0, 1000))
            head = len(room.events)
            assert whole.head == Position(room.epoch, head)
            first = whole.events.first
            assert whole.events.last == head
            kept = room.events[first - 1 :]
            assert list(zip(whole.events.events, whole.events.times, strict=True)) == kept
            assert len(kept) <= 5
            assert sum(len(body) for body, _ in kept) <= 40
            assert all(time >= max(time for _, time in room.events) - 10_000 for _, time in kept)
            for after, limit in ((head - 2, 1), (head - 3, 2), (head, 3)):
                part = finished(self.broker.history(name, max(after, 0), limit)).events
                start = max(max(after, 0) + 1, first)
                assert part.first == start
                assert part.events == [body for body, _ in room.events[start - 1 : start - 1 + limit]]


TestMemoryAgainstLists = BrokerMachine.TestCase
TestMemoryAgainstLists.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
