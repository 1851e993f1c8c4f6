"""The rows that arbitrate: one for each room.

Owns their lock, the numbers of entries and the time that never goes back. Whoever has a room's lock is alone with all that
there is of it until the transaction ends. Locks are taken in the order of the rooms' names, so that nobody waits for somebody
who waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from engine.ledger.bulk import Change, Find
from engine.ledger.tables import rooms

__all__ = ["Room", "Rooms"]

_lock: Final = Find(rooms, [rooms.c.name], lock="update")
_known: Final = Find(rooms, [rooms.c.name], [rooms.c.name])
_advance: Final = Change(rooms, [rooms.c.number], [rooms.c.entries, rooms.c.booked_ms])
_ADD: Final = {
    "sqlite": sqlite.insert(rooms).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(rooms).on_conflict_do_nothing(),
}


class Room:
    """A room that we have to ourselves.

    :ivar number: of its row.
    :ivar entries: how many there are.
    :ivar now_ms: when what is booked in it now is booked.
    """

    __slots__ = ("before", "entries", "name", "now_ms", "number")

    def __init__(self, number: int, name: str, entries: int, now_ms: int) -> None:
        self.number = number
        self.name = name
        self.entries = self.before = entries
        self.now_ms = now_ms

    def next(self) -> int:
        """The number of one more entry."""
        self.entries += 1
        return self.entries


class Rooms:
    """The rooms of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rooms: dict[str, Room] = {}

    def lock(self, made: Iterable[str], others: Iterable[str], now_ms: int) -> None:
        """Lock them.

        :param made: made if they are not there.
        :param others: left out if they are not there.
        """
        names = {*made, *others}
        keys = [(name,) for name in sorted(names)]
        if new := {*made} - {name for (name,) in _known(self._connection, keys)}:
            # Before the locks: who has some must not wait for rows that somebody else may be about to make.
            rows = [{"name": name, "entries": 0, "booked_ms": 0} for name in sorted(new)]
            self._connection.execute(_ADD[self._connection.dialect.name], rows)
        for number, name, entries, booked_ms in _lock(self._connection, keys):
            self._rooms[name] = Room(number, name, entries, max(booked_ms, now_ms))

    def get(self, name: str) -> Room | None:
        """None: nothing was ever booked in it."""
        return self._rooms.get(name)

    def all(self) -> list[Room]:
        """Those that are locked."""
        return list(self._rooms.values())

    def save(self) -> None:
        """Write how many entries there are now."""
        _advance(
            self._connection, [(each.number, each.entries, each.now_ms) for each in self.all() if each.entries != each.before]
        )
