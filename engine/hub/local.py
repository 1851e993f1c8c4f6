"""A hub over the memory broker: what a node on one machine has, in whichever process it runs.

Owns the clock that hub and broker share and the sweeping of what has expired. Must not know edges.
"""

from __future__ import annotations

import time
from typing import Final

import trio

from engine.brokers.base import Broker, Deliver
from engine.brokers.memory import MemoryBroker
from engine.hub.hub import Hub
from engine.settings import Settings

__all__ = ["LocalHub", "now_ms"]

_SWEEP_SECONDS: Final = 30.0
"""Time between looks for rooms whose history has expired."""


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class LocalHub(Hub):
    """See the module's docstring."""

    def __init__(self, settings: Settings) -> None:
        self._memory: MemoryBroker

        def broker(deliver: Deliver) -> Broker:
            self._memory = MemoryBroker(settings.broker, deliver, now_ms)
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
