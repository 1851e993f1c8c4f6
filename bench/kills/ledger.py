"""What is in the database of a storm, read as it lies there.

Owns the queries. Knows the names of tables and columns (`engine.ledger.tables`) and imports nothing of the engine, so that a
fault of what writes the ledger is none of what checks it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgpack
import sqlalchemy as sql

from bench.kills.judge import Kept

__all__ = ["read_ledger", "unpublished"]

_ROWS: Final = sql.text(
    "SELECT rooms.name, entries.number, entries.kind, people.id, entries.amount, entries.about, events.event,"
    " events.published_epoch, events.published_offset, entries.booked_ms"
    " FROM entries JOIN rooms ON rooms.number = entries.room JOIN people ON people.number = entries.person"
    " LEFT JOIN events ON events.room = entries.room AND events.number = entries.number"
    " ORDER BY entries.room, entries.number"
)
_UNPUBLISHED: Final = sql.text("SELECT count(*) FROM events WHERE published_epoch = 0")


def _engine(url: str) -> sql.Engine:
    return sql.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sql.NullPool)


def read_ledger(url: str) -> list[Kept]:
    """All rows of all rooms, each room's by their numbers; none while nobody has made the tables."""
    rows: list[Kept] = []
    with suppress(sql.exc.OperationalError, sql.exc.ProgrammingError), _engine(url).connect() as connection:
        for room, number, kind, user, amount, about, event, epoch, offset, booked_ms in connection.execute(_ROWS):
            told = msgpack.unpackb(event) if event else []
            rows.append(Kept(room, number, kind, user, amount, about, told, epoch or 0, offset or 0, booked_ms))
    return rows


def unpublished(url: str) -> int:
    """How many entries are not known to be published. Raises `sqlalchemy.exc.SQLAlchemyError`."""
    with _engine(url).connect() as connection:
        return int(connection.execute(_UNPUBLISHED).scalar_one())
