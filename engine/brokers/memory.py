"""The broker inside the process: offsets, history and totals in plain memory.

Owns every room's stream on a single node. Nothing outlives the process: a restart begins new epochs. Knows no clock of its
own and no task; old history leaves when its room is touched or `sweep` is called.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from engine.brokers.base import Broker, Deliver, Events, History, Pending, Position, Receipt, Totals
from engine.settings import BrokerSettings

__all__ = ["MemoryBroker"]

_EPOCHS: Final = (1 << 53) - 1


class _Stream:
    """One room's past: the kept events, the head, the keys of recent requests, the totals."""

    __slots__ = (
        "epoch",
        "events",
        "head",
        "keys",
        "likes",
        "likes_gone",
        "size",
        "subscribed",
        "time",
        "times",
        "touched",
        "viewers",
    )

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.head = 0
        self.time = self.touched = 0
        self.events: deque[bytes] = deque()
        self.times: deque[int] = deque()
        self.size = 0
        self.keys: OrderedDict[tuple[str, int], int] = OrderedDict()
        self.subscribed = False
        self.likes = 0
        self.likes_gone = 0
        self.viewers = 0


class MemoryBroker(Broker):
    """`Broker` for one node.

    :param deliver: called for every event of a subscribed room, before `publish` returns.
    :param now_ms: Unix milliseconds; may jump, the broker never lets a room's time decrease.
    """

    def __init__(self, settings: BrokerSettings, deliver: Deliver, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._deliver = deliver
        self._now_ms = now_ms
        self._streams: dict[str, _Stream] = {}

    def _stream(self, room: str) -> _Stream:
        stream = self._streams.get(room)
        if stream is None:
            # By chance and not by the clock, which may be set back: no epoch of a former process comes again. A number that
            # JavaScript holds exactly.
            stream = self._streams[room] = _Stream(secrets.randbelow(_EPOCHS) + 1)
        return stream

    async def publish(self, room: str, events: Sequence[Pending]) -> Receipt:
        stream = self._stream(room)
        stream.touched = now = max(stream.time, self._now_ms())
        first = stream.head + 1
        keys = stream.keys
        accepted: list[bytes] = []
        offsets: list[int] = []
        for pending in events:
            if pending.session:
                key = (pending.session, pending.ref)
                known = keys.get(key)
                if known is not None:
                    offsets.append(known)
                    continue
                keys[key] = stream.head + 1
            stream.head += 1
            offsets.append(stream.head)
            accepted.append(pending.event)
        while len(keys) > self._settings.retry_keys:
            keys.popitem(last=False)
        if accepted:
            stream.time = now
            times = [now] * len(accepted)
            stream.events.extend(accepted)
            stream.times.extend(times)
            stream.size += sum(map(len, accepted))
            self._trim(stream, now)
            if stream.subscribed:
                self._deliver(Events(room, stream.epoch, first, accepted, times))
        return Receipt(stream.epoch, offsets)

    async def subscribe(self, room: str) -> Position:
        stream = self._stream(room)
        stream.subscribed = True
        self._deliver(Totals(room, stream.likes_gone + stream.likes, stream.viewers))
        return Position(stream.epoch, stream.head)

    async def unsubscribe(self, room: str) -> None:
        stream = self._stream(room)
        stream.subscribed = False
        stream.viewers = 0
        # The next subscription counts from zero again: it is a new source.
        stream.likes_gone += stream.likes
        stream.likes = 0

    async def history(self, room: str, after: int, limit: int) -> History:
        stream = self._stream(room)
        self._trim(stream, max(stream.time, self._now_ms()))
        oldest = stream.head - len(stream.events) + 1
        skip = min(max(after + 1 - oldest, 0), len(stream.events))
        events = list(islice(stream.events, skip, skip + limit))
        times = list(islice(stream.times, skip, skip + limit))
        return History(Position(stream.epoch, stream.head), Events(room, stream.epoch, oldest + skip, events, times))

    async def report(self, room: str, likes: int, viewers: int) -> None:
        stream = self._stream(room)
        if (stream.likes, stream.viewers) != (likes, viewers):
            stream.likes, stream.viewers = likes, viewers
            stream.touched = self._now_ms()
            if stream.subscribed:
                self._deliver(Totals(room, stream.likes_gone + likes, viewers))

    def sweep(self) -> None:
        """Forget rooms that nobody watches and whose history has expired; they begin a new epoch when they come back."""
        now = self._now_ms()
        for room, stream in list(self._streams.items()):
            self._trim(stream, now)
            idle = now - max(stream.touched, stream.time) > self._settings.history_seconds * 1000
            if not stream.subscribed and not stream.events and idle:
                del self._streams[room]

    def _trim(self, stream: _Stream, now: int) -> None:
        limits = self._settings
        oldest_time = now - limits.history_seconds * 1000
        events, times = stream.events, stream.times
        while events and (len(events) > limits.history_events or stream.size > limits.history_bytes or times[0] < oldest_time):
            stream.size -= len(events.popleft())
            times.popleft()
