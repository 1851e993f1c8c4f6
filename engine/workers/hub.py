"""The hub process: one hub, and the socket where edges come.

Owns the order in which it begins and ends. Must not know edges beyond their links.

A hub that is replaced hears no more of what viewers say from the moment it is told: it has not accepted that, so it does not
answer, and the edges say it again to the successor. What it has accepted it publishes and answers; then it closes the links,
instead of telling the edges that this was the last.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import trio

from engine.brokers.base import Broker, Unavailable
from engine.errors import RoomcastError
from engine.hub import Hub
from engine.hub.hubs import make_hub
from engine.hub.vitals import node_vitals
from engine.link.base import End
from engine.link.messages import VERSION, Down, Request, Say, Stop, Up
from engine.link.unix import LinkRefused, greet_edge, link_limit
from engine.pulse import Pulse
from engine.settings import Settings
from engine.tracing import configure as configure_tracing
from engine.workers import lines
from engine.workers.channel import Admit, Adopt, Adopted, Channel, Drain, Ended, Halted, Leave, Outcome, Quit, Ready, Start
from engine.workers.process import run
from engine.workers.reloading import Reloading

if TYPE_CHECKING:
    from engine.api.service import Service
    from engine.watching import Watch

__all__ = ["serve_hub"]

_BACKOFF_SECONDS: Final = 0.1
_ANSWERING_SECONDS: Final = 1.0
"""For the HTTP API to give the answers that are under way when everything else is over."""

log = logging.getLogger("roomcast.hub")


class _Way(End[Down, Up]):
    """The way to one edge.

    :param leaving: set when the hub is replaced.
    """

    def __init__(self, link: End[Down, Up], leaving: trio.Event) -> None:
        self._link = link
        self._leaving = leaving

    def send(self, messages: Sequence[Down]) -> None:
        if not self._leaving.is_set():
            self._link.send(messages)
            return
        self._link.send([message for message in messages if not isinstance(message, Stop)])
        if any(isinstance(message, Stop) for message in messages):
            self._link.close()

    async def receive(self) -> Sequence[Up]:
        while messages := await self._link.receive():
            if not self._leaving.is_set():
                return messages
            if heard := [message for message in messages if not isinstance(message, Say | Request)]:
                return heard
        return messages

    @property
    def backlog(self) -> int:
        return self._link.backlog

    @property
    def sent_bytes(self) -> int:
        return self._link.sent_bytes

    def close(self) -> None:
        self._link.close()


async def serve_hub(start: Start, channel: Channel) -> None:
    """Be the hub until the supervisor says so or is gone."""
    configure_tracing()
    hub, pulse = make_hub(start.settings, start.node), Pulse()
    incarnation = secrets.token_hex(8)
    reloading = Reloading(channel)
    api, watch = _api_of(start, hub, pulse, reloading)
    accepting, leaving, closed, unlinked = trio.CancelScope(), trio.Event(), trio.Event(), trio.Event()

    async def serve(sock: socket.socket) -> None:
        try:
            async with greet_edge(sock, incarnation, limit=link_limit(hub.settings.room.log_bytes)) as link:
                # Whoever was in the middle of greeting finds the successor.
                if not leaving.is_set():
                    await hub.serve(_Way(link, leaving), link.peer)
        except LinkRefused as error:
            log.warning("edge_refused", extra={"error": str(error)})

    async def admit() -> None:
        """Serve edges until nobody is accepted any more and all links have ended."""
        if watch is not None:
            await nursery.start(watch.run)
        if api is not None:
            await nursery.start(api.run)
        async with trio.open_nursery() as links:
            with accepting:
                async with trio.open_nursery() as acceptors:
                    for listener in listeners:
                        acceptors.start_soon(_accept, listener, lambda sock: links.start_soon(serve, sock))
            for listener in listeners:
                listener.close()
            closed.set()
        unlinked.set()

    async def leave() -> None:
        leaving.set()
        accepting.cancel()
        if api is not None:
            # Whoever comes now waits at the socket for the successor.
            await api.drain(_ANSWERING_SECONDS)
        await closed.wait()
        await hub.drain(replaced=True)
        # Not earlier: an edge that came to the successor while this one still spread events would open a room there at an older
        # position than the others have.
        await channel.send(Halted())
        await unlinked.wait()
        await end()

    async def adopt(settings: Settings) -> None:
        try:
            await hub.adopt(settings)
        except RoomcastError as error:
            await channel.send(Adopted(str(error)))
            return
        if api is not None:
            api.adopt(settings.api)
        lines.configure(settings.log, "hub")
        await channel.send(Adopted())

    async def end() -> None:
        await hub.finish()
        if api is not None:
            await api.drain(_ANSWERING_SECONDS)
        await channel.send(Ended(dataclasses.asdict(hub.statistics())))
        nursery.cancel_scope.cancel()

    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(fileno=descriptor)) for descriptor in start.listeners]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pulse.run)
            await nursery.start(hub.run)
            if start.waits:
                await _reach(hub.broker)
            else:
                nursery.start_soon(admit)
            await channel.send(Ready(link=VERSION))
            while (order := await channel.receive()) is not None:
                match order:
                    case Adopt():
                        nursery.start_soon(adopt, order.settings)
                    case Outcome():
                        reloading.answered(order)
                    case Admit():
                        nursery.start_soon(admit)
                    case Leave():
                        nursery.start_soon(leave)
                    case Drain():
                        nursery.start_soon(hub.drain)
                    case Quit():
                        await end()
            nursery.cancel_scope.cancel()


def _api_of(start: Start, hub: Hub, pulse: Pulse, reloading: Reloading) -> tuple[Service | None, Watch | None]:
    """The HTTP API and what looks at the node for it, if the node has one; the sockets are the supervisor's."""
    if not start.api:
        return None, None
    # Here, because it takes libraries that a node without an API needs not have.
    from engine.api.service import service_of
    from engine.backend import Backend

    name = start.settings.node.name or socket.gethostname()

    def vitals() -> dict[str, Any]:
        return node_vitals(name, dataclasses.asdict(hub.statistics()), hub.edges(), pulse.statistics(), hub.edge_lines())

    backend = Backend(hub, lambda: hub.settings, (vitals,), reloading.ask, listening=lambda: start.viewers)
    service = service_of(backend, lambda: hub.trust.news)
    service.listen([socket.socket(fileno=descriptor) for descriptor in start.api])
    return service, backend.watch


async def _accept(listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
    listener.setblocking(False)
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            # Another hub may have been faster: the socket is everybody's.
            continue
        except OSError as error:
            # Out of descriptors, most likely; the edges that are there are served meanwhile.
            log.warning("edge_not_accepted", extra={"error": os.strerror(error.errno or 0)})
            await trio.sleep(_BACKOFF_SECONDS)
            continue
        accepted(sock)


async def _reach(broker: Broker) -> None:
    """Wait until the broker has answered, as long as it is worth waiting."""
    try:
        await broker.reach()
    except Unavailable as error:
        # The one that serves now can do no better.
        log.warning("broker_unavailable", extra={"error": str(error)})


if __name__ == "__main__":
    run("hub", serve_hub)
