"""Rates of what most viewers never do: reading the past, giving, claiming.

Owns one number for each viewer that did so of late; the many others cost nothing. Pure: time comes in as an argument.
"""

from __future__ import annotations

from typing import Final

from engine.access import Rate

__all__ = ["Flows"]

_SWEEP_SECONDS: Final = 10.0
"""Time between two looks for those whose rate is as if they had done nothing. One costs a millisecond for ten thousand."""


class Flows:
    """See the module's docstring. One rate, many viewers.

    :param per_second: as ``burst`` in `engine.access.Rate`.
    """

    __slots__ = ("_rate", "_states", "_sweep_at")

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate = Rate(per_second, burst)
        self._states: dict[int, float] = {}
        self._sweep_at = 0.0

    def adopt(self, per_second: float, burst: int, now: float) -> None:
        """Let another rate hold."""
        self._rate = Rate(per_second, burst)
        self._states = {each: self._rate.settle(state, now) for each, state in self._states.items()}

    def __len__(self) -> int:
        return len(self._states)

    def take(self, viewer: int, now: float) -> int:
        """Take one unit; return 0, or the milliseconds until one fits.

        :param viewer: number of its connection.
        :param now: seconds.
        """
        if now >= self._sweep_at:
            self._states = {each: state for each, state in self._states.items() if state > now}
            self._sweep_at = now + _SWEEP_SECONDS
        state = self._rate.take(self._states.get(viewer, 0.0), now)
        if state < 0:
            return int(-state * 1000) + 1
        self._states[viewer] = state
        return 0
