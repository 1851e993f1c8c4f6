"""Making tokens: for development, tests, operators. A product's servers do, with any library for JSON Web Tokens.

Owns what a good token looks like. Reads the clock, which nothing else here does.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from engine.schema.fields import PROTO
from engine.settings import AccessSettings
from engine.tokens.claims import Claims
from engine.tokens.jws import compact, encoded
from engine.tokens.keys import SECRET_BYTES, Algorithm

__all__ = ["issue", "mint"]

_SECRET: Final[Algorithm] = "HS256"


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
    jti: str = "",
    issuer: str = "",
    audience: str = "",
    kid: str = "",
    algorithm: Algorithm = "HS256",
) -> str:
    """Make a token for a user.

    :param secret: ``access.secret``, or the one of the key that ``kid`` names; for an algorithm other than HS256 the private
        key, in PEM.
    :param rooms: names or, with a ``*`` at the end, beginnings of names; none: all rooms.
    :param seconds: how long it is valid.
    :param attributes: up to 8 small strings shown with what the user says; None: those that the viewer brings.
    :param jti: id of the token, by which it can be taken back.
    :param issuer: ``access.issuer``; ``audience``: ``access.audience``.
    :param kid: name of the key; empty: it is ``access.secret``.
    :raises ValueError: the key is too short or none of this algorithm, or a claim is not as it must be.
    """
    if algorithm == _SECRET and len(secret.encode()) < SECRET_BYTES:
        raise ValueError(f"the secret must have at least {SECRET_BYTES} bytes")
    now = int(time.time())
    claims: dict[str, Any] = {"sub": user, "name": name, "role": role, "level": level, "follower": follower}
    # To the millisecond: whose tokens were just taken back may get another one at once.
    claims |= {"iat": round(time.time(), 3), "nbf": now, "exp": now + seconds}
    claims |= {key: value for key, value in (("jti", jti), ("iss", issuer), ("aud", audience)) if value}
    if places := list(rooms):
        claims["rooms"] = places
    if attributes is not None:
        if PROTO in attributes:
            raise ValueError(f"attributes: none may be named {PROTO}, which browsers cannot read")
        claims["attributes"] = dict(attributes)
    try:
        msgspec.convert(claims, Claims)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    header = {"typ": "JWT", "alg": algorithm} | ({"kid": kid} if kid else {})
    try:
        signed = compact(header, msgspec.json.encode(claims))
    except UnicodeEncodeError:
        raise ValueError("a claim is not valid text") from None
    return (signed + b"." + encoded(_signature(algorithm, secret, signed))).decode()


def issue(settings: AccessSettings, user: str, *, kid: str = "", private: str = "", **claims: Any) -> str:
    """Make a token that a server with these settings takes, with its issuer and audience.

    :param kid: of ``access.keys`` the one to sign with; empty: ``access.secret``, or else the first of them that is a secret.
    :param private: that key's private half in PEM, if it is not a secret.
    :param claims: as those of `mint`.
    :raises ValueError: there is no such key, or as `mint`.
    """
    keys = [key for key in settings.keys if (key.kid == kid if kid else key.algorithm == "HS256")]
    if not kid and settings.secret:
        secret, algorithm = settings.secret, _SECRET
    elif keys:
        kid, algorithm = keys[0].kid, keys[0].algorithm
        secret = keys[0].secret if algorithm == _SECRET else private
        if not secret:
            raise ValueError(f"the key {kid!r} is for {algorithm}: its private half is needed")
    elif kid:
        raise ValueError(f"access.keys has no key {kid!r}")
    else:
        raise ValueError("there is no secret to sign with: set access.secret, or ROOMCAST_ACCESS__SECRET")
    identity: dict[str, Any] = {"issuer": settings.issuer, "audience": settings.audience, "kid": kid, "algorithm": algorithm}
    return mint(secret, user, **identity | claims)


def _signature(algorithm: Algorithm, secret: str, signed: bytes) -> bytes:
    if algorithm == _SECRET:
        return hmac.digest(secret.encode(), signed, "sha256")
    from jwt.algorithms import get_default_algorithms
    from jwt.exceptions import InvalidKeyError

    signer = get_default_algorithms()[algorithm]
    try:
        signature: bytes = signer.sign(signed, signer.prepare_key(secret))
    except (InvalidKeyError, ValueError, TypeError, AttributeError):
        raise ValueError(f"the key file holds no private key for {algorithm}") from None
    return signature
