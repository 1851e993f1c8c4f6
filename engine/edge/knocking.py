"""Viewers who wait for the product to say whether they may enter.

Owns who waits, and what each of them asked for. Must not know rooms, nor what the answer means.

A viewer that waits is in no room. It may go at any time, and its time to join runs on. Knocks are numbered below 0, so that
their answers are none to anything that a viewer sends: whoever could let a reply to another message pass for one to its knock
would let itself in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.access import Grant
from engine.edge.admission import written
from engine.edge.held import RETRY_MS
from engine.edge.session import Session
from engine.errors import Code, Refused
from engine.link.messages import Knock
from engine.schema import Join

__all__ = ["Knocking", "Visitor"]


class Visitor(NamedTuple):
    """Who waits, with what it asked for and what it was granted."""

    session: Session
    join: Join
    grant: Grant
    knock: Knock


class Knocking:
    """See the module's docstring.

    :ivar asked: whether viewers have to knock.
    :ivar most: how many may wait.
    """

    __slots__ = ("_last", "_waiting", "asked", "most")

    def __init__(self, asked: bool, most: int) -> None:
        self.asked = asked
        self.most = most
        self._last = 0
        self._waiting: dict[int, Visitor] = {}

    def __contains__(self, session: Session) -> bool:
        return session.viewer in self._waiting

    def knock(self, session: Session, join: Join, grant: Grant) -> Knock:
        """What the hub is to be asked for this viewer. Raises `Refused` when too many wait."""
        if len(self._waiting) >= self.most:
            raise Refused(Code.OVERLOADED, "too many wait to be let in (hooks.pending)", RETRY_MS)
        self._last -= 1
        address = written(session.address) if isinstance(session.address, int) else ""
        knock = Knock(join.room, session.viewer, self._last, grant.author, grant.standing, address)
        self._waiting[session.viewer] = Visitor(session, join, grant, knock)
        return knock

    def answered(self, viewer: int, ref: int) -> Visitor | None:
        """Whose knock has been answered; it waits no more. None if it has gone."""
        visitor = self._waiting.get(viewer)
        if visitor is None or visitor.knock.ref != ref:
            return None
        del self._waiting[viewer]
        return visitor

    def forget(self, session: Session) -> None:
        """A viewer has gone."""
        if self._waiting:
            self._waiting.pop(session.viewer, None)

    @property
    def messages(self) -> Iterator[Knock]:
        """What is to be asked again over another link, in the order in which they came."""
        return (visitor.knock for visitor in self._waiting.values())
