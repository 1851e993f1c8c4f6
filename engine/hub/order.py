"""What takes a while, one after the other for each whom it concerns, in the order in which it was asked for.

Owns the queues. Must not know what is done. A task for each request would not do: tasks that begin together run in any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import trio

__all__ = ["Order"]

_Job = tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]


class Order:
    """See the module's docstring.

    :param spawn: begins a task.
    """

    def __init__(self, spawn: Callable[..., None]) -> None:
        self._spawn = spawn
        self._queues: dict[Hashable, deque[_Job]] = {}
        self._jobs = 0
        self._idle = trio.Event()

    def __len__(self) -> int:
        """What was asked for and is not done."""
        return self._jobs

    def __contains__(self, key: Hashable) -> bool:
        """Whether something is to be done for this key."""
        return key in self._queues

    async def idle(self) -> None:
        """Wait until all is done."""
        while self._queues:
            self._idle = trio.Event()
            await self._idle.wait()

    def run(self, key: Hashable, do: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Do this when all has been done that was asked for with this key before."""
        self._jobs += 1
        queue = self._queues.get(key)
        if queue is not None:
            queue.append((do, args))
        else:
            self._queues[key] = deque([(do, args)])
            self._spawn(self._serve, key)

    async def _serve(self, key: Hashable) -> None:
        queue = self._queues[key]
        try:
            while queue:
                do, args = queue.popleft()
                await do(*args)
                self._jobs -= 1
        finally:
            del self._queues[key]
            if not self._queues:
                self._idle.set()
