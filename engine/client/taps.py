"""Likes and reactions of one viewer: totals that only grow, of which the server may miss or repeat any but the last.

Owns what was given, how much of it was told, and what is to be told first. Knows no socket.

A server that does not know the session begins to count at what it is told first (`engine.schema.Like`). So a session that
returns first repeats what it has told, also when that is nothing, and what is new makes another message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import trio

__all__ = ["Taps"]

_NAMES_MAX = 16
"""Reactions that one message may name (`engine.schema.Like`)."""


class Taps:
    """What this viewer's session gave so far.

    :param told: by an earlier client of the session, as in ``totals``.
    :ivar given: is set when there is something to tell.
    """

    def __init__(self, told: Mapping[str, int] | None = None) -> None:
        self.given = trio.Event()
        reactions = dict(told or {})
        self._likes = self._likes_told = reactions.pop("", 0)
        self._reactions = Counter(reactions)
        self._reactions_told = Counter(reactions)
        self._repeats = False

    @property
    def totals(self) -> dict[str, int]:
        """What was told: likes under the empty name, and each reaction."""
        return {"": self._likes_told, **self._reactions_told}

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

    def connected(self, *, returning: bool, same_session: bool) -> None:
        """There is a server to tell. Another session has told nothing: for it, what the old one was not told is new.

        :param returning: it was asked to go on with a session, even if it has given another one.
        """
        if not same_session:
            self._likes -= self._likes_told
            self._reactions -= self._reactions_told
            self._likes_told, self._reactions_told = 0, Counter()
        self._repeats = returning
        if returning or self._untold:
            self.given.set()

    def report(self) -> list[Any] | None:
        """The totals that come next, as fields of a message, which now counts as sent; None: the server has been told all."""
        if self._repeats:
            self._repeats = False
        elif self._untold:
            self._likes_told, self._reactions_told = self._likes, self._reactions.copy()
        else:
            return None
        return [self._likes_told, dict(self._reactions_told)] if self._reactions_told else [self._likes_told]

    @property
    def _untold(self) -> bool:
        return self._likes > self._likes_told or self._reactions != self._reactions_told
