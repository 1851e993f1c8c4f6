"""The hub of a node, with the broker that the settings choose: in the process, or Redis.

Owns the clock of the memory broker, and what each broker needs to have done beside the hub. Must not know edges.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import trio

from engine.brokers.base import Broker, Deliver, Unavailable
from engine.brokers.memory import MemoryBroker
from engine.hub.hub import Hub
from engine.settings import Settings

__all__ = ["LocalHub", "RedisHub", "make_hub", "now_ms"]

_SWEEP_SECONDS: Final = 30.0
"""Time between looks for rooms whose history has expired."""

log = logging.getLogger("roomcast.hub")


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def make_hub(settings: Settings, node: str = "") -> Hub:
    """The hub for these settings. Raises ValueError when ``redis.url`` is none; `engine.configcheck` tells earlier.

    :param node: incarnation of the node, where its hub's process may be replaced.
    """
    return RedisHub(settings, node) if settings.redis.url else LocalHub(settings)


class LocalHub(Hub):
    """A hub over the memory broker: a node by itself."""

    def __init__(self, settings: Settings) -> None:
        self._memory: MemoryBroker

        def broker(deliver: Deliver) -> Broker:
            limits = settings.limits
            self._memory = MemoryBroker(
                settings.broker,
                deliver,
                now_ms,
                budget=limits.room_events_per_second,
                budget_bytes=limits.room_bytes_per_second,
            )
            return self._memory

        super().__init__(settings, broker, now_ms)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            await super().run(task_status=task_status)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            self._memory.sweep()


class RedisHub(Hub):
    """A hub over Redis: one of many nodes."""

    def __init__(self, settings: Settings, node: str) -> None:
        # Here, because it takes a library that a node by itself needs not have.
        from engine.brokers.redis import RedisBroker

        self._redis: RedisBroker

        def broker(deliver: Deliver) -> Broker:
            limits = settings.limits
            self._redis = RedisBroker(
                settings.broker,
                settings.redis,
                deliver,
                node=node,
                budget=limits.room_events_per_second,
                budget_bytes=limits.room_bytes_per_second,
            )
            return self._redis

        super().__init__(settings, broker, now_ms)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._redis.run)
            await super().run(task_status=task_status)

    async def drain(self, *, replaced: bool = False) -> None:
        await super().drain()
        if replaced:
            self._redis.hand_over()
            return
        try:
            await self._redis.leave()
        except Unavailable as error:
            log.warning("rooms_not_left", extra={"error": str(error), "hint": "its viewers count until their lease ends"})
