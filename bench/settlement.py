"""The money of a run, settled: asked for, acknowledged, in the ledger, received by every viewer.

Owns the sums over all processes and the judgement. Pure: counts come in as each generator process reported them, entries as
they were read from the database.

What is to be equal, for each room: the amounts that every single viewer has received, frame by frame; what its process has
seen, entry by entry; and what is in the ledger. By the marks of the events (`bench.generator.account.mark_of`) that is so for
every entry's whole content, not for the sums alone. Who was acknowledged has it there, and whoever has it there was
acknowledged: each process says so of its own viewers.

Faults, with those of `bench.audit` and `bench.generator.cashier`:

``ledger``     a room's entries are not those that its viewers have; an entry is not marked where it stands, or is in the
               outbox; its columns say other than its event
``money``      less was acknowledged than was booked, or other than was asked for
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from bench.audit import audit
from bench.generator.account import COMBO, GIFT, PACKET, SHARE, mark_of
from bench.treasury import Booking, Books

__all__ = ["Money", "settle"]

NAMED: Final = 5
"""Entries of a room that are told one by one."""

Entries = dict[int, list[int]]
"""Entry → offset and mark, as a process has seen it."""


@dataclass(slots=True, kw_only=True)
class Money:
    """See the module's docstring. Amounts are in the smallest unit.

    :ivar entries: in the ledger, of all rooms.
    :ivar offered: gifts; ``acknowledged`` of them; ``refused`` the others, by code.
    :ivar gifts: in the ledger; ``gifts_amount`` is their sum, ``received_amount`` what each viewer has received, of all viewers
        together; ``due_amount`` what that must be.
    :ivar combos: of two gifts or more, each with its end.
    :ivar packets: red packets; ``shares`` claimed, ``shares_amount`` their sum.
    :ivar claims: made; ``winners`` were told of a share, ``repeated`` of the same one again; ``claims_refused`` by code;
        ``claims_dropped`` were not answered.
    """

    entries: int = 0
    offered: int = 0
    acknowledged: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    gifts: int = 0
    gifts_amount: int = 0
    due_amount: int = 0
    received_amount: int = 0
    combos: int = 0
    packets: int = 0
    shares: int = 0
    shares_amount: int = 0
    claims: int = 0
    winners: int = 0
    repeated: int = 0
    claims_refused: dict[str, int] = field(default_factory=dict)
    claims_dropped: int = 0

    def merge(self, other: Money) -> None:
        """Add another round's."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, dict(Counter(mine) + Counter(theirs)) if isinstance(mine, dict) else mine + theirs)


def settle(
    reports: Sequence[Mapping[str, Any]],
    books: Books,
    room_name: Callable[[int], str],
    entries_of: Callable[[int, int], Entries],
) -> tuple[Money, list[str]]:
    """What became of the money, and what is wrong with it, each ``kind: what``.

    :param reports: of each process (`bench.generator.cashier.Cashier.report`), as JSON.
    :param entries_of: process, room → what it has seen, asked only if something is wrong.
    """
    names = {room_name(int(room)): int(room) for report in reports for room in report["rooms"]}
    audience = {name: sum(report["viewers"].get(str(room), 0) for report in reports) for name, room in names.items()}
    money = _sums(reports, books, audience)
    faults: list[str] = []
    for name, bookings in books.items():
        if name not in names:
            faults.append(f"ledger: {len(bookings)} entries of a room {name!r}, in which nobody was")
        events = {number: event for number, booking in bookings.items() if (event := booking.event) is not None}
        faults += (f"{text} (in the ledger, room {name})" for text in audit(events))
        faults += _columns(name, bookings)
    for name, room in names.items():
        for process, report in enumerate(reports):
            if str(room) in report["rooms"]:
                faults += _compare(name, room, books.get(name, {}), process, report["rooms"][str(room)], entries_of)
    if money.gifts != money.acknowledged:
        faults.append(f"money: {money.acknowledged} gifts were acknowledged, {money.gifts} are in the ledger")
    if money.offered != money.acknowledged + sum(money.refused.values()):
        faults.append(f"money: {money.offered} gifts offered, {money.acknowledged} acknowledged, refused {money.refused}")
    if money.winners != money.shares:
        faults.append(f"money: {money.winners} viewers were told of a share, {money.shares} are in the ledger")
    if money.received_amount != money.due_amount:
        faults.append(f"money: all viewers received {money.received_amount} in all, due is {money.due_amount}")
    return money, faults


