"""Many rows in one statement: found by their keys, added, changed.

Owns how rows travel. Knows both databases' ways, and no table. The statements are SQLAlchemy's, made once for each database.

Rows go to PostgreSQL as one JSON text, which it takes apart itself (``json_to_recordset``): one way there and back, one
parameter instead of a thousand, one plan whatever their number. SQLite is in the process: rows are added and changed by
``executemany``; the keys of a lookup come as JSON, too (``json_each``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["Change", "Find", "Put"]

# SQLAlchemy has no types for the second one's constructor.
_DIALECTS: Final[dict[str, Dialect]] = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}  # type: ignore[no-untyped-call]
_json: Final = msgspec.json.Encoder().encode


class _Sent:
    """Rows of some columns as JSON: how they are packed here and unpacked there."""

    def __init__(self, columns: Sequence[Column[Any]]) -> None:
        self._columns = columns
        # Names of its own: a column may be called like a keyword of Python.
        self._row: Callable[..., Any] = msgspec.defstruct(
            "Row",
            [(f"_{index}", Any) for index in range(len(columns))],
            rename={f"_{index}": str(each.name) for index, each in enumerate(columns)},
            gc=False,
        )

    def pack(self, dialect: str, rows: Sequence[Sequence[Any]]) -> Any:
        """The parameters. Bytes travel as base64."""
        if dialect == "sqlite":
            return (_json(rows).decode(),)
        row = self._row
        return {"rows": _json([row(*each) for each in rows]).decode()}

    def unpacked(self, dialect: str) -> FromClause:
        """What the statement selects from."""
        if dialect == "sqlite":
            each = func.json_each(bindparam("rows", type_=Text)).table_valued("value")
            parts = [
                func.json_extract(each.c.value, literal_column(f"'$[{index}]'")).label(part.name)
                for index, part in enumerate(self._columns)
            ]
            return select(*parts).subquery("sent")
        typed = [column(part.name, Text() if isinstance(part.type, LargeBinary) else part.type) for part in self._columns]
        rows = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
        return rows.table_valued(*typed).render_derived("sent", with_types=True)

    def part(self, sent: FromClause, name: str) -> ColumnElement[Any]:
        """A column of `unpacked`, as the table has it."""
        part = sent.c[name]
        wanted = next(each for each in self._columns if each.name == name)
        return func.decode(part, literal_column("'base64'")) if isinstance(wanted.type, LargeBinary) else part


class Find:
    """The rows of a table that have certain values in the columns ``by``, which must be different ones for each key.

    :param take: what is read of them; all columns if none are named.
    :param only: what must hold for them, too.
    :param lock: ``update`` or ``key share``: PostgreSQL locks them until the end of the transaction, in the order of ``by``.
        (In SQLite whoever writes is alone.)
    """

    def __init__(
        self,
        table: Table,
        by: Sequence[Column[Any]],
        take: Sequence[ColumnElement[Any]] = (),
        *,
        only: ColumnElement[bool] | None = None,
        lock: str = "",
    ) -> None:
        self._table, self._by, self._take, self._only, self._lock = table, by, take or tuple(table.c), only, lock
        self._sent = _Sent(by)
        self._statements: dict[str, str] = {}

    def __call__(self, connection: Connection, keys: Sequence[Sequence[Any]]) -> Sequence[Any]:
        """Their rows, in no order. No key, no question."""
        if not keys:
            return ()
        dialect = connection.dialect.name
        if (statement := self._statements.get(dialect)) is None:
            statement = self._statements[dialect] = self._make(dialect)
        return connection.exec_driver_sql(statement, self._sent.pack(dialect, keys)).all()

    def _make(self, dialect: str) -> str:
        sent = self._sent.unpacked(dialect)
        found = select(*self._take).join_from(sent, self._table, and_(*(each == sent.c[each.name] for each in self._by)))
        if self._only is not None:
            found = found.where(self._only)
        if self._lock and dialect != "sqlite":
            shared = self._lock == "key share"
            found = found.order_by(*self._by).with_for_update(of=self._table, read=shared, key_share=shared)
        return _plain(found, dialect, ["rows"])


class Put:
    """Adds rows to a table.

    :param columns: that a row has, in the table's order.
    :param instead: columns of a unique key: a row that has it already gets the values of all others of ``columns``.
    """

    def __init__(self, table: Table, columns: Sequence[Column[Any]], *, instead: Sequence[Column[Any]] = ()) -> None:
        self._table, self._columns, self._instead = table, columns, instead
        self._sent = _Sent(columns)

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """No row, no statement. Of one key only one row."""
        if not rows:
            return
        if (dialect := connection.dialect.name) == "sqlite":
            connection.exec_driver_sql(self._in_sqlite, [tuple(each) for each in rows])
        else:
            connection.exec_driver_sql(self._in_postgresql, self._sent.pack(dialect, rows))

    @cached_property
    def _in_sqlite(self) -> str:
        added = sqlite.insert(self._table).values({each.name: bindparam(each.name) for each in self._columns})
        if self._instead:
            changed = {each.name: added.excluded[each.name] for each in self._columns if each not in self._instead}
            added = added.on_conflict_do_update(index_elements=list(self._instead), set_=changed)
        return _plain(added, "sqlite", [each.name for each in self._columns])

    @cached_property
    def _in_postgresql(self) -> str:
        sent = self._sent.unpacked("postgresql")
        names = [each.name for each in self._columns]
        added = postgresql.insert(self._table).from_select(names, select(*(self._sent.part(sent, name) for name in names)))
        if self._instead:
            changed = {each.name: added.excluded[each.name] for each in self._columns if each not in self._instead}
            added = added.on_conflict_do_update(index_elements=list(self._instead), set_=changed)
        return _plain(added, "postgresql", ["rows"])


class Change:
    """Changes rows of a table.

    :param by: columns of a unique key: the first ones that a row has.
    :param columns: the others, whose values it gets.
    """

    def __init__(self, table: Table, by: Sequence[Column[Any]], columns: Sequence[Column[Any]]) -> None:
        self._table, self._by, self._columns = table, by, columns
        self._sent = _Sent([*by, *columns])

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """No row, no statement. Of one key only one row; what is not there is left out."""
        if not rows:
            return
        if (dialect := connection.dialect.name) == "sqlite":
            width = len(self._by)
            connection.exec_driver_sql(self._in_sqlite, [(*row[width:], *row[:width]) for row in rows])
        else:
            connection.exec_driver_sql(self._in_postgresql, self._sent.pack(dialect, rows))

    @cached_property
    def _in_sqlite(self) -> str:
        changed = update(self._table).ordered_values(*((each, bindparam(f"to_{each.name}")) for each in self._columns))
        changed = changed.where(*(each == bindparam(f"of_{each.name}") for each in self._by))
        names = [*(f"to_{each.name}" for each in self._columns), *(f"of_{each.name}" for each in self._by)]
        return _plain(changed, "sqlite", names)

    @cached_property
    def _in_postgresql(self) -> str:
        sent = self._sent.unpacked("postgresql")
        changed = update(self._table).values({each.name: self._sent.part(sent, each.name) for each in self._columns})
        return _plain(changed.where(*(each == sent.c[each.name] for each in self._by)), "postgresql", ["rows"])


def _plain(statement: Any, dialect: str, names: list[str]) -> str:
    """The text of a statement, once and for all: to make it again would take a good part of a small transaction's time.

    :param names: of its parameters; in SQLite in their order.
    """
    compiled = statement.compile(dialect=_DIALECTS[dialect])
    assert isinstance(compiled, SQLCompiler)
    assert (compiled.positiontup if dialect == "sqlite" else list(compiled.params)) == names
    return str(compiled)
