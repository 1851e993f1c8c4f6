"""Red packets and who has a share of them.

Owns how far each is. Time is an argument; events and entries are others' business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct
from sqlalchemy import Connection, bindparam, func, literal_column, select

from engine.ledger import split
from engine.ledger.bulk import Find, Put
from engine.ledger.people import People, Person
from engine.ledger.rooms import Room
from engine.ledger.tables import entries, packets
from engine.schema import EventKind

__all__ = ["Packet", "Packets"]

_KEY: Final = (packets.c.room, packets.c.number)
_find: Final = Find(packets, _KEY)
_put: Final = Put(packets, tuple(packets.c), instead=_KEY)
_SHARE: Final = (entries.c.room, entries.c.about, entries.c.person)
_find_shares: Final = Find(
    entries, _SHARE, [*_SHARE, entries.c.number], only=entries.c.kind == literal_column(str(EventKind.SHARE.value))
)
_COUNT_OPEN: Final = (
    select(packets.c.room, func.count())
    .where(packets.c.ended == 0, packets.c.room.in_(bindparam("rooms", expanding=True)))
    .group_by(packets.c.room)
)


class Packet(Struct, eq=False):
    """One red packet.

    :ivar room: number of its row.
    :ivar number: its entry.
    :ivar author: who made it, as shown.
    :ivar claimed: shares that were, and ``paid`` their sum.
    :ivar ended: entry of its end; 0: it is not over.
    """

    room: int
    number: int
    person: Person
    author: bytes
    total: int
    shares: int
    split: Literal["equal", "random"]
    opens: int
    expires: int
    seed: bytes
    claimed: int = 0
    paid: int = 0
    ended: int = 0
    reason: str = ""

    @property
    def rest(self) -> int:
        """What is left."""
        return self.total - self.paid

    def draw(self) -> int:
        """The amount of the next share, which is claimed now."""
        amount = split.share(self.seed, self.claimed + 1, self.rest, self.shares - self.claimed, self.split)
        self.claimed += 1
        self.paid += amount
        return amount


class Packets:
    """The red packets of one transaction."""

    def __init__(self, connection: Connection, people: People) -> None:
        self._connection = connection
        self._people = people
        self._packets: dict[tuple[int, int], Packet] = {}
        self._shares: dict[tuple[Packet, Person], int] = {}
        self._open: dict[int, int] = {}
        self._changed: set[Packet] = set()

    def load(self, wanted: Iterable[tuple[Room, int]]) -> None:
        """Read them, by their entries."""
        found = _find(self._connection, sorted({(room.number, number) for room, number in wanted}))
        self._people.load_numbers(row.person for row in found)
        for room, number, creator, *rest in found:
            person = self._people.numbered(creator)
            assert person is not None
            self._packets[room, number] = Packet(room, number, person, *rest)

    def load_shares(self, wanted: Iterable[tuple[Packet, Person]]) -> list[tuple[int, int]]:
        """Read who of these has one already. Returns the shares' entries: numbers of room and entry."""
        asked = {(packet.room, packet.number, person.number): (packet, person) for packet, person in wanted}
        found = _find_shares(self._connection, sorted(asked))
        for *key, number in found:
            self._shares[asked[tuple(key)]] = number
        return [(row.room, row.number) for row in found]

    def load_open(self, rooms: Iterable[Room]) -> None:
        """Read how many are not over."""
        if numbers := sorted({each.number for each in rooms}):
            found = self._connection.execute(_COUNT_OPEN, {"rooms": numbers})
            self._open = {row[0]: row[1] for row in found}

    def get(self, room: Room, number: int) -> Packet | None:
        """None: there never was one."""
        return self._packets.get((room.number, number))

    def all(self) -> list[Packet]:
        """Those that were read, and new ones."""
        return list(self._packets.values())

    def open_in(self, room: Room) -> int:
        """How many are not over."""
        return self._open.get(room.number, 0)

    def share_of(self, packet: Packet, person: Person) -> int:
        """The entry of somebody's share; 0: none."""
        return self._shares.get((packet, person), 0)

    def add(self, packet: Packet) -> None:
        """A new one."""
        self._packets[packet.room, packet.number] = packet
        self._open[packet.room] = self._open.get(packet.room, 0) + 1
        self._changed.add(packet)

    def claim(self, packet: Packet, person: Person, entry: int) -> None:
        """Somebody has a share, booked as this entry."""
        self._shares[packet, person] = entry
        self._changed.add(packet)

    def end(self, packet: Packet, entry: int, reason: str) -> None:
        """It is over, booked as this entry."""
        packet.ended, packet.reason = entry, reason
        if packet.room in self._open:
            self._open[packet.room] -= 1
        self._changed.add(packet)

    def save(self) -> None:
        """Write what has changed."""
        rows = [
            (
                each.room,
                each.number,
                each.person.number,
                each.author,
                each.total,
                each.shares,
                each.split,
                each.opens,
                each.expires,
                each.seed,
                each.claimed,
                each.paid,
                each.ended,
                each.reason,
            )
            for each in self._changed
        ]
        _put(self._connection, rows)
