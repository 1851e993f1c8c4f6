"""Entries and their events.

Owns what a transaction adds to the ledger, and what it looks up there. Must not know why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, literal_column

from engine.ledger.bulk import Change, Find, Put
from engine.ledger.people import NOBODY, People, Person
from engine.ledger.rooms import Room, Rooms
from engine.ledger.tables import entries, events
from engine.ledger.values import Booked, Entry, Mark
from engine.schema import EventKind

__all__ = ["Journal", "Record"]

_MEANING: Final = ("kind", "person", "other", "amount", "about", "gift", "count", "stream")
_find: Final = Find(entries, [entries.c.room, entries.c.number], [entries.c[name] for name in ("room", "number", *_MEANING)])
_find_shown: Final = Find(events, [events.c.room, events.c.number])
_find_corrections: Final = Find(
    entries,
    [entries.c.room, entries.c.about],
    [entries.c.room, entries.c.about, entries.c.amount],
    only=entries.c.kind == literal_column(str(EventKind.CORRECTION.value)),
)
_put_entries: Final = Put(entries, tuple(entries.c))
_put_events: Final = Put(events, tuple(events.c))
_publish: Final = Change(events, [events.c.room, events.c.number], [events.c.published_epoch, events.c.published_offset])


class Record(Struct, frozen=True):
    """What an entry says (`engine.ledger.tables`)."""

    kind: EventKind
    person: Person
    other: Person | None
    amount: int
    about: int
    gift: str = ""
    count: int = 0
    stream: str = ""


class Journal:
    """The entries of one transaction. They are named by the numbers of their room's row and their own."""

    def __init__(self, connection: Connection, rooms: Rooms, people: People) -> None:
        self._connection = connection
        self._rooms = rooms
        self._people = people
        self._new: list[tuple[int, Entry, Record]] = []
        self._records: dict[tuple[int, int], Record] = {}
        self._shown: dict[tuple[int, int], Entry] = {}
        self._corrected: dict[tuple[int, int], int] = {}

    @property
    def added(self) -> list[Entry]:
        """What is new, in the order in which it came."""
        return [entry for _, entry, _ in self._new]

    def told(self, kinds: Collection[EventKind]) -> list[tuple[EventKind, Entry]]:
        """What is new and of these kinds, in the order in which it came."""
        return [(record.kind, entry) for _, entry, record in self._new if record.kind in kinds]

    def publish(self, marks: Iterable[Mark]) -> None:
        """Write down where entries were published. Of several marks of an entry the last counts; what is unknown is left
        out."""
        places: dict[tuple[int, int], tuple[int, int]] = {}
        for mark in marks:
            if (room := self._rooms.get(mark.room)) is not None:
                places[room.number, mark.number] = (mark.epoch, mark.offset)
        _publish(self._connection, [(*key, *place) for key, place in sorted(places.items())])

    def load(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Read what entries say, and who is in them."""
        found = _find(self._connection, sorted(set(wanted)))
        self._people.load_numbers(number for row in found for number in (row.person, row.other))
        for room, number, kind, person, other, *rest in found:
            people = (self._people.numbered(person), self._people.numbered(other) if other else None)
            assert people[0] is not None
            self._records[room, number] = Record(EventKind(kind), people[0], people[1], *rest)

    def load_shown(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Read how entries were shown and where. Those of rooms that are not locked are of no use: what was asked for there was
        something else."""
        names = {each.number: each.name for each in self._rooms.all()}
        for room, number, *rest in _find_shown(self._connection, sorted({each for each in wanted if each[0] in names})):
            self._shown[room, number] = Entry(names[room], number, *rest)

    def load_corrected(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Read how gifts were corrected."""
        for room, number, amount in _find_corrections(self._connection, sorted(set(wanted))):
            self._corrected[room, number] = self._corrected.get((room, number), 0) + amount

    def corrected(self, room: Room, number: int) -> int:
        """What was added to a gift."""
        return self._corrected.get((room.number, number), 0)

    def get(self, room: Room, number: int) -> Record | None:
        """What an entry says. None: there is none, or it was not read."""
        return self._records.get((room.number, number))

    def again(self, room: int, number: int) -> Booked:
        """The first answer, to one who asks again."""
        return Booked(self._shown[room, number], self._records[room, number].amount, repeated=True)

    def add(self, room: Room, number: int, event: bytes, record: Record) -> Booked:
        """One more entry.

        :param number: the room's next, which the event carries.
        """
        entry = Entry(room.name, number, event, room.now_ms)
        self._shown[room.number, number] = entry
        self._records[room.number, number] = record
        self._new.append((room.number, entry, record))
        if record.kind is EventKind.CORRECTION:
            at = (room.number, record.about)
            self._corrected[at] = self._corrected.get(at, 0) + record.amount
        return Booked(entry, record.amount)

    def save(self) -> None:
        """Write what is new. All people have their numbers."""
        rows = [
            (
                room,
                entry.number,
                int(record.kind),
                entry.booked_ms,
                record.person.number,
                record.other.number if record.other is not None else NOBODY,
                record.amount,
                record.about,
                record.gift,
                record.count,
                record.stream,
            )
            for room, entry, record in self._new
        ]
        _put_entries(self._connection, rows)
        _put_events(self._connection, [(room, each.number, each.event, each.booked_ms, 0, 0) for room, each, _ in self._new])
