"""The body of a request, read whole and held to JSON as RFC 8259 has it.

Owns that. FastAPI reads with Python's json, which takes NaN, infinities and halves of surrogate pairs; none of them can be
answered, kept or published, so each route would need a guard of its own. Must not know what a body means. How large one may be
is for the server to say (`engine.api.exchange`).
"""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api.problems import Problem

__all__ = ["READS", "Bodies"]

READS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110 section 9.2.1)."""

_decode: Final = msgspec.json.Decoder().decode


class Bodies:
    """ASGI middleware. The body is then in ``scope["state"]["body"]``, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] != "http" or scope["method"] in READS:
            await self._app(scope, receive, send)
            return
        parts = []
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                # The client has gone, and nothing was done yet.
                return
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        if body:
            try:
                _decode(body)
            except (ValueError, RecursionError):
                await Problem("the body is no JSON", name="bad_request").send(scope, receive, send)
                return
        scope.setdefault("state", {})["body"] = body
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)
