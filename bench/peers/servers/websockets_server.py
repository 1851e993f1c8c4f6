"""websockets' own `broadcast` on uvloop. Usage: ``python websockets_server.py PORT``."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

CONNECTIONS: set[ServerConnection] = set()


async def _viewer(connection: ServerConnection) -> None:
    CONNECTIONS.add(connection)
    try:
        async for message in connection:
            broadcast(CONNECTIONS, message)
    finally:
        CONNECTIONS.discard(connection)


async def _main(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serve(_viewer, "127.0.0.1", port, compression=None, max_size=16 << 20, backlog=4096, close_timeout=0.1):
        await stop.wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
