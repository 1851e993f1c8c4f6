"""A room's budget: how many events of the lane `engine.brokers.base.LIMITED` it takes, and how many bytes of them.

Owns the arithmetic, two token buckets; ``budget.lua`` does the same inside Redis. Pure: time is an argument, and may jump:
back, and nothing flows in for that moment; ahead, and the buckets are full.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from engine.brokers.base import LIMITED, NO_BYTES, NO_EVENTS, Pending

__all__ = ["UNLIMITED", "Budget", "Purse"]

_SLACK: Final = 1e-4
"""What may be missing of what an event needs, so that rounding does not refuse the last of a burst."""
_PARTS: Final = 64
"""Of one second's worth, in which a reserve is told."""


class Budget(NamedTuple):
    """On average; and one second's worth at once after silence, which is at least one event, or byte.

    :ivar events: per second; 0 for no limit.
    :ivar bytes: of events, per second; 0 for no limit.
    """

    events: float = 0.0
    bytes: float = 0.0


UNLIMITED: Final = Budget()


class _Bucket:
    __slots__ = ("_left", "_per_ms", "_worth")

    def __init__(self, per_second: float) -> None:
        self._per_ms = per_second / 1000
        self._worth = max(1, math.ceil(per_second))
        self._left = float(self._worth)

    def fill(self, ms: int) -> None:
        self._left = min(self._worth, self._left + ms * self._per_ms)

    def fits(self, cost: int, reserve: int) -> bool:
        # What needs more than there ever is fits when the bucket is full: nothing is refused for ever.
        need = min(cost + reserve * self._worth / _PARTS, self._worth)
        return self._left + _SLACK >= need

    def take(self, cost: int) -> None:
        self._left = max(self._left - cost, -self._worth)


class Purse:
    """What a room has left of its budget."""

    __slots__ = ("_buckets", "_filled_ms")

    def __init__(self, budget: Budget) -> None:
        # In the order in which they are looked at: the first one that lacks something is the reason.
        rates = ((NO_EVENTS, budget.events), (NO_BYTES, budget.bytes))
        self._buckets = [(reason, _Bucket(rate)) for reason, rate in rates if rate]
        self._filled_ms = 0

    def pay(self, now_ms: int, pending: Pending) -> int:
        """0, and the event is paid for; `NO_EVENTS` or `NO_BYTES` if it does not fit, and nothing is taken."""
        elapsed, self._filled_ms = max(now_ms - self._filled_ms, 0), now_ms
        for _, bucket in self._buckets:
            bucket.fill(elapsed)
        costs = [(reason, bucket, 1 if reason == NO_EVENTS else len(pending.event)) for reason, bucket in self._buckets]
        if pending.lane == LIMITED:
            for reason, bucket, cost in costs:
                if not bucket.fits(cost, pending.reserve):
                    return reason
        for _, bucket, cost in costs:
            bucket.take(cost)
        return 0
