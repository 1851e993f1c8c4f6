"""The ledger as plain dicts.

Owns what every request must lead to, told another way than the engine does: one request after the other, one object for each
thing. Events are as a reader that knows no types sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.errors import Code
from engine.ledger.split import commitment, shares
from engine.ledger.values import Book, Claim, Correct, End, Finish, Give, Pack

__all__ = ["Model"]

Told = tuple[Any, ...]
"""``("booked", room, entry, amount, repeated)`` or ``("rejected", code)``."""


@dataclass
class Room:
    now_ms: int = 0
    events: list[list[Any]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)

    def add(self, amount: int, kind: int, author: Any, *rest: Any) -> int:
        self.events.append([kind, author, len(self.events) + 1, *rest])
        self.times.append(self.now_ms)
        self.amounts.append(amount)
        return len(self.events)


@dataclass
class Combo:
    first: int
    author: Any
    presses: int = 0
    count: int = 0
    amount: int = 0
    until_ms: int = 0


@dataclass
class Packet:
    pack: Pack
    amounts: list[int]
    claims: dict[str, int] = field(default_factory=dict)
    ended: int = 0


def author(book: Any) -> list[Any]:
    return [book.author.id, book.author.name, book.author.attributes]


class Model:
    """All rooms. `book` says what a request must lead to, and what the room must be then is here."""

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.keys: dict[str, tuple[Any, str, int]] = {}
        self.boards: dict[tuple[str, str], dict[str, int]] = {}
        self.combos: dict[str, dict[tuple[str, str, str], Combo]] = {}
        self.packets: dict[tuple[str, int], Packet] = {}
        self.gifts: dict[tuple[str, int], tuple[Give, list[int]]] = {}

    def book(self, book: Book, now_ms: int) -> Told:
        if isinstance(book, Give | Pack):
            self.rooms.setdefault(book.room, Room())
        if (room := self.rooms.get(book.room)) is None:
            used = isinstance(book, Correct) and book.key in self.keys
            return ("rejected", Code.CONFLICT if used else Code.NOT_FOUND)
        room.now_ms = max(room.times[-1] if room.times else 0, now_ms)
        match book:
            case Give():
                chosen: Any = ("give", book.room, book.author.id, book.gift, book.count, book.receiver)
                return self._once(book.key, chosen, room, book.room, self._give(book, room))
            case Correct():
                chosen = ("correct", book.room, book.author.id, book.entry, book.amount, book.reason)
                return self._once(book.key, chosen, room, book.room, self._correct(book, room))
            case Pack():
                who = ("pack", book.room, book.author.id, book.followers, book.phrase, book.text)
                chosen = (*who, book.total, book.shares, book.split)
                return self._once(book.key, chosen, room, book.room, self._pack(book, room))
            case Claim():
                return self._claim(book, room)
            case End():
                return self._end(book, room)
            case Finish():
                return self._finish(book, room)

    def _once(self, key: str, chosen: Any, room: Room, name: str, todo: Any) -> Told:
        """``todo`` is a generator: not begun, nothing happens."""
        if key in self.keys:
            known, where, number = self.keys[key]
            if known != chosen:
                return ("rejected", Code.CONFLICT)
            return ("booked", where, number, self.rooms[where].amounts[number - 1], True)
        result: int | Code = next(todo)
        if isinstance(result, Code):
            return ("rejected", result)
        self.keys[key] = (chosen, name, result)
        return ("booked", name, result, room.amounts[result - 1], False)

    def _give(self, give: Give, room: Room) -> Any:
        amount = give.price * give.count
        for stream in {give.stream, ""}:
            sums = self.boards.setdefault((give.room, stream), {})
            sums[give.author.id] = sums.get(give.author.id, 0) + amount
        given = self.boards[give.room, give.stream][give.author.id]
        first, count = 0, give.count
        if give.combo_ms:
            combos = self.combos.setdefault(give.room, {})
            what = (give.author.id, give.gift, give.receiver)
            if what in combos and combos[what].until_ms < room.now_ms:
                self._end_combo(give.room, what)
            combo = combos.setdefault(what, Combo(len(room.events) + 1, None))
            combo.author = author(give)
            combo.presses += 1
            combo.count += give.count
            combo.amount += amount
            combo.until_ms = room.now_ms + give.combo_ms
            first, count = combo.first, combo.count
        first = first or len(room.events) + 1
        rest = (give.ref, give.gift, give.count, amount, give.receiver, first, count, give.combo_ms, given, give.stream)
        number = room.add(amount, 8, author(give), *rest)
        self.gifts[give.room, number] = (give, [amount])
        yield number

    def _end_combo(self, name: str, what: tuple[str, str, str]) -> int | None:
        combo = self.combos[name].pop(what)
        if combo.presses < 2:
            return None
        _, gift, receiver = what
        return self.rooms[name].add(combo.amount, 9, combo.author, combo.first, gift, receiver, combo.count, combo.amount)

    def _finish(self, finish: Finish, room: Room) -> Told:
        for what, combo in list(self.combos.get(finish.room, {}).items()):
            if combo.first == finish.combo and combo.until_ms < room.now_ms:
                number = self._end_combo(finish.room, what)
                if number is not None:
                    return ("booked", finish.room, number, combo.amount, False)
        return ("rejected", Code.NOT_FOUND)

    def _correct(self, correct: Correct, room: Room) -> Any:
        if (correct.room, correct.entry) not in self.gifts:
            yield Code.NOT_FOUND
            return
        give, amounts = self.gifts[correct.room, correct.entry]
        amount = -sum(amounts) if correct.amount is None else correct.amount
        if not amount or sum(amounts) + amount < 0:
            yield Code.INVALID
            return
        amounts.append(amount)
        for stream in {give.stream, ""}:
            self.boards[correct.room, stream][give.author.id] += amount
        given = self.boards[correct.room, give.stream][give.author.id]
        rest = (correct.entry, give.author.id, amount, given, correct.reason, give.stream)
        yield room.add(amount, 10, author(correct), *rest)

    def _pack(self, pack: Pack, room: Room) -> Any:
        if not 1 <= pack.shares <= pack.total or pack.expires <= pack.opens:
            yield Code.INVALID
            return
        if len(self.open_in(pack.room)) >= pack.most:
            yield Code.STATE_FULL
            return
        rest = (pack.opens, pack.expires, pack.followers, pack.phrase, pack.text, commitment(pack.seed))
        number = room.add(pack.total, 11, author(pack), pack.ref, pack.total, pack.shares, pack.split, *rest)
        self.packets[pack.room, number] = Packet(pack, shares(pack.seed, pack.total, pack.shares, pack.split))
        yield number

    def _claim(self, claim: Claim, room: Room) -> Told:
        packet = self.packets.get((claim.room, claim.packet))
        if packet is None:
            return ("rejected", Code.NOT_FOUND)
        if claim.author.id in packet.claims:
            number = packet.claims[claim.author.id]
            return ("booked", claim.room, number, room.amounts[number - 1], True)
        if packet.ended or room.now_ms >= packet.pack.expires:
            return ("rejected", Code.PACKET_OVER)
        if room.now_ms < packet.pack.opens:
            return ("rejected", Code.TOO_EARLY)
        place = len(packet.claims)
        amount = packet.amounts[place]
        number = packet.claims[claim.author.id] = room.add(amount, 12, author(claim), claim.packet, place + 1, amount)
        if len(packet.claims) == packet.pack.shares:
            self._end_packet(claim.room, claim.packet, "emptied")
        return ("booked", claim.room, number, amount, False)

    def _end_packet(self, name: str, number: int, reason: str) -> int:
        packet = self.packets[name, number]
        rest = sum(packet.amounts[len(packet.claims) :])
        seed = packet.pack.seed.hex()
        packet.ended = self.rooms[name].add(rest, 13, author(packet.pack), number, reason, len(packet.claims), rest, seed)
        return packet.ended

    def _end(self, end: End, room: Room) -> Told:
        packet = self.packets.get((end.room, end.packet))
        if packet is None:
            return ("rejected", Code.NOT_FOUND)
        repeated = bool(packet.ended)
        if not repeated:
            if end.reason == "expired" and room.now_ms < packet.pack.expires:
                return ("rejected", Code.TOO_EARLY)
            self._end_packet(end.room, end.packet, end.reason)
        return ("booked", end.room, packet.ended, room.amounts[packet.ended - 1], repeated)

    # -- what can be read ----------------------------------------------------------------------------------------------

    def open_in(self, name: str) -> list[int]:
        return [number for (room, number), packet in self.packets.items() if room == name and not packet.ended]

    def givers(self, name: str, stream: str) -> list[tuple[str, int]]:
        sums = self.boards.get((name, stream), {})
        return sorted(((user, given) for user, given in sums.items() if given), key=lambda each: (-each[1], each[0]))

    def due(self, now_ms: int) -> set[tuple[str, str, int]]:
        combos = (
            ("combo", name, combo.first)
            for name, them in self.combos.items()
            for combo in them.values()
            if combo.presses >= 2 and combo.until_ms < now_ms
        )
        packets = (
            ("packet", name, number)
            for (name, number), each in self.packets.items()
            if not each.ended and each.pack.expires <= now_ms
        )
        return {*combos, *packets}
