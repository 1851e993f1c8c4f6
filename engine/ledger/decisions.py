"""What becomes of each request.

Owns the rules of `engine.ledger.values`: what is refused, what gets its first answer again, which entries come of it. Knows no
statement: all that it needs has been read, all that it does is written later.
"""

from __future__ import annotations

from typing import Final

from engine.errors import Code
from engine.ledger import wire
from engine.ledger.boards import Boards
from engine.ledger.combos import Combo, Combos
from engine.ledger.journal import Journal, Record
from engine.ledger.keys import Keyed, Keys, content
from engine.ledger.packets import Packet, Packets
from engine.ledger.people import People
from engine.ledger.rooms import Room, Rooms
from engine.ledger.values import Book, Booked, Claim, Correct, End, Finish, Give, Outcome, Pack, Rejected
from engine.schema import EventKind

__all__ = ["IMPROPER", "Decisions", "is_proper"]

_EXACT: Final = 2**53
"""Amounts are below: everybody can read them exactly."""

_NAMES: Final = 640
"""Characters in all names of a request together: less than PostgreSQL can have in an index (a third of a page)."""
IMPROPER: Final = Rejected(
    Code.INVALID, "a name is too long, a number too large, or a text holds a zero character or half a character"
)
"""Of what is not proper."""
_CONFLICT: Final = Rejected(Code.CONFLICT, "this key was used for something else")
_NO_GIFT: Final = Rejected(Code.NOT_FOUND, "this entry is no gift")
_NO_PACKET: Final = Rejected(Code.NOT_FOUND, "there never was such a red packet")
_NO_COMBO: Final = Rejected(Code.NOT_FOUND, "this combo is not over, or its end is booked, or it is of one gift")
_OVER: Final = Rejected(Code.PACKET_OVER, "the red packet is over")
_TOO_MUCH: Final = Rejected(Code.INVALID, "the amount must be at least 1 and, with all that was given before, below 2^53")


def is_proper(book: Book) -> bool:
    """Whether any database can hold what it names, and an event can show it. What was asked for over the wire always is."""
    texts = ""
    match book:
        case Give():
            names, number = f"{book.room}{book.key}{book.author.id}{book.stream}{book.gift}{book.receiver}", book.ref
        case Correct():
            names, number, texts = f"{book.room}{book.key}{book.author.id}", book.entry, book.reason
        case Pack():
            names, number, texts = f"{book.room}{book.key}{book.author.id}", book.ref, f"{book.phrase}{book.text}"
        case Claim():
            names, number = f"{book.room}{book.author.id}", book.packet
        case End():
            names, number = book.room, book.packet
        case Finish():
            names, number = book.room, book.combo
    try:
        if not isinstance(book, End | Finish):
            wire.encode(book.author)
        return b"\0" not in f"{names}{texts}".encode() and len(names) <= _NAMES and 0 <= number < _EXACT
    except UnicodeEncodeError:
        return False


