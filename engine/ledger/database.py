"""A database: connections, time limits, transactions that are tried again, and what its errors mean.

Owns how SQLite and PostgreSQL are spoken to. Must not know what is kept in them.

SQLite (https://www.sqlite.org/wal.html): WAL, ``synchronous = FULL``, so that what is committed survives a loss of power.
Several processes may have the file open; whoever writes begins with ``BEGIN IMMEDIATE`` and waits for the others. The file is
made only by who asks for it. PostgreSQL: READ COMMITTED, in which each statement sees what was committed before it: whoever has
waited for a lock then reads what is true now.

Writers and readers have connections of their own. Those of writers look rows up by their index whatever the statistics say: in
a new table there are none yet, and a plan made then would read all of it when it has grown.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from engine.ledger.errors import LedgerError
from engine.ledger.failures import explain

__all__ = ["Database", "Disturbed"]

T = TypeVar("T")

_TRIES: Final = 3
"""For a transaction that did not get as far as its end, for a reason that may have passed."""
_CONNECTIONS: Final = 5
_RETRIED: Final = frozenset(("40001", "40P01"))
"""Serialization failure and deadlock (PostgreSQL's SQLSTATE): the same may succeed now."""
_MODE_SECONDS: Final = 0.01
"""Between tries to put a new SQLite file into WAL mode while others do the same."""
_CACHE_KILOBYTES: Final = 32_768
"""Of SQLite, for each connection. Pages that do not fit are written several times in a large transaction."""
_WRITERS: Final = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"


class Disturbed(Exception):
    """Raised within a transaction: others have done something meanwhile, so that it must begin anew."""


class Database:
    """See the module's docstring. Connects when it must. Every method may be called from any thread.

    :param url: ``sqlite:///path`` or ``postgresql://…``. Raises `LedgerError` if it is neither.
    :param answer_seconds: that a transaction may take, waiting for others included.
    """

    def __init__(self, url: str, answer_seconds: float) -> None:
        try:
            self._url = make_url(url)
        except ArgumentError:
            raise LedgerError("ledger.url is no URL: sqlite:///path or postgresql://user:password@host/database") from None
        self._answer_seconds = answer_seconds
        self.path: Final = _path(self._url)
        """Of the SQLite file; None: PostgreSQL."""
        self._engines: dict[bool, Engine] = {}
        self._file: tuple[int, int] | None = None
        """Which file it is that was opened."""

    def read(self, do: Callable[[Connection], T]) -> T:
        """What ``do`` returns, from one transaction that writes nothing. Raises `LedgerError`."""
        return self._run(do, writes=False)

    def write(self, do: Callable[[Connection], T]) -> T:
        """What ``do`` returns, of a transaction that is committed if it returns. It may be called several times, each time
        after nothing of it has happened: when others have the same key, or the connection was lost before the end. Raises
        `LedgerError`: nothing was committed; or, if the connection was lost at the end, it is not known."""
        self._look()
        done = self._run(do, writes=True)
        self._look()
        return done

    def create(self, do: Callable[[Connection], T]) -> T:
        """As `write`, in a SQLite file that may have to be made."""
        engine = self._new_engine(writes=True, mode="rwc")
        try:
            return self._run(do, writes=True, engine=engine)
        finally:
            engine.dispose()

    def close(self) -> None:
        """Close the connections that nobody uses, and those in use when they are given back."""
        for engine in self._engines.values():
            engine.dispose()

    def _look(self) -> None:
        """Raise `LedgerError` if the SQLite file is not the one that was opened: SQLite would go on with one that was removed,
        which is gone with this process."""
        if self.path is None:
            return
        try:
            status = self.path.stat()
        except OSError:
            found = None
        else:
            found = status.st_dev, status.st_ino
        if self._file is None:
            self._file = found
        elif found != self._file:
            self.close()
            self._engines.clear()
            self._file = None
            raise LedgerError(f"{self.path} was moved, removed or replaced while it was in use: put it back")

    def _run(self, do: Callable[[Connection], T], *, writes: bool, engine: Engine | None = None) -> T:
        if engine is None and (engine := self._engines.get(writes)) is None:
            engine = self._engines.setdefault(writes, self._new_engine(writes=writes, mode="rw"))
        deadline = time.monotonic() + self._answer_seconds
        for left in reversed(range(_TRIES)):
            try:
                return _once(engine, do, deadline)
            except _Unknown as error:
                raise LedgerError(explain(error.error, self.path)) from error.error
            except DBAPIError as error:
                if not left or time.monotonic() > deadline or not _may_have_passed(error):
                    raise LedgerError(explain(error, self.path)) from error
            except Disturbed as error:
                if not left:
                    raise LedgerError("others have been in the way each time: try again") from error
            except PoolTimeoutError as error:
                raise LedgerError("all connections to the ledger's database are in use") from error
        raise AssertionError("the last try returns or raises")

    def _new_engine(self, *, writes: bool, mode: str) -> Engine:
        if self.path is not None:
            return self._sqlite(self.path, writes=writes, mode=mode)
        return self._postgresql(writes=writes)

    def _sqlite(self, path: Path, *, writes: bool, mode: str) -> Engine:
        file = f"file:{quote(str(path))}?mode={mode}"

        def connect() -> sqlite3.Connection:
            # Transactions are begun below: the module's own way begins them too late.
            connection = sqlite3.connect(
                file, uri=True, timeout=self._answer_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                _log_ahead(connection, self._answer_seconds)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"PRAGMA cache_size = -{_CACHE_KILOBYTES}")
            except BaseException:
                connection.close()
                raise
            return connection

        engine = create_engine(
            "sqlite://", creator=connect, poolclass=QueuePool, max_overflow=_CONNECTIONS, pool_timeout=self._answer_seconds
        )
        begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    def _postgresql(self, *, writes: bool) -> Engine:
        try:
            from engine.ledger.patience import Patient
        except ModuleNotFoundError:
            raise LedgerError("PostgreSQL needs the package psycopg: pip install 'roomcast[postgresql]'") from None
        milliseconds = math.ceil(self._answer_seconds * 1000)
        url = self._url.set(drivername="postgresql+psycopg")
        settings = f"SET statement_timeout = {milliseconds}; SET lock_timeout = {milliseconds}"
        if writes:
            settings = f"{settings}; {_WRITERS}"

        def connect() -> Patient:
            positional, named = engine.dialect.create_connect_args(url)
            named.setdefault("connect_timeout", math.ceil(self._answer_seconds))
            # Committed, or they would not outlive the first transaction that is rolled back.
            connection = Patient.connect(*positional, **named, autocommit=True)
            connection.deadline = time.monotonic() + self._answer_seconds
            try:
                connection.execute(settings)
                connection.autocommit = False
            except BaseException:
                connection.close()
                raise
            return connection

        engine = create_engine(
            url,
            creator=connect,
            max_overflow=_CONNECTIONS,
            pool_timeout=self._answer_seconds,
            use_native_hstore=False,
        )
        return engine


def _path(url: URL) -> Path | None:
    """Of a SQLite file."""
    match url.get_backend_name(), url.database:
        case "sqlite", str(path) if path != ":memory:" and path:
            return Path(path)
        case "postgresql", _:
            return None
    raise LedgerError("ledger.url must be sqlite:///path or postgresql://user:password@host/database")


def _log_ahead(connection: sqlite3.Connection, seconds: float) -> None:
    """Put the file into WAL mode. Of several that make it at once, SQLite refuses all but one without waiting (one that reads
    already wants to write, https://www.sqlite.org/c3ref/busy_handler.html): here they wait for up to ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_MODE_SECONDS)


class _Unknown(Exception):
    """The end of a transaction failed: nobody knows whether it was committed."""

    def __init__(self, error: DBAPIError) -> None:
        self.error = error


def _once(engine: Engine, do: Callable[[Connection], T], deadline: float) -> T:
    """One transaction. Raises DBAPIError if nothing of it was committed, `_Unknown`, and what ``do`` raises."""
    pool = engine.pool
    try:
        return _within(engine, do, deadline)
    finally:
        if engine.pool is not pool:
            # Closed meanwhile: the connection went back to where nobody looks any more.
            pool.dispose()


def _within(engine: Engine, do: Callable[[Connection], T], deadline: float) -> T:
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            driver: Any = connection.connection.driver_connection
            driver.deadline = deadline
        with connection.begin() as transaction:
            done = do(connection)
            try:
                transaction.commit()
            except BaseException as error:
                # It may be open still, but SQLAlchemy takes it for over and would give the connection to the next one.
                connection.invalidate()
                if isinstance(error, DBAPIError):
                    raise _Unknown(error) from error
                raise
        return done


def _may_have_passed(error: DBAPIError) -> bool:
    if error.connection_invalidated or isinstance(error, IntegrityError):
        return True
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in _RETRIED
