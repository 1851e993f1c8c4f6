"""One generator process: up to about 18,000 viewers on one event loop, told what to do by JSON lines.

Owns the process: its loop, its connections, its answers. Must not know scenarios: it gets a range of viewers and a
plan, and answers with counts. Each request is one line on standard input, each answer one line on standard output. It
never speaks unasked, so that an idle generator costs nothing. End of input ends it, so that it does not outlive its
master.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench.generator.body import Bodies
from bench.generator.receiver import Viewer, ViewerState
from bench.generator.sender import Desk, Plan
from bench.generator.swarm import Swarm
from bench.generator.verify import Fault
from bench.histogram import Histogram

__all__ = ["Generator", "Share", "raise_descriptor_limit", "room_name"]

SOURCE_VIEWERS = 25_000
"""Viewers per source address: one loopback address has about 28,000 ephemeral ports towards one destination."""
IP_BIND_ADDRESS_NO_PORT = 24
"""Not in `socket` before Python 3.12: choose the port at connect, when the destination is known."""
DELAY_SECONDS = 0.05
"""How often the loop's own lateness is sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of a run that one process plays.

    :ivar first: index of its first viewer; ``stop`` is one past its last.
    :ivar per_room: viewers per room; viewer i is in room ``i // per_room``.
    :ivar in_flight: handshakes at once.
    :ivar slow: viewers whose receive buffer is made small, so that a pause is felt by the server soon.
    """

    host: str
    port: int
    path: str
    first: int
    stop: int
    per_room: int
    seed: int
    body_bytes: int
    json_codec: bool
    compression: bool
    in_flight: int
    slow: tuple[int, ...]
    slow_rcvbuf: int


def room_name(seed: int, room: int) -> str:
    """Name of a benchmark room; differs between seeds, so that runs against one server do not meet."""
    return f"bench-{seed}-{room}"


def raise_descriptor_limit() -> int:
    """Raise the soft limit on descriptors to the hard one, for this process and its children; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Generator:
    """All state of the process.

    :param share: which viewers are its own.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self.swarm = Swarm(
            json_codec=share.json_codec,
            compression=share.compression,
            bodies=Bodies(share.seed, share.body_bytes),
            room_name=lambda room: room_name(share.seed, room),
        )
        self.swarm.host, self.swarm.path = f"{share.host}:{share.port}", share.path
        self.swarm.may_gap = frozenset(share.slow)
        self.viewers: dict[int, Viewer] = {}
        self.desk = Desk(self.swarm, self.viewers)
        self.join_times = Histogram()
        self.loop_delay = Histogram()
        self.opening = False
        self.failed = 0
        self.paused: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request says and return the answer. Raises KeyError for a request that does not exist."""
        match request["do"]:
            case "open":
                self._spawn(self.connect_range(request["first"], request["stop"]))
            case "go":
                plan = Plan(**(request["plan"] | {"senders": tuple(request["plan"]["senders"])}))
                self._spawn(self.desk.speak(plan))
            case "status":
                return self.status(request.get("heads"))
            case "mark":
                self.swarm.mark()
                self.desk.mark()
                self.loop_delay = Histogram()
            case "phase":
                return self.phase()
            case "pause":
                self.pause()
            case "read":
                self.read_on()
            case "return":
                self._spawn(self.bring_back())
            case "report":
                return self.report(request["heads"])
            case unknown:
                raise KeyError(unknown)
        return {}

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def connect_range(self, first: int, stop: int) -> None:
        """Connect and join viewers, a bounded number at once."""
        self.opening = True
        todo = iter(range(first, stop))
        await asyncio.gather(*(self._connect_some(todo) for _ in range(self.share.in_flight)))
        gc.collect()
        gc.freeze()
        self.opening = False

    async def _connect_some(self, todo: Iterator[int]) -> None:
        for index in todo:
            viewer = self.viewers[index] = Viewer(self.swarm, index, index // self.share.per_room)
            await self._connect(viewer)

    async def _connect(self, viewer: Viewer) -> None:
        loop = asyncio.get_running_loop()
        began = time.monotonic_ns()
        joined = viewer.waiter = loop.create_future()
        share = self.share
        try:
            source = viewer.index // SOURCE_VIEWERS
            if source or viewer.index in self.swarm.may_gap:
                sock = self._socket(viewer.index, source)
                await loop.sock_connect(sock, (share.host, share.port))
                await loop.create_connection(lambda: viewer, sock=sock)
            else:
                await loop.create_connection(lambda: viewer, share.host, share.port)
            await joined
        except OSError as error:
            self.failed += 1
            self.swarm.faults.add(Fault("connect", viewer.index, detail=str(error)))
            return
        self.join_times.add((time.monotonic_ns() - began) // 1000)

    def _socket(self, index: int, source: int) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        if index in self.swarm.may_gap:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.share.slow_rcvbuf)
        if source:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{1 + source}", 0))
        return sock

    def pause(self) -> None:
        """The slow viewers stop reading."""
        for index in self.swarm.may_gap:
            viewer = self.viewers.get(index)
            if viewer is not None and viewer.transport is not None:
                viewer.transport.pause_reading()
                self.paused.add(index)

    def read_on(self) -> None:
        """The slow viewers read again."""
        for index in self.paused:
            transport = self.viewers[index].transport
            if transport is not None:
                transport.resume_reading()
        self.paused.clear()

    async def bring_back(self) -> None:
        """Reconnect every closed viewer with its position."""
        self.opening = True
        for viewer in self.viewers.values():
            if viewer.state is ViewerState.CLOSED:
                await self._connect(viewer)
        self.opening = False

    def status(self, heads: dict[str, list[int]] | None) -> dict[str, Any]:
        """Counts so far. With ``heads`` (room → [epoch, offset]) also how many reading viewers are behind them."""
        tally = self.swarm.settle()
        status = {
            "opening": self.opening,
            "joined": self.swarm.live,
            "failed": self.failed,
            "deliveries": tally.deliveries,
            "frames": tally.frames,
            "last_frame_bytes": max((log.latest_bytes for log in self.swarm.logs.values()), default=0),
            "limit_frames": self.swarm.limit_received,
            "cpu_ns": time.process_time_ns(),
            "heads": {room: [log.epoch, log.head] for room, log in self.swarm.logs.items()},
            "likes": max((log.likes for log in self.swarm.logs.values()), default=0),
            "met_policy": sum(index in self.swarm.gapped or index in self.swarm.closed for index in self.swarm.may_gap),
            "closures": len(self.swarm.closed),
        } | self.desk.statistics()
        if heads is not None:
            status["behind"] = sum(1 for _ in self._behind(heads))
        return status

    def _behind(self, heads: dict[str, list[int]]) -> Iterator[tuple[Viewer, int]]:
        """Viewers that are connected, read, and have not everything: (viewer, head)."""
        known = {int(room): (epoch, head) for room, (epoch, head) in heads.items()}
        for viewer in self.viewers.values():
            log = viewer.log
            if log is None or viewer.room not in known:
                continue
            epoch, head = known[viewer.room]
            waiting = viewer.state is ViewerState.CLOSED or viewer.index in self.paused
            if not waiting and log.epoch == epoch and viewer.cursor < head:
                yield viewer, head

    def report(self, heads: dict[str, list[int]]) -> dict[str, Any]:
        """Final checks, then the counts and faults of the whole run, as `bench.stage` reads them."""
        swarm = self.swarm
        swarm.mark()
        for viewer, head in self._behind(heads):
            swarm.tally.lost += head - viewer.cursor
            swarm.fault(viewer, "behind", viewer.cursor + 1, head, "never arrived")
        self.desk.verify()
        swarm.tally.reordered += sum(log.check_order() for log in swarm.logs.values())
        swarm.mark()
        return self.status(None) | {
            "total": swarm.past.dump(),
            "faults": [asdict(fault) for fault in swarm.faults.kept],
            "fault_counts": swarm.faults.counts,
            "rooms": {room: [log.epoch, len(log.what), log.digest()] for room, log in swarm.logs.items()},
            "join_times": self.join_times.dump(),
            "gapped": Counter(swarm.gapped.values()),
            "closed": Counter(swarm.closed.values()),
        }

    def phase(self) -> dict[str, Any]:
        """What was counted since the last mark."""
        return {
            "tally": self.swarm.settle().dump(),
            "acknowledged": self.desk.acknowledged.dump(),
            "late": self.desk.late.dump(),
            "loop_delay": self.loop_delay.dump(),
        }

    async def measure_delay(self) -> None:
        """Sample how late this loop's timers fire."""
        while True:
            before = time.monotonic_ns()
            await asyncio.sleep(DELAY_SECONDS)
            self.loop_delay.add((time.monotonic_ns() - before) // 1000 - int(DELAY_SECONDS * 1e6))


async def serve() -> None:
    """Read requests until the input ends."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_give_up)
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    share = json.loads(await reader.readline())
    generator = Generator(Share(**(share | {"slow": tuple(share["slow"])})))
    delay = loop.create_task(generator.measure_delay())
    while line := await reader.readline():
        request = json.loads(line)
        answer = generator.answer(request) | {"id": request["id"]}
        _write_all(json.dumps(answer).encode() + b"\n")
    delay.cancel()
    generator.swarm.stopping = True
    for viewer in generator.viewers.values():
        if viewer.transport is not None:
            viewer.transport.abort()


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A fault of the generator itself: say it and end, rather than measure nonsense."""
    loop.default_exception_handler(context)
    loop.stop()


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main() -> None:
    """Entry of ``python -m bench.generator.process``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_descriptor_limit()
    gc.disable()
    uvloop.run(serve())


if __name__ == "__main__":
    main()
