"""A cluster: rooms spread over servers by the slots of their keys.

Owns the map of slots, and a `Server` for each that has some. Must not know what a room is.

The map is looked at again whenever something contradicts it: an answer or a subscription refused because the slot is elsewhere,
a channel taken back, a server out of reach; between two looks nothing is believed that a server denies.
"""

from __future__ import annotations

import logging
import ssl
from binascii import crc_hqx
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio
from coredis.exceptions import MovedError

from engine.brokers.base import Unavailable
from engine.brokers.redis.address import Address, Place
from engine.brokers.redis.functions import Request
from engine.brokers.redis.server import Call, Server, greeting
from engine.brokers.redis.topology import Topology
from engine.brokers.redis.wire import Traffic, ask_once
from engine.settings import RedisSettings
from engine.timing import Bell

__all__ = ["Cluster", "slot"]

_SLOTS: Final = 16_384
_PATIENCE_SECONDS: Final = 0.5
"""For one server to tell the map, before the next is asked."""
_PAUSE_SECONDS: Final = 0.05
"""Least time between two looks at the map."""
_SOON_SECONDS: Final = 0.5
"""Until the next look while a server is out of reach: a replica may have taken its place."""

log = logging.getLogger("roomcast.broker")


def slot(key: str) -> int:
    """Slot of a key: CRC-16/XMODEM of its hash tag (Redis Cluster specification)."""
    data = key.encode()
    start = data.find(b"{")
    end = data.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        data = data[start + 1 : end]
    return crc_hqx(data, 0) % _SLOTS


class _Member:
    """A server of the map, and what ends it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.scope = trio.CancelScope()
        self.slots: set[int] = set()


class Cluster(Topology):
    """See the module's docstring. The parameters are those of `Server`."""

    def __init__(
        self,
        place: Place,
        settings: RedisSettings,
        push: Callable[[list[Any]], None],
        restore: Callable[[Server], Awaitable[None]],
        random: Callable[[], float],
        traffic: Traffic,
    ) -> None:
        self._place = place
        self._settings = settings
        self._push = push
        self._restore = restore
        self._random = random
        self._traffic = traffic
        self._members: dict[Address, _Member] = {}
        self._map: list[Server | None] = [None] * _SLOTS
        self._why = ""
        self._looked = trio.Event()
        self._bell = Bell()
        self._nursery: trio.Nursery | None = None

    # -- the map ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            while True:
                found = await self._find()
                if found is not None:
                    self._adopt(found)
                self._why = "" if found is not None else "no server tells the map of the cluster"
                self._looked.set()
                self._looked = trio.Event()
                await trio.sleep(_PAUSE_SECONDS)
                well = found is not None and all(member.server.connected for member in self._members.values())
                if well:
                    await self._bell.wait()
                else:
                    await self._bell.wait_until(trio.current_time() + _SOON_SECONDS)

    def look(self) -> None:
        self._bell.ring()

    async def _find(self) -> dict[Address, set[int]] | None:
        tls = ssl.create_default_context() if self._place.tls else None
        for address in [*self._members, *self._place.addresses]:
            with trio.move_on_after(_PATIENCE_SECONDS):
                answer = await ask_once(address, tls, greeting(self._place), (b"CLUSTER", b"SLOTS"))
                if answer:
                    return _read_slots(answer, address)
        return None

    def _adopt(self, found: dict[Address, set[int]]) -> None:
        """Make the map what was found; see to the rooms in slots that have come to another server."""
        assert self._nursery is not None
        for address in [each for each in self._members if each not in found]:
            self._members.pop(address).scope.cancel()
        self._map = [None] * _SLOTS
        for address, slots in found.items():
            member = self._members.get(address)
            if member is None:
                member = self._members[address] = _Member(self._open(address))
                self._nursery.start_soon(self._serve, member)
            elif slots - member.slots and member.server.connected:
                self._nursery.start_soon(self._restore, member.server)
            member.slots = slots
            for each in slots:
                self._map[each] = member.server

    def _open(self, address: Address) -> Server:
        async def here() -> Address:
            return address

        return Server(self._place, self._settings, here, self._push, self._restore, self._random, self._traffic, self.look)

    async def _serve(self, member: _Member) -> None:
        with member.scope:
            await member.server.run()

    def server(self, key: str) -> Server | None:
        return self._map[slot(key)]

    # -- asking -------------------------------------------------------------------------------------------------------

    def begin(self, key: str, request: Request) -> Call:
        call = Call(key, request, trio.current_time() + self._settings.answer_seconds)
        server = self.server(key)
        if server is not None:
            server.send(call)
        return call

    async def finish(self, call: Call) -> Any:
        with trio.move_on_at(call.deadline):
            while True:
                if call.server is None:
                    (await self._owner(call.key)).send(call)
                assert call.server is not None
                try:
                    return await call.server.finish(call)
                except MovedError:
                    call.server = None
                    await self._look_again()
                except Unavailable:
                    if self.server(call.key) is call.server:
                        raise
                    # Another one has taken over meanwhile.
                    call.server = None
        raise Unavailable(f"Redis did not answer within {self._settings.answer_seconds} s (redis.answer_seconds)")

    async def _owner(self, key: str) -> Server:
        """The server that has the key, as soon as it is known."""
        while (server := self.server(key)) is None:
            if self._why:
                raise Unavailable(f"Redis is out of reach: {self._why}")
            await self._look_again()
        return server

    async def _look_again(self) -> None:
        self._bell.ring()
        await self._looked.wait()

    # -- subscriptions ------------------------------------------------------------------------------------------------

    async def subscribe(self, key: str, channel: str) -> None:
        await self._follow(key, partial(_subscribe, channel))

    async def unsubscribe(self, key: str, channel: str) -> None:
        await self._follow(key, partial(_unsubscribe, channel))

    async def _follow(self, key: str, act: Callable[[Server], Awaitable[None]]) -> None:
        with trio.move_on_after(self._settings.answer_seconds):
            while True:
                try:
                    return await act(await self._owner(key))
                except MovedError:
                    await self._look_again()
        raise Unavailable(f"Redis did not answer within {self._settings.answer_seconds} s (redis.answer_seconds)")

    async def check(self) -> None:
        for member in list(self._members.values()):
            try:
                await member.server.check()
            except Unavailable as error:
                # The others are to be looked at too; this one knows by now.
                log.warning("redis_check", extra={"error": str(error)})


async def _subscribe(channel: str, server: Server) -> None:
    await server.subscribe([channel])


async def _unsubscribe(channel: str, server: Server) -> None:
    await server.unsubscribe(channel)


def _read_slots(answer: list[Any], asked: Address) -> dict[Address, set[int]]:
    """Slots by primary, from the answer to ``CLUSTER SLOTS``."""
    found: dict[Address, set[int]] = {}
    for first, last, (host, port, *_), *_ in answer:
        # Without a name it is the one that was asked.
        address = Address((host or asked.host.encode()).decode(), port)
        found.setdefault(address, set()).update(range(first, last + 1))
    return found
