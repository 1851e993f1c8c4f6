"""Version 0002: the outbox of happenings, which the product is told by webhooks. What it holds: `engine.ledger.tables`."""

from __future__ import annotations

import secrets

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, Text, text

__all__ = ["downgrade", "upgrade"]

revision = "0002"
down_revision = "0001"

_WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def _number(name: str) -> Column[int]:
    return Column(name, _WHOLE, nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _index(name: str, table: str, columns: list[str], only: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=text(only), postgresql_where=text(only))


def upgrade() -> None:
    """From version 0001: nothing that is there is touched."""
    op.create_table(
        "webhook_rooms",
        Column("number", _WHOLE, primary_key=True),
        Column("name", Text, nullable=False, unique=True),
        *(_number(name) for name in ("told", "sent", "attempts", "due_ms")),
        *(_text(name) for name in ("life", "peak")),
    )
    _index("webhook_rooms_due", "webhook_rooms", ["due_ms"], "sent < told")
    op.create_table(
        "webhooks",
        Column("room", _WHOLE, primary_key=True, autoincrement=False),
        Column("number", _WHOLE, primary_key=True, autoincrement=False),
        _text("type"),
        _number("time_ms"),
        _text("key"),
        Column("body", LargeBinary, nullable=False),
        Column("dead", SmallInteger, nullable=False),
        _number("attempts"),
        _text("reason"),
        sqlite_with_rowid=False,
    )
    _index("webhooks_key", "webhooks", ["room", "key"], "key <> ''", unique=True)
    _index("webhooks_dead", "webhooks", ["room", "number"], "dead > 0")
    op.create_table(
        "webhook_lease",
        Column("number", SmallInteger, primary_key=True, autoincrement=False),
        _text("origin"),
        _text("holder"),
        _number("until_ms"),
    )
    op.execute(f"INSERT INTO webhook_lease (number, origin, holder, until_ms) VALUES (1, '{secrets.token_hex(5)}', '', 0)")


def downgrade() -> None:
    """What was not delivered is lost."""
    for table in ("webhook_lease", "webhooks", "webhook_rooms"):
        op.drop_table(table)
