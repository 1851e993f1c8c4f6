"""An edge process: one edge, its share of the listening sockets, and the way to the hub, again and again.

Owns the order in which it begins and ends. Must not know the hub beyond the link.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import trio

from engine.edge import Edge
from engine.errors import RoomcastError
from engine.link.messages import VERSION
from engine.link.unix import LinkRefused, connect_hub, greet_hub, link_limit
from engine.pulse import Pulse
from engine.settings import Settings
from engine.timing import Pause
from engine.workers import lines
from engine.workers.channel import Adopt, Adopted, Channel, Ended, Halt, Halted, Leave, Quit, Ready, Start
from engine.workers.process import run
from engine.workers.vitals import Reporter

__all__ = ["serve_edge"]

_FIRST_SECONDS: Final = 0.02
_MOST_SECONDS: Final = 1.0
"""Between attempts to reach the hub: nobody but a few edges asks it."""
_FINE_SECONDS: Final = 1.0
"""A link that lasted so long was fine: the next attempt comes at once. All edges are back together then, so that a hub that
takes over does not count the viewers of some and not yet those of others."""
_LAST_SECONDS: Final = 1.0
"""For the supervisor to take the statistics."""

log = logging.getLogger("roomcast.edge")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def serve_edge(start: Start, channel: Channel) -> None:
    """Be an edge until the supervisor says so or is gone."""
    edge, pulse = Edge(start.settings, _now_ms), Pulse()
    reporter = Reporter(edge, pulse)
    listeners = [socket.socket(fileno=descriptor) for descriptor in start.listeners]
    edge.listen(listeners)
    halting, linked = trio.Event(), trio.Event()

    def adopt(settings: Settings) -> Adopted:
        try:
            edge.adopt(settings)
        except RoomcastError as error:
            return Adopted(str(error))
        lines.configure(settings.log, "edge")
        return Adopted()

    async def obey() -> None:
        while (order := await channel.receive()) is not None:
            match order:
                case Adopt():
                    await channel.send(adopt(order.settings))
                case Halt():
                    edge.stop_accepting()
                    halting.set()
                    if not edge.rooms.linked:
                        edge.rooms.stopped.set()
                    nursery.start_soon(finish, edge.drain)
                    await channel.send(Halted())
                case Leave():
                    edge.stop_accepting()
                    nursery.start_soon(finish, edge.leave)
                case Quit():
                    break
        nursery.cancel_scope.cancel()

    async def finish(farewell: Callable[[], Awaitable[None]]) -> None:
        await farewell()
        await reporter.finish()
        nursery.cancel_scope.cancel()

    async with AsyncExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(obey)
        nursery.start_soon(pulse.run)
        nursery.start_soon(_keep_linked, edge, reporter, start, linked, halting)
        await linked.wait()
        await nursery.start(edge.run)
        await channel.send(Ready(edge.admission.viewers_max, VERSION))
    with trio.move_on_after(_LAST_SECONDS):
        await channel.send(Ended(dataclasses.asdict(edge.statistics())))


async def _keep_linked(edge: Edge, reporter: Reporter, start: Start, linked: trio.Event, halting: trio.Event) -> None:
    """Have a link to the hub, again and again, until it is lost while the node stops."""
    incarnation = secrets.token_hex(8)
    pause = Pause(_FIRST_SECONDS, _MOST_SECONDS)
    while not halting.is_set():
        since = math.inf
        try:
            async with greet_hub(connect_hub(start.hub), incarnation, limit=link_limit(edge.settings.room.log_bytes)) as link:
                since = trio.current_time()
                if linked.is_set():
                    log.warning("hub_reached", extra={"attempts": pause.count, "hub": link.peer})
                linked.set()
                pause.reset()
                await reporter.serve(link)
            log.log(logging.INFO if halting.is_set() else logging.WARNING, "hub_lost")
        except LinkRefused as error:
            log.warning("hub_refused", extra={"error": str(error)})
        except OSError as error:
            # Nobody listens, or nobody has taken those who wait there.
            log.debug("hub_away", extra={"error": str(error)})
        if trio.current_time() - since < _FINE_SECONDS:
            with trio.move_on_after(pause.seconds()):
                await halting.wait()
    edge.rooms.stopped.set()


if __name__ == "__main__":
    run("edge", serve_edge)
