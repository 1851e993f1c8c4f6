"""Tokens that say who a viewer is and what it may do: JSON Web Tokens (RFC 7519), signed with HS256 (RFC 7515, 7518).

Owns the claims, their shapes, and the signature. Must not know what a role may do (`engine.access`), nor log or repeat a token.
PyJWT is imported where the first token is verified or minted: it costs 12 MB, which a process without tokens can spare.

Claims: ``sub`` (id of the user), ``exp``; and, each of them optional, ``nbf``, ``iat``, ``name``, ``role``, ``level``,
``follower``, ``rooms`` (names; one that ends in ``*`` stands for all that begin so; absent: all rooms), ``attributes``. Others
are left alone. `mint` reads the clock, nothing else does.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from engine.errors import Code, Refused
from engine.schema.fields import Attributes, Room, User

__all__ = ["SECRET_BYTES", "Claims", "Tokens", "mint", "tokens_of"]

SECRET_BYTES: Final = 32
"""Least length of a secret: that of the hash (RFC 7518 section 3.2)."""
LEEWAY_SECONDS: Final = 10.0
"""By how much the clocks of product and node may differ."""
_CACHED: Final = 10_000
"""Verified tokens remembered, about 1 kB each."""

_Date = Annotated[float, Meta(ge=0, lt=2**53)]
"""NumericDate: Unix seconds, with a fraction if need be."""


class Claims(Struct, frozen=True, kw_only=True, gc=False):
    """What a token says; see the module's docstring."""

    sub: User
    exp: _Date
    nbf: _Date = 0
    iat: _Date = 0
    name: Annotated[str, Meta(max_length=64)] = ""
    role: Literal["reader", "viewer", "moderator", "host", "server"] = "viewer"
    level: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    follower: bool = False
    rooms: Annotated[list[Room], Meta(max_length=256)] | None = None
    attributes: Attributes | None = None

    def covers(self, room: str) -> bool:
        """Whether the token is for this room."""
        return self.rooms is None or any(
            room.startswith(each[:-1]) if each.endswith("*") else room == each for each in self.rooms
        )


_decode: Final = msgspec.json.Decoder(Claims).decode


class Tokens:
    """Verifies tokens of one secret, and remembers those that were good: many viewers come back at once."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._known: OrderedDict[bytes, Claims] = OrderedDict()
        self._key = blake2b(self._secret, digest_size=32, person=b"roomcast").digest()

    def read(self, token: str, now: float) -> Claims:
        """Return what a token says at this time, in Unix seconds. Raises `Refused` (``BAD_TOKEN``)."""
        if not token.isascii():
            raise _refused("it is not readable")
        digest = blake2b(token.encode(), digest_size=16).digest()
        claims = self._known.get(digest)
        if claims is None:
            claims = self._verify(token)
        if now >= claims.exp + LEEWAY_SECONDS:
            self._known.pop(digest, None)
            raise _refused("it has expired")
        if now < claims.nbf - LEEWAY_SECONDS:
            raise _refused("it is not valid yet")
        if digest not in self._known:
            if len(self._known) >= _CACHED:
                self._known.popitem(last=False)
            self._known[digest] = claims
        return claims

    def seal(self, text: str, size: int) -> bytes:
        """A code of ``size`` bytes for a text that only who has the secret can make (BLAKE2b with a key, RFC 7693)."""
        return blake2b(text.encode(), digest_size=size, key=self._key).digest()

    def _verify(self, token: str) -> Claims:
        jws, error_type = _jws()
        try:
            return _decode(jws.decode(token, self._secret, algorithms=["HS256"]))
        except error_type:
            raise _refused("it is not signed with the secret of this server") from None
        except msgspec.ValidationError as error:
            raise _refused(str(error)) from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _refused("it is not readable") from None


@lru_cache(maxsize=8)
def tokens_of(secret: str) -> Tokens:
    """The `Tokens` of this secret, one in a process."""
    return Tokens(secret)


@cache
def _jws() -> tuple[Any, type[Exception]]:
    import jwt

    return jwt.PyJWS(algorithms=["HS256"]), jwt.PyJWTError


def _refused(why: str) -> Refused:
    return Refused(Code.BAD_TOKEN, f"the token: {why}")


def mint(
    secret: str,
    user: str,
    *,
    name: str = "",
    role: str = "viewer",
    level: int = 0,
    follower: bool = False,
    rooms: Iterable[str] = (),
    seconds: float = 3600,
    attributes: Mapping[str, str] | None = None,
) -> str:
    """Make a token for a user; the product's servers do, with any library for JSON Web Tokens.

    :param secret: ``access.secret``.
    :param rooms: names or, with a ``*`` at the end, beginnings of names; none: all rooms.
    :param seconds: how long it is valid.
    :param attributes: up to 8 small strings shown with what the user says; None: those that the viewer brings.
    :raises ValueError: the secret is too short, or a claim is not as it must be.
    """
    if len(secret.encode()) < SECRET_BYTES:
        raise ValueError(f"the secret must have at least {SECRET_BYTES} bytes")
    import jwt

    now = int(time.time())
    claims: dict[str, Any] = {"sub": user, "name": name, "role": role, "level": level, "follower": follower}
    claims |= {"iat": now, "nbf": now, "exp": now + seconds}
    if places := list(rooms):
        claims["rooms"] = places
    if attributes is not None:
        claims["attributes"] = dict(attributes)
    try:
        msgspec.convert(claims, Claims)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    return jwt.encode(claims, secret, "HS256")
