"""The money of the fake server: booked in a real ledger, and told as it is or otherwise.

Owns the faults. What is altered is altered once, unless that would be no fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgpack

from engine.errors import Code
from engine.ledger.store import Store
from engine.ledger.values import Book, Booked, Claim, Entry, Give, Group, Mark, Pack, Rejected
from engine.schema import Author

__all__ = ["MONEY_FAULTS", "Bank"]

MONEY_FAULTS = (
    *("unbooked", "unshown", "untold", "told-twice", "other-amount", "overcharged"),
    *("combo-total", "share-sum", "share-twice"),
)
GIFT, COMBO, CORRECTION, PACKET, SHARE = range(8, 13)
FIRST = 7
"""The first gift after so many entries is told wrong."""
SEED = bytes(range(32))
ALTERED = {"other-amount": (GIFT, 6), "combo-total": (COMBO, 7), "share-sum": (SHARE, 5)}
"""Element of which event is told one larger than it is booked."""

Show = Callable[[list[Any]], int]
"""Puts an event into a room; returns its offset."""


class Bank:
    """See the module's docstring.

    :param prices: of the gifts, and the milliseconds of their combos.
    """

    def __init__(self, url: str, prices: dict[str, tuple[int, int]], fault: str) -> None:
        self._store = Store(url)
        self._prices = prices
        self._fault = fault
        self._broken = False
        self._marks: list[Mark] = []

    def close(self) -> None:
        self._commit()
        self._store.close()

    def _breaks(self, fault: str, entry: int = FIRST) -> bool:
        """Whether this is the moment for a fault."""
        if self._fault != fault or self._broken or entry < FIRST:
            return False
        self._broken = True
        return True

    def give(self, room: str, user: str, ref: int, gift: str, count: int, to: str, show: Show) -> list[Any] | None:
        """A gift; returns the answer."""
        price, combo_ms = self._prices[gift]
        if self._fault == "overcharged":
            price += 1
        if self._breaks("unbooked", ref):
            return [42, ref, 1, 9_999, 1, price * count]
        book = Give(
            room=room,
            key=f"{user}/{ref}",
            stream="",
            author=Author(user, ""),
            ref=ref,
            gift=gift,
            price=price,
            count=count,
            receiver=to,
            combo_ms=combo_ms,
        )
        return self._answer(ref, self._commit(book), show)

    def pack(self, room: str, user: str, ref: int, total: int, shares: int, split: Any, show: Show) -> list[Any] | None:
        """A red packet; returns the answer."""
        now = _now_ms()
        book = Pack(
            room=room,
            key=f"{user}/{ref}",
            author=Author(user, ""),
            ref=ref,
            total=total,
            shares=shares,
            split=split,
            opens=now,
            expires=now + 60_000,
            followers=False,
            phrase="",
            text="",
            seed=SEED,
            most=1,
        )
        return self._answer(ref, self._commit(book), show)

    def claim(self, room: str, user: str, ref: int, packet: int, show: Show) -> list[Any] | None:
        """A claim; returns the answer, if there is one."""
        return self._answer(ref, self._commit(Claim(room=room, packet=packet, author=Author(user, ""))), show)

    def sweep(self, show_in: Callable[[str], Show]) -> None:
        """End what is over."""
        if due := self._store.due(_now_ms(), 1_000):
            for entry in self._commit(*due).entries:
                self._show(entry, show_in(entry.room))

    def _commit(self, *books: Book) -> Group:
        marks, self._marks = self._marks, []
        return self._store.commit(books, marks, _now_ms())

    def _answer(self, ref: int, group: Group, show: Show) -> list[Any] | None:
        (outcome,) = group.outcomes
        if isinstance(outcome, Rejected):
            return None if outcome.code is Code.PACKET_OVER else [35, ref, int(outcome.code), 0, outcome.text, 0]
        assert isinstance(outcome, Booked)
        places = {entry.number: self._show(entry, show) for entry in group.entries}
        number, amount = outcome.entry.number, outcome.amount
        offset = places.get(number, outcome.entry.offset)
        kind = msgpack.unpackb(outcome.entry.event)[0]
        if kind == GIFT and self._breaks("untold", number):
            return None
        if kind == SHARE and self._breaks("share-twice", number + FIRST):
            again = [*msgpack.unpackb(outcome.entry.event)[:2], 9_999, outcome.entry.number - 1, 2, 1]
            show(again)
        return [42, ref, 1, number, offset, amount]

    def _show(self, entry: Entry, show: Show) -> int:
        event: list[Any] = msgpack.unpackb(entry.event)
        kind, place = ALTERED.get(self._fault, (0, 0))
        if event[0] == kind and self._breaks(self._fault, entry.number + FIRST * (kind != GIFT)):
            event[place] += 1
        if event[0] == GIFT and self._breaks("unshown", entry.number):
            return 1
        offset = show(event)
        if event[0] == GIFT and self._breaks("told-twice", entry.number):
            show(event)
        self._marks.append(Mark(entry.room, entry.number, 1, offset))
        return offset


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
