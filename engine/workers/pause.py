"""Growing pauses between attempts at something that fails.

Owns the arithmetic: each pause is a random part, at least half, of a ceiling that doubles from the first to the most.
"""

from __future__ import annotations

import random

import trio

__all__ = ["Pause"]


class Pause:
    """See the module's docstring.

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
