"""What came to a viewer of what it was entitled to, how late, and why it had to come back; and what of that a server knows.

Owns the counting, the viewer's idea of the server's clock and the fields of a report (`engine.schema.Quality`). Pure: time
comes in, and when to report is the supervisor's. Entitled is read from the position, received counted from the items, so that
the one can be held against the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.client.items import Event, Gap, Omitted, Position
from engine.quality import BUCKETS, bucket_of, quantile

__all__ = ["Meter", "Quality", "Report"]


@dataclass(frozen=True, slots=True)
class Quality:
    """What this viewer got, since it began.

    :ivar entitled: offsets that passed, by its position, those of gaps included.
    :ivar received: offsets that came, counted one by one: events, and what stands in an event's place.
    :ivar gaps: see `engine.client.Gap`.
    :ivar reconnects: how often it had to come back, by cause: the code of the close (1006: a connection that broke) or refusal.
    :ivar delay_p50_ms: milliseconds from the server to here, within a tenth, of events that came live and not after a return;
        None before the clock was measured (``Options.quality``, `Client.ping`) and something came. ``delay_p99_ms`` likewise.
    """

    entitled: int
    received: int
    gaps: int
    reconnects: Mapping[str, int]
    delay_p50_ms: float | None
    delay_p99_ms: float | None


class _Sums(NamedTuple):
    counts: tuple[int, int, int]
    delays: tuple[int, ...]
    causes: int


class Report(NamedTuple):
    """``fields`` of the message after its handle; ``sums`` for `Meter.told`."""

    fields: list[Any]
    sums: _Sums


class Meter:
    """Counts for one viewer, over all its connections.

    :param place: where it begins to count; None: at its first snapshot.
    """

    def __init__(self, place: Position | None = None) -> None:
        self._place = place
        self._entitled = self._received = self._gaps = 0
        self._delays = [0] * BUCKETS
        self._causes: list[str] = []
        self._in_room = False
        self._since = math.inf
        """Seconds of the local clock: events are live from then on."""
        self._ahead_ms: float | None = None
        """Of the server's clock over the local one."""
        self._told = self._sent = self._sums()

    def entered(self, now: float) -> None:
        """In the room, on a new connection: what was sent on the last one and is not known to have arrived is told again."""
        self._in_room, self._since, self._sent = True, now, self._told

    def lost(self, code: int, *, refused: bool = False) -> None:
        """The connection is gone, or there was no way in. Failed attempts to connect do not count, only what caused them."""
        if self._in_room or refused:
            self._causes.append(f"{int(code)}")
        self._in_room = False

    def clock(self, sent: float, answered: float, server_ms: int) -> None:
        """A ping was answered. Those that waited for a connection tell nothing."""
        if sent >= self._since:
            self._ahead_ms = server_ms - (sent + answered) / 2 * 1000

    def moved(self, place: Position | None) -> None:
        """This is the viewer's position now."""
        if place is None:
            return
        if self._place is not None and place.epoch == self._place.epoch:
            self._entitled += place.offset - self._place.offset
        self._place = place

    def came(self, item: object, now: float) -> None:
        """Something has come; what has no offset does not count."""
        if isinstance(item, Event):
            self._received += 1
            if self._ahead_ms is not None and item.time - self._ahead_ms >= self._since * 1000:
                self._delays[bucket_of(now * 1000 + self._ahead_ms - item.time)] += 1
        elif isinstance(item, Omitted):
            self._received += item.last - item.first + 1
        elif isinstance(item, Gap):
            self._gaps += 1

    def report(self) -> Report | None:
        """All since the report before; None if there is nothing. Counts as sent on this connection."""
        now, before = self._sums(), self._sent
        if now == before:
            return None
        self._sent = now
        counts = [count - less for count, less in zip(now.counts, before.counts, strict=True)]
        delays = [count - less for count, less in zip(now.delays, before.delays, strict=True)]
        return Report([*counts, delays, dict(Counter(self._causes[before.causes :]))], now)

    def told(self, report: Report) -> None:
        """A report, and what was sent before it, has arrived."""
        self._told = report.sums

    def quality(self) -> Quality:
        """All since the beginning."""
        counts = dict(enumerate(self._delays))
        p50, p99 = quantile(counts, 0.5), quantile(counts, 0.99)
        return Quality(self._entitled, self._received, self._gaps, dict(Counter(self._causes)), p50, p99)

    def _sums(self) -> _Sums:
        return _Sums((self._entitled, self._received, self._gaps), tuple(self._delays), len(self._causes))
