"""A server that says what it is told, to see what the SDK makes of it.

Owns its WebSockets, with trio-websocket. Must not know what is tested.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgpack
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from .visitors import PATIENCE

__all__ = ["EPOCH", "HANDLE", "TIME", "Puppet", "Strings", "batch", "comment", "open_puppet", "snapshot"]

HANDLE, EPOCH, TIME = 4711, 1_795_318_269_995, 1_795_318_270_000
JOINED, SNAPSHOT, BATCH = 32, 33, 34
HEARTBEAT_MS = 60_000


def comment(body: str, ref: int = 0, user: str = "anna") -> list[Any]:
    """The event."""
    return [1, [user, "安娜"], ref, body]


def snapshot(offset: int, state: list[Any] | None = None, epoch: int = EPOCH) -> list[Any]:
    """The message."""
    return [SNAPSHOT, HANDLE, "大厅", epoch, offset, TIME, [0, 1], HEARTBEAT_MS, {}, state or [], []]


def batch(first: int, *events: list[Any], last: int = 0, epoch: int = EPOCH, totals: dict[str, Any] | None = None) -> list[Any]:
    """The message."""
    return [BATCH, HANDLE, epoch, first, last or first + len(events) - 1, TIME, [*events], [], [], totals or {}]


class Strings:
    """One connection, held by its server's end."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket
        self.subprotocol = websocket.subprotocol or ""

    async def send(self, *messages: list[Any]) -> None:
        """Say something."""
        for message in messages:
            packed = self.subprotocol.endswith("msgpack")
            await self._websocket.send_message(msgpack.packb(message) if packed else json.dumps(message))

    async def receive(self, *kinds: int) -> list[Any]:
        """The next message, of these kinds if any are named; what comes before is passed over."""
        with trio.fail_after(PATIENCE):
            while True:
                data = await self._websocket.get_message()
                message: list[Any] = msgpack.unpackb(data) if isinstance(data, bytes) else json.loads(data)
                if not kinds or message[0] in kinds:
                    return message

    async def let_in(
        self, *messages: list[Any], session: str = "session-0123456789", resumed: bool = False, heartbeat_ms: int = HEARTBEAT_MS
    ) -> list[Any]:
        """Answer the join, say more; return the join."""
        join = await self.receive(1)
        await self.send([JOINED, join[1], HANDLE, session, "me", "viewer", resumed, heartbeat_ms], *messages)
        return join

    async def close(self, code: int, *, bye: list[Any] | None = None) -> None:
        """Say goodbye, perhaps."""
        if bye is not None:
            await self.send(bye)
        with trio.move_on_after(PATIENCE):
            await self._websocket.aclose(code)

    async def closed(self) -> int:
        """Wait for the other end to close; return its code."""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    await self._websocket.get_message()
                except ConnectionClosed as closed:
                    return int(closed.reason.code) if closed.reason else 1006


class Puppet:
    """The server; see `open_puppet`."""

    def __init__(self) -> None:
        self.url = ""
        self._connections, self._accepted = trio.open_memory_channel[Strings](100)

    async def accept(self) -> Strings:
        """The next connection."""
        with trio.fail_after(PATIENCE):
            return await self._accepted.receive()

    async def serve(self, request: WebSocketRequest) -> None:
        """Hold a connection for as long as it lasts."""
        websocket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        await self._connections.send(Strings(websocket))
        await trio.sleep_forever()


@asynccontextmanager
async def open_puppet() -> AsyncIterator[Puppet]:
    """A server for the block."""
    puppet = Puppet()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, puppet.serve, "127.0.0.1", 0, None, handler_nursery=nursery))
        puppet.url = f"ws://127.0.0.1:{server.port}/ws"
        yield puppet
        nursery.cancel_scope.cancel()
