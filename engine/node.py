"""The node: composition root. Puts broker, hub, link and edge together, starts them in order and stops them in order.

Owns the nursery tree. It is the only module that knows everybody. This is the node of one process, `open_node`; with
``node.workers`` the same parts live in processes of their own, which `engine.workers.supervisor` starts and stops in the same
order: `engine.workers.hub` runs the hub, `engine.workers.edge` an edge, and a link over a socket is between them.

Order of stopping: accept nobody, refuse new input, publish and fan out what was accepted, say bye, wait for the viewers to go,
cancel what is left. A deadline bounds the whole; a second request to stop cuts it short.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from engine.access import SERVER
from engine.backend import Room
from engine.brokers.base import Record
from engine.configcheck import check
from engine.edge import Edge, EdgeStatistics
from engine.errors import RoomcastError
from engine.greeting import url_of
from engine.hub import HubStatistics
from engine.hub.hubs import make_hub, now_ms
from engine.hub.notices import Hook
from engine.hub.spending import SpendHook
from engine.ledger.values import Gift
from engine.link import memory_link
from engine.schema import Author
from engine.settings import Settings

__all__ = ["Node", "NodeStatistics", "open_node"]

log = logging.getLogger("roomcast.node")


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """A frozen picture of a node."""

    name: str
    hub: HubStatistics
    edge: EdgeStatistics


class Node:
    """A running node, as `open_node` yields it.

    :ivar edge: its viewers' side; `hub` its rooms' side. Their statistics are public, their parts are not.
    """

    def __init__(self, settings: Settings, *, encoded_link: bool = False) -> None:
        self.settings = settings
        self.name = settings.node.name or socket.gethostname()
        self.hub = make_hub(settings)
        self.edge = Edge(settings, now_ms)
        self._edge_end, self._hub_end = memory_link(encoded=encoded_link)
        self._deadline = trio.CancelScope(shield=True)

    @property
    def url(self) -> str:
        """Where viewers connect."""
        return url_of(self.settings, *self.edge.addresses[0])

    async def comment(self, room: str, body: str, *, author: Author = SERVER, session: str = "", ref: int = 0) -> int:
        """Say something in a room and return its offset, once it is ordered and kept.

        :param session: with ``ref`` a key that makes a retry harmless.
        :raises engine.errors.Refused: with the reason and whether to try again.
        """
        return await self.hub.say(room, body, author=author, session=session, ref=ref)

    async def custom(self, room: str, name: str, body: str, *, author: Author = SERVER, session: str = "", ref: int = 0) -> int:
        """Publish an event of the product's own making. See `comment`."""
        return await self.hub.say(room, body, name=name, author=author, session=session, ref=ref)

    async def publish(self, room: str, event: bytes, *, session: str = "", ref: int = 0) -> int:
        """Publish any event, MessagePack of an `engine.schema.Event`, and return its offset. See `comment`."""
        return await self.hub.publish(room, event, session=session, ref=ref)

    def room(self, name: str, *, author: Author = SERVER) -> Room:
        """All that can be done in a room, moderation and state included.

        :param author: whom events name.
        """
        return Room(self.hub, name, author)

    @property
    def on_unread(self) -> Hook | None:
        """Called at the deadline of a notice that asks for receipts (`engine.hub.notices.Unread`)."""
        return self.hub.desk.notices.hook

    @on_unread.setter
    def on_unread(self, hook: Hook | None) -> None:
        self.hub.desk.notices.hook = hook

    @property
    def on_spend(self) -> SpendHook | None:
        """Asked before a viewer's gift or red packet is booked (`engine.hub.spending.Spend`)."""
        return self.hub.money.spending.hook

    @on_spend.setter
    def on_spend(self, hook: SpendHook | None) -> None:
        self.hub.money.spending.hook = hook

    def gifts(self) -> list[Gift]:
        """What can be given, cheapest first."""
        return self.hub.money.catalogue.all()

    async def offer_gift(self, gift: Gift) -> None:
        """Let a gift be given at all nodes from now on, or replace it; it is kept by the ledger."""
        await self.hub.money.catalogue.offer(gift)

    async def withdraw_gift(self, gift_id: str) -> None:
        """Let a gift that was offered not be given any more."""
        await self.hub.money.catalogue.withdraw(gift_id)

    def like(self, room: str, count: int) -> None:
        """Add likes to a room that has viewers here."""
        self.hub.like(room, count)

    def counters(self, room: str) -> tuple[int, ...] | None:
        """``(likes, viewers)`` of a room that has viewers here, else None."""
        return self.hub.counters(room)

    async def amend(self, room: str, field: str, value: bytes | None, *, expires_ms: int = 0, expect: int | None = None) -> int:
        """Set a field of a room's record at all nodes, and return the revision that the record has then.

        :param value: None deletes the field.
        :param expires_ms: milliseconds from now after which it goes by itself; 0: it stays.
        :param expect: the revision on which this builds.
        :raises engine.brokers.base.Conflict: the record is at another revision than expected.
        :raises engine.brokers.base.RecordFull: it does not fit.
        :raises engine.brokers.base.Unavailable: the broker is out of reach; the same may be tried again.
        :raises engine.errors.Refused: the room's name is none.
        """
        return await self.hub.amend(room, field, value, expires_ms=expires_ms, expect=expect)

    def record(self, room: str) -> Record | None:
        """Revision and fields of the record of a room that has viewers here, else None; do not change it."""
        return self.hub.record(room)

    def statistics(self) -> NodeStatistics:
        """A frozen picture of the node."""
        return NodeStatistics(self.name, self.hub.statistics(), self.edge.statistics())

    def hurry(self) -> None:
        """Cut the draining short: whoever is still connected is dropped."""
        self._deadline.cancel()

    async def _drain(self) -> None:
        """See the module's docstring."""
        self._deadline.deadline = trio.current_time() + self.settings.node.shutdown_seconds
        with self._deadline as deadline:
            self.edge.stop_accepting()
            await self.hub.drain()
            await self.edge.drain()
        if deadline.cancelled_caught:
            log.warning("drain_deadline", extra={"viewers_left": len(self.edge.connections)})


@asynccontextmanager
async def open_node(settings: Settings | None = None, *, encoded_link: bool = False) -> AsyncIterator[Node]:
    """Run a node while the block runs; viewers can connect when it is entered, and are told to leave when it ends.

    :param settings: defaults if None; see `engine.settings`, or `engine.config.load` for a file.
    :param encoded_link: serialise every message between edge and hub, as between processes. For tests.
    :raises RoomcastError: the settings contradict each other, or the address cannot be bound.
    """
    settings = settings or Settings()
    faults = check(settings)
    if faults:
        raise RoomcastError("; ".join(str(fault) for fault in faults))
    if settings.node.workers:
        raise RoomcastError("node.workers: an embedded node is one process; `roomcast serve` starts several")
    node = Node(settings, encoded_link=encoded_link)
    node.edge.listen()
    async with trio.open_nursery() as nursery:
        await nursery.start(node.hub.run)
        node.hub.attach(node._hub_end)
        await nursery.start(node.edge.serve, node._edge_end)
        await nursery.start(node.edge.run)
        log.info("listening", extra={"node": node.name, "url": node.url, "viewers_max": node.edge.admission.viewers_max})
        try:
            yield node
        finally:
            log.info("draining", extra={"viewers": len(node.edge.connections), "seconds": settings.node.shutdown_seconds})
            await node._drain()
            nursery.cancel_scope.cancel()
