"""How much was given in each room and each of its broadcasts, and what became of red packets.

Owns the sums. Writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Final

from msgspec import Struct
from sqlalchemy import func, select

from engine.ledger.books import Books
from engine.ledger.tables import entries
from engine.schema import EventKind

__all__ = ["Line", "totals"]

_SUMMED: Final = (
    EventKind.GIFT,
    EventKind.CORRECTION,
    EventKind.PACKET,
    EventKind.SHARE,
    EventKind.PACKET_END,
)


class Line(Struct, kw_only=True):
    """Sums of one room and broadcast, or of one gift in it. Amounts are in the smallest unit of the product's money.

    :ivar stream: name of the broadcast; empty: what was given while there was none with a name, and all red packets.
    :ivar gift: id; empty: of all gifts. Lines of gifts have no red packets.
    :ivar gifts: how many were given, ``things`` with their counts (99 roses at once are one gift and 99 things).
    :ivar amount: of them; ``corrected`` is added to that, negative when it was given back.
    :ivar packets: how many red packets there were, of ``packet_amount`` together.
    :ivar shares: that were claimed, of ``share_amount`` together.
    :ivar rest: what went back. What is missing from ``share_amount + rest`` to ``packet_amount`` can still be claimed.
    """

    room: str
    stream: str
    gift: str = ""
    gifts: int = 0
    things: int = 0
    amount: int = 0
    corrections: int = 0
    corrected: int = 0
    packets: int = 0
    packet_amount: int = 0
    shares: int = 0
    share_amount: int = 0
    rest: int = 0

    def add(self, kind: int, many: int, things: int, amount: int) -> None:
        """So many entries of a kind, with these sums."""
        match kind:
            case EventKind.GIFT:
                self.gifts += many
                self.things += things
                self.amount += amount
            case EventKind.CORRECTION:
                self.corrections += many
                self.corrected += amount
            case EventKind.PACKET:
                self.packets += many
                self.packet_amount += amount
            case EventKind.SHARE:
                self.shares += many
                self.share_amount += amount
            case EventKind.PACKET_END:
                self.rest += amount


def totals(books: Books, rooms: Collection[str] | None = None, *, by_gift: bool = False) -> list[Line]:
    """The lines of all rooms in the order of their names, then of the broadcasts' names.

    :param rooms: only these; None: all.
    :param by_gift: after each a line for each gift.
    """
    found: list[Line] = []
    for room in sorted(books.rooms, key=lambda each: each.name):
        if rooms is not None and room.name not in rooms:
            continue
        lines: dict[str, Line] = {}
        gifts: defaultdict[str, dict[str, Line]] = defaultdict(dict)
        said = (entries.c[name] for name in ("stream", "gift", "kind"))
        statement = (
            select(*said, func.count(), func.sum(entries.c["count"]), func.sum(entries.c.amount))
            .where(entries.c.room == room.number, entries.c.kind.in_(_SUMMED))
            .group_by(entries.c.stream, entries.c.gift, entries.c.kind)
        )
        for stream, gift, kind, many, things, amount in books.rows(statement):
            # PostgreSQL's sums are decimals.
            sums = kind, many, int(things), int(amount)
            lines.setdefault(stream, Line(room=room.name, stream=stream)).add(*sums)
            if gift:
                gifts[stream].setdefault(gift, Line(room=room.name, stream=stream, gift=gift)).add(*sums)
        for stream in sorted(lines):
            found.append(lines[stream])
            if by_gift:
                found += [gifts[stream][gift] for gift in sorted(gifts[stream])]
    return found
