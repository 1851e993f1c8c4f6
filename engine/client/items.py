"""What a viewer is told, as typed values, and their reading from decoded messages.

Owns the shapes on the client's side, written apart from the engine's own codec so that two readings of the protocol
meet in the tests. Pure; knows nothing of order: whether a message fits what came before is the follower's to judge.

Readers take an array and an index, accept elements they do not know at the end, and raise `ProtocolViolation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from engine.errors import RoomcastError
from engine.schema import EventKind

__all__ = [
    "Author",
    "Bye",
    "Comment",
    "Control",
    "Counters",
    "Custom",
    "Direct",
    "Disconnected",
    "Event",
    "Gap",
    "Item",
    "Joined",
    "Omitted",
    "Pong",
    "Position",
    "ProtocolViolation",
    "Reconnected",
    "Refusal",
    "Reply",
    "RoomItem",
    "Snapshot",
    "Unknown",
    "array",
    "integer",
    "read_author",
    "read_bye",
    "read_counters",
    "read_event",
    "read_reply",
    "string",
    "violate",
]


class ProtocolViolation(RoomcastError):
    """The server broke its own protocol. The text says where; the position before it is still good to resume from."""


class Position(NamedTuple):
    """The last event seen: ``offset`` counts a room's events from 1 within ``epoch``."""

    epoch: int
    offset: int


@dataclass(frozen=True, slots=True)
class Author:
    """Who caused an event. ``id`` is the server's, ``name`` and ``attributes`` are the user's own."""

    id: str
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """What every event has.

    :ivar offset: its place in the room, within ``epoch``.
    :ivar time: Unix milliseconds of the broker's clock.
    """

    epoch: int
    offset: int
    time: int

    @property
    def position(self) -> Position:
        """Where to resume after this event."""
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class Comment(Event):
    """Somebody said ``body``. ``ref`` is the sender's."""

    author: Author
    body: str
    ref: int


@dataclass(frozen=True, slots=True)
class Custom(Event):
    """An event of the product's own making."""

    author: Author
    name: str
    body: str
    ref: int


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
class Counters:
    """Totals of the room. An item whenever one of them has changed."""

    likes: int
    viewers: int


@dataclass(frozen=True, slots=True)
class Direct:
    """For this user only; has no offset and does not come again. ``time``: Unix milliseconds."""

    author: Author
    body: str
    time: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The room after ``offset``; events follow from ``offset + 1``. ``time``: Unix milliseconds."""

    room: str
    epoch: int
    offset: int
    time: int
    counters: Counters | None

    @property
    def position(self) -> Position:
        """Where to resume after it."""
        return Position(self.epoch, self.offset)


RoomItem = Comment | Custom | Unknown | Omitted | Gap | Counters | Direct | Snapshot


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


@dataclass(frozen=True, slots=True)
class Joined:
    """See `engine.schema.Joined`."""

    ref: int
    handle: int
    session: str
    user: str
    role: str
    resumed: bool
    heartbeat_ms: int


@dataclass(frozen=True, slots=True)
class Reply:
    """See `engine.schema.Reply`."""

    ref: int
    code: int
    offset: int = 0
    text: str = ""
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Bye:
    """See `engine.schema.Bye`."""

    code: int
    text: str
    return_after_ms: int
    return_window_ms: int


@dataclass(frozen=True, slots=True)
class Pong:
    """See `engine.schema.Pong`."""

    ref: int
    time: int


Control = Joined | Reply | Bye | Pong


def violate(text: str) -> NoReturn:
    """Raise `ProtocolViolation`."""
    raise ProtocolViolation(text)


def integer(message: Sequence[Any], index: int, what: str) -> int:
    """An integer from 0 to 2^53 - 1."""
    value = message[index] if index < len(message) else None
    if type(value) is not int or not 0 <= value < 2**53:
        violate(f"{what} must be an integer from 0 to 2^53 - 1, not {value!r:.60}")
    return value


def string(message: Sequence[Any], index: int, what: str) -> str:
    """A string."""
    value = message[index] if index < len(message) else None
    if not isinstance(value, str):
        violate(f"{what} must be a string, not {value!r:.60}")
    return value


def array(message: Sequence[Any], index: int, what: str, default: Sequence[Any] | None = None) -> Sequence[Any]:
    """An array; ``default`` if the message ends before it."""
    value = message[index] if index < len(message) else default
    if not isinstance(value, (list, tuple)):
        violate(f"{what} must be an array, not {value!r:.60}")
    return value


def read_author(message: Sequence[Any], index: int) -> Author:
    """``[id, name?, attributes?]``."""
    author = array(message, index, "author")
    attributes = author[2] if len(author) > 2 else {}
    if not isinstance(attributes, dict) or not all(isinstance(x, str) for pair in attributes.items() for x in pair):
        violate("an author's attributes must be a map of strings")
    return Author(string(author, 0, "author id"), string(author, 1, "name") if len(author) > 1 else "", attributes)


def read_counters(message: Sequence[Any], index: int) -> Counters | None:
    """``[likes, viewers]``; None when empty or missing."""
    counters = array(message, index, "counters", ())
    return Counters(integer(counters, 0, "likes"), integer(counters, 1, "viewers")) if counters else None


def read_event(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Comment | Custom | Unknown:
    """One event that has an offset; its kind is known to be an integer."""
    match fields[0]:
        case EventKind.COMMENT:
            author, ref, body = read_author(fields, 1), integer(fields, 2, "ref"), string(fields, 3, "body")
            return Comment(epoch, offset, time, author, body, ref)
        case EventKind.CUSTOM:
            author, ref, body = read_author(fields, 1), integer(fields, 2, "ref"), string(fields, 4, "body")
            return Custom(epoch, offset, time, author, string(fields, 3, "name"), body, ref)
    return Unknown(epoch, offset, time, fields[0], tuple(fields[1:]))


def read_reply(message: Sequence[Any]) -> Reply:
    """``[35, ref, code, offset?, text?, retry_after_ms?]``."""
    return Reply(
        integer(message, 1, "reply ref"),
        integer(message, 2, "reply code"),
        integer(message, 3, "reply offset") if len(message) > 3 else 0,
        string(message, 4, "reply text") if len(message) > 4 else "",
        integer(message, 5, "retry after") if len(message) > 5 else 0,
    )


def read_bye(message: Sequence[Any]) -> Bye:
    """``[37, code, text, return_after_ms, return_window_ms]``."""
    return Bye(
        integer(message, 1, "bye code"),
        string(message, 2, "bye text"),
        integer(message, 3, "return after"),
        integer(message, 4, "return window"),
    )
