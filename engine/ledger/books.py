"""The ledger as an auditor reads it: all of it as it was at one moment, room by room, in rows that come as they are asked for.

Owns the statements of the audit that need no judgement, and how much is held at once. Judges nothing, writes nothing. What is
read stays as it was at the beginning, however long it takes and whatever nodes book meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, Select, inspect, select, text

from engine.ledger.database import Database
from engine.ledger.errors import LedgerError
from engine.ledger.matching import Kept
from engine.ledger.migrations import NEWEST
from engine.ledger.tables import entries, events, rooms

__all__ = ["Books", "Room", "read_books"]

T = TypeVar("T")

_SECONDS: Final = 86_400.0
"""Longest time that an audit may take."""
_ROWS: Final = 1_000
"""Fetched at once."""


class Room(NamedTuple):
    """A room's row, which arbitrates.

    :ivar number: by which the other tables know it.
    :ivar entries: that it says there are.
    :ivar booked_ms: that it says is the time of the last.
    """

    number: int
    name: str
    entries: int
    booked_ms: int


class Books:
    """See the module's docstring. A `engine.ledger.matching.Shelf`."""

    def __init__(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._connection = connection
        if not inspect(connection).has_table(rooms.name):
            raise LedgerError("there is no ledger in this database yet: it is made when money is first used")
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if version != NEWEST:
            what = f"the ledger's tables are of version {version}, and this release reads {NEWEST}"
            raise LedgerError(
                f"{what}: use the release of the nodes, or start a node of this one, which brings them up to date"
            )
        self.rooms: Final = [Room(*row) for row in self.rows(select(*rooms.c).order_by(rooms.c.number))]
        self._by_name = {each.name: each for each in self.rooms}

    def rows(self, statement: Select[Any]) -> Iterator[Sequence[Any]]:
        """What a statement finds, a part at a time."""
        with self._connection.execute(statement, execution_options={"yield_per": _ROWS}) as result:
            yield from result

    def room(self, name: str) -> Room | None:
        """By its name; None: nothing was ever booked in it."""
        return self._by_name.get(name)

    # -- for whom a stream is compared with it --------------------------------------------------------------------------

    def count(self, room: str) -> int:
        found = self.room(room)
        return found.entries if found else 0

    def entries(self, room: str, numbers: Sequence[int]) -> Iterator[Kept]:
        found = self.room(room)
        # SQLite has no larger number.
        asked = [each for each in numbers if each <= (found.entries if found else 0)]
        if not found or not asked:
            return iter(())
        return self._kept(_KEPT.where(events.c.room == found.number, events.c.number.in_(asked)))

    def published(self, room: str, epoch: int, first: int, last: int) -> Iterator[Kept]:
        found = self.room(room)
        if not found:
            return iter(())
        offset = events.c.published_offset
        here = events.c.room == found.number, events.c.published_epoch == epoch, offset.between(first, last)
        return self._kept(_KEPT.where(*here).order_by(offset))

    def _kept(self, statement: Select[Any]) -> Iterator[Kept]:
        return (Kept(number, kind, amount, bytes(event), *at) for number, kind, amount, event, *at in self.rows(statement))


_KEPT: Final = select(
    *(entries.c[name] for name in ("number", "kind", "amount")),
    *(events.c[name] for name in ("event", "published_epoch", "published_offset")),
).join_from(events, entries, (entries.c.room == events.c.room) & (entries.c.number == events.c.number))


def read_books(url: str, do: Callable[[Books], T]) -> T:
    """What ``do`` returns, of the ledger at this URL.

    :raises LedgerError: it cannot be read, or there is none.
    """
    database = Database(url, _SECONDS)
    if database.path is not None and not database.path.is_file():
        raise LedgerError(f"there is no ledger at {database.path} yet: it is made when money is first used (ledger.url)")
    try:
        return database.read(lambda connection: do(Books(connection)))
    finally:
        database.close()
