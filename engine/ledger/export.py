"""The ledger as lines for other programs: one JSON object an entry.

Owns the members and their order. Writes nothing to the ledger. A member is never renamed nor given another meaning; later
versions may add some at the end. Every line has all members; what an entry does not have is null.

============== ======================================================================================================
member         what it is
============== ======================================================================================================
``room``       name of the room
``entry``      number of the entry in the room, from 1 without holes
``kind``       ``gift``, ``combo`` (its end), ``correction``, ``packet`` (红包), ``share`` of one, ``packet_end``
``booked``     when, ISO 8601 in UTC with milliseconds
``booked_ms``  the same in Unix milliseconds
``user``       id of who gave, made or got it; of one that was erased its pseudonym
``name``       the name that this user was last seen with; null if it has none
``receiver``   of a gift or combo: id of who gets it; null: the host
``corrector``  of a correction: id of who did it
``amount``     gift: price × count; correction: what is added, negative when it was given back; packet: total; share: of the
               share; packet_end: what goes back; combo: of its gifts, which have it already. In the smallest unit of the
               product's money
``gift``       id of the gift; ``count`` how many of it
``combo``      entry of the first gift of the combo that a gift, or its end, belongs to
``corrects``   of a correction: entry of the gift
``packet``     entry of the red packet; ``shares`` how many it has, or at its end had been claimed; ``share`` the share's
               number, from 1
``key``        by which it was asked for
``stream``     name of the broadcast in which a gift was given, for corrections too; null: none with a name
``epoch``      where it is in the room's stream, with ``offset``; both null: not known to be published
============== ======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import select

from engine.ledger.books import Books
from engine.ledger.tables import entries, events, keys, people
from engine.schema import EventKind

__all__ = ["Line", "lines"]

_KINDS: Final = {
    EventKind.GIFT: "gift",
    EventKind.COMBO: "combo",
    EventKind.CORRECTION: "correction",
    EventKind.PACKET: "packet",
    EventKind.SHARE: "share",
    EventKind.PACKET_END: "packet_end",
}
_OF_GIFTS: Final = (EventKind.GIFT, EventKind.COMBO)

_other: Final = people.alias()
_STATEMENT: Final = (
    select(
        *(entries.c[name] for name in ("room", "number", "kind", "booked_ms", "amount", "about", "gift", "count", "stream")),
        *(people.c.id, people.c.name, _other.c.id, events.c.published_epoch, events.c.published_offset),
    )
    .join_from(entries, people, people.c.number == entries.c.person, isouter=True)
    .join(_other, _other.c.number == entries.c.other, isouter=True)
    .join(events, (events.c.room == entries.c.room) & (events.c.number == entries.c.number), isouter=True)
    .order_by(entries.c.room, entries.c.number)
)
_KEYS: Final = select(keys.c.room, keys.c.number, keys.c.key).order_by(keys.c.room, keys.c.number)
_END: Final[tuple[int, int, str]] = (2**63, 0, "")
"""After every key."""

_encode: Final[Callable[[object], bytes]] = msgspec.json.Encoder().encode


class Line(Struct, frozen=True, kw_only=True):
    """See the module's docstring."""

    room: str
    entry: int
    kind: str
    booked: str
    booked_ms: int
    user: str | None
    name: str | None
    receiver: str | None
    corrector: str | None
    amount: int
    gift: str | None
    count: int | None
    combo: int | None
    corrects: int | None
    packet: int | None
    shares: int | None
    share: int | None
    key: str | None
    stream: str | None
    epoch: int | None
    offset: int | None


def lines(
    books: Books,
    rooms: Collection[str] | None = None,
    *,
    first: int = 1,
) -> Iterator[bytes]:
    """Each with its end, by room in the order in which they came to be, then by entry.

    :param rooms: only these; None: all.
    :param first: entries of a room from this number on.
    """
    names = {room.number: room.name for room in books.rooms if rooms is None or room.name in rooms}
    # Keys have no index by entry: the database sorts them once, and they are read beside the entries.
    statement = _STATEMENT.where(entries.c.number >= first)
    keyed = _KEYS.where(keys.c.number >= first)
    if rooms is not None:
        statement, keyed = statement.where(entries.c.room.in_(list(names))), keyed.where(keys.c.room.in_(list(names)))
    found = ((room, number, key) for room, number, key in books.rows(keyed))
    asked = next(found, _END)
    for room, *row in books.rows(statement):
        here = room, row[0]
        while asked[:2] < here:
            asked = next(found, _END)
        key = asked[2] if asked[:2] == here else None
        yield _encode(_line(names.get(room, ""), row, key)) + b"\n"


def _line(room: str, row: Sequence[Any], key: str | None) -> Line:
    number, kind, booked_ms, amount, about, gift, count, stream, user, name, to, epoch, offset = row
    of_gift = kind in _OF_GIFTS
    return Line(
        room=room,
        entry=number,
        kind=_KINDS.get(kind, str(kind)),
        booked=_moment(booked_ms),
        booked_ms=booked_ms,
        user=user,
        name=name or None,
        receiver=to if of_gift else None,
        corrector=to if kind == EventKind.CORRECTION else None,
        amount=amount,
        gift=gift or None,
        count=count if of_gift else None,
        combo=about if of_gift else None,
        corrects=about if kind == EventKind.CORRECTION else None,
        packet=about if kind in (EventKind.PACKET, EventKind.SHARE, EventKind.PACKET_END) else None,
        shares=count if kind in (EventKind.PACKET, EventKind.PACKET_END) else None,
        share=count if kind == EventKind.SHARE else None,
        key=key,
        stream=stream or None,
        epoch=epoch if offset else None,
        offset=offset or None,
    )


def _moment(milliseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
