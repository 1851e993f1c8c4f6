"""What happens in a room, as typed values: one for each kind of event, but for those about money.

Owns their shapes on the client's side. Knows nothing of how they are read, nor of their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "Author",
    "Comment",
    "Custom",
    "Event",
    "Held",
    "Moderated",
    "Notice",
    "Position",
    "Presence",
    "State",
    "Unknown",
]


class Position(NamedTuple):
    """The last event seen: ``offset`` counts a room's events from 1 within ``epoch``."""

    epoch: int
    offset: int


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
