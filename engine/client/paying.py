"""What is about money, from decoded messages to typed values (`engine.schema.money` names the fields).

Owns the reading of these events and answers. Pure; knows nothing of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from engine.client.control import GiversAnswer, OffersAnswer, PaidAnswer
from engine.client.fields import array, boolean, integer, read_author, signed, string
from engine.client.money import Combo, Correction, Gift, Giver, Givers, Offer, Packet, PacketEnd, Paid, Share
from engine.schema import EventKind

__all__ = ["MONEY", "read_givers", "read_givers_answer", "read_offers", "read_paid"]


def _integers(fields: Sequence[Any], first: int, *names: str) -> list[int]:
    return [integer(fields, index, name) for index, name in enumerate(names, first)]


def _gift(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Gift:
    author, (entry, ref), gift = read_author(fields, 1), _integers(fields, 2, "entry", "ref"), string(fields, 4, "gift")
    (count, amount), to = _integers(fields, 5, "count", "amount"), string(fields, 7, "receiver")
    combo = _integers(fields, 8, "combo", "combo's count", "combo's time", "given")
    return Gift(epoch, offset, time, author, entry, ref, gift, count, amount, to, *combo, raw=fields)


def _combo(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Combo:
    author, (entry, combo) = read_author(fields, 1), _integers(fields, 2, "entry", "combo")
    gift, to, sums = string(fields, 4, "gift"), string(fields, 5, "receiver"), _integers(fields, 6, "count", "amount")
    return Combo(epoch, offset, time, author, entry, combo, gift, to, *sums, raw=fields)


def _correction(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Correction:
    author, (entry, corrected) = read_author(fields, 1), _integers(fields, 2, "entry", "corrected")
    user, amount, given = string(fields, 4, "user"), signed(fields, 5, "amount"), signed(fields, 6, "given")
    reason = string(fields, 7, "reason", "")
    return Correction(epoch, offset, time, author, entry, corrected, user, amount, given, reason, raw=fields)


def _packet(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Packet:
    author, (entry, ref, total, shares) = read_author(fields, 1), _integers(fields, 2, "entry", "ref", "total", "shares")
    split, (opens, expires) = string(fields, 6, "split"), _integers(fields, 7, "opens", "expires")
    followers, phrase = boolean(fields, 9, "followers"), string(fields, 10, "phrase")
    texts = string(fields, 11, "text"), string(fields, 12, "commitment")
    return Packet(
        epoch, offset, time, author, entry, ref, total, shares, split, opens, expires, followers, phrase, *texts, raw=fields
    )


def _share(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Share:
    author, numbers = read_author(fields, 1), _integers(fields, 2, "entry", "packet", "number", "amount")
    return Share(epoch, offset, time, author, *numbers, raw=fields)


def _packet_end(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> PacketEnd:
    author, (entry, packet) = read_author(fields, 1), _integers(fields, 2, "entry", "packet")
    reason, seed = string(fields, 4, "reason"), string(fields, 7, "seed")
    claimed, rest = _integers(fields, 5, "claimed", "rest")
    return PacketEnd(epoch, offset, time, author, entry, packet, reason, claimed, rest, seed, raw=fields)


MONEY: Final[dict[int, Any]] = {
    EventKind.GIFT: _gift,
    EventKind.COMBO: _combo,
    EventKind.CORRECTION: _correction,
    EventKind.PACKET: _packet,
    EventKind.SHARE: _share,
    EventKind.PACKET_END: _packet_end,
}
"""Readers of events by their kind."""


# -- answers ----------------------------------------------------------------------------------------------------------


def read_paid(message: Sequence[Any]) -> PaidAnswer:
    """``[42, ref, handle, entry, offset, amount]``."""
    return PaidAnswer(integer(message, 1, "paid ref"), Paid(*_integers(message, 3, "entry", "offset", "amount")))


def read_givers(message: Sequence[Any], index: int) -> tuple[Giver, ...]:
    """``[user, name, given]`` of each."""
    lines = [array([line], 0, "a giver") for line in array(message, index, "givers")]
    return tuple(Giver(string(line, 0, "user"), string(line, 1, "name"), signed(line, 2, "given")) for line in lines)


def read_givers_answer(message: Sequence[Any]) -> GiversAnswer:
    """``[43, ref, handle, stream, after, givers]``."""
    stream, after = string(message, 3, "stream"), integer(message, 4, "after")
    return GiversAnswer(integer(message, 1, "givers ref"), Givers(stream, after, read_givers(message, 5)))


def read_offers(message: Sequence[Any]) -> OffersAnswer:
    """``[44, ref, handle, gifts]``; of each gift ``[id, name, price, effect, combo_ms]``."""
    offers = []
    for gift in array(message, 3, "gifts"):
        fields = array([gift], 0, "a gift")
        names = string(fields, 0, "id"), string(fields, 1, "name")
        price, effect = integer(fields, 2, "price"), string(fields, 3, "effect")
        offers.append(Offer(*names, price, effect, integer(fields, 4, "combo's time")))
    return OffersAnswer(integer(message, 1, "gifts ref"), tuple(offers))