def _sums(reports: Sequence[Mapping[str, Any]], books: Books, audience: Mapping[str, int]) -> Money:
    kinds, amounts = Counter[int](), Counter[int]()
    for booking in (each for bookings in books.values() for each in bookings.values()):
        kinds[booking.kind] += 1
        amounts[booking.kind] += booking.amount

    def total(name: str) -> int:
        return sum(report[name] for report in reports)

    def codes(name: str) -> dict[str, int]:
        return dict(sum((Counter(report[name]) for report in reports), Counter[str]()))

    money = Money(
        entries=kinds.total(),
        offered=total("offered"),
        acknowledged=total("gifts"),
        refused=codes("refused"),
        gifts=kinds[GIFT],
        gifts_amount=amounts[GIFT],
        combos=kinds[COMBO],
        packets=kinds[PACKET],
        shares=kinds[SHARE],
        shares_amount=amounts[SHARE],
        claims=total("claims"),
        winners=total("winners"),
        repeated=total("repeated"),
        claims_refused=codes("claim_codes"),
        received_amount=sum(sum(report["received"][1:]) for report in reports),
    )
    for name, viewers in audience.items():
        owned = books.get(name, {}).values()
        money.due_amount += viewers * sum(each.amount for each in owned if each.kind in (GIFT, SHARE))
    money.claims_dropped = money.claims - money.winners - money.repeated - sum(money.claims_refused.values())
    return money


def _columns(name: str, bookings: Mapping[int, Booking]) -> Iterator[str]:
    wrong = [number for number, booking in bookings.items() if not booking.agrees]
    if wrong:
        yield f"ledger: the columns of {len(wrong)} entries of room {name} say other than their events: {wrong[:NAMED]}"
    outbox = [number for number, booking in bookings.items() if not booking.offset]
    if outbox:
        yield f"ledger: {len(outbox)} entries of room {name} are still in the outbox: {outbox[:NAMED]}"


def _compare(
    name: str,
    room: int,
    bookings: Mapping[int, Booking],
    process: int,
    seen: Sequence[int],
    entries_of: Callable[[int, int], Entries],
) -> Iterator[str]:
    """One room of one process with the ledger."""
    amounts = Counter[int]()
    for booking in bookings.values():
        amounts[booking.kind] += booking.amount
    marks = {number: mark_of(msgpack.packb(booking.event)) for number, booking in bookings.items()}
    placed = sum(number * booking.offset for number, booking in bookings.items())
    booked = [len(bookings), amounts[GIFT], amounts[SHARE], sum(marks.values()), placed]
    if booked == list(seen):
        return
    yield (
        f"ledger: room {name} has {booked[0]} entries, gifts of {booked[1]}, shares of {booked[2]}; "
        f"generator {process} has seen {seen[0]}, {seen[1]}, {seen[2]}"
    )
    had = entries_of(process, room)
    wrong = [
        (number, f"is in the ledger, no viewer has it: {bookings[number].event!r:.160}") for number in bookings.keys() - had
    ]
    wrong += [(number, "is at the viewers, and not in the ledger") for number in had.keys() - bookings.keys()]
    for number in had.keys() & bookings.keys():
        offset, mark = had[number]
        if mark != marks[number]:
            wrong.append((number, f"is another one at the viewers; in the ledger it is {bookings[number].event!r:.160}"))
        if offset != bookings[number].offset:
            wrong.append((number, f"stands at offset {offset}, the ledger says {bookings[number].offset}"))
    yield from (f"ledger: entry {number} of room {name} {text}" for number, text in sorted(wrong)[:NAMED])
