"""The proof that nothing is missing, repeated or out of order: decoded server messages in, items in order out.

Owns the viewer's position in its room. Pure: knows no socket, no clock and no codec; messages are plain lists, as any
MessagePack or JSON reader returns them (`engine.schema` names the fields).

The engine promises ranges that join without hole or overlap. The follower believes nothing: every range must begin
where the last one ended, and what does not is a `ProtocolViolation`, never a silent repair. Only after a resume may
ranges begin before the position, because the server answers with whole shared frames; the overlap is dropped and
counted.

Times are checked between events only. A heartbeat carries the time of its making, which an event on its way from the
broker may precede.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

from engine.client.control import Control, Joined, PageAnswer, Pong, StateAnswer
from engine.client.counters import Counters, merged
from engine.client.fields import array, integer, read_author, string, violate
from engine.client.items import Direct, Gap, Omitted, Position, Present, RoomItem, Snapshot
from engine.client.known import KnownEntries, LedgerEntries
from engine.client.money import Money
from engine.client.paying import read_givers_answer, read_offers, read_paid
from engine.client.reading import (
    read_bye,
    read_event,
    read_joined,
    read_omission,
    read_page,
    read_recent,
    read_reply,
    read_state,
    read_totals,
)
from engine.client.state import Change, RoomState, change_of
from engine.schema import EventKind, OmittedReason

__all__ = ["Follower", "Statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What came so far, over all connections.

    :ivar events: events handed on.
    :ivar omitted: offsets that the server said carry no event.
    :ivar known: events about money that came again after the room's history was lost, and were dropped.
    :ivar overlap: offsets that came again after a resume, and were dropped.
    :ivar gaps: gaps reported; ``missing`` is the offsets they name, where the end is known.
    :ivar ignored: messages of kinds that this version does not know.
    """

    events: int = 0
    omitted: int = 0
    known: int = 0
    overlap: int = 0
    gaps: int = 0
    missing: int = 0
    ignored: int = 0


class _Kind(IntEnum):
    JOINED = 32
    SNAPSHOT = 33
    BATCH = 34
    REPLY = 35
    GAP = 36
    BYE = 37
    PONG = 38
    DIRECT = 39
    PAGE = 40
    STATE = 41
    PAID = 42
    GIVERS = 43
    GIFTS = 44


_CHANGES = (EventKind.STATE, EventKind.PACKET, EventKind.PACKET_END)
"""Events that change what the room is. They count for that even if they are not handed on."""


class _State(Enum):
    ABSENT = "not in the room"
    WAITING = "waiting for a snapshot"
    RESUMING = "resuming"
    LIVE = "live"


