"""A room's tallies as one node has them: what was delivered, and whether there is more.

Owns the rule that counts of an older moment never come after those of a newer one. Must not know connections.
"""

from __future__ import annotations

from engine.brokers.base import Deliver, Tally
from engine.brokers.redis.spread import Counted

__all__ = ["Board"]


class Board:
    """See the module's docstring. Versions count within an epoch; in each, what is here is whole up to one of them."""

    __slots__ = ("_begun", "_counts", "_deliver", "_room", "_version", "heard")

    def __init__(self, room: str, deliver: Deliver) -> None:
        self._room = room
        self._deliver = deliver
        self._begun = False
        self._counts: dict[str, tuple[int, ...]] = {}
        self._version = (0, 0)
        self.heard = (0, 0)

    @property
    def behind(self) -> bool:
        """Whether the tallies must be read."""
        return self._version < self.heard

    def hear(self, epoch: int, version: int) -> None:
        """This version was spread."""
        self.heard = max(self.heard, (epoch, version))
        if not version and not self._counts:
            # There are none.
            self._version = max(self._version, (epoch, 0))

    def take(self, counted: Counted) -> None:
        """Tallies were spread: delivered if none that was spread before them is missing, and they are newer."""
        self.heard = max(self.heard, (counted.epoch, counted.version))
        epoch, version = self._version
        if self._begun and epoch == counted.epoch and counted.since <= version < counted.version:
            self._version = (epoch, counted.version)
            for name, counts in counted.counts.items():
                self._set(name, counts)

    def read(self, counted: Counted) -> None:
        """All tallies were read: those that differ are delivered, if they are not older than what is here; the first ones by
        `repeat`. Those that were lost have no counts."""
        version = (counted.epoch, counted.version)
        self.heard = max(self.heard, version)
        if self._begun and version < self._version:
            return
        self._version = version
        for name in [name for name in self._counts if name not in counted.counts]:
            self._set(name, ())
            del self._counts[name]
        for name, counts in counted.counts.items():
            self._set(name, counts)
        self._begun = True

    def repeat(self) -> None:
        """Deliver all tallies again."""
        for name, counts in self._counts.items():
            self._deliver(Tally(self._room, name, counts))

    def _set(self, name: str, counts: tuple[int, ...]) -> None:
        if self._counts.get(name) != counts:
            self._counts[name] = counts
            if self._begun:
                self._deliver(Tally(self._room, name, counts))
