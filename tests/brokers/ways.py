"""A way to a Redis server on a Unix socket that can be cut.

Owns the connections on it. Must not know what is carried, but for bytes that it is told to swallow.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bench.redisproc import RedisProcess

__all__ = ["Cut", "cut"]


class Cut:
    """A way to a server that can be cut: connections pass bytes on until then.

    :ivar path: where to connect.
    :ivar target: the socket at the other end.
    :ivar refuse: whether new connections are closed at once.
    :ivar swallow: replies that contain these bytes are not passed on, and their connection is cut.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.swallow: bytes = b""
        self.swallowed = 0
        self.target = target
        self._open: set[trio.CancelScope] = set()
        self.refuse = False

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def cut(self) -> None:
        """End all connections."""
        for scope in self._open:
            scope.cancel()

    async def _serve(self, near: trio.SocketStream) -> None:
        async with near:
            if self.refuse:
                return
            try:
                far = await trio.open_unix_socket(self.target)
            except OSError:
                return
            with trio.CancelScope() as scope:
                self._open.add(scope)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, near, far, False, nursery.cancel_scope)
                    nursery.start_soon(self._carry, far, near, True, nursery.cancel_scope)
            self._open.discard(scope)

    async def _carry(
        self, source: trio.SocketStream, target: trio.SocketStream, replies: bool, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                if replies and self.swallow and self.swallow in data:
                    self.swallow = b""
                    self.swallowed += 1
                    break
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def cut(path: Path, server: RedisProcess) -> AsyncIterator[Cut]:
    """A way to a server on a Unix socket."""
    way = Cut(path, server.path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, way._serve, [listener])
            yield way
            nursery.cancel_scope.cancel()
