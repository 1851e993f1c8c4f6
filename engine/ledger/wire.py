"""What is booked as the room is to see it: the bytes of events.

Owns the way from requests and sums to `engine.schema.MoneyEvent`. Pure: knows no table. The shapes are the schema's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from engine.ledger.split import commitment
from engine.ledger.values import Claim, Correct, Give, Pack
from engine.schema import Author, ComboEvent, CorrectionEvent, EventKind, GiftEvent, PacketEndEvent, PacketEvent, ShareEvent

__all__ = ["combo", "correction", "encode", "gift", "packet", "packet_end", "renamed", "share"]

encode: Final[Callable[[Any], bytes]] = msgspec.msgpack.Encoder().encode
"""Also of an author who is to be shown again later. Raises UnicodeEncodeError if a text is none."""
_decode: Final = msgspec.msgpack.Decoder().decode

_AUTHOR: Final = 1
_USERS: Final = {EventKind.GIFT: (7,), EventKind.COMBO: (5,), EventKind.CORRECTION: (4,)}
"""Where an event names a user beside its author, by its kind: ``to``, ``to``, ``user``."""


def _shown(author: bytes) -> Author:
    # As it was, whatever its class: what is encoded already is not looked at.
    return cast(Author, msgspec.Raw(author))


def gift(give: Give, entry: int, amount: int, combo: int, combo_count: int, given: int) -> bytes:
    """A `GiftEvent`."""
    return encode(
        GiftEvent(
            give.author,
            entry,
            give.ref,
            give.gift,
            give.count,
            amount,
            give.receiver,
            combo,
            combo_count,
            give.combo_ms,
            given,
            give.stream,
        )
    )


def combo(author: bytes, entry: int, first: int, gift: str, receiver: str, count: int, amount: int) -> bytes:
    """A `ComboEvent`."""
    return encode(ComboEvent(_shown(author), entry, first, gift, receiver, count, amount))


def correction(correct: Correct, entry: int, user: str, amount: int, given: int, stream: str) -> bytes:
    """A `CorrectionEvent`."""
    return encode(CorrectionEvent(correct.author, entry, correct.entry, user, amount, given, correct.reason, stream))


def packet(pack: Pack, entry: int) -> bytes:
    """A `PacketEvent`."""
    return encode(
        PacketEvent(
            pack.author,
            entry,
            pack.ref,
            pack.total,
            pack.shares,
            pack.split,
            pack.opens,
            pack.expires,
            pack.followers,
            pack.phrase,
            pack.text,
            commitment(pack.seed),
        )
    )


def share(claim: Claim, entry: int, number: int, amount: int) -> bytes:
    """A `ShareEvent`."""
    return encode(ShareEvent(claim.author, entry, claim.packet, number, amount))


def packet_end(author: bytes, entry: int, packet: int, reason: str, claimed: int, rest: int, seed: bytes) -> bytes:
    """A `PacketEndEvent`."""
    return encode(PacketEndEvent(_shown(author), entry, packet, reason, claimed, rest, seed.hex()))


def renamed(event: bytes, user: str, pseudonym: str) -> bytes:
    """An event in which a user has become its pseudonym, without name, attributes, role and level."""
    if not event:
        return event
    fields: list[Any] = _decode(event)
    if fields[_AUTHOR][0] == user:
        fields[_AUTHOR] = Author(pseudonym)
    for index in _USERS.get(fields[0], ()):
        if fields[index] == user:
            fields[index] = pseudonym
    return encode(fields)
