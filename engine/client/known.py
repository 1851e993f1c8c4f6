"""Which entries of a room's ledger have come to this client, so that money that comes again is not handed out again.

Owns the numbers, and how many of them are remembered. Pure; knows no events.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

__all__ = ["KnownEntries", "LedgerEntries"]


class LedgerEntries(NamedTuple):
    """Which entries of the room's ledger have come to this client.

    :ivar seen: how many, each once.
    :ivar first: smallest of them, as ``last`` is the largest; 0: there are none.
    """

    seen: int
    first: int
    last: int

    @property
    def missing(self) -> int:
        """How many between the first and the last have not come. 0 proves that none was lost, unless the viewer's feed leaves
        some out, or a `Gap` was told."""
        return self.last - self.first + 1 - self.seen if self.seen else 0


_RUNS: Final = 1_024
"""Runs of consecutive entries that are remembered: one, but for gaps and feeds. A hundred kilobytes at most."""


class KnownEntries:
    """The entries that have come, as runs of consecutive ones. When there are too many, what lies between the oldest two counts
    as known, too: that it is missing was told long ago, and what comes again after a loss is the newest."""

    __slots__ = ("_ends", "_most", "_seen", "_starts")

    def __init__(self, most: int = _RUNS) -> None:
        self._most = most
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._seen = 0

    def __contains__(self, entry: int) -> bool:
        at = bisect_right(self._starts, entry) - 1
        return at >= 0 and entry <= self._ends[at]

    def add(self, entry: int) -> None:
        """It has come. Nothing, if it had before."""
        starts, ends = self._starts, self._ends
        at = bisect_right(starts, entry)
        if at and entry <= ends[at - 1]:
            return
        self._seen += 1
        if at and ends[at - 1] == entry - 1:
            ends[at - 1] = entry
            if at < len(starts) and starts[at] == entry + 1:
                del starts[at], ends[at - 1]
        elif at < len(starts) and starts[at] == entry + 1:
            starts[at] = entry
        else:
            starts.insert(at, entry)
            ends.insert(at, entry)
            if len(starts) > self._most:
                del starts[1], ends[0]

    def summary(self) -> LedgerEntries:
        """How many, and from where to where."""
        return LedgerEntries(self._seen, self._starts[0], self._ends[-1]) if self._starts else LedgerEntries(0, 0, 0)
