"""All sockets of a process, watched by one task.

Owns the epoll object and the registrations. Must not know what a socket is for: whoever registered it is called.

An epoll descriptor is itself readable when something in it is ready (epoll(7)), so one trio task can wait for tens of thousands
of sockets. Rejected: a task per connection on trio's own sockets (50 times the memory, 10 times the CPU per send); edge
triggering (one more ``recv`` per message to meet EAGAIN, for nothing).
"""

from __future__ import annotations

import math
import select
from collections.abc import Callable
from typing import Final

import trio

__all__ = ["Poller"]

_EVENTS: Final = 1024
"""Sockets served before other tasks get a turn: some ten milliseconds of handling at most."""

_STEADY: Final = 3
"""Input whose rounds follow each other within so many grid steps is steady; what comes after a pause is served at once."""
_PLENTY: Final = 64
"""Sockets ready in one round that make it worth its wake-up."""
_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_BROKEN: Final = select.EPOLLERR | select.EPOLLHUP


class Poller:
    """Level-triggered readiness of many descriptors. Linux only.

    :param readable: called for each descriptor that can be read or is broken; says whether it was much that came.
    :param writable: called for each that can be written, while it is armed.
    :param turn_over: called after each round of calls.
    :ivar grid: seconds; while input keeps coming a little at a time, rounds happen at multiples of it.
    """

    def __init__(
        self,
        readable: Callable[[int], bool],
        writable: Callable[[int], None],
        turn_over: Callable[[], None],
        grid: float,
    ) -> None:
        self._epoll = select.epoll()
        self._readable = readable
        self._writable = writable
        self._turn_over = turn_over
        self.grid = grid

    def add(self, fd: int) -> None:
        """Watch for input."""
        self._epoll.register(fd, _IN)

    def arm(self, fd: int, *, read: bool = True, write: bool) -> None:
        """Watch for input or not, and for room to write or not."""
        self._epoll.modify(fd, (_IN if read else 0) | (_OUT if write else 0))

    def remove(self, fd: int) -> None:
        """Forget a descriptor. Must precede its close: its number may belong to somebody else a moment later."""
        self._epoll.unregister(fd)

    async def run(self) -> None:
        """Serve until cancelled."""
        epoll, readable, writable = self._epoll, self._readable, self._writable
        before, gathered = -math.inf, False
        while True:
            if not gathered:
                await trio.lowlevel.wait_readable(epoll.fileno())
            ready, much = epoll.poll(0, _EVENTS), False
            if gathered and not ready:
                gathered = False
                continue
            for fd, events in ready:
                # Order matters: a reader may close the socket, and then the call for writing must find nobody.
                if events & (_IN | _BROKEN):
                    much |= readable(fd)
                if events & _OUT:
                    writable(fd)
            self._turn_over()
            now, grid = trio.current_time(), self.grid
            gathered = not much and now - before < grid * _STEADY and len(ready) < _PLENTY
            if gathered:
                # Waking an idle process costs as much as a dozen messages: gather some, and share the wake-up with the ticks.
                await trio.sleep_until((now // grid + 1) * grid)
            before = now

    def close(self) -> None:
        """Stop watching, after `run` has ended and every descriptor was removed."""
        self._epoll.close()
