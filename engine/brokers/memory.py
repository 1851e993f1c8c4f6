"""The broker inside the process: offsets, history and totals in plain memory.

Owns every room's stream on a single node. Nothing outlives the process: a restart begins new epochs, and likes whose
source has ended are gone; those that still count are told again. Knows no clock of its own and no task; old history leaves when
its room is touched or `sweep` is called.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from engine.brokers.base import LIMITED, Amended, Broker, Deliver, Events, History, Pending, Position, Receipt, Record, Totals
from engine.brokers.budget import Bucket, Budget
from engine.brokers.record import Fields
from engine.settings import BrokerSettings

__all__ = ["MemoryBroker"]

_EPOCHS: Final = (1 << 53) - 1
_SOURCES: Final = 1_000
"""Sources of likes remembered after they have ended. One that is forgotten and comes back is counted again."""


class _Stream:
    """One room's past: the kept events, the head, the keys of recent requests, the totals."""

    __slots__ = (
        "bucket",
        "epoch",
        "events",
        "head",
        "keys",
        "likes",
        "size",
        "sources",
        "subscribed",
        "time",
        "times",
        "touched",
        "viewers",
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
        self.likes = 0
        self.sources: dict[str, int] = {}
        self.viewers = 0
        self.bucket = Bucket(budget)
        self.withheld = 0

    def totals(self, room: str) -> Totals:
        return Totals(room, self.likes, self.viewers, self.withheld)

    def count(self, likes: Mapping[str, int]) -> None:
        """Sources have told their totals; those that are not among them have ended."""
        sources = self.sources
        for source, total in likes.items():
            known = sources.get(source, 0)
            if total > known:
                self.likes += total - known
                sources[source] = total
        if len(sources) > _SOURCES:
            for source in [each for each in sources if each not in likes][: len(sources) - _SOURCES]:
                del sources[source]


class MemoryBroker(Broker):
    """`Broker` for one node.

    :param deliver: called for every event of a subscribed room, before `publish` returns.
    :param now_ms: Unix milliseconds; may jump, the broker never lets a room's time decrease.
    :param budget: of each room, see `engine.brokers.budget.Budget`.
    """

    def __init__(self, settings: BrokerSettings, deliver: Deliver, now_ms: Callable[[], int], *, budget: float = 0.0) -> None:
        self._settings = settings
        self._deliver = deliver
        self._now_ms = now_ms
        self._budget = Budget(budget)
        self._streams: dict[str, _Stream] = {}
        # These may outlive a stream: a ban does not end because nobody came for an hour.
        self._records: dict[str, Fields] = {}

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
        stream.touched = now = stream.time
        clock = self._now_ms()
        withheld = stream.withheld
        first = stream.head + 1
        keys = stream.keys
        accepted: list[bytes] = []
        offsets: list[int] = []
        for pending in events:
            key = (pending.session, pending.ref)
            known = keys.get(key) if pending.session else None
            if known is not None:
                offsets.append(known)
                continue
            if pending.lane == LIMITED and not stream.bucket.take(clock):
                stream.withheld += 1
                offsets.append(0)
                continue
            stream.head += 1
            if pending.session:
                keys[key] = stream.head
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
        return Receipt(stream.epoch, offsets)

    async def subscribe(self, room: str) -> Position:
        stream = self._stream(room)
        self._expire(room, stream)
        stream.subscribed = True
        self._deliver(stream.totals(room))
        record = self._records.get(room)
        self._deliver(Record(room, record.revision, dict(record.values)) if record is not None else Record(room, 0, {}))
        return Position(stream.epoch, stream.head)

    def now_ms(self, room: str) -> int:
        return self._stream(room).time if room in self._streams else 0

    async def unsubscribe(self, room: str) -> None:
        stream = self._stream(room)
        stream.subscribed = False
        stream.viewers = 0

    async def history(self, room: str, after: int, limit: int) -> History:
        stream = self._stream(room)
        self._trim(stream)
        oldest = stream.head - len(stream.events) + 1
        skip = min(max(after + 1 - oldest, 0), len(stream.events))
        events = list(islice(stream.events, skip, skip + limit))
        times = list(islice(stream.times, skip, skip + limit))
        return History(Position(stream.epoch, stream.head), Events(room, stream.epoch, oldest + skip, events, times))

    async def amend(self, room: str, field: str, value: bytes | None, expires_ms: int = 0, expect: int | None = None) -> int:
        stream = self._stream(room)
        stream.touched = stream.time
        self._expire(room, stream)
        record = self._records.get(room)
        if record is None:
            record = self._records[room] = Fields(self._settings.record_fields, self._settings.record_bytes)
        if record.amend(field, value, stream.time + expires_ms if expires_ms else 0, expect) and stream.subscribed:
            self._deliver(Amended(room, record.revision, field, value))
        return record.revision

    def _expire(self, room: str, stream: _Stream) -> None:
        """Let the fields go whose time has come."""
        record = self._records.get(room)
        while record is not None and (field := record.expired(stream.time)) is not None:
            if stream.subscribed:
                self._deliver(Amended(room, record.revision, field, None))

    async def report(self, room: str, likes: Mapping[str, int], viewers: int) -> None:
        stream = self._stream(room)
        self._expire(room, stream)
        before = stream.likes, stream.viewers
        stream.count(likes)
        stream.viewers = viewers
        if before != (stream.likes, viewers):
            stream.touched = stream.time
            if stream.subscribed:
                self._deliver(stream.totals(room))

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
