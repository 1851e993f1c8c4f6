"""The broker inside the process: offsets, history and totals in plain memory.

Owns every room's stream on a single node. Nothing outlives the process: a restart begins new epochs, and likes whose
source has ended are gone; those that still count are told again. Knows no clock of its own and no task; old history leaves when
its room is touched or `sweep` is called.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from msgspec.structs import replace

from engine.brokers.base import (
    FREE,
    NO_EVENTS,
    Amended,
    Ballot,
    Broker,
    Deliver,
    Events,
    History,
    Pending,
    Position,
    Receipt,
    Record,
    Report,
    Totals,
)
from engine.brokers.budget import Budget, Purse
from engine.brokers.record import Fields
from engine.brokers.redacted import REDACTED
from engine.brokers.sums import Sums
from engine.brokers.tallies import Tallies
from engine.settings import BrokerSettings, Settings

__all__ = ["MemoryBroker"]

_EPOCHS: Final = (1 << 53) - 1


class _Stream:
    """One room's past: the kept events, the head, the keys of recent requests, the totals."""

    __slots__ = (
        "epoch",
        "events",
        "head",
        "keys",
        "purse",
        "size",
        "subscribed",
        "sums",
        "tallies",
        "time",
        "times",
        "touched",
        "withheld",
    )

    def __init__(self, epoch: int, budget: Budget) -> None:
        self.epoch = epoch
        self.head = 0
        self.time = self.touched = 0
        self.events: deque[bytes] = deque()
        self.times: deque[int] = deque()
        self.size = 0
        self.keys: OrderedDict[tuple[str, int], int] = OrderedDict()
        self.subscribed = False
        self.sums = Sums()
        self.tallies: Tallies | None = None
        self.withheld = (0, 0)
        self.allow(budget)

    def allow(self, budget: Budget) -> None:
        """Give the room another budget; it begins with all of it."""
        self.purse = Purse(budget) if any(budget) else None

    def totals(self, room: str) -> Totals:
        return self.sums.totals(room, self.withheld)

    def known(self, pending: Pending) -> int | None:
        """The offset that it was given before."""
        return self.keys.get((pending.session, pending.ref)) if pending.session else None

    def withhold(self, reason: int) -> None:
        """One did not fit."""
        events, of_bytes = self.withheld
        self.withheld = (events + 1, of_bytes) if reason == NO_EVENTS else (events, of_bytes + 1)

    def redact(self, offset: int) -> None:
        """If it is kept."""
        index = len(self.events) - 1 - (self.head - offset)
        if 0 <= index < len(self.events):
            self.size += len(REDACTED) - len(self.events[index])
            self.events[index] = REDACTED


