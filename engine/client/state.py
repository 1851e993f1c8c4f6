"""What a room is at present, as far as a viewer can know: put together from snapshots, answers and changes.

Owns the entries and whether they are certain. Pure; knows no messages. Offsets tell what is part of what: a snapshot or an
answer holds the changes up to its own, so only later ones are applied to it. Changes that come while an answer is under way are
kept, the newest of each entry, because the answer may be older than they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from engine.client.items import Entry, Event, Packet, PacketEnd, State

__all__ = ["PACKET", "Change", "RoomState", "change_of"]


PACKET: Final = "packet"
"""Kind of the entries that are open red packets. They come and go with events of their own."""


class Change(NamedTuple):
    """One entry is another one after ``offset``, or, None, is gone."""

    offset: int
    key: tuple[str, str]
    entry: Entry | None


def change_of(event: Event) -> Change | None:
    """What an event changes of the room's state, if it does."""
    match event:
        case State():
            entry = None if event.value is None else Entry(event.value, event.version)
            return Change(event.offset, (event.kind, event.key), entry)
        case Packet():
            value = {name: getattr(event, name) for name in _PACKET} | {"author": [event.author.id, event.author.name]}
            # Nobody can build on it, so its version is not told.
            return Change(event.offset, (PACKET, str(event.entry)), Entry(value, 0))
        case PacketEnd():
            return Change(event.offset, (PACKET, str(event.packet)), None)
    return None


_PACKET: Final = ("total", "shares", "split", "opens", "expires", "followers", "phrase", "text", "commitment")


class RoomState:
    """The entries by kind and key.

    :ivar certain: no change is missing from them.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.certain = False
        self._after = 0
        """Changes up to here are part of the entries, or were missed."""
        self._least = 0
        """Offset that an answer must have, to hold what was missed."""
        self._later: dict[tuple[str, str], tuple[int, Entry | None]] = {}

    def forget(self) -> None:
        """What comes is another history; offsets mean something else."""
        self.certain = False
        self._after = self._least = 0
        self._later.clear()

    def missed(self, last: int) -> None:
        """Changes up to ``last`` will not come."""
        if self.certain and last <= self._after:
            # They are part of an answer that was ahead of what has come.
            return
        self.certain = False
        self._least = max(self._least, last)

    def change(self, change: Change) -> None:
        """Take in a change, unless it is part of the entries already."""
        if change.offset <= self._after:
            return
        self._after = change.offset
        self._put(change.key, change.entry)
        if not self.certain:
            self._later[change.key] = (change.offset, change.entry)

    def begin(self, offset: int, entries: Mapping[tuple[str, str], Entry]) -> None:
        """Take what the room was after ``offset``; every change from there on is still to come, again if it has to be."""
        self.entries = dict(entries)
        self._after = offset
        self._least = 0
        self._later.clear()
        self.certain = True

    def answer(self, offset: int, entries: Mapping[tuple[str, str], Entry], seen: int) -> bool:
        """Take what the room was after ``offset``; return whether it says something new, and all that was missed.

        :param seen: the last offset of which everything is known, but for what was missed.
        """
        if offset < self._least or (self.certain and offset <= max(seen, self._after)):
            return False
        later, reached = [(key, entry) for key, (at, entry) in self._later.items() if at > offset], self._after
        self.begin(offset, entries)
        self._after = max(offset, reached)
        for key, entry in later:
            self._put(key, entry)
        return True

    def _put(self, key: tuple[str, str], entry: Entry | None) -> None:
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = entry
