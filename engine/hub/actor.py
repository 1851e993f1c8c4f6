"""Who does something in a room, with the key that makes doing it twice harmless.

Owns the value. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.access import Permission, Role, shown
from engine.brokers.base import FREE, Pending
from engine.link.messages import Standing
from engine.schema import MSGPACK, Author

__all__ = ["Actor"]


class Actor(NamedTuple):
    """See the module's docstring.

    :ivar session: with ``ref`` the key of what is done; empty: it has none.
    """

    author: Author
    standing: Standing
    session: str = ""
    ref: int = 0

    @property
    def user(self) -> str:
        """The author's id."""
        return self.author.id

    @property
    def permissions(self) -> Permission:
        """What the role may do."""
        return Role(self.standing.role).permissions

    @property
    def shown(self) -> Author:
        """The author as events carry it: with role and level, if they are not those of just anybody."""
        return shown(self.author, self.standing)

    def pending(self, event: object, part: int = 0) -> Pending:
        """An event of this actor on its way to an offset. Of what is done in several steps each has its ``part``."""
        session = f"{self.session}/{part}" if part and self.session else self.session
        return Pending(MSGPACK.encode(event), session, self.ref, FREE)
