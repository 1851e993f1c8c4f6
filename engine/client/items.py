"""What a viewer is told, as typed values: the items that iterating over a client yields, and what they are made of.

Owns the shapes on the client's side, apart from the engine's own, so that two readings of the protocol meet in the tests.
Events are in `engine.client.events`, those about money in `engine.client.money`. Knows nothing of order nor of how things are
read: that is the follower's, and `engine.client.reading`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.client.counters import Counters
from engine.client.events import (
    Author,
    Comment,
    Custom,
    Event,
    Held,
    Moderated,
    Notice,
    Position,
    Presence,
    State,
    Unknown,
)
from engine.client.money import (
    Combo,
    Correction,
    Gift,
    Giver,
    Givers,
    MoneyEvent,
    Offer,
    Packet,
    PacketEnd,
    Paid,
    Share,
)
from engine.errors import RoomcastError

__all__ = [
    "Author",
    "Combo",
    "Comment",
    "Correction",
    "Counters",
    "Custom",
    "Direct",
    "Disconnected",
    "Entry",
    "Event",
    "Gap",
    "Gift",
    "Giver",
    "Givers",
    "Held",
    "Item",
    "Moderated",
    "Notice",
    "Offer",
    "Omitted",
    "Packet",
    "PacketEnd",
    "Page",
    "Paid",
    "Position",
    "Presence",
    "Present",
    "ProtocolViolation",
    "Reconnected",
    "Refusal",
    "RoomItem",
    "Share",
    "Snapshot",
    "State",
    "Unknown",
]


class ProtocolViolation(RoomcastError):
    """The server broke its own protocol. The text says where; the position before it is still good to resume from."""


class Entry(NamedTuple):
    """One entry of a room's state, as it is at present. ``version``: for `engine.client.Client.change` to build on."""

    value: dict[str, Any]
    version: int


@dataclass(frozen=True, slots=True)
class Omitted:
    """The offsets ``first..last`` carry no event. ``reason``: see `engine.schema.OmittedReason`, or a later number."""

    epoch: int
    first: int
    last: int
    reason: int
    time: int = field(default=0, compare=False)
    """Unix milliseconds."""

    @property
    def position(self) -> Position:
        """Where to resume after it."""
        return Position(self.epoch, self.last)


@dataclass(frozen=True, slots=True)
class Gap:
    """The offsets ``first..last`` will not come; ``last`` is 0 when the end is not known. A `Snapshot` follows then."""

    epoch: int
    first: int
    last: int
    reason: str

    @property
    def position(self) -> Position | None:
        """Where to resume after it; None when only a snapshot can tell."""
        return Position(self.epoch, self.last) if self.last and self.reason != "epoch" else None


@dataclass(frozen=True, slots=True)
class Direct:
    """For this user only; has no offset and does not come again. ``time``: Unix milliseconds."""

    author: Author
    body: str
    time: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The room after ``offset``; events follow from ``offset + 1``. ``time``: Unix milliseconds.

    :ivar state: what the room is, by kind and key.
    :ivar recent: the last events before, oldest first; for the screen: they are not part of what follows.
    """

    room: str
    epoch: int
    offset: int
    time: int
    counters: Counters | None
    state: Mapping[tuple[str, str], Entry] = field(default_factory=dict)
    recent: tuple[Event, ...] = ()

    @property
    def position(self) -> Position:
        """Where to resume after it."""
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class Present:
    """The room's whole state after ``offset``, which the client has read again: it had missed changes, or was asked to."""

    epoch: int
    offset: int
    state: Mapping[tuple[str, str], Entry]


RoomItem = (
    Comment
    | Custom
    | State
    | Notice
    | Moderated
    | Held
    | Presence
    | MoneyEvent
    | Unknown
    | Omitted
    | Gap
    | Counters
    | Direct
    | Snapshot
    | Present
)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the room's past: the offsets ``first..last``, complete; ``last == first - 1`` when nothing older is kept.

    :ivar events: oldest first; an `Omitted` covers one offset or several.
    """

    epoch: int
    first: int
    last: int
    events: tuple[Event | Omitted, ...]


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Item: the connection is lost; the next attempt begins in ``delay_seconds``."""

    code: int
    reason: str
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Reconnected:
    """Item: back in the room; what follows continues, or a `Gap` says what is missing."""

    resumed: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Item: something that has no reply of its own (likes) was refused. ``code``: see `engine.errors.Code`."""

    code: int
    text: str
    retry_after_ms: int


Item = RoomItem | Disconnected | Reconnected | Refusal
"""Everything that iterating over a client yields."""
