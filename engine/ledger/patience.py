"""A connection to PostgreSQL that does not wait for ever.

Owns the time limit on this side: the server's own (``statement_timeout``) is of no use when the server stands still or the
network is gone. Knows nothing of the ledger. Loads psycopg.
"""

from __future__ import annotations

import math
import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready

__all__ = ["Patient"]

T = TypeVar("T")


class Patient(psycopg.Connection[tuple[object, ...]]):
    """Ends itself when an answer comes later than its deadline, a tenth of a second more or less.

    :ivar deadline: in seconds of `time.monotonic`.
    """

    deadline: float = math.inf

    def wait(self, gen: PQGen[T], *more: Any, **named: Any) -> T:
        """As psycopg's, which looks in ten times a second. Raises `psycopg.OperationalError` after the deadline."""
        return super().wait(self._limited(gen), *more, **named)

    def _limited(self, gen: PQGen[T]) -> PQGen[T]:
        ready: Any = None
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as end:
                answer: T = end.value
                return answer
            ready = yield wanted
            if ready == Ready.NONE and time.monotonic() >= self.deadline:
                # What was asked may still be answered, and nobody could tell which question that belongs to.
                self.pgconn.finish()
                raise psycopg.OperationalError("no answer within ledger.answer_seconds")
