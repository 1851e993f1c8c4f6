"""Was every red packet divided as it was announced?

Owns these proofs of the audit. Writes nothing. One packet's shares are read at a time, as they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import func, select

from engine.ledger.books import Books, Room
from engine.ledger.faults import Faults
from engine.ledger.split import commitment, share
from engine.ledger.tables import entries, events, packets
from engine.schema import EventKind, PacketEndEvent, PacketEvent

__all__ = ["check_packets"]

_KEPT: Final = (
    *("number", "person", "total", "shares", "split", "opens", "expires"),
    *("seed", "claimed", "paid", "ended", "reason"),
)
_KINDS: Final = (EventKind.PACKET, EventKind.SHARE, EventKind.PACKET_END)

_packet: Final = msgspec.msgpack.Decoder(PacketEvent).decode
_end: Final = msgspec.msgpack.Decoder(PacketEndEvent).decode


class _Packet(NamedTuple):
    """A row of ``packets``, and what the ledger and the stream have of it."""

    number: int
    person: int
    total: int
    shares: int
    split: Any
    opens: int
    expires: int
    seed: bytes
    claimed: int
    paid: int
    ended: int
    reason: str
    kind: int | None
    maker: int | None
    amount: int | None
    places: int | None
    event: bytes | None


def check_packets(books: Books, room: Room, faults: Faults) -> None:
    """Each is kept as it was announced; its shares follow from the seed, one for each user, and are its total with the rest."""
    statement = (
        select(*(packets.c[name] for name in _KEPT), *(entries.c[name] for name in ("kind", "person", "amount", "count")))
        .add_columns(events.c.event)
        .join_from(packets, entries, (entries.c.room == packets.c.room) & (entries.c.number == packets.c.number), isouter=True)
        .join(events, (events.c.room == packets.c.room) & (events.c.number == packets.c.number), isouter=True)
        .where(packets.c.room == room.number)
        .order_by(packets.c.number)
    )
    for row in books.rows(statement):
        _check(books, room, _Packet(*row), faults)
    here = (packets.c.room == entries.c.room) & (packets.c.number == entries.c.about)
    lost = (
        select(entries.c.number, entries.c.about)
        .join_from(entries, packets, here, isouter=True)
        .where(entries.c.room == room.number, entries.c.kind.in_(_KINDS), packets.c.number.is_(None))
    )
    for number, about in books.rows(lost):
        faults.add(room.name, number, f"is about red packet {about}, of which nothing is kept")


def _check(books: Books, room: Room, packet: _Packet, faults: Faults) -> None:
    number = packet.number
    kept = EventKind.PACKET, packet.person, packet.total, packet.shares
    if (packet.kind, packet.maker, packet.amount, packet.places) != kept:
        faults.add(room.name, number, "is kept as another red packet than was booked")
    announced = _read(_packet, packet.event)
    if announced is not None:
        if announced.commitment != commitment(bytes(packet.seed)):
            faults.add(room.name, number, "has a commitment that does not belong to its seed")
        of = announced.total, announced.shares, announced.split, announced.opens, announced.expires
        if of != (packet.total, packet.shares, packet.split, packet.opens, packet.expires):
            faults.add(room.name, number, "is kept as another red packet than was announced")
    claimed, paid, last = _shares(books, room, packet, faults)
    if (packet.claimed, packet.paid) != (claimed, paid):
        faults.add(room.name, number, f"is kept with {packet.claimed} shares of {packet.paid}, and has {claimed} of {paid}")
    if packet.ended:
        _check_end(books, room, packet, claimed, paid, last, faults)
    elif claimed >= packet.shares:
        faults.add(room.name, number, "is empty, and has no end")


def _shares(books: Books, room: Room, packet: _Packet, faults: Faults) -> tuple[int, int, int]:
    """How many there are, their sum, and the entry of the last."""
    mine = entries.c.room == room.number, entries.c.kind == EventKind.SHARE, entries.c.about == packet.number
    count = entries.c["count"]
    claimed = paid = 0
    last = packet.number
    for entry, number, amount in books.rows(select(entries.c.number, count, entries.c.amount).where(*mine).order_by(count)):
        claimed += 1
        left, remaining = packet.total - paid, packet.shares - claimed + 1
        if number != claimed or entry <= last:
            faults.add(room.name, entry, f"is share {number} of red packet {packet.number}, out of turn")
        if remaining < 1 or left < remaining:
            faults.add(room.name, entry, f"is a share of red packet {packet.number} that there is not")
        elif amount != (due := share(bytes(packet.seed), claimed, left, remaining, packet.split)):
            faults.add(
                room.name, entry, f"is share {number} of red packet {packet.number}, of {amount}: by its seed it is {due}"
            )
        paid += amount
        last = entry
    twice = select(entries.c.person, func.count(), func.max(entries.c.number)).where(*mine).group_by(entries.c.person)
    for _, many, entry in books.rows(twice.having(func.count() > 1)):
        faults.add(room.name, entry, f"is one of {many} shares of red packet {packet.number} for one user")
    return claimed, paid, last


def _check_end(books: Books, room: Room, packet: _Packet, claimed: int, paid: int, last: int, faults: Faults) -> None:
    mine = entries.c.room == room.number, entries.c.kind == EventKind.PACKET_END, entries.c.about == packet.number
    columns = *(entries.c[name] for name in ("number", "amount", "count")), events.c.event
    here = (events.c.room == entries.c.room) & (events.c.number == entries.c.number)
    ends: list[Sequence[Any]] = [*books.rows(select(*columns).join_from(entries, events, here, isouter=True).where(*mine))]
    if [each[0] for each in ends] != [packet.ended]:
        faults.add(room.name, packet.number, f"has its ends at the entries {[each[0] for each in ends]}, not at {packet.ended}")
        return
    number, rest, count, event = ends[0]
    if (rest, count) != (packet.total - paid, claimed):
        faults.add(room.name, number, f"ends red packet {packet.number} with {count} shares and a rest of {rest}")
    if number <= last:
        faults.add(room.name, number, f"ends red packet {packet.number} before its last share")
    if (packet.reason == "emptied") != (claimed == packet.shares):
        faults.add(
            room.name, number, f"ends red packet {packet.number} as {packet.reason!r} after {claimed} of {packet.shares}"
        )
    told = _read(_end, event)
    if told is not None and (told.reason, told.seed) != (packet.reason, bytes(packet.seed).hex()):
        faults.add(room.name, number, f"ends red packet {packet.number} with another reason or seed than is kept")


def _read(decode: Any, event: bytes | None) -> Any:
    """None for what is not kept, or cannot be read, which is told elsewhere."""
    if not event:
        return None
    try:
        return decode(bytes(event))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
