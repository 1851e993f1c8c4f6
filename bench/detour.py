"""A way to servers that can be cut and slowed: a process that carries bytes between ports of loopback.

Owns the process, its connections, and what is wrong with each way. Must not know what is carried. Told what to do by JSON
lines, as `bench.children` sends them: ``cut`` ends all connections of a way, ``slow`` lets each piece of up to 16 kB wait for
some milliseconds, ``status`` answers. Its input ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, Final

from bench.children import Children

__all__ = ["Detours"]

_PIECE: Final = 16_384


class Detours:
    """The process as its master sees it; a context manager that ends it.

    :param ways: (port to listen on, port where it leads) of each.
    """

    def __init__(self, ways: list[tuple[int, int]]) -> None:
        self._children = Children("bench.detour", [{"ways": ways}])
        self.count = len(ways)

    def __enter__(self) -> Detours:
        return self

    def __exit__(self, *_: object) -> None:
        self._children.close()

    def cut(self, way: int) -> None:
        """End all its connections."""
        self._children.ask("cut", way=way)

    def slow(self, way: int, milliseconds: float) -> None:
        """Let each piece wait so long, in both directions; 0: carry at once."""
        self._children.ask("slow", way=way, milliseconds=milliseconds)


class _Way:
    """One port and where it leads."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.delay = 0.0
        self.connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.connections |= {writer, far_writer}
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()
        self.connections.discard(writer)

    def cut(self) -> None:
        """End all connections at once."""
        for writer in list(self.connections):
            writer.transport.abort()
        self.connections.clear()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    requests = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    ways = [_Way(*each) for each in json.loads(await requests.readline())["ways"]]
    for way in ways:
        await asyncio.start_server(way.serve, "127.0.0.1", way.port)
    while line := await requests.readline():
        request: dict[str, Any] = json.loads(line)
        match request["do"]:
            case "cut":
                ways[request["way"]].cut()
            case "slow":
                ways[request["way"]].delay = request["milliseconds"] / 1000
        os.write(1, json.dumps({"id": request["id"]}).encode() + b"\n")


def main() -> None:
    """Entry of ``python -m bench.detour``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
