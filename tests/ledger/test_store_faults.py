"""Databases that are full, read-only, busy, gone or newer: nothing is half done, the text says what to do, it works again."""

from __future__ import annotations

import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import Pool

from bench.postgresproc import FORGETFUL, PostgresProcess, postgres_server
from engine.ledger.database import Database
from engine.ledger.store import LedgerError, Store
from engine.ledger.values import Book, Booked

from .conftest import NewUrl
from .requests import claim, give, pack, told

GENEROUS = 30.0
SHORT = 0.3


def numbers(store: Store) -> list[int]:
    return [each.number for each in store.outbox(10_000)]


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@contextmanager
def opened(url: str, answer_seconds: float = GENEROUS) -> Iterator[Store]:
    store = Store(url, answer_seconds=answer_seconds)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def limited_to(pages: int) -> Iterator[None]:
    """SQLite databases do not grow beyond it, as if their disk were full."""

    def connected(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Pool, "connect", connected)
    try:
        yield
    finally:
        event.remove(Pool, "connect", connected)


def fill(store: Store) -> int:
    """Book groups until it refuses. Returns how many gifts there are."""
    for number in range(1_000):
        group = [give(f"{number}/{each}", f"user{number}/{each}", combo_ms=9) for each in range(20)]
        try:
            store.commit(group, [], number)
        except LedgerError:
            return number * 20
    raise AssertionError("it is never full")


# -- SQLite ----------------------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_whole_groups_until_there_is_room(new_sqlite: NewUrl) -> None:
    url = new_sqlite()
    with limited_to(80), opened(url) as store:
        booked = fill(store)
        assert booked
        assert numbers(store) == list(range(1, booked + 1))
        with pytest.raises(LedgerError, match="full"):
            store.commit([give(f"more {number}", f"new{number}") for number in range(500)], [], 9_999)
        assert len(numbers(store)) == booked
    with opened(url) as store:
        done = store.commit([give("more")], [], 9_999)
        assert [each.number for each in done.entries] == [booked + 1]


def test_a_file_that_cannot_be_written_can_be_read(new_sqlite: NewUrl) -> None:
    url = new_sqlite()
    with opened(url) as store:
        store.commit([give("a")], [], 1)

    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA query_only = ON")

    # Not by the file's mode: whoever runs tests may be root, whom no mode stops.
    event.listen(Pool, "connect", connected)
    try:
        with opened(url) as store:
            with pytest.raises(LedgerError, match="cannot be written"):
                store.commit([give("b")], [], 2)
            assert numbers(store) == [1]
    finally:
        event.remove(Pool, "connect", connected)


def test_a_file_that_somebody_else_writes_to_for_too_long_is_busy(new_sqlite: NewUrl) -> None:
    url = new_sqlite()
    other = sqlite3.connect(path_of(url), isolation_level=None)
    with opened(url, SHORT) as store:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"ledger\.answer_seconds"):
            store.commit([give("a")], [], 1)
        assert numbers(store) == []
        other.execute("ROLLBACK")
        assert len(store.commit([give("a")], [], 1).entries) == 1
    other.close()


def test_a_new_file_that_somebody_else_is_making_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SQLite itself does not wait here: it refuses at once.
    file = tmp_path / "ledger.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr("engine.ledger.database.time.sleep", wait)
    with opened(f"sqlite:///{file}") as store:
        store.open()
        assert len(waits) == 3
        assert len(store.commit([give("a")], [], 1).entries) == 1
    other.close()


