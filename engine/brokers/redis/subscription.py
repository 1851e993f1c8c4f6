"""A room as one node is subscribed to it: what was delivered, what is missing, which totals are the newest.

Owns the rule that deliveries join. Must not know connections: it is told what came, and says whether something must be fetched.
"""

from __future__ import annotations

import math
from typing import Final

from engine.brokers.base import Deliver, Events, History, Position, Totals
from engine.brokers.redis.board import Board
from engine.brokers.redis.clock import Clock
from engine.brokers.redis.copy import Copy
from engine.brokers.redis.functions import BEGINNING, State
from engine.brokers.redis.share import Share
from engine.brokers.redis.spread import Told

__all__ = ["Subscription"]

_EARLY_EVENTS: Final = 10_000
"""Held while something before them is fetched. What does not fit is dropped here and comes with what is fetched later."""


class Subscription:
    """See the module's docstring.

    :ivar name: under which this subscription's viewers are counted.
    :ivar clock: the room's.
    :ivar known: the room's head as far as this node knows, delivered or not.
    :ivar record: the room's, as it was delivered.
    :ivar tallies: the room's, as they were delivered.
    :ivar share: this node's share in the totals.
    :ivar renewed: when the lease was last renewed, on the clock of the owner; ``due`` when a report is to be made.
    :ivar mending: whether somebody fetches what is missing.
    """

    __slots__ = (
        "_deliver",
        "_early",
        "_early_events",
        "_head",
        "_since",
        "_totals",
        "_version",
        "clock",
        "due",
        "known",
        "mending",
        "name",
        "record",
        "renewed",
        "room",
        "share",
        "tallies",
    )

    def __init__(self, room: str, name: str, deliver: Deliver) -> None:
        self.room = room
        self.name = name
        self._deliver = deliver
        self._head: Position | None = None
        self._since = 0
        self._early: dict[Position, Events] = {}
        self._early_events = 0
        self.known = Position(0, 0)
        self.share = Share()
        self.clock = Clock()
        self.record = Copy(deliver)
        self.tallies = Board(room, deliver)
        self.renewed = 0.0
        self.due = math.inf
        self.mending = False
        self._version = (0, -1)
        self._totals: Totals | None = None

    @property
    def begun(self) -> bool:
        """Whether it is known where deliveries begin."""
        return self._head is not None

    @property
    def hole(self) -> bool:
        """Whether something was spread that cannot be delivered before something else was fetched."""
        return bool(self._early)

    @property
    def behind(self) -> bool:
        """Whether the room has more events than were delivered."""
        return self._head is not None and self._head < self.known

    @property
    def stale(self) -> bool:
        """Whether the room's record or its tallies must be read."""
        return self.record.behind or self.tallies.behind

    def learn(self, head: Position) -> None:
        """The room has reached this position."""
        self.known = max(self.known, head)

    # -- events -------------------------------------------------------------------------------------------------------

    def begin(self, head: Position) -> None:
        """Deliver what comes after this position."""
        self._head = head
        self._since = head.offset
        self._deliver_early()

    def position(self) -> Position:
        """Where a subscriber who asks now must start. After a change of epoch that is before the first event delivered since,
        once: nothing of a new epoch is missed by somebody who asks because of it."""
        if self._head is None:
            raise RuntimeError("a subscription that has not begun has no position")
        since, self._since = self._since, -1
        return Position(self._head.epoch, self._head.offset if since < 0 else since)

    def take(self, events: Events) -> None:
        """Events were spread. They are delivered now, or held until what lies before them was fetched (`behind`)."""
        self.record.hear(events.epoch, 0)
        self.learn(Position(events.epoch, events.last))
        if self._head is not None and self._joins(events):
            self._pass_on(events)
            if self._early:
                self._deliver_early()
        elif events.events and (self._head is None or (events.epoch, events.last) > self._head):
            self._hold(events)

    @property
    def asking(self) -> Position:
        """After which position history is to be fetched: the last delivered event, or with `BEGINNING` that of a new epoch."""
        assert self._head is not None
        return self._head if self._head.epoch == self.known.epoch else Position(self.known.epoch, BEGINNING)

    def take_past(self, history: History, asked: Position) -> bool:
        """History after ``asked`` was fetched. Returns whether it is of use to ask for more."""
        if self._head is None:
            return False
        before, events = self._head, history.events
        self.learn(history.head)
        if asked.offset != BEGINNING and history.head.epoch != asked.epoch:
            # An offset of another epoch was asked for.
            return history.head.epoch > asked.epoch
        if history.head < before:
            return False
        if history.head.epoch > before.epoch:
            before = Position(history.head.epoch, 0)
        # What is neither there nor held is gone, and the subscriber sees that by a hole.
        start = min(events.first, *(first for epoch, first in self._early if epoch == before.epoch), history.head.offset + 1)
        if events.events or start > before.offset + 1 or self._head.epoch != before.epoch:
            self._start_at(Position(before.epoch, max(start - 1, before.offset)))
            self._deliver_early()
            if self._joins(events):
                self._pass_on(events)
            self._deliver_early()
        return self._head > before

    def _start_at(self, head: Position) -> None:
        """Go on after ``head``, whatever was before it."""
        assert self._head is not None
        if head != self._head:
            if head.epoch != self._head.epoch:
                self._since = head.offset
            self._head = head
            # Empty: says where the room goes on, should nothing follow at once.
            self._deliver(Events(self.room, head.epoch, head.offset + 1, [], []))

    def _joins(self, events: Events) -> bool:
        assert self._head is not None
        epoch, offset = self._head
        if events.epoch == epoch:
            return events.first <= offset + 1 and events.last > offset
        # Without events it says where the epoch begins.
        return events.epoch > epoch and (events.first == 1 or not events.events)

    def _pass_on(self, events: Events) -> None:
        assert self._head is not None
        if events.epoch != self._head.epoch:
            self._since = events.first - 1
        elif (skip := self._head.offset + 1 - events.first) > 0:
            events = Events(events.room, events.epoch, events.first + skip, events.events[skip:], events.times[skip:])
        self._head = Position(events.epoch, events.last)
        self._deliver(events)

    def _hold(self, events: Events) -> None:
        if self._early_events < _EARLY_EVENTS:
            key = Position(events.epoch, events.first)
            if key not in self._early:
                self._early[key] = events
                self._early_events += len(events.events)

    def _deliver_early(self) -> None:
        assert self._head is not None
        for key in sorted(self._early):
            events = self._early[key]
            if self._joins(events):
                self._pass_on(events)
            elif (events.epoch, events.last) > self._head:
                continue
            del self._early[key]
            self._early_events -= len(events.events)

    # -- totals -------------------------------------------------------------------------------------------------------

    def take_state(self, state: State) -> None:
        """The answer to a report of this node."""
        self.learn(state.head)
        self.record.hear(state.head.epoch, state.revision)
        self.tallies.hear(state.head.epoch, state.tallied)
        self.take_totals(state.totals)

    def take_totals(self, told: Told) -> None:
        """Totals as spread: delivered if they are newer than the last and different."""
        if (told.epoch, told.version) > self._version:
            self._version = (told.epoch, told.version)
            if told.totals != self._totals:
                self._totals = told.totals
                if self._head is not None:
                    self._deliver(told.totals)

    def repeat(self) -> None:
        """Deliver the newest totals, the record and the tallies again."""
        if self._totals is not None:
            self._deliver(self._totals)
        self.record.repeat()
        self.tallies.repeat()
