"""HTTP/1.1 for an ASGI application, on trio and h11.

Owns the accepting of connections, and the guard around each: whatever a request or the application does ends that connection at
most. No WebSocket, no HTTP/2, no TLS: those are for the edge, and for a proxy in front.

Why an own one: of the servers that run on trio, those with WebSocket support (anycorn, hypercorn) lose every connection to one
non-ASCII byte in an upgrade header. What is left to do without it is little.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio

from engine.api.connection import Connection
from engine.api.exchange import App
from engine.listening import listen
from engine.settings import ApiSettings

__all__ = ["Server", "open_listeners"]

_BACKOFF_SECONDS: Final = 0.1
"""Pause after the system ran out of descriptors or memory; those who are connected are served meanwhile."""
_OUT_OF: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PEER_GONE: Final = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}

log = logging.getLogger("roomcast.api")


def open_listeners(settings: ApiSettings) -> list[socket.socket]:
    """Bind and listen. Several sockets if the host name has several addresses.

    :raises RoomcastError: the address cannot be bound; says what to do.
    """
    return listen("api", settings.host, settings.port)


class Server:
    """See the module's docstring.

    :param settings: asked whenever one is needed.
    :param listeners: non-blocking; they stay open.
    """

    def __init__(self, app: App, settings: Callable[[], ApiSettings], listeners: Sequence[socket.socket]) -> None:
        self._app = app
        self._settings = settings
        self._listeners = listeners
        self._connections: set[Connection] = set()
        self._left = trio.lowlevel.ParkingLot()
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()

    def __len__(self) -> int:
        """Connections."""
        return len(self._connections)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled or drained."""
        with self._serving:
            async with trio.open_nursery() as nursery:
                task_status.started()
                with self._accepting:
                    async with trio.open_nursery() as accepting:
                        for listener in self._listeners:
                            accepting.start_soon(self._accept, listener, nursery)

    async def drain(self, seconds: float) -> None:
        """Accept nobody, close idle connections, wait for the requests that are under way, and cut those that take longer."""
        self._accepting.cancel()
        for connection in self._connections:
            connection.retire()
        with trio.move_on_after(seconds):
            while self._connections:
                await self._left.park()
        self._serving.cancel()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            while len(self._connections) >= self._settings().connections_max:
                await self._left.park()
            try:
                accepted, address = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _OUT_OF:
                    hint = "raise the descriptor limit"
                    log.warning("api_accept_failed", extra={"error": os.strerror(error.errno), "hint": hint})
                    await trio.sleep(_BACKOFF_SECONDS)
                elif error.errno not in _PEER_GONE:
                    raise
                continue
            accepted.setblocking(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
            connection = Connection(self._app, stream, self._settings, address[:2], listener.getsockname()[:2])
            self._connections.add(connection)
            nursery.start_soon(self._guard, connection)

    async def _guard(self, connection: Connection) -> None:
        """Serve one connection; nothing but a cancellation gets out of here."""
        try:
            await connection.run()
        except Exception:
            log.exception("api_connection_failed")
        finally:
            self._connections.discard(connection)
            self._left.unpark_all()
