"""A room's stream as a file: newline-delimited JSON, and what has to change in an event so that it can be said again.

Owns the format. Pure: lines and values in, lines and values out; knows no file, no room and no clock.

The first line is a `Header`, ``{"roomcast": 1, "room", "epoch", "first", "last", "exported_at"}``. Then come, by offset,

- ``{"offset", "time", "event"}``: an event as in the JSON codec (`engine.schema`). An `engine.schema.OmittedEvent` stands
  where something was deleted or has expired, for as many offsets as it says;
- ``{"first", "last", "missing"}``: offsets that whoever recorded was not given, and why.

Times are Unix milliseconds. A reader ignores members that it does not know.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from engine.client.items import ProtocolViolation
from engine.client.reading import read_event, read_omission
from engine.errors import RoomcastError
from engine.schema import MONEY, EventKind

__all__ = ["Entry", "Header", "Malformed", "Missing", "Renumbering", "line_of", "read"]

VERSION: Final = 1

Int = Annotated[int, Meta(ge=0, lt=2**53)]
Offset = Annotated[int, Meta(ge=1, lt=2**53)]


class Malformed(RoomcastError):
    """A file is no recording. The text names the line."""


class Header(Struct, frozen=True, kw_only=True):
    """What was recorded.

    :ivar first: offset of the first event that was kept; ``last`` of the last when the recording was made. More may follow.
    :ivar exported_at: when the recording was begun.
    """

    roomcast: int = VERSION
    room: str
    epoch: Int
    first: Int
    last: Int
    exported_at: Int


class Entry(Struct, frozen=True):
    """One event. ``event`` is its array, as decoded."""

    offset: Offset
    time: Int
    event: list[Any]

    @property
    def last(self) -> int:
        """Last offset that it stands for."""
        return self.offset + self.event[2] - 1 if self.event[0] == EventKind.OMITTED else self.offset


class Missing(Struct, frozen=True):
    """The offsets ``first..last`` are not here; ``missing`` says why (`engine.schema.Gap`)."""

    first: Offset
    last: Offset
    missing: str


_encode: Final = msgspec.json.Encoder().encode
_decode_header: Final = msgspec.json.Decoder(Header).decode
_decode_missing: Final = msgspec.json.Decoder(Missing).decode
_decode_entry: Final = msgspec.json.Decoder(Entry).decode


def line_of(thing: Header | Entry | Missing) -> bytes:
    """One line, with its end."""
    return _encode(thing) + b"\n"


def read(lines: Iterable[bytes]) -> tuple[Header, Iterator[Entry | Missing]]:
    """The header, which is read at once, and what follows, which is read as it is asked for. Empty lines do not count.

    :raises Malformed: here, and while iterating.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    number, line = next(numbered, (1, b""))
    if not line:
        raise Malformed("line 1: a recording begins with a header, and this file is empty")
    try:
        header = _decode_header(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"line {number}: no header of a recording: {error}") from None
    if header.roomcast != VERSION:
        raise Malformed(f"line {number}: a recording of version {header.roomcast}, where {VERSION} can be read")
    return header, _entries(numbered)


def _entries(lines: Iterable[tuple[int, bytes]]) -> Iterator[Entry | Missing]:
    expected = 1
    for number, line in lines:
        thing = _entry(number, line)
        first = thing.offset if isinstance(thing, Entry) else thing.first
        if first < expected or thing.last < first:
            raise Malformed(f"line {number}: offset {first}, where at least {expected} must stand: they ascend")
        expected = thing.last + 1
        yield thing


def _entry(number: int, line: bytes) -> Entry | Missing:
    try:
        if b'"missing"' in line and b'"event"' not in line:
            return _decode_missing(line)
        entry = _decode_entry(line)
        kind = entry.event[0] if entry.event else None
        if type(kind) is not int or kind < 0:
            raise Malformed(f"line {number}: an event is an array that begins with its kind, a number")
        # As a viewer will read it: what it would not take must not be said again.
        if kind == EventKind.OMITTED:
            read_omission(entry.event, entry.offset, 2**53)
        else:
            read_event(0, entry.offset, entry.time, entry.event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ProtocolViolation) as error:
        raise Malformed(f"line {number}: {error}") from None
    return entry


