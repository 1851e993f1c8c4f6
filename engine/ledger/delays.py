"""How long something took, in buckets: cheap to add to, read now and then.

Owns the buckets. Pure: durations are arguments. Every power of two of microseconds is divided into eight equal steps, so a
quantile is at most an eighth too large.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Delays"]

_BITS: Final = 3
"""Eight steps for each power of two."""


class Delays:
    """Counts of durations.

    :ivar count: how many there were.
    :ivar max_ms: the longest, milliseconds.
    """

    __slots__ = ("_buckets", "_sum", "count", "max_ms")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._sum = 0.0
        self.count = 0
        self.max_ms = 0.0

    def add(self, seconds: float) -> None:
        """One more; a negative one counts as 0."""
        milliseconds = max(0.0, seconds * 1000)
        self.count += 1
        self._sum += milliseconds
        self.max_ms = max(self.max_ms, milliseconds)
        microseconds = int(milliseconds * 1000)
        shift = max(0, microseconds.bit_length() - _BITS - 1)
        bucket = (shift << _BITS) + (microseconds >> shift)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    @property
    def mean_ms(self) -> float:
        """Mean, milliseconds; 0 when there was none."""
        return self._sum / self.count if self.count else 0.0

    def quantile_ms(self, share: float) -> float:
        """What at least ``share`` of all do not exceed, milliseconds; 0 when there was none."""
        running = 0
        for bucket in sorted(self._buckets):
            running += self._buckets[bucket]
            if running >= share * self.count:
                # The first two powers of two share a shift of 0.
                shift = max(0, (bucket >> _BITS) - 1)
                upper = ((bucket - (shift << _BITS) + 1) << shift) - 1
                return min(upper / 1000, self.max_ms)
        return 0.0
