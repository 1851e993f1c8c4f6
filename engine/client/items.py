"""What a viewer is told, as typed values: the items that iterating over a client yields, and what they are made of.

Owns the shapes on the client's side, apart from the engine's own, so that two readings of the protocol meet in the tests.
Knows nothing of order nor of how things are read: that is the follower's, and `engine.client.reading`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.client.counters import Counters
from engine.errors import RoomcastError

__all__ = [
    "Author",
    "Comment",
    "Counters",
    "Custom",
    "Direct",
    "Disconnected",
    "Entry",
    "Event",
    "Gap",
    "Held",
    "Item",
    "Moderated",
    "Notice",
    "Omitted",
    "Page",
    "Position",
    "Presence",
    "Present",
    "ProtocolViolation",
    "Reconnected",
    "Refusal",
    "RoomItem",
    "Snapshot",
    "State",
    "Unknown",
]


class ProtocolViolation(RoomcastError):
    """The server broke its own protocol. The text says where; the position before it is still good to resume from."""


class Position(NamedTuple):
    """The last event seen: ``offset`` counts a room's events from 1 within ``epoch``."""

    epoch: int
    offset: int


class Entry(NamedTuple):
    """One entry of a room's state, as it is at present. ``version``: for `engine.client.Client.change` to build on."""

    value: dict[str, Any]
    version: int


@dataclass(frozen=True, slots=True)
class Author:
    """Who caused an event. ``id`` is the server's, ``name`` and ``attributes`` are the user's own.

    :ivar role: name of its role; empty for a viewer.
    :ivar level: as its product ranks it.
    """

    id: str
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    role: str = ""
    level: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """What every event has.

    :ivar offset: its place in the room, within ``epoch``.
    :ivar time: Unix milliseconds of the broker's clock.
    :ivar raw: its array as it came, with elements of which this version knows nothing.
    """

    epoch: int
    offset: int
    time: int
    raw: Sequence[Any] = field(default=(), kw_only=True, repr=False, compare=False)

    @property
    def position(self) -> Position:
        """Where to resume after this event."""
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class Comment(Event):
    """Somebody said ``body``. ``ref`` is the sender's.

    :ivar reply_to: offset of the comment that this answers; 0: none.
    :ivar mentions: ids of users that it speaks of.
    :ivar expires: when it is to vanish from screens, Unix milliseconds; 0: it stays.
    """

    author: Author
    body: str
    ref: int
    reply_to: int = 0
    mentions: tuple[str, ...] = ()
    expires: int = 0


@dataclass(frozen=True, slots=True)
class Custom(Event):
    """An event of the product's own making."""

    author: Author
    name: str
    body: str
    ref: int


@dataclass(frozen=True, slots=True)
class State(Event):
    """The room's state has changed; `engine.client.Client.state` follows. ``value`` is None when the entry is gone."""

    author: Author
    ref: int
    kind: str
    key: str
    value: dict[str, Any] | None
    version: int


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """An announcement. ``receipts``: it is wanted that clients tell that it came, and was read."""

    author: Author
    ref: int
    body: str
    receipts: bool = False


@dataclass(frozen=True, slots=True)
class Moderated(Event):
    """A moderator has acted.

    :ivar action: see `engine.schema.Moderate`.
    :ivar user: whom it is about.
    :ivar offsets: first and last of each stretch of events that are to vanish.
    :ivar until: Unix milliseconds; 0: for good.
    :ivar reason: backstage only.
    """

    author: Author
    action: str
    user: str = ""
    offsets: tuple[tuple[int, int], ...] = ()
    until: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Held(Event):
    """Backstage: a comment that waits for a moderator's decision.

    :ivar event: what will be published; its offset and time are those of this item, until it has its own.
    """

    author: Author
    session: str
    ref: int
    event: Event
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Presence(Event):
    """Somebody notable has come, or gone."""

    author: Author
    present: bool


@dataclass(frozen=True, slots=True)
class Unknown(Event):
    """An event of a kind that this version does not know. ``fields`` are its elements after the kind, as decoded."""

    kind: int
    fields: tuple[Any, ...]


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
