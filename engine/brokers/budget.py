"""A room's budget: how many events of the lane `engine.brokers.base.LIMITED` it takes.

Owns the arithmetic, a token bucket; ``publish.lua`` does the same inside Redis. Pure: time is an argument, and may jump: back,
and nothing flows in for that moment; ahead, and the bucket is full.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Budget", "Bucket"]

_ENOUGH: Final = 1 - 1e-4
"""Tokens that an event needs: a bit less than one, so that rounding does not refuse the last of a burst."""


class Budget:
    """Events per second on average, and one second's worth at once after silence.

    :param per_second: 0 for no limit.
    """

    __slots__ = ("burst", "per_second")

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.burst = max(1, math.ceil(per_second))


class Bucket:
    """What a room has left of its budget."""

    __slots__ = ("_budget", "_filled_ms", "_tokens")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._tokens = float(budget.burst)
        self._filled_ms = 0

    def take(self, now_ms: int) -> bool:
        """Whether one more event fits; it is counted then."""
        if not self._budget.per_second:
            return True
        more = max(now_ms - self._filled_ms, 0) * self._budget.per_second / 1000
        self._tokens = min(self._budget.burst, self._tokens + more)
        self._filled_ms = now_ms
        fits = self._tokens >= _ENOUGH
        if fits:
            self._tokens -= 1
        return fits
