"""Which tokens hold: signed with a key that holds, in their time, for this server, and not taken back.

Owns the keys by name, what was taken back, and the tokens verified of late: many viewers come back at once. The keys of the
settings are known at once; those of a key set, what was taken back and the passes that are out (`engine.tokens.passes`) are
told by the hub (`engine.link.messages.Trust`). Time comes in as an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Final

import msgspec

from engine.errors import Code, Refused
from engine.settings import AccessSettings
from engine.tokens.claims import Claims, decode_claims
from engine.tokens.jws import NotReadable, opened
from engine.tokens.keys import Key, KeyFault, of_jwk, of_secret, of_settings
from engine.tokens.passes import PASS, digest_of, ends_of

__all__ = ["LEEWAY_SECONDS", "TOKEN", "TOKEN_BYTES", "USER", "Keyring"]

LEEWAY_SECONDS: Final = 10.0
"""By how much the clocks of product and node may differ."""
TOKEN_BYTES: Final = 4096
"""Longest token."""
_CACHED: Final = 10_000
"""Verified tokens remembered, about 1 kB each."""
_RETRY_MS: Final = 1_000
_NONE: Final[Mapping[str, str]] = {}
TOKEN: Final = "jti:"
"""In front of the id of a token that was taken back."""
USER: Final = "sub:"
"""In front of the id of a user whose tokens were taken back."""


class Keyring:
    """See the module's docstring.

    :raises KeyFault: a file of ``access.keys`` cannot be read.
    :ivar settings: those in force.
    """

    def __init__(self, settings: AccessSettings) -> None:
        self.settings = AccessSettings()
        self._keys: dict[str, Key]
        self._set: dict[str, Key] | None = None
        self._texts: list[str] = []
        self._revoked: dict[str, int] = {}
        self._known: OrderedDict[bytes, Claims] = OrderedDict()
        self._passes: dict[str, Claims] = {}
        self._told_passes: Mapping[str, str] = {}
        self._seal: bytes
        self.adopt(settings)

    def adopt(self, settings: AccessSettings) -> None:
        """Let other settings hold. Raises `KeyFault`; nothing has changed then."""
        keys = {key.kid: of_settings(key) for key in settings.keys}
        if settings.secret:
            keys[""] = of_secret(settings.secret.encode())
        self._keys = keys
        if settings.jwks != self.settings.jwks:
            self._set, self._texts = None, []
        self._seal = blake2b(settings.secret.encode(), digest_size=32, person=b"roomcast").digest()
        self.settings = settings
        self._known.clear()

    def trust(self, jwks: Iterable[str] | None, revoked: Mapping[str, int], passes: Mapping[str, str] = _NONE) -> bool:
        """What the hub says, the whole of it. Returns whether more was taken back than before.

        :param jwks: a key set, each key a `engine.tokens.Jwk` in JSON, what is none left out; None: it knows no set, what was
            known before stays. Of two keys with one name the first holds, and one of the settings before all.
        :param revoked: as ``passes`` in `engine.link.messages.Trust`.
        """
        if jwks is not None:
            texts = list(jwks)
            if self._set is None or texts != self._texts:
                self._set = {}
                for text in texts:
                    with suppress(KeyFault):
                        kid, key = of_jwk(text)
                        self._set.setdefault(kid, key)
                self._texts = texts
                self._known.clear()
        if passes != self._told_passes:
            self._passes = _claims_of(passes)
            self._told_passes = passes
        before, self._revoked = self._revoked, dict(revoked)
        return not self._revoked.items() <= before.items()

    def revoked(self, jti: str, user: str, issued: float) -> bool:
        """Whether a token of this user was taken back.

        :param issued: Unix seconds, 0 if it does not say. One that tells whole seconds, of the second in which a user's tokens
            were taken back, is among them.
        """
        if not self._revoked:
            return False
        at = self._revoked.get(f"{USER}{user}")
        return (at is not None and round(issued * 1000) <= at) or (bool(jti) and f"{TOKEN}{jti}" in self._revoked)

    def read(self, token: str, now: float) -> Claims:
        """Return what a token says, or a pass stands for, at this time, in Unix seconds. Raises `Refused`: ``BAD_TOKEN``, or
        ``UNAVAILABLE`` while the key set is not known that may hold its key, or the pass is not."""
        if not token.isascii() or len(token) > TOKEN_BYTES:
            raise _refused("it is not readable")
        if token.startswith(PASS):
            # Not among those that are remembered: it is gone when the hub says so.
            return self._holding(self._pass(token, now), now)
        data = token.encode()
        digest = blake2b(data, digest_size=16).digest()
        claims = self._known.get(digest)
        if claims is None:
            claims = self._verify(data)
        try:
            self._holding(claims, now)
        except Refused:
            self._known.pop(digest, None)
            raise
        if digest not in self._known:
            if len(self._known) >= _CACHED:
                self._known.popitem(last=False)
            self._known[digest] = claims
        return claims

    def _holding(self, claims: Claims, now: float) -> Claims:
        """These claims, if they hold now. Raises `Refused`."""
        if now >= claims.exp + LEEWAY_SECONDS:
            raise _refused("it has expired")
        if now < claims.nbf - LEEWAY_SECONDS:
            raise _refused("it is not valid yet")
        if self.revoked(claims.jti, claims.sub, claims.iat):
            raise _refused("it was taken back")
        return claims

    def seal(self, text: str, size: int) -> bytes:
        """A code of ``size`` bytes for a text, which with ``access.secret`` nobody else can make (BLAKE2b with a key, RFC
        7693)."""
        return blake2b(text.encode(), digest_size=size, key=self._seal).digest()

    def _pass(self, text: str, now: float) -> Claims:
        try:
            ends = ends_of(text)
        except ValueError as error:
            raise _refused(str(error)) from None
        if now >= ends + LEEWAY_SECONDS:
            raise _refused("it has expired")
        claims = self._passes.get(digest_of(text))
        if claims is None:
            raise Refused(Code.UNAVAILABLE, "this pass is not known here, or not yet", _RETRY_MS)
        return claims

    def _verify(self, token: bytes) -> Claims:
        settings = self.settings
        try:
            envelope = opened(token)
        except NotReadable as error:
            raise _refused(str(error)) from None
        key = self._key(envelope.kid)
        if envelope.algorithm != key.algorithm or not key.verifies(envelope.signed, envelope.signature):
            raise _refused("it is not signed with a key of this server")
        try:
            claims = decode_claims(envelope.payload)
        except msgspec.ValidationError as error:
            raise _refused(str(error)) from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _refused("it is not readable") from None
        if settings.issuer and claims.iss != settings.issuer:
            raise _refused("iss is not access.issuer")
        if settings.audience and not claims.addresses(settings.audience):
            raise _refused("aud is not access.audience")
        return claims

    def _key(self, kid: str) -> Key:
        """The key of this name; the empty one is that of ``access.secret``. Raises `Refused`."""
        key = self._keys.get(kid)
        settings = self.settings
        # A hub that has not read its settings again yet may still tell of a set.
        if key is None and kid and settings.jwks and self._set is not None:
            key = self._set.get(kid)
        if key is not None:
            return key
        if kid and settings.jwks and self._set is None:
            raise Refused(Code.UNAVAILABLE, "the keys of tokens are not known yet (access.jwks)", _RETRY_MS)
        if not self._keys and not settings.jwks:
            raise Refused(Code.BAD_TOKEN, "this server takes no tokens (access.secret, access.keys, access.jwks)")
        raise _refused("its kid names no key of this server" if kid else "it names no key (kid), and there is no access.secret")


def _claims_of(passes: Mapping[str, str]) -> dict[str, Claims]:
    """What passes stand for, without those that another version has made and that cannot be read here."""
    found: dict[str, Claims] = {}
    for digest, claims in passes.items():
        with suppress(msgspec.MsgspecError):
            found[digest] = decode_claims(claims.encode())
    return found


def _refused(why: str) -> Refused:
    return Refused(Code.BAD_TOKEN, f"the token: {why}")
