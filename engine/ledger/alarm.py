"""When to look into the ledger for what is over.

Owns the time of the next look. Pure: times are arguments, seconds of a monotonic clock and Unix milliseconds. Where only this
node books, it knows all deadlines, and nothing is looked at while none is near.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Alarm"]

_GRID_SECONDS: Final = 0.05
"""Least time between two looks: combos that are over are shown together."""
_SHARED_SECONDS: Final = 2.0
"""Most time between two looks where others book, too."""
_NAP_SECONDS: Final = 60.0
"""Longest wait for a deadline: the clock of deadlines may be put right meanwhile."""


class Alarm:
    """See the module's docstring. The first look is due at once.

    :param shared: other nodes book in the same ledger.
    """

    __slots__ = ("_due_ms", "_looked", "_shared")

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self._due_ms = self._looked = -math.inf

    def expect(self, due_ms: float) -> None:
        """Something may be over then."""
        self._due_ms = min(self._due_ms, due_ms)

    def looked(self, now: float, due_ms: int | None) -> None:
        """What was over is booked; the next deadline is then, None: there is none."""
        self._looked = now
        self._due_ms = math.inf if due_ms is None else due_ms

    def next(self, now: float, now_ms: int) -> float:
        """When to look, or to ask here again."""
        when = math.inf if self._due_ms == math.inf else now + min((self._due_ms - now_ms) / 1000, _NAP_SECONDS)
        if self._shared:
            when = min(when, self._looked + _SHARED_SECONDS)
        return max(when, self._looked + _GRID_SECONDS)
