"""Ledger and stream, laid side by side: what is in the one is in the other, once, and the same.

Owns what counts as the same. Pure: knows neither where the entries come from (`Shelf`) nor the stream (`Recorded`). Needs one
bit of memory for each entry of the room.

A stream is one recording of a room in one epoch. Every money event in it must be in the ledger under its entry, alike, and be
nowhere else in the recording. Every entry that the ledger has in this epoch, within the recorded offsets, must be there. An
entry may stand in the recording though the ledger has it in another epoch (it was published again) or in none yet (the node
was stopped before it could write the position down); two positions in one epoch cannot both be right.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from engine.ledger.faults import Faults
from engine.schema import EventKind, OmittedReason

__all__ = ["ERASED", "MONEY", "Happening", "Kept", "Matched", "Recorded", "Shelf", "match"]

ERASED: Final = "erased-"
"""Beginning of pseudonyms."""
_AMOUNT: Final[dict[int, int]] = {
    EventKind.GIFT: 6,
    EventKind.COMBO: 7,
    EventKind.CORRECTION: 5,
    EventKind.PACKET: 4,
    EventKind.SHARE: 5,
    EventKind.PACKET_END: 6,
}
"""Where an event has its amount (`engine.schema.money`)."""
MONEY: Final = frozenset(_AMOUNT)
_AT_ONCE: Final = 500
"""Entries looked up in one question."""

_decode: Final = msgspec.msgpack.Decoder().decode


class Happening(NamedTuple):
    """What stands at the offsets ``first..last``: an event, decoded; None: whoever recorded was not given it."""

    first: int
    last: int
    event: Sequence[Any] | None


class Recorded(NamedTuple):
    """A recording (`engine.recording`).

    :ivar first: offset of the first event that was kept.
    :ivar happenings: by offset.
    """

    room: str
    epoch: int
    first: int
    happenings: Iterable[Happening]


class Kept(NamedTuple):
    """An entry as the ledger has it.

    :ivar event: as it was to be shown; empty if that is not kept any more, because somebody in it was erased.
    """

    number: int
    kind: int
    amount: int
    event: bytes
    epoch: int
    offset: int


class Shelf(Protocol):
    """Where entries come from."""

    def count(self, room: str) -> int:
        """Number of the room's last entry; 0: it has none."""

    def entries(self, room: str, numbers: Sequence[int]) -> Iterable[Kept]:
        """Those of these that there are."""

    def published(self, room: str, epoch: int, first: int, last: int) -> Iterator[Kept]:
        """Those whose position is in this epoch and range, by offset."""


class Matched(NamedTuple):
    """How many entries were found, and how many of them the ledger does not know to be published."""

    entries: int
    unmarked: int


def match(shelf: Shelf, recorded: Recorded, faults: Faults) -> Matched:
    """Compare a recording with the ledger.

    :param faults: gets what is wrong.
    """
    return _Match(shelf, recorded, faults).run()


class _Match:
    def __init__(self, shelf: Shelf, recorded: Recorded, faults: Faults) -> None:
        self._shelf = shelf
        self._recorded = recorded
        self._room = recorded.room
        self._faults = faults
        self._seen = bytearray()
        self._last = recorded.first - 1
        self._not_given = _Stretches()
        self._known = _Stretches()
        self._displaced = array("q")
        """Entry, offset in the stream and offset in the ledger, of each that is elsewhere."""
        self._entries = self._unmarked = 0

    def run(self) -> Matched:
        money = self._money()
        while chunk := list(islice(money, _AT_ONCE)):
            # Asked anew each time: a room in use grows, and what is in the stream was in the ledger before.
            self._seen.extend(bytes(self._shelf.count(self._room) // 8 + 1 - len(self._seen)))
            kept = {each.number: each for each in self._shelf.entries(self._room, [entry for _, entry, _ in chunk])}
            for offset, entry, event in chunk:
                self._compare(offset, entry, event, kept.get(entry))
        displaced = iter(self._displaced)
        for entry, offset, other in zip(displaced, displaced, displaced, strict=True):
            if other not in self._known:
                self._fault(entry, f"is at offset {offset} of the stream, the ledger has it at {other}")
        for each in self._shelf.published(self._room, self._recorded.epoch, self._recorded.first, self._last):
            if not self._has(each.number) and each.offset not in self._not_given:
                self._fault(each.number, f"is not in the stream, where the ledger has it at offset {each.offset}")
        return Matched(self._entries, self._unmarked)

    def _money(self) -> Iterator[tuple[int, int, Sequence[Any]]]:
        """Offset, entry and event."""
        for first, last, event in self._recorded.happenings:
            self._last = last
            if event is None:
                self._not_given.add(first, last)
            elif event[0] == EventKind.OMITTED:
                if event[1] == OmittedReason.KNOWN:
                    self._known.add(first, last)
            elif event[0] in MONEY:
                entry = event[2] if len(event) > 2 else None
                if type(entry) is int and entry > 0:
                    yield first, entry, event
                else:
                    self._fault(0, f"the event at offset {first} of the stream names no entry")

    def _compare(self, offset: int, entry: int, event: Sequence[Any], kept: Kept | None) -> None:
        if kept is None:
            self._fault(entry, f"is at offset {offset} of the stream, and not in the ledger")
            return
        if self._has(entry):
            self._fault(entry, f"is in the stream more than once, again at offset {offset}")
            return
        self._seen[entry // 8] |= 1 << entry % 8
        self._entries += 1
        if not _alike(kept, event):
            self._fault(entry, f"is another event at offset {offset} of the stream than in the ledger")
        if not kept.offset:
            self._unmarked += 1
        elif kept.epoch == self._recorded.epoch and kept.offset != offset:
            self._displaced.extend((entry, offset, kept.offset))

    def _has(self, entry: int) -> bool:
        return entry // 8 < len(self._seen) and bool(self._seen[entry // 8] >> entry % 8 & 1)

    def _fault(self, entry: int, text: str) -> None:
        self._faults.add(self._room, entry, text)


def _alike(kept: Kept, event: Sequence[Any]) -> bool:
    if not kept.event:
        amount = event[index] if len(event) > (index := _AMOUNT.get(kept.kind, 0)) else None
        return event[0] == kept.kind and bool(amount == kept.amount)
    try:
        mine = _decode(kept.event)
    except msgspec.DecodeError:
        return False
    return len(mine) == len(event) and all(_same(*each) for each in zip(mine, event, strict=True))


def _same(mine: Any, its: Any) -> bool:
    """Whether a field is the same. Of whom the ledger only knows a pseudonym anything may have been shown before."""
    user = mine[0] if isinstance(mine, list) and mine else mine
    return bool(mine == its) or (isinstance(user, str) and user.startswith(ERASED))


class _Stretches:
    """Ranges of offsets, that come in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        self._firsts.append(first)
        self._lasts.append(last)

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._firsts, offset) - 1
        return index >= 0 and offset <= self._lasts[index]
