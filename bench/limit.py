"""How close the engine's fan-out comes to a bare loop of ``send`` over the same sockets.

Owns the two kinds of rounds and their comparison. It is the one part of the benchmark that runs the engine in its own
process, because only there both kinds can use the same sockets, the same receivers and the same clock of CPU time.

An engine round publishes one comment and takes the process's CPU until every viewer's cursor stands at the head:
ordering, batching, encoding, tick and fan-out. A limit round sends bytes of the same length with nothing but the loop.
Rounds alternate, so that drifting machine noise meets both alike; the medians are compared.
"""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median

import msgpack
import trio

from bench.certificate import certify
from bench.engineproc import Sections, merge, rss_bytes
from bench.fleet import Fleet
from bench.generator.body import Bodies, Claim
from bench.generator.process import Share, room_name
from bench.generator.wire import BINARY, server_frame
from bench.load import Load
from bench.report.record import Record
from bench.report.show import Show
from bench.scenario import common_sections
from bench.stage import PROCESS_VIEWERS
from engine import open_node
from engine.config import load as load_settings
from engine.node import Node

__all__ = ["limit_frame", "measure"]

WARM_ROUNDS = 2
"""The first tells the length of a frame around its text, the second has the length asked for."""
POLL_SECONDS = 0.05
"""Rare enough to cost less than a hundredth of a round."""
ROUND_SECONDS = 60.0
BATCH_KIND, LIMIT_HANDLE = 34, 0


