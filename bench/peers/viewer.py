"""One viewer's connection to a peer: an asyncio protocol around `bench.peers.order.Reader`.

Owns the upgrade, the greeting and the end of a connection. Must not know loads, nor how a process is controlled.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from enum import IntEnum
from typing import cast

from bench.generator.wire import (
    CLOSE,
    PING,
    PONG,
    WireError,
    accept_of,
    client_frame,
    upgrade_at,
    upgrade_request,
)
from bench.peers.dialects import Dialect, Message
from bench.peers.order import Audience, Claims, Reader
from bench.peers.payload import Payloads

__all__ = ["Hall", "Viewer", "ViewerState"]

NO_SUBPROTOCOL = b"Sec-WebSocket-Protocol: \r\n"
FAULTS_KEPT = 5


class ViewerState(IntEnum):
    """How far a connection has come."""

    UPGRADING = 0
    GREETING = 1
    SUBSCRIBED = 2
    CLOSED = 3


class Hall:
    """What all viewers of a process share besides their audience.

    :ivar admitted: viewer → messages that the server said would never come.
    :ivar closed: viewer → close code, 0 for a connection that ended without one.
    :ivar faults: the first few, in words.
    """

    def __init__(self, host: str, dialect: Dialect, payloads: Payloads) -> None:
        self.host = host
        self.dialect = dialect
        self.payloads = payloads
        self.audience = Audience(self._decode)
        self.admitted: dict[int, int] = {}
        self.closed: dict[int, int] = {}
        self.faults: list[str] = []
        self.subscribed = 0
        self.ending = False

    def _decode(self, payload: bytes) -> Claims | None:
        texts = self.dialect.unwrap(payload)
        return None if texts is None else self.payloads.read_all(texts)

    def fault(self, text: str) -> None:
        """Keep the first few."""
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(text)


class Viewer(Reader, asyncio.Protocol):
    """One connection."""

    __slots__ = ("_key", "hall", "index", "paused", "state", "transport", "waiter")

    def __init__(self, hall: Hall, index: int) -> None:
        super().__init__(hall.audience)
        self.hall = hall
        self.index = index
        self.state = ViewerState.UPGRADING
        self.paused = False
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[None] | None = None
        self._key = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade request."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._key = b64encode(os.urandom(16))
        dialect = self.hall.dialect
        request = upgrade_request(self.hall.host, dialect.path, self._key, dialect.subprotocol, False)
        self.transport.write(request.replace(NO_SUBPROTOCOL, b""))

    def data_received(self, data: bytes) -> None:
        """Check what came; a connection that makes no sense is ended."""
        try:
            if self.state is ViewerState.UPGRADING:
                data = self._upgraded(data)
            if data:
                self.feed(data)
        except (WireError, ValueError, TypeError, KeyError, IndexError) as error:
            self.hall.fault(f"viewer {self.index}: {type(error).__name__}: {error}")
            assert self.transport is not None
            self.transport.abort()

    def _upgraded(self, data: bytes) -> bytes:
        data, self.tail = self.tail + data, b""
        answer = upgrade_at(data)
        if answer is None:
            self.tail = data
            return b""
        if answer.status != 101:
            raise WireError(f"the upgrade was answered with {answer.status}")
        if answer.headers.get("sec-websocket-accept") != accept_of(self._key):
            raise WireError("Sec-WebSocket-Accept does not match the key")
        if answer.headers.get("sec-websocket-protocol", "") != self.hall.dialect.subprotocol:
            raise WireError(f"subprotocol {answer.headers.get('sec-websocket-protocol')!r}")
        self._key = b""
        self.state = ViewerState.GREETING
        hello = self.hall.dialect.hello()
        for message in hello:
            self.say(message)
        if not hello:
            self._subscribed()
        return data[answer.end :]

    def _subscribed(self) -> None:
        self.state = ViewerState.SUBSCRIBED
        self.hall.subscribed += 1
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        self.waiter = None

    def say(self, message: Message) -> None:
        """Send one message."""
        assert self.transport is not None
        self.transport.write(client_frame(*message, os.urandom(4)))

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Answer pings, agree to closing."""
        if opcode == PING:
            self.say((PONG, payload))
        elif opcode == CLOSE:
            self.hall.closed[self.index] = int.from_bytes(payload[:2], "big")
            self.say((CLOSE, payload[:2]))
            assert self.transport is not None
            self.transport.close()

    def on_other(self, payload: bytes) -> None:
        """A message without texts."""
        hall = self.hall
        if self.state is ViewerState.GREETING and hall.dialect.welcomes(payload):
            self._subscribed()
        if answer := hall.dialect.answer(payload):
            self.say(answer)
        if lost := hall.dialect.admitted(payload):
            hall.admitted[self.index] = hall.admitted.get(self.index, 0) + lost

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it unless the match is over."""
        if self.state is ViewerState.SUBSCRIBED:
            self.hall.subscribed -= 1
        if not self.hall.ending:
            self.hall.closed.setdefault(self.index, 0)
        self.state = ViewerState.CLOSED
        self.transport = None
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ConnectionResetError(f"viewer {self.index} was closed before it was subscribed"))
        self.waiter = None