class Follower:
    """Checks one room's stream. Feed it every message; say when the connection is `lost`; resume from its `position`.

    :ivar position: the last offset accounted for; None before the first snapshot, and after a gap of unknown end until
        the snapshot that follows it.
    :ivar counters: the last totals seen.
    :ivar state: what the room is at present.
    :ivar heartbeat_ms: longest silence the server announced; 0 before it did.
    """

    def __init__(self, position: Position | None = None) -> None:
        self.position = position
        self.counters: Counters | None = None
        self.state = RoomState()
        self._entries = KnownEntries()
        self.heartbeat_ms = 0
        self._state = _State.ABSENT
        self._handle = 0
        self._resumed = False
        self._next = 0
        """First offset of the next range; meaningful when LIVE. Lies below the position while an overlap lasts."""
        self._time = 0
        """Of the last event in this epoch."""
        self._lost_epoch: int | None = None
        """Epoch whose end a gap has announced; its successor must differ."""
        self._least = 0
        """Smallest offset a snapshot of an unchanged epoch may have, after a gap of unknown end."""
        self._counts = dict.fromkeys(Statistics.__dataclass_fields__, 0)

    def statistics(self) -> Statistics:
        """What came so far."""
        return Statistics(**self._counts)

    @property
    def entries(self) -> LedgerEntries:
        """Which entries of the room's ledger have come."""
        return self._entries.summary()

    @property
    def stale(self) -> bool:
        """Whether changes of the room's state were missed and no snapshot will tell them: it has to be read again."""
        coming = self._state in (_State.ABSENT, _State.WAITING) or (self._state is _State.RESUMING and not self._resumed)
        return not self.state.certain and not coming

    def lost(self) -> None:
        """The connection is gone; the next message must be `Joined` (or a refusal)."""
        self._state = _State.ABSENT

    def feed(self, message: object) -> list[RoomItem | Control]:
        """Take one decoded message; return what it says, in order.

        A message is accepted whole or not at all: nothing has changed when this raises.

        :raises ProtocolViolation: the message has not the documented shape, or does not fit what came before.
        """
        if not isinstance(message, (list, tuple)) or not message:
            violate(f"a message must be an array with a kind, not {type(message).__name__}")
        kind = integer(message, 0, "kind")
        match kind:
            case _Kind.BATCH:
                return self._batch(message)
            case _Kind.REPLY:
                return [read_reply(message)]
            case _Kind.PONG:
                return [Pong(integer(message, 1, "pong ref"), integer(message, 2, "pong time"))]
            case _Kind.JOINED:
                return [self._joined(message)]
            case _Kind.SNAPSHOT:
                return [self._snapshot(message)]
            case _Kind.GAP:
                return self._gap(message)
            case _Kind.BYE:
                return [read_bye(message)]
            case _Kind.DIRECT:
                return [self._direct(message)]
            case _Kind.PAGE:
                self._in_room(message, "page", 2)
                return [PageAnswer(integer(message, 1, "page ref"), read_page(message))]
            case _Kind.STATE:
                return self._answer(message)
            case _Kind.PAID:
                self._in_room(message, "payment", 2)
                return [read_paid(message)]
            case _Kind.GIVERS:
                self._in_room(message, "list of givers", 2)
                return [read_givers_answer(message)]
            case _Kind.GIFTS:
                self._in_room(message, "catalogue", 2)
                return [read_offers(message)]
        self._counts["ignored"] += 1
        return []

    def _joined(self, message: Sequence[Any]) -> Joined:
        joined = read_joined(message)
        if self._state is not _State.ABSENT:
            violate("joined twice")
        self._handle = joined.handle
        self.heartbeat_ms = joined.heartbeat_ms
        # `resumed` is not needed to check the order: without it a gap or a snapshot has to come, and is checked then.
        self._resumed = joined.resumed
        self._state = _State.WAITING if self.position is None else _State.RESUMING
        return joined

    def _snapshot(self, message: Sequence[Any]) -> Snapshot:
        self._in_room(message, "snapshot")
        epoch, offset = integer(message, 3, "snapshot epoch"), integer(message, 4, "snapshot offset")
        room, time = string(message, 2, "snapshot room"), integer(message, 5, "time")
        counters = merged(self.counters, read_totals(message, 6, 8), whole=True)
        entries, recent = read_state(message, 9, ()), read_recent(message, 10, epoch)
        heartbeat_ms = integer(message, 7, "snapshot heartbeat")
        if self._state is _State.WAITING:
            if epoch == self._lost_epoch and (self._least == 0 or offset < self._least):
                violate(f"snapshot at {epoch}:{offset} repeats what a gap declared lost")
            position = Position(epoch, offset)
        else:
            assert self.position is not None
            position = self.position
            fits = offset == self._next - 1 if self._state is _State.LIVE else offset <= position.offset
            if epoch != position.epoch or not fits:
                violate(f"snapshot at {epoch}:{offset}, after {position.epoch}:{position.offset} without a gap")
        if self.position is None:
            self._time = 0
        self._settle(position, offset + 1)
        # A snapshot below the position, shared with others who come back, knows less than who has missed nothing.
        if offset >= position.offset or not self.state.certain:
            self.state.begin(offset, entries)
        self.counters = counters
        self.heartbeat_ms = heartbeat_ms
        return Snapshot(room, epoch, offset, time, counters, entries, recent)

    def _answer(self, message: Sequence[Any]) -> list[RoomItem | Control]:
        self._in_room(message, "state", 2)
        ref, epoch, offset = (integer(message, index, "state") for index in (1, 3, 4))
        counters, entries = merged(self.counters, read_totals(message, None, 5), whole=True), read_state(message, 6)
        things: list[RoomItem | Control] = [StateAnswer(ref)]
        if self.position is None or epoch != self.position.epoch:
            return things  # of a history that has ended, or of one that a snapshot will begin
        if self.state.answer(offset, entries, self.position.offset):
            things.append(Present(epoch, offset, dict(self.state.entries)))
        return things + self._count(counters)

    def _gap(self, message: Sequence[Any]) -> list[RoomItem | Control]:
        self._in_room(message, "gap")
        epoch, first, last = (integer(message, i, "gap") for i in (2, 3, 4))
        reason = string(message, 5, "gap reason")
        position = self.position
        if position is None:
            violate("a gap before the snapshot")
        self._begins("gap", epoch, first)
        end_known = last != 0 and reason != "epoch"
        if end_known and last < first:
            violate(f"a gap of {first}..{last}")
        if not end_known:
            self.position = None
            self._state = _State.WAITING
            self.state.forget()
            self._lost_epoch = epoch
            self._least = 0 if reason == "epoch" else max(first - 1, position.offset, 1)
        elif self._state is _State.RESUMING and reason == "history":
            # What follows may again be a shared frame that begins before the position.
            self.position = Position(epoch, max(last, position.offset))
        else:
            self._settle(Position(epoch, max(last, position.offset)), last + 1)
        first = max(first, position.offset + 1)
        if end_known and last < first:
            return []
        self._counts["gaps"] += 1
        self._counts["missing"] += last - first + 1 if last >= first else 0
        if end_known:
            self.state.missed(last)
        return [Gap(epoch, first, last, reason)]

    def _batch(self, message: Sequence[Any]) -> list[RoomItem | Control]:
        self._in_room(message, "batch")
        epoch, first, last, time = (integer(message, i, "batch") for i in (2, 3, 4, 5))
        events, delays = array(message, 6, "events"), array(message, 7, "delays", ())
        totals = read_totals(message, 8, 9)
        position = self.position
        if self._state is _State.WAITING or position is None:
            violate("a batch before the snapshot")
        self._begins("batch", epoch, first)
        if first == 0 or last < first - 1:
            violate(f"a batch of {first}..{last}")
        if delays and len(delays) != len(events):
            violate(f"{len(delays)} delays for {len(events)} events in {first}..{last}")
        items: list[RoomItem | Control] = []
        changes: list[Change] = []
        booked: set[int] = set()
        seen, offset, latest, omitted, known, previous = position.offset, first, self._time, 0, 0, 0
        for index, fields in enumerate(events):
            if not isinstance(fields, (list, tuple)):
                violate(f"event {offset} is not an array")
            delay = integer(delays, index, "delay") if delays else 0
            if delay < previous:
                violate(f"time goes backwards at {epoch}:{offset}")
            previous = delay
            kind = integer(fields, 0, "event kind")
            if kind == EventKind.OMITTED:
                reason, end = read_omission(fields, offset, last)
                if end > seen:
                    items.append(Omitted(epoch, max(offset, seen + 1), end, reason, time + delay))
                    omitted += end - max(offset - 1, seen)
            else:
                end = offset
                event = read_event(epoch, offset, time + delay, fields) if offset > seen or kind in _CHANGES else None
                change = change_of(event) if kind in _CHANGES and event is not None else None
                if change is not None:
                    changes.append(change)
                if event is not None and offset > seen:
                    if event.time < latest:
                        violate(f"time goes backwards at {epoch}:{offset}")
                    latest = event.time
                    if not isinstance(event, Money):
                        items.append(event)
                    elif event.entry in booked or event.entry in self._entries:
                        items.append(Omitted(epoch, offset, offset, OmittedReason.KNOWN, event.time))
                        known += 1
                    else:
                        items.append(event)
                        booked.add(event.entry)
            offset = end + 1
        if offset != last + 1:
            violate(f"events for {first}..{offset - 1} in a batch of {first}..{last}")
        fresh = max(last - max(first - 1, seen), 0)
        self._counts["events"] += fresh - omitted - known
        self._counts["omitted"] += omitted
        self._counts["known"] += known
        self._counts["overlap"] += last - first + 1 - fresh
        self._time = latest
        self._settle(Position(epoch, max(last, seen)), last + 1)
        for entry in booked:
            self._entries.add(entry)
        for change in changes:
            self.state.change(change)
        gone = [":".join(change.key) for change in changes if change.entry is None and change.offset > seen]
        return items + self._count(merged(self.counters, totals, gone=gone))

    def _count(self, counters: Counters | None) -> list[RoomItem | Control]:
        if counters is None or counters == self.counters:
            return []
        self.counters = counters
        return [counters]

    def _direct(self, message: Sequence[Any]) -> Direct:
        self._in_room(message, "direct message")
        return Direct(read_author(message, 2), string(message, 3, "direct body"), integer(message, 4, "direct time"))

    def _in_room(self, message: Sequence[Any], what: str, index: int = 1) -> None:
        handle = integer(message, index, f"{what} handle")
        if self._state is _State.ABSENT:
            violate(f"a {what} before joined")
        if handle != self._handle:
            violate(f"a {what} of room {handle}, not of {self._handle}")

    def _begins(self, what: str, epoch: int, first: int) -> None:
        """A range must begin where the last one ended; the first one after a resume, not later than that."""
        assert self.position is not None
        if epoch != self.position.epoch:
            violate(f"a {what} of epoch {epoch} in epoch {self.position.epoch}")
        if self._state is _State.LIVE:
            if first != self._next:
                fault = "leaves a hole" if first > self._next else "repeats"
                violate(f"a {what} {fault}: begins at {epoch}:{first}, expected {self._next}")
        elif first > self.position.offset + 1:
            violate(f"a {what} leaves a hole: begins at {epoch}:{first}, resumed after {self.position.offset}")

    def _settle(self, position: Position, following: int) -> None:
        self.position = position
        self._next = following
        self._state = _State.LIVE
        self._lost_epoch = None
