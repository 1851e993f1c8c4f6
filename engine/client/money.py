"""Gifts, red packets and leaderboards, as typed values.

Owns their shapes on the client's side. Knows nothing of how they are read, nor of which have come. Amounts are in the smallest
unit of the product's money.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine.client.events import Author, Event

__all__ = [
    "Combo",
    "Correction",
    "Gift",
    "Giver",
    "Givers",
    "Money",
    "MoneyEvent",
    "Offer",
    "Packet",
    "PacketEnd",
    "Paid",
    "Share",
]

# -- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Money(Event):
    """What every event about money has.

    :ivar entry: its number in the room's ledger, from 1 without holes; what comes again under one that has come is dropped.
    """

    author: Author
    entry: int


@dataclass(frozen=True, slots=True)
class Gift(Money):
    """The author has given something. ``ref`` is the giver's.

    :ivar gift: id in the catalogue.
    :ivar amount: price × count.
    :ivar to: id of the user who gets it; empty: the host.
    :ivar combo: entry of the first gift of its combo, which may be itself; ``combo_count`` is that of the combo so far.
    :ivar combo_ms: within so many milliseconds another one goes on with the combo.
    :ivar given: all that the author has given in this stream, corrections included.
    """

    ref: int
    gift: str
    count: int
    amount: int
    to: str
    combo: int
    combo_count: int
    combo_ms: int
    given: int


@dataclass(frozen=True, slots=True)
class Combo(Money):
    """A combo of two gifts or more is over: its totals. ``combo`` is the entry of its first gift."""

    combo: int
    gift: str
    to: str
    count: int
    amount: int


@dataclass(frozen=True, slots=True)
class Correction(Money):
    """The amount of a gift is another one. The author is who corrected it.

    :ivar corrected: entry of the gift; ``user`` gave it.
    :ivar amount: what is added; negative: given back.
    :ivar given: all that the user has given in the stream of the gift.
    """

    corrected: int
    user: str
    amount: int
    given: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Packet(Money):
    """A red packet (红包) for the room. While it is open it is part of the room's state: kind ``packet``, its entry as the key.

    :ivar total: of all ``shares`` together.
    :ivar split: ``equal`` or ``random``.
    :ivar opens: Unix milliseconds from when it can be claimed; at ``expires`` what is left goes back.
    :ivar followers: only who follows the host can claim it, and only who has said the ``phrase``, if it is not empty.
    :ivar commitment: SHA-256 of the seed that its end tells, hexadecimal.
    """

    ref: int
    total: int
    shares: int
    split: str
    opens: int
    expires: int
    followers: bool
    phrase: str
    text: str
    commitment: str


@dataclass(frozen=True, slots=True)
class Share(Money):
    """The author has a share of a red packet, the ``number``-th from 1. ``packet`` is the packet's entry."""

    packet: int
    number: int
    amount: int


@dataclass(frozen=True, slots=True)
class PacketEnd(Money):
    """A red packet is over. The author is who made it.

    :ivar reason: ``emptied``, ``expired`` or ``cancelled``.
    :ivar claimed: number of shares that were; ``rest`` is the amount that goes back.
    :ivar seed: hexadecimal; the shares follow from it.
    """

    packet: int
    reason: str
    claimed: int
    rest: int
    seed: str


MoneyEvent = Gift | Combo | Correction | Packet | Share | PacketEnd


# -- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paid:
    """It is in the ledger under ``entry``, and in the room at ``offset``. ``amount``: of the gift, the share or the packet."""

    entry: int
    offset: int
    amount: int


class Giver(NamedTuple):
    """One line of a leaderboard; corrections included."""

    user: str
    name: str
    given: int


@dataclass(frozen=True, slots=True)
class Givers:
    """Part of a leaderboard, to be iterated over: most first.

    :ivar stream: name of the broadcast; empty: of all time.
    :ivar after: so many come before.
    """

    stream: str
    after: int
    givers: tuple[Giver, ...]

    def __iter__(self) -> Iterator[Giver]:
        return iter(self.givers)

    def __len__(self) -> int:
        return len(self.givers)


class Offer(NamedTuple):
    """A gift of the catalogue.

    :ivar price: of one.
    :ivar effect: names what is to be shown.
    :ivar combo_ms: see `Gift`.
    """

    id: str
    name: str
    price: int
    effect: str
    combo_ms: int