# -- saying it again --------------------------------------------------------------------------------------------------

_MOMENTS: Final = {"poll": "closes"}
"""Members of a kind of state that are times."""
_DIGITS: Final = 16
"""Of the largest number on the wire."""


class Renumbering:
    """Offsets of a recording → offsets under which its events were said again. Both ascend, so that two arrays do: 16 bytes an
    event."""

    def __init__(self) -> None:
        self._old = array("q")
        self._new = array("q")

    def note(self, old: int, new: int) -> None:
        """An event has its new offset; the next one must have larger ones."""
        if self._old and (old <= self._old[-1] or new <= self._new[-1]):
            raise ValueError(f"{old} → {new} after {self._old[-1]} → {self._new[-1]}: both must ascend")
        self._old.append(old)
        self._new.append(new)

    def new(self, old: int) -> int:
        """The new offset; 0 for an event that was not said again."""
        index = bisect_left(self._old, old)
        return self._new[index] if index < len(self._old) and self._old[index] == old else 0

    def stretches(self, bounds: list[int]) -> list[int]:
        """First and last of each stretch of old offsets → the same of new ones, of what was said again."""
        found: list[int] = []
        for first, last in zip(bounds[::2], bounds[1::2], strict=False):
            for index in range(bisect_left(self._old, first), bisect_left(self._old, last + 1)):
                new = self._new[index]
                if found and new == found[-1] + 1:
                    found[-1] = new
                else:
                    found += [new, new]
        return found

    def event(self, entry: Entry, now: int) -> list[Any] | None:
        """The event to say at ``now``: what it refers to has its new offset, times lie as far ahead as they did, and its ref is
        0, because no page waits for it. None for what cannot be said again: what was omitted, what was held, what was paid, a
        receipt's notice in the room's state, and what is about events that are not there.
        """
        event = list(entry.event)
        match event[0]:
            case EventKind.OMITTED | EventKind.HELD:
                return None
            case paid if paid in MONEY:
                # It was paid once, in the ledger's room.
                return None
            case EventKind.COMMENT:
                event[2] = 0
                if len(event) > 4:
                    event[4] = self.new(event[4])
                if len(event) > 6 and event[6]:
                    event[6] = _shifted(event[6], now - entry.time)
            case EventKind.CUSTOM:
                event[2] = 0
            case EventKind.NOTICE:
                # Nobody would count its receipts.
                event[2:5] = [0, event[3], False]
            case EventKind.STATE:
                event[2] = 0
                return self._state(event, now - entry.time)
            case EventKind.MODERATED if len(event) > 4 and event[4]:
                event[4] = self.stretches(event[4])
                if not event[4]:
                    return None
        if event[0] == EventKind.MODERATED and len(event) > 5 and event[5]:
            event[5] = _shifted(event[5], now - entry.time)
        return event

    def _state(self, event: list[Any], later: int) -> list[Any] | None:
        kind, key, value = event[3:6]
        if value is not None:
            value = event[5] = dict(value)
        if kind == "notice":
            return None
        if kind == "pin":
            # Its key is the offset of what is pinned.
            new = self.new(int(key)) if key.isdecimal() and len(key) <= _DIGITS else 0
            if not new:
                return None
            event[4] = str(new)
            if value is not None and "offset" in value:
                value["offset"] = new
        moment = _MOMENTS.get(kind, "")
        if value is not None and type(value.get(moment)) is int and value[moment]:
            value[moment] = _shifted(value[moment], later)
        return event


def _shifted(moment: int, by: int) -> int:
    """Within what is a moment on the wire: 0 would be never."""
    return min(max(moment + by, 1), 2**53 - 1)
