"""Which server has a key: what all arrangements of servers have in common, and the simplest of them.

Owns the way from a key to a server. Must not know what a room is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import trio

from engine.brokers.redis.functions import Request
from engine.brokers.redis.server import Call, Server
from engine.settings import RedisSettings

__all__ = ["Single", "Topology"]


class Topology(ABC):
    """See the module's docstring. Methods raise `Unavailable`."""

    @abstractmethod
    async def run(self) -> None:
        """Keep the servers within reach until cancelled."""

    @abstractmethod
    def server(self, key: str) -> Server | None:
        """The server that has a key, None if it is not known at present."""

    @abstractmethod
    def begin(self, key: str, request: Request) -> Call:
        """Send a request to the server that has the key; begin many before you `finish` them to have them in one write."""

    @abstractmethod
    async def finish(self, call: Call) -> Any:
        """Wait for the answer. A request may be sent twice, so it must be one that does no harm then."""

    async def ask(self, key: str, request: Request) -> Any:
        """`begin` and `finish`."""
        return await self.finish(self.begin(key, request))

    @abstractmethod
    async def subscribe(self, key: str, channel: str) -> None:
        """Have a channel pushed by the server that has the key."""

    @abstractmethod
    async def unsubscribe(self, key: str, channel: str) -> None:
        """Have it pushed no more."""

    @abstractmethod
    async def check(self) -> None:
        """Find out whether the connections are alive."""

    @abstractmethod
    def look(self) -> None:
        """Something is not where it was believed to be."""


class Single(Topology):
    """One server, wherever it is at present."""

    def __init__(self, server: Server, settings: RedisSettings) -> None:
        self._server = server
        self._settings = settings

    async def run(self) -> None:
        await self._server.run()

    def server(self, key: str) -> Server:
        return self._server

    def begin(self, key: str, request: Request) -> Call:
        call = Call(key, request, trio.current_time() + self._settings.answer_seconds)
        self._server.send(call)
        return call

    async def finish(self, call: Call) -> Any:
        return await self._server.finish(call)

    async def subscribe(self, key: str, channel: str) -> None:
        await self._server.subscribe([channel])

    async def unsubscribe(self, key: str, channel: str) -> None:
        await self._server.unsubscribe(channel)

    async def check(self) -> None:
        await self._server.check()

    def look(self) -> None:
        """There is nowhere else."""
