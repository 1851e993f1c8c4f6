"""Who a viewer is and what it may do: identities, roles, permissions and rates.

Pure: knows no socket and no room; time comes in as an argument. Known to edge and hub.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from enum import Enum, Flag, auto
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal

from msgspec import Struct, structs

from engine.errors import Code, Refused
from engine.schema import BACKSTAGE, CONSOLE, EVERYWHERE, Author, Join, RankedAuthor
from engine.schema.fields import PROTO
from engine.settings import AccessSettings
from engine.text import clean_line, visible
from engine.tokens import Claims, Keyring, mint

__all__ = [
    "PRODUCT",
    "SERVER",
    "VIEWER",
    "Grant",
    "Permission",
    "Rate",
    "Role",
    "Standing",
    "admit",
    "anonymous_may",
    "attributes_of",
    "author_of",
    "check_room_name",
    "is_guest",
    "mint",
    "renew",
    "shown",
    "takes_tokens",
]


class Permission(Flag):
    """What a role may do beyond receiving."""

    COMMENT = auto()
    LIKE = auto()
    CUSTOM = auto()
    DIRECT = auto()
    VOTE = auto()
    GIVE = auto()
    """Gifts and red packets, and shares of these."""
    MODERATE = auto()
    """Mute, ban, delete, decide on what is held; enter backstage."""
    LEAD = auto()
    """Notices, and what the room is: its mode, cards, polls, pins, its life."""


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


_SPEAK = Permission.COMMENT | Permission.LIKE | Permission.VOTE | Permission.GIVE
_LEAD = _SPEAK | Permission.CUSTOM | Permission.DIRECT | Permission.MODERATE | Permission.LEAD
_PERMISSIONS = {
    Role.READER: Permission(0),
    Role.VIEWER: _SPEAK,
    Role.MODERATOR: _LEAD,
    Role.HOST: _LEAD,
    Role.SERVER: _LEAD,
}

SERVER: Final = RankedAuthor("server", role="server")
"""Author of what the node itself says when its caller names nobody."""


class Standing(Struct, array_like=True, frozen=True, gc=False):
    """What a viewer is, beyond who.

    :ivar role: value of `Role`.
    :ivar level: as its product ranks it; 0 for a guest.
    :ivar follower: whether it follows the host.
    :ivar confined: whether a role above a viewer's is for some rooms only, and decides nothing about others.
    """

    role: str = "viewer"
    level: int = 0
    follower: bool = False
    confined: bool = False


VIEWER: Final = Standing()
PRODUCT: Final = Standing(Role.SERVER.value)
"""In which the product itself acts."""


def is_guest(user: str) -> bool:
    """Whether the id is that of somebody without a token: another one with every session."""
    return user.startswith(_GUEST)


def shown(author: Author, standing: Standing) -> Author:
    """The author as events carry it: with role and level, if they are not those of just anybody."""
    if standing is VIEWER or (standing.role == VIEWER.role and not standing.level):
        return author
    return RankedAuthor(author.id, author.name, author.attributes, standing.role, standing.level)


@lru_cache(maxsize=1024)
def _standing(role: str, level: int, follower: bool, confined: bool = False) -> Standing:
    """One object for all who stand alike: a hundred thousand viewers do."""
    made = Standing(role, level, follower, confined)
    return VIEWER if made == VIEWER else made


_NONE: Final[dict[str, str]] = {}
"""Shared by all users without attributes: an empty dictionary for each would be a tenth of a viewer's memory."""

_ANONYMOUS_ROLES: Final = {"write": Role.VIEWER, "read": Role.READER}
_GUEST: Final = "guest-"
"""Begins the ids of guests, and of nobody else."""
_BOUND: Final = "t-"
"""Begins the sessions of users with a token, and no guest's."""
_FREE: Final = "g-"
"""Begins the sessions of guests, and nobody else's."""


class Grant:
    """What a join was granted.

    :ivar session: secret of the viewer; the client's own if it may have it.
    :ivar author: identity that its events carry.
    :ivar claims: of its token; None for a guest.
    """

    __slots__ = ("author", "claims", "role", "session", "standing")

    def __init__(
        self, session: str, author: Author, role: Role, standing: Standing = VIEWER, claims: Claims | None = None
    ) -> None:
        self.session = session
        self.author = author
        self.role = role
        self.standing = standing
        self.claims = claims


