"""What everybody has given, in each stream and of all time.

Owns the sums of one transaction. Knows no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection

from engine.ledger.bulk import Find, Put
from engine.ledger.people import Person
from engine.ledger.rooms import Room
from engine.ledger.tables import boards

__all__ = ["ALL_TIME", "Boards"]

ALL_TIME: Final = ""
"""The stream that stands for all of them."""

_KEY: Final = (boards.c.room, boards.c.stream, boards.c.person)
_find: Final = Find(boards, _KEY)
_put: Final = Put(boards, tuple(boards.c), instead=_KEY)


class Boards:
    """The sums of those who give in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # By room and stream, then by person.
        self._sums: dict[tuple[int, str], dict[Person, int]] = {}
        self._changed: set[tuple[int, str, Person]] = set()

    def load(self, wanted: Iterable[tuple[Room, str, Person]]) -> None:
        """Read the sums in these streams and of all time."""
        people = {(room.number, each, person.number): person for room, stream, person in wanted for each in (stream, ALL_TIME)}
        for room, stream, number, given in _find(self._connection, list(people)):
            self._sums.setdefault((room, stream), {})[people[room, stream, number]] = given

    def given(self, room: Room, stream: str, person: Person) -> int:
        """How much it is."""
        return self._sums.get((room.number, stream), {}).get(person, 0)

    def add(self, room: Room, stream: str, person: Person, amount: int) -> int:
        """Add to the sum in this stream, which is returned, and to that of all time."""
        number = room.number
        for each in (stream, ALL_TIME) if stream else (ALL_TIME,):
            sums = self._sums.setdefault((number, each), {})
            sums[person] = sums.get(person, 0) + amount
            self._changed.add((number, each, person))
        return self._sums[number, stream][person]

    def save(self) -> None:
        """Write what has changed."""
        rows: Sequence[tuple[int, str, int, int]] = [
            (room, stream, person.number, self._sums[room, stream][person]) for room, stream, person in self._changed
        ]
        _put(self._connection, rows)
