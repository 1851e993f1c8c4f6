"""A clock elsewhere, as it is known here.

Owns the difference between it and a clock that only runs ahead. Pure.
"""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Follows a clock that is told now and then: runs on meanwhile, late by as long as that took, and never goes back."""

    __slots__ = ("_ahead_ms", "_latest_ms")

    def __init__(self) -> None:
        self._ahead_ms: float | None = None
        self._latest_ms = 0

    def learn(self, ms: int, now: float) -> None:
        """It has shown ``ms`` shortly before.

        :param now: seconds of a clock that never jumps.
        """
        self._ahead_ms = ms - now * 1000

    def read(self, now: float) -> int:
        """What it shows, 0 if it has never been told."""
        if self._ahead_ms is not None:
            self._latest_ms = max(self._latest_ms, int(now * 1000 + self._ahead_ms))
        return self._latest_ms
