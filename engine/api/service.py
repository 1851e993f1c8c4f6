"""The HTTP API as a part of a node: its listening sockets, its application, its server, and who starts that again.

Owns the life of all of these. The sockets stay open while a server that crashed is replaced, so that clients wait a little and
are not refused; the node that runs this never notices. Must not know what the application does.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from engine.api.exchange import App
from engine.api.server import Server, open_listeners
from engine.greeting import http_url
from engine.settings import ApiSettings
from engine.timing import Pause

if TYPE_CHECKING:
    from engine.backend import Backend
    from engine.link.messages import Trust

__all__ = ["Service", "service_of"]

_PAUSE_FIRST_SECONDS: Final = 0.2
_PAUSE_MOST_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60.0
"""A server that ran for so long was well; when it crashes, the pauses begin anew."""

log = logging.getLogger("roomcast.api")


class Service:
    """See the module's docstring. First `listen`, then `run`.

    :param make: makes the application, when it is first needed: that takes libraries that a node without an API needs not have.
    :ivar addresses: host and port of each listening socket.
    """

    def __init__(self, settings: ApiSettings, make: Callable[[], App]) -> None:
        self._settings = settings
        self._make = make
        self._app: App | None = None
        self._listeners: list[socket.socket] = []
        self.addresses: list[tuple[str, int]] = []
        self._server: Server | None = None
        self._draining = False
        self._pausing = trio.CancelScope()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return http_url(*self.addresses[0])

    def listen(self, listeners: Sequence[socket.socket] = ()) -> None:
        """Take the address, or take over sockets that listen. Raises `engine.errors.RoomcastError` when it cannot be had."""
        self._listeners = list(listeners) or open_listeners(self._settings)
        self.addresses = [listener.getsockname()[:2] for listener in self._listeners]

    def close(self) -> None:
        """Give the address back; for one that was never run."""
        for listener in self._listeners:
            listener.close()

    def adopt(self, settings: ApiSettings) -> None:
        """Let these hold from the next request on; the address stays what it is."""
        self._settings = settings

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled or drained. Never raises what goes wrong here."""
        pause = Pause(_PAUSE_FIRST_SECONDS, _PAUSE_MOST_SECONDS)
        try:
            task_status.started()
            while not self._draining:
                began = trio.current_time()
                try:
                    await self._serve()
                    return
                except Exception:
                    log.exception("api_crashed", extra={"crashes": pause.count + 1})
                finally:
                    self._server = None
                if trio.current_time() - began >= _STEADY_SECONDS:
                    pause.reset()
                with self._pausing:
                    await pause.wait()
                self._pausing = trio.CancelScope()
        finally:
            self.close()

    async def _serve(self) -> None:
        if self._app is None:
            self._app = self._make()
        self._server = Server(self._app, lambda: self._settings, self._listeners)
        await self._server.run()

    async def drain(self, seconds: float) -> None:
        """Accept nobody, and wait for the requests that are under way, for so long at most; then `run` returns."""
        self._draining = True
        self._pausing.cancel()
        if self._server is not None:
            await self._server.drain(seconds)


def service_of(backend: Backend, trust: Callable[[], Trust | None]) -> Service:
    """The HTTP API of a node.

    :param trust: what the hub says of tokens.
    """

    def make() -> App:
        from engine.api.app import make_app

        return make_app(backend, trust=trust)

    return Service(backend.settings.api, make)
