"""What must add up in a room: leaderboards, combos, corrections.

Owns these proofs of the audit. Writes nothing. One person's, one combo's, one gift's entries are held at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import select

from engine.ledger.books import Books, Room
from engine.ledger.faults import Faults
from engine.ledger.tables import boards, combos, entries, events
from engine.schema import CorrectionEvent, EventKind, GiftEvent

__all__ = ["check_combos", "check_corrections", "check_givers"]

_given: Final[Callable[[bytes], GiftEvent | CorrectionEvent]] = msgspec.msgpack.Decoder(GiftEvent | CorrectionEvent).decode
_gift: Final = msgspec.msgpack.Decoder(GiftEvent).decode
_first: Final = itemgetter(0)
_HERE: Final = (events.c.room == entries.c.room) & (events.c.number == entries.c.number)


# -- leaderboards -----------------------------------------------------------------------------------------------------


def check_givers(books: Books, room: Room, faults: Faults) -> None:
    """What each person has given, in each stream and of all time: at every gift and correction as its event says, at the end as
    the leaderboards say."""
    given = (
        select(*(entries.c[name] for name in ("person", "number", "amount", "stream")), events.c.event)
        .join_from(entries, events, _HERE, isouter=True)
        .where(entries.c.room == room.number, entries.c.kind.in_((EventKind.GIFT, EventKind.CORRECTION)))
        .order_by(entries.c.person, entries.c.number)
    )
    board = (
        select(boards.c.person, boards.c.stream, boards.c.given).where(boards.c.room == room.number).order_by(boards.c.person)
    )
    for person, gifts, lines in _side_by_side(books.rows(given), books.rows(board)):
        sums: dict[str, int] = defaultdict(int)
        last = 0
        for _, number, amount, stream, event in gifts:
            for each in {"", stream}:
                sums[each] += amount
            last = number
            told = _read(_given, event)
            if told is not None and told.given != sums[stream]:
                faults.add(room.name, number, f"says that {told.given} were given so far, and it were {sums[stream]}")
        booked = {stream: amount for _, stream, amount in lines}
        for stream in sorted(sums.keys() | booked.keys()):
            if sums.get(stream, 0) != booked.get(stream, 0):
                where = f"in the stream {stream!r}" if stream else "of all time"
                text = (
                    f"the leaderboard {where} has {booked.get(stream, 0)} for person {person}, who gave {sums.get(stream, 0)}"
                )
                faults.add(room.name, last, text)


# -- combos -----------------------------------------------------------------------------------------------------------


class _Sums(NamedTuple):
    presses: int
    things: int
    amount: int


def check_combos(books: Books, room: Room, faults: Faults) -> None:
    """Gifts of a combo are alike and in time, their events count it, its end has their sums; so has what is kept of one that
    goes on."""
    columns: tuple[str, ...] = ("about", "number", "kind", "person", "other", "gift", "count", "amount", "booked_ms")
    gifts = (
        select(*(entries.c[name] for name in columns), events.c.event)
        .join_from(entries, events, _HERE, isouter=True)
        .where(entries.c.room == room.number, entries.c.kind.in_((EventKind.GIFT, EventKind.COMBO)))
        .order_by(entries.c.about, entries.c.number)
    )
    columns = ("first", "presses", "count", "amount", "person", "other", "gift")
    going = select(*(combos.c[name] for name in columns))
    going = going.where(combos.c.room == room.number, combos.c.presses > 0).order_by(combos.c.first)
    for combo, rows, goes_on in _side_by_side(books.rows(gifts), books.rows(going)):
        sums, ended, whose = _combo(room, combo, rows, faults)
        kept = [(_Sums(*each[1:4]), tuple(each[4:])) for each in goes_on]
        if ended and kept:
            faults.add(room.name, combo, "is a combo that has ended, and is kept as one that goes on")
        elif kept and kept != [(sums, whose)]:
            faults.add(room.name, combo, f"is a combo that is kept with other sums than {sums.things} for {sums.amount}")
        elif not kept and not ended and sums.presses > 1:
            faults.add(room.name, combo, "is a combo that has no end, and is not kept as one that goes on")


def _combo(room: Room, combo: int, rows: Iterable[Sequence[Any]], faults: Faults) -> tuple[_Sums, bool, tuple[Any, ...]]:
    """Its sums, whether it has ended, whose it is."""
    sums, ended, until = _Sums(0, 0, 0), False, -1
    whose: tuple[Any, ...] = ()
    for _, number, kind, person, other, gift, count, amount, booked_ms, event in rows:
        if ended:
            faults.add(room.name, number, f"belongs to combo {combo}, which has ended")
        if sums.presses == 0:
            whose = person, other, gift
            if number != combo or kind != EventKind.GIFT:
                faults.add(room.name, number, f"belongs to combo {combo}, which is no gift")
        if (person, other, gift) != whose:
            faults.add(room.name, number, f"belongs to combo {combo}, which has another giver, receiver or gift")
        if kind == EventKind.COMBO:
            ended = True
            if (count, amount) != sums[1:] or sums.presses < 2:
                faults.add(
                    room.name, number, f"ends combo {combo} with {count} for {amount}: it is {sums.things} for {sums.amount}"
                )
            continue
        sums = _Sums(sums.presses + 1, sums.things + count, sums.amount + amount)
        told = _read(_gift, event)
        if sums.presses > 1 and until >= 0 and booked_ms > until:
            faults.add(room.name, number, f"continues combo {combo} too late")
        until = booked_ms + told.combo_ms if told is not None else -1
        if told is not None and told.combo_count != sums.things:
            faults.add(room.name, number, f"says that combo {combo} is {told.combo_count} so far, and it is {sums.things}")
    return sums, ended, whose


# -- corrections ------------------------------------------------------------------------------------------------------


def check_corrections(books: Books, room: Room, faults: Faults) -> None:
    """Each is about a gift, of the same person and stream, and leaves no less than nothing of it."""
    gift = entries.alias()
    columns = ("person", "gift", "stream")
    statement = (
        select(
            *(entries.c[name] for name in ("about", "number", "amount", *columns)),
            *(gift.c[name] for name in ("kind", "amount", *columns)),
        )
        .join_from(entries, gift, (gift.c.room == entries.c.room) & (gift.c.number == entries.c.about), isouter=True)
        .where(entries.c.room == room.number, entries.c.kind == EventKind.CORRECTION)
        .order_by(entries.c.about, entries.c.number)
    )
    for about, rows in groupby(books.rows(statement), _first):
        left: int | None = None
        for _, number, amount, person, name, stream, kind, price, *its in rows:
            if kind != EventKind.GIFT:
                faults.add(room.name, number, f"corrects entry {about}, which is no gift")
                continue
            if [person, name, stream] != its:
                faults.add(room.name, number, f"corrects entry {about}, which is of another person, gift or stream")
            left = (price if left is None else left) + amount
            if left < 0:
                faults.add(room.name, number, f"corrects entry {about} to {left}: less than nothing")


# -- rows side by side ------------------------------------------------------------------------------------------------


def _side_by_side(
    left: Iterator[Sequence[Any]], right: Iterator[Sequence[Any]]
) -> Iterator[tuple[int, Iterable[Sequence[Any]], list[Sequence[Any]]]]:
    """Rows with the same first element, of two that are ordered by it. The left ones are read as they are asked for."""
    lefts, rights = groupby(left, _first), groupby(right, _first)
    mine, its = next(lefts, None), next(rights, None)
    while mine is not None or its is not None:
        if its is None or (mine is not None and mine[0] < its[0]):
            assert mine is not None
            yield mine[0], mine[1], []
            mine = next(lefts, None)
        elif mine is None or its[0] < mine[0]:
            yield its[0], (), list(its[1])
            its = next(rights, None)
        else:
            yield mine[0], mine[1], list(its[1])
            mine, its = next(lefts, None), next(rights, None)


def _read(decode: Callable[[bytes], Any], event: bytes | None) -> Any:
    """None for what is not kept, or cannot be read, which is told elsewhere."""
    if not event:
        return None
    try:
        return decode(bytes(event))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
