"""A process that ends between any two statements, or before the last word.

Owns the place where it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

__all__ = ["Crash", "crash_at", "statements"]


class Crash(Exception):
    """Nobody in the engine knows it."""


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to any database meanwhile. ``COMMIT`` stands for the end of a transaction."""
    seen: list[str] = []

    def execute(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    def commit(connection: Connection) -> None:
        seen.append("COMMIT")

    with listening(execute, commit):
        yield seen


@contextmanager
def crash_at(number: int) -> Iterator[None]:
    """The transaction ends before its ``number``-th statement, from 0, or before it is committed if that comes first."""
    left = number

    def execute(*rest: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    with listening(execute, execute):
        yield


@contextmanager
def listening(execute: Any, commit: Any) -> Iterator[None]:
    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", execute)
        event.remove(Engine, "commit", commit)
