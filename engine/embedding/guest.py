"""Trio as a guest of an asyncio loop, for as long as somebody needs it there.

Owns the guest run: one for each loop, whoever comes first starts it and the last one ends it, because a thread can have one
only. Notices when the loop ends before it. Must not know what runs in it.

No signal is touched, except that trio looks after SIGINT where the loop has left it as Python has it; asyncio.run, uvloop and
uvicorn do not. Ctrl-C then breaks the loop off, as it does without trio.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import trio

from engine.errors import RoomcastError

__all__ = ["Guest", "guest_run", "patiently"]

log = logging.getLogger("roomcast.embedding")

_thread = threading.local()
"""The guest of this thread: as trio's own state, that of a thread, not of the process."""


async def patiently(future: asyncio.Future[Any], cancelled: Callable[[], None] = lambda: None) -> None:
    """Wait until it is done, also when this is cancelled, which is raised then.

    :param cancelled: called each time this is cancelled.
    """
    caught: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            caught = caught or error
            cancelled()
    if caught is not None:
        raise caught


class Guest:
    """A trio run in the running asyncio loop. See the module's docstring.

    :raises RoomcastError: trio runs in this thread already, and not for us.
    :ivar users: who need it. ``ready`` and ``done`` tell when it has begun and ended.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.users = 0
        self._nursery: trio.Nursery | None = None
        self._stop = trio.Event()
        self._awaited: set[asyncio.Future[Any]] = set()
        self._abandoned = False
        self.ready = self.loop.create_future()
        self.done = self.loop.create_future()
        try:
            trio.lowlevel.start_guest_run(
                self._main,
                run_sync_soon_threadsafe=self._soon,
                run_sync_soon_not_threadsafe=self.loop.call_soon,
                done_callback=self._finished,
                host_uses_signal_set_wakeup_fd=True,
            )
        except RuntimeError as error:
            raise RoomcastError(
                "trio runs in this thread already, or was left behind by a loop that ended before its node: "
                "use engine.open_node, or engine.start for a thread of its own"
            ) from error
        atexit.register(self._abandon)

    async def _main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self.ready.set_result(None)
            await self._stop.wait()
            self._nursery.cancel_scope.cancel()

    def _soon(self, do: Callable[[], object]) -> None:
        """Called in trio's threads."""
        try:
            self.loop.call_soon_threadsafe(do)
        except RuntimeError:
            self._abandon()

    def _abandon(self) -> None:
        """The loop has ended, or the program, and nothing can be finished any more."""
        if not self._abandoned:
            self._abandoned = True
            hint = "viewers were not told, and what was not published is lost: leave engine.embed before the loop ends"
            log.error("host_loop_ended", extra={"nodes": self.users, "hint": hint})

    def _finished(self, result: outcome.Outcome[None]) -> None:
        atexit.unregister(self._abandon)
        _thread.guest = None
        if isinstance(result, outcome.Error):
            # A fault in trio itself, or somebody pressed Ctrl-C while it had its turn.
            log.error("trio_ended", exc_info=result.error)
        for future in list(self._awaited):
            if not future.done():
                future.set_exception(RoomcastError("trio has ended in this loop"))
        if not self.ready.done():
            self.ready.set_result(None)
        self.done.set_result(None)

    def future(self) -> asyncio.Future[Any]:
        """One that is never waited for in vain: if trio ends before it is done it raises that."""
        future = self.loop.create_future()
        self._awaited.add(future)
        future.add_done_callback(self._awaited.discard)
        return future

    def host(self, do: Callable[[], Awaitable[None]]) -> asyncio.Future[None]:
        """Run something in trio; the future tells what came of it."""
        ended = self.future()

        async def run() -> None:
            try:
                await do()
            except Exception as error:
                # Of one node; there may be others.
                ended.set_exception(error)
            finally:
                if not ended.done():
                    ended.set_result(None)

        if self._nursery is None or self.done.done():
            raise RoomcastError("trio has ended in this loop")
        self._nursery.start_soon(run)
        return ended

    def end(self) -> None:
        """Nobody needs it any more; ``done`` tells when it has ended."""
        self._stop.set()


def _present() -> Guest | None:
    guest: Guest | None = getattr(_thread, "guest", None)
    return guest if guest is not None and guest.loop is asyncio.get_running_loop() else None


class guest_run:  # noqa: N801 - it reads as a function
    """The guest run of this loop while the block runs.

    Not a generator: a loop that ends closes all of those at once, and this must not end before what is in it.
    """

    async def __aenter__(self) -> Guest:
        while (guest := _present()) is not None and not guest.users:
            # It is about to end.
            await asyncio.wait([guest.done])
        if guest is None:
            guest = _thread.guest = Guest()
        self._guest = guest
        guest.users += 1
        try:
            await patiently(guest.ready)
        except BaseException:
            await self.__aexit__()
            raise
        return guest

    async def __aexit__(self, *_: object) -> None:
        self._guest.users -= 1
        if not self._guest.users:
            self._guest.end()
            await patiently(self._guest.done)
