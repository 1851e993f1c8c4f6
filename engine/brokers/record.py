"""A room's record in memory: named fields, each change of which has a number.

Owns the rules: bounds, compare-and-set, expiry. ``record.lua`` has the same inside Redis. Pure: time is an argument.
"""

from __future__ import annotations

import math

from engine.brokers.base import Conflict, RecordFull

__all__ = ["Fields"]


class Fields:
    """See the module's docstring.

    :ivar revision: of the last change; 0 before the first.
    :ivar values: by name.
    :ivar last_ms: when the last of those that expire does.
    """

    __slots__ = ("_bytes_max", "_expiries", "_fields_max", "_next_ms", "_size", "last_ms", "revision", "values")

    def __init__(self, fields_max: int, bytes_max: int) -> None:
        self.limit(fields_max, bytes_max)
        self._expiries: dict[str, int] = {}
        self._next_ms = math.inf
        self._size = 0
        self.last_ms = 0
        self.revision = 0
        self.values: dict[str, bytes] = {}

    def limit(self, fields_max: int, bytes_max: int) -> None:
        """Refuse what is new beyond these bounds; what is there stays."""
        self._fields_max = fields_max
        self._bytes_max = bytes_max

    def amend(self, field: str, value: bytes | None, expires_at_ms: int, expect: int | None) -> bool:
        """Set a field, or delete it; returns whether that was a change. Raises `Conflict` and `RecordFull`.

        :param expires_at_ms: 0: never.
        """
        if expect is not None and expect != self.revision:
            raise Conflict(expect, self.revision)
        old = self.values.get(field)
        if value is None:
            if old is None:
                return False
            self._remove(field)
        else:
            size = self._size + _size(field, value) - (_size(field, old) if old is not None else 0)
            if old is None and len(self.values) >= self._fields_max:
                raise RecordFull("record_fields")
            if size > self._bytes_max:
                raise RecordFull("record_bytes")
            self._size = size
            self.values[field] = value
            self._expiries.pop(field, None)
            if expires_at_ms:
                self._expiries[field] = expires_at_ms
                self._next_ms = min(self._next_ms, expires_at_ms)
                self.last_ms = max(self.last_ms, expires_at_ms)
        self.revision += 1
        return True

    def expired(self, now_ms: int) -> str | None:
        """Delete one field whose time has come and return its name; None if there is none."""
        if now_ms < self._next_ms:
            return None
        when, field = min(((when, field) for field, when in self._expiries.items()), default=(math.inf, ""))
        self._next_ms = when
        if now_ms < when:
            return None
        self._remove(field)
        self.revision += 1
        return field

    def _remove(self, field: str) -> None:
        self._size -= _size(field, self.values.pop(field))
        self._expiries.pop(field, None)


def _size(field: str, value: bytes) -> int:
    return len(field.encode()) + len(value)