class Decisions:
    """The requests of one transaction, in their turn."""

    def __init__(
        self, rooms: Rooms, people: People, journal: Journal, keys: Keys, boards: Boards, combos: Combos, packets: Packets
    ) -> None:
        self._rooms = rooms
        self._people = people
        self._journal = journal
        self._keys = keys
        self._boards = boards
        self._combos = combos
        self._packets = packets

    def decide(self, book: Book) -> Outcome:
        """Book it, or say why not."""
        room = self._rooms.get(book.room)
        match book:
            case Give() | Correct() | Pack():
                return self._once(book, room)
            case Claim():
                return _NO_PACKET if room is None else self._claim(book, room)
            case End():
                return _NO_PACKET if room is None else self._end(book, room)
            case Finish():
                return _NO_COMBO if room is None else self._finish(book, room)

    def _once(self, book: Keyed, room: Room | None) -> Outcome:
        digest = content(book)
        if (used := self._keys.get(book.key)) is not None:
            return self._journal.again(used.room, used.number) if used.content == digest else _CONFLICT
        if room is None:
            return _NO_GIFT
        match book:
            case Give():
                outcome = self._give(book, room)
            case Correct():
                outcome = self._correct(book, room)
            case Pack():
                outcome = self._pack(book, room)
        if type(outcome) is Booked:
            self._keys.use(book.key, digest, room, outcome.entry.number)
        return outcome

    # -- gifts ---------------------------------------------------------------------------------------------------------

    def _give(self, give: Give, room: Room) -> Outcome:
        amount = give.price * give.count
        person = self._people.get(give.author.id)
        before = 0 if person is None else self._boards.given(room, "", person)
        if not 1 <= amount < _EXACT - before:
            return _TOO_MUCH
        person = self._people.seen(give.author.id, give.author.name)
        other = self._people.seen(give.receiver) if give.receiver else None
        given = self._boards.add(room, give.stream, person, amount)
        if give.combo_ms > 0:
            combo = self._combos.get(room, person, give.gift, other)
            if combo is not None and combo.is_over(room.now_ms):
                self._end_combo(combo, room)
                combo = None
            number = room.next()
            if combo is None:
                combo = self._combos.begin(room, person, give.gift, other, number)
            combo.press(give.count, amount, room.now_ms + give.combo_ms, wire.encode(give.author))
            self._combos.change(combo)
            first, count = combo.first, combo.count
        else:
            number = first = room.next()
            count = give.count
        event = wire.gift(give, number, amount, first, count, given)
        record = Record(EventKind.GIFT, person, other, amount, first, give.gift, give.count, give.stream)
        return self._journal.add(room, number, event, record)

    def _end_combo(self, combo: Combo, room: Room) -> Outcome:
        """It is over: an entry, if it is worth one."""
        told = combo.is_told()
        self._combos.drop(combo)
        if not told:
            return _NO_COMBO
        number = room.next()
        receiver = "" if combo.other is None else combo.other.id
        event = wire.combo(combo.author, number, combo.first, combo.gift, receiver, combo.count, combo.amount)
        record = Record(EventKind.COMBO, combo.person, combo.other, combo.amount, combo.first, combo.gift, combo.count)
        return self._journal.add(room, number, event, record)

    def _finish(self, finish: Finish, room: Room) -> Outcome:
        combo = self._combos.begun_by(room, finish.combo)
        if combo is None or not combo.is_over(room.now_ms):
            return _NO_COMBO
        return self._end_combo(combo, room)

    def _correct(self, correct: Correct, room: Room) -> Outcome:
        gift = self._journal.get(room, correct.entry)
        if gift is None or gift.kind is not EventKind.GIFT:
            return _NO_GIFT
        remains = gift.amount + self._journal.corrected(room, correct.entry)
        amount = -remains if correct.amount is None else correct.amount
        given = self._boards.given(room, "", gift.person)
        if amount == 0 or remains + amount < 0 or given + amount >= _EXACT:
            return Rejected(Code.INVALID, f"{remains} remain of this gift: a correction cannot take more, nor be 0")
        author = self._people.seen(correct.author.id, correct.author.name)
        given = self._boards.add(room, gift.stream, gift.person, amount)
        number = room.next()
        event = wire.correction(correct, number, gift.person.id, amount, given, gift.stream)
        record = Record(EventKind.CORRECTION, gift.person, author, amount, correct.entry, gift.gift, 0, gift.stream)
        return self._journal.add(room, number, event, record)

    # -- red packets ---------------------------------------------------------------------------------------------------

    def _pack(self, pack: Pack, room: Room) -> Outcome:
        if not 1 <= pack.shares <= pack.total < _EXACT:
            return Rejected(Code.INVALID, f"{pack.total} cannot be divided into {pack.shares} shares of at least 1")
        if not 0 <= pack.opens < pack.expires < _EXACT:
            return Rejected(Code.INVALID, "a red packet must expire after it opens")
        if self._packets.open_in(room) >= pack.most:
            return Rejected(Code.STATE_FULL, f"{pack.most} red packets are open in this room (ledger.packets_open)")
        person = self._people.seen(pack.author.id, pack.author.name)
        number = room.next()
        author = wire.encode(pack.author)
        self._packets.add(
            Packet(
                room.number,
                number,
                person,
                author,
                pack.total,
                pack.shares,
                pack.split,
                pack.opens,
                pack.expires,
                pack.seed,
            )
        )
        record = Record(EventKind.PACKET, person, None, pack.total, number, count=pack.shares)
        return self._journal.add(room, number, wire.packet(pack, number), record)

    def _claim(self, claim: Claim, room: Room) -> Outcome:
        packet = self._packets.get(room, claim.packet)
        if packet is None:
            return _NO_PACKET
        person = self._people.get(claim.author.id)
        if person is not None and (entry := self._packets.share_of(packet, person)):
            return self._journal.again(room.number, entry)
        if packet.ended or room.now_ms >= packet.expires:
            return _OVER
        if room.now_ms < packet.opens:
            return Rejected(Code.TOO_EARLY, "the red packet is not open yet", packet.opens - room.now_ms)
        person = self._people.seen(claim.author.id, claim.author.name)
        amount = packet.draw()
        number = room.next()
        self._packets.claim(packet, person, number)
        record = Record(EventKind.SHARE, person, None, amount, packet.number, count=packet.claimed)
        booked = self._journal.add(room, number, wire.share(claim, number, packet.claimed, amount), record)
        if packet.claimed == packet.shares:
            self._end_packet(packet, room, "emptied")
        return booked

    def _end(self, end: End, room: Room) -> Outcome:
        packet = self._packets.get(room, end.packet)
        if packet is None:
            return _NO_PACKET
        if packet.ended:
            return self._journal.again(room.number, packet.ended)
        if end.reason == "expired" and room.now_ms < packet.expires:
            return Rejected(Code.TOO_EARLY, "the red packet has not expired", packet.expires - room.now_ms)
        return self._end_packet(packet, room, end.reason)

    def _end_packet(self, packet: Packet, room: Room, reason: str) -> Booked:
        number = room.next()
        self._packets.end(packet, number, reason)
        event = wire.packet_end(packet.author, number, packet.number, reason, packet.claimed, packet.rest, packet.seed)
        record = Record(EventKind.PACKET_END, packet.person, None, packet.rest, packet.number, count=packet.claimed)
        return self._journal.add(room, number, event, record)