def takes_tokens(settings: AccessSettings) -> bool:
    """Whether viewers can have tokens."""
    return bool(settings.secret or settings.keys or settings.jwks)


def anonymous_may(settings: AccessSettings) -> Literal["write", "read", "none"]:
    """What viewers without a token may do (``access.anonymous``)."""
    if settings.anonymous != "auto":
        return settings.anonymous
    return "read" if takes_tokens(settings) else "write"


def admit(join: Join, keyring: Keyring, now_ms: int) -> Grant:
    """Decide on a join: by its token, or as a guest if it has none. Into `engine.schema.CONSOLE` only somebody comes whose
    token names it, as a reader.

    :param now_ms: Unix milliseconds, by the same clock as the product's.
    :raises Refused: ``BAD_TOKEN``, ``FORBIDDEN``, ``UNAVAILABLE`` while the key of a token may not be known yet, or ``EMPTY``
        for a name that shows nothing.
    """
    if join.token is None:
        if _is_console(join.room):
            raise Refused(Code.FORBIDDEN, f"{CONSOLE} is for who has a pass that names it")
        grant = _guest(join, keyring.settings)
    else:
        grant = _bearer(join, join.token, keyring, now_ms)
    _check_backstage(join.room, grant.role)
    return grant


def renew(token: str, room: str, session: str, author: Author, keyring: Keyring, now_ms: int) -> Grant:
    """Decide on another token of a viewer who is in a room. Where it says nothing the viewer stays as it is.

    :raises Refused: as `admit`; ``FORBIDDEN`` also when it is somebody else's.
    """
    claims = _claims(token, room, keyring, now_ms)
    if claims.sub != author.id:
        raise Refused(Code.FORBIDDEN, "the token is another user's")
    role = Role(claims.role)
    _check_backstage(room, role)
    name = clean_line(claims.name)
    attributes = author.attributes if claims.attributes is None else attributes_of(claims.attributes)
    named = _author(claims, role, name if visible(name) else author.name, attributes)
    return Grant(session, named, role, _standing_of(claims, role), claims)


def _check_backstage(room: str, role: Role) -> None:
    if room.endswith(BACKSTAGE) and Permission.MODERATE not in role.permissions:
        raise Refused(Code.FORBIDDEN, "only moderators and hosts may go backstage")


def author_of(claims: Claims) -> Author:
    """Whom events name that the user of a token makes without being in a room. Raises `Refused` (``BAD_TOKEN``) for a user that
    cannot be one."""
    name = clean_line(claims.name)
    role = Role(claims.role)
    _user(claims)
    return _author(claims, role, name if visible(name) else "", attributes_of(claims.attributes or {}))


def _guest(join: Join, settings: AccessSettings) -> Grant:
    """A guest's id is derived from its secret session: the same after a reconnect, and nobody else can take it, whatever name
    it chooses."""
    role = _ANONYMOUS_ROLES.get(anonymous_may(settings))
    if role is None:
        raise Refused(Code.FORBIDDEN, "anonymous viewers are not admitted (access.anonymous)")
    session = join.session or f"{_FREE}{secrets.token_urlsafe(16)}"
    if not session.startswith(_FREE):
        # Of a user who has lost its token, or one under which the product publishes (an Idempotency-Key can be guessed): what
        # was said and liked under it is not this guest's, and what will be must not pass for said already.
        session = f"{_FREE}{_text(blake2b(session.encode(), digest_size=15).digest())}"
    user = _GUEST + blake2b(session.encode(), digest_size=6).hexdigest()
    return Grant(session, Author(user, _name(join.name), attributes_of(join.attributes)), role, _standing(role.value, 0, False))


