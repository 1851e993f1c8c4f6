"""Visitors: viewers beyond the audience who come, see the room, and go.

Owns their schedule. Must not know how a connection is made, nor what it costs the server.

A bare visit is a handshake and an orderly close: what a connection costs that never enters a room. Each visitor is somebody
new.
"""

from __future__ import annotations

import asyncio
import time

from bench.audience import Audience
from bench.generator.crowd import Crowd
from bench.generator.receiver import Viewer
from bench.generator.sender import Plan
from bench.generator.swarm import Swarm
from bench.histogram import Histogram

__all__ = ["Visits"]


class _Visitor(Viewer):
    """A viewer that may stay outside."""

    __slots__ = ("bare", "gone")

    def __init__(self, swarm: Swarm, index: int, room: int, *, bare: bool) -> None:
        super().__init__(swarm, index, room)
        self.bare = bare
        self.gone = asyncio.Event()

    def _enter(self) -> None:
        if not self.bare:
            super()._enter()
        elif self.waiter is not None:
            self.waiter.set_result(None)
            self.waiter = None

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        if self.log is not None:
            self.log.leave(self.cursor)
        self.gone.set()


class Visits:
    """See the module's docstring.

    :param number: of this process, of so many ``processes``; they share the visits.
    :ivar done: visits so far.
    """

    def __init__(self, crowd: Crowd, swarm: Swarm, audience: Audience, number: int, processes: int) -> None:
        self._crowd = crowd
        self._swarm = swarm
        self._audience = audience
        self._number = number
        self._processes = processes
        self._next = audience.everybody
        self._times = Histogram()
        self.done = 0

    async def play(self, plan: Plan) -> None:
        """Pay the visits of a plan at their times."""
        crowd = self._crowd
        crowd.opening += 1
        first, self._next = self._next, self._next + plan.total
        running: set[asyncio.Task[None]] = set()
        for number in range(self._number, plan.total, self._processes):
            due = plan.start_ns / 1e9 + number / plan.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._visit(first + number, number % len(self._audience.sizes), bare=plan.bare))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        crowd.opening -= 1

    async def _visit(self, index: int, room: int, *, bare: bool) -> None:
        visitor = _Visitor(self._swarm, index, room, bare=bare)
        async with self._crowd.places:
            await self._crowd.connect(visitor, self._times)
            if visitor.transport is not None:
                visitor.leave()
                await visitor.gone.wait()
        self._swarm.sessions.pop(index, None)
        self.done += 1
