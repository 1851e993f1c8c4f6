"""Databases for the ledger's tests: SQLite files and databases of one PostgreSQL server, each fresh, with the tables.

Owns where they come from: the tables are made once and copied.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from bench.postgresproc import FORGETFUL, PostgresProcess, postgres_server
from engine.ledger.store import Store

from .crashes import statements

NewUrl = Callable[[], str]
BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresProcess]:
    # Not pytest's directory: the path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory() as directory, postgres_server(Path(directory), *FORGETFUL) as server:
        yield server


@pytest.fixture(scope="session")
def new_database(server: PostgresProcess) -> NewUrl:
    """Makes an empty PostgreSQL database: a schema in one, which is quicker."""
    numbers = count(1)

    def new() -> str:
        name = f"ledger{next(numbers)}"
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{server.url}&options=-csearch_path%3D{name}"

    return new


@pytest.fixture(scope="session")
def new_postgresql(new_database: NewUrl) -> NewUrl:
    """Makes a PostgreSQL database with the tables."""
    store = Store(new_database(), answer_seconds=30)
    with statements() as seen:
        store.open()
    store.close()
    changing = (each for each in seen if each.strip().startswith(("CREATE", "INSERT", "UPDATE")))
    script = ";".join(changing).replace("%%", "%").encode()

    def new() -> str:
        url = new_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script)
        return url

    return new


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> NewUrl:
    """Makes a SQLite file with the tables."""
    directory = tmp_path_factory.mktemp("ledgers")
    template = directory / "template.db"
    store = Store(f"sqlite:///{template}", answer_seconds=30)
    store.open()
    store.close()
    numbers = count(1)

    def new() -> str:
        file = directory / f"{next(numbers)}.db"
        shutil.copyfile(template, file)
        return f"sqlite:///{file}"

    return new


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest) -> str:
    """Of a fresh database with the tables, once of each kind."""
    new: NewUrl = request.getfixturevalue(f"new_{request.param}")
    return new()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """On a fresh database, once of each kind."""
    store = Store(url, answer_seconds=30)
    yield store
    store.close()
