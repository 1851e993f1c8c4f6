"""A room's record as one node has it: what was delivered, and whether there is more.

Owns the rule that amendments are delivered in order and without hole. Must not know connections.
"""

from __future__ import annotations

from engine.brokers.base import Amended, Deliver, Record

__all__ = ["Copy"]


class Copy:
    """See the module's docstring. A version is an epoch and a revision: a record that was lost begins anew in another epoch."""

    __slots__ = ("_deliver", "_record", "_version", "heard")

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._record: Record | None = None
        self._version = (0, 0)
        self.heard = (0, 0)

    @property
    def behind(self) -> bool:
        """Whether the record must be read."""
        return self._version < self.heard

    def hear(self, epoch: int, revision: int) -> None:
        """There is this version; the revision is 0 if only the epoch is known."""
        self.heard = max(self.heard, (epoch, revision))

    def amend(self, epoch: int, amended: Amended) -> None:
        """A change was spread: delivered if it is the next one."""
        self.hear(epoch, amended.revision)
        if self._record is None or self._version != (epoch, amended.revision - 1):
            return
        fields = dict(self._record.fields)
        if amended.value is None:
            fields.pop(amended.field, None)
        else:
            fields[amended.field] = amended.value
        self._version = (epoch, amended.revision)
        self._record = Record(amended.room, amended.revision, fields)
        self._deliver(amended)

    def take(self, epoch: int, record: Record) -> None:
        """The record was read: delivered if it is not older than what is here, and different; the first one by `repeat`."""
        version = (epoch, record.revision)
        self.hear(*version)
        if self._record is not None and version < self._version:
            return
        changed = self._record is not None and record != self._record
        self._version, self._record = version, record
        if changed:
            self._deliver(record)

    def repeat(self) -> None:
        """Deliver the record again."""
        if self._record is not None:
            self._deliver(self._record)
