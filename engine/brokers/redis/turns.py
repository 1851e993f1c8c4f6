"""One after the other in each room, many rooms at the same time.

Owns who may go on. Must not know what for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["Turns"]


class Turns:
    """A lock for each room, there as long as somebody has it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    @asynccontextmanager
    async def alone(self, room: str) -> AsyncIterator[None]:
        """Be the only one in the room."""
        lock = self._locks.setdefault(room, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(room, None)
