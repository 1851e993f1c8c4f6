"""The hub process: one hub, and the socket where edges come.

Owns the order in which it begins and ends. Must not know edges beyond their links.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import socket
from contextlib import AsyncExitStack

import trio

from engine.hub.hubs import make_hub
from engine.link.unix import LinkRefused, greet_edge, link_limit
from engine.workers.channel import Channel, Drain, Ended, Quit, Ready, Start
from engine.workers.process import run

__all__ = ["serve_hub"]

log = logging.getLogger("roomcast.hub")


async def serve_hub(start: Start, channel: Channel) -> None:
    """Be the hub until the supervisor says so or is gone."""
    hub = make_hub(start.settings)
    incarnation = secrets.token_hex(8)
    limit = link_limit(start.settings.room.log_bytes)

    async def serve(sock: socket.socket) -> None:
        try:
            async with greet_edge(sock, incarnation, limit=limit) as link:
                await hub.serve(link, link.peer)
        except LinkRefused as error:
            log.warning("edge_refused", extra={"error": str(error)})

    async def accept(listener: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue
            nursery.start_soon(serve, sock)

    async with AsyncExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(fileno=descriptor)) for descriptor in start.listeners]
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(hub.run)
        for listener in listeners:
            listener.setblocking(False)
            nursery.start_soon(accept, listener)
        await channel.send(Ready())
        while (order := await channel.receive()) is not None:
            match order:
                case Drain():
                    nursery.start_soon(hub.drain)
                case Quit():
                    await channel.send(Ended(dataclasses.asdict(hub.statistics())))
                    break
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    run("hub", serve_hub)
