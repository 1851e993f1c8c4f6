"""A node's share in a room's totals: what it counts, and what of that the server has.

Owns the difference between the two. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["News", "Share"]


class News(NamedTuple):
    """What the server is to be told.

    :ivar epoch: of the room, in which it is news.
    :ivar viewers: None: not known yet; those that the server knows of stay.
    :ivar likes: totals by source that it does not have.
    :ivar ended: sources that it has and that will not be told again.
    """

    epoch: int
    viewers: int | None
    likes: dict[str, int]
    ended: list[str]


class Share:
    """See the module's docstring."""

    __slots__ = ("_epoch", "_likes", "_told_likes", "_told_viewers", "_viewers")

    def __init__(self) -> None:
        self._likes: dict[str, int] = {}
        self._viewers: int | None = None
        self._epoch = 0
        self._told_likes: dict[str, int] = {}
        self._told_viewers: int | None = None

    def set(self, likes: Mapping[str, int], viewers: int) -> None:
        """What the node counts now."""
        self._likes, self._viewers = dict(likes), viewers

    def news(self, epoch: int) -> News:
        """What the server does not have, all if the room is in another epoch than when it was told: it may have lost it."""
        told = self._told_likes if epoch == self._epoch else {}
        likes = {source: total for source, total in self._likes.items() if total > told.get(source, 0)}
        return News(epoch, self._viewers, likes, [source for source in told if source not in self._likes])

    def changed(self, epoch: int) -> bool:
        """Whether there is news."""
        return self._viewers != self._told_viewers or epoch != self._epoch or any(self.news(epoch)[2:])

    def told(self, news: News, epoch: int) -> None:
        """The server has been told, and was in this epoch then."""
        if epoch != self._epoch:
            self._epoch, self._told_likes = epoch, {}
        self._told_viewers = news.viewers
        for source, total in news.likes.items():
            self._told_likes[source] = max(total, self._told_likes.get(source, 0))
        for source in news.ended:
            self._told_likes.pop(source, None)
