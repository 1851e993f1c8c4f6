"""A broadcast server that breaks its promise. Usage: ``python broken_peer.py PORT``.

Of the third message of its life the fourth viewer gets none and the sixth gets two.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from itertools import count

from websockets.asyncio.server import ServerConnection, serve

VIEWERS: list[ServerConnection] = []
NUMBERS = count(1)
BROKEN = 3
COPIES = {3: 0, 5: 2}
"""Place of a viewer → how many copies of the broken message it gets; all others get one."""


async def _viewer(connection: ServerConnection) -> None:
    VIEWERS.append(connection)
    async for message in connection:
        broken = next(NUMBERS) == BROKEN
        for place, viewer in enumerate(VIEWERS):
            for _ in range(COPIES.get(place, 1) if broken else 1):
                await viewer.send(message)


async def _main(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serve(_viewer, "127.0.0.1", port, compression=None):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
