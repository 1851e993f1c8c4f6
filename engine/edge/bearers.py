"""Viewers with a token: what they bring, until when it holds, and what happens when it does not any more.

Owns the keys (`engine.tokens.Keyring`) and, of each connection that was let in with a token, the few things by which it ends.
Must not know rooms. Viewers without a token cost nothing here.

One task looks through all of them when the first one is over, once in half a second at most: 15,000 take a millisecond. A heap
of deadlines, which cannot take anything back, would keep an entry for each connection of the day until its token expires.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

import trio
from msgspec import Struct, structs

from engine import ws
from engine.access import Grant, admit, renew
from engine.edge.session import Session, Stage, Wire
from engine.errors import Close, Code, Refused
from engine.link.messages import Trust
from engine.schema import Join
from engine.settings import AccessSettings
from engine.timing import Bell
from engine.tokens import LEEWAY_SECONDS, Claims, Keyring

__all__ = ["Bearers", "brought"]

_OFFER: Final = "roomcast.token."
"""In front of a token among the subprotocols on offer. It is never chosen, so it is never repeated."""
_QUERY: Final = "token"
_PAUSE_SECONDS: Final = 0.5
"""Least time between two looks."""
_LONGEST_SECONDS: Final = 60.0
"""Most time between two looks: tokens go by the clock of the world, which may be set."""
_REVOKED: Final = "the token was taken back"
_SLICE: Final = 256
"""Connections closed between two checkpoints."""


def brought(request: ws.Request, *, in_query: bool) -> bytes | None:
    """The token that came with an upgrade: among its subprotocols or, if that is allowed, as ``token`` in its address.

    :raises HandshakeError: 400, there is one without a character.
    """
    for offered in request.headers.get("sec-websocket-protocol", "").split(","):
        name = offered.strip(" \t")
        if name.startswith(_OFFER):
            return _given(name[len(_OFFER) :], f"Sec-WebSocket-Protocol: {_OFFER}")
    if in_query and "?" in request.target:
        values = parse_qs(request.target.partition("?")[2], keep_blank_values=True, errors="replace").get(_QUERY)
        if values:
            return _given(values[0], f"?{_QUERY}=")
    return None


def _given(token: str, where: str) -> bytes:
    if not token:
        raise ws.HandshakeError(400, f"{where} must be followed by a token")
    return token.encode()


class _Pass(Struct, frozen=True, gc=False):
    """What is kept of a token.

    :ivar ends: Unix seconds.
    """

    user: str
    jti: str
    issued: float
    ends: float


class Bearers:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    :raises KeyFault: a key of the settings cannot be read.
    """

    def __init__(self, settings: AccessSettings, wire: Wire, now_ms: Callable[[], int]) -> None:
        self._wire = wire
        self._now_ms = now_ms
        self._keyring = Keyring(settings)
        self._passes: dict[int, _Pass] = {}
        self._look_at = math.inf
        self._bell = Bell()

    def __len__(self) -> int:
        return len(self._passes)

    def adopt(self, settings: AccessSettings) -> None:
        """Let other settings hold, for whoever comes from now on. Raises `KeyFault`; nothing has changed then."""
        self._keyring.adopt(settings)

    # -- for requests -------------------------------------------------------------------------------------------------

    def admit(self, session: Session, join: Join) -> Grant:
        """Decide on a join, with the token that came with the upgrade if it brings none. Raises `Refused`."""
        if join.token is None and session.head:
            join = structs.replace(join, token=session.head.decode())
        return admit(join, self._keyring, self._now_ms())

    def entered(self, session: Session, grant: Grant) -> None:
        """A viewer takes part with what it was granted, until that is over."""
        session.head = None
        claims = grant.claims
        if claims is None:
            self._passes.pop(session.viewer, None)
        elif session.stage is Stage.OPEN:
            self._hold(session, claims)
            # It may have been asked for long ago, and the product too.
            if self._keyring.revoked(claims.jti, claims.sub, claims.iat):
                self._end(session.viewer, Close.TOKEN_REVOKED, _REVOKED)

    def renew(self, session: Session, room: str, token: str) -> Grant:
        """Let a viewer in a room have another token. Raises `Refused`; nothing has changed then."""
        author = session.author
        if author is None or session.viewer not in self._passes:
            raise Refused(Code.FORBIDDEN, "this viewer has no token that could be renewed; it may join with one")
        grant = renew(token, room, session.secret, author, self._keyring, self._now_ms())
        assert grant.claims is not None  # it has a token
        self._hold(session, grant.claims)
        return grant

    def leave(self, session: Session) -> None:
        """A connection is about to end."""
        if self._passes:
            self._passes.pop(session.viewer, None)

    def _hold(self, session: Session, claims: Claims) -> None:
        ends = claims.exp + LEEWAY_SECONDS
        self._passes[session.viewer] = _Pass(claims.sub, claims.jti, claims.iat, ends)
        self._look_again(ends)

    # -- from the hub -------------------------------------------------------------------------------------------------

    def trust(self, message: Trust) -> None:
        """What the hub says of keys, and of tokens that were taken back."""
        revoked = self._keyring.revoked
        if not self._keyring.trust(message.jwks, message.revoked, message.passes):
            return
        lost = [viewer for viewer, held in self._passes.items() if revoked(held.jti, held.user, held.issued)]
        for viewer in lost:
            self._end(viewer, Close.TOKEN_REVOKED, _REVOKED)

    # -- time ---------------------------------------------------------------------------------------------------------

    def over(self) -> list[int]:
        """Numbers of the connections whose tokens have expired."""
        now = self._now_ms() / 1000
        return [viewer for viewer, held in self._passes.items() if held.ends <= now]

    async def run(self) -> None:
        """Close whose token expires, until cancelled."""
        while True:
            await self._bell.wait_until(self._look_at)
            if trio.current_time() < self._look_at:
                continue
            now = self._now_ms() / 1000
            for index, viewer in enumerate(self.over(), 1):
                # It may have been renewed in between.
                if viewer in self._passes and self._passes[viewer].ends <= now:
                    self._end(viewer, Close.TOKEN_EXPIRED, "the token has expired")
                if index % _SLICE == 0:
                    await trio.lowlevel.checkpoint()
            self._look_at = math.inf
            if self._passes:
                pause = min(held.ends for held in self._passes.values()) - self._now_ms() / 1000
                self._look_at = trio.current_time() + min(max(pause, _PAUSE_SECONDS), _LONGEST_SECONDS)

    def _look_again(self, ends: float) -> None:
        left = min(max(ends - self._now_ms() / 1000, 0.0), _LONGEST_SECONDS)
        when = trio.current_time() + left
        if when + _PAUSE_SECONDS < self._look_at:
            self._look_at = when
            self._bell.ring()

    def _end(self, viewer: int, code: Close, text: str) -> None:
        del self._passes[viewer]
        session = self._wire.find(viewer)
        if session is not None:
            self._wire.close(session, code, text)
