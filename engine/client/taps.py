"""Likes and reactions of one viewer: totals that only grow, of which the server may miss or repeat any but the last.

Owns what was given and how much of it was told. Knows no socket.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import trio

__all__ = ["Taps"]

_NAMES_MAX = 16
"""Reactions that one message may name (`engine.schema.Like`)."""


class Taps:
    """What this viewer's session gave so far.

    :ivar given: is set when there is something to tell.
    """

    def __init__(self) -> None:
        self.given = trio.Event()
        self._likes = self._likes_told = 0
        self._reactions: Counter[str] = Counter()
        self._reactions_told: Counter[str] = Counter()

    @property
    def untold(self) -> bool:
        """Whether there is more than was told."""
        return self._likes > self._likes_told or self._reactions != self._reactions_told

    def like(self, likes: int) -> None:
        """Add likes. Raises ValueError when they are negative."""
        if likes < 0:
            raise ValueError(f"likes must not be negative, not {likes}")
        self._likes += likes
        self.given.set()

    def react(self, name: str, times: int) -> None:
        """Add reactions. Raises ValueError when they are negative, the name is none, or there are too many names."""
        if times < 0:
            raise ValueError(f"reactions must not be negative, not {times}")
        if not 0 < len(name) <= 32:
            raise ValueError(f"a reaction's name has 1 to 32 characters: {name!r:.60}")
        if name not in self._reactions and len(self._reactions) == _NAMES_MAX:
            raise ValueError(f"a viewer can give {_NAMES_MAX} different reactions, and {name!r} would be one more")
        self._reactions[name] += times
        self.given.set()

    def connected(self, *, same_session: bool) -> None:
        """The totals have to be told again; in a new session, what the old one was not told."""
        if not same_session:
            self._likes -= self._likes_told
            self._reactions -= self._reactions_told
            self._likes_told, self._reactions_told = 0, Counter()
        if self._likes or self._reactions:
            self.given.set()

    def told(self) -> list[Any]:
        """The totals as fields of a message, which now counts as sent."""
        self._likes_told, self._reactions_told = self._likes, self._reactions.copy()
        return [self._likes, dict(self._reactions)] if self._reactions else [self._likes]
