"""Contiguity of a room's events: nothing passes before everything earlier has passed.

Owns the head of what was passed on and the events that arrived too early. The broker assigns offsets; this only checks them,
and says what to ask the broker for.
"""

from __future__ import annotations

from engine.brokers.base import Events, Position

__all__ = ["EpochChanged", "Sequencer"]


class EpochChanged(Exception):
    """Events of another epoch arrived: the room's history was lost and the room must start over."""


class Sequencer:
    """The contiguous prefix of a room's events.

    :ivar epoch: of everything passed on.
    :ivar head: last offset passed on.
    """

    __slots__ = ("_early", "epoch", "head")

    def __init__(self, position: Position) -> None:
        self.epoch, self.head = position
        self._early: dict[int, Events] = {}

    def accept(self, events: Events) -> list[Events]:
        """Take what the broker delivered and return what is now complete, in order, each offset once.

        :raises EpochChanged: when the events belong to another epoch; nothing was taken.
        """
        if events.epoch != self.epoch:
            raise EpochChanged
        if events.first > self.head + 1:
            known = self._early.get(events.first)
            if known is None or known.last < events.last:
                self._early[events.first] = events
            return []
        ready = []
        while True:
            if events.last > self.head:
                skip = self.head + 1 - events.first
                if skip:
                    events = Events(events.room, events.epoch, self.head + 1, events.events[skip:], events.times[skip:])
                self.head = events.last
                ready.append(events)
            following = min((first for first in self._early if first <= self.head + 1), default=None)
            if following is None:
                return ready
            events = self._early.pop(following)

    @property
    def missing(self) -> tuple[int, int] | None:
        """First and last offset of the earliest hole, None while nothing arrived early."""
        if not self._early:
            return None
        return self.head + 1, min(self._early) - 1

    def give_up(self, before: int) -> None:
        """Continue at ``before``: the broker does not have what is missing. The caller accounts for the hole."""
        self.head = max(self.head, before - 1)
