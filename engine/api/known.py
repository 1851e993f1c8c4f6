"""Whoever may do nothing here is told so before its request is read.

Owns that. To read a megabyte takes memory, and to decode it takes the loop, in which rooms live, tens of milliseconds: that is
for callers who are known, who can be counted. Must not know what a call needs (`engine.api.context.authorized`).
"""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.api.bodies import READS
from engine.api.context import identified
from engine.api.problems import Problem
from engine.errors import Code

__all__ = ["Known"]


class Known:
    """ASGI middleware, in front of `engine.api.bodies.Bodies`; see the module's docstring.

    No call that writes is for everybody.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] == "http" and scope["method"] not in READS:
            try:
                if not identified(HTTPConnection(scope)).scopes:
                    raise Problem("this key or token may do nothing here", code=Code.FORBIDDEN)
            except Problem as problem:
                await problem.send(scope, receive, send)
                return
        await self._app(scope, receive, send)
