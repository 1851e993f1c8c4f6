"""Likes and reactions that a room's viewers gave at this edge.

Owns the room's counts since the edge opened it, and how far each session has been counted. Must not know rates: its caller says
how many fit. A session that only likes costs nothing here; one that reacts, a dictionary while it is in the room.

A session tells totals, and not to whom. One that comes back is counted from where it was when it left, if it has been nowhere
else: then what it said while its connection broke counts now. Was it at another edge, or is it not known here, then it was
counted there, and what it says first is where counting begins. That it was elsewhere is told by its position: nobody can be
beyond what there was when it left. (In a room where nothing happened meanwhile it does not show.) So a client that returns
first repeats what it has told before, even if that is nothing, and then tells what is new.
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
"""Departed sessions whose totals are remembered, per room. A returning one beyond that counts as if it had been elsewhere."""
_NONE: Final[dict[str, int]] = {}
_UNKNOWN: Final = -1, -1, _NONE
"""Of whom nobody here remembers anything."""


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
        self._parted: OrderedDict[str, tuple[int, int, dict[str, int]]] = OrderedDict()

    def adopt(self, names: tuple[str, ...]) -> None:
        """Count these reactions from now on."""
        self._names = _own(names)

    def enter(self, session: Session, *, returning: bool, place: float = 0) -> None:
        """A session comes in; it goes on where it was.

        :param returning: it says that it has been somewhere.
        :param place: where it has been in the room (`engine.edge.meter`); 0: it does not say.
        """
        left, likes, given = self._parted.pop(session.secret, _UNKNOWN)
        if place > left:
            likes, given = (-1 if returning else 0), _NONE
        session.likes = likes
        if given:
            self._given[session] = given

    def leave(self, session: Session, place: int = 0) -> None:
        """It is gone.

        :param place: of the room.
        """
        given, secret = self._given.pop(session, _NONE), session.secret
        if session.likes >= 0 and secret:
            # Of two connections with one session the older one may be found out later.
            _, likes, others = self._parted.pop(secret, _UNKNOWN)
            if others:
                given = {name: max(given.get(name, 0), others.get(name, 0)) for name in given | others}
            self._parted[secret] = place, max(session.likes, likes), given
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
