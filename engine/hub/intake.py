"""Events on their way to the broker: accepted, not yet published.

Owns what waits for each room and who is to be told. Pure. The next publish of a room leaves when the previous one has
returned, so batches grow with the broker's delay and no timer is needed.
"""

from __future__ import annotations

from typing import Protocol

from engine.brokers.base import LIMITED, Pending
from engine.errors import Code, Refused

__all__ = ["Answer", "Intake"]


class Answer(Protocol):
    """Who asked: told exactly once what became of its event."""

    def __call__(self, code: Code, offset: int, text: str, retry_after_ms: int, /) -> None: ...


class Intake:
    """What waits to be published, by room, in order of arrival.

    :ivar limit: events that may wait in all rooms together.
    :ivar refused: events that found too many waiting.
    """

    __slots__ = ("_rooms", "limit", "refused", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rooms: dict[str, list[tuple[Pending, Answer]]] = {}
        self.waiting = self.refused = 0

    def add(self, room: str, pending: Pending, answer: Answer) -> None:
        """Queue an event. Raises `Refused` when too much waits; what is never withheld may wait as long again."""
        if self.waiting >= (self.limit if pending.lane == LIMITED else 2 * self.limit):
            self.refused += 1
            raise Refused(Code.OVERLOADED, "too many events wait to be published (limits.pending_events)", 1000)
        self.waiting += 1
        queue = self._rooms.get(room)
        if queue is None:
            self._rooms[room] = [(pending, answer)]
        else:
            queue.append((pending, answer))

    def take(self) -> dict[str, list[tuple[Pending, Answer]]]:
        """Remove and return everything that waits; `done` must follow for each."""
        rooms, self._rooms = self._rooms, {}
        return rooms

    def done(self, count: int) -> None:
        """So many events were answered."""
        self.waiting -= count
