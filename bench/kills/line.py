"""One open connection of a viewer: messages out, messages in, until it is lost.

Owns the socket. Shares no code with the engine's own client or server: what both say of an engine is known from two readings.
Must not know what a message means.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import msgpack
import trio

from bench.generator.wire import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    WireError,
    accept_of,
    client_frame,
    header_at,
    upgrade_at,
    upgrade_request,
)

__all__ = ["Line", "Lost"]

CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 8.0
"""A connection on which nothing comes for so long is given up; the nodes of a storm are told to send something more often."""
SUBPROTOCOL: Final = "roomcast.v1.msgpack"
_MASK: Final = b"\x5a\xa5\x3c\xc3"
_READ_BYTES: Final = 65_536


class Lost(Exception):
    """The connection is gone, or did not come about."""


class Line:
    """See the module's docstring. Everything raises `Lost`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._turn = trio.StrictFIFOLock()

    @classmethod
    async def open(cls, port: int, random: Random) -> Line:
        """Connect to a node on loopback."""
        try:
            with trio.fail_after(CONNECT_SECONDS):
                line = cls(await trio.open_tcp_stream("127.0.0.1", port))
                try:
                    await line._upgrade(port, b64encode(random.randbytes(16)))
                except BaseException:
                    await trio.aclose_forcefully(line._stream)
                    raise
                return line
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, WireError) as error:
            raise Lost(str(error)) from None

    async def _upgrade(self, port: int, key: bytes) -> None:
        await self._stream.send_all(upgrade_request(f"127.0.0.1:{port}", "/ws", key, SUBPROTOCOL, False))
        while (answer := upgrade_at(self._buffer)) is None:
            await self._fill()
        if answer.status != 101 or answer.headers.get("sec-websocket-accept") != accept_of(key):
            raise WireError(f"the upgrade was answered with {answer.status}")
        self._buffer = self._buffer[answer.end :]

    async def _fill(self) -> None:
        data = await self._stream.receive_some(_READ_BYTES)
        if not data:
            raise WireError("the connection has ended")
        self._buffer += data

    async def send(self, message: Sequence[Any]) -> None:
        """Send a message; callers take turns."""
        await self._write(BINARY, msgpack.packb(message))

    async def _write(self, opcode: int, payload: bytes) -> None:
        try:
            async with self._turn:
                await self._stream.send_all(client_frame(opcode, payload, _MASK))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Lost(str(error)) from None

    async def receive(self) -> list[Any]:
        """The next message."""
        while True:
            opcode, payload = await self._frame()
            if opcode == BINARY:
                message: list[Any] = msgpack.unpackb(payload)
                return message
            if opcode == CLOSE:
                raise Lost(f"closed: {payload[2:].decode(errors='replace')}")
            if opcode == PING:
                await self._write(PONG, payload)

    async def _frame(self) -> tuple[int, bytes]:
        try:
            with trio.fail_after(SILENCE_SECONDS):
                while (header := header_at(self._buffer, 0)) is None:
                    await self._fill()
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError, WireError) as error:
            raise Lost(str(error)) from None
        payload = self._buffer[header.start : header.end]
        self._buffer = self._buffer[header.end :]
        return header.opcode, payload

    async def close(self) -> None:
        """End it without ceremony."""
        await trio.aclose_forcefully(self._stream)
