"""Several edges of one hub behind one address, as workers or nodes behind a load balancer, which a test moves viewers between.

Owns the balancer: bytes, to the edge that is chosen, and whose connections it has. Must not know what is tested.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from engine.edge import Edge
from engine.hub import Hub
from engine.hub.hubs import make_hub
from engine.link import memory_link
from engine.settings import Settings

from .viewers import PATIENCE

__all__ = ["Edges", "open_edges"]


class Edges:
    """See `open_edges`.

    :ivar url: where viewers go.
    """

    def __init__(self, hub: Hub, edges: Sequence[Edge]) -> None:
        self.url = ""
        self._hub = hub
        self._edges = edges
        self._chosen = 0
        self._connections: set[trio.CancelScope] = set()

    def move(self, to: int) -> None:
        """Break every connection; who comes back comes to this edge."""
        self._chosen = to
        for connection in self._connections:
            connection.cancel()

    def likes(self, room: str) -> int:
        """What the hub knows."""
        return (self._hub.counters(room) or (0,))[0]

    async def counted(self, room: str, likes: int) -> None:
        """Wait until the hub knows of so many."""
        with trio.fail_after(PATIENCE):
            while self.likes(room) < likes:  # noqa: ASYNC110  # nothing tells when it is so
                await trio.sleep(0.005)
        assert self.likes(room) == likes

    async def relay(self, viewer: trio.SocketStream) -> None:
        """One viewer's connection."""
        edge = self._edges[self._chosen]
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            async with viewer, await trio.open_tcp_stream(*edge.addresses[0]) as server, trio.open_nursery() as nursery:
                for source, sink in ((viewer, server), (server, viewer)):
                    nursery.start_soon(self._pump, source, sink, scope)
        self._connections.discard(scope)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass
        scope.cancel()


@asynccontextmanager
async def open_edges(settings: Settings, count: int = 2) -> AsyncIterator[Edges]:
    """A hub and its edges for the block; viewers begin at the first one."""
    hub = make_hub(settings)
    edges = [Edge(settings, lambda: time.time_ns() // 1_000_000) for _ in range(count)]
    for edge in edges:
        edge.listen()
    opened = Edges(hub, edges)
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        for number, edge in enumerate(edges):
            ours, theirs = memory_link(encoded=True)
            hub.attach(theirs, f"edge {number}")
            await nursery.start(edge.serve, ours)
            await nursery.start(edge.run)
        serve = partial(trio.serve_tcp, opened.relay, 0, host="127.0.0.1", handler_nursery=nursery)
        listeners = await nursery.start(serve)
        opened.url = "ws://{}:{}/ws".format(*listeners[0].socket.getsockname())
        yield opened
        nursery.cancel_scope.cancel()
