"""Time-keeping for one process: a heap of deadlines and a bell that wakes the task which serves it.

Owns the two primitives that let thousands of rooms and viewers have deadlines without a task or a timer each. Must not know
what a deadline is for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Generic, TypeVar

import trio

__all__ = ["Bell", "Deadlines"]

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Items in order of their time. Pure: the clock is the caller's.

    There is no removal: an item whose deadline moved is added again, and its owner ignores the stale one. That keeps both
    operations O(log n) and costs one entry until the old time has passed.
    """

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, item: T) -> None:
        """Let ``item`` expire at ``when``, in seconds of the caller's clock."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, item))

    def next(self) -> float:
        """Time of the earliest item, infinity if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def expired(self, now: float) -> Iterator[T]:
        """Remove and yield the items whose time has come, earliest first; those added meanwhile with a past time too."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            yield heapq.heappop(heap)[2]


class Bell:
    """Wakes one waiting task; rings before the wait are remembered, several count as one."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake the waiting task, or let its next wait return at once."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the bell has rung since the last wait returned. A checkpoint in every case."""
        await self._event.wait()
        self._event = trio.Event()

    async def wait_until(self, deadline: float) -> None:
        """Like `wait`, but return at ``deadline`` (trio's clock) at the latest."""
        with trio.CancelScope(deadline=deadline):
            await self.wait()
