"""trio-websocket, with a sending task and a memory channel for each connection. Usage: ``python trio_server.py PORT``.

trio-websocket has no broadcast. Awaiting each ``send_message`` in turn would let one stopped reader hold up everybody, and
so would a nursery of sends that is waited for; a channel for each connection is what trio's documentation shows for that.
"""

from __future__ import annotations

import signal
import sys
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

QUEUE_MESSAGES = 1024
"""A viewer who is behind by more is cut off."""
VIEWERS: dict[trio.MemorySendChannel[str | bytes], trio.CancelScope] = {}


async def _viewer(request: WebSocketRequest) -> None:
    connection = await request.accept()
    send, receive = trio.open_memory_channel[str | bytes](QUEUE_MESSAGES)
    async with trio.open_nursery() as nursery:
        VIEWERS[send] = nursery.cancel_scope
        nursery.start_soon(_send, connection, receive)
        try:
            while True:
                _broadcast(await connection.get_message())
        except ConnectionClosed:
            nursery.cancel_scope.cancel()
        finally:
            del VIEWERS[send]


async def _send(connection: WebSocketConnection, messages: trio.MemoryReceiveChannel[str | bytes]) -> None:
    try:
        async for message in messages:
            await connection.send_message(message)
    except ConnectionClosed:
        return


def _broadcast(message: str | bytes) -> None:
    for channel, scope in VIEWERS.items():
        try:
            channel.send_nowait(message)
        except trio.WouldBlock:
            scope.cancel()


async def _main(port: int) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_websocket, _viewer, "127.0.0.1", port, None, max_message_size=16 << 20)
            nursery.start_soon(serve)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


if __name__ == "__main__":
    trio.run(_main, int(sys.argv[1]))
