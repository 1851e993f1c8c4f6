"""The ledger of a run: a database of its own, made before the engine starts and read when it has stopped.

Owns the database and what is read from it, in plain SQL: an independent look at what the engine has written. Must not know what
it should hold (`bench.settlement`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgpack

from bench.engineproc import EngineError, cpu_ns
from bench.postgresproc import PostgresProcess, postgres_server

__all__ = ["Booking", "Books", "Treasury"]

KIND_COLUMNS: Final = {8: ("amount", 6), 10: ("amount", 5), 11: ("amount", 4), 12: ("amount", 5), 13: ("amount", 6)}
"""Of an entry's event, where the same amount stands: of gifts, corrections, red packets, shares, and what goes back."""
QUERY: Final = """
    SELECT rooms.name, entries.number, entries.kind, entries.amount, events.event, events.published_epoch,
           events.published_offset
    FROM entries
    JOIN rooms ON rooms.number = entries.room
    LEFT JOIN events ON events.room = entries.room AND events.number = entries.number
    ORDER BY entries.room, entries.number
"""


class Booking(NamedTuple):
    """One entry as the ledger has it.

    :ivar amount: in its own column, beside the event.
    :ivar packed: MessagePack of the event; empty: it is not kept.
    """

    kind: int
    amount: int
    packed: bytes
    epoch: int
    offset: int

    @property
    def event(self) -> list[Any] | None:
        """The event, decoded."""
        return list(msgpack.unpackb(self.packed)) if self.packed else None

    @property
    def agrees(self) -> bool:
        """Whether event and columns are of the same kind and amount."""
        event = self.event
        if event is None:
            return False
        place = KIND_COLUMNS.get(self.kind)
        return bool(event[0] == self.kind and (place is None or event[place[1]] == self.amount))


Books = dict[str, dict[int, Booking]]
"""Room → number → entry."""


class Treasury:
    """See the module's docstring; a context manager that ends what it has started.

    :param kind: ``sqlite`` or ``postgresql``.
    :param directory: for the database.
    :ivar url: for the engine.
    :raises EngineError: the database cannot be made.
    :raises bench.postgresproc.PostgresError: its server did not start.
    """

    def __init__(self, kind: str, directory: Path) -> None:
        self._stack = ExitStack()
        self._server: PostgresProcess | None = None
        self._seen: dict[int, int] = {}
        with ExitStack() as stack:
            if kind == "sqlite":
                self._path = directory / "ledger.db"
                self.url = f"sqlite:///{self._path}"
            else:
                self._server = stack.enter_context(postgres_server(directory))
                self.url = self._server.url
            self._prepare()
            self._stack = stack.pop_all()

    def _prepare(self) -> None:
        """Make the tables, as for a node that has run before: the first gift is not to pay for that."""
        from engine.ledger.errors import LedgerError
        from engine.ledger.store import Store

        store = Store(self.url)
        try:
            store.open()
        except LedgerError as error:
            raise EngineError(f"the ledger cannot be made: {error}") from None
        finally:
            store.close()

    def close(self) -> None:
        """End the server, if there is one."""
        self._stack.close()

    @property
    def cpu_ns(self) -> int:
        """CPU time of the database's own processes so far; 0 where it has none."""
        for pid in self._server.pids if self._server is not None else ():
            with suppress(OSError):  # it may have ended meanwhile
                self._seen[pid] = cpu_ns(pid)
        return sum(self._seen.values())

    def read(self) -> Books:
        """All entries. Raises `EngineError`."""
        books: Books = {}
        for name, number, *rest in self._rows():
            books.setdefault(name, {})[number] = Booking(*rest)
        return books

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        if self._server is None:
            try:
                with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
                    yield from map(_plain, connection.execute(QUERY))
            except sqlite3.Error as error:
                raise EngineError(f"the ledger cannot be read: {error}") from None
            return
        import psycopg

        try:
            with psycopg.connect(self.url) as connection:
                yield from map(_plain, connection.execute(QUERY))
        except psycopg.Error as error:
            raise EngineError(f"the ledger cannot be read: {error}") from None


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    name, number, kind, amount, event, epoch, offset = row
    return name, number, kind, amount, bytes(event or b""), epoch or 0, offset or 0
