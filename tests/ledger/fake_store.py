"""A ledger in memory, for tests: what `engine.ledger.store.Store` promises, in plain dicts.

Owns nothing that lasts: who closes it and opens it again has the same ledger, as after a crash. A transaction is all or
nothing; a fault is raised before it, or after it is committed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import trio

from engine.errors import Code
from engine.ledger.errors import LedgerError
from engine.ledger.split import commitment, share
from engine.ledger.values import (
    Book,
    Booked,
    Claim,
    Correct,
    End,
    Entry,
    Finish,
    Gift,
    Give,
    Giver,
    Group,
    Mark,
    Outcome,
    Pack,
    Rejected,
)
from engine.schema import (
    Author,
    ComboEvent,
    CorrectionEvent,
    GiftEvent,
    MoneyEvent,
    PacketEndEvent,
    PacketEvent,
    ShareEvent,
)

if TYPE_CHECKING:
    from engine.ledger.store import Store
else:
    # What stands in for a database must not need a database's library.
    Store = object

__all__ = ["FakeStore", "inline"]

T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


async def inline(do: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
    """Runs what a thread would, in the task: for clocks that jump. As with a thread, one that has begun cannot be cancelled."""
    async with limiter:
        done = do()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        return done


@dataclass
class _Gift:
    give: Give
    left: int


@dataclass
class _Combo:
    author: Author
    gift: str
    to: str
    first: int
    gifts: int
    count: int
    amount: int
    ends_ms: int
    over: bool = False


@dataclass
class _Packet:
    pack: Pack
    left: int
    claims: dict[str, tuple[Entry, int]] = field(default_factory=dict)
    end: tuple[Entry, int] | None = None


@dataclass
class _Room:
    entries: dict[int, Entry] = field(default_factory=dict)
    gifts: dict[int, _Gift] = field(default_factory=dict)
    packets: dict[int, _Packet] = field(default_factory=dict)
    combos: dict[int, _Combo] = field(default_factory=dict)
    running: dict[tuple[str, str, str], _Combo] = field(default_factory=dict)
    given: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))


class FakeStore(Store):
    """See the module's docstring.

    :ivar trouble: called with a method's name before it does anything, and with ``after`` as well when it is done; raises a
        `LedgerError`, or does whatever else is to happen then.
    :ivar down: every call fails.
    :ivar made: the file is there.
    :ivar calls: names of the methods called, but for `exists`.
    :ivar groups: size of each transaction that was committed.
    :ivar committed: all entries, in the order in which they were booked.
    """

    def __init__(self) -> None:
        self.trouble: Callable[[str, bool], None] = lambda method, after: None
        self.down = self.made = False
        self.is_open = False
        self.calls: list[str] = []
        self.groups: list[int] = []
        self.committed: list[tuple[str, int]] = []
        self._rooms: dict[str, _Room] = defaultdict(_Room)
        self._keys: dict[str, tuple[tuple[Any, ...], tuple[str, int], int]] = {}
        self._unpublished: dict[tuple[str, int], None] = {}
        self._catalogue: dict[str, Gift] = {}
        self._names: dict[str, str] = {}
        self._now_ms = 0
        self._new: list[Entry] = []

    def _call(self, method: str, do: Callable[[], T]) -> T:
        self.calls.append(method)
        if self.down:
            raise LedgerError("the database is down")
        if not self.is_open:
            raise LedgerError("the ledger is not open")
        self.trouble(method, False)
        done = do()
        self.trouble(method, True)
        return done

    def open(self) -> None:
        self.calls.append("open")
        if self.down:
            raise LedgerError("the database is down")
        self.trouble("open", False)
        self.made = self.is_open = True
        self.trouble("open", True)

    def exists(self) -> bool:
        return self.made

    def close(self) -> None:
        self.calls.append("close")
        self.is_open = False

    # -- booking ------------------------------------------------------------------------------------------------------

    def commit(self, books: Sequence[Book], marks: Sequence[Mark], now_ms: int, telling: Collection[int] = ()) -> Group:
        return self._call("commit", partial(self._commit, books, marks, now_ms))

    def _commit(self, books: Sequence[Book], marks: Sequence[Mark], now_ms: int) -> Group:
        self._now_ms, self._new = now_ms, []
        for mark in marks:
            entries = self._rooms[mark.room].entries
            entries[mark.number] = msgspec.structs.replace(entries[mark.number], epoch=mark.epoch, offset=mark.offset)
            self._unpublished.pop((mark.room, mark.number), None)
        outcomes = [self._book(book) for book in books]
        self.groups.append(len(books))
        self.committed += [(entry.room, entry.number) for entry in self._new]
        return Group(outcomes, self._new)

    def _book(self, book: Book) -> Outcome:
        room = self._rooms[book.room]
        match book:
            case Give():
                return self._keyed(book, (book.author.id, book.ref, book.gift, book.count, book.receiver), self._give)
            case Correct():
                return self._keyed(book, (book.entry, book.amount), self._correct)
            case Pack():
                return self._keyed(book, (book.author.id, book.ref, book.total, book.shares, book.split), self._pack)
            case Claim():
                return self._claim(book, room)
            case End():
                return self._end(book, room)
            case Finish():
                combo = room.combos.get(book.combo)
                if combo is None or combo.over or combo.gifts < 2 or combo.ends_ms >= self._now_ms:
                    return Rejected(Code.NOT_FOUND, "there is no such combo that is to end")
                return Booked(self._finish(book.room, room, combo), 0)

    def _keyed(self, book: Any, content: tuple[Any, ...], do: Callable[[Any, _Room], Outcome]) -> Outcome:
        content = (type(book).__name__, book.room, *content)
        known = self._keys.get(book.key)
        if known is not None:
            if known[0] != content:
                return Rejected(Code.CONFLICT, "the key was used for something else")
            room, number = known[1]
            return Booked(self._rooms[room].entries[number], known[2], repeated=True)
        outcome = do(book, self._rooms[book.room])
        if isinstance(outcome, Booked):
            self._keys[book.key] = (content, (book.room, outcome.entry.number), outcome.amount)
        return outcome

    def _add(self, name: str, event: Callable[[int], MoneyEvent]) -> Entry:
        entries = self._rooms[name].entries
        number = len(entries) + 1
        entry = entries[number] = Entry(name, number, _encode(event(number)), self._now_ms)
        self._unpublished[name, number] = None
        self._new.append(entry)
        return entry

    def _gave(self, room: _Room, stream: str, user: str, amount: int) -> int:
        for each in {"", stream}:
            room.given[each][user] += amount
        return room.given[stream][user]

    def _give(self, book: Give, room: _Room) -> Outcome:
        user, amount = book.author.id, book.price * book.count
        self._names[user] = book.author.name
        what = (user, book.gift, book.receiver)
        combo = room.running.get(what)
        if combo is not None and (combo.over or combo.ends_ms < self._now_ms or not book.combo_ms):
            if not combo.over and combo.gifts > 1:
                self._finish(book.room, room, combo)
            combo = None
        if combo is None:
            first = len(room.entries) + 1
            combo = room.running[what] = _Combo(book.author, book.gift, book.receiver, first, 0, 0, 0, 0)
            room.combos[first] = combo
        combo.gifts += 1
        combo.count += book.count
        combo.amount += amount
        combo.ends_ms = self._now_ms + book.combo_ms
        combo.over = not book.combo_ms
        given = self._gave(room, book.stream, user, amount)

        def event(number: int) -> GiftEvent:
            return GiftEvent(
                author=book.author,
                entry=number,
                ref=book.ref,
                gift=book.gift,
                count=book.count,
                amount=amount,
                to=book.receiver,
                combo=combo.first,
                combo_count=combo.count,
                combo_ms=book.combo_ms,
                given=given,
                stream=book.stream,
            )

        entry = self._add(book.room, event)
        room.gifts[entry.number] = _Gift(book, amount)
        return Booked(entry, amount)

    def _finish(self, name: str, room: _Room, combo: _Combo) -> Entry:
        combo.over = True

        def event(number: int) -> ComboEvent:
            return ComboEvent(combo.author, number, combo.first, combo.gift, combo.to, combo.count, combo.amount)

        return self._add(name, event)

    def _correct(self, book: Correct, room: _Room) -> Outcome:
        gift = room.gifts.get(book.entry)
        if gift is None:
            return Rejected(Code.NOT_FOUND, "the entry is no gift")
        amount = -gift.left if book.amount is None else book.amount
        if gift.left + amount < 0:
            return Rejected(Code.INVALID, "more than what remains of the gift")
        gift.left += amount
        user = gift.give.author.id
        given = self._gave(room, gift.give.stream, user, amount)

        def event(number: int) -> CorrectionEvent:
            return CorrectionEvent(book.author, number, book.entry, user, amount, given, book.reason, gift.give.stream)

        return Booked(self._add(book.room, event), amount)

    def _pack(self, book: Pack, room: _Room) -> Outcome:
        if not 0 < book.shares <= book.total:
            return Rejected(Code.INVALID, "there would be shares of less than 1")
        if sum(packet.end is None for packet in room.packets.values()) >= book.most:
            return Rejected(Code.STATE_FULL, "too many red packets are open")

        def event(number: int) -> PacketEvent:
            return PacketEvent(
                author=book.author,
                entry=number,
                ref=book.ref,
                total=book.total,
                shares=book.shares,
                split=book.split,
                opens=book.opens,
                expires=book.expires,
                followers=book.followers,
                phrase=book.phrase,
                text=book.text,
                commitment=commitment(book.seed),
            )

        entry = self._add(book.room, event)
        room.packets[entry.number] = _Packet(book, book.total)
        return Booked(entry, book.total)

    def _claim(self, book: Claim, room: _Room) -> Outcome:
        packet = room.packets.get(book.packet)
        if packet is None:
            return Rejected(Code.NOT_FOUND, "there is no such red packet")
        if (first := packet.claims.get(book.author.id)) is not None:
            return Booked(room.entries[first[0].number], first[1], repeated=True)
        pack = packet.pack
        if self._now_ms < pack.opens:
            return Rejected(Code.TOO_EARLY, "the red packet is not open yet", pack.opens - self._now_ms)
        if packet.end is not None or self._now_ms >= pack.expires:
            return Rejected(Code.PACKET_OVER, "the red packet is over")
        order = len(packet.claims) + 1
        amount = share(pack.seed, order, packet.left, pack.shares - order + 1, pack.split)
        packet.left -= amount
        entry = self._add(book.room, lambda number: ShareEvent(book.author, number, book.packet, order, amount))
        packet.claims[book.author.id] = (entry, amount)
        if order == pack.shares:
            self._over(book.room, book.packet, packet, "emptied")
        return Booked(entry, amount)

    def _end(self, book: End, room: _Room) -> Outcome:
        packet = room.packets.get(book.packet)
        if packet is None:
            return Rejected(Code.NOT_FOUND, "there is no such red packet")
        if packet.end is not None:
            return Booked(room.entries[packet.end[0].number], packet.end[1], repeated=True)
        if book.reason == "expired" and self._now_ms < packet.pack.expires:
            return Rejected(Code.TOO_EARLY, "the red packet has not expired", packet.pack.expires - self._now_ms)
        return self._over(book.room, book.packet, packet, book.reason)

    def _over(self, name: str, opened: int, packet: _Packet, reason: str) -> Booked:
        pack = packet.pack

        def event(number: int) -> PacketEndEvent:
            return PacketEndEvent(pack.author, number, opened, reason, len(packet.claims), packet.left, pack.seed.hex())

        packet.end = (self._add(name, event), packet.left)
        return Booked(*packet.end)

    # -- reading ------------------------------------------------------------------------------------------------------

    def outbox(self, limit: int, room: str | None = None) -> list[Entry]:
        def read() -> list[Entry]:
            names = [name for name in self._unpublished if room is None or name[0] == room]
            return [self._rooms[name].entries[number] for name, number in names[:limit]]

        return self._call("outbox", read)

    def recent(self, room: str, recent_ms: int, epoch: int, limit: int) -> list[Entry]:
        def read() -> list[Entry]:
            entries = list(self._rooms[room].entries.values())
            since = max((entry.booked_ms for entry in entries), default=0) - recent_ms
            return [each for each in entries if not each.offset or (each.epoch != epoch and each.booked_ms >= since)][-limit:]

        return self._call("recent", read)

    def known(self, key: str) -> bool:
        return self._call("known", lambda: key in self._keys)

    def packets(self, room: str) -> list[Entry]:
        def read() -> list[Entry]:
            kept = self._rooms[room]
            return [kept.entries[number] for number, packet in kept.packets.items() if packet.end is None]

        return self._call("packets", read)

    def _deadlines(self) -> list[tuple[int, End | Finish]]:
        found: list[tuple[int, End | Finish]] = []
        for name, room in self._rooms.items():
            for number, packet in room.packets.items():
                if packet.end is None:
                    found.append((packet.pack.expires, End(room=name, packet=number, reason="expired")))
            for number, combo in room.combos.items():
                if not combo.over and combo.gifts > 1:
                    found.append((combo.ends_ms + 1, Finish(room=name, combo=number)))
        return sorted(found, key=lambda each: each[0])

    def due(self, now_ms: int, limit: int) -> list[End | Finish]:
        return self._call("due", lambda: [book for when, book in self._deadlines() if when <= now_ms][:limit])

    def next_due(self) -> int | None:
        return self._call("next_due", lambda: min((when for when, _ in self._deadlines()), default=None))

    def givers(self, room: str, stream: str, after: int, limit: int) -> list[Giver]:
        def read() -> list[Giver]:
            given = self._rooms[room].given.get(stream, {})
            ranked = sorted(((user, sum_) for user, sum_ in given.items() if sum_ > 0), key=lambda each: (-each[1], each[0]))
            return [Giver(user, self._names.get(user, ""), amount) for user, amount in ranked[after : after + limit]]

        return self._call("givers", read)

    def gifts(self) -> list[Gift]:
        return self._call("gifts", lambda: list(self._catalogue.values()))

    def offer(self, gift: Gift) -> None:
        self._call("offer", lambda: self._catalogue.__setitem__(gift.id, gift))

    def withdraw(self, gift_id: str) -> bool:
        return self._call("withdraw", lambda: self._catalogue.pop(gift_id, None) is not None)

    def erase(self, user: str) -> str | None:
        def erase() -> str | None:
            if user not in self._names:
                return None
            pseudonym = f"erased-{len(self._names)}"
            del self._names[user]
            self._names[pseudonym] = ""
            for room in self._rooms.values():
                for given in room.given.values():
                    if user in given:
                        given[pseudonym] = given.pop(user)
            return pseudonym

        return self._call("erase", erase)
