"""Entries between their commit and the record of their position, and who waits for them.

Owns the order in which they are published: each room's by number. Pure: knows no task, no database and no broker.

An entry is **held** until it is certain that all that was booked before it in its room is known here, then **ready**, then
**under way** until it is published. Its position is a **mark** until the ledger has that, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engine.ledger.values import Booked, Entry, Mark, Outcome

__all__ = ["Answer", "Outgoing"]

Answer = Callable[[Outcome], None]
"""Who asked: told exactly once what became of it. `Booked.entry` then has its position."""
Name = tuple[str, int]
"""Room and number."""


class Outgoing:
    """See the module's docstring."""

    __slots__ = ("_adopted", "_held", "_marks", "_ready", "_under_way", "_waiting")

    def __init__(self) -> None:
        self._held: dict[Name, Entry] = {}
        self._adopted = False
        self._ready: dict[Name, Entry] = {}
        self._under_way: dict[Name, Entry] = {}
        self._waiting: dict[Name, list[tuple[Answer, Booked]]] = {}
        self._marks: dict[Name, Mark] = {}

    @property
    def ready(self) -> int:
        """Entries that the next publication takes."""
        return len(self._ready)

    @property
    def unpublished(self) -> int:
        """Entries not known to be published."""
        return len(self._held) + len(self._ready) + len(self._under_way)

    @property
    def on_the_way(self) -> int:
        """Entries that are ready or under way."""
        return len(self._ready) + len(self._under_way)

    @property
    def marks_waiting(self) -> int:
        """Positions that the ledger does not have."""
        return len(self._marks)

    def hold(self, entries: Iterable[Entry]) -> None:
        """These were booked just now, each room's in the order of their numbers."""
        for entry in entries:
            self._held[entry.room, entry.number] = entry

    def adopt(self, entries: Iterable[Entry]) -> None:
        """These were booked earlier, by whomever, and the ledger does not know them to be published."""
        for entry in entries:
            name = (entry.room, entry.number)
            if not self._knows(name):
                self._held[name] = entry
                self._adopted = True

    def ask(self, booked: Booked, answer: Answer) -> Booked | None:
        """Somebody waits for an entry. Returns what to answer at once if it is published already."""
        entry = booked.entry
        if entry.offset:
            return booked
        name = (entry.room, entry.number)
        if booked.repeated:
            if (mark := self._marks.get(name)) is not None:
                return _at(booked, mark)
            self.adopt((entry,))
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = [(answer, booked)]
        else:
            waiting.append((answer, booked))
        return None

    def release(self, entries: Iterable[Entry] | None = None) -> None:
        """What is held is ready: all of it, or only these."""
        if entries is None:
            chosen, self._held = self._held, {}
        else:
            names = [(entry.room, entry.number) for entry in entries]
            chosen = {name: self._held.pop(name) for name in names if name in self._held}
        if self._adopted:
            # By number in each room; between rooms there is no order.
            chosen = dict(sorted(chosen.items(), key=lambda item: item[0][1]))
            self._adopted = bool(self._held)
        self._ready.update(chosen)

    def take(self) -> list[Entry]:
        """All that is ready is under way from now on; `landed` must follow."""
        self._under_way, self._ready = self._ready, {}
        return list(self._under_way.values())

    def landed(self, marks: Sequence[Mark]) -> list[tuple[Answer, Booked]]:
        """What was under way is published there. Returns whom to answer what."""
        answers: list[tuple[Answer, Booked]] = []
        for mark in marks:
            name = (mark.room, mark.number)
            del self._under_way[name]
            self._marks[name] = mark
            for answer, booked in self._waiting.pop(name, ()):
                answers.append((answer, _at(booked, mark)))
        if self._under_way:
            raise RuntimeError(f"{len(self._under_way)} entries were not published, but no reason was given")
        return answers

    def mark(self, marks: Iterable[Mark]) -> None:
        """Others have published, or found, entries there."""
        for mark in marks:
            self._marks[mark.room, mark.number] = mark

    def marks(self) -> list[Mark]:
        """Positions for the ledger; `recorded` when it has them."""
        return list(self._marks.values())

    def recorded(self, marks: Iterable[Mark]) -> None:
        """The ledger has these positions."""
        for mark in marks:
            name = (mark.room, mark.number)
            # Meanwhile it may have been published in another epoch.
            if self._marks.get(name) is mark:
                del self._marks[name]

    def abandon(self) -> list[Answer]:
        """Nobody will publish what is left. Returns who waits for it."""
        waiting, self._waiting = self._waiting, {}
        return [answer for each in waiting.values() for answer, _ in each]

    def _knows(self, name: Name) -> bool:
        return name in self._ready or name in self._under_way or name in self._marks or name in self._held


def _at(booked: Booked, mark: Mark) -> Booked:
    entry = booked.entry
    placed = Entry(entry.room, entry.number, entry.event, entry.booked_ms, mark.epoch, mark.offset)
    return Booked(placed, booked.amount, booked.repeated)
