"""What one commit does.

Owns the order: what the requests are about is locked and read, each request is decided upon in its turn, and what has come of
it is written. So the number of statements depends on the kinds of requests, not on how many there are; and each request sees
what those before it did. The decisions are in `engine.ledger.decisions`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress
from typing import TypeVar

from sqlalchemy import Connection

from engine.ledger.boards import Boards
from engine.ledger.combos import Combos
from engine.ledger.decisions import IMPROPER, Decisions, is_proper
from engine.ledger.journal import Journal
from engine.ledger.keys import Keyed, Keys
from engine.ledger.packets import Packets
from engine.ledger.people import People, Person
from engine.ledger.rooms import Room, Rooms
from engine.ledger.values import Book, Claim, Correct, End, Finish, Give, Group, Mark, Pack
from engine.ledger.webhooks import tell_entries
from engine.schema import EventKind

__all__ = ["commit"]

_T = TypeVar("_T")
_Placed = Sequence[tuple[_T, Room]]
"""Requests, each with its room."""


def commit(
    connection: Connection, books: Sequence[Book], marks: Sequence[Mark], now_ms: int, telling: Collection[EventKind] = ()
) -> Group:
    """Book all requests and write down the positions, within the connection's transaction. See `engine.ledger.values`.

    :param telling: entries of these kinds go into the outbox of happenings, too.
    """
    transaction = _Transaction(connection)
    group = transaction.commit(books, marks, now_ms)
    if telling:
        tell_entries(connection, transaction.journal, telling)
    return group


class _Transaction:
    def __init__(self, connection: Connection) -> None:
        self.rooms = Rooms(connection)
        self.people = People(connection)
        self.journal = Journal(connection, self.rooms, self.people)
        self.keys = Keys(connection)
        self.boards = Boards(connection)
        self.combos = Combos(connection, self.people)
        self.packets = Packets(connection, self.people)

    def commit(self, books: Sequence[Book], marks: Sequence[Mark], now_ms: int) -> Group:
        proper = [is_proper(each) for each in books]
        sound = list(compress(books, proper))
        made = {each.room for each in sound if type(each) is Give or type(each) is Pack}
        self.rooms.lock(made, {each.room for each in (*sound, *marks)}, now_ms)
        # Before anything is answered: a first answer that comes again has its position.
        self.journal.publish(marks)
        self._load(sound)
        decisions = Decisions(self.rooms, self.people, self.journal, self.keys, self.boards, self.combos, self.packets)
        outcomes = [decisions.decide(each) if sane else IMPROPER for each, sane in zip(books, proper, strict=True)]
        self._save(now_ms)
        return Group(outcomes, self.journal.added)

    def _load(self, books: Sequence[Book]) -> None:
        """Read all that the requests are about. What is in no room is about nothing."""
        placed = [(book, room) for book in books if (room := self.rooms.get(book.room)) is not None]
        gives = [(book, room) for book, room in placed if type(book) is Give]
        corrects = [(book, room) for book, room in placed if type(book) is Correct]
        packs = [(book, room) for book, room in placed if type(book) is Pack]
        claims = [(book, room) for book, room in placed if type(book) is Claim]
        ends = [(book, room) for book, room in placed if type(book) is End]
        finishes = [(book, room) for book, room in placed if type(book) is Finish]

        used = self.keys.load(book.key for book in books if isinstance(book, Keyed))
        # What is known of other rooms is something else than what is asked for in these.
        here = {room.number for room in self.rooms.all()}
        again = [(each.room, each.number) for each in used if each.room in here]
        keyed: list[tuple[Keyed, Room]] = [*gives, *corrects, *packs]
        self.people.load(
            {
                *(book.author.id for book, _ in keyed),
                *(book.author.id for book, _ in claims),
                *(book.receiver for book, _ in gives if book.receiver),
            }
        )
        on_packets: list[tuple[Claim | End, Room]] = [*claims, *ends]
        self.packets.load((room, book.packet) for book, room in on_packets)
        self.packets.load_open(room for _, room in packs)
        again += self.packets.load_shares(
            (packet, person)
            for book, room in claims
            if (packet := self.packets.get(room, book.packet)) is not None
            and (person := self.people.get(book.author.id)) is not None
        )
        again += [(packet.room, packet.ended) for packet in self.packets.all() if packet.ended]
        self.journal.load_shown(again)

        corrected = [(room.number, book.entry) for book, room in corrects]
        self.journal.load([*again, *corrected, *((room.number, book.combo) for book, room in finishes)])
        self.journal.load_corrected(corrected)
        self._load_sums(gives, corrects, finishes)

    def _load_sums(self, gives: _Placed[Give], corrects: _Placed[Correct], finishes: _Placed[Finish]) -> None:
        """Read the leaderboards and combos of these people. Who is nowhere yet has none."""
        given: list[tuple[Room, str, Person]] = []
        pressed: list[tuple[Room, Person, str, Person | None]] = []
        for give, room in gives:
            if (person := self.people.get(give.author.id)) is not None:
                given.append((room, give.stream, person))
                other = self.people.get(give.receiver) if give.receiver else None
                if give.combo_ms > 0 and (other is not None or not give.receiver):
                    pressed.append((room, person, give.gift, other))
        given += [
            (room, gift.stream, gift.person)
            for book, room in corrects
            if (gift := self.journal.get(room, book.entry)) is not None
        ]
        pressed += [
            (room, gift.person, gift.gift, gift.other)
            for book, room in finishes
            if (gift := self.journal.get(room, book.combo)) is not None
        ]
        self.boards.load(given)
        self.combos.load(pressed)

    def _save(self, now_ms: int) -> None:
        """Write all that has come of them. People first: the others refer to them."""
        self.people.save()
        self.journal.save()
        self.keys.save()
        self.boards.save()
        self.combos.save(now_ms)
        self.packets.save()
        self.rooms.save()
