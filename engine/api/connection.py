"""One connection: requests one after the other (RFC 9112), until either side has enough.

Owns the order of requests on a connection, the arrival of a request's head, and how a connection ends. Works over any stream.
Must not know an application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import h11
import trio

from engine.api.exchange import App, Exchange, Fault, problem
from engine.api.wire import Wire
from engine.settings import ApiSettings

__all__ = ["Connection"]

HEAD_BYTES: Final = 16_384
"""Largest head of a request: as that of a viewer's (edge.request_bytes), and what others allow."""


class Connection:
    """See the module's docstring.

    :param settings: asked at each request.
    :param client: address and port of the client, ``server`` its own; None if unknown.
    """

    def __init__(
        self,
        app: App,
        stream: trio.abc.Stream,
        settings: Callable[[], ApiSettings],
        client: tuple[str, int] | None = None,
        server: tuple[str, int] | None = None,
    ) -> None:
        self._app = app
        self._stream = stream
        self._settings = settings
        self._addresses: dict[str, Any] = {"client": client, "server": server}
        self._wire = Wire(stream)
        self._retiring = False
        self._idle = trio.CancelScope()

    def retire(self) -> None:
        """End after the request that is under way, or now if there is none."""
        self._retiring = True
        self._idle.cancel()

    async def run(self) -> None:
        """Serve until the connection ends; it is closed then."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wire.pump)
                while await self._begun() and await self._serve():
                    pass
                if not self._wire.ended:
                    await self._wire.farewell()
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _begun(self) -> bool:
        """Wait until a request begins; False: none will."""
        if not self._wire.waiting and not self._retiring:
            self._idle = trio.CancelScope(deadline=trio.current_time() + self._settings().idle_seconds)
            with self._idle:
                await self._wire.arrival()
        return self._wire.waiting

    async def _serve(self) -> bool:
        """One request. Returns whether another may follow."""
        settings = self._settings()
        arrive_by = trio.current_time() + settings.request_seconds
        # A new one for each request: what is left of the old one's bytes counts for the new head's size again.
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        try:
            request = await self._head(parser, arrive_by)
        except Fault as fault:
            await self._wire.farewell(problem(fault))
            return False
        if request is None:
            return False
        exchange = Exchange(self._wire, parser, request, settings, self._addresses, arrive_by, lambda: self._retiring)
        if not await exchange.run(self._app):
            return False
        left, _ = parser.trailing_data
        if left:
            self._wire.put_back(left)
        return True

    async def _head(self, parser: h11.Connection, arrive_by: float) -> h11.Request | None:
        """The head of a request; None: the client has gone. Raises `Fault`."""
        space = HEAD_BYTES
        with trio.move_on_at(arrive_by):
            while True:
                # Never more than the limit, so that a head's fate does not depend on how it was cut into pieces.
                piece = self._wire.take(space)
                if not piece:
                    if self._wire.ended:
                        return None
                    await self._wire.arrival()
                    continue
                space -= len(piece)
                parser.receive_data(piece)
                try:
                    event = parser.next_event()
                except h11.RemoteProtocolError as error:
                    raise Fault(error.error_status_hint, str(error)) from None
                if isinstance(event, h11.Request):
                    return event
                if space == 0:
                    raise Fault(431, f"the head of a request has at most {HEAD_BYTES} bytes")
        raise Fault(408, "the request did not arrive in time (api.request_seconds)")
