"""Likes are exact across hubs that are lost: real rooms at edges, a broker that outlives the hubs, and a plain sum.

Owns the wiring without sockets: only viewers are fakes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from edge.scripted import FakeWire, viewer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.access import Grant, Role
from engine.brokers.base import Deliver
from engine.brokers.memory import MemoryBroker
from engine.edge.bearers import Bearers
from engine.edge.rooms import Rooms
from engine.edge.session import Session
from engine.hub import Hub
from engine.link import memory_link
from engine.schema import Author, Join
from engine.settings import BrokerSettings, RoomSettings, Settings

from .harness import now_ms, settle

LINGER = 5.0
SETTINGS = Settings(room=RoomSettings(tick_grid_seconds=0.0, linger_seconds=LINGER))
EDGES = 2


class Edge:
    """The rooms of an edge, a viewer, and a link that can end."""

    def __init__(self, number: int) -> None:
        self.name = f"edge {number}"
        self.wire = FakeWire()
        self.rooms = Rooms(SETTINGS, self.wire, now_ms, Bearers(SETTINGS.access, self.wire, now_ms))
        self.session: Session | None = None
        self.link = trio.CancelScope()
        self.linked = False

    async def serve(self, hub: Hub) -> None:
        ours, theirs = memory_link(encoded=True)
        with trio.CancelScope() as self.link:
            self.linked = True
            hub.attach(theirs, self.name)
            await self.rooms.serve(ours)
        self.linked = False

    def enter(self) -> None:
        self.session, _ = viewer(1)
        author = self.session.author = Author("guest-1")
        self.rooms.join(self.session, Join(1, "room"), Grant("session", author, Role.VIEWER))
        self.rooms.turn_over()

    def leave(self) -> None:
        assert self.session is not None
        self.rooms.leave(self.session)
        self.session = None
        self.rooms.turn_over()

    def like(self, count: int) -> None:
        room = self.rooms["room"]
        room.applause.likes += count
        self.rooms.touch(room)
        self.rooms.turn_over()


class Node:
    """A broker that stays, a hub that may be lost, and edges."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._deliver: Deliver = lambda _: None
        self._broker = MemoryBroker(BrokerSettings(), lambda delivery: self._deliver(delivery), now_ms)
        self._scope = trio.CancelScope()
        self.edges = [Edge(number) for number in range(EDGES)]
        self.hub: Hub | None = None
        for edge in self.edges:
            nursery.start_soon(edge.rooms.expire)

    async def start(self) -> None:
        self._scope = trio.CancelScope()

        def broker(deliver: Deliver) -> MemoryBroker:
            self._deliver = deliver
            return self._broker

        hub = self.hub = Hub(SETTINGS, broker, now_ms)

        async def run(task_status: trio.TaskStatus[None]) -> None:
            with self._scope:
                await hub.run(task_status=task_status)

        await self._nursery.start(run)

    async def kill(self) -> None:
        self._deliver = lambda _: None
        self._scope.cancel()
        self.hub = None
        for edge in self.edges:
            edge.link.cancel()
        await settle()

    async def link(self, edge: Edge) -> None:
        assert self.hub is not None
        self._nursery.start_soon(edge.serve, self.hub)
        await settle()


@asynccontextmanager
async def running() -> AsyncIterator[Node]:
    async with trio.open_nursery() as nursery:
        node = Node(nursery)
        await node.start()
        for edge in node.edges:
            await node.link(edge)
        yield node
        nursery.cancel_scope.cancel()


def counted(node: Node) -> int:
    assert node.hub is not None
    counters = node.hub.counters("room")
    assert counters is not None
    return counters[0]


async def test_a_new_hub_over_the_same_broker_and_edges_that_come_back_keep_the_exact_total(autojump_clock: MockClock) -> None:
    async with running() as node:
        one, two = node.edges
        for edge, likes in ((one, 10), (two, 5)):
            edge.enter()
            await settle()
            edge.like(likes)
        await settle()
        assert node.hub is not None
        node.hub.like("room", 100)
        await settle()
        assert counted(node) == 115
        await node.kill()
        # Counted while there is no hub, and in a room that is empty when there is one again.
        one.like(1)
        two.like(2)
        two.leave()
        await trio.sleep(3 * LINGER)
        await node.start()
        for edge in (one, two):
            await node.link(edge)
        await trio.sleep(1)
        assert counted(node) == 118
        # Opened again, it is another count.
        await trio.sleep(3 * LINGER)
        two.enter()
        await settle()
        two.like(4)
        await settle()
        assert counted(node) == 122
        # A hub that is not killed but left and found again.
        two.link.cancel()
        await settle()
        two.like(1)
        await node.link(two)
        assert counted(node) == 123


steps = st.one_of(
    st.tuples(st.sampled_from(("like", "like", "turn", "cut", "link")), st.integers(0, EDGES - 1), st.integers(1, 9)),
    st.tuples(st.sampled_from(("kill", "own", "wait")), st.just(0), st.integers(1, 9)),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=30))
def test_whatever_is_cut_or_killed_the_total_is_the_sum(play: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        async with running() as node:
            total = 0
            for step, number, count in play:
                edge = node.edges[number]
                if step == "like" and edge.session is not None and edge.session.room is not None:
                    edge.like(count)
                    total += count
                elif step == "turn" and edge.session is not None:
                    edge.leave()
                elif step == "turn" and edge.linked:
                    edge.enter()
                elif step == "cut":
                    edge.link.cancel()
                elif step == "link" and not edge.linked and node.hub is not None:
                    await node.link(edge)
                elif step == "kill":
                    await node.kill()
                    await node.start()
                elif step == "own" and node.hub is not None and node.hub.counters("room") is not None:
                    node.hub.like("room", count)
                    total += count
                elif step == "wait":
                    await trio.sleep(count)
                await settle()
            for edge in node.edges:
                if not edge.linked:
                    await node.link(edge)
                if edge.session is None:
                    edge.enter()
                await settle()
            await trio.sleep(1)
            assert counted(node) == total

    trio.run(run, clock=MockClock(autojump_threshold=0))
