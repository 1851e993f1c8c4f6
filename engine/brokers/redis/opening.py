"""From ``redis.url`` to the servers behind it.

Owns the choice. Must not know what they are asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from engine.brokers.redis.address import Address, parse
from engine.brokers.redis.cluster import Cluster
from engine.brokers.redis.sentinel import Sentinels
from engine.brokers.redis.server import Server
from engine.brokers.redis.topology import Single, Topology
from engine.brokers.redis.wire import Traffic
from engine.settings import RedisSettings

__all__ = ["open_topology"]


def open_topology(
    settings: RedisSettings,
    push: Callable[[list[Any]], None],
    restore: Callable[[Server], Awaitable[None]],
    random: Callable[[], float],
    traffic: Traffic,
) -> Topology:
    """What ``redis.url`` names. Raises `ValueError` if it names nothing."""
    place = parse(settings.url)
    if place.kind == "cluster":
        return Cluster(place, settings, push, restore, random, traffic)

    async def fixed() -> Address:
        return place.addresses[0]

    moves = place.kind == "sentinel"
    resolve = Sentinels(place).find if moves else fixed
    return Single(Server(place, settings, resolve, push, restore, random, traffic, moves=moves), settings)
