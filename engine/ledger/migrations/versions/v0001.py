"""Version 0001: the first tables. What they hold: `engine.ledger.tables`."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, SmallInteger, Text, text

__all__ = ["downgrade", "upgrade"]

revision = "0001"
down_revision = None

_WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def _number(name: str) -> Column[int]:
    return Column(name, _WHOLE, nullable=False)


def _numbers(*names: str) -> list[Column[int]]:
    return [_number(name) for name in names]


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _key(name: str, *more: Any) -> Column[int]:
    return Column(name, _WHOLE, *more, primary_key=True, autoincrement=False)


def _index(name: str, table: str, columns: list[str], only: str | None = None, *, unique: bool = False) -> None:
    where = None if only is None else text(only)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "rooms",
        Column("number", _WHOLE, primary_key=True),
        Column("name", Text, nullable=False, unique=True),
        *_numbers("entries", "booked_ms"),
    )
    op.create_table(
        "people",
        Column("number", _WHOLE, primary_key=True),
        Column("id", Text, nullable=False, unique=True),
        _text("name"),
    )
    op.create_table(
        "entries",
        _key("room", ForeignKey("rooms.number")),
        _key("number"),
        Column("kind", SmallInteger, nullable=False),
        _number("booked_ms"),
        Column("person", _WHOLE, ForeignKey("people.number"), nullable=False),
        *_numbers("other", "amount", "about"),
        _text("gift"),
        _number("count"),
        _text("stream"),
        sqlite_with_rowid=False,
    )
    _index("entries_person", "entries", ["person"])
    _index("entries_other", "entries", ["other"], "other <> 0")
    _index("entries_correction", "entries", ["room", "about"], "kind = 10")
    _index("entries_share", "entries", ["room", "about", "person"], "kind = 12", unique=True)
    _index("entries_combo_end", "entries", ["room", "about"], "kind = 9", unique=True)
    _index("entries_packet_end", "entries", ["room", "about"], "kind = 13", unique=True)
    op.create_table(
        "events",
        _key("room"),
        _key("number"),
        _bytes("event"),
        *_numbers("booked_ms", "published_epoch", "published_offset"),
        sqlite_with_rowid=False,
    )
    _index("events_outbox", "events", ["booked_ms", "room", "number"], "published_epoch = 0 AND published_offset = 0")
    op.create_table(
        "keys",
        Column("key", Text, primary_key=True),
        _bytes("content"),
        *_numbers("room", "number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "boards",
        _key("room"),
        Column("stream", Text, primary_key=True),
        _key("person"),
        _number("given"),
        sqlite_with_rowid=False,
    )
    _index("boards_most", "boards", ["room", "stream", "given"], "given > 0")
    op.create_table(
        "combos",
        _key("room"),
        _key("person"),
        Column("gift", Text, primary_key=True),
        _key("other"),
        *_numbers("first", "presses", "count", "amount", "until_ms"),
        _bytes("author"),
        sqlite_with_rowid=False,
    )
    _index("combos_due", "combos", ["until_ms"], "presses >= 2")
    _index("combos_single", "combos", ["room", "until_ms"], "presses < 2")
    op.create_table(
        "packets",
        _key("room"),
        _key("number"),
        _number("person"),
        _bytes("author"),
        *_numbers("total", "shares"),
        _text("split"),
        *_numbers("opens", "expires"),
        _bytes("seed"),
        *_numbers("claimed", "paid", "ended"),
        _text("reason"),
        sqlite_with_rowid=False,
    )
    _index("packets_open", "packets", ["room", "number"], "ended = 0")
    _index("packets_due", "packets", ["expires"], "ended = 0")
    op.create_table(
        "catalogue",
        Column("id", Text, primary_key=True),
        _text("name"),
        _number("price"),
        _text("effect"),
        _number("combo_ms"),
    )
    _guard()


def _guard() -> None:
    """Rows of the ledger and keys are never changed and never deleted."""
    if op.get_context().dialect.name == "sqlite":
        for table in ("entries", "keys"):
            for change in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed and never deleted'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed and never deleted', TG_TABLE_NAME; END $$"
    )
    for table in ("entries", "keys"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
        )


def downgrade() -> None:
    """There is nothing before it. Raises RuntimeError."""
    raise RuntimeError("the ledger's first version cannot be taken back: its entries would be lost")
