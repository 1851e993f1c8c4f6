"""Recognises callers of the HTTP API: by an API key, or by the token of a user whose role lets it do something here.

Owns the comparison of keys, what roles may do, and how often callers may come. Must not know HTTP beyond the Authorization
header (RFC 6750). Keys are kept as SHA-256, which is enough for 32 random bytes, and compared all of them, in constant time.

Whoever fails is told so, and from one address not more often than `FAILURES_PER_SECOND`: then it is told to wait. A good key
from such an address is good nevertheless: behind a proxy all callers have one address, and nobody guesses 32 bytes.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Final

from engine.access import PRODUCT, Rate, Standing, author_of
from engine.api.context import Caller
from engine.api.problems import Problem
from engine.errors import Code, Refused
from engine.link.messages import Trust
from engine.schema import Author
from engine.settings import ApiKey, Settings
from engine.tokens import Claims, KeyFault, Keyring
from engine.tokens.passes import PASS

__all__ = ["KEY_PREFIX", "ROLE_SCOPES", "ApiCallers"]

log = logging.getLogger("roomcast.api")

KEY_PREFIX: Final = "rc_"
"""Begins every API key, so that a key is known when it is found somewhere."""
FAILURES_PER_SECOND: Final = 2.0
FAILURES_BURST: Final = 20
_REMEMBERED: Final = 10_000
"""Addresses, and users, whose rates are kept."""

ROLE_SCOPES: Final[dict[str, frozenset[str]]] = {
    "reader": frozenset(),
    "viewer": frozenset(),
    "moderator": frozenset({"rooms:read", "moderate"}),
    "host": frozenset({"rooms:read", "rooms:write", "publish", "moderate", "money:read"}),
    "server": frozenset({"rooms:read", "rooms:write", "publish", "moderate", "money:read", "money:write"}),
}
"""What the user of a token may do here, by its role, in the rooms of the token. Moderators speak as viewers do, at their rate.
Nobody makes or takes back tokens with one: it would outlive itself."""


class ApiCallers:
    """See the module's docstring; an `engine.api.context.Callers`.

    :param settings: in force; others are adopted when somebody calls.
    :param trust: what the hub says of tokens, another object when that has changed; None: nothing.
    :param clock: seconds, monotonic.
    :param now: Unix seconds.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        trust: Callable[[], Trust | None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._trust = trust
        self._trusted: Trust | None = None
        self._keyring = Keyring(settings().access)
        self._clock = clock
        self._now = now
        self._failures = Rate(FAILURES_PER_SECOND, FAILURES_BURST)
        self._failed: OrderedDict[str, float] = OrderedDict()
        self._used: OrderedDict[str, float] = OrderedDict()
        self.adopt(settings())

    def adopt(self, settings: Settings) -> None:
        """Let these keys and rates hold from now on."""
        self._adopted = settings
        try:
            self._keyring.adopt(settings.access)
        except KeyFault as fault:
            # Whoever reads settings has looked, but a file may go at any time. What was known before holds.
            log.error("token_key_unreadable", extra={"fault": str(fault)})
        api = settings.api
        self._keys = [(bytes.fromhex(key.sha256), _caller(key)) for key in api.keys]
        self._rate = Rate(api.requests_per_second, api.requests_burst)
        now = self._clock()
        for name, state in self._used.items():
            self._used[name] = self._rate.settle(state, now)

    def identify(self, authorization: str | None, address: str) -> Caller:
        """See `engine.api.context.Callers`."""
        settings = self._settings()
        if settings is not self._adopted:
            self.adopt(settings)
        trust = self._trust()
        if trust is not self._trusted:
            self._keyring.trust(*(None, {}) if trust is None else (trust.jwks, trust.revoked))
            self._trusted = trust
        try:
            caller = self._recognised(authorization)
        except Problem as problem:
            raise self._failure(_source(address)) or problem from None
        self._count(caller.name)
        return caller

    def _recognised(self, authorization: str | None) -> Caller:
        if authorization is None:
            raise Problem("this needs Authorization: Bearer and an API key, or a token", code=Code.BAD_TOKEN)
        scheme, _, given = authorization.partition(" ")
        given = given.strip(" ")
        if scheme.lower() != "bearer" or not given:
            raise _wrong("Authorization must be Bearer and an API key, or a token")
        if given.startswith(KEY_PREFIX):
            return self._by_key(given)
        if given.startswith(PASS):
            raise _wrong("a pass lets into a room, and is no key")
        try:
            return _user(self._keyring.read(given, self._now()))
        except Refused as refused:
            if refused.code is not Code.BAD_TOKEN:
                raise Problem(refused.text, code=refused.code, retry_after_ms=refused.retry_after_ms) from None
            raise _wrong(refused.text) from None

    def _by_key(self, given: str) -> Caller:
        digest = sha256(given.encode(errors="surrogateescape")).digest()
        found = None
        for expected, caller in self._keys:
            # To the end, so that the time tells nothing of where in the list, or whether, it was.
            if hmac.compare_digest(expected, digest):
                found = caller
        if found is None:
            raise _wrong("there is no such API key (api.keys)")
        return found

    def _count(self, name: str) -> None:
        state = self._rate.take(self._used.get(name, 0.0), self._clock())
        if state < 0:
            raise Problem(
                "more requests than api.requests_per_second", code=Code.RATE_LIMITED, retry_after_ms=int(-state * 1000) + 1
            )
        _keep(self._used, name, state)

    def _failure(self, source: str) -> Problem | None:
        state = self._failures.take(self._failed.get(source, 0.0), self._clock())
        if state < 0:
            return Problem("too many failures from here", code=Code.RATE_LIMITED, retry_after_ms=int(-state * 1000) + 1)
        _keep(self._failed, source, state)
        return None


def _caller(key: ApiKey) -> Caller:
    return Caller(key.name, frozenset(key.scopes), key.rooms)


def _user(claims: Claims) -> Caller:
    """Who has a token. Raises `Refused` for a user that cannot be one."""
    author: Author = author_of(claims)
    rooms = ("*",) if claims.rooms is None else tuple(claims.rooms)
    standing = PRODUCT
    if claims.role != PRODUCT.role:
        standing = Standing(claims.role, claims.level, claims.follower, claims.rooms is not None)
    return Caller(f"user:{author.id}", ROLE_SCOPES[claims.role], rooms, author, standing, claims)


def _wrong(detail: str) -> Problem:
    # RFC 6750 section 3.1.
    headers = {"WWW-Authenticate": 'Bearer realm="roomcast", error="invalid_token"'}
    return Problem(detail, code=Code.BAD_TOKEN, headers=headers)


def _source(address: str) -> str:
    """What one subscriber has: an IPv4 address or an IPv6 /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64)) if isinstance(parsed, IPv6Address) else address


def _keep(states: OrderedDict[str, float], key: str, state: float) -> None:
    """The one that came longest ago makes room."""
    states[key] = state
    states.move_to_end(key)
    if len(states) > _REMEMBERED:
        states.popitem(last=False)
