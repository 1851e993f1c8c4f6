"""When a room's events become a batch.

Owns the events waiting for the next tick and the rule that sets it: the time from the first waiting event to the batch is
what the room's fan-out is predicted to take, divided by the share of a core that fan-out may take. A small room is prompt, a
huge one gathers; a burst of a hundred speakers becomes one frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.brokers.base import Events
from engine.schema import MONEY
from engine.settings import RoomSettings

__all__ = ["Batcher", "Collected", "tick_seconds"]


_PROMPT_SECONDS: Final = 1e-3
"""The tick of a small room: what arrives right on the grid is still given until its next step to gather."""


@dataclass(frozen=True, slots=True)
class Collected:
    """A batch before encoding: the offsets ``first..last``, complete.

    :ivar times: Unix milliseconds, one for each event.
    """

    first: int
    last: int
    events: list[bytes]
    times: list[int]


def tick_seconds(viewers: int, seconds_per_frame: float, settings: RoomSettings) -> float:
    """Time from a first event to its batch for a room of ``viewers``, whose frames cost ``seconds_per_frame`` each. Whoever
    keeps the deadlines rounds it up to the grid."""
    wanted = viewers * seconds_per_frame / settings.fanout_share
    return min(max(wanted, _PROMPT_SECONDS), settings.tick_max_seconds)


class Batcher:
    """The events of one room that wait for the tick. Offsets join without hole: the sequencer saw to that.

    :ivar due: time at which `take` should be called; None while nothing waits.
    :ivar limit: bytes at which a batch is closed early.
    """

    __slots__ = ("_bytes", "_events", "_first", "_times", "due", "limit")

    def __init__(self, head: int, settings: RoomSettings) -> None:
        self.limit = settings.batch_bytes
        self._first = head + 1
        self._events: list[bytes] = []
        self._times: list[int] = []
        self._bytes = 0
        self.due: float | None = None

    def __len__(self) -> int:
        return len(self._events)

    @property
    def last(self) -> int:
        """Last offset taken in, waiting or already handed out."""
        return self._first + len(self._events) - 1

    def add(self, events: Events, now: float, tick: float) -> None:
        """Take in events that continue at `last` + 1; the first ones after silence set the tick."""
        if events.first != self.last + 1:
            raise ValueError(f"events begin at {events.first}, expected {self.last + 1}")
        self._events += events.events
        self._times += events.times
        self._bytes += sum(map(len, events.events))
        if self.due is None:
            self.due = now + tick
        if self._bytes >= self.limit:
            self.due = min(self.due, now)

    def replace(self, offset: int, event: bytes) -> None:
        """Let another event stand at this offset, if it waits and is not about money."""
        index = offset - self._first
        if 0 <= index < len(self._events) and self._events[index][1] not in MONEY:
            self._bytes += len(event) - len(self._events[index])
            self._events[index] = event

    def skip(self, before: int) -> None:
        """Continue at ``before``; only while nothing waits."""
        if self._events:
            raise ValueError("events are waiting")
        self._first = before

    def take(self, now: float) -> Collected | None:
        """Return the next batch, None if nothing waits. What exceeds ``batch_bytes`` stays, due at once."""
        events, times = self._events, self._times
        if not events:
            return None
        count = len(events)
        if self._bytes > self.limit:
            size = 0
            for index, event in enumerate(events):
                size += len(event)
                if size > self.limit and index:
                    count = index
                    break
        batch = Collected(self._first, self._first + count - 1, events[:count], times[:count])
        self._first += count
        self._events, self._times = events[count:], times[count:]
        self._bytes = sum(map(len, self._events))
        self.due = now if self._events else None
        return batch
