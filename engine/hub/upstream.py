"""The broker as the open rooms see it: subscriptions, deliveries, and what mends a room when these do not join.

Owns which rooms the broker delivers and every room's way through its phases. Must not know edges beyond what a room sends them,
nor how events get to the broker.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from engine.brokers.base import Amended, Broker, Deliver, Delivery, Events, Position, Record, Tally, Totals, Unavailable
from engine.hub.backfill import PAGE
from engine.hub.room import HubRoom, Phase
from engine.room.sequencer import EpochChanged

__all__ = ["Upstream"]

_RETRY_SECONDS: Final = 1.0
"""Pause before a broker that was out of reach is asked again."""

log = logging.getLogger("roomcast.hub")


class Upstream:
    """See the module's docstring.

    :param broker: made from the function that it is to call for every delivery.
    :param rooms: the open rooms by name, the hub's.
    :param changed: called when a room may have become due earlier.
    :param ready: called when a room is live again after it was opened or restarted.
    :param noticed: called with the offset of a notice that asks for receipts.
    :param amended: called when a room's record has changed.
    :param counted: called when a room's totals have changed.
    :param restore: waited for before a room opens at the broker's position, again after a restart: what the history has lost
        and must not is published again, after that position. Returns where the room's present epoch began to be shown.
    :param turn_over: called after each step, to hand over what rooms sent.
    """

    def __init__(
        self,
        broker: Callable[[Deliver], Broker],
        rooms: dict[str, HubRoom],
        changed: Callable[[HubRoom], None],
        ready: Callable[[HubRoom], None],
        noticed: Callable[[HubRoom, int], None],
        amended: Callable[[HubRoom], None],
        counted: Callable[[HubRoom], None],
        restore: Callable[[HubRoom, Position], Awaitable[int]],
        turn_over: Callable[[], None],
    ) -> None:
        self.broker = broker(self._deliver)
        self._rooms = rooms
        self._clock = trio.current_time
        self._changed = changed
        self._ready = ready
        self._noticed = noticed
        self._amended = amended
        self._counted = counted
        self._restore = restore
        self._turn_over = turn_over
        self._closed: dict[str, HubRoom] = {}
        self._subscribed: set[str] = set()
        self._cared_for: set[str] = set()
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Care for rooms in tasks of this nursery from now on."""
        self._nursery = nursery

    def opened(self, room: HubRoom) -> None:
        """The room is among the open ones."""
        self._care_for(room.name)

    def closed(self, room: HubRoom) -> None:
        """The room is no more among the open ones."""
        self._closed[room.name] = room
        self._care_for(room.name)

    def lost(self, room: HubRoom) -> None:
        """Somebody saw the broker in another epoch than the room."""
        if room.phase in (Phase.LIVE, Phase.REPAIRING):
            room.phase = Phase.RESTARTING
            self._care_for(room.name)

    # -- deliveries ---------------------------------------------------------------------------------------------------

    def _deliver(self, delivery: Delivery) -> None:
        room = self._rooms.get(delivery.room)
        if room is None:
            return
        if isinstance(delivery, Record | Amended):
            room.amend(delivery)
            self._amended(room)
            if room.phase is not Phase.OPENING:
                self._changed(room)
            # Who is barred is told at once: nothing else may be due.
            self._turn_over()
            return
        if isinstance(delivery, Totals | Tally):
            room.update(delivery)
        elif room.phase in (Phase.OPENING, Phase.RESTARTING):
            room.early.append(delivery)
        else:
            self._take_in(room, delivery)
        if room.phase is not Phase.OPENING:
            if isinstance(delivery, Totals):
                self._counted(room)
            self._changed(room)

    def _take_in(self, room: HubRoom, events: Events) -> None:
        try:
            for offset in room.take_in(events, self._clock()):
                self._noticed(room, offset)
        except EpochChanged:
            room.early.append(events)
            self.lost(room)
            return
        if room.missing is not None and room.phase is Phase.LIVE:
            room.phase = Phase.REPAIRING
            self._care_for(room.name)

    # -- care: what a room needs, one step at a time ----------------------------------------------------------------------

    def _care_for(self, name: str) -> None:
        if name not in self._cared_for and self._nursery is not None:
            self._cared_for.add(name)
            self._nursery.start_soon(self._care, name)

    async def _care(self, name: str) -> None:
        """Do what the room needs until it needs nothing. One task for a name at a time, so that a room that is closed and
        opened again, or loses its history while a hole is mended, goes through these one after the other."""
        while name in self._closed or ((room := self._rooms.get(name)) is not None and room.phase is not Phase.LIVE):
            try:
                await self._care_once(name)
            except Unavailable as error:
                log.warning("broker_unavailable", extra={"room": name, "error": str(error)})
                await trio.sleep(_RETRY_SECONDS)
            self._turn_over()
        self._cared_for.discard(name)

    async def _care_once(self, name: str) -> None:
        closed, room = self._closed.get(name), self._rooms.get(name)
        if closed is not None:
            await self._close(closed)
        elif room is not None and room.phase is Phase.REPAIRING:
            await self._repair(room)
        elif room is not None:
            await self._open(room)

    async def _close(self, room: HubRoom) -> None:
        if room.name in self._subscribed:
            await self.broker.report(room.name, room.counts.report(0))
            await self.broker.unsubscribe(room.name)
            self._subscribed.discard(room.name)
        if self._closed.get(room.name) is room:
            del self._closed[room.name]

    async def _open(self, room: HubRoom) -> None:
        """Find out where the broker stands; go on there, in a new epoch if it lost the history."""
        self._subscribed.add(room.name)
        position = await self.broker.subscribe(room.name)
        if self._rooms.get(room.name) is not room:
            return
        origin = await self._restore(room, position)
        if self._rooms.get(room.name) is not room:
            return
        recent = None
        if room.recent_events and position.offset:
            after = max(position.offset - room.recent_events, 0)
            recent = (await self.broker.history(room.name, after, room.recent_events)).events
            if self._rooms.get(room.name) is not room:
                return
        if room.phase is Phase.OPENING:
            room.open(position, self._clock(), origin)
            if recent is not None:
                room.recall(recent)
            # Before anybody is let in.
            self._amended(room)
            room.bar()
            room.tell_packets()
            room.send_snapshot()
        else:
            log.warning("epoch_changed", extra={"room": room.name, "old": room.position.epoch, "new": position.epoch})
            room.restart(position, self._clock(), origin)
        early, room.early = room.early, []
        for events in early:
            if events.epoch == position.epoch:
                self._take_in(room, events)
        self._changed(room)
        self._ready(room)

    async def _repair(self, room: HubRoom) -> None:
        """Fetch what the broker gave offsets but did not deliver, before anything later is shown."""
        while room.phase is Phase.REPAIRING and (missing := room.missing) is not None:
            first, last = missing
            history = await self.broker.history(room.name, first - 1, min(PAGE, last - first + 1))
            if room.phase is not Phase.REPAIRING or self._rooms.get(room.name) is not room:
                return
            events = history.events
            if history.head.epoch != room.position.epoch:
                room.phase = Phase.RESTARTING
                return
            if not events.events or events.first != first:
                before = events.first if first < events.first <= last else last + 1
                log.warning("events_lost", extra={"room": room.name, "first": first, "last": before - 1})
                room.give_up(before, self._clock())
                events = Events(room.name, room.position.epoch, before, [], [])
            self._take_in(room, events)
        if room.phase is Phase.REPAIRING:
            room.phase = Phase.LIVE
        self._changed(room)
