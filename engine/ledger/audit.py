"""Does the ledger hold? Every proof that can be had from it alone, and from recordings of the streams.

Owns which proofs there are, and those about each entry by itself. The others are `engine.ledger.sums` (what adds up),
`engine.ledger.draws` (red packets) and `engine.ledger.matching` (the streams). Writes nothing.

Each proof reads its rows in the order that it needs and holds a few at a time, so that a room may have any number. What is
proved is what `entries` says; the other tables must follow from it, and the events must say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import func, or_, select

from engine.ledger.books import Books, Room
from engine.ledger.draws import check_packets
from engine.ledger.faults import Faults, Report
from engine.ledger.matching import MONEY, Recorded, match
from engine.ledger.sums import check_combos, check_corrections, check_givers
from engine.ledger.tables import entries, events, keys, people
from engine.schema import (
    ComboEvent,
    CorrectionEvent,
    EventKind,
    GiftEvent,
    MoneyEvent,
    PacketEndEvent,
    PacketEvent,
    ShareEvent,
)

__all__ = ["verify", "work"]

_KEYED: Final = (EventKind.GIFT, EventKind.CORRECTION, EventKind.PACKET)
"""Entries that were asked for under a key."""
_MOST: Final = 2**53 - 1
_PASSES: Final = 3
"""How often most rows are read."""

_decode: Final[Callable[[bytes], MoneyEvent]] = msgspec.msgpack.Decoder(MoneyEvent).decode


def verify(books: Books, streams: Iterable[Recorded] = (), progress: Callable[[int], None] = lambda _: None) -> Report:
    """Prove what can be proved, and tell what is wrong:

    - a room's entries are numbered from 1 without holes, and are as many as its row says, in the order of their times;
    - each has the event that shows it, which says the same; no two are published at one place;
    - a key leads to one entry, and each gift, correction and red packet has one;
    - leaderboards are the sums of gifts and corrections, at each of them and at the end; no gift is corrected to less than
      nothing;
    - a combo's events count it, and its end has the sums of its gifts;
    - a red packet's shares follow from its seed, to which its commitment belongs, each user has one at most, and with what went
      back they are its total;
    - what the streams show is what the ledger says (`engine.ledger.matching`).

    :param streams: recordings, made before ``books`` were opened.
    :param progress: called with how much is done, of `work`.
    """
    faults = Faults()
    counts: dict[int, int] = dict.fromkeys(MONEY, 0)
    unpublished = passed = 0
    for room in books.rooms:
        for entry in _entries(books, room, faults):
            counts[entry.kind] = counts.get(entry.kind, 0) + 1
            unpublished += entry.unpublished
            passed += 1
            progress(passed)
        for check in (check_givers, check_combos):
            check(books, room, faults)
            passed += room.entries
            progress(passed)
        check_corrections(books, room, faults)
        check_packets(books, room, faults)
        _positions(books, room, faults)
    _keys(books, faults)
    _strays(books, faults)
    compared = [match(books, stream, faults) for stream in streams]
    return Report(
        rooms=len(books.rooms),
        entries=sum(counts.values()),
        gifts=counts[EventKind.GIFT],
        packets=counts[EventKind.PACKET],
        shares=counts[EventKind.SHARE],
        unpublished=unpublished,
        streams=len(compared),
        matched=sum(each.entries for each in compared),
        unmarked=sum(each.unmarked for each in compared),
        fault_count=faults.count,
        faults=faults.first,
    )


def work(books: Books) -> int:
    """How much there is to do for `verify`."""
    return sum(room.entries for room in books.rooms) * _PASSES


# -- each entry -------------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    kind: int
    unpublished: bool


def _entries(books: Books, room: Room, faults: Faults) -> Iterator[_Entry]:
    """Check a room's entries in their order."""
    other = people.alias()
    statement = (
        select(
            *(entries.c[name] for name in ("number", "kind", "booked_ms")),
            *(people.c.id, other.c.id),
            *(entries.c[name] for name in ("other", "amount", "about", "gift", "count", "stream")),
            *(events.c[name] for name in ("event", "booked_ms", "published_epoch", "published_offset")),
        )
        .join_from(entries, people, people.c.number == entries.c.person, isouter=True)
        .join(other, other.c.number == entries.c.other, isouter=True)
        .join(events, (events.c.room == entries.c.room) & (events.c.number == entries.c.number), isouter=True)
        .where(entries.c.room == room.number)
        .order_by(entries.c.number)
    )
    last = booked = 0
    for number, kind, booked_ms, person, to, to_number, amount, *rest in books.rows(statement):
        about, gift, count, stream, event, shown_ms, epoch, offset = rest
        if number != last + 1:
            faults.add(room.name, number, f"follows entry {last}: there is a hole")
        if booked_ms < booked:
            faults.add(room.name, number, "was booked before the one before it")
        if kind not in MONEY:
            faults.add(room.name, number, f"is of the kind {kind}, which there is not")
        if not _possible(kind, amount, count):
            faults.add(room.name, number, f"has an amount of {amount} for {count}, which cannot be")
        if person is None or (to_number and to is None):
            faults.add(room.name, number, "is of a person who is not there")
        if event is None:
            faults.add(room.name, number, "has no event")
        else:
            if shown_ms != booked_ms:
                faults.add(room.name, number, "has an event of another time")
            if (epoch > 0) != (offset > 0):
                faults.add(room.name, number, f"is published at ({epoch}, {offset}), which is no place")
            if event:
                said = (kind, number, person, to or "", amount, about, gift, count, stream)
                for fault in _differences(bytes(event), said):
                    faults.add(room.name, number, fault)
        yield _Entry(kind, event is not None and not offset)
        last, booked = number, booked_ms
    if (last, booked) != (room.entries, room.booked_ms):
        faults.add(room.name, 0, f"ends with entry {last}, where its row says {room.entries}, or at another time")


