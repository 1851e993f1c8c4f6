"""What one hub has counted in one room and the broker is to be told: likes and reactions by source, and who came.

Owns these until the broker knows them. Pure. A source is an edge in one opening of the room, or the hub itself; its totals only
grow. One that has ended is told until the broker has its last totals, and then forgotten here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engine.brokers.base import Report

__all__ = ["Counts"]

_ARRIVALS_MAX: Final = 1_000_000
"""Users who came, of whom a broker that is out of reach is told later. Beyond it the oldest are not counted."""

_Totals = tuple[int, Mapping[str, int]]


class Counts:
    """See the module's docstring.

    :param own: source of what comes from no edge.
    :ivar likes: total by source.
    :ivar reactions: totals by source and name.
    """

    __slots__ = ("_arrivals", "_ended", "likes", "own", "reactions")

    def __init__(self, own: str) -> None:
        self.own = own
        self.likes: dict[str, int] = {}
        self.reactions: dict[str, dict[str, int]] = {}
        self._ended: set[str] = set()
        self._arrivals: list[str] = []

    def count(self, source: str, likes: int, reactions: Mapping[str, int] | None = None) -> None:
        """A source has counted so many since it began."""
        if likes > self.likes.get(source, 0):
            self.likes[source] = likes
        if reactions:
            known = self.reactions.setdefault(source, {})
            for name, total in reactions.items():
                known[name] = max(known.get(name, 0), total)

    def add(self, likes: int) -> None:
        """Likes from no edge."""
        self.likes[self.own] = self.likes.get(self.own, 0) + likes

    def begins(self, source: str) -> None:
        """A source counts on."""
        self._ended.discard(source)

    def ends(self, source: str) -> None:
        """A source will not grow any more. What it has counted stays counted: the broker remembers it."""
        if source in self.likes or source in self.reactions:
            self._ended.add(source)

    def came(self, users: Sequence[str]) -> None:
        """These users came in."""
        self._arrivals += users
        if len(self._arrivals) > _ARRIVALS_MAX:
            del self._arrivals[:-_ARRIVALS_MAX]

    def report(self, viewers: int) -> Report:
        """What the broker is to be told now."""
        return Report(self.likes, viewers, self.reactions, tuple(self._arrivals))

    def ended_totals(self) -> dict[str, _Totals]:
        """What the sources that have ended have, to be given to `told`."""
        return {source: (self.likes.get(source, 0), dict(self.reactions.get(source, ()))) for source in self._ended}

    def told(self, ended: Mapping[str, _Totals], report: Report) -> None:
        """The broker knows these: sources that have ended need not be told again, nor who came."""
        for source in self._ended.intersection(ended):
            if (self.likes.get(source, 0), self.reactions.get(source, {})) == ended[source]:
                self._ended.discard(source)
                self.likes.pop(source, None)
                self.reactions.pop(source, None)
        del self._arrivals[: len(report.arrivals)]