@dataclass(slots=True)
class Rounds:
    """CPU and wall seconds of one kind of rounds."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def spread(self, viewers: int) -> str:
        """CPU per frame in microseconds: median, least and most."""
        kinds = (("median", median), ("least", min), ("most", max))
        return ", ".join(f"{name} {pick(self.cpu) * 1e6 / viewers:.2f}" for name, pick in kinds)


def limit_frame(size: int) -> bytes:
    """A batch of a room that does not exist, as a whole frame of exactly ``size`` bytes.

    Arrays of the protocol grow at the end, so it is padded there. Raises ValueError when ``size`` is too small.
    """
    for frame in _padded(size):
        if len(frame) == size:
            return frame
    raise ValueError(f"no batch takes {size} bytes")


def _padded(size: int) -> Iterator[bytes]:
    for ones in range(4):
        for less in range(40):
            padding = "x" * max(0, size - less)
            yield server_frame(BINARY, msgpack.packb([BATCH_KIND, LIMIT_HANDLE, 1, 1, 0, 0, [], [], [], padding, *[0] * ones]))


async def measure(load: Load, frame_bytes: int, rounds: int, config: Sections, show: Show) -> Record:
    """Run both kinds of rounds alternately and compare them.

    :param frame_bytes: length of the frames on the wire, WebSocket header included.
    :raises engine.errors.RoomcastError: the settings are wrong or the node cannot start.
    :raises bench.children.ChildError: a generator failed.
    """
    sections = merge(common_sections(load), {"limits": {"comment_bytes": 16_384}}, config)
    record = Record(
        scenario="limit",
        viewers=load.viewers,
        text="the engine's fan-out and a bare loop of send() in turn, on the same sockets",
        load=asdict(load) | {"frame_bytes": frame_bytes, "rounds": rounds},
        config=sections,
    )
    settings = load_settings(environ={}, overrides=sections)
    async with open_node(settings) as node:
        host, port = node.edge.addresses[0][:2]
        share = Share(
            addresses=[(host, port)],
            path=settings.edge.path,
            load=asdict(load),
            first=0,
            stop=load.viewers,
            epoch_ns=time.monotonic_ns(),
        )
        processes = load.processes or -(-load.viewers // PROCESS_VIEWERS)
        with await trio.to_thread.run_sync(Fleet, share, processes, load.stall_seconds) as fleet:
            rss, cpu = rss_bytes(os.getpid()), time.process_time()
            with show.task("joining", load.viewers) as progress:
                await trio.to_thread.run_sync(fleet.join, progress)
            held = rss_bytes(os.getpid())
            record.set(
                engine_cpu_us_per_join=(time.process_time() - cpu) * 1e6 / load.viewers,
                engine_memory_bytes=held,
                engine_bytes_per_viewer=(held - rss) / load.viewers,
            )
            await _Match(node, fleet, load, frame_bytes).play(rounds, record, show)
    return record


class _Match:
    """The rounds themselves."""

    def __init__(self, node: Node, fleet: Fleet, load: Load, frame_bytes: int) -> None:
        self._node = node
        self._fleet = fleet
        self._viewers = load.viewers
        self._room = room_name(load.seed, 0)
        self._bodies = Bodies(load.seed, load.body_bytes)
        self._wanted = frame_bytes
        self._body_bytes = load.body_bytes
        self._length = 0
        self._sequence = 0
        self._limit_rounds = 0
        self.stalls = 0

    async def play(self, rounds: int, record: Record, show: Show) -> None:
        """Warm up, alternate, verify, and fill in the record."""
        for _ in range(WARM_ROUNDS):
            await self._engine_round()
            self._body_bytes += self._wanted - self._length
        engine, limit = Rounds(), Rounds()
        gc.collect()
        with show.task("rounds", rounds) as progress:
            for number in range(rounds):
                for kind, one in ((engine, self._engine_round), (limit, self._limit_round)):
                    cpu, wall = await one()
                    kind.cpu.append(cpu)
                    kind.wall.append(wall)
                progress(number + 1)
        self._compare(engine, limit, record)
        await self._verify(record)

    async def _engine_round(self) -> tuple[float, float]:
        edge = self._node.edge
        self._sequence += 1
        body = self._bodies.write(Claim(self._viewers, self._sequence, 0), 0, self._body_bytes)
        goal = edge.statistics().frames_sent + self._viewers

        def done() -> bool:
            return edge.statistics().frames_sent >= goal and edge.settled(self._room)

        wall, cpu = time.monotonic(), time.process_time()
        await self._node.comment(self._room, body)
        with trio.fail_after(ROUND_SECONDS):
            while not done():  # noqa: ASYNC110  # the engine has no event for it
                await trio.sleep(POLL_SECONDS)
        cost = time.process_time() - cpu, time.monotonic() - wall
        await self._received()
        return cost

    async def _limit_round(self) -> tuple[float, float]:
        sockets = self._node.edge.sockets(self._room)
        frame = limit_frame(self._length)
        late: list[tuple[socket.socket, bytes]] = []
        wall, cpu = time.monotonic(), time.process_time()
        for sock in sockets:
            try:
                sent = sock.send(frame)
            except BlockingIOError:
                sent = 0
            if sent != len(frame):
                late.append((sock, frame[sent:]))
        cost = time.process_time() - cpu, time.monotonic() - wall
        self.stalls += len(late)
        for sock, rest in late:
            await _send_rest(sock, rest)
        self._limit_rounds += 1
        await self._received()
        return cost

    async def _received(self) -> None:
        """Wait until every viewer has all rounds so far, and learn the length of an engine frame."""
        frames = self._limit_rounds * self._viewers
        for what, wanted in (("deliveries", self._sequence * self._viewers), ("limit_frames", frames)):
            wait = partial(self._fleet.wait_for, what, wanted, _ignore)
            if not await trio.to_thread.run_sync(wait):
                raise trio.TooSlowError(f"not every viewer got round {self._sequence}")
        self._length = max(status["last_frame_bytes"] for status in self._fleet.ask("status"))

    def _compare(self, engine: Rounds, limit: Rounds, record: Record) -> None:
        frames = len(engine.cpu) * self._viewers
        ours, bare = (median(kind.cpu) * 1e6 / self._viewers for kind in (engine, limit))
        record.set(
            messages_sent=self._sequence,
            frames=frames,
            seconds=sum(engine.wall),
            engine_cpu_seconds=sum(engine.cpu),
            engine_cpu_us_per_frame=ours,
            frames_per_core_second=1e6 / ours,
            limit_us_per_frame=bare,
            ratio_to_limit=ours / bare,
        )
        record.rounds = [
            {"engine_cpu_us_per_frame": us * 1e6 / self._viewers, "limit_us_per_frame": them * 1e6 / self._viewers}
            for us, them in zip(engine.cpu, limit.cpu, strict=True)
        ]
        record.notes += [
            f"frames of {self._length:,} bytes",
            f"engine, µs per frame: {engine.spread(self._viewers)}; a round {median(engine.wall) * 1000:.1f} ms",
            f"bare loop, µs per frame: {limit.spread(self._viewers)}; a round {median(limit.wall) * 1000:.1f} ms",
            f"sends of the bare loop that did not fit: {self.stalls}",
        ]

    async def _verify(self, record: Record) -> None:
        heads = await trio.to_thread.run_sync(self._fleet.heads)
        reports = await trio.to_thread.run_sync(partial(self._fleet.ask, "report", heads=heads, totals={}))
        record.certificate = certify(reports, {}, ())
        record.set(deliveries=record.certificate.delivered)
        expected = self._sequence * self._viewers
        if record.certificate.delivered != expected:
            record.certificate.add(f"count: {record.certificate.delivered} deliveries instead of {expected}")
        record.set(generator_cpu_seconds=sum(report["cpu_ns"] for report in reports) / 1e9)


def _ignore(_: int) -> None:
    pass


async def _send_rest(sock: socket.socket, rest: bytes) -> None:
    """Finish a frame that did not fit, lest the engine's next one land in its middle."""
    with trio.fail_after(ROUND_SECONDS):
        while rest:
            await trio.lowlevel.wait_writable(sock)
            rest = rest[sock.send(rest) :]
