"""What edges count comes to the hub, and no counter falls, whatever becomes of them."""

from __future__ import annotations

import dataclasses
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from e2e.nodes import lively
from e2e.viewers import MSGPACK, Viewer, open_viewer
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.edge import Edge
from engine.edge.listener import open_listeners
from engine.edge.room import EdgeRoom
from engine.edge.track import Track
from engine.errors import Close
from engine.hub.hubs import LocalHub, now_ms
from engine.hub.vitals import EdgeVitals, node_vitals
from engine.link import memory_link
from engine.link.messages import SharedSnapshot, Vitals
from engine.link.unix import greet_edge
from engine.metrics import render
from engine.pulse import Pulse
from engine.totals import is_momentary
from engine.workers.channel import Leave, Start
from engine.workers.child import Child, spawn
from engine.workers.vitals import Reporter

PATIENCE = 60.0


def report(frames: int, connections: int = 0, **closed: int) -> dict[str, Any]:
    return {"connections": connections, "frames_sent": frames, "lag_max": 0.1 * connections, "closed": closed}


def test_edges_count_from_their_first_report() -> None:
    vitals = EdgeVitals()
    assert vitals.summed() == {}
    vitals.tell("a", report(1_000, 5, c1000=3))
    assert vitals.summed() == {"connections": 5, "frames_sent": 0, "lag_max": 0.5, "closed": {"c1000": 0}}
    vitals.tell("a", report(1_010, 6, c1000=4, c4000=2))
    vitals.tell("b", report(7, 1))
    vitals.tell("b", report(9, 1))
    assert vitals.summed() == {"connections": 7, "frames_sent": 12, "lag_max": 6 * 0.1, "closed": {"c1000": 1, "c4000": 2}}


def test_what_edges_had_done_stays_when_they_go_and_is_not_counted_again_when_they_come_back() -> None:
    vitals = EdgeVitals()
    vitals.tell("a", report(10, 4))
    vitals.tell("a", report(30, 4, c1000=1))
    vitals.part("a")
    vitals.part("a")
    vitals.part("nobody")
    assert vitals.summed() == {"connections": 0, "frames_sent": 20, "lag_max": 0.4, "closed": {"c1000": 1}}
    vitals.tell("a", report(35, 2, c1000=1))
    assert vitals.summed()["frames_sent"] == 20
    vitals.tell("a", report(40, 2, c1000=2))
    assert vitals.summed() == {"connections": 2, "frames_sent": 25, "lag_max": 0.4, "closed": {"c1000": 2}}


def test_each_edge_that_is_there_has_a_line_of_its_own() -> None:
    vitals = EdgeVitals()
    vitals.tell("b", {"pid": 2, **report(7, 3), "stalls": 1, "process": {"cpu_seconds": 1.5, "resident_bytes": 9}})
    vitals.tell("a", {"pid": 3, **report(1_000, 5)})
    vitals.tell("old", report(1, 1))
    lines = vitals.lines()
    assert [(line["name"], line["pid"], line["connections"]) for line in lines] == [("old", 0, 1), ("b", 2, 3), ("a", 3, 5)]
    assert (lines[1]["stalls"], lines[1]["cpu_seconds"], lines[1]["resident_bytes"]) == (1, 1.5, 9)
    assert "pid" not in vitals.summed(), "which cannot be added up"
    vitals.part("b")
    assert [line["name"] for line in vitals.lines()] == ["old", "a"]


def flat(table: dict[str, Any], path: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in table.items():
        found |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return found


LIFE = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["work", "report", "part", "die"])), max_size=60)


@given(LIFE)
def test_no_counter_falls_whatever_happens_to_edges(life: list[tuple[str, str]]) -> None:
    vitals = EdgeVitals()
    work, incarnations = dict.fromkeys("abc", 0), dict.fromkeys("abc", 0)
    before: dict[str, float] = {}
    for edge, happens in life:
        name = f"{edge}{incarnations[edge]}"
        if happens == "work":
            work[edge] += 3
        elif happens == "report":
            vitals.tell(name, report(work[edge], 1, **{f"c{1000 + each}": each for each in range(0, work[edge], 3)}))
        else:
            vitals.part(name)
            if happens == "die":
                incarnations[edge] += 1
                work[edge] = 0
        now = flat(vitals.summed())
        for path, value in before.items():
            if not is_momentary(path) and not path.endswith("_max"):
                assert now[path] >= value, path
        before = now


# -- the pulse --------------------------------------------------------------------------------------------------------


async def test_a_pulse_tells_how_late_the_loop_was(mock_clock: MockClock) -> None:
    pulse = Pulse()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run)
        for seconds in (1.0, 1.0, 1.4):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    statistics = pulse.statistics()
    assert statistics.loop_delay_max == pytest.approx(0.4)
    assert statistics.loop_delays["seconds"] == pytest.approx(0.4)
    assert sum(statistics.loop_delays["counts"].values()) == 3


def test_a_process_knows_what_it_takes() -> None:
    statistics = Pulse().statistics()
    with tempfile.TemporaryFile():
        more = Pulse().statistics()
    assert statistics.processes == 1
    assert more.descriptors == statistics.descriptors + 1
    assert statistics.resident_bytes > 1 << 20
    assert 0 < statistics.cpu_seconds <= more.cpu_seconds


# -- on the way -------------------------------------------------------------------------------------------------------


