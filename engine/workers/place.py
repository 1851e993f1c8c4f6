"""One process's place in a node: there is always somebody in it, or on the way.

Owns when a process is replaced, and when trying has no sense any more. Must not know what its process does.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import trio

from engine.settings import Settings
from engine.timing import Pause
from engine.workers.channel import Quit, Start
from engine.workers.child import Child, spawn

__all__ = ["Place", "end"]

_START_SECONDS: Final = 60.0
"""For a new process to be ready, on a machine that has a lot to do."""
_STARTS_MAX: Final = 5
"""Starts in a row of which none came to be ready."""
_DEATHS_MAX: Final = 20
_DEATHS_SECONDS: Final = 60.0
"""A place in which so many processes die within this time is given up: what kills them is not going away."""
_FIRST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 5.0
"""Between a process's end and its successor's start."""
_STABLE_SECONDS: Final = 10.0
"""A process that lived so long was fine: the pauses begin anew."""
_QUIT_SECONDS: Final = 15.0
"""For a process to drop everything: tens of thousands of sockets on a machine where others do the same."""

HandOver = Callable[[Child | None, Child], Awaitable[bool]]
"""Called with the process that is to go, if there is one, and its successor, which is ready. Tells the former to leave; returns
False if it must stay, because the latter does not do."""

log = logging.getLogger("roomcast.workers")


class Place:
    """See the module's docstring.

    :param start: what its processes are told.
    :param nursery: where they are followed.
    :param living: every process of the node; this place adds and removes its own.
    :param retired: called with the statistics of a process that was replaced, or ended by itself.
    :param asked: called with a process that wants the settings to be read again, and the number of its question.
    :param give_up: called when it makes no sense any more.
    :ivar child: the one that is ready, None while there is none.
    :ivar filled: set when the first one was ready.
    """

    def __init__(
        self,
        role: str,
        start: Start,
        nursery: trio.Nursery,
        living: set[Child],
        retired: Callable[[Child], None],
        asked: Callable[[Child, int], None],
        give_up: Callable[[str], None],
    ) -> None:
        self.role = role
        self._start = start
        self._nursery = nursery
        self._living = living
        self._retired = retired
        self._asked = asked
        self._give_up = give_up
        self._lock = trio.Lock()
        self._stopping = False
        self._replaced = trio.Event()
        self.child: Child | None = None
        self.filled = trio.Event()

    def stop(self) -> None:
        """Nobody who goes is followed by anybody from now on."""
        self._stopping = True

    async def keep(self) -> None:
        """Have somebody in this place until `stop`."""
        pause = Pause(_FIRST_SECONDS, _MOST_SECONDS)
        deaths: deque[float] = deque(maxlen=_DEATHS_MAX)
        failures = 0
        while not self._stopping:
            async with self._lock:
                if self.child is None:
                    self.child = await self._begin()
            child, since = self.child, trio.current_time()
            if child is None:
                failures += 1
                if failures >= _STARTS_MAX:
                    self._give_up(f"the {self.role} process does not start")
                    return
            else:
                failures = 0
                self.filled.set()
                await _first(child.ended, self._replaced)
                if self._stopping or self.child is not child:
                    continue
                self.child = None
                now = trio.current_time()
                deaths.append(now)
                if len(deaths) == _DEATHS_MAX and deaths[0] > now - _DEATHS_SECONDS:
                    self._give_up(f"the {self.role} process dies again and again")
                    return
                if now - since > _STABLE_SECONDS:
                    pause.reset()
            if not self._stopping:
                await pause.wait()

    async def adopt(self, settings: Settings) -> str:
        """Let these settings hold for the process here, and for all that come. Returns why the one here does not take them,
        empty if it does; then nothing has changed. Nobody begins meanwhile; one that is leaving keeps those it has."""
        async with self._lock:
            objection = await self.child.adopt(settings) if self.child is not None else ""
            if not objection:
                self._start = msgspec.structs.replace(self._start, settings=settings)
            return objection

    async def _begin(self, *, waits: bool = False) -> Child | None:
        """Start a process and wait until it is ready; None if it does not get there."""
        child = await spawn(self.role, msgspec.structs.replace(self._start, waits=waits), dict(os.environ))
        child.asked = self._asked
        self._living.add(child)
        self._nursery.start_soon(self._follow, child)
        log.info("process_started", extra={"child": self.role, "child_pid": child.pid})
        with trio.move_on_after(_START_SECONDS):
            await _first(child.ready, child.ended)
        if child.ready.is_set() and not child.ended.is_set():
            return child
        if not child.ended.is_set() and not self._stopping:
            log.error("process_not_ready", extra={"child": self.role, "child_pid": child.pid, "seconds": _START_SECONDS})
            child.kill()
        return None

    async def _follow(self, child: Child) -> None:
        await child.follow()
        self._living.discard(child)
        self._retired(child)
        facts: dict[str, Any] = {"child": self.role, "child_pid": child.pid, "status": child.status}
        if child.status == 0 and child.statistics is not None:
            log.info("process_ended", extra=facts)
        else:
            log.error("process_died", extra=facts)

    async def replace(self, hand_over: HandOver, seconds: float) -> bool:
        """Put a successor here, then let the present one leave; return whether there is a successor.

        :param seconds: for the present one to say goodbye.
        """
        async with self._lock:
            old, successor = self.child, await self._begin(waits=True)
            if successor is None:
                return False
            if not await hand_over(old, successor):
                await end(successor)
                return False
            self.child = successor
            self._replaced.set()
            self._replaced = trio.Event()
        if old is not None:
            with trio.move_on_after(seconds):
                await old.ended.wait()
            await end(old)
        return True


async def _first(*events: trio.Event) -> None:
    """Wait until one of them is set."""
    async with trio.open_nursery() as nursery:

        async def until(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(until, event)


async def end(child: Child) -> None:
    """End a process now, the hard way if it does not obey."""
    if child.ended.is_set():
        return
    await child.send(Quit())
    with trio.move_on_after(_QUIT_SECONDS):
        await child.ended.wait()
    if not child.ended.is_set():
        child.kill()
        await child.ended.wait()
