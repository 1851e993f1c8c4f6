"""A room's money as one process has seen it: every entry once, and what each frame holds.

Owns the events about money and their sums. Sans-IO. Must not know who was told what (`bench.generator.cashier`), nor what the
events must be among themselves (`bench.audit`).

Faults:

``altered``    a gift is not what its giver gave
``twice``      one entry of the ledger stands at two offsets; ``disagree`` it comes differently
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

import msgpack

from bench.wares import GIFT_REF, Wares

__all__ = ["COMBO", "CORRECTION", "END", "GIFT", "PACKET", "SHARE", "Account", "Coins", "mark_of"]

GIFT, COMBO, CORRECTION, PACKET, SHARE, END = range(8, 14)
"""Kinds of events."""
MARK_BYTES: Final = 8
SEVERAL: Final = 2
"""Gifts that make a combo, of which there is an end."""


def mark_of(packed: bytes) -> int:
    """A number that stands for an event, by its MessagePack: sums of them are equal only if the events are."""
    return int.from_bytes(blake2b(packed, digest_size=MARK_BYTES).digest(), "big")


class Coins:
    """The money in one frame, or what one viewer has received so far.

    :ivar entries: how many; ``marks`` is their sum (`mark_of`).
    :ivar gifts: amount of all gifts, ``shares`` that of all shares of red packets.
    :ivar ended: red packets that are over.
    """

    __slots__ = ("ended", "entries", "gifts", "marks", "shares")

    def __init__(self) -> None:
        self.entries = self.gifts = self.shares = self.marks = self.ended = 0

    def add(self, other: Coins) -> None:
        """Take in those of a frame."""
        self.entries += other.entries
        self.gifts += other.gifts
        self.shares += other.shares
        self.marks += other.marks
        self.ended += other.ended

    @property
    def sums(self) -> list[int]:
        """Entries, amount of the gifts, amount of the shares, marks."""
        return [self.entries, self.gifts, self.shares, self.marks]


class Account:
    """See the module's docstring.

    :param due_us: when a gift was meant to be given, by its number, in microseconds of the run.
    :ivar entries: offset and event, packed, of each entry.
    :ivar coins: of all entries, each once.
    :ivar unsettled: combos of two gifts or more, and red packets, that are not over.
    :ivar packet: entry of the latest red packet; 0: there was none.
    :ivar ended_ns: when the first viewer learnt that the latest red packet to end was over; 0: none is.
    """

    __slots__ = ("_combos", "_due_us", "_wares", "coins", "ended_ns", "entries", "packet", "unsettled")

    def __init__(self, wares: Wares, due_us: Callable[[int], int]) -> None:
        self._wares = wares
        self._due_us = due_us
        self._combos: dict[int, int] = {}
        self.entries: dict[int, tuple[int, bytes]] = {}
        self.coins = Coins()
        self.packet = self.ended_ns = self.unsettled = 0

    def take(self, coins: Coins, event: list[Any], offset: int) -> tuple[str, str] | None:
        """An event that stands at an offset; returns what is wrong with it: kind and detail.

        :param coins: of the frame that carries it.
        :raises ValueError: it has not the documented shape.
        """
        kind, entry = event[0], event[2]
        if not isinstance(entry, int) or not GIFT <= kind <= END:
            raise ValueError(f"an event about money with kind {kind!r:.20} and entry {entry!r:.20}")
        packed: bytes = msgpack.packb(event)
        one = self._one(event, packed)
        coins.add(one)
        if kind == GIFT and (fault := self._judge(event)) is not None:
            return "altered", f"{event!r:.160}: {fault}"
        known = self.entries.setdefault(entry, (offset, packed))
        if known[0] != offset:
            return "twice", f"entry {entry} also stands at {known[0]}"
        if known[1] != packed:
            return "disagree", f"entry {entry} comes differently: {event!r:.160} and {msgpack.unpackb(known[1])!r:.160}"
        if known[1] is packed:
            self.coins.add(one)
            self._note(event)
        return None

    @staticmethod
    def _one(event: list[Any], packed: bytes) -> Coins:
        coins = Coins()
        coins.entries, coins.marks = 1, mark_of(packed)
        kind = event[0]
        if kind == GIFT:
            coins.gifts = event[6]
        elif kind == SHARE:
            coins.shares = event[5]
        elif kind == END:
            coins.ended = 1
        return coins

    def _judge(self, event: list[Any]) -> str | None:
        """A gift against what was given."""
        _, _author, _entry, ref, gift, count, amount, to = event[:8]
        if ref < GIFT_REF:
            return "nobody gave it"
        offer = self._wares.offer(ref - GIFT_REF)
        if (gift, count, to, amount) != offer[1:]:
            return f"given was {offer}"
        return None

    def _note(self, event: list[Any]) -> None:
        kind, entry = event[0], event[2]
        if kind == GIFT:
            combo = event[8]
            gifts = self._combos[combo] = self._combos.get(combo, 0) + 1
            self.unsettled += gifts == SEVERAL
        elif kind == COMBO:
            self.unsettled -= self._combos.pop(event[3], 0) >= SEVERAL
        elif kind == PACKET:
            self.packet = entry
            self.unsettled += 1
        elif kind == END:
            self.unsettled -= 1

    def intended_us(self, event: list[Any]) -> int | None:
        """When a gift was meant to be given, in microseconds of the run; None of everything else."""
        return self._due_us(event[3] - GIFT_REF) if event[0] == GIFT else None

    def events(self) -> dict[int, list[Any]]:
        """All that was seen, by entry."""
        return {entry: msgpack.unpackb(packed) for entry, (_, packed) in sorted(self.entries.items())}
