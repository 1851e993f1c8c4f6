"""One generator process: up to about 18,000 viewers of one peer on one event loop, told what to do by JSON lines.

Owns the process: its loop, its connections, its answers. Must not know matches. Each request is one line on standard
input, each answer one line on standard output; it never speaks unasked. End of input ends it, so that it does not outlive
its master.
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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvloop

from bench.generator.wire import client_frame
from bench.peers.dialects import DIALECTS
from bench.peers.payload import Claim, Payloads
from bench.peers.viewer import Hall, Viewer, ViewerState

__all__ = ["Plan", "Share"]

SOURCE_VIEWERS = 25_000
"""Viewers per source address: one loopback address has about 28,000 ephemeral ports towards one destination."""
IP_BIND_ADDRESS_NO_PORT = 24
"""Not in `socket` before Python 3.12: choose the port at connect, when the destination is known."""
IN_FLIGHT = 64
"""Handshakes at once."""
SUBSCRIBE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The viewers of one process: indexes ``first`` … ``stop - 1``.

    :ivar slow: those that will stop reading, wherever they are; their receive buffer is made small.
    """

    port: int
    dialect: str
    first: int
    stop: int
    seed: int
    slow: tuple[int, ...] = ()
    slow_rcvbuf: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be published in one phase: ``messages`` texts of ``body_bytes``, by these viewers in turn.

    :ivar mode: ``unbatched`` (all at once, each in a message of its own), ``batched`` (all at once by the first publisher,
        in one message where the server takes that) or ``steady`` (``rate`` a second).
    :ivar start_ns: ``time.monotonic_ns()`` of the first.
    """

    mode: str
    start_ns: int
    messages: int
    body_bytes: int
    publishers: tuple[int, ...]
    rate: float = 0.0


class Generator:
    """All state of the process."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.hall = Hall(f"127.0.0.1:{share.port}", DIALECTS[share.dialect](), Payloads(share.seed))
        self.viewers: dict[int, Viewer] = {}
        self.published: dict[int, int] = {}
        self.busy = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request says and return the answer. Raises KeyError for one that does not exist."""
        match request["do"]:
            case "open":
                self._spawn(self._open())
            case "publish":
                plan = request["plan"]
                self._spawn(self._publish(Plan(**(plan | {"publishers": tuple(plan["publishers"])}))))
            case "status":
                return self._status(request.get("goal", 0))
            case "mark":
                self.hall.audience.mark()
            case "phase":
                return {"tally": self.hall.audience.settle().dump()}
            case "pause":
                self._pause()
            case "read":
                self._read_on()
            case "report":
                published = {int(publisher): count for publisher, count in request["published"].items()}
                return self._report(published)
            case unknown:
                raise KeyError(unknown)
        return {}

    def end(self) -> None:
        """Abort all connections."""
        self.hall.ending = True
        for viewer in self.viewers.values():
            if viewer.transport is not None:
                viewer.transport.abort()

    def _spawn(self, work: Any) -> None:
        self.busy += 1
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.busy -= 1
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _open(self) -> None:
        todo = iter(range(self.share.first, self.share.stop))
        await asyncio.gather(*(self._open_some(todo) for _ in range(IN_FLIGHT)))
        gc.collect()
        gc.freeze()

    async def _open_some(self, todo: Iterator[int]) -> None:
        loop = asyncio.get_running_loop()
        for index in todo:
            viewer = self.viewers[index] = Viewer(self.hall, index)
            subscribed = viewer.waiter = loop.create_future()
            try:
                async with asyncio.timeout(SUBSCRIBE_SECONDS):
                    sock = self._socket(index)
                    await loop.sock_connect(sock, ("127.0.0.1", self.share.port))
                    await loop.create_connection(_returns(viewer), sock=sock)
                    await subscribed
            except (OSError, TimeoutError) as error:
                self.hall.fault(f"viewer {index} could not subscribe: {error or 'no answer'}")

    def _socket(self, index: int) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if index in self.share.slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.share.slow_rcvbuf)
        if source := index // SOURCE_VIEWERS:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{1 + source}", 0))
        return sock

    async def _publish(self, plan: Plan) -> None:
        publishers = plan.publishers[:1] if plan.mode == "batched" else plan.publishers
        mine = [number for number in range(plan.messages) if publishers[number % len(publishers)] in self.viewers]
        if plan.mode == "steady":
            for number in mine:
                due = plan.start_ns + int(number * 1e9 / plan.rate)
                frames = self._frames(publishers[number % len(publishers)], [due], plan)
                await _until(due)
                self._write(publishers[number % len(publishers)], frames)
            return
        counts: dict[int, int] = {}
        for number in mine:
            publisher = publishers[number % len(publishers)]
            counts[publisher] = counts.get(publisher, 0) + 1
        ready = [(one, self._frames(one, [plan.start_ns] * count, plan)) for one, count in counts.items()]
        await _until(plan.start_ns)
        for publisher, frames in ready:
            self._write(publisher, frames)

    def _frames(self, publisher: int, intended: list[int], plan: Plan) -> bytes:
        texts = []
        for moment in intended:
            sequence = self.published[publisher] = self.published.get(publisher, 0) + 1
            texts.append(self.hall.payloads.write(Claim(publisher, sequence, moment), plan.body_bytes))
        messages = self.hall.dialect.publish(texts, batched=plan.mode == "batched")
        return b"".join(client_frame(*message, os.urandom(4)) for message in messages)

    def _write(self, publisher: int, frames: bytes) -> None:
        transport = self.viewers[publisher].transport
        if transport is not None:
            transport.write(frames)

    def _pause(self) -> None:
        for index in self.share.slow:
            viewer = self.viewers.get(index)
            if viewer is not None and viewer.transport is not None:
                viewer.transport.pause_reading()
                viewer.paused = True

    def _read_on(self) -> None:
        for viewer in self.viewers.values():
            if viewer.paused and viewer.transport is not None:
                viewer.transport.resume_reading()
            viewer.paused = False

    def _status(self, goal: int) -> dict[str, Any]:
        """How far it is.

        ``pending``: connected viewers that read and have fewer than ``goal`` messages, counting those that the server said
        would never come.
        """
        audience = self.hall.audience
        admitted = self.hall.admitted
        return {
            "busy": self.busy,
            "subscribed": self.hall.subscribed,
            "wire_bytes": audience.tally.wire_bytes,
            "received": audience.order.totals[-1],
            "pending": sum(
                viewer.received + admitted.get(viewer.index, 0) < goal
                for viewer in self.viewers.values()
                if not viewer.paused and viewer.state is ViewerState.SUBSCRIBED
            ),
            "cpu_ns": time.process_time_ns(),
            "published": self.published,
            "faults": self.hall.faults,
        }

    def _report(self, published: dict[int, int]) -> dict[str, Any]:
        """The verdict over the whole match: what each viewer misses, and the counts since the beginning."""
        audience = self.hall.audience
        audience.mark()
        indexes = list(self.viewers)
        missing = audience.missing(self.viewers.values(), published)
        return {
            "total": audience.past.dump(),
            "missing": {indexes[number]: lost for number, lost in missing.items()},
            "admitted": self.hall.admitted,
            "closed": self.hall.closed,
            "strays": [viewer.index for viewer in self.viewers.values() if viewer.own is not None],
            "digest": audience.order.digest(),
            "faults": self.hall.faults,
        }


def _returns(viewer: Viewer) -> Any:
    return lambda: viewer


async def _until(moment_ns: int) -> None:
    """Sleep until a ``time.monotonic_ns()``; yields once even if it is past."""
    await asyncio.sleep(0)
    while (rest := moment_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110  # a timer may fire a little early
        await asyncio.sleep(rest / 1e9)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_give_up)
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    share = json.loads(await reader.readline())
    generator = Generator(Share(**(share | {"slow": tuple(share["slow"])})))
    while line := await reader.readline():
        request = json.loads(line)
        answer = generator.answer(request) | {"id": request["id"]}
        view = memoryview(json.dumps(answer).encode() + b"\n")
        while view:
            view = view[os.write(1, view) :]
    generator.end()


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A fault of the generator itself: say it and end, rather than measure nonsense."""
    loop.default_exception_handler(context)
    loop.stop()


def main() -> None:
    """Entry of ``python -m bench.peers.process``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