def test_a_new_file_that_somebody_else_is_making_for_too_long_is_busy(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with opened(f"sqlite:///{file}", SHORT) as store:
        with pytest.raises(LedgerError, match=r"ledger\.answer_seconds"):
            store.open()
        other.execute("ROLLBACK")
        store.open()
    other.close()


def test_a_file_that_is_not_there_is_not_made_by_the_way(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with opened(f"sqlite:///{file}") as store:
        assert not store.exists()
        with pytest.raises(LedgerError, match="cannot be opened"):
            store.outbox(1)
        with pytest.raises(LedgerError, match="cannot be opened"):
            store.commit([give("a")], [], 1)
        assert not file.exists()
        store.open()
        assert store.exists()
        assert len(store.commit([give("a")], [], 1).entries) == 1


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/nowhere/ledger.db") as store, pytest.raises(LedgerError, match="nowhere/ledger"):
        store.open()


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(b"a photograph" * 1_000)
    with opened(f"sqlite:///{file}") as store, pytest.raises(LedgerError, match="no SQLite database"):
        store.open()
    assert file.read_bytes() == b"a photograph" * 1_000


def test_a_path_may_hold_anything(tmp_path: Path) -> None:
    file = tmp_path / "红包 100% ?mode=memory#x.db"
    with opened(f"sqlite:///{str(file).replace('?', '%3F')}") as store:
        store.open()
        store.commit([give("a")], [], 1)
        assert store.exists()
    names = {each.name for each in tmp_path.iterdir()}
    assert len(names) == 1
    assert (tmp_path / names.pop()).stat().st_mode & stat.S_IRUSR


# -- PostgreSQL ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresProcess]:
    """One that may be hurt."""
    with tempfile.TemporaryDirectory() as directory, postgres_server(Path(directory), *FORGETFUL) as server:
        with opened(server.url) as store:
            store.open()
        yield server


@contextmanager
def paused(server: PostgresProcess) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


def test_a_server_that_stands_still_is_not_waited_for(own_server: PostgresProcess) -> None:
    with opened(own_server.url, SHORT) as store:
        store.commit([give("still 1", room="still")], [], 1)
        before = time.monotonic()
        with paused(own_server):
            with pytest.raises(LedgerError, match="does not answer"):
                store.commit([give("still 2", room="still")], [], 2)
            with pytest.raises(LedgerError, match="does not answer"):
                store.givers("still", "", 0, 1)
        assert time.monotonic() - before < GENEROUS
        assert [each.number for each in store.commit([give("still 2", room="still")], [], 2).entries] == [2]


def test_a_server_that_was_killed_has_all_that_was_answered(own_server: PostgresProcess) -> None:
    with opened(own_server.url) as store:
        store.commit([give("killed 1", room="killed"), pack("killed 2", room="killed")], [], 1)
        own_server.kill()
        with pytest.raises(LedgerError, match="does not answer"):
            store.commit([give("killed 3", room="killed")], [], 2)
        own_server.start()
        group: list[Book] = [give("killed 1", room="killed"), give("killed 3", room="killed"), claim(2, "bob", "killed")]
        done = store.commit(group, [], 3)
        assert [told(each)[2] for each in done.outcomes] == [1, 3, 4]


def test_a_restart_of_the_server_between_two_commits_is_not_noticed(own_server: PostgresProcess) -> None:
    with opened(own_server.url) as store:
        store.commit([give("restart 1", room="restart")], [], 1)
        assert store.givers("restart", "", 0, 1)
        own_server.kill()
        own_server.start()
        assert [each.number for each in store.commit([give("restart 2", room="restart")], [], 2).entries] == [2]
        assert store.givers("restart", "", 0, 1)[0].given == 20


def test_a_connection_that_is_lost_at_the_end_leaves_a_retry_harmless(own_server: PostgresProcess) -> None:
    """Whether the server took the commit is unknown then; here it did."""
    lost = False

    def committed(connection: Connection) -> None:
        nonlocal lost
        if not lost:
            lost = True
            driver: Any = connection.connection.driver_connection
            driver.execute("COMMIT")
            driver.pgconn.finish()

    group: list[Book] = [give("lost 1", room="lost"), pack("lost 2", room="lost"), claim(2, "bob", "lost")]
    with opened(own_server.url) as store:
        event.listen(Engine, "commit", committed)
        try:
            with pytest.raises(LedgerError):
                store.commit(group, [], 1)
        finally:
            event.remove(Engine, "commit", committed)
        again = store.commit(group, [], 2)
        assert again.entries == []
        assert [told(each) for each in again.outcomes] == [
            ("booked", "lost", 1, 10, True),
            ("booked", "lost", 2, 100, True),
            ("booked", "lost", 3, told(again.outcomes[2])[3], True),
        ]
        assert [each.number for each in store.outbox(10, "lost")] == [1, 2, 3]


def test_a_room_that_somebody_else_holds_for_too_long_is_busy(own_server: PostgresProcess) -> None:
    with opened(own_server.url, SHORT) as store, psycopg.connect(own_server.url) as other:
        store.commit([give("held 1", room="held")], [], 1)
        other.execute("SELECT * FROM rooms FOR UPDATE")
        with pytest.raises(LedgerError):
            store.commit([give("held 2", room="held")], [], 2)
        other.rollback()
        assert [each.number for each in store.commit([give("held 2", room="held")], [], 2).entries] == [2]


def test_a_server_that_is_not_there_a_database_that_is_not_there(own_server: PostgresProcess) -> None:
    with opened("postgresql://postgres@127.0.0.1:1/postgres") as store, pytest.raises(LedgerError, match="does not answer"):
        store.open()
    with opened(own_server.url_of("nowhere")) as store, pytest.raises(LedgerError, match=r"ledger\.url"):
        store.open()


def test_a_read_only_database_says_so(new_postgresql: NewUrl) -> None:
    url = f"{new_postgresql()}%20-cdefault_transaction_read_only%3Don"
    with opened(url) as store:
        with pytest.raises(LedgerError, match="read-only"):
            store.commit([give("a")], [], 1)
        assert numbers(store) == []


# -- both ------------------------------------------------------------------------------------------------------------------


def test_a_store_that_was_closed_opens_its_connections_again(store: Store) -> None:
    store.commit([give("a")], [], 1)
    store.close()
    (outcome,) = store.commit([give("a")], [], 1).outcomes
    assert isinstance(outcome, Booked)
    assert outcome.repeated


def test_a_connection_in_use_while_all_are_closed_is_closed_when_it_is_given_back(new_postgresql: NewUrl) -> None:
    database = Database(new_postgresql(), answer_seconds=GENEROUS)

    def read(connection: Connection) -> Any:
        connection.execute(text("SELECT 1"))
        database.close()
        return connection.connection.driver_connection

    assert database.read(read).closed
    assert not database.read(lambda connection: connection.connection.driver_connection.closed)  # type: ignore[union-attr]
    database.close()


def test_tables_of_a_newer_release_are_left_alone(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with opened(url) as store, pytest.raises(LedgerError, match="9999, made by a newer release"):
        store.open()