def _possible(kind: int, amount: int, count: int) -> bool:
    if kind == EventKind.CORRECTION:
        return -_MOST <= amount <= _MOST
    least = 0 if kind == EventKind.PACKET_END else 1
    return least <= amount <= _MOST and count >= least and (kind != EventKind.GIFT or amount % count == 0)


_NAMES: Final = ("kind", "entry", "user", "other user", "amount", "entry it is about", "gift", "count", "stream")


def _differences(event: bytes, said: Sequence[Any]) -> Iterator[str]:
    """In which an event does not say what the ledger does."""
    try:
        shown = _said(_decode(event))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        yield f"has an event that cannot be read: {error}"
        return
    for name, mine, its in zip(_NAMES, said, shown, strict=True):
        if its is not None and its != mine:
            yield f"has an event that shows another {name}: {its!r}, where the ledger says {mine!r}"


def _said(event: MoneyEvent) -> tuple[Any, ...]:
    """In the order of `_NAMES`; None: an event of this kind does not say."""
    author, entry = event.author.id, event.entry
    match event:
        case GiftEvent(to=to, amount=amount, combo=combo, gift=gift, count=count, stream=stream):
            return EventKind.GIFT, entry, author, to, amount, combo, gift, count, stream
        case ComboEvent(to=to, amount=amount, combo=combo, gift=gift, count=count):
            return EventKind.COMBO, entry, author, to, amount, combo, gift, count, None
        case CorrectionEvent(corrected=corrected, user=user, amount=amount, stream=stream):
            return EventKind.CORRECTION, entry, user, author, amount, corrected, None, None, stream
        case PacketEvent(total=total, shares=shares):
            return EventKind.PACKET, entry, author, None, total, entry, None, shares, None
        case ShareEvent(packet=packet, number=number, amount=amount):
            return EventKind.SHARE, entry, author, None, amount, packet, None, number, None
        case PacketEndEvent(packet=packet, claimed=claimed, rest=rest):
            return EventKind.PACKET_END, entry, author, None, rest, packet, None, claimed, None


# -- keys and places --------------------------------------------------------------------------------------------------


def _positions(books: Books, room: Room, faults: Faults) -> None:
    """No place has two entries."""
    place = events.c.published_epoch, events.c.published_offset
    statement = (
        select(*place, func.count(), func.min(events.c.number), func.max(events.c.number))
        .where(events.c.room == room.number, or_(*(each != 0 for each in place)))
        .group_by(*place)
        .having(func.count() > 1)
    )
    for epoch, offset, count, first, last in books.rows(statement):
        faults.add(room.name, first, f"is published at ({epoch}, {offset}), where {count - 1} others are, such as entry {last}")


def _keys(books: Books, faults: Faults) -> None:
    """Each key leads to an entry that can have one, and each of these has one."""
    names = {room.number: room.name for room in books.rooms}
    here = (entries.c.room == keys.c.room) & (entries.c.number == keys.c.number)
    lost = or_(entries.c.number.is_(None), entries.c.kind.not_in(_KEYED))
    for room, number in books.rows(select(keys.c.room, keys.c.number).join_from(keys, entries, here, isouter=True).where(lost)):
        faults.add(names.get(room, f"room {room}"), number, "has a key, and is none that can have one")
    grouped = select(keys.c.room, keys.c.number, func.count().label("many")).group_by(keys.c.room, keys.c.number).subquery()
    mine = (entries.c.room == grouped.c.room) & (entries.c.number == grouped.c.number)
    statement = (
        select(entries.c.room, entries.c.number, func.coalesce(grouped.c.many, 0))
        .join_from(entries, grouped, mine, isouter=True)
        .where(entries.c.kind.in_(_KEYED), func.coalesce(grouped.c.many, 0) != 1)
    )
    for room, number, many in books.rows(statement):
        faults.add(names.get(room, f"room {room}"), number, f"has {many} keys, where it must have one")


def _strays(books: Books, faults: Faults) -> None:
    """Nothing is kept of what is not there."""
    known = {room.number for room in books.rooms}
    for room, count in books.rows(select(entries.c.room, func.count()).group_by(entries.c.room)):
        if room not in known:
            faults.add(f"room {room}", 0, f"is not there, and has {count} entries")
    here = (entries.c.room == events.c.room) & (entries.c.number == events.c.number)
    lost = (
        select(events.c.room, events.c.number).join_from(events, entries, here, isouter=True).where(entries.c.number.is_(None))
    )
    for room, number in books.rows(lost):
        faults.add(f"room {room}", number, "has an event, and is not in the ledger")
