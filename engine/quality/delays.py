"""Delays in buckets that can be added up over viewers, and quantiles of them.

Owns the buckets: four to an octave, from 1 ms to a minute, so that whoever reads a quantile is wrong by a tenth at most. A
viewer's own quantiles would be of no use: those of many cannot be put together. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Final

__all__ = ["BUCKETS", "bounds_of", "bucket_of", "quantile"]

BUCKETS: Final = 64
"""How many there are; the last one holds whatever took longer than 55 seconds."""
_PER_OCTAVE: Final = 4


def bucket_of(ms: float) -> int:
    """The bucket of a delay in milliseconds: ``floor(4 log2(ms + 1))``, 63 at most. A negative delay counts as none."""
    return min(int(_PER_OCTAVE * log2(max(ms, 0.0) + 1)), BUCKETS - 1)


def bounds_of(bucket: int) -> tuple[float, float]:
    """From how many milliseconds up to how many, exclusive."""
    return 2 ** (bucket / _PER_OCTAVE) - 1, 2 ** ((bucket + 1) / _PER_OCTAVE) - 1


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The delay in milliseconds that this share of all did not exceed, read between the bounds of its bucket; None of nothing.

    :param counts: by bucket.
    :param share: 0.99 for the 99th percentile.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank, below = share * total, 0
    for bucket in sorted(counts):
        count = counts[bucket]
        if count and below + count >= rank:
            low, high = bounds_of(bucket)
            return low + (high - low) * max(rank - below, 0.0) / count
        below += count
    raise AssertionError("a share is at most 1")
