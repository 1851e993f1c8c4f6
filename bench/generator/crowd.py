"""The connections of one process's viewers: coming, being cut off, coming back, reading slowly, closing.

Owns when a viewer connects and whether it reads. Must not know what is received, nor who speaks.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Final

from bench.audience import Audience
from bench.generator.payee import Payee
from bench.generator.receiver import Busy, Viewer, ViewerState
from bench.generator.sender import Plan
from bench.generator.swarm import Swarm
from bench.generator.verify import Fault
from bench.histogram import Histogram
from bench.load import Load

__all__ = ["SOURCE_VIEWERS", "Crowd"]

SOURCE_VIEWERS: Final = 4_000
"""Viewers per source address. One loopback address has about 28,000 ephemeral ports towards one destination, but the kernel
looks for a free one in order: with most of them taken, a connect costs milliseconds."""
SOURCES: Final = 250
"""Addresses of 127.0.x.0 that are used before those of the next x."""
IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Not in `socket` before Python 3.12: choose the port at connect, when the destination is known."""
SLOW_BUFFER: Final = 4096
"""Receive buffer of a slow viewer: small, so that the server feels soon that it does not read."""
SIP_SECONDS: Final = 0.25
"""A slow viewer reads what its buffer holds, then nothing for so long."""
SIP_OPEN_SECONDS: Final = 0.005
CONNECT_SECONDS: Final = 0.005
"""Between two looks at a connect under way."""
FLAP_SECONDS: Final = 2.0
"""A flapping viewer reads for so long, then nothing for as long."""
ATTEMPTS: Final = 40
"""Handshakes of one viewer that the server may refuse for the time being before it counts as a fault."""
PATIENCE_SECONDS: Final = 0.5
STEADFAST_SECONDS: Final = 60.0
"""For so long a viewer of a load with faults tries to come back."""