async def test_an_edge_reports_first_of_all_and_then_every_few_seconds(autojump_clock: MockClock) -> None:
    edge, pulse = Edge(lively(edge={"port": 0}), now_ms), Pulse()
    ours, hubs = memory_link()
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Reporter(edge, pulse).serve, ours)

        async def hear() -> None:
            while messages := await hubs.receive():
                got.extend(messages)

        nursery.start_soon(hear)
        await trio.sleep(0.1)
        assert [type(message) for message in got] == [Vitals]
        await trio.sleep(10)
        assert [type(message) for message in got] == [Vitals] * 3
        assert got[-1].statistics["frames_sent"] == 0
        assert got[-1].statistics["process"]["processes"] == 1
        hubs.close()
    edge.connections.poller.close()


class Hall:
    """A hub in this process, and edges in their own."""

    def __init__(self, hub: LocalHub, listener: socket.socket, nursery: trio.Nursery) -> None:
        self.hub = hub
        self._listener = listener
        self._nursery = nursery

    async def admit(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._listener)
            self._nursery.start_soon(self._serve, self._listener.accept()[0])

    async def _serve(self, sock: socket.socket) -> None:
        async with greet_edge(sock, "hub") as link:
            await self.hub.serve(link, link.peer)

    async def edge(self) -> tuple[Child, str]:
        """A new one, and where its viewers connect."""
        (listener,) = open_listeners(SETTINGS.edge)
        with listener:
            child = await spawn("edge", Start(SETTINGS, self._listener.getsockname(), [listener.fileno()]), dict(os.environ))
            self._nursery.start_soon(child.follow)
            with trio.fail_after(PATIENCE):
                await child.ready.wait()
            return child, "ws://{}:{}/ws".format(*listener.getsockname()[:2])

    async def until_no_edge(self) -> None:
        with trio.fail_after(PATIENCE):
            while self.hub._links.ports:
                await trio.lowlevel.checkpoint()

    def vitals(self) -> dict[str, Any]:
        statistics, lines = dataclasses.asdict(self.hub.statistics()), self.hub.edge_lines()
        return node_vitals("hall", statistics, self.hub.edges(), Pulse().statistics(), lines)


SETTINGS = lively(edge={"port": 0, "host": "127.0.0.1"}, node={"return_window_seconds": 0.05})


@asynccontextmanager
async def open_hall() -> AsyncIterator[Hall]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/hub")
        listener.listen()
        listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            hub = LocalHub(SETTINGS)
            await nursery.start(hub.run)
            hall = Hall(hub, listener, nursery)
            nursery.start_soon(hall.admit)
            yield hall
            nursery.cancel_scope.cancel()


async def speak(viewer: Viewer, count: int) -> None:
    for number in range(count):
        await viewer.comment(f"{number}")


async def test_an_edge_that_leaves_in_order_has_told_all_and_one_that_is_killed_takes_nothing_back() -> None:
    async with open_hall() as hall:
        first, url = await hall.edge()
        async with open_viewer("raw", url, MSGPACK) as viewer:
            await viewer.join("room")
            await speak(viewer, 10)
            assert hall.vitals()["process"]["edge"]["processes"] == 1
            assert [line["pid"] for line in hall.vitals()["edges"]] == [first.pid]
            await first.send(Leave())
            assert (await viewer.until_gone()).code == Close.SHUTDOWN
        with trio.fail_after(PATIENCE):
            await first.ended.wait()
        await hall.until_no_edge()
        told = hall.vitals()
        assert told["edge"]["handshakes"] == 1
        assert told["edge"]["messages_received"] == 11
        assert told["edge"]["connections"] == 0
        assert told["edge"]["closed"] == {Close.SHUTDOWN: 1}
        assert told["process"]["edge"]["processes"] == 0
        assert told["edges"] == []
        second, url = await hall.edge()
        async with open_viewer("raw", url, MSGPACK) as viewer:
            await viewer.join("room")
            await speak(viewer, 5)
            assert hall.vitals()["edge"]["handshakes"] == 1
            second.kill()
            with trio.fail_after(PATIENCE):
                await second.ended.wait()
        await hall.until_no_edge()
        now = hall.vitals()
        assert now["edge"]["handshakes"] == 1
        assert now["edge"]["frames_sent"] == told["edge"]["frames_sent"]
        assert now["process"]["edge"]["cpu_seconds"] >= told["process"]["edge"]["cpu_seconds"]
        text = render(now).decode()
        assert 'roomcast_processes{role="edge"} 0.0' in text
        assert 'roomcast_processes{role="hub"} 1.0' in text
        assert "roomcast_messages_received_total 11.0" in text


async def test_the_lag_policy_is_counted_also_when_its_room_is_gone() -> None:
    edge = Edge(SETTINGS, now_ms)
    room = EdgeRoom("room", 1, SETTINGS.room, edge.connections)
    edge.rooms._rooms["room"] = room
    room.tracks[0] = Track(room.handle, 0, SharedSnapshot("room", 1, 1, 0, {0: b""}), SETTINGS.room, edge.connections)
    room.tracks[0].overtaken = 3
    assert edge.statistics().lag_policies == 3
    edge.rooms._forget(room)
    assert edge.statistics().rooms == 0
    assert edge.statistics().lag_policies == 3
    edge.connections.poller.close()
