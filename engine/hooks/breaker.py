"""A circuit breaker: after too many failures in a row nobody is asked for a while, then one request tries.

Owns the state. Pure: time is an argument. Must not know what is asked, nor of whom.

What was begun in one state says nothing in the next: when the breaker opens, answers to requests that were under way count no
more, neither for nor against. So one slow failure does not end the pause that another began, and the one request that tries
decides alone.
"""

from __future__ import annotations

import math
from enum import Enum

__all__ = ["Breaker", "State"]


class State(Enum):
    """Of a breaker."""

    CLOSED = "closed"
    """Requests go out."""
    OPEN = "open"
    """None does."""
    HALF_OPEN = "half_open"
    """One is under way, and decides."""


class Breaker:
    """See the module's docstring.

    :param failures: in a row, that open it.
    :param seconds: for which it is open then; after a trial that failed, again.
    :ivar opened: how often it opened.
    """

    __slots__ = ("_failed", "_failures", "_retry_at", "_seconds", "_term", "opened", "state")

    def __init__(self, failures: int, seconds: float) -> None:
        self._failures = failures
        self._seconds = seconds
        self._failed = 0
        self._retry_at = -math.inf
        self._term = 0
        self.state = State.CLOSED
        self.opened = 0

    def adopt(self, failures: int, seconds: float) -> None:
        """Take other settings; they hold from the next failure on."""
        self._failures = failures
        self._seconds = seconds

    def allows(self, now: float) -> bool:
        """Whether `begin` would let a request out."""
        return self.state is State.CLOSED or (self.state is State.OPEN and now >= self._retry_at)

    def begin(self, now: float) -> int | None:
        """A request is to go out. Returns what its `ended` is to be given; None: it may not go."""
        if not self.allows(now):
            return None
        if self.state is State.OPEN:
            self._turn(State.HALF_OPEN)
        return self._term

    def ended(self, request: int, answered: bool, now: float) -> bool:
        """A request has been answered, or not. Returns whether that has opened or closed the breaker."""
        if request != self._term:
            return False
        if answered:
            self._failed = 0
            changed = self.state is not State.CLOSED
            if changed:
                self._turn(State.CLOSED)
            return changed
        self._failed += 1
        if self.state is State.CLOSED and self._failed < self._failures:
            return False
        self._retry_at = now + self._seconds
        self.opened += self.state is State.CLOSED
        self._turn(State.OPEN)
        return True

    def dropped(self, request: int) -> None:
        """A request has ended without saying anything of who was asked: it was cancelled."""
        if request == self._term and self.state is State.HALF_OPEN:
            # Another one may try at once.
            self._turn(State.OPEN)

    def _turn(self, state: State) -> None:
        self._term += 1
        self._failed = 0
        self.state = state
