"""The memory broker: the contract, and a machine that compares it with plain lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.brokers.base import (
    Amended,
    Ballot,
    Broker,
    Conflict,
    Delivery,
    Keep,
    Pending,
    Position,
    Record,
    RecordFull,
    Report,
    Tally,
    Totals,
)
from engine.brokers.budget import UNLIMITED, Budget
from engine.brokers.memory import MemoryBroker
from engine.settings import BrokerSettings

from .contract import BrokerContract, Clock, Deliveries
from .model import GONE, ModelRecord, ModelRoom, Seen, amended
from .model_counts import ModelTallies, ModelTotals

T = TypeVar("T")
ROOMS = ("a", "二")
FIELDS, BYTES = 3, 12
BUDGETS = (UNLIMITED, Budget(0.25), Budget(2.5), Budget(bytes=30.0), Budget(3.0, 7.5))
PENDING = st.builds(
    Pending,
    st.binary(max_size=15),
    st.sampled_from(("", "s", "t")),
    st.integers(1, 4),
    st.integers(0, 1),
    st.sampled_from((0, 0, 16, 32, 63)),
)
SOURCES = st.dictionaries(st.sampled_from("stu"), st.integers(0, 9))
REACTIONS = st.dictionaries(st.sampled_from("stu"), st.dictionaries(st.sampled_from(("❤️", "x y", "1")), st.integers(0, 9)))
REPORTS = st.builds(Report, SOURCES, st.integers(0, 5), REACTIONS, st.lists(st.sampled_from("uvw"), max_size=2))
TALLIES = 2
BALLOTS = st.lists(
    st.builds(Ballot, st.sampled_from(("", "字", "x")), st.sampled_from("uvw"), st.integers(0, 3), st.sampled_from(Keep)),
    min_size=1,
    max_size=4,
)


class TestMemoryBroker(BrokerContract):
    @asynccontextmanager
    async def open(
        self, settings: BrokerSettings, deliver: Deliveries, clock: Clock, budget: Budget = UNLIMITED
    ) -> AsyncIterator[Broker]:
        yield MemoryBroker(settings, deliver, clock, budget=budget.events, budget_bytes=budget.bytes)

    async def lose(self, broker: Broker, room: str, settings: BrokerSettings, clock: Clock) -> None:
        assert isinstance(broker, MemoryBroker)
        clock.ms += int(settings.history_seconds * 1000) + 1
        broker.sweep()

    @asynccontextmanager
    async def another(
        self, broker: Broker, settings: BrokerSettings, deliver: Deliveries, clock: Clock, budget: Budget = UNLIMITED
    ) -> AsyncIterator[Broker]:
        # There is but one node.
        yield broker


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
    """What a room must be, beside its publishes."""

    published: ModelRoom
    epoch: int = 0
    events: list[tuple[bytes, int]] = field(default_factory=list)
    watched: bool = False
    delivered: int = 0
    totals: Totals | None = None
    time: int = 0
    counted: ModelTotals = field(default_factory=ModelTotals)
    tallies: ModelTallies = field(default_factory=lambda: ModelTallies(TALLIES))
    told: dict[str, tuple[int, ...]] = field(default_factory=dict)
    record: ModelRecord = field(default_factory=lambda: ModelRecord(FIELDS, BYTES))
    seen: Seen = field(default_factory=Seen)

    def pass_time(self, ms: int) -> None:
        self.time = max(self.time, ms)
        self.record.expire(self.time)

    def expected(self, name: str) -> Totals:
        return self.counted.totals(name, self.published.withheld)


def finished(step: Coroutine[Any, Any, T]) -> T:
    """Run what cannot block here."""
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typed by the coroutine
    raise AssertionError("it waited")


class BrokerMachine(RuleBasedStateMachine):
    """Publishes with and without keys, subscriptions, reports, sweeps, and a clock that jumps."""

    @initialize(keys=st.integers(0, 4), budget=st.sampled_from(BUDGETS))
    def begin(self, keys: int, budget: Budget) -> None:
        kept = BrokerSettings(history_events=5, history_bytes=40, history_seconds=10)
        self.settings = replace(kept, retry_keys=keys, record_fields=FIELDS, record_bytes=BYTES, tallies=TALLIES)
        self.clock = Clock()
        self.budget = budget
        self.model = {room: self._fresh() for room in ROOMS}
        self.broker = MemoryBroker(self.settings, self._deliver, self.clock, budget=budget.events, budget_bytes=budget.bytes)

    def _fresh(self, epoch: int = 0) -> Room:
        return Room(ModelRoom(self.settings.retry_keys, (Fraction(self.budget.events), Fraction(self.budget.bytes))), epoch)

    def _deliver(self, delivery: Delivery) -> None:
        room = self.model[delivery.room]
        if isinstance(delivery, Record | Amended):
            room.seen.take(delivery)
            return
        if isinstance(delivery, Totals):
            room.totals = delivery
            return
        if isinstance(delivery, Tally):
            assert room.told.get(delivery.name) != delivery.counts
            room.told[delivery.name] = delivery.counts
            return
        assert room.watched
        assert delivery.epoch == room.epoch
        assert delivery.first == room.delivered + 1
        room.delivered = delivery.last
        for body, time in zip(delivery.events, delivery.times, strict=True):
            assert time == room.time
            room.events.append((body, time))

    def _accept(self, name: str, head: int) -> None:
        """What the model has published since must have been delivered."""
        room = self.model[name]
        accepted = room.published.events[head:]
        if not room.watched:
            room.events += [(body, room.time) for body in accepted]
        assert [body for body, _ in room.events[head:]] == accepted
        assert not room.watched or room.totals == room.expected(name)

    @rule(name=st.sampled_from(ROOMS), events=st.lists(PENDING, min_size=1, max_size=4))
    def publish(self, name: str, events: list[Pending]) -> None:
        room = self.model[name]
        head = len(room.events)
        room.time = max(room.time, self.clock.ms)
        expected = room.published.publish(events, self.clock.ms)
        receipt = finished(self.broker.publish(name, events))
        assert receipt.offsets == expected
        assert receipt.epoch == room.epoch or not room.epoch
        room.epoch = receipt.epoch
        self._accept(name, head)

    @rule(name=st.sampled_from(ROOMS), offsets=st.lists(st.integers(-1, 12), max_size=4), event=PENDING)
    def redact(self, name: str, offsets: list[int], event: Pending) -> None:
        room = self.model[name]
        head = len(room.events)
        room.time = max(room.time, self.clock.ms)
        expected = room.published.redact(offsets, event, self.clock.ms)
        assert finished(self.broker.redact(name, offsets, event)) == expected
        self._accept(name, head)
        self._learn_epoch(name)

    @rule(name=st.sampled_from(ROOMS))
    def subscribe(self, name: str) -> None:
        room = self.model[name]
        room.told.clear()
        position = finished(self.broker.subscribe(name))
        assert position.offset == len(room.events)
        assert position.epoch == room.epoch or not room.epoch
        room.epoch, room.watched, room.delivered = position.epoch, True, position.offset
        room.pass_time(self.clock.ms)
        assert (room.seen.revision, room.seen.values) == (room.record.revision, room.record.values)
        assert room.totals == room.expected(name)
        assert room.told == room.tallies.counts()

    @rule(name=st.sampled_from(ROOMS))
    def unsubscribe(self, name: str) -> None:
        room = self.model[name]
        if room.watched:
            finished(self.broker.unsubscribe(name))
            room.watched = False
            room.counted.viewers.clear()
            room.told.clear()

    @rule(name=st.sampled_from(ROOMS), report=REPORTS)
    def report(self, name: str, report: Report) -> None:
        room = self.model[name]
        if room.watched:
            room.pass_time(self.clock.ms)
            room.counted.take(0, report)
            finished(self.broker.report(name, report))
            assert room.totals == room.expected(name)

    @rule(name=st.sampled_from(ROOMS), ballots=BALLOTS)
    def cast(self, name: str, ballots: list[Ballot]) -> None:
        room = self.model[name]
        room.time = max(room.time, self.clock.ms)
        expected = room.tallies.cast(ballots)
        try:
            outcome: list[bool] | str = finished(self.broker.cast(name, ballots))
        except RecordFull as error:
            outcome = type(error).__name__
        assert outcome == expected
        assert not room.watched or room.told == room.tallies.counts()
        for tally in ("", "字"):
            voters = room.tallies.voters(tally)
            assert finished(self.broker.voters(name, tally, len(voters))) == voters
            assert finished(self.broker.voters(name, tally, len(voters) - 1)) == {}
        if not room.epoch:
            room.epoch = finished(self.broker.history(name, 0, 1)).head.epoch

    @rule(
        name=st.sampled_from(ROOMS),
        field=st.sampled_from(("", "f", "字", "long")),
        value=st.none() | st.binary(max_size=5),
        expires_ms=st.sampled_from((0, 0, 5, 3_000, 20_000)),
        expect=st.none() | st.integers(0, 6),
        event=st.none() | PENDING,
    )
    def amend(
        self, name: str, field: str, value: bytes | None, expires_ms: int, expect: int | None, event: Pending | None
    ) -> None:
        room = self.model[name]
        head = len(room.events)
        room.pass_time(self.clock.ms)
        expected = amended(room.record, room.published, field, value, expires_ms, expect, event, room.time, self.clock.ms)
        try:
            outcome: int | str = finished(self.broker.amend(name, field, value, expires_ms, expect, event))
        except (Conflict, RecordFull) as error:
            outcome = type(error).__name__
        assert outcome == expected
        assert not room.watched or (room.seen.revision, room.seen.values) == (room.record.revision, room.record.values)
        self._accept(name, head)
        self._learn_epoch(name)

    def _learn_epoch(self, name: str) -> None:
        room = self.model[name]
        if not room.epoch:
            room.epoch = finished(self.broker.history(name, 0, 1)).head.epoch

    @rule(milliseconds=st.sampled_from((1, 4_000, 11_000, -6_000)))
    def wait(self, milliseconds: int) -> None:
        self.clock.ms += milliseconds

    @rule()
    def sweep(self) -> None:
        self.broker.sweep()
        for name, room in self.model.items():
            if room.epoch:
                room.pass_time(self.clock.ms)
            if room.epoch and not room.watched:
                history = finished(self.broker.history(name, 0, 1))
                if history.head.epoch != room.epoch:
                    assert all(time < room.time - 10_000 for _, time in room.events)
                    self.model[name] = self._fresh(history.head.epoch)
                    if room.record.last_ms > self.clock.ms:
                        self.model[name].record = room.record

    @precondition(lambda self: hasattr(self, "broker"))
    @invariant()
    def history_is_the_end_of_the_list(self) -> None:
        for name, room in self.model.items():
            if not room.epoch:
                continue
            whole = finished(self.broker.history(name, 0, 1000))
            # Whoever looks lets the room's time go on.
            room.time = max(room.time, self.clock.ms)
            head = len(room.events)
            assert whole.head == Position(room.epoch, head)
            first = whole.events.first
            assert whole.events.last == head
            redacted = room.published.redacted
            shown = [(GONE if at in redacted else body, time) for at, (body, time) in enumerate(room.events, 1)]
            kept = shown[first - 1 :]
            assert list(zip(whole.events.events, whole.events.times, strict=True)) == kept
            assert len(kept) <= 5
            assert sum(len(body) for body, _ in kept) <= 40
            assert all(time >= max(time for _, time in room.events) - 10_000 for _, time in kept)
            for after, limit in ((head - 2, 1), (head - 3, 2), (head, 3)):
                part = finished(self.broker.history(name, max(after, 0), limit)).events
                start = max(max(after, 0) + 1, first)
                assert part.first == start
                assert part.events == [body for body, _ in shown[start - 1 : start - 1 + limit]]


TestMemoryAgainstLists = BrokerMachine.TestCase
TestMemoryAgainstLists.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
