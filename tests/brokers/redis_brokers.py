"""Brokers for the tests over Redis.

Owns how one is opened, and a subscriber that checks what every subscriber may count on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import trio

from engine.brokers.base import Amended, Deliver, Delivery, Events, Pending, Receipt, Record, Unavailable
from engine.brokers.budget import UNLIMITED, Budget
from engine.brokers.redis import RedisBroker
from engine.settings import BrokerSettings, RedisSettings

from .contract import PATIENCE, Clock, Deliveries

__all__ = ["Watcher", "fresh_prefix", "opened", "pass_time", "published"]

_PREFIXES = count()


def fresh_prefix() -> str:
    """So that tests that share a server share no room."""
    return f"test{next(_PREFIXES)}"


@asynccontextmanager
async def opened(
    redis: RedisSettings,
    deliver: Deliver,
    settings: BrokerSettings | None = None,
    clock: Clock | None = None,
    budget: Budget = UNLIMITED,
) -> AsyncIterator[RedisBroker]:
    """A broker that runs."""
    broker = RedisBroker(
        settings or BrokerSettings(), redis, deliver, now_ms=clock, budget=budget.events, budget_bytes=budget.bytes
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(broker.run)
        yield broker
        nursery.cancel_scope.cancel()


async def pass_time(broker: RedisBroker, redis: RedisSettings, settings: BrokerSettings, clock: Clock) -> None:
    """Until a room that nobody watches has lost its history; the broker's own leases are renewed meanwhile."""
    lease_ms = int(redis.lease_seconds * 1000)
    for _ in range(4 + int(settings.history_seconds * 1000) // lease_ms):
        clock.ms += lease_ms
        await broker.beat(0)


class Watcher(Deliveries):
    """Deliveries that must join: within an epoch without hole or overlap, epochs only upwards."""

    def __init__(self) -> None:
        super().__init__()
        self._heads: dict[str, tuple[int, int]] = {}
        self._revisions: dict[str, int] = {}

    def __call__(self, delivery: Delivery) -> None:
        if isinstance(delivery, Amended):
            assert delivery.revision == self._revisions[delivery.room] + 1
        if isinstance(delivery, Amended | Record):
            self._revisions[delivery.room] = delivery.revision
        if isinstance(delivery, Events):
            epoch, offset = self._heads.get(delivery.room, (delivery.epoch, delivery.first - 1))
            assert delivery.epoch >= epoch
            # A new epoch begins where it says.
            assert delivery.first == offset + 1 or delivery.epoch > epoch
            assert len(delivery.events) == len(delivery.times)
            self._heads[delivery.room] = delivery.epoch, delivery.last
        super().__call__(delivery)


async def published(broker: RedisBroker, room: str, events: list[Pending]) -> Receipt:
    """Publish until the broker can be reached, as a client that has keys may do."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await broker.publish(room, events)
            except Unavailable:
                await trio.sleep(0.01)
