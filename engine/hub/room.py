"""One open room at the hub: which edges show it, what waits for its tick, what it last told them.

Owns the room's sequencer, batcher and state, and turns them into link messages. Must not know sockets or the broker; when
something is due is told by an argument.

Every time that is shown is the broker's and none is before one shown earlier. Between events it is read off a clock that
follows the broker's and may be ahead of an event that is still on its way; that one is shown as late as what came before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from typing import Final

from engine.brokers.base import Amended, Events, Position, Record, Totals
from engine.hub.backfill import cut
from engine.hub.port import Port
from engine.link.messages import Down, Frames, Restart, SharedSnapshot
from engine.room.batcher import Batcher, Collected, tick_seconds
from engine.room.encoder import PLAIN_VARIANTS, encode_batch, plain
from engine.room.sequencer import Sequencer
from engine.room.state import RoomState
from engine.settings import RoomSettings

__all__ = ["HubRoom", "Phase"]

_COUNTERS_SHARE: Final = 0.05
"""Share of a core for batches that carry nothing but counters: a count that is late by seconds hurts nobody, while in a
huge room that fills each such batch costs as much as a comment."""


class Phase(Enum):
    """How a room stands with the broker."""

    OPENING = "opening"
    """The broker's position is not known yet; what it delivers waits."""
    LIVE = "live"
    """What the broker delivers joins."""
    REPAIRING = "repairing"
    """A hole is being read from the broker's history; what comes after it waits."""
    RESTARTING = "restarting"
    """The broker is in another epoch; what it delivers waits until its position is known."""


