"""Time-keeping for one process: a heap of deadlines, a bell that wakes the task which serves it, and growing pauses.

Owns the primitives that let thousands of rooms and viewers have deadlines without a task or a timer each, and the arithmetic of
trying again. Must not know what a deadline is for.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from typing import Generic, TypeVar

import trio

__all__ = ["Bell", "Deadlines", "Pause"]

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Items in order of their time. Pure: the clock is the caller's.

    There is no removal: an item whose deadline moved is added again, and its owner ignores the stale one. Items of one time
    share a bucket, so with a coarse grid a deadline costs one reference in a list and many share a wake-up.

    :ivar grid: seconds to whose multiples times are rounded up; 0: not rounded.
    """

    __slots__ = ("_buckets", "_count", "_times", "grid")

    def __init__(self, grid: float = 0.0) -> None:
        self.grid = grid
        self._times: list[float] = []
        self._buckets: dict[float, list[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, when: float, item: T) -> bool:
        """Let ``item`` expire at ``when``, in seconds of the caller's clock. Returns whether `next` is earlier now."""
        if self.grid:
            rounded = math.ceil(when / self.grid) * self.grid
            # The product may come out a bit too small.
            when = rounded if rounded >= when else rounded + self.grid
        self._count += 1
        bucket = self._buckets.get(when)
        if bucket is not None:
            bucket.append(item)
            return False
        earlier = when < self.next()
        self._buckets[when] = [item]
        heapq.heappush(self._times, when)
        return earlier

    def next(self) -> float:
        """Time of the earliest item, infinity if there is none."""
        return self._times[0] if self._times else math.inf

    def expired(self, now: float) -> Iterator[T]:
        """Remove and yield the items whose time has come, earliest first; those added meanwhile with a past time too."""
        while self._times and self._times[0] <= now:
            bucket = self._buckets.pop(heapq.heappop(self._times))
            self._count -= len(bucket)
            yield from bucket


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


class Pause:
    """Growing pauses between attempts at something that fails: each is a random part, at least half, of a ceiling that doubles
    from the first to the most.

    :param first: seconds, the ceiling of the first pause.
    :param most: seconds, the largest ceiling.
    :ivar count: pauses since the last `reset`.
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self.count = 0

    def reset(self) -> None:
        """It worked."""
        self.count = 0

    def seconds(self) -> float:
        """The next pause."""
        ceiling = min(self._most, self._first * 2.0 ** min(self.count, 32))
        self.count += 1
        return ceiling * random.uniform(0.5, 1.0)

    async def wait(self) -> None:
        """Let it pass."""
        await trio.sleep(self.seconds())