class Crowd:
    """See the module's docstring.

    :param mine: numbers of this process's viewers.
    :ivar opening: tasks that connect viewers, under way or announced.
    :ivar failed: viewers that could not join.
    :ivar places: handshakes at once of those who come back, and visits.
    :ivar paused: viewers that do not read now.
    :ivar storms: that are over; ``cut`` are the connections they took.
    :ivar lost_connections: that ended by themselves and were made anew, where the load has faults.
    :ivar join_times: connecting → snapshot in microseconds; ``return_times`` the same for those who come back.
    """

    def __init__(self, swarm: Swarm, audience: Audience, load: Load, addresses: Sequence[tuple[str, int]], mine: range) -> None:
        self._swarm = swarm
        self._audience = audience
        self._load = load
        self._addresses = [(host, port) for host, port in addresses]
        self._turns: Counter[int] = Counter()
        self.places = asyncio.Semaphore(load.in_flight)
        self._returning: set[asyncio.Task[None]] = set()
        if load.faults:
            swarm.on_lost = self._lost
        self._mine = mine
        self._kind = Payee if load.money else Viewer
        self.slow = frozenset(audience.slow.intersection(mine))
        self.viewers: dict[int, Viewer] = {}
        self.opening = self.failed = self.storms = self.cut = self.lost_connections = 0
        self.paused: set[int] = set()
        self.join_times = Histogram()
        self.return_times = Histogram()
        self._sipping: asyncio.Task[None] | None = None

    # -- coming and going ---------------------------------------------------------------------------------------------

    async def open(self, first: int, stop: int, per_second: float) -> None:
        """Connect and join viewers, a bounded number at once. The caller has counted this in `opening`.

        :param per_second: how fast; 0: as fast as it goes.
        """
        began = time.monotonic()
        todo = iter(range(first, stop))

        async def some() -> None:
            for index in todo:
                if per_second:
                    await asyncio.sleep(max(0.0, began + (index - first) / per_second - time.monotonic()))
                viewer = self.viewers[index] = self._kind(self._swarm, index, self._audience.room_of(index))
                await self.connect(viewer, self.join_times)

        await asyncio.gather(*(some() for _ in range(self._load.in_flight)))
        gc.collect()
        gc.freeze()
        self.opening -= 1

    async def connect(self, viewer: Viewer, times: Histogram) -> None:
        """Connect and join one viewer."""
        loop = asyncio.get_running_loop()
        began = time.monotonic_ns()
        for attempt in count(1):
            joined = viewer.waiter = loop.create_future()
            try:
                await loop.create_connection(lambda: viewer, sock=await self._connected(viewer))
                await joined
            except OSError as error:
                if self._gives_up(error, attempt, began):
                    self._fail(viewer, f"{error} (attempt {attempt})")
                    return
                # The next one is asked, as a load balancer would do.
                self._turns[viewer.index] += 1
                await asyncio.sleep(random.uniform(0.02, PATIENCE_SECONDS))
            else:
                times.add((time.monotonic_ns() - began) // 1000)
                return

    def _gives_up(self, error: OSError, attempt: int, began_ns: int) -> bool:
        if self._swarm.steadfast:
            return time.monotonic_ns() - began_ns > STEADFAST_SECONDS * 1e9
        return not isinstance(error, Busy) or attempt == ATTEMPTS

    def _fail(self, viewer: Viewer, detail: str) -> None:
        self.failed += 1
        self._swarm.faults.add(Fault("connect", viewer.index, viewer.room, detail=detail))

    async def _connected(self, viewer: Viewer) -> socket.socket:
        """A socket connected to the server. Raises OSError. (The loop's own `sock_connect` asks a thread for the address.)"""
        index = viewer.index
        source = index // SOURCE_VIEWERS
        viewer.node = (index + self._turns[index]) % len(self._addresses)
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if index in self.slow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
            if source:
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((f"127.0.{source // SOURCES}.{1 + source % SOURCES}", 0))
            fault = sock.connect_ex(self._addresses[viewer.node])
            if fault == errno.EINPROGRESS:
                fault = await _outcome(sock)
            if fault:
                raise OSError(fault, os.strerror(fault))
        except BaseException:
            sock.close()
            raise
        return sock

    async def bring_back(self) -> None:
        """Reconnect every closed viewer with its position. The caller has counted this in `opening`."""
        await self._return(viewer for viewer in list(self.viewers.values()) if viewer.state is ViewerState.CLOSED)
        self.opening -= 1

    async def _return(self, viewers: Iterable[Viewer]) -> None:
        todo: Iterator[Viewer] = iter(viewers)

        async def some() -> None:
            for viewer in todo:
                await self.connect(viewer, self.return_times)

        await asyncio.gather(*(some() for _ in range(self._load.in_flight)))

    def _lost(self, viewer: Viewer) -> None:
        self.lost_connections += 1
        self.opening += 1
        task = asyncio.get_running_loop().create_task(self._come_back(viewer))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _come_back(self, viewer: Viewer) -> None:
        async with self.places:
            await self.connect(viewer, self.return_times)
        self.opening -= 1
        self._swarm.on_back(viewer)

    def close(self) -> None:
        """Close every connection in order."""
        for viewer in self.viewers.values():
            if viewer.state in (ViewerState.LIVE, ViewerState.RESUMING):
                viewer.leave()

    # -- what befalls them during a phase -------------------------------------------------------------------------------

    async def suffer(self, plan: Plan) -> None:
        """Play a plan's storms and slow viewers."""
        if plan.slow and self.slow:
            self._be_slow()
        self.opening += len(plan.storms)
        for seconds, number in plan.storms:
            await asyncio.sleep(max(0.0, plan.start_ns / 1e9 + seconds - time.monotonic()))
            await self._storm(number)
            self.opening -= 1

    async def _storm(self, number: int) -> None:
        live = ViewerState.LIVE, ViewerState.RESUMING
        mine = (self.viewers[index] for index in self._audience.storm(number) if index in self._mine)
        victims = [viewer for viewer in mine if viewer.state in live]
        for viewer in victims:
            viewer.cut()
        self.cut += len(victims)
        while any(viewer.transport is not None for viewer in victims):  # noqa: ASYNC110  # the loop tells them in its next turn
            await asyncio.sleep(0)
        await self._return(victims)
        self.storms += 1

    def _be_slow(self) -> None:
        self._pause()
        loop = asyncio.get_running_loop()
        if self._load.slow_kind == "slow":
            self._sipping = loop.create_task(self._sip(SIP_OPEN_SECONDS, SIP_SECONDS))
        elif self._load.slow_kind == "flapping":
            self._sipping = loop.create_task(self._sip(FLAP_SECONDS, FLAP_SECONDS))

    async def _sip(self, reads: float, rests: float) -> None:
        while True:
            await asyncio.sleep(rests)
            self._resume()
            await asyncio.sleep(reads)
            self._pause()

    def read_on(self) -> None:
        """The slow viewers read again, for good."""
        if self._sipping is not None:
            self._sipping.cancel()
            self._sipping = None
        self._resume()
        self.paused.clear()

    def _pause(self) -> None:
        for index in self.slow:
            viewer = self.viewers.get(index)
            if viewer is not None and viewer.transport is not None:
                viewer.transport.pause_reading()
                self.paused.add(index)

    def _resume(self) -> None:
        for index in self.paused:
            transport = self.viewers[index].transport
            if transport is not None:
                transport.resume_reading()


async def _outcome(sock: socket.socket) -> int:
    """What became of a connect under way: 0, or an errno. Over loopback it is over before anybody asks, but for a full backlog.
    (The loop's own watching of descriptors does not survive that one is closed and its number given out again.)"""
    while not (fault := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
        with suppress(OSError):
            sock.getpeername()
            break
        await asyncio.sleep(CONNECT_SECONDS)
    return fault