class HubRoom:
    """State of one open room.

    :param clock: the broker's time in this room (`Broker.now_ms`).
    :ivar ports: the edges that show it, with their viewers.
    :ivar behind: those of them that came back with an older position, and it; they are sent nothing else until they have
        everything up to `position`.
    :ivar wake: when `service` is to be called next, infinity if never.
    :ivar own: source of the likes that come from no edge.
    :ivar likes: totals by source, of those that the broker is to be told.
    :ivar ended: sources among them that will not grow any more.
    :ivar record: the broker's, of this room.
    :ivar early: what the broker delivered while the room was opening or restarting.
    """

    __slots__ = (
        "_batcher",
        "_clock",
        "_framed_at",
        "_sequencer",
        "_settings",
        "_shown_ms",
        "_variants",
        "behind",
        "early",
        "ended",
        "likes",
        "name",
        "own",
        "phase",
        "ports",
        "record",
        "state",
        "wake",
    )

    def __init__(self, name: str, settings: RoomSettings, own: str, clock: Callable[[], int]) -> None:
        self.name = name
        self.own = own
        self._clock = clock
        self._shown_ms = 0
        self._settings = settings
        self.state = RoomState(name)
        self.ports: dict[Port, int] = {}
        self.behind: dict[Port, Position] = {}
        self.likes: dict[str, int] = {}
        self.ended: set[str] = set()
        self._variants: frozenset[int] = frozenset()
        self._sequencer = Sequencer(Position(0, 0))
        self._batcher = Batcher(0, settings)
        self._framed_at = -math.inf
        self.phase = Phase.OPENING
        self.early: list[Events] = []
        self.wake = math.inf
        self.record = Record(name, 0, {})

    # -- edges --------------------------------------------------------------------------------------------------------

    @property
    def viewers(self) -> int:
        """Viewers at all edges of this hub."""
        return sum(self.ports.values())

    def attach(self, port: Port, known: Position) -> None:
        """An edge shows the room from now on; its viewers have everything up to ``known``, nothing if its epoch is 0."""
        self.ports.setdefault(port, 0)
        self.ended.discard(port.source(self.name))
        if known.epoch:
            self.behind[port] = known
        self.want()

    def detach(self, port: Port) -> None:
        """An edge does not show it any more. Its likes stay counted: the broker remembers them."""
        if port in self.ports and (source := port.source(self.name)) in self.likes:
            self.ended.add(source)
        self.ports.pop(port, None)
        self.behind.pop(port, None)
        self.want()

    def want(self) -> None:
        """Look again which variants the edges need."""
        self._variants = frozenset().union(*(port.wants.get(self.name, ()) for port in self.ports))

    def count(self, source: str, total: int) -> None:
        """A source has counted so many likes since it began."""
        if total > self.likes.get(source, 0):
            self.likes[source] = total

    def forget(self, told: Mapping[str, int]) -> None:
        """The broker knows these totals: those that have ended need not be told again."""
        for source in self.ended.intersection(told):
            if self.likes[source] == told[source]:
                self.ended.discard(source)
                del self.likes[source]

    def send(self, message: Down) -> None:
        """To every edge of the room that has what came before."""
        for port in self.ports:
            if port not in self.behind:
                port.post(message)

    # -- events -------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """What the edges have been given."""
        return Position(self._sequencer.epoch, self._sequencer.head - len(self._batcher))

    @property
    def missing(self) -> tuple[int, int] | None:
        """First and last offset of a hole in what the broker delivered."""
        return self._sequencer.missing

    def open(self, position: Position, now: float) -> None:
        """Begin at the broker's position."""
        self._sequencer = Sequencer(position)
        self._batcher = Batcher(position.offset, self._settings)
        self._framed_at = now
        self.phase = Phase.LIVE

    def take_in(self, events: Events, now: float) -> None:
        """Events from the broker. Raises `engine.room.sequencer.EpochChanged`."""
        for ready in self._sequencer.accept(events):
            self._batcher.add(ready, now, self.tick())

    def update(self, totals: Totals) -> None:
        """Counters from the broker."""
        self.state.update(totals)

    def amend(self, delivery: Record | Amended) -> None:
        """The room's record, or a change of it, from the broker."""
        if isinstance(delivery, Record):
            self.record = delivery
        elif delivery.value is None:
            fields = {field: value for field, value in self.record.fields.items() if field != delivery.field}
            self.record = Record(self.name, delivery.revision, fields)
        else:
            self.record = Record(self.name, delivery.revision, {**self.record.fields, delivery.field: delivery.value})

    def tick(self) -> float:
        """Seconds from a first event to its batch: the slowest edge sets it."""
        settings = self._settings
        return max(
            (tick_seconds(viewers, port.seconds_per_frame, settings) for port, viewers in self.ports.items()),
            default=0.0,
        )

    # -- time ---------------------------------------------------------------------------------------------------------

    def time(self) -> int:
        """What is to be shown as the time now: before anything that waits."""
        if not len(self._batcher):
            waiting = (events.times[0] for events in self.early if events.times)
            self._shown_ms = max(self._shown_ms, next(waiting, self._clock()))
        return self._shown_ms

    def due(self) -> float:
        """When `service` has something to do."""
        if self._batcher.due is not None:
            # Counters cannot pass the events that wait; they go with them.
            return self._batcher.due
        heartbeat = self._framed_at + self._settings.heartbeat_seconds
        return min(heartbeat, self._framed_at + self._counters_seconds()) if self.state.changed else heartbeat

    def _counters_seconds(self) -> float:
        cost = max((viewers * port.seconds_per_frame for port, viewers in self.ports.items()), default=0.0)
        return max(self._settings.counters_seconds, cost / _COUNTERS_SHARE)

    def service(self, now: float) -> None:
        """Send what is due: the tick's batch, counters, or a heartbeat."""
        if self.due() > now:
            return
        if self._batcher.due is not None:
            self.flush(now)
        else:
            head = self._batcher.last
            self._send_batch(Collected(head + 1, head, [], []), now)

    def flush(self, now: float) -> None:
        """Send all that waits, whether it is due or not."""
        while (batch := self._batcher.take(now)) is not None:
            self._send_batch(batch, now)

    def _send_batch(self, batch: Collected, now: float) -> None:
        state, epoch = self.state, self._sequencer.epoch
        self._framed_at = now
        if not batch.times:
            self.time()
        elif batch.times[0] < self._shown_ms:
            batch = replace(batch, times=[max(time, self._shown_ms) for time in batch.times])
        state.announced = state.counters
        frames = (
            encode_batch(state.handle, epoch, batch, state.counters, self._shown_ms, self._variants) if self._variants else {}
        )
        self._shown_ms = max([self._shown_ms, *batch.times[-1:]])
        self.send(Frames(self.name, epoch, batch.first, batch.last, frames))

    def send_snapshot(self, port: Port | None = None) -> None:
        """The state after `position`, for newcomers: to one edge, or to all."""
        position = self.position
        frames = self._snapshot_frames(position, self.time())
        for each in self.ports if port is None else (port,):
            if each in self.behind:
                continue
            needed = {plain(variant) for variant in each.wants[self.name]}
            mine = {variant: frames[variant] for variant in needed}
            each.post(SharedSnapshot(self.name, each.openings[self.name], position.epoch, position.offset, mine))

    def _snapshot_frames(self, position: Position, now_ms: int) -> dict[int, bytes]:
        return self.state.snapshot(position, now_ms, int(self._settings.heartbeat_seconds * 1000), PLAIN_VARIANTS)

    # -- losses -------------------------------------------------------------------------------------------------------

    def give_up(self, before: int, now: float) -> None:
        """The broker does not have the offsets up to ``before``: tell everybody, and go on there."""
        first = self._sequencer.head + 1
        if before <= first:
            # They came while the broker was asked.
            return
        self.flush(now)
        self._sequencer.give_up(before)
        self._batcher.skip(before)
        frames = self.state.gap(self._sequencer.epoch, first, before - 1, "history", PLAIN_VARIANTS)
        self.send(Frames(self.name, self._sequencer.epoch, first, before - 1, frames))

    def restart(self, position: Position, now: float) -> None:
        """The history was lost: end the old epoch for everybody, and go on at ``position``."""
        self.flush(now)
        old = self.position
        self.open(position, now)
        self.send(self._restarted(old, position, self.time()))
        self.send_snapshot()

    def _restarted(self, old: Position, new: Position, now_ms: int) -> Restart:
        gap = self.state.gap(old.epoch, old.offset + 1, 0, "epoch", PLAIN_VARIANTS)
        snapshot = self._snapshot_frames(new, now_ms)
        frames = {variant: gap[variant] + snapshot[variant] for variant in PLAIN_VARIANTS}
        return Restart(self.name, new.epoch, new.offset, frames)

    # -- edges that came back -----------------------------------------------------------------------------------------

    def welcome(self, port: Port) -> bool:
        """Let an edge that came back go on with the others if it has what they have; return whether it does."""
        known = self.behind.get(port)
        if known is None:
            return True
        if known != self.position:
            return False
        del self.behind[port]
        self.send_snapshot(port)
        return True

    def begin_anew(self, port: Port, past: Events) -> None:
        """Tell an edge that came back with a position of another epoch that the room goes on in this one with ``past``."""
        old, here = self.behind[port], self.position
        new = self.behind[port] = Position(here.epoch, min(past.first - 1, here.offset))
        port.post(self._restarted(old, new, past.times[0] if past.times else self.time()))

    def catch_up(self, port: Port, past: Events) -> None:
        """Give an edge that came back what follows its position, from the broker's history, up to what the others have."""
        epoch, known = self.behind[port]
        last = self.position.offset
        before = min(past.first, last + 1)
        if before > known + 1:
            gap = self.state.gap(epoch, known + 1, before - 1, "history", PLAIN_VARIANTS)
            port.post(Frames(self.name, epoch, known + 1, before - 1, gap))
            known = before - 1
        count = min(past.last, last) - known
        if count > 0:
            events = Events(self.name, epoch, past.first, past.events[:count], past.times[:count])
            for batch in cut(events, self._settings.batch_bytes):
                frames = encode_batch(self.state.handle, epoch, batch, self.state.counters, 0, port.wants[self.name])
                port.post(Frames(self.name, epoch, batch.first, batch.last, frames))
            known += count
        self.behind[port] = Position(epoch, known)
