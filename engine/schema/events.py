"""The elements of a batch: what happened in a room, each at an offset.

Owns each event's shape. Pure. Those about money are in `engine.schema.money`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

from msgspec import Raw, Struct

__all__ = [
    "Author",
    "CommentEvent",
    "CustomEvent",
    "EventKind",
    "HeldEvent",
    "LinkedCommentEvent",
    "ModeratedEvent",
    "NoticeEvent",
    "OmittedEvent",
    "OmittedReason",
    "PresenceEvent",
    "RankedAuthor",
    "StateEvent",
    "WithheldReason",
]


class EventKind(IntEnum):
    """First element of an event."""

    OMITTED = 0
    COMMENT = 1
    CUSTOM = 2
    STATE = 3
    NOTICE = 4
    MODERATED = 5
    HELD = 6
    PRESENCE = 7
    GIFT = 8
    COMBO = 9
    CORRECTION = 10
    PACKET = 11
    SHARE = 12
    PACKET_END = 13


class OmittedReason(IntEnum):
    """Why offsets carry no event."""

    DELETED = 1
    EXPIRED = 2
    FEED = 3
    KNOWN = 4
    """An entry of the ledger that has been shown before."""


class WithheldReason(StrEnum):
    """Why what somebody said was given no offset; its sender is told (`engine.errors.Code.WITHHELD`)."""

    EVENTS = "events"
    """The room's budget of events (``limits.room_events_per_second``)."""
    BYTES = "bytes"
    """The room's budget of bytes (``limits.room_bytes_per_second``)."""


class Author(Struct, array_like=True, frozen=True, gc=False):
    """``[id, name, attributes]``: who caused an event. The id is the server's, the name the user's own."""

    id: str
    name: str = ""
    attributes: dict[str, str] = {}


class RankedAuthor(Author, array_like=True, frozen=True, gc=False):
    """``[id, name, attributes, role, level]``: an author who is not just a viewer of level 0."""

    role: str = ""
    level: int = 0


class OmittedEvent(Struct, array_like=True, frozen=True, tag=0, gc=False):
    """``[0, reason, count]``: ``count`` consecutive offsets without an event (`OmittedReason`)."""

    reason: int
    count: int


class CommentEvent(Struct, array_like=True, frozen=True, tag=1, gc=False):
    """``[1, author, ref, body]``. ``ref`` is the sender's, so that its page can replace the optimistic copy."""

    author: Author
    ref: int
    body: str


class LinkedCommentEvent(CommentEvent, array_like=True, frozen=True, tag=1, gc=False):
    """``[1, author, ref, body, reply_to, mentions, expires]``: a comment that answers or mentions somebody, or vanishes.

    :ivar expires: when it is to vanish from screens; 0: it stays.
    """

    reply_to: int = 0
    mentions: list[str] = []
    expires: int = 0


class CustomEvent(Struct, array_like=True, frozen=True, tag=2, gc=False):
    """``[2, author, ref, name, body]``."""

    author: Author
    ref: int
    name: str
    body: str


class StateEvent(Struct, array_like=True, frozen=True, tag=3, gc=False):
    """``[3, author, ref, kind, key, value, version]``: the room's state has changed; see `Change`.

    :ivar value: null: the entry is gone.
    :ivar version: of the entry, larger than any it had before; of one that is gone, too.
    """

    author: Author
    ref: int
    kind: str
    key: str
    value: dict[str, Any] | None
    version: int


class NoticeEvent(Struct, array_like=True, frozen=True, tag=4, gc=False):
    """``[4, author, ref, body, receipts]``: see `Notice`."""

    author: Author
    ref: int
    body: str
    receipts: bool = False


class ModeratedEvent(Struct, array_like=True, frozen=True, tag=5, gc=False):
    """``[5, author, action, user, offsets, until, reason]``: a moderator has acted (`Moderate`). In the room without reason,
    and only what viewers must know; backstage everything.

    :ivar offsets: first and last of each stretch that is deleted, one after the other; the events there are to vanish.
    :ivar until: Unix milliseconds; 0: for good.
    """

    author: Author
    action: str
    user: str = ""
    offsets: list[int] = []
    until: int = 0
    reason: str = ""


class HeldEvent(Struct, array_like=True, frozen=True, tag=6, gc=False):
    """``[6, author, session, ref, event, reason]``: backstage, a comment that waits for a moderator's decision.

    :ivar session: tells the sender's from others; not the secret itself.
    :ivar event: the comment's event as it will be published.
    """

    author: Author
    session: str
    ref: int
    event: Raw
    reason: str = ""


class PresenceEvent(Struct, array_like=True, frozen=True, tag=7, gc=False):
    """``[7, author, present]``: somebody notable has come or gone (``room.notable_roles``, ``room.notable_level``)."""

    author: Author
    present: bool
