"""Gifts, red packets and leaderboards on the wire.

Owns each message's and event's shape. Pure.

Amounts are whole numbers of the product's smallest unit. A room's ledger numbers its **entries** from 1 without holes; every
event about money carries its entry, as the third element. They come in their order, but where several nodes book at the same
moment: there neighbours may change places. *Once* means once per entry: after a room's history was lost its recent money comes
again under the same entries, and a client drops those that it knows.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from engine.schema.events import Author, EventKind
from engine.schema.fields import Int, Key, Ref

__all__ = [
    "MONEY",
    "Claim",
    "ComboEvent",
    "CorrectionEvent",
    "GiftEvent",
    "Gifts",
    "Give",
    "Givers",
    "Pack",
    "PacketEndEvent",
    "PacketEvent",
    "Paid",
    "ReadGifts",
    "ReadGivers",
    "ShareEvent",
]

Gift = Annotated[str, Meta(min_length=1, max_length=64)]
"""Id of a gift in the catalogue."""
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Amount = Annotated[int, Meta(ge=1, lt=2**53)]
Split = Literal["equal", "random"]
MONEY: Final = range(EventKind.GIFT, EventKind.PACKET_END + 1)
"""Kinds of the events about money. They are never thinned out, withheld or deleted."""

# -- from clients -----------------------------------------------------------------------------------------------------


class Give(Struct, array_like=True, frozen=True, tag=18, gc=False):
    """``[18, ref, handle, gift, count?, to?]``: give something. Answered by `Paid` once it is in the ledger and in the room.
    (session, ref) makes a retry harmless; with other content it is a ``CONFLICT``.

    :ivar to: id of the user who gets it; empty: the host.
    """

    ref: Ref
    handle: Int
    gift: Gift
    count: Count = 1
    to: Key = ""


class Claim(Struct, array_like=True, frozen=True, tag=19, gc=False):
    """``[19, ref, handle, packet]``: a share of a red packet, one for each user. Answered by `Paid`, or by a `Reply` that says
    why not. When nothing is left everybody learns it from one `PacketEndEvent`: who has been shown no share of its own by then
    has none, and is not answered; later claims are dropped. The answer to a winner may come after that event.

    :ivar packet: entry of its `PacketEvent`.
    """

    ref: Ref
    handle: Int
    packet: Int


class Pack(Struct, array_like=True, frozen=True, tag=20, gc=False):
    """``[20, ref, handle, total, shares, split?, opens_ms?, lasts_ms?, followers?, phrase?, text?]``: a red packet for the
    room. Answered by `Paid`. (session, ref) makes a retry harmless.

    :ivar total: of all shares together; at least one unit each.
    :ivar split: ``random``: by the doubled average; ``equal``: alike, the first ones a unit larger if it is not even.
    :ivar opens_ms: milliseconds from now until it can be claimed.
    :ivar lasts_ms: milliseconds from then until what is left goes back; 0: the operator's (``ledger.packet_seconds``).
    :ivar followers: only who follows the host can claim it.
    :ivar phrase: only who has said this in the room since then can claim it; empty: everybody.
    :ivar text: shown with it.
    """

    ref: Ref
    handle: Int
    total: Amount
    shares: Count
    split: Split = "random"
    opens_ms: Int = 0
    lasts_ms: Int = 0
    followers: bool = False
    phrase: Key = ""
    text: Annotated[str, Meta(max_length=256)] = ""


class ReadGivers(Struct, array_like=True, frozen=True, tag=21, gc=False):
    """``[21, ref, handle, stream?, after?, limit?]``: who gave most. Answered by `Givers`.

    :ivar stream: name of a broadcast in this room (``life``); null: the present one; empty: of all time.
    :ivar after: so many are skipped.
    """

    ref: Ref
    handle: Int
    stream: Key | None = None
    after: Int = 0
    limit: Annotated[int, Meta(ge=1, le=200)] = 100


class ReadGifts(Struct, array_like=True, frozen=True, tag=22, gc=False):
    """``[22, ref, handle]``: what can be given here. Answered by `Gifts`."""

    ref: Ref
    handle: Int


# -- events -----------------------------------------------------------------------------------------------------------


class GiftEvent(Struct, array_like=True, frozen=True, tag=8, gc=False):
    """``[8, author, entry, ref, gift, count, amount, to, combo, combo_count, combo_ms, given, stream?]``: somebody has given
    something.

    :ivar amount: price × count.
    :ivar to: id of who gets it; empty: the host.
    :ivar combo: entry of the first gift of the combo that this belongs to: the same giver, gift and receiver, each within
        ``combo_ms`` of the one before; its own entry if it is the first.
    :ivar combo_count: of the combo so far, this included.
    :ivar given: all that the giver has given in this ``stream`` in this room, corrections included. Several nodes publish each
        in its own time: of a giver's events the one with the greatest ``entry`` holds.
    :ivar stream: name of the broadcast, if it has one (``life``).
    """

    author: Author
    entry: int
    ref: int
    gift: str
    count: int
    amount: int
    to: str
    combo: int
    combo_count: int
    combo_ms: int
    given: int
    stream: str = ""


class ComboEvent(Struct, array_like=True, frozen=True, tag=9, gc=False):
    """``[9, author, entry, combo, gift, to, count, amount]``: a combo of two gifts or more is over; these are its totals."""

    author: Author
    entry: int
    combo: int
    gift: str
    to: str
    count: int
    amount: int


class CorrectionEvent(Struct, array_like=True, frozen=True, tag=10, gc=False):
    """``[10, author, entry, corrected, user, amount, given, reason, stream?]``: a gift's amount is another one; the gift stays
    as it is.

    :ivar author: who corrected it.
    :ivar corrected: entry of the gift.
    :ivar user: who gave it.
    :ivar amount: what is added; negative: given back.
    :ivar given: as in `GiftEvent`, in the ``stream`` in which the gift was given.
    """

    author: Author
    entry: int
    corrected: int
    user: str
    amount: int
    given: int
    reason: str = ""
    stream: str = ""


class PacketEvent(Struct, array_like=True, frozen=True, tag=11, gc=False):
    """``[11, author, entry, ref, total, shares, split, opens, expires, followers, phrase, text, commitment]``: a red packet.

    While it is open it is part of the room's state, too: kind ``packet``, its entry as the key, these fields as the value.

    :ivar opens: Unix milliseconds from when it can be claimed, as ``expires`` when what is left goes back.
    :ivar commitment: SHA-256 of the seed from which the shares follow (`engine.ledger.split`), hexadecimal.
    """

    author: Author
    entry: int
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


class ShareEvent(Struct, array_like=True, frozen=True, tag=12, gc=False):
    """``[12, author, entry, packet, number, amount]``: the author has a share of a red packet, the ``number``-th from 1."""

    author: Author
    entry: int
    packet: int
    number: int
    amount: int


class PacketEndEvent(Struct, array_like=True, frozen=True, tag=13, gc=False):
    """``[13, author, entry, packet, reason, claimed, rest, seed]``: a red packet is over.

    :ivar author: who made it.
    :ivar reason: ``emptied``, ``expired`` or ``cancelled``.
    :ivar claimed: number of shares that were; ``rest`` the amount that goes back.
    :ivar seed: hexadecimal; anybody can recompute the shares.
    """

    author: Author
    entry: int
    packet: int
    reason: str
    claimed: int
    rest: int
    seed: str


# -- from the server --------------------------------------------------------------------------------------------------


class Paid(Struct, array_like=True, frozen=True, tag=42, gc=False):
    """``[42, ref, handle, entry, offset, amount]``: private answer to `Give`, `Claim` and `Pack`: it is in the ledger and in
    the room's stream. To a retry the same one.

    :ivar amount: of the gift, the share or the packet.
    """

    ref: int
    handle: int
    entry: int
    offset: int
    amount: int


class Givers(Struct, array_like=True, frozen=True, tag=43, gc=False):
    """``[43, ref, handle, stream, after, givers]``: answer to `ReadGivers`.

    :ivar givers: ``[user, name, given]``, most first; what is equal in the order of the ids.
    """

    ref: int
    handle: int
    stream: str
    after: int
    givers: list[tuple[str, str, int]]


class Gifts(Struct, array_like=True, frozen=True, tag=44, gc=False):
    """``[44, ref, handle, gifts]``: answer to `ReadGifts`.

    :ivar gifts: ``[id, name, price, effect, combo_ms]``, cheapest first.
    """

    ref: int
    handle: int
    gifts: list[tuple[str, str, int, str, int]]
