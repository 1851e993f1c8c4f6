"""Likes and reactions that a room's viewers gave at this edge.

Owns the room's counts since the edge opened it, and how far each session has been counted. Must not know rates: its caller says
how many fit. A session that only likes costs nothing here; one that reacts, a dictionary while it is in the room.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import Final

from engine.edge.session import Session
from engine.link.messages import Likes
from engine.schema import Like

__all__ = ["Applause"]

_PARTED_MAX: Final = 10_000
"""Departed sessions whose totals are remembered, per room. A returning one beyond that starts a new count."""
_NONE: Final[dict[str, int]] = {}


@lru_cache(maxsize=8)
def _own(names: tuple[str, ...]) -> dict[str, str]:
    """The operator's own strings by their value, so that nobody's dictionary keeps copies that came off a wire."""
    return {name: name for name in names}


class Applause:
    """See the module's docstring.

    :param names: reactions that count (``room.reactions``).
    :ivar likes: counted here; ``reactions``, those of each kind.
    """

    __slots__ = ("_given", "_names", "_parted", "_told", "likes", "reactions")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = _own(names)
        self.likes = 0
        self.reactions: dict[str, int] = {}
        self._told = 0
        self._given: dict[Session, dict[str, int]] = {}
        self._parted: OrderedDict[str, tuple[int, dict[str, int]]] = OrderedDict()

    def enter(self, session: Session, *, returning: bool) -> None:
        """A session comes in; it goes on where it was.

        :param returning: it says that it has been somewhere. If nobody here remembers, its likes may be counted elsewhere: its
            first report is where counting begins.
        """
        session.likes, given = self._parted.pop(session.secret, (-1 if returning else 0, _NONE))
        if given:
            self._given[session] = given

    def leave(self, session: Session) -> None:
        """It is gone."""
        given = self._given.pop(session, _NONE)
        if (session.likes > 0 or given) and session.secret:
            self._parted[session.secret] = session.likes, given
            while len(self._parted) > _PARTED_MAX:
                self._parted.popitem(last=False)

    def count(self, session: Session, like: Like, most: int) -> int:
        """Count by how much a session's totals have grown, likes first, ``most`` altogether; what is above is lost. Returns how
        many were counted."""
        before, session.likes = session.likes, max(session.likes, like.total)
        begins = before < 0
        counted = 0 if begins else min(max(like.total - before, 0), most)
        self.likes += counted
        for name, total in like.reactions.items():
            own = self._names.get(name)
            if own is None:
                continue
            given = self._given.setdefault(session, {})
            growth = total - given.get(own, 0)
            if growth > 0:
                given[own] = total
                growth = 0 if begins else min(growth, most - counted)
                if growth:
                    self.reactions[own] = self.reactions.get(own, 0) + growth
                    counted += growth
        return counted

    def report(self, room: str) -> Likes | None:
        """What the hub is to be told, if it does not know."""
        taps = self.likes + sum(self.reactions.values())
        if taps == self._told:
            return None
        self._told = taps
        return Likes(room, self.likes, dict(self.reactions))

    def announce(self) -> None:
        """There is a hub that was not told."""
        self._told = 0
