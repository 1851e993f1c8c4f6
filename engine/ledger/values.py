"""What is asked of the ledger and what it answers, as plain values.

Owns their shapes. Pure: knows no database and no task.

A room's entries are numbered from 1 without holes. An **entry** never changes; what corrects it is another one. A **key** names
a request for good: the ledger knows all keys there ever were, over all rooms. The same request with a key gets the first answer
again, another request with that key is refused (`engine.errors.Code.CONFLICT`). **Position** (epoch, offset) is where the
broker has the entry's event; (0, 0) while it is not known to be published: these entries are the **outbox**, written in the
transaction that books them.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from engine.errors import Code
from engine.schema import Author

__all__ = [
    "Book",
    "Booked",
    "Claim",
    "Correct",
    "End",
    "Entry",
    "Finish",
    "Gift",
    "Give",
    "Giver",
    "Group",
    "Mark",
    "Outcome",
    "Pack",
    "Rejected",
]

# -- what can be booked -----------------------------------------------------------------------------------------------


class Give(Struct, frozen=True, kw_only=True):
    """A gift. One entry (`engine.schema.GiftEvent`); before it the end of the combo that it does not continue, if there is one.

    :ivar key: of the request; at most 128 characters.
    :ivar stream: name of the present broadcast in the room, for which leaderboards are kept beside those of all time.
    :ivar author: who gives, as the event is to show it.
    :ivar combo_ms: 0: it is never part of a combo.
    """

    room: str
    key: str
    stream: str
    author: Author
    ref: int
    gift: str
    price: int
    count: int
    receiver: str
    combo_ms: int


class Correct(Struct, frozen=True, kw_only=True):
    """A refund (negative) or another correction of a gift. One entry (`engine.schema.CorrectionEvent`). What remains of the
    gift is never below 0 (`Code.INVALID` otherwise); `Code.NOT_FOUND` if the entry is no gift.

    :ivar author: who does it.
    :ivar entry: of the gift.
    :ivar amount: what is added; None: all that remains is given back.
    """

    room: str
    key: str
    author: Author
    entry: int
    amount: int | None = None
    reason: str = ""


class Pack(Struct, frozen=True, kw_only=True):
    """A red packet. One entry (`engine.schema.PacketEvent`). `Code.INVALID` if there would be shares of less than 1;
    `Code.STATE_FULL` if ``most`` are open in the room.

    :ivar opens: Unix milliseconds; ``expires`` later than that.
    :ivar seed: 32 random bytes, known to nobody until the packet is over.
    :ivar most: packets that may be open in the room, this included.
    """

    room: str
    key: str
    author: Author
    ref: int
    total: int
    shares: int
    split: Literal["equal", "random"]
    opens: int
    expires: int
    followers: bool
    phrase: str
    text: str
    seed: bytes
    most: int


class Claim(Struct, frozen=True, kw_only=True):
    """A share of a red packet. One entry (`engine.schema.ShareEvent`), and with the last share a second one
    (`engine.schema.PacketEndEvent`). One for each user: a second claim gets the first answer. `Code.TOO_EARLY` before it opens,
    `Code.PACKET_OVER` after its end or expiry, `Code.NOT_FOUND` if there never was such a packet. Conditions were looked at
    before."""

    room: str
    packet: int
    author: Author


class End(Struct, frozen=True, kw_only=True):
    """The end of a red packet, with what is left of it going back. One entry (`engine.schema.PacketEndEvent`). One that has
    ended has the first answer; `Code.NOT_FOUND` if there never was such a packet; ``expired`` before its time does nothing
    (`Code.TOO_EARLY`)."""

    room: str
    packet: int
    reason: Literal["expired", "cancelled"]


class Finish(Struct, frozen=True, kw_only=True):
    """The end of a combo whose time is over. One entry (`engine.schema.ComboEvent`) if it is of two gifts or more and has not
    ended; otherwise nothing is done (`Code.NOT_FOUND`)."""

    room: str
    combo: int


Book = Give | Correct | Pack | Claim | End | Finish

# -- what comes of it -------------------------------------------------------------------------------------------------


class Entry(Struct, frozen=True):
    """One entry as the stream is to have it.

    :ivar event: MessagePack of an `engine.schema.MoneyEvent`, that carries ``number``; empty if it is not kept any more.
    :ivar booked_ms: when, Unix milliseconds.
    """

    room: str
    number: int
    event: bytes
    booked_ms: int
    epoch: int = 0
    offset: int = 0


class Booked(Struct, frozen=True):
    """It is in the ledger.

    :ivar entry: of the gift, the share, the packet … itself.
    :ivar repeated: it was in the ledger before: the entry is that of then.
    """

    entry: Entry
    amount: int
    repeated: bool = False


class Rejected(Struct, frozen=True):
    """It is not in the ledger, and nothing else was done."""

    code: Code
    text: str
    retry_after_ms: int = 0


Outcome = Booked | Rejected


class Group(Struct, frozen=True):
    """What one transaction did.

    :ivar outcomes: of each request, in their order.
    :ivar entries: all new ones, each room's in the order of their numbers.
    """

    outcomes: list[Outcome]
    entries: list[Entry]


class Mark(Struct, frozen=True):
    """An entry has been published at a position."""

    room: str
    number: int
    epoch: int
    offset: int


# -- what can be read -------------------------------------------------------------------------------------------------


class Gift(Struct, frozen=True):
    """A gift of the catalogue.

    :ivar price: of one, in the smallest unit of the product's money.
    """

    id: str
    name: str
    price: int
    effect: str = ""
    combo_ms: int = 5_000


class Giver(Struct, frozen=True):
    """One line of a leaderboard.

    :ivar user: id; of one that was erased its pseudonym.
    :ivar given: corrections included.
    """

    user: str
    name: str
    given: int
