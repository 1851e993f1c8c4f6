"""One line in the log for each request, one span for those who trace, and an answer whatever happens.

Owns the request's id, what is counted of requests, and what becomes of errors that nobody expected. Must not know routes. A
line holds no key, no token, no text and no name: the path is told as its route has it, callers by the names of their keys,
users by their ids.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api.problems import problem_of
from engine.api.tracing import Tracing
from engine.metrics.requests import Requests

__all__ = ["Journal"]

log = logging.getLogger("roomcast.api")

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_QUIET: Final = ("/health/", "/metrics")
"""Routes that machines ask for all the time."""
_ADDED: Final = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Headers of answers that do not say otherwise: they are about one caller's rooms."""


class Journal:
    """ASGI middleware; see the module's docstring.

    :param figures: counts requests.
    :param tracing: None: nobody traces.
    """

    def __init__(self, app: ASGIApp, figures: Requests, tracing: Tracing | None) -> None:
        self._app = app
        self._figures = figures
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["state"] = dict(scope.get("state") or {})
        request_id = state.setdefault("request_id", _given(scope) or secrets.token_hex(8))
        began = time.perf_counter()
        status = 0
        size = 0
        gone = False

        async def tell(message: Message) -> None:
            nonlocal status, size, gone
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _complete(message.get("headers", ()), request_id)
            else:
                size += len(message.get("body", b""))
            try:
                await send(message)
            except OSError:
                gone = True
                raise

        span = self._tracing.begin(scope) if self._tracing is not None else None
        try:
            await self._app(scope, receive, tell)
        except Exception as error:
            if gone:
                # Nobody is there to be told, and it is no fault of ours; the server ends the connection.
                raise
            problem = problem_of(error)
            if problem.status == 500:
                # With the traceback, whose frames hold values; the log of a node is its operator's.
                log.exception("request_failed", extra={"request_id": request_id, "route": _route(scope)})
            if status:
                # Half of an answer is out; the server ends the connection, so that it does not pass for the whole.
                raise
            await problem.send(scope, receive, tell)
        finally:
            route = _route(scope)
            seconds = time.perf_counter() - began
            if status:
                self._figures.observe(route, scope["method"], status, seconds)
            if span is not None:
                span.end(route, status)
            self._write(scope, route, status, size, seconds)

    def _write(self, scope: Scope, route: str, status: int, size: int, seconds: float) -> None:
        level = logging.DEBUG if route.startswith(_QUIET) else logging.INFO
        if not log.isEnabledFor(level):
            return
        state = scope["state"]
        caller = state.get("caller")
        facts: dict[str, Any] = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "caller": caller.name if caller is not None else "",
            "bytes": size,
        }
        log.log(level, "request", extra=facts)


def _given(scope: Scope) -> str:
    """The id that the request brings, if it is one."""
    found = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return found.decode() if _REQUEST_ID.fullmatch(found) else ""


def _route(scope: Scope) -> str:
    """The path as the route has it; empty if there is none."""
    return str(getattr(scope.get("route"), "path", ""))


def _complete(headers: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name for name, _ in given}
    given += (each for each in _ADDED if each[0] not in names)
    if b"x-request-id" not in names:
        given.append((b"x-request-id", request_id.encode()))
    return given
