"""A log-linear histogram of durations: sparse, mergeable, cheap enough for a generator under load.

Owns the buckets. Knows nothing of what is measured. The layout is that of an HDR histogram: every power of two is
divided into 128 equal steps, so a value is at most 0.8 % off. A dict of the buckets in use is smaller than the dense
array of the `hdrhistogram` package and takes a weight at no extra cost.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Histogram"]

STEP_BITS = 7
"""128 steps for each power of two."""
LINEAR = 1 << (STEP_BITS + 1)
"""Values below are exact."""


class Histogram:
    """Counts of durations in microseconds."""

    __slots__ = ("buckets", "high")

    def __init__(self, pairs: Iterable[tuple[int, int]] = (), high: int = 0) -> None:
        self.buckets: dict[int, int] = dict(pairs)
        self.high = high

    def add(self, microseconds: int, weight: int = 1) -> None:
        """Count a duration ``weight`` times; a negative one counts as 0."""
        value = max(0, microseconds)
        if value > self.high:
            self.high = value
        shift = value.bit_length() - STEP_BITS - 1
        bucket = value if shift <= 0 else (shift << STEP_BITS) + (value >> shift)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + weight

    def merge(self, other: Histogram) -> None:
        """Add all counts of another one."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.high = max(self.high, other.high)

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.buckets.values())

    def quantile(self, share: float) -> float | None:
        """Smallest duration in microseconds that at least ``share`` of all do not exceed; None when empty."""
        total = self.total
        if not total:
            return None
        wanted = share * total
        running = 0
        for bucket in sorted(self.buckets):
            running += self.buckets[bucket]
            if running >= wanted:
                return float(min(_upper(bucket), self.high))
        return float(self.high)

    def milliseconds(self) -> dict[str, float | None]:
        """``p50 p90 p99 p999 max`` in milliseconds; None where nothing was counted."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
        found = {name: self.quantile(share) for name, share in shares.items()}
        return {name: None if value is None else round(value / 1000, 3) for name, value in found.items()}

    def dump(self) -> list[object]:
        """As plain lists, for `load`."""
        return [self.high, sorted(self.buckets.items())]

    @classmethod
    def load(cls, dumped: list[object]) -> Histogram:
        """The inverse of `dump`, also after JSON."""
        high, pairs = dumped
        assert isinstance(high, int)
        assert isinstance(pairs, list)
        return cls(((bucket, count) for bucket, count in pairs), high)


def _upper(bucket: int) -> int:
    if bucket < LINEAR:
        return bucket
    shift = (bucket >> STEP_BITS) - 1
    step = bucket - (shift << STEP_BITS)
    return ((step + 1) << shift) - 1
