"""Requests to the ledger from when they are accepted until they are answered.

Owns their order, their bound, and that each is answered once. Pure: knows no task and no database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from engine.errors import Code, Refused
from engine.ledger.outgoing import Answer
from engine.ledger.values import Book, Booked, Outcome, Rejected

__all__ = ["OUT_OF_REACH", "RETRY_MS", "Request", "Requests"]

OUT_OF_REACH: Final = "the ledger is out of reach at the moment"
"""What people are told. Why is told to the operator: it may name files and servers."""
RETRY_MS: Final = 1_000
"""How long senders are asked to wait when too many wait already, the database fails, or the node stops."""

Request = tuple[Book, Answer | None]
"""What is to be booked, and who waits for it; None: the clock asked for it."""


class Requests:
    """See the module's docstring.

    :ivar limit: that may wait.
    :param turn_over: called after answers were given, to hand them over.
    :ivar waiting: accepted and not answered; ``booked`` and ``rejected`` are those that were.
    :ivar taken: those in the transaction.
    """

    __slots__ = ("_earlier", "_queue", "_turn_over", "booked", "limit", "rejected", "taken", "waiting")

    def __init__(self, limit: int, turn_over: Callable[[], None]) -> None:
        self.limit = limit
        self._turn_over = turn_over
        self._queue: deque[Request] = deque()
        self._earlier = 0
        """How many of those in the queue were there when `begin` was called."""
        self.taken: list[Request] = []
        self.waiting = self.booked = self.rejected = 0

    def __bool__(self) -> bool:
        """Whether there is something to be taken."""
        return bool(self._queue)

    def accept(self, book: Book, answer: Answer) -> None:
        """Queue a request. Raises `Refused` when too many wait."""
        if self.waiting >= self.limit:
            raise Refused(Code.OVERLOADED, "too many gifts and claims wait (ledger.pending)", RETRY_MS)
        self.waiting += 1
        self._queue.append((book, answer))

    def begin(self) -> None:
        """The database is about to be called; `fail` follows if it fails."""
        self._earlier = len(self._queue)

    def take(self, books: Iterable[Book]) -> None:
        """What the clock asks for goes into the transaction."""
        self.taken += [(book, None) for book in books]

    def fill(self, most: int) -> None:
        """Who waits longest goes into the transaction, until it is of ``most``."""
        count = min(len(self._queue), most - len(self.taken))
        self.taken += [self._queue.popleft() for _ in range(count)]
        self._earlier -= count

    def committed(self) -> list[Request]:
        """What was taken is committed; each of it is to be told, now or when it is published."""
        taken, self.taken = self.taken, []
        return taken

    def tell(self, answers: Iterable[tuple[Answer, Outcome]]) -> None:
        """Answer requests that are not in the queue any more."""
        told = False
        for answer, outcome in answers:
            told = True
            self.waiting -= 1
            if isinstance(outcome, Booked):
                self.booked += 1
            else:
                self.rejected += 1
            answer(outcome)
        if told:
            self._turn_over()

    def fail(self) -> None:
        """The database failed: tell all in the transaction, and all who have waited for as long as the call took."""
        failed = self.committed() + [self._queue.popleft() for _ in range(self._earlier)]
        self._earlier = 0
        self._refuse(answer for _, answer in failed if answer is not None)

    def abandon(self, others: Iterable[Answer]) -> None:
        """Nothing is booked any more: tell all who wait, ``others`` as well."""
        self._earlier = len(self._queue)
        self.fail()
        self._refuse(others)

    def _refuse(self, answers: Iterable[Answer]) -> None:
        rejected = Rejected(Code.LEDGER, OUT_OF_REACH, RETRY_MS)
        self.tell((answer, rejected) for answer in answers)
