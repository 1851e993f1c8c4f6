"""Retries of writes: the same request with the same Idempotency-Key gets the first answer and does nothing
(draft-ietf-httpapi-idempotency-key-header-07).

Owns the answers that are remembered, and their bounds. Must not know what a request does: those parts of the engine that
recognise a retry themselves get a key of their own (`engine.api.context.RetryKey`), so that an answer which was forgotten, or
given by a node that is gone, does not let an event be published or a gift be booked again.

An answer that says *try again* (5xx, 429, Retry-After) is not remembered, nor one that the caller did not wait for, nor one
that its route calls `unrepeatable`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api.bodies import READS
from engine.api.context import identified
from engine.api.problems import Problem
from engine.errors import Code
from engine.settings import ApiSettings

__all__ = ["Answers", "Retries", "unrepeatable"]

KEY_CHARACTERS: Final = 255
_BYTES: Final = 64 << 20
"""Of all remembered answers together; one is about 500."""
_OVERHEAD: Final = 600
"""What an answer costs beside its body."""
_UNREPEATABLE: Final = "unrepeatable"
_FLEETING: Final = {b"date", b"connection", b"content-length", b"transfer-encoding", b"x-request-id"}
"""Headers that belong to one exchange."""


class _Answer:
    """To a request with a key.

    :ivar request: fingerprint of what was asked.
    :ivar status: 0 while it is under way.
    """

    __slots__ = ("body", "headers", "request", "status", "until")

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.until = 0.0


class Answers:
    """What is remembered: at most ``api.retry_keys`` answers, for ``api.retry_seconds`` each; the oldest goes first.

    :param settings: asked each time, since they may change.
    :param clock: seconds, monotonic.
    """

    def __init__(self, settings: Callable[[], ApiSettings], clock: Callable[[], float], most_bytes: int = _BYTES) -> None:
        self._settings = settings
        self._clock = clock
        self._most_bytes = most_bytes
        self._known: OrderedDict[bytes, _Answer] = OrderedDict()
        self._open: dict[bytes, _Answer] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def held(self) -> int:
        """Bytes of what is remembered."""
        return self._bytes

    def begin(self, key: bytes, request: bytes) -> _Answer | None:
        """The answer that there was, or None: then it is under way, and `finish` or `abandon` must follow.

        :raises Problem: the key was used for something else, or this is under way already.
        """
        self._shrink()
        answer = self._open.get(key) or self._known.get(key)
        if answer is None:
            self._open[key] = _Answer(request)
            return None
        if answer.request != request:
            raise Problem("this Idempotency-Key was used with another body or query", code=Code.CONFLICT, status=422)
        if not answer.status:
            raise Problem("a request with this Idempotency-Key is under way", code=Code.CONFLICT, headers={"Retry-After": "1"})
        return answer

    def finish(self, key: bytes, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """It was answered so."""
        answer = self._open.pop(key)
        size = len(body) + _OVERHEAD
        if size > self._most_bytes:
            return
        answer.status, answer.headers, answer.body = status, headers, body
        answer.until = self._clock() + self._settings().retry_seconds
        self._known[key] = answer
        self._bytes += size
        self._shrink()

    def abandon(self, key: bytes) -> None:
        """It may be tried again."""
        self._open.pop(key, None)

    def _shrink(self) -> None:
        most = self._settings().retry_keys
        now = self._clock()
        while self._known:
            oldest = next(iter(self._known.values()))
            if len(self._known) <= most and self._bytes <= self._most_bytes and oldest.until > now:
                return
            self._known.popitem(last=False)
            self._bytes -= len(oldest.body) + _OVERHEAD


class Retries:
    """ASGI middleware, within `engine.api.bodies.Bodies`; see the module's docstring."""

    def __init__(self, app: ASGIApp, answers: Answers) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] != "http" or scope["method"] in READS:
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"idempotency-key"]
        if not given:
            await self._app(scope, receive, send)
            return
        try:
            key, request = _fingerprints(scope, given)
            answer = self._answers.begin(key, request)
        except Problem as problem:
            await problem.send(scope, receive, send)
            return
        if answer is None:
            await self._first(key, scope, receive, send)
            return
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body)), (b"idempotency-replayed", b"true")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _first(self, key: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        parts: list[bytes] = []
        settled = False

        async def tell(message: Message) -> None:
            nonlocal settled
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    # Before it is sent: who reads it may come again at once, and the key is that one's then.
                    settled = True
                    self._settle(key, start, b"".join(parts), scope)
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            if not settled:
                self._answers.abandon(key)

    def _settle(self, key: bytes, start: Message, body: bytes, scope: Scope) -> None:
        if _lasting(start) and not scope["state"].get(_UNREPEATABLE):
            headers = [each for each in start["headers"] if each[0] not in _FLEETING]
            self._answers.finish(key, start["status"], headers, body)
        else:
            self._answers.abandon(key)


def unrepeatable(request: HTTPConnection) -> None:
    """Let the answer to this request not be remembered: it holds a secret that is of no use later."""
    setattr(request.state, _UNREPEATABLE, True)


def _lasting(start: Message) -> bool:
    status: int = start["status"]
    return status < 500 and status != 429 and not any(name == b"retry-after" for name, _ in start["headers"])


def _fingerprints(scope: Scope, given: list[bytes]) -> tuple[bytes, bytes]:
    """Of whose request this is, and of what it asks. Raises `Problem`."""
    text = given[0].decode("latin-1")
    if len(given) > 1 or not text.isascii() or not text.isprintable() or not 0 < len(text) <= KEY_CHARACTERS:
        detail = f"Idempotency-Key must be one value of 1 to {KEY_CHARACTERS} printable characters"
        raise Problem(detail, name="bad_request")
    caller = identified(HTTPConnection(scope))
    # With what it may do, so that no answer reaches a caller who could not have it any more.
    whose: list[Any] = [caller.name, sorted(caller.scopes), caller.rooms, scope["method"], scope["path"], text]
    asked = blake2b(scope["state"]["body"], digest_size=16)
    asked.update(b"\0" + scope["query_string"])
    return blake2b(repr(whose).encode(errors="replace"), digest_size=16).digest(), asked.digest()
