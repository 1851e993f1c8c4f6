"""A room's totals in memory: likes and reactions by source, viewers, who came.

Owns how reports become sums. ``totals.lua`` has the same inside Redis. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.brokers.base import Report, Totals
from engine.brokers.distinct import Distinct

__all__ = ["Sums"]

_SOURCES: Final = 1_000
"""Remembered after they have ended. One that is forgotten and comes back is counted again."""
_NAMES: Final = 64
"""Of reactions in a room."""


class Sums:
    """See the module's docstring."""

    __slots__ = ("_arrived", "_likes_by", "_reactions_by", "likes", "peak", "reactions", "viewers")

    def __init__(self) -> None:
        self.likes = self.viewers = self.peak = 0
        self.reactions: dict[str, int] = {}
        self._likes_by: dict[str, int] = {}
        self._reactions_by: dict[str, dict[str, int]] = {}
        self._arrived = Distinct()

    def take(self, report: Report) -> bool:
        """A node has told what it counts; returns whether that changes anything. Sources that are not in it have ended."""
        changed = self.viewers != report.viewers
        self.viewers = report.viewers
        self.peak = max(self.peak, self.viewers)
        for source in (*report.likes, *report.reactions):
            changed = self._count(source, report.likes.get(source, 0), report.reactions.get(source, {})) or changed
        changed = self._arrived.add(report.arrivals) or changed
        if len(self._likes_by) > _SOURCES:
            self._forget([each for each in self._likes_by if each not in report.likes and each not in report.reactions])
        return changed

    def totals(self, room: str, withheld: tuple[int, int]) -> Totals:
        """For subscribers."""
        unique = self._arrived.estimate()
        return Totals(room, self.likes, self.viewers, withheld, self.peak, unique, dict(self.reactions))

    def _count(self, source: str, likes: int, reactions: Mapping[str, int]) -> bool:
        more = max(likes - self._likes_by.setdefault(source, 0), 0)
        self._likes_by[source] += more
        self.likes += more
        changed = more > 0
        known = self._reactions_by.setdefault(source, {}) if reactions else {}
        for name, total in reactions.items():
            more = total - known.get(name, 0)
            if more > 0 and (name in self.reactions or len(self.reactions) < _NAMES):
                known[name] = total
                self.reactions[name] = self.reactions.get(name, 0) + more
                changed = True
        return changed

    def _forget(self, ended: list[str]) -> None:
        for source in ended[: len(self._likes_by) - _SOURCES]:
            del self._likes_by[source]
            self._reactions_by.pop(source, None)
