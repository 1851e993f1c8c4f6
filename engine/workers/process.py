"""What hub and edge processes have in common: how they begin, obey and end.

Owns the process's first steps and its last. Must not know what the process does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from engine.interpreter import settle
from engine.workers import lines
from engine.workers.channel import Beat, Channel, Order, Start

__all__ = ["run"]

_BEATS: Final = 4
"""Beats within the time after which silence means that the process hangs."""
_BEAT_SECONDS: Final = (0.05, 5.0)
"""Shortest and longest time between two."""

Main = Callable[[Start, Channel], Awaitable[None]]


def run(role: str, main: Main) -> None:
    """Be the process that the supervisor says, which has passed the channel's descriptor as the last argument."""
    # The supervisor decides when this process ends. A terminal, or whoever stops a container, signals all processes at once.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=int(sys.argv[-1]))
    trio.run(_run, role, main, sock)


async def _run(role: str, main: Main, sock: socket.socket) -> None:
    channel = Channel(sock, Order)
    try:
        start: Any = await channel.receive()
        if isinstance(start, Start):
            lines.configure(start.settings.log, role)
            if start.cpu >= 0:
                os.sched_setaffinity(0, {start.cpu})
            settle(start.settings, hub=role == "hub")
            async with trio.open_nursery() as nursery:
                if hang_seconds := start.settings.node.hang_seconds:
                    shortest, longest = _BEAT_SECONDS
                    nursery.start_soon(_beat, channel, max(shortest, min(hang_seconds / _BEATS, longest)))
                await main(start, channel)
                nursery.cancel_scope.cancel()
    finally:
        channel.close()


async def _beat(channel: Channel, seconds: float) -> None:
    """Say that the loop turns, for as long as it does."""
    while True:
        await channel.send(Beat())
        await trio.sleep(seconds)
