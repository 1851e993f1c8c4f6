"""What is read without booking.

Owns the questions; each finds its rows by an index. What is returned may be of a moment ago.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Connection, Integer, Select, bindparam, func, select

from engine.ledger.tables import boards, combos, events, keys, packets, people, rooms
from engine.ledger.values import End, Entry, Finish, Giver

__all__ = ["due", "givers", "known", "next_due", "outbox", "packet_entries", "recent"]

_UNPUBLISHED: Final = (events.c.published_epoch == 0) & (events.c.published_offset == 0)
_THE_ROOM: Final = select(rooms.c.number).where(rooms.c.name == bindparam("room")).scalar_subquery()
_LIMIT: Final[BindParameter[int]] = bindparam("limit", type_=Integer)


def _entries(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Rows that become an `Entry`."""
    columns = (events.c.number, events.c.event, events.c.booked_ms, events.c.published_epoch, events.c.published_offset)
    return select(rooms.c.name, *columns).join_from(events, rooms, events.c.room == rooms.c.number).where(*conditions)


_OLDEST: Final = (events.c.booked_ms, events.c.room, events.c.number)
_OUTBOX: Final = _entries(_UNPUBLISHED).order_by(*_OLDEST).limit(_LIMIT)
_OUTBOX_OF: Final = _entries(_UNPUBLISHED, events.c.room == _THE_ROOM).order_by(*_OLDEST).limit(_LIMIT)


def outbox(connection: Connection, limit: int, room: str | None) -> list[Entry]:
    """Entries that are not known to be published, oldest first."""
    if room is None:
        return [Entry(*row) for row in connection.execute(_OUTBOX, {"limit": limit})]
    return [Entry(*row) for row in connection.execute(_OUTBOX_OF, {"limit": limit, "room": room})]


# The last of those that are too old, from the end: what is looked at is what is returned, however old the room is.
_BEFORE: Final = (
    select(events.c.number)
    .where(events.c.room == _THE_ROOM, events.c.booked_ms < bindparam("since_ms"))
    .order_by(events.c.number.desc())
    .limit(1)
)
_ELSEWHERE: Final = (
    _entries(
        events.c.room == _THE_ROOM,
        events.c.number > bindparam("before"),
        events.c.published_epoch != bindparam("epoch"),
    )
    .order_by(events.c.number.desc())
    .limit(_LIMIT)
)
_LAST_MS: Final = select(rooms.c.booked_ms).where(rooms.c.name == bindparam("room"))
_NEWEST_OUTBOX: Final = (
    _entries(_UNPUBLISHED, events.c.room == _THE_ROOM).order_by(*(each.desc() for each in _OLDEST)).limit(_LIMIT)
)


def recent(connection: Connection, room: str, recent_ms: int, epoch: int, limit: int) -> list[Entry]:
    """What may be missing in a room's history of this epoch, by number; of more than ``limit`` the newest."""
    last_ms = connection.execute(_LAST_MS, {"room": room}).scalar_one_or_none()
    if last_ms is None:
        return []
    before = connection.execute(_BEFORE, {"room": room, "since_ms": last_ms - recent_ms}).scalar_one_or_none() or 0
    asked = {"room": room, "epoch": epoch, "before": before, "limit": limit}
    rows = [*connection.execute(_ELSEWHERE, asked), *connection.execute(_NEWEST_OUTBOX, {"room": room, "limit": limit})]
    found = {entry.number: entry for entry in (Entry(*row) for row in rows)}
    return sorted(found.values(), key=attrgetter("number"))[-limit:]


_KNOWN: Final = select(keys.c.key).where(keys.c.key == bindparam("key"))


def known(connection: Connection, key: str) -> bool:
    """Whether something was booked under a key."""
    return connection.execute(_KNOWN, {"key": key}).first() is not None


_PACKETS: Final = (
    _entries(events.c.room == _THE_ROOM, packets.c.ended == 0)
    .join(packets, (packets.c.room == events.c.room) & (packets.c.number == events.c.number))
    .order_by(events.c.number)
)


def packet_entries(connection: Connection, room: str) -> list[Entry]:
    """Those of red packets that are not over, by number."""
    return [Entry(*row) for row in connection.execute(_PACKETS, {"room": room})]


_EXPIRED: Final = (
    select(rooms.c.name, packets.c.number)
    .join_from(packets, rooms, packets.c.room == rooms.c.number)
    .where(packets.c.ended == 0, packets.c.expires <= bindparam("now_ms"))
    .order_by(packets.c.expires)
    .limit(_LIMIT)
)
_FINISHED: Final = (
    select(rooms.c.name, combos.c.first)
    .join_from(combos, rooms, combos.c.room == rooms.c.number)
    .where(combos.c.presses >= 2, combos.c.until_ms < bindparam("now_ms"))
    .order_by(combos.c.until_ms)
    .limit(_LIMIT)
)


def due(connection: Connection, now_ms: int, limit: int) -> list[End | Finish]:
    """What is to be booked by now: ends of red packets that have expired, then those of combos that are over."""
    asked = {"now_ms": now_ms, "limit": limit}
    ends: list[End | Finish] = [
        End(room=room, packet=number, reason="expired") for room, number in connection.execute(_EXPIRED, asked)
    ]
    asked["limit"] = limit - len(ends)
    return [*ends, *(Finish(room=room, combo=first) for room, first in connection.execute(_FINISHED, asked))]


_NEXT_EXPIRY: Final = select(func.min(packets.c.expires)).where(packets.c.ended == 0)
_NEXT_FINISH: Final = select(func.min(combos.c.until_ms)).where(combos.c.presses >= 2)


def next_due(connection: Connection) -> int | None:
    """From when on something is due, Unix milliseconds."""
    expiry = connection.execute(_NEXT_EXPIRY).scalar_one()
    until = connection.execute(_NEXT_FINISH).scalar_one()
    # A combo may go on until its time, inclusive.
    return min((each for each in (expiry, None if until is None else until + 1) if each is not None), default=None)


_GIVERS: Final = (
    select(people.c.id, people.c.name, boards.c.given)
    .join_from(boards, people, boards.c.person == people.c.number)
    .where(boards.c.room == _THE_ROOM, boards.c.stream == bindparam("stream"), boards.c.given > 0)
    .order_by(boards.c.given.desc(), people.c.id)
    .limit(_LIMIT)
    .offset(bindparam("after"))
)


def givers(connection: Connection, room: str, stream: str, after: int, limit: int) -> list[Giver]:
    """Lines of a leaderboard: most first, what is equal in the order of the ids. Who got everything back is not on it."""
    asked = {"room": room, "stream": stream, "after": after, "limit": limit}
    return [Giver(*row) for row in connection.execute(_GIVERS, asked)]