def _bearer(join: Join, token: str, keyring: Keyring, now_ms: int) -> Grant:
    """The token decides on id, role and rooms; the viewer names itself only where the token says nothing."""
    claims = _claims(token, join.room, keyring, now_ms)
    role = Role(claims.role)
    user = _user(claims)
    name = clean_line(claims.name)
    if not visible(name):
        name = _name(join.name)
    author = _author(claims, role, name, attributes_of(join.attributes if claims.attributes is None else claims.attributes))
    # A session is bound to its user: with one of somebody else a viewer gets another of its own, so that nobody can take
    # (session, ref) of another, or its count of likes. Its own comes out as it is.
    brought = join.session or ""
    if brought.startswith(_BOUND):
        nonce = brought[len(_BOUND) : len(_BOUND) + _NONCE]
    elif brought:
        nonce = _text(blake2b(brought.encode(), digest_size=9).digest())
    else:
        nonce = secrets.token_urlsafe(9)
    session = f"{_BOUND}{nonce}{_text(keyring.seal(nonce + user, 12))}"
    return Grant(session, author, role, _standing_of(claims, role), claims)


def _claims(token: str, room: str, keyring: Keyring, now_ms: int) -> Claims:
    claims = keyring.read(token, now_ms / 1000)
    if _is_console(room):
        # What holds for all rooms, or for all that begin so, was said of the product's.
        if CONSOLE not in (claims.rooms or ()):
            raise Refused(Code.FORBIDDEN, f"{CONSOLE} is for who has a pass that names it")
        return structs.replace(claims, role=Role.READER.value)
    if not claims.covers(room.removesuffix(BACKSTAGE)):
        raise Refused(Code.BAD_TOKEN, "the token is not for this room")
    return claims


def _is_console(room: str) -> bool:
    return room.removesuffix(BACKSTAGE) == CONSOLE


def _author(claims: Claims, role: Role, name: str, attributes: dict[str, str]) -> Author:
    if claims.level or role not in _PLAIN:
        return RankedAuthor(claims.sub, name, attributes, claims.role, claims.level)
    return Author(claims.sub, name, attributes)


def _standing_of(claims: Claims, role: Role) -> Standing:
    confined = claims.rooms is not None and Permission.MODERATE in role.permissions
    return _standing(claims.role, claims.level, claims.follower, confined)


_NONCE: Final = 12
"""Characters of a bound session that tell the sessions of one user apart."""
_PLAIN: Final = (Role.VIEWER, Role.READER)


def _user(claims: Claims) -> str:
    user = claims.sub
    if not user.isprintable() or clean_line(user) != user or not visible(user):
        raise Refused(Code.BAD_TOKEN, "the token: sub must be printable, without white space around it")
    if is_guest(user) or (user == SERVER.id and claims.role != Role.SERVER.value):
        raise Refused(Code.BAD_TOKEN, f"the token: sub may not be {SERVER.id} nor begin with {_GUEST}")
    return user


def _name(text: str | None) -> str:
    if text is None:
        return ""
    name = clean_line(text)
    if not visible(name):
        raise Refused(Code.EMPTY, "the name shows nothing")
    return name


def attributes_of(given: Mapping[str, str]) -> dict[str, str]:
    """What is shown of a user's attributes. Raises `Refused` (``INVALID``) for a name that pages cannot decode."""
    if PROTO in given:
        raise Refused(Code.INVALID, f"attributes: none may be named {PROTO}, which browsers cannot read")
    return {key: clean_line(value) for key, value in given.items()} or _NONE


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def check_room_name(room: str) -> None:
    """Raise `Refused` for a name that cannot be told from another by looking at it or breaks a log line."""
    if not room.isprintable() or room != room.strip() or len(room.encode()) > 256:
        raise Refused(Code.BAD_ROOM, "a room's name is printable, at most 256 bytes, without white space around it")
    if room == EVERYWHERE:
        raise Refused(Code.BAD_ROOM, f"{EVERYWHERE} is no room of its own")


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

    def settle(self, state: float, now: float) -> float:
        """A state that another rate has left, as one of this: nobody waits longer than who has used it up."""
        return min(state, now + self._tolerance + self._interval)

    def fits(self, state: float, now: float) -> int:
        """How many units fit now."""
        excess = max(state - now, 0.0)
        return max(int((self._tolerance - excess) / self._interval + 1), 0)
