"""HEAD for everything that can be read: it is a GET whose answer has no body, which the server leaves out (RFC 9110 section
9.3.2).

Owns that one word.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Heads"]


class Heads:
    """ASGI middleware; see the module's docstring."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return
        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, send)
        finally:
            # Which route it was is found out further in, and told further out (`engine.api.journal`).
            scope["route"] = inner.get("route")
