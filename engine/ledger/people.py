"""Who gives and gets: numbers in place of ids and names.

Owns the way from a user to the number that stands for it everywhere else, and the name it was last seen with. A person is held
by whoever books something of it until the transaction ends, so that it cannot be forgotten in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection

from engine.ledger.bulk import Find, Put
from engine.ledger.tables import people

__all__ = ["NOBODY", "People", "Person"]

NOBODY: Final = 0
"""Number of no person."""

_hold: Final = Find(people, [people.c.id], lock="key share")
_hold_numbers: Final = Find(people, [people.c.number], lock="key share")
_number: Final = Find(people, [people.c.id], [people.c.number, people.c.id])
_put: Final = Put(people, [people.c.id, people.c.name], instead=[people.c.id])


class Person:
    """Somebody.

    :ivar number: 0 until it is saved.
    """

    __slots__ = ("id", "name", "number")

    def __init__(self, number: int, user: str, name: str) -> None:
        self.number = number
        self.id = user
        self.name = name


class People:
    """The people of one transaction. Each is one object."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._by_id: dict[str, Person] = {}
        self._by_number: dict[int, Person] = {}
        self._changed: set[Person] = set()

    def load(self, ids: Iterable[str]) -> None:
        """Read those that are known."""
        for row in _hold(self._connection, [(user,) for user in sorted(set(ids))]):
            self._by_id[row.id] = self._by_number[row.number] = Person(*row)

    def load_numbers(self, numbers: Iterable[int]) -> None:
        """Read those that are not read yet."""
        for row in _hold_numbers(self._connection, [(each,) for each in sorted(set(numbers) - {NOBODY, *self._by_number})]):
            self._by_id[row.id] = self._by_number[row.number] = Person(*row)

    def get(self, user: str) -> Person | None:
        """None: nothing was ever booked of it."""
        return self._by_id.get(user)

    def numbered(self, number: int) -> Person | None:
        """None: nobody."""
        return self._by_number.get(number)

    def seen(self, user: str, name: str = "") -> Person:
        """Who it is, from now on with this name, if there is one."""
        person = self._by_id.get(user)
        if person is None:
            person = self._by_id[user] = Person(NOBODY, user, "")
            self._changed.add(person)
        # PostgreSQL's texts have no zero character; a name is only shown.
        if name and (name := name.replace("\0", "")) != person.name:
            person.name = name
            self._changed.add(person)
        return person

    def save(self) -> None:
        """Write who is new or has another name."""
        if not self._changed:
            return
        # In order: others may be adding the same ones.
        _put(self._connection, sorted((each.id, each.name) for each in self._changed))
        for number, user in _number(self._connection, [(each.id,) for each in self._changed if not each.number]):
            self._by_id[user].number = number
        self._changed.clear()
