"""The last events of a room, as newcomers are shown them, and those of them that vanish.

Owns the events and when each is to go. Pure: time is an argument. What was deleted or has expired is not among them.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from engine.schema import MONEY, EventKind, OmittedEvent, OmittedReason

__all__ = ["Tail", "expiry_of", "tombstone"]

_LINKED: Final = 0x97
"""First byte of a comment of seven elements, the only event that may vanish."""
_OMITTED: Final = int(EventKind.OMITTED)
_COMMENT: Final = int(EventKind.COMMENT)
_decode: Final = msgspec.msgpack.Decoder().decode

_TOMBSTONES: Final = {reason: msgspec.msgpack.encode(OmittedEvent(int(reason), 1)) for reason in OmittedReason}


def tombstone(reason: int) -> bytes:
    """What stands at the offset of an event that is gone."""
    return _TOMBSTONES[OmittedReason(reason)]


def expiry_of(event: bytes) -> int:
    """When an event is to vanish, Unix milliseconds; 0: it stays."""
    if event[0] != _LINKED or event[1] != _COMMENT:
        return 0
    fields: Any = _decode(event)
    return int(fields[6])


class Tail:
    """See the module's docstring.

    :param limit: events that are kept.
    :ivar changes: grows whenever the events are not the same as before.
    """

    __slots__ = ("_events", "_expiring", "_limit", "changes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._expiring: list[tuple[int, int]] = []
        self.changes = 0

    def adopt(self, limit: int) -> None:
        """Keep so many from now on."""
        self._limit = limit
        while len(self._events) > limit:
            self._events.popitem(last=False)
            self.changes += 1

    def add(self, first: int, events: Sequence[bytes], times: Sequence[int]) -> None:
        """Events from offset ``first`` on, one for each offset."""
        self.changes += 1
        for offset, event in enumerate(events, first):
            if event[0] == _LINKED and (expiry := expiry_of(event)):
                heapq.heappush(self._expiring, (expiry, offset))
        # Of a large batch only the end will be left.
        last: list[int] = []
        for index in range(len(events) - 1, -1, -1):
            if len(last) == self._limit:
                break
            if events[index][1] != _OMITTED:
                last.append(index)
        for index in reversed(last):
            self._events[first + index] = times[index], events[index]
        while len(self._events) > self._limit:
            self._events.popitem(last=False)

    def drop(self, first: int, last: int) -> None:
        """The events at these offsets are gone; those about money stay."""
        gone = [offset for offset, (_, event) in self._events.items() if first <= offset <= last and event[1] not in MONEY]
        for offset in gone:
            del self._events[offset]
        self.changes += bool(gone)

    def clear(self) -> None:
        """All are gone: the room goes on in another epoch."""
        self._events.clear()
        self._expiring.clear()
        self.changes += 1

    @property
    def next_expiry(self) -> int:
        """When the next event is to vanish, Unix milliseconds; 0: none is."""
        return self._expiring[0][0] if self._expiring else 0

    def expire(self, now_ms: int) -> list[int]:
        """Drop what has expired and return its offsets, ascending; also of those that are not among the last any more."""
        gone = []
        while self._expiring and self._expiring[0][0] <= now_ms:
            offset = heapq.heappop(self._expiring)[1]
            self.drop(offset, offset)
            gone.append(offset)
        return sorted(gone)

    def recent(self) -> list[tuple[int, int, bytes]]:
        """Offset, time and event of each, oldest first."""
        return [(offset, time, event) for offset, (time, event) in self._events.items()]
