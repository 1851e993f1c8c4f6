"""What hub and edge processes have in common: how they begin, obey and end.

Owns the process's first steps and its last. Must not know what the process does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from engine.workers import lines
from engine.workers.channel import Channel, Order, Start

__all__ = ["run"]

Main = Callable[[Start, Channel], Awaitable[None]]


def run(role: str, main: Main) -> None:
    """Be the process that the supervisor says, which has passed the channel's descriptor as the last argument."""
    # The supervisor decides when this process ends. A terminal, or whoever stops a container, signals all processes at once.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
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
            await main(start, channel)
    finally:
        channel.close()
