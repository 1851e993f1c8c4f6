"""Edges and a hub in one process whose links can be cut, and whose hub can be lost with all it knew.

Owns the wiring of these tests: real edges, real hubs, real viewer sockets; only the links are in memory. Asserts nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from e2e.nodes import lively

from engine.edge import Edge
from engine.hub.hubs import LocalHub, now_ms
from engine.link import End, memory_link
from engine.settings import Settings

__all__ = ["Cutting", "open_cutting"]


class Cutting:
    """See the module's docstring.

    :ivar edges: as many as asked for, listening.
    """

    def __init__(self, settings: Settings, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._nursery = nursery
        self.edges: list[Edge] = []
        self.hub: LocalHub | None = None
        self._hub_scope = trio.CancelScope()
        self._links: dict[int, End[Any, Any]] = {}

    def url(self, index: int) -> str:
        """Where viewers of an edge connect."""
        return "ws://{}:{}/ws".format(*self.edges[index].addresses[0])

    async def start_hub(self) -> LocalHub:
        """A hub that knows nothing."""
        self.hub = hub = LocalHub(self._settings)
        self._hub_scope = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[None]) -> None:
            with self._hub_scope:
                await hub.run(task_status=task_status)

        await self._nursery.start(run)
        return hub

    async def lose_hub(self) -> None:
        """The hub is gone, with everything in it."""
        for index in list(self._links):
            await self.cut(index)
        self._hub_scope.cancel()
        self.hub = None

    async def link(self, index: int) -> None:
        """Give an edge a link to the hub."""
        assert self.hub is not None
        ours, theirs = memory_link(encoded=True)
        self._links[index] = ours
        self._nursery.start_soon(self.hub.serve, theirs, f"edge {index}")
        await self._nursery.start(self.edges[index].serve, ours)

    async def cut(self, index: int) -> None:
        """End an edge's link; return when the edge knows."""
        self._links.pop(index).close()
        while self.edges[index].rooms.linked:
            await trio.lowlevel.checkpoint()

    async def add_edge(self) -> None:
        edge = Edge(self._settings, now_ms)
        edge.listen()
        self.edges.append(edge)
        await self._nursery.start(edge.run)


@asynccontextmanager
async def open_cutting(edges: int = 2, **sections: dict[str, Any]) -> AsyncIterator[Cutting]:
    """A hub and edges, linked."""
    async with trio.open_nursery() as nursery:
        cutting = Cutting(lively(**sections), nursery)
        await cutting.start_hub()
        for index in range(edges):
            await cutting.add_edge()
            await cutting.link(index)
        yield cutting
        nursery.cancel_scope.cancel()
