"""Gifts that follow upon each other.

Owns which gift continues which combo. Time is an argument; events and entries are others' business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete

from engine.ledger.bulk import Find, Put
from engine.ledger.people import NOBODY, People, Person
from engine.ledger.rooms import Room
from engine.ledger.tables import combos

__all__ = ["Combo", "Combos"]

_KEY: Final = (combos.c.room, combos.c.person, combos.c.gift, combos.c.other)
_find: Final = Find(combos, _KEY)
_put: Final = Put(combos, tuple(combos.c), instead=_KEY)
_FORGET: Final = delete(combos).where(
    combos.c.room.in_(bindparam("rooms", expanding=True)), combos.c.presses < 2, combos.c.until_ms < bindparam("now_ms")
)


class Combo(Struct, eq=False):
    """One giver's gifts of one kind to one receiver, each within a time of the one before.

    :ivar first: entry of its first gift.
    :ivar presses: gifts in it; 0: its end is booked.
    :ivar count: sum of theirs.
    :ivar until_ms: a gift until then, inclusive, continues it.
    :ivar author: who gave, as last shown.
    """

    room: int
    person: Person
    gift: str
    other: Person | None
    first: int
    presses: int = 0
    count: int = 0
    amount: int = 0
    until_ms: int = 0
    author: bytes = b""

    def is_over(self, now_ms: int) -> bool:
        """Whether a gift would not continue it now."""
        return now_ms > self.until_ms

    def is_told(self) -> bool:
        """Whether its end is worth an entry."""
        return self.presses >= 2

    def press(self, count: int, amount: int, until_ms: int, author: bytes) -> None:
        """One more gift."""
        self.presses += 1
        self.count += count
        self.amount += amount
        self.until_ms = until_ms
        self.author = author


class Combos:
    """The combos of one transaction."""

    def __init__(self, connection: Connection, people: People) -> None:
        self._connection = connection
        self._people = people
        self._combos: dict[tuple[int, Person, str, Person | None], Combo] = {}
        self._firsts: dict[tuple[int, int], Combo] = {}
        self._changed: set[Combo] = set()

    def load(self, wanted: Iterable[tuple[Room, Person, str, Person | None]]) -> None:
        """Read what may go on."""
        keys = {
            (room.number, person.number, gift, other.number if other is not None else NOBODY)
            for room, person, gift, other in wanted
        }
        for number, giver, gift, getter, *rest in _find(self._connection, sorted(keys)):
            person = self._people.numbered(giver)
            assert person is not None
            self._add(Combo(number, person, gift, self._people.numbered(getter), *rest))

    def _add(self, combo: Combo) -> None:
        self._combos[combo.room, combo.person, combo.gift, combo.other] = combo
        self._firsts[combo.room, combo.first] = combo

    def get(self, room: Room, person: Person, gift: str, other: Person | None) -> Combo | None:
        """None: there is none that may go on or whose end is not booked."""
        return self._combos.get((room.number, person, gift, other))

    def begun_by(self, room: Room, first: int) -> Combo | None:
        """By the entry of its first gift; None as with `get`."""
        return self._firsts.get((room.number, first))

    def begin(self, room: Room, person: Person, gift: str, other: Person | None, first: int) -> Combo:
        """A new one, without gifts yet."""
        combo = Combo(room.number, person, gift, other, first)
        self._add(combo)
        return combo

    def change(self, combo: Combo) -> None:
        """It must be written."""
        self._changed.add(combo)

    def drop(self, combo: Combo) -> None:
        """It is over, and if it is worth an entry that is booked."""
        combo.presses = 0
        self._changed.add(combo)
        del self._combos[combo.room, combo.person, combo.gift, combo.other]
        del self._firsts[combo.room, combo.first]

    def save(self, now_ms: int) -> None:
        """Write what has changed, and forget single gifts that were not continued."""
        if not self._changed:
            return
        # In the order of their beginning: one that began when another was over takes its row.
        rows = {
            (each.room, each.person.number, each.gift, each.other.number if each.other is not None else NOBODY): each
            for each in sorted(self._changed, key=lambda combo: combo.first)
        }
        _put(
            self._connection,
            [
                (*key, each.first, each.presses, each.count, each.amount, each.until_ms, each.author)
                for key, each in rows.items()
            ],
        )
        self._connection.execute(_FORGET, {"rooms": sorted({room for room, *_ in rows}), "now_ms": now_ms})
