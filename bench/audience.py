"""Who is where: rooms and their sizes, who speaks, who is slow, who loses the connection.

Owns the assignment of viewer numbers; pure, a function of the load, so that every process works it out for itself. Viewers
are numbered through all rooms, the largest room first.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from bench.load import Load

__all__ = ["Audience"]


GOLDEN = 0.6180339887498949
"""Its multiples modulo 1 are spread evenly, however many there are."""


class Audience:
    """See the module's docstring.

    :ivar sizes: viewers of each room; ``starts`` the number of its first.
    :ivar senders: numbers of all speakers, in the order in which they take turns.
    :ivar hosts: number of one viewer of each room, who says its notices; empty if there are none.
    :ivar slow: numbers of those who do not keep up; never speakers.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self.sizes = room_sizes(load.rooms, load.everybody, load.tail)
        self.starts = list(accumulate(self.sizes, initial=0))[:-1]
        self.everybody = sum(self.sizes)
        self.senders = self._senders()
        self.hosts = (
            tuple(start + size - 1 for start, size in zip(self.starts, self.sizes, strict=True)) if load.notices else ()
        )
        self.slow = frozenset(self._others(round(self.everybody * load.slow_share)))

    def room_of(self, viewer: int) -> int:
        """The room of a viewer."""
        return bisect_right(self.starts, viewer) - 1 if self._load.tail else viewer // self._load.viewers

    def _senders(self) -> tuple[int, ...]:
        """Evenly spread within a room, as many as its size is worth; rooms take turns."""
        load = self._load
        turns: list[tuple[float, int]] = []
        for room, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            count = min(size, max(1, round(load.senders * size / load.viewers)))
            # A room's speakers are evenly spread over the round, and so are the rooms that have only one.
            begin = room * GOLDEN % 1
            turns += (((number + begin) / count, start + number * size // count) for number in range(count))
        return tuple(viewer for _, viewer in sorted(turns))

    def _others(self, count: int) -> Sequence[int]:
        if not count:
            return ()
        speaking = set(self.senders)
        quiet = [viewer for viewer in range(self.everybody) if viewer not in speaking]
        return [quiet[number * len(quiet) // count] for number in range(min(count, len(quiet)))]

    def storm(self, number: int) -> list[int]:
        """Who loses the connection in storm ``number``: a new choice each time, among those who neither speak nor are slow."""
        stays = self.slow.union(self.senders)
        quiet = [viewer for viewer in range(self.everybody) if viewer not in stays]
        count = min(len(quiet), round(self.everybody * self._load.storm_share))
        return random.Random(self._load.seed * 1_000_003 + number).sample(quiet, count)


def room_sizes(rooms: int, everybody: int, tail: float) -> list[int]:
    """Sizes of ``rooms`` rooms that fall as ``1 / rank ** tail``, none empty, ``everybody`` in all.

    Raises ValueError when there are more rooms than viewers.
    """
    if everybody < rooms:
        raise ValueError("more rooms than viewers")
    weights = [rank**-tail for rank in range(1, rooms + 1)]
    total = sum(weights)
    spare = everybody - rooms
    edges = [round(spare * share / total) for share in accumulate(weights, initial=0.0)]
    return sorted((1 + edges[room + 1] - edges[room] for room in range(rooms)), reverse=True)
