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

from engine.client.items import (
    Control,
    Counters,
    Direct,
    Gap,
    Joined,
    Omitted,
    Pong,
    Position,
    RoomItem,
    Snapshot,
    array,
    integer,
    read_author,
    read_bye,
    read_counters,
    read_event,
    read_reply,
    string,
    violate,
)
from engine.schema import EventKind

__all__ = ["Follower", "Statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What came so far, over all connections.

    :ivar events: events handed on.
    :ivar omitted: offsets that the server said carry no event.
    :ivar overlap: offsets that came again after a resume, and were dropped.
    :ivar gaps: gaps reported; ``missing`` is the offsets they name, where the end is known.
    :ivar ignored: messages of kinds that this version does not know.
    """

    events: int = 0
    omitted: int = 0
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
    :ivar heartbeat_ms: longest silence the server announced; 0 before it did.
    """

    def __init__(self, position: Position | None = None) -> None:
        self.position = position
        self.counters: Counters | None = None
        self.heartbeat_ms = 0
        self._state = _State.ABSENT
        self._handle = 0
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
        self._counts["ignored"] += 1
        return []

    def _joined(self, message: Sequence[Any]) -> Joined:
        resumed = message[6] if len(message) > 6 else None
        if not isinstance(resumed, bool):
            violate("joined: resumed must be a boolean")
        joined = Joined(
            integer(message, 1, "joined ref"),
            integer(message, 2, "joined handle"),
            string(message, 3, "joined session"),
            string(message, 4, "joined user"),
            string(message, 5, "joined role"),
            resumed,
            integer(message, 7, "joined heartbeat"),
        )
        if self._state is not _State.ABSENT:
            violate("joined twice")
        self._handle = joined.handle
        self.heartbeat_ms = joined.heartbeat_ms
        # `resumed` is not needed to check the order: without it a gap or a snapshot has to come, and is checked then.
        self._state = _State.WAITING if self.position is None else _State.RESUMING
        return joined

    def _snapshot(self, message: Sequence[Any]) -> Snapshot:
        self._in_room(message, "snapshot")
        epoch, offset = integer(message, 3, "snapshot epoch"), integer(message, 4, "snapshot offset")
        counters = read_counters(message, 6)
        snapshot = Snapshot(string(message, 2, "snapshot room"), epoch, offset, integer(message, 5, "time"), counters)
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
        self.counters = counters or self.counters
        self.heartbeat_ms = heartbeat_ms
        return snapshot

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
        return [Gap(epoch, first, last, reason)]

    def _batch(self, message: Sequence[Any]) -> list[RoomItem | Control]:
        self._in_room(message, "batch")
        epoch, first, last, time = (integer(message, i, "batch") for i in (2, 3, 4, 5))
        events, delays = array(message, 6, "events"), array(message, 7, "delays", ())
        counters = read_counters(message, 8)
        position = self.position
        if self._state is _State.WAITING or position is None:
            violate("a batch before the snapshot")
        self._begins("batch", epoch, first)
        if first == 0 or last < first - 1:
            violate(f"a batch of {first}..{last}")
        if delays and len(delays) != len(events):
            violate(f"{len(delays)} delays for {len(events)} events in {first}..{last}")
        items: list[RoomItem | Control] = []
        seen, offset, latest, omitted, previous = position.offset, first, self._time, 0, 0
        for index, fields in enumerate(events):
            if not isinstance(fields, (list, tuple)):
                violate(f"event {offset} is not an array")
            delay = integer(delays, index, "delay") if delays else 0
            if delay < previous:
                violate(f"time goes backwards at {epoch}:{offset}")
            previous = delay
            if integer(fields, 0, "event kind") == EventKind.OMITTED:
                reason, count = integer(fields, 1, "omitted reason"), integer(fields, 2, "omitted count")
                end = offset + count - 1
                if count == 0 or end > last:
                    violate(f"{count} offsets omitted at {offset} of {first}..{last}")
                if end > seen:
                    items.append(Omitted(epoch, max(offset, seen + 1), end, reason))
                    omitted += end - max(offset - 1, seen)
            else:
                end = offset
                if offset > seen:
                    if time + delay < latest:
                        violate(f"time goes backwards at {epoch}:{offset}")
                    latest = time + delay
                    items.append(read_event(epoch, offset, latest, fields))
            offset = end + 1
        if offset != last + 1:
            violate(f"events for {first}..{offset - 1} in a batch of {first}..{last}")
        fresh = max(last - max(first - 1, seen), 0)
        self._counts["events"] += fresh - omitted
        self._counts["omitted"] += omitted
        self._counts["overlap"] += last - first + 1 - fresh
        self._time = latest
        self._settle(Position(epoch, max(last, seen)), last + 1)
        if counters is not None and counters != self.counters:
            self.counters = counters
            items.append(counters)
        return items

    def _direct(self, message: Sequence[Any]) -> Direct:
        self._in_room(message, "direct message")
        return Direct(read_author(message, 2), string(message, 3, "direct body"), integer(message, 4, "direct time"))

    def _in_room(self, message: Sequence[Any], what: str) -> None:
        handle = integer(message, 1, f"{what} handle")
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
