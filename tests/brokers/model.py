"""What a room's publishes and its record must be: plain lists, written without a look at any broker.

Owns the models that brokers are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import msgspec

from engine.brokers.base import LIMITED, NO_BYTES, NO_EVENTS, Amended, Pending, Record
from engine.schema import OmittedEvent, OmittedReason

__all__ = ["GONE", "ModelRecord", "ModelRoom", "Seen", "amended"]

GONE = msgspec.msgpack.encode(OmittedEvent(OmittedReason.DELETED, 1))
"""What is read where something was redacted."""


@dataclass
class ModelRoom:
    """A room.

    :ivar keys: remembered, at most ``keys_max`` of them, oldest first.
    :ivar budget: per second, of events and of bytes; 0: any number.
    :ivar spent: of each, at ``spent_ms``.
    :ivar withheld: for want of each.
    :ivar offered: events that were no retry.
    """

    keys_max: int
    budget: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    events: list[bytes] = field(default_factory=list)
    redacted: set[int] = field(default_factory=set)
    keys: list[tuple[tuple[str, int], int]] = field(default_factory=list)
    spent: list[Fraction] = field(default_factory=lambda: [Fraction(0), Fraction(0)])
    spent_ms: int = 0
    withheld: tuple[int, int] = (0, 0)
    offered: int = 0

    @property
    def past(self) -> list[bytes]:
        """What a history that keeps everything shows."""
        return [GONE if offset in self.redacted else event for offset, event in enumerate(self.events, 1)]

    def explains(self, bodies: Sequence[bytes]) -> bool:
        """Whether that is what a subscriber may have been delivered: what it missed it may have read after a redaction."""
        seen = zip(bodies, self.events, self.past, strict=False)
        return len(bodies) == len(self.events) and all(body in (event, now) for body, event, now in seen)

    def publish(self, batch: Sequence[Pending], now_ms: int) -> list[int]:
        """Returns the offsets."""
        known = dict(self.keys)
        offsets = []
        for pending in batch:
            key = (pending.session, pending.ref)
            offset = known.get(key) if pending.session else None
            if offset is None:
                self.offered += 1
                short = self._short(now_ms, pending)
                if short is not None:
                    self.withheld = (self.withheld[0] + 1 - short, self.withheld[1] + short)
                    offset = (NO_EVENTS, NO_BYTES)[short]
                else:
                    self.events.append(pending.event)
                    offset = len(self.events)
                    if pending.session:
                        known[key] = offset
                        self.keys.append((key, offset))
            offsets.append(offset)
        self.keys = self.keys[max(len(self.keys) - self.keys_max, 0) :]
        assert len(self.events) + sum(self.withheld) == self.offered
        return offsets

    def publish_one(self, event: Pending, now_ms: int) -> int:
        """Whatever its lane."""
        return self.publish([Pending(event.event, event.session, event.ref)], now_ms)[0]

    def redact(self, offsets: Sequence[int], event: Pending, now_ms: int) -> int:
        """Returns the offset of the event."""
        if not self.knows(event):
            self.redacted |= {offset for offset in offsets if 1 <= offset <= len(self.events)}
        return self.publish_one(event, now_ms)

    def knows(self, event: Pending) -> bool:
        """Whether it was published before."""
        return event.session != "" and (event.session, event.ref) in dict(self.keys)

    def _short(self, now_ms: int, pending: Pending) -> int | None:
        """Of which budget there is too little, if so; otherwise it is spent."""
        passed, self.spent_ms = max(now_ms - self.spent_ms, 0), now_ms
        worths = [max(1, math.ceil(rate)) for rate in self.budget]
        costs = (1, len(pending.event))
        limited = [which for which, rate in enumerate(self.budget) if rate]
        for which in limited:
            self.spent[which] = max(self.spent[which] - passed * self.budget[which] / 1000, Fraction(0))
        for which in limited:
            need = costs[which] + Fraction(pending.reserve, 64) * worths[which]
            if pending.lane == LIMITED and self.spent[which] + need > worths[which] and self.spent[which]:
                return which
        for which in limited:
            self.spent[which] = min(self.spent[which] + costs[which], Fraction(2 * worths[which]))
        return None


@dataclass
class ModelRecord:
    """A room's record.

    :ivar fields: value and time of expiry, 0 for none.
    """

    fields_max: int
    bytes_max: int
    revision: int = 0
    fields: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    last_ms: int = 0

    @property
    def values(self) -> dict[str, bytes]:
        return {name: value for name, (value, _) in self.fields.items()}

    def amend(self, name: str, value: bytes | None, expires_ms: int, expect: int | None, now_ms: int) -> int | str:
        """Returns the revision, or why not."""
        self.expire(now_ms)
        if expect is not None and expect != self.revision:
            return "Conflict"
        after = dict(self.fields)
        after.pop(name, None)
        if value is not None:
            after[name] = value, now_ms + expires_ms if expires_ms else 0
            if name not in self.fields and len(after) > self.fields_max:
                return "RecordFull"
            if sum(len(each.encode()) + len(content) for each, (content, _) in after.items()) > self.bytes_max:
                return "RecordFull"
        if value is not None or name in self.fields:
            self.revision += 1
        self.fields = after
        self.last_ms = max([self.last_ms, *(when for _, when in after.values())])
        return self.revision

    def expire(self, now_ms: int) -> None:
        """Time has passed."""
        for name, (_, when) in list(self.fields.items()):
            if when and when <= now_ms:
                del self.fields[name]
                self.revision += 1


def amended(
    record: ModelRecord,
    room: ModelRoom,
    name: str,
    value: bytes | None,
    expires_ms: int,
    expect: int | None,
    event: Pending | None,
    time: int,
    now_ms: int,
) -> int | str:
    """A record is amended, and an event published in the same step; returns as `ModelRecord.amend`.

    :param time: the room's.
    """
    record.expire(time)
    before = record.revision
    if event is not None and room.knows(event):
        return before
    outcome = record.amend(name, value, expires_ms, expect, time)
    if event is not None and record.revision > before:
        room.publish_one(event, now_ms)
    return outcome


class Seen:
    """A record by what was delivered of it; joins or fails."""

    def __init__(self) -> None:
        self.revision = -1
        self.values: dict[str, bytes] = {}

    def take(self, delivery: Record | Amended) -> None:
        if isinstance(delivery, Record):
            self.values = dict(delivery.fields)
        else:
            assert delivery.revision == self.revision + 1
            self.values.pop(delivery.field, None)
            if delivery.value is not None:
                self.values[delivery.field] = delivery.value
        self.revision = delivery.revision
