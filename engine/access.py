"""Who a viewer is and what it may do: identities, roles, permissions and rates.

Pure: knows no socket and no room; time comes in as an argument. Known to edge and hub.
"""

from __future__ import annotations

import secrets
from enum import Enum, Flag, auto
from hashlib import blake2b

from engine.errors import Code, Refused
from engine.schema import Author, Join
from engine.settings import AccessSettings
from engine.text import clean_line, visible

__all__ = ["SERVER", "Grant", "Permission", "Rate", "Role", "admit", "check_room_name"]


class Permission(Flag):
    """What a role may do beyond receiving."""

    COMMENT = auto()
    LIKE = auto()
    CUSTOM = auto()
    DIRECT = auto()


class Role(Enum):
    """A viewer's standing in a room. The value is its name on the wire."""

    READER = "reader"
    VIEWER = "viewer"
    MODERATOR = "moderator"
    HOST = "host"
    SERVER = "server"

    @property
    def permissions(self) -> Permission:
        """What this role may do."""
        return _PERMISSIONS[self]


_SPEAK = Permission.COMMENT | Permission.LIKE
_LEAD = _SPEAK | Permission.CUSTOM | Permission.DIRECT
_PERMISSIONS = {
    Role.READER: Permission(0),
    Role.VIEWER: _SPEAK,
    Role.MODERATOR: _LEAD,
    Role.HOST: _LEAD,
    Role.SERVER: _LEAD,
}

SERVER = Author("server")
"""Author of what the node itself says when its caller names nobody."""

_NONE: dict[str, str] = {}
"""Shared by all users without attributes: an empty dictionary for each would be a tenth of a viewer's memory."""

_ANONYMOUS_ROLES = {"write": Role.VIEWER, "read": Role.READER}


class Grant:
    """What a join was granted.

    :ivar session: secret of the viewer; the client's own if it brought one.
    :ivar author: identity that its events carry.
    """

    __slots__ = ("author", "role", "session")

    def __init__(self, session: str, author: Author, role: Role) -> None:
        self.session = session
        self.author = author
        self.role = role


def admit(join: Join, settings: AccessSettings) -> Grant:
    """Decide on a join without a token. Raises `Refused`.

    A guest's id is derived from its secret session: the same after a reconnect, and nobody else can take it, whatever name
    it chooses.
    """
    role = _ANONYMOUS_ROLES.get(settings.anonymous)
    if role is None:
        raise Refused(Code.FORBIDDEN, "anonymous viewers are not admitted (access.anonymous)")
    name = clean_line(join.name) if join.name is not None else ""
    if join.name is not None and not visible(name):
        raise Refused(Code.EMPTY, "the name shows nothing")
    attributes = {key: clean_line(value) for key, value in join.attributes.items()} or _NONE
    session = join.session or secrets.token_urlsafe(16)
    user = "guest-" + blake2b(session.encode(), digest_size=6).hexdigest()
    return Grant(session, Author(user, name, attributes), role)


def check_room_name(room: str) -> None:
    """Raise `Refused` for a name that cannot be told from another by looking at it or breaks a log line."""
    if not room.isprintable() or room != room.strip() or len(room.encode()) > 256:
        raise Refused(Code.BAD_ROOM, "a room's name is printable, at most 256 bytes, without white space around it")


class Rate:
    """Rate of a flow: ``per_second`` on average, ``burst`` at once after silence.

    The generic cell rate algorithm (ITU-T I.371): the whole state of a flow is one float, the time at which it would be
    conforming again, kept by the caller, so that a viewer costs a slot instead of an object.
    """

    __slots__ = ("_interval", "_tolerance")

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1.0 / per_second
        # A ten-thousandth of a unit more, so that rounding does not refuse the last one of a burst.
        self._tolerance = self._interval * (burst - 1 + 1e-4)

    def take(self, state: float, now: float, amount: int = 1) -> float:
        """Return the next state if ``amount`` fits now, else a negative number: minus the seconds until one unit fits."""
        excess = state - now
        if excess <= 0:
            state, excess = now, 0.0
        if excess + (amount - 1) * self._interval > self._tolerance:
            return min(self._tolerance - excess, -1e-9)
        return state + amount * self._interval

    def fits(self, state: float, now: float) -> int:
        """How many units fit now."""
        excess = max(state - now, 0.0)
        return max(int((self._tolerance - excess) / self._interval + 1), 0)
