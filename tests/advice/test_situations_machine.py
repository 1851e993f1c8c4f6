"""Advice about the machine and the ways out of it: kernels, networks, quotas, processes. Followed to the letter, and of help.

What needs a network or a share of CPU of its own happens in a process that has it (`advice.secluded`), and is asserted here.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
from api.calling import KEY, settings
from e2e.processes import clean_environment, serve
from e2e.viewers import PATIENCE, Viewer, open_viewer

from engine.advice import Advice, advise
from engine.brokers.base import Pending
from engine.configfile import toml_value
from engine.errors import Code
from engine.machine import machine
from engine.schema import MSGPACK, Author, CommentEvent

from .seclusion import Quota, network, quota, secluded, wire
from .situations import ROOM, Site, helped, until

LONG = Pending(MSGPACK.encode(CommentEvent(Author("anna"), 0, "弹" * 10_000)))
"""Thirty kilobytes that compress well."""


# -- in a network of their own -----------------------------------------------------------------------------------------


def test_a_queue_as_long_as_the_node_asks_for(tmp_path: Path) -> None:
    advice = secluded("queue", tmp_path, before=network())
    assert advice["watch"] == {"edge.connections_dropped": "falls"}
    assert [(change["setting"], change["now"], change["to"], change["where"]) for change in advice["changes"]] == [
        ("net.core.somaxconn", "16", "4096", "kernel")
    ]


def test_guests_who_only_read(tmp_path: Path) -> None:
    told = secluded("guests", tmp_path, before=network())
    assert told["codes"] == [Code.OK, Code.FORBIDDEN]
    assert told["silent"]
    assert [(change["setting"], change["to"]) for change in told["advice"]["changes"][:-1]] == [("access.anonymous", '"auto"')]


def test_fewer_bytes_on_the_wire(tmp_path: Path) -> None:
    advice = secluded("wire", tmp_path, before=wire())
    assert advice["watch"] == {"machine.sent_bytes": "falls"}
    assert [(change["setting"], change["to"]) for change in advice["changes"]] == [("edge.compression", "true")]


# -- CPU ---------------------------------------------------------------------------------------------------------------


def test_a_node_that_is_stopped_by_its_quota(tmp_path: Path) -> None:
    with quota() as group:
        advice = secluded("share", tmp_path, f"{group.directory}")
    assert (advice["cause"], advice["watch"]) == ("cpu", {"machine.throttled_periods": "falls"})
    assert "quota: 0.1 cores" in advice["evidence"]


class Processes:
    """A node of several processes, which is started, asked for advice about them, and stopped.

    :param quota: one core's, that all of them are under.
    """

    def __init__(self, directory: Path, quota: Quota | None = None) -> None:
        self._file = directory / "roomcast.toml"
        self._lines = {"node.run_directory": f"{directory / 'run'}", "api.enabled": True, "api.port": 0}
        self._lines["api.keys"] = settings().api.keys
        self._quota = quota

    async def ask(self, workers: str) -> tuple[int, list[dict[str, Any]]]:
        """How many serve viewers, and what is advised about how many they are.

        :param workers: as in the config file.
        """
        lines = [f"node.workers = {workers}", *(f"{path} = {toml_value(value)}" for path, value in self._lines.items())]
        self._file.write_text("\n".join(lines), encoding="utf-8")
        before = self._quota.entering() if self._quota is not None else []
        async with serve("--config", str(self._file), environment=clean_environment(), before=before) as node:
            url = "http://{}:{}".format(*node.listening["api"])
            async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE) as api:
                edges = sum(each["role"] == "edge" for each in node.listening["processes"])
                assert (await api.get("/v1/node")).json()["statistics"]["process"]["edge"]["processes"] == edges
                advice = (await api.get("/v1/node/advice", params={"seconds": 1})).json()["advice"]
            node.process.send_signal(signal.SIGTERM)
            await node.ended()
        return edges, [each for each in advice if each["rule"] == "workers_beyond_cores"]

    async def follow(self, workers: int, cores: int) -> None:
        """With more of them than cores, and what is advised has helped."""
        edges, (advice,) = await self.ask(f"{workers}")
        assert edges == workers
        assert advice["watch"] == {"process.edge.processes": "falls"}
        assert advice["evidence"] == [f"node.workers = {workers}", f"cores: {cores}"]
        (change,) = advice["changes"]
        assert (change["setting"], change["to"], change["restart"]) == ("node.workers", '"auto"', True)
        assert await self.ask(change["to"]) == (cores, [])


async def test_no_more_processes_than_cores(tmp_path: Path) -> None:
    cores = machine()["cores"]
    await Processes(tmp_path).follow(cores + 1, cores)


async def test_no_more_processes_than_a_quota_allows(tmp_path: Path) -> None:
    with quota() as group, group.limited(1.0):
        await Processes(tmp_path, group).follow(2, 1)


# -- memory ------------------------------------------------------------------------------------------------------------


def accepted(viewer: Viewer) -> socket.socket:
    """The node's end of a viewer's connection, which is in this process, too."""
    peer = viewer.raw.stream.socket.getsockname()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), ExitStack() as stack:
            sock = stack.enter_context(socket.socket(fileno=os.dup(int(name))))
            if sock.getpeername() == peer:
                stack.pop_all()
                return sock
    raise AssertionError("nobody has accepted it")


async def test_what_stopped_readers_hold(tmp_path: Path) -> None:
    memory = machine()["memory_bytes"]
    # So many that 24 kB asked for each, which the kernel doubles, would be half of the memory.
    viewers = memory // (4 * 24_576)

    async def held(site: Site) -> int:
        """Bytes of kernel memory that somebody who has stopped reading takes (sock_diag(7), SK_MEMINFO_WMEM_QUEUED)."""
        async with open_viewer("raw", site.node.url, receive_buffer=4096, deflate=False) as viewer:
            await viewer.join(ROOM)
            await viewer.settle()
            stalls = site.node.vitals()["edge"]["stalls"]
            await site.node.publish_many([(ROOM, LONG)] * 20)
            await until(lambda: site.node.vitals()["edge"]["stalls"] > stalls)
            with accepted(viewer) as sock:
                return int(struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, 55, 36))[5])

    def given(site: Site) -> list[Advice]:
        now = site.observe()
        return [each for each in advise(now, now) if each.rule == "memory_short"]

    async with Site(tmp_path, {"edge.viewers_max": viewers}) as site:
        assert viewers * await held(site) > memory / 2
        (advice,) = given(site)
        assert [(change.setting, change.to) for change in advice.changes] == [("edge.send_buffer_bytes", "16384")]
        await site.apply(advice.changes)
        assert not given(site)
        assert viewers * await held(site) <= memory / 2


# -- the way out -------------------------------------------------------------------------------------------------------


async def test_many_who_are_overtaken_on_a_narrow_way(tmp_path: Path) -> None:
    async def burst(site: Site) -> None:
        """Twelve megabytes for somebody near, and for five whose sockets take some kilobytes of it; the log holds eight."""
        async with AsyncExitStack() as stack:
            near = await stack.enter_async_context(open_viewer("raw", site.node.url))
            narrow = [await stack.enter_async_context(open_viewer("raw", site.node.url, receive_buffer=4096)) for _ in range(5)]
            for viewer in (near, *narrow):
                await viewer.join(ROOM)
                await viewer.settle()
            for _ in range(40):
                outcomes = await site.node.publish_many([(ROOM, LONG)] * 10)
                await near.until_offset(outcomes[-1].offset)
            for viewer in narrow:
                await viewer.until_offset(outcomes[-1].offset)
                # Whoever has missed something was told so.
                assert bool(viewer.gaps) is not viewer.transport.deflate

    # What is many in a second would be few in ten: who stays slow is overtaken again and again.
    async with Site(tmp_path, {"edge.compression": False}, apart=1.0) as site:
        advice = await helped(site, "lag_policy", burst)
        assert (advice.cause, advice.severity) == ("network", "fault")
        assert advice.watch == {"edge.lag_policies": "falls"}
        assert [change.setting for change in advice.changes] == ["edge.compression", "feeds.readable"]
