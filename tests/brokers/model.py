"""What a room's publishes and its record must be: plain lists, written without a look at any broker.

Owns the models that brokers are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from engine.brokers.base import Amended, Pending, Record

__all__ = ["ModelRecord", "ModelRoom", "Seen"]


@dataclass
class ModelRoom:
    """A room.

    :ivar keys: remembered, at most ``keys_max`` of them, oldest first.
    :ivar budget: events of lane 1 per second; 0: any number.
    :ivar spent: of the budget, at ``spent_ms``.
    """

    keys_max: int
    budget: Fraction = Fraction(0)
    events: list[bytes] = field(default_factory=list)
    keys: list[tuple[tuple[str, int], int]] = field(default_factory=list)
    spent: Fraction = Fraction(0)
    spent_ms: int = 0
    withheld: int = 0

    def publish(self, batch: Sequence[Pending], now_ms: int) -> list[int]:
        """Returns the offsets."""
        known = dict(self.keys)
        offsets = []
        for pending in batch:
            key = (pending.session, pending.ref)
            offset = known.get(key) if pending.session else None
            if offset is None and pending.lane and not self._fits(now_ms):
                self.withheld += 1
                offset = 0
            elif offset is None:
                self.events.append(pending.event)
                offset = len(self.events)
                if pending.session:
                    known[key] = offset
                    self.keys.append((key, offset))
            offsets.append(offset)
        self.keys = self.keys[max(len(self.keys) - self.keys_max, 0) :]
        return offsets

    def _fits(self, now_ms: int) -> bool:
        if not self.budget:
            return True
        self.spent = max(self.spent - max(now_ms - self.spent_ms, 0) * self.budget / 1000, Fraction(0))
        self.spent_ms = now_ms
        if self.spent + 1 > max(1, math.ceil(self.budget)):
            return False
        self.spent += 1
        return True


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
