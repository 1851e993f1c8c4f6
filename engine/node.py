"""The node: composition root. Puts broker, hub, link and edge together, starts them in order and stops them in order.

Owns the nursery tree. It is the only module that knows everybody. This is the node of one process, `open_node`; with
``node.workers`` the same parts live in processes of their own, which `engine.workers.supervisor` starts and stops in the same
order: `engine.workers.hub` runs the hub, `engine.workers.edge` an edge, and a link over a socket is between them.

Order of stopping: accept nobody, refuse new input, publish and fan out what was accepted, say bye, wait for the viewers to go,
cancel what is left. A deadline bounds the whole; a second request to stop cuts it short.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from engine.backend import Backend
from engine.configcheck import check
from engine.edge import Edge, EdgeStatistics
from engine.errors import RoomcastError
from engine.greeting import url_of
from engine.hub import HubStatistics
from engine.hub.hubs import make_hub, now_ms
from engine.hub.vitals import edge_line
from engine.hub.wordlists import WordListError
from engine.link import memory_link
from engine.pulse import Pulse
from engine.reload import Reloaded, ReloadRefused
from engine.rereading import renew
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.api.service import Service

__all__ = ["Node", "NodeStatistics", "open_node"]

log = logging.getLogger("roomcast.node")


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """A frozen picture of a node."""

    name: str
    hub: HubStatistics
    edge: EdgeStatistics


class Node(Backend):
    """A running node, as `open_node` yields it.

    :ivar edge: its viewers' side; `hub` its rooms' side. Their statistics are public, their parts are not.
    :ivar api: its HTTP API, if it has one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings] | None = None,
        adopted: Callable[[Settings, Reloaded], None] | None = None,
        encoded_link: bool = False,
    ) -> None:
        self.hub = make_hub(settings)
        self._source = reread
        self._adopted = adopted
        self._reloading = trio.Lock()
        super().__init__(
            self.hub,
            lambda: self.hub.settings,
            (self._hub_part, self._edge_part),
            self._reread,
            listening=lambda: self.edge.addresses[0],
        )
        self.edge = Edge(settings, now_ms)
        self.api: Service | None = None
        if settings.api.enabled:
            # Here, because it takes libraries that a node without an API needs not have.
            from engine.api.service import service_of

            self.api = service_of(self, lambda: self.hub.trust.news)
        self._edge_end, self._hub_end = memory_link(encoded=encoded_link)
        self._pulse = Pulse()
        self._deadline = trio.CancelScope(shield=True)

    @property
    def url(self) -> str:
        """Where viewers connect."""
        return url_of(self.settings, *self.edge.addresses[0])

    def listen(self) -> None:
        """Take the addresses. Raises `RoomcastError`; it has none then."""
        self.edge.listen()
        if self.api is not None:
            try:
                self.api.listen()
            except RoomcastError:
                self.edge.close()
                raise

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Have the addresses while the block runs, also when nothing comes to run in it. Raises `RoomcastError`."""
        self.listen()
        try:
            yield
        finally:
            self.edge.close()
            if self.api is not None:
                self.api.close()

    def statistics(self) -> NodeStatistics:
        """A frozen picture of the node."""
        return NodeStatistics(self.name, self.hub.statistics(), self.edge.statistics())

    def _hub_part(self) -> dict[str, Any]:
        """For `Backend.vitals`."""
        return {"name": self.name, "hub": dataclasses.asdict(self.hub.statistics())}

    def _edge_part(self) -> dict[str, Any]:
        """For `Backend.vitals`."""
        edge, process = dataclasses.asdict(self.edge.statistics()), dataclasses.asdict(self._pulse.statistics())
        return {"edge": edge, "process": {"node": process}, "edges": [edge_line(self.name, os.getpid(), edge, process)]}

    def hurry(self) -> None:
        """Cut the draining short: whoever is still connected is dropped."""
        self._deadline.cancel()

    async def _reread(self) -> Reloaded:
        """See `engine.backend.Backend.reload`. One at a time."""
        if self._source is None:
            raise RoomcastError("the node was not started from a file")
        try:
            async with self._reloading:
                settings, reloaded = await trio.to_thread.run_sync(renew, self.settings, self._source)
                # Whoever has asked may go, but not with half of it done.
                with trio.CancelScope(shield=True):
                    await self._adopt(settings)
        except RoomcastError as error:
            log.error("reload_refused", extra={"faults": str(error).splitlines()})
            raise
        if self._adopted is not None:
            self._adopted(settings, reloaded)
        log.info("settings_reloaded", extra={"changed": reloaded.changed, "restart": reloaded.restart})
        return reloaded

    async def _adopt(self, settings: Settings) -> None:
        """All of it or, with a `RoomcastError`, nothing."""
        self.edge.adopt(settings)
        try:
            await self.hub.adopt(settings)
        except WordListError as error:
            self.edge.adopt(self.settings)
            raise ReloadRefused([("moderation.lists", str(error))]) from error
        if self.api is not None:
            self.api.adopt(settings.api)

    async def _drain(self) -> None:
        """See the module's docstring."""
        self._deadline.deadline = trio.current_time() + self.settings.node.shutdown_seconds
        with self._deadline as deadline:
            self.edge.stop_accepting()
            await self.hub.drain()
            await self.edge.drain()
            if self.api is not None:
                # Last, so that whoever asks is told that the node is stopping.
                await self.api.drain(self.settings.node.shutdown_seconds)
        if deadline.cancelled_caught:
            log.warning("drain_deadline", extra={"viewers_left": len(self.edge.connections)})
        await self.hub.finish()


@asynccontextmanager
async def open_node(
    settings: Settings | None = None,
    *,
    reread: Callable[[], Settings] | None = None,
    adopted: Callable[[Settings, Reloaded], None] | None = None,
    encoded_link: bool = False,
) -> AsyncIterator[Node]:
    """Run a node while the block runs; viewers can connect when it is entered, and are told to leave when it ends.

    :param settings: defaults if None; see `engine.settings`, or `engine.config.load` for a file.
    :param reread: returns the settings as they are to be now, in a thread; makes `engine.backend.Backend.reload` possible.
    :param adopted: called with the settings in force after each reload: for what is not the node's, such as logging.
    :param encoded_link: serialise every message between edge and hub, as between processes. For tests.
    :raises RoomcastError: the settings contradict each other, or the address cannot be bound.
    """
    settings = settings or Settings()
    faults = check(settings)
    if faults:
        raise RoomcastError("; ".join(str(fault) for fault in faults))
    if settings.node.workers:
        raise RoomcastError("node.workers: an embedded node is one process; `roomcast serve` starts several")
    node = Node(settings, reread=reread, adopted=adopted, encoded_link=encoded_link)
    async with node._listening(), trio.open_nursery() as nursery:
        nursery.start_soon(node._pulse.run)
        await nursery.start(node.hub.run)
        node.hub.attach(node._hub_end)
        await nursery.start(node.edge.serve, node._edge_end)
        await nursery.start(node.edge.run)
        if node.api is not None:
            await nursery.start(node.watch.run)
            await nursery.start(node.api.run)
            log.info("api_listening", extra={"node": node.name, "url": node.api.url})
        log.info("listening", extra={"node": node.name, "url": node.url, "viewers_max": node.edge.admission.viewers_max})
        try:
            yield node
        finally:
            seconds = node.settings.node.shutdown_seconds
            log.info("draining", extra={"viewers": len(node.edge.connections), "seconds": seconds})
            await node._drain()
            nursery.cancel_scope.cancel()