class MemoryBroker(Broker):
    """`Broker` for one node.

    :param deliver: called for every event of a subscribed room, before `publish` returns.
    :param now_ms: Unix milliseconds; may jump, the broker never lets a room's time decrease.
    :param budget: of each room, events per second, and ``budget_bytes`` per second; see `engine.brokers.budget.Budget`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        deliver: Deliver,
        now_ms: Callable[[], int],
        *,
        budget: float = 0.0,
        budget_bytes: float = 0.0,
    ) -> None:
        self._settings = settings
        self._deliver = deliver
        self._now_ms = now_ms
        self._budget = Budget(budget, budget_bytes)
        self._streams: dict[str, _Stream] = {}
        # These may outlive a stream: a ban does not end because nobody came for an hour.
        self._records: dict[str, Fields] = {}

    def adopt(self, settings: Settings) -> None:
        self._settings = limits = settings.broker
        budget = Budget(settings.limits.room_events_per_second, settings.limits.room_bytes_per_second)
        for stream in self._streams.values():
            if budget != self._budget:
                stream.allow(budget)
            if stream.tallies is not None:
                stream.tallies.tallies_max = limits.tallies
        for record in self._records.values():
            record.limit(limits.record_fields, limits.record_bytes)
        self._budget = budget

    def _stream(self, room: str) -> _Stream:
        """The room's, at its present time."""
        stream = self._streams.get(room)
        if stream is None:
            # By chance and not by the clock, which may be set back: no epoch of a former process comes again. A number that
            # JavaScript holds exactly.
            stream = self._streams[room] = _Stream(secrets.randbelow(_EPOCHS) + 1, self._budget)
        stream.time = max(stream.time, self._now_ms())
        return stream

    async def publish(self, room: str, events: Sequence[Pending]) -> Receipt:
        stream = self._stream(room)
        return Receipt(stream.epoch, self._publish(room, stream, events))

    def _publish(self, room: str, stream: _Stream, events: Sequence[Pending]) -> list[int]:
        stream.touched = now = stream.time
        clock = self._now_ms()
        withheld = stream.withheld
        first = stream.head + 1
        keys = stream.keys
        accepted: list[bytes] = []
        offsets: list[int] = []
        for pending in events:
            known = stream.known(pending)
            if known is not None:
                offsets.append(known)
                continue
            if stream.purse is not None and (refused := stream.purse.pay(clock, pending)):
                stream.withhold(refused)
                offsets.append(refused)
                continue
            stream.head += 1
            if pending.session:
                keys[pending.session, pending.ref] = stream.head
            offsets.append(stream.head)
            accepted.append(pending.event)
        while len(keys) > self._settings.retry_keys:
            keys.popitem(last=False)
        if accepted:
            times = [now] * len(accepted)
            stream.events.extend(accepted)
            stream.times.extend(times)
            stream.size += sum(map(len, accepted))
            self._trim(stream)
            if stream.subscribed:
                self._deliver(Events(room, stream.epoch, first, accepted, times))
        if stream.withheld != withheld and stream.subscribed:
            self._deliver(stream.totals(room))
        return offsets

    def _publish_one(self, room: str, stream: _Stream, event: Pending) -> int:
        """Whatever its lane."""
        return self._publish(room, stream, [replace(event, lane=FREE)])[0]

    async def subscribe(self, room: str) -> Position:
        stream = self._stream(room)
        self._expire(room, stream)
        stream.subscribed = True
        self._deliver(stream.totals(room))
        record = self._records.get(room)
        self._deliver(Record(room, record.revision, dict(record.values)) if record is not None else Record(room, 0, {}))
        if stream.tallies is not None:
            for name in stream.tallies.names():
                self._deliver(stream.tallies.tally(room, name))
        return Position(stream.epoch, stream.head)

    def now_ms(self, room: str) -> int:
        return self._stream(room).time if room in self._streams else 0

    async def unsubscribe(self, room: str) -> None:
        stream = self._stream(room)
        stream.subscribed = False
        stream.sums.viewers = 0

    async def history(self, room: str, after: int, limit: int) -> History:
        stream = self._stream(room)
        self._trim(stream)
        oldest = stream.head - len(stream.events) + 1
        skip = min(max(after + 1 - oldest, 0), len(stream.events))
        events = list(islice(stream.events, skip, skip + limit))
        times = list(islice(stream.times, skip, skip + limit))
        return History(Position(stream.epoch, stream.head), Events(room, stream.epoch, oldest + skip, events, times))

    async def published(self, room: str, session: str, ref: int) -> int:
        return self._stream(room).keys.get((session, ref), 0) if room in self._streams else 0

    async def redact(self, room: str, offsets: Sequence[int], event: Pending) -> int:
        stream = self._stream(room)
        if stream.known(event) is None:
            for offset in offsets:
                stream.redact(offset)
        return self._publish_one(room, stream, event)

    async def amend(
        self,
        room: str,
        field: str,
        value: bytes | None,
        expires_ms: int = 0,
        expect: int | None = None,
        event: Pending | None = None,
    ) -> int:
        stream = self._stream(room)
        stream.touched = stream.time
        self._expire(room, stream)
        record = self._records.get(room)
        if record is None:
            record = self._records[room] = Fields(self._settings.record_fields, self._settings.record_bytes)
        if event is not None and stream.known(event) is not None:
            return record.revision
        if record.amend(field, value, stream.time + expires_ms if expires_ms else 0, expect):
            if stream.subscribed:
                self._deliver(Amended(room, record.revision, field, value))
            if event is not None:
                self._publish_one(room, stream, event)
        return record.revision

    def _expire(self, room: str, stream: _Stream) -> None:
        """Let the fields go whose time has come."""
        record = self._records.get(room)
        while record is not None and (field := record.expired(stream.time)) is not None:
            if stream.subscribed:
                self._deliver(Amended(room, record.revision, field, None))

    async def report(self, room: str, report: Report) -> None:
        stream = self._stream(room)
        self._expire(room, stream)
        if stream.sums.take(report):
            stream.touched = stream.time
            if stream.subscribed:
                self._deliver(stream.totals(room))

    async def cast(self, room: str, ballots: Sequence[Ballot]) -> list[bool]:
        stream = self._stream(room)
        stream.touched = stream.time
        if stream.tallies is None:
            stream.tallies = Tallies(self._settings.tallies)
        counted, changed = stream.tallies.cast(ballots)
        if stream.subscribed:
            for name in changed:
                self._deliver(stream.tallies.tally(room, name))
        return counted

    async def discard(self, room: str, tally: str) -> None:
        stream = self._streams.get(room)
        if stream is not None and stream.tallies is not None:
            stream.tallies.discard(tally)

    async def voters(self, room: str, tally: str, limit: int) -> dict[str, int]:
        stream = self._streams.get(room)
        return stream.tallies.voters(tally, limit) if stream is not None and stream.tallies is not None else {}

    def sweep(self) -> None:
        """Forget rooms that nobody watches and whose history has expired; they begin a new epoch when they come back. Let
        fields of records expire."""
        for room in list(self._streams):
            stream = self._stream(room)
            self._trim(stream)
            self._expire(room, stream)
            idle = stream.time - stream.touched > self._settings.history_seconds * 1000
            if not stream.subscribed and not stream.events and idle:
                del self._streams[room]
        now = self._now_ms()
        for room in [room for room, record in self._records.items() if room not in self._streams and record.last_ms <= now]:
            del self._records[room]

    def _trim(self, stream: _Stream) -> None:
        limits = self._settings
        oldest_time = stream.time - limits.history_seconds * 1000
        events, times = stream.events, stream.times
        while events and (len(events) > limits.history_events or stream.size > limits.history_bytes or times[0] < oldest_time):
            stream.size -= len(events.popleft())
            times.popleft()
