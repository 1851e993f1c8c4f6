"""Databases of every release come to the tables of this one, with all that is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine, insert, inspect, text

from engine.ledger.migrations import NEWEST, migrate
from engine.ledger.store import Store
from engine.ledger.tables import metadata
from engine.ledger.values import Book, Booked, Giver

from .conftest import NewUrl
from .releases import RELEASES
from .requests import claim, correct, give, told


@pytest.fixture(params=("sqlite", "postgresql"))
def empty(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    new: NewUrl = request.getfixturevalue("new_database")
    return new()


def on(url: str, do: Callable[[Connection], Any]) -> Any:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            return do(connection)
    finally:
        engine.dispose()


def test_the_migrations_make_the_tables_that_the_engine_knows(empty: str) -> None:
    store = Store(empty, answer_seconds=60)
    store.open()
    store.open()
    store.close()

    def differences(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    assert on(empty, differences) == []

    def partial(connection: Connection) -> dict[str, str]:
        inspector = inspect(connection)
        return {
            str(index["name"]): str(value).strip("()")
            for table in metadata.tables
            for index in inspector.get_indexes(table)
            for key, value in index.get("dialect_options", {}).items()
            if key.endswith("_where")
        }

    kind = "sqlite" if empty.startswith("sqlite") else "postgresql"
    wanted = {
        str(index.name): str(where)
        for table in metadata.tables.values()
        for index in table.indexes
        if (where := index.dialect_options[kind]["where"]) is not None
    }
    normal = {name: where.replace("(", "").replace(")", "").replace("::text", "") for name, where in on(empty, partial).items()}
    assert normal == wanted


def fill(connection: Connection, version: str) -> None:
    """Make a ledger as this release left it."""
    migrate(connection, version)
    tables = MetaData()
    tables.reflect(connection)
    for name, rows in RELEASES[version].items():
        connection.execute(insert(tables.tables[name]), rows)


@pytest.mark.parametrize("version", RELEASES)
def test_a_ledger_of_an_earlier_release_goes_on(version: str, empty: str) -> None:
    on(empty, lambda connection: fill(connection, version))
    store = Store(empty, answer_seconds=60)
    store.open()
    now = on(empty, lambda connection: connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    assert now == NEWEST
    assert store.givers("hall", "", 0, 10) == [Giver("ann", "安", 20)]
    group: list[Book] = [give("first", "ann"), give("second", "bob"), claim(3, "cid"), claim(3, "dan"), correct("third", 1)]
    done = store.commit(group, [], 2_000)
    assert [told(each) for each in done.outcomes] == [
        ("booked", "hall", 1, 10, True),
        ("booked", "hall", 5, 10, False),
        ("booked", "hall", 4, 5, True),
        ("booked", "hall", 6, 5, False),
        ("booked", "hall", 8, -10, False),
    ]
    assert isinstance(done.outcomes[0], Booked)
    assert done.outcomes[0].entry.offset == 11
    assert [each.number for each in store.outbox(10)] == [2, 3, 4, 5, 6, 7, 8]
    assert store.packets("hall") == []
    store.close()


def test_every_version_has_a_ledger_of_its_time_to_be_tested_with() -> None:
    assert list(RELEASES)[-1] == NEWEST
