"""A node's share in a room's totals: what it counts, and what of that the server has.

Owns the difference between the two. Pure.
"""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from engine.brokers.base import Report

__all__ = ["News", "Share"]

_ARRIVALS: Final = 10_000
"""Told at once. More would let other rooms wait for the server."""
_ARRIVALS_KEPT: Final = 200_000
"""Not told yet, while the server is out of reach. The estimate is too low by what is more."""

Count = tuple[int, dict[str, int]]
"""Likes, and reactions by name."""
_NOTHING: Final[Count] = (0, {})


class News(NamedTuple):
    """What the server is to be told.

    :ivar epoch: of the room, in which it is news.
    :ivar viewers: None: not known yet; those that the server knows of stay.
    :ivar sources: of which it does not have all: likes, and those reactions.
    :ivar ended: sources that it has and that will not be told again.
    :ivar arrivals: users who came.
    """

    epoch: int
    viewers: int | None
    sources: dict[str, Count]
    ended: list[str]
    arrivals: list[str]


class Share:
    """See the module's docstring."""

    __slots__ = ("_arrivals", "_counts", "_epoch", "_told", "_told_viewers", "_viewers")

    def __init__(self) -> None:
        self._counts: dict[str, Count] = {}
        self._viewers: int | None = None
        self._arrivals: dict[str, None] = {}
        self._epoch = 0
        self._told: dict[str, Count] = {}
        self._told_viewers: int | None = None

    def set(self, report: Report) -> None:
        """What the node counts now."""
        self._viewers = report.viewers
        self._counts = {source: (total, {}) for source, total in report.likes.items()}
        for source, reactions in report.reactions.items():
            self._counts[source] = (report.likes.get(source, 0), dict(reactions))
        self._arrivals.update(dict.fromkeys(islice(report.arrivals, max(_ARRIVALS_KEPT - len(self._arrivals), 0))))

    def news(self, epoch: int) -> News:
        """What the server does not have, all if the room is in another epoch than when it was told: it may have lost it."""
        told = self._told if epoch == self._epoch else {}
        sources: dict[str, Count] = {}
        for source, (likes, reactions) in self._counts.items():
            known_likes, known = told.get(source, _NOTHING)
            more = {name: total for name, total in reactions.items() if total > known.get(name, 0)} if reactions else {}
            if more or likes > known_likes:
                sources[source] = (likes, more)
        ended = [source for source in told if source not in self._counts]
        return News(epoch, self._viewers, sources, ended, list(islice(self._arrivals, _ARRIVALS)))

    def changed(self, epoch: int) -> bool:
        """Whether there is news."""
        return self._viewers != self._told_viewers or epoch != self._epoch or any(self.news(epoch)[2:])

    @property
    def waiting(self) -> bool:
        """Whether users came of whom the server was not told."""
        return bool(self._arrivals)

    def told(self, news: News, epoch: int) -> None:
        """The server has been told, and was in this epoch then."""
        if epoch != self._epoch:
            self._epoch, self._told = epoch, {}
        self._told_viewers = news.viewers
        for source, (likes, reactions) in news.sources.items():
            known_likes, known = self._told.get(source, _NOTHING)
            self._told[source] = (max(likes, known_likes), known | reactions if reactions else known)
        for source in news.ended:
            self._told.pop(source, None)
        for user in news.arrivals:
            self._arrivals.pop(user, None)
