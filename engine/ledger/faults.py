"""What an audit of the ledger has found: how much was looked at, and every fault.

Owns the bound on how many faults are described; all are counted. Pure.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

__all__ = ["Fault", "Faults", "Report"]

DESCRIBED: Final = 100
"""More would be read by nobody."""


class Fault(Struct, frozen=True):
    """One thing that is not as it must be.

    :ivar entry: number of the entry that it is about; 0: the room as a whole.
    """

    room: str
    entry: int
    text: str

    def __str__(self) -> str:
        return f"{self.room}, entry {self.entry}: {self.text}" if self.entry else f"{self.room}: {self.text}"


class Faults:
    """A list of faults that ends where nobody would read on.

    :param described: how many are kept.
    """

    def __init__(self, described: int = DESCRIBED) -> None:
        self.count = 0
        self.first: list[Fault] = []
        self._described = described

    def add(self, room: str, entry: int, text: str) -> None:
        """There is one more."""
        self.count += 1
        if len(self.first) < self._described:
            self.first.append(Fault(room, entry, text))


class Report(Struct, frozen=True, kw_only=True):
    """What was looked at, and what was found.

    :ivar unpublished: entries of the outbox: in the ledger, and not known to be in the stream. Not a fault: whoever is stopped
        between the two steps leaves some, and the next start publishes them.
    :ivar streams: recordings of rooms that were compared with the ledger; ``matched`` are the entries found in them.
    :ivar unmarked: entries of the outbox that were found in a stream: published, but that was not recorded any more.
    :ivar fault_count: all there are; ``faults`` the first of them.
    """

    rooms: int = 0
    entries: int = 0
    gifts: int = 0
    packets: int = 0
    shares: int = 0
    unpublished: int = 0
    streams: int = 0
    matched: int = 0
    unmarked: int = 0
    fault_count: int = 0
    faults: list[Fault] = []

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.fault_count
