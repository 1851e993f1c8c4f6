"""One connection's bytes: what has come in and was not read yet, and the way out.

Owns reading ahead, within a bound, so that it is known when the client is gone. Must not know HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from engine.timing import Bell

__all__ = ["Wire"]

_AHEAD: Final = 65_536
"""Bytes read before anybody asks for them; a client that sends more waits."""
_LINGER_SECONDS: Final = 1.0
"""How long what a client still sends is thrown away. Closing at once would reset the connection, and with it the answer."""


class Wire:
    """See the module's docstring.

    :ivar ended: the client sends no more; most likely it is gone.
    :ivar on_end: called when that happens.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._inbox = bytearray()
        self._arrived = Bell()
        self._taken = Bell()
        self._discarding = False
        self.ended = False
        self.on_end: Callable[[], None] | None = None

    async def pump(self) -> None:
        """Read until the client has ended."""
        while True:
            while len(self._inbox) >= _AHEAD:
                await self._taken.wait()
            try:
                data = await self._stream.receive_some(_AHEAD)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                break
            if not self._discarding:
                self._inbox += data
                self._arrived.ring()
        self.ended = True
        self._arrived.ring()
        if self.on_end is not None:
            self.on_end()

    @property
    def waiting(self) -> bool:
        """Whether there are bytes to take."""
        return bool(self._inbox)

    def take(self, most: int = _AHEAD) -> bytes:
        """At most so many of the bytes that have come, none if none have."""
        if len(self._inbox) <= most:
            data = bytes(self._inbox)
            self._inbox.clear()
        else:
            data = bytes(self._inbox[:most])
            del self._inbox[:most]
        self._taken.ring()
        return data

    def put_back(self, data: bytes) -> None:
        """Let these be the next ones to be taken."""
        self._inbox[:0] = data

    async def arrival(self) -> None:
        """Return when there are bytes to take, or the client has ended."""
        while not self._inbox and not self.ended:
            await self._arrived.wait()

    async def send(self, data: bytes) -> None:
        """Return when all of it is on its way. Raises BrokenPipeError when the client is gone: ASGI wants an OSError."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended = True
            raise BrokenPipeError("the client is gone") from None

    async def farewell(self, last: bytes = b"") -> None:
        """Send this, say that nothing more comes, and let the client read what is on its way. The first one counts."""
        if self._discarding:
            return
        self._discarding = True
        self._inbox.clear()
        self._taken.ring()
        with trio.move_on_after(_LINGER_SECONDS), suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            if last:
                await self.send(last)
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            await self.arrival()
