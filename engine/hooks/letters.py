"""What waits in the outbox of happenings, on its way in and on its way out, as plain values.

Owns their shapes, which bytes become which table, and which events of the ledger are told under which type. Pure.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from engine.hooks.values import Happening, Topic
from engine.schema import EventKind
from engine.schema.named import named_array

__all__ = [
    "MONEY_TYPES",
    "DeadLetter",
    "Letter",
    "Mark",
    "News",
    "Page",
    "RoomPage",
    "Settled",
    "kinds_of",
    "packed",
    "place_of",
]

MONEY_TYPES: Final = {
    EventKind.GIFT: "gift.given",
    EventKind.COMBO: "gift.combo",
    EventKind.CORRECTION: "gift.corrected",
    EventKind.PACKET: "red_packet.opened",
    EventKind.SHARE: "red_packet.claimed",
    EventKind.PACKET_END: "red_packet.ended",
}
"""Types of what is booked."""

_ID: Final = re.compile(r"[0-9a-f]{1,32}-([0-9]{1,15})-([0-9]{1,15})", re.ASCII)

_decode: Final = msgspec.msgpack.Decoder().decode
packed: Final = msgspec.msgpack.Encoder().encode
"""A table as `News.body` has it."""


def kinds_of(topics: tuple[Topic, ...]) -> frozenset[EventKind]:
    """Which events of the ledger belong to these topics."""
    return frozenset(kind for kind, name in MONEY_TYPES.items() if name.partition(".")[0] in topics)


class Mark(Struct, frozen=True):
    """How far a room has come, so that several nodes tell of it once.

    :ivar name: of what; a room has one of each.
    :ivar epoch: of the broker; ``rank`` grows within it. What has no higher rank than the last that was told is old.
    :ivar value: what is the same as the last that was told is not told again.
    """

    name: Literal["life", "peak"]
    epoch: int
    rank: int
    value: str


class News(Struct, frozen=True):
    """A happening on its way into the outbox.

    :ivar time: Unix milliseconds.
    :ivar body: MessagePack of an `engine.schema.Event`, or of the table itself.
    :ivar key: of two with the same key in a room the second is left out; remembered for a day. Empty: none.
    """

    room: str
    type: str
    time: int
    body: bytes
    key: str = ""
    mark: Mark | None = None


class Letter(Struct, frozen=True):
    """A happening as the outbox holds it.

    :ivar number: counts those of a room.
    """

    number: int
    type: str
    time: int
    body: bytes

    def happening(self, room: RoomPage) -> Happening:
        """As the product is told."""
        return Happening(
            id=f"{room.origin}-{room.row}-{self.number}",
            type=self.type,
            room=room.name,
            number=self.number,
            time=self.time,
            data=_table(self.body),
        )


def _table(body: bytes) -> dict[str, Any]:
    content = _decode(body)
    if isinstance(content, dict):
        return content
    try:
        return named_array(content)
    except (ValueError, IndexError, TypeError, KeyError):
        # A node of a later release may write of what is not known here.
        return {"event": content}


def place_of(happening: str) -> tuple[int, int]:
    """The row and the number that an id (`Happening.id`) has. Raises ValueError if it is none."""
    if (match := _ID.fullmatch(happening)) is None:
        raise ValueError("is none of a happening")
    return int(match[1]), int(match[2])


class RoomPage(Struct, frozen=True):
    """The next happenings of a room.

    :ivar origin: names the outbox; ``row`` the room in it.
    :ivar sent: number of the last that was delivered or put aside.
    :ivar attempts: how often the next one was sent in vain.
    """

    origin: str
    row: int
    name: str
    sent: int
    attempts: int
    letters: list[Letter]


class Page(Struct, frozen=True):
    """What is due.

    :ivar rooms: whose turn was longest ago first.
    :ivar again: dead letters that are to be tried once more, each alone with its room.
    :ivar more: there is more.
    :ivar next_ms: milliseconds until something else is due; None: nothing else waits.
    :ivar waiting: happenings that are not delivered; ``dead`` those put aside; ``oldest_ms`` age of the oldest that waits.
    """

    rooms: list[RoomPage]
    again: list[RoomPage]
    more: bool
    next_ms: int | None
    waiting: int
    dead: int
    oldest_ms: int


class Settled(Struct, frozen=True):
    """What became of a room's next happenings.

    :ivar first: number of the first that was delivered; ``last`` of the last, less than that if none was.
    :ivar attempts: how often what comes then was sent in vain; ``pause_ms`` until it is tried again.
    :ivar dead: number of one that is put aside; 0: none. It comes right after ``last``, unless it was ``again``.
    :ivar tries: how often that was sent; ``reason`` why it failed the last time.
    :ivar again: of a dead letter that was tried once more: the room's other ones are not concerned.
    """

    row: int
    first: int
    last: int
    attempts: int = 0
    pause_ms: int = 0
    dead: int = 0
    tries: int = 0
    reason: str = ""
    again: bool = False


class DeadLetter(Struct, frozen=True):
    """A happening that was put aside.

    :ivar attempts: how often it was sent.
    :ivar reason: why it failed the last time.
    :ivar again: it waits to be tried once more.
    """

    happening: Happening
    attempts: int
    reason: str
    again: bool = False
