"""How often something took how long, in a few buckets that can be added up over processes.

Owns the buckets: powers of two, from a quarter of a millisecond to eight seconds. Pure: durations are arguments. Coarser than
`engine.ledger.delays`, which tells quantiles of one process.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

__all__ = ["BOUNDS", "Durations"]

BOUNDS: Final = tuple(2.0**power / 1000 for power in range(-2, 14))
"""Upper bounds of the buckets, inclusive, seconds; one more bucket holds what took longer."""


class Durations:
    """Counts of durations, and their sum."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """One more; a negative one counts as 0."""
        seconds = max(seconds, 0.0)
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def table(self) -> dict[str, Any]:
        """``seconds``, the sum, and ``counts`` by the number of the bucket, without empty ones."""
        return {"seconds": self._seconds, "counts": {str(bucket): count for bucket, count in enumerate(self._counts) if count}}
