"""How a person is forgotten.

Owns what of a person goes and what stays. Its id and name become a pseudonym, one place for all rows, which have but its
number; every amount stays. Events show ids and names: what was published is not kept any more, what will be shown still is
rewritten. So a later user with that id is another person, to whom nothing of the past belongs.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select, tuple_, union, update

from engine.ledger import wire
from engine.ledger.bulk import Change
from engine.ledger.database import Disturbed
from engine.ledger.rooms import Rooms
from engine.ledger.tables import combos, entries, events, packets, people, rooms
from engine.ledger.webhooks import forget
from engine.schema import Author

__all__ = ["erase"]

_rewrite: Final = Change(events, [events.c.room, events.c.number], [events.c.event])


def erase(connection: Connection, user: str, pseudonym: str) -> bool:
    """Forget somebody. Returns whether it was known.

    :param pseudonym: that nobody has.
    """
    number = connection.execute(select(people.c.number).where(people.c.id == user)).scalar_one_or_none()
    if number is None:
        return False
    _hold(connection, number)
    connection.execute(update(people).where(people.c.number == number).values(id=pseudonym, name=pseudonym))
    author = wire.encode(Author(pseudonym))
    for table in (combos, packets):
        connection.execute(update(table).where(table.c.person == number).values(author=author))

    to_come = or_(
        and_(events.c.published_epoch == 0, events.c.published_offset == 0),
        exists().where(packets.c.room == events.c.room, packets.c.number == events.c.number, packets.c.ended == 0),
    )
    for named in _naming(number):
        rows = connection.execute(select(events.c.room, events.c.number, events.c.event).where(named, to_come)).all()
        _rewrite(connection, [(room, entry, wire.renamed(event, user, pseudonym)) for room, entry, event in rows])
        connection.execute(update(events).where(named, ~to_come).values(event=b""))
    forget(connection, user, pseudonym)
    return True


def _naming(number: int) -> list[ColumnElement[bool]]:
    """The events that show somebody, in two parts, each found by an index."""
    key = tuple_(events.c.room, events.c.number)
    return [
        key.in_(select(entries.c.room, entries.c.number).where(column == number))
        for column in (entries.c.person, entries.c.other)
    ]


def _hold(connection: Connection, number: int) -> None:
    """Be alone with somebody, and with all rooms in which something is booked of it. Raises `Disturbed` if that changes
    meanwhile."""
    everywhere = union(*(select(entries.c.room).where(column == number) for column in (entries.c.person, entries.c.other)))
    names = select(rooms.c.name).where(rooms.c.number.in_(everywhere))
    locked = set(connection.scalars(names))
    # Rooms before people, as whoever books does: two who wait for each other would wait for ever.
    Rooms(connection).lock((), locked, 0)
    connection.execute(select(people.c.number).where(people.c.number == number).with_for_update())
    if not set(connection.scalars(names)) <= locked:
        raise Disturbed
