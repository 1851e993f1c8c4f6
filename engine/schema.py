"""Wire protocol v1: every message, field by field, and its two codecs.

Owns the shapes. Pure: knows no socket, no clock and no room. Two WebSocket subprotocols carry the same shapes:

``roomcast.v1.msgpack``  binary frames, MessagePack
``roomcast.v1.json``     text frames, JSON

Every message is an array whose first element is its kind, an integer. Rules that let versions live side by side:

- arrays grow only at the end; a reader ignores elements it does not know, a writer may omit trailing optional ones;
- a client surfaces event kinds it does not know; the server refuses message kinds it does not know, else a viewer could
  forge the kinds of tomorrow (``custom`` is the kind for what a product invents);
- integers stay below 2^53, so that JavaScript reads them exactly;
- times are Unix milliseconds from the broker's clock, never decreasing within a room.

A **handle** is a number for a room, the same for every viewer on every node (`handle_of`), so that one frame serves all.
A **ref** is chosen by the client: the reply carries it, and (session, ref) makes a retry harmless on any node.
A **position** is (epoch, offset): offsets count a room's events from 1 without holes, the epoch changes when history was
lost. **Counters** are totals, never deltas.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from hashlib import blake2b
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

__all__ = [
    "JSON",
    "MSGPACK",
    "SUBPROTOCOLS",
    "Author",
    "Batch",
    "Bye",
    "ClientMessage",
    "Codec",
    "Comment",
    "CommentEvent",
    "Custom",
    "CustomEvent",
    "Direct",
    "DirectMessage",
    "Event",
    "EventKind",
    "Gap",
    "Join",
    "Joined",
    "Leave",
    "Like",
    "Malformed",
    "OmittedEvent",
    "OmittedReason",
    "Ping",
    "Pong",
    "Quality",
    "Reply",
    "ServerMessage",
    "Snapshot",
    "handle_of",
]

Int = Annotated[int, Meta(ge=0, lt=2**53)]
"""Any number on the wire."""
Ref = Annotated[int, Meta(ge=1, lt=2**53)]
"""Chosen by the client, unique within its session; 0 is never one."""
Room = Annotated[str, Meta(min_length=1, max_length=128)]
Session = Annotated[str, Meta(min_length=16, max_length=64, pattern=r"\A[A-Za-z0-9_-]*\Z")]
"""Secret that makes a viewer the same one after a reconnect. From `Joined`; never shown to others."""
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=16_384)]
"""Outer bound; the operator's limit (``limits.comment_bytes``) lies below."""
Attributes = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=32)], Annotated[str, Meta(max_length=128)]], Meta(max_length=8)
]


# -- client to server ------------------------------------------------------------------------------------------------


class Join(Struct, array_like=True, frozen=True, tag=1, gc=False):
    """``[1, ref, room, epoch?, offset?, session?, name?, attributes?]``: enter a room, at the end or at a position.

    :ivar ref: echoed in `Joined`, or in an error `Reply`.
    :ivar room: name of the room, 1..128 characters.
    :ivar epoch: with ``offset`` the position of the last event seen; 0 when there is none.
    :ivar offset: see ``epoch``.
    :ivar session: as given by an earlier `Joined`; null for a new viewer.
    :ivar name: display name of a self-named user; null for a guest.
    :ivar attributes: up to 8 small strings shown with each event of this user.
    """

    ref: Ref
    room: Room
    epoch: Int = 0
    offset: Int = 0
    session: Session | None = None
    name: Name | None = None
    attributes: Attributes = {}


class Leave(Struct, array_like=True, frozen=True, tag=2, gc=False):
    """``[2, ref, handle]``: leave the room, keep the connection."""

    ref: Ref
    handle: Int


class Comment(Struct, array_like=True, frozen=True, tag=3, gc=False):
    """``[3, ref, handle, body]``: say something. The `Reply` carries the offset it was given.

    :ivar body: published in normal form C, without characters that control a screen or reorder text (`engine.text`); length
        limits are in bytes and in characters as people count them.
    """

    ref: Ref
    handle: Int
    body: Text


class Like(Struct, array_like=True, frozen=True, tag=4, gc=False):
    """``[4, handle, total]``: likes of this session in this room so far, cumulative, so that a repeated or lost message
    does no harm. Not answered unless refused (with ref 0)."""

    handle: Int
    total: Int


class Ping(Struct, array_like=True, frozen=True, tag=5, gc=False):
    """``[5, ref]``: answered by `Pong`; browsers cannot send WebSocket pings."""

    ref: Ref


class Quality(Struct, array_like=True, frozen=True, tag=6, gc=False):
    """``[6, handle, received, gaps, reconnects, delay_p50_ms, delay_p99_ms]``: what this viewer measured since it joined.
    Not answered."""

    handle: Int
    received: Int
    gaps: Int = 0
    reconnects: Int = 0
    delay_p50_ms: Int = 0
    delay_p99_ms: Int = 0


class Custom(Struct, array_like=True, frozen=True, tag=7, gc=False):
    """``[7, ref, handle, name, body]``: an event of the product's own making; needs the permission ``custom``."""

    ref: Ref
    handle: Int
    name: Name
    body: Text


class Direct(Struct, array_like=True, frozen=True, tag=8, gc=False):
    """``[8, ref, handle, user, body]``: to one user of the room, as `DirectMessage`; needs the permission ``direct``.
    Has no offset and is not in the history."""

    ref: Ref
    handle: Int
    user: Name
    body: Text


ClientMessage = Join | Leave | Comment | Like | Ping | Quality | Custom | Direct

# -- events, the elements of a batch ----------------------------------------------------------------------------------


class EventKind(IntEnum):
    """First element of an event."""

    OMITTED = 0
    COMMENT = 1
    CUSTOM = 2


class OmittedReason(IntEnum):
    """Why offsets carry no event."""

    DELETED = 1
    EXPIRED = 2
    FEED = 3


class Author(Struct, array_like=True, frozen=True, gc=False):
    """``[id, name, attributes]``: who caused an event. The id is the server's, the name the user's own."""

    id: str
    name: str = ""
    attributes: dict[str, str] = {}


class OmittedEvent(Struct, array_like=True, frozen=True, tag=0, gc=False):
    """``[0, reason, count]``: ``count`` consecutive offsets without an event (`OmittedReason`)."""

    reason: int
    count: int


class CommentEvent(Struct, array_like=True, frozen=True, tag=1, gc=False):
    """``[1, author, ref, body]``. ``ref`` is the sender's, so that its page can replace the optimistic copy."""

    author: Author
    ref: int
    body: str


class CustomEvent(Struct, array_like=True, frozen=True, tag=2, gc=False):
    """``[2, author, ref, name, body]``."""

    author: Author
    ref: int
    name: str
    body: str


Event = OmittedEvent | CommentEvent | CustomEvent

# -- server to client -------------------------------------------------------------------------------------------------


class Joined(Struct, array_like=True, frozen=True, tag=32, gc=False):
    """``[32, ref, handle, session, user, role, resumed, heartbeat_ms]``: private answer to `Join`.

    If ``resumed``, the batches that follow continue at the position; a `Gap` in between names what is missing. The first
    batch may begin before the position: drop the overlap. Otherwise a `Snapshot` follows.

    :ivar user: id under which this viewer's events appear.
    :ivar heartbeat_ms: a room is never silent for longer; after two of these without a frame, reconnect.
    """

    ref: int
    handle: int
    session: str
    user: str
    role: str
    resumed: bool
    heartbeat_ms: int


class Snapshot(Struct, array_like=True, frozen=True, tag=33, gc=False):
    """``[33, handle, room, epoch, offset, time, counters, heartbeat_ms]``: state of the room *after* ``offset``; the next
    batch begins at ``offset + 1``. Shared by everybody who joins about now.

    :ivar counters: ``[likes, viewers]``, totals.
    """

    handle: int
    room: str
    epoch: int
    offset: int
    time: int
    counters: tuple[int, ...]
    heartbeat_ms: int


class Batch(Struct, array_like=True, frozen=True, tag=34):
    """``[34, handle, epoch, first, last, time, events, delays, counters]``: the offsets ``first..last`` of a room, complete.

    Without events (``last == first - 1``) it is a heartbeat, or carries counters only.

    :ivar time: of the first event; of the batch when there is none.
    :ivar events: see `Event`; an `OmittedEvent` covers ``count`` offsets, every other event one.
    :ivar delays: milliseconds after ``time``, one for each element of ``events``; empty when all are 0.
    :ivar counters: ``[likes, viewers]``, totals.
    """

    handle: int
    epoch: int
    first: int
    last: int
    time: int
    events: list[Raw]
    delays: list[int] = []
    counters: tuple[int, ...] = ()


class Reply(Struct, array_like=True, frozen=True, tag=35, gc=False):
    """``[35, ref, code, offset, text, retry_after_ms]``: answer to one request (`engine.errors.Code`; 0 is success).

    :ivar ref: of the request; 0 when the request had none.
    :ivar offset: the offset a comment or custom event was given, otherwise 0.
    """

    ref: int
    code: int
    offset: int = 0
    text: str = ""
    retry_after_ms: int = 0


class Gap(Struct, array_like=True, frozen=True, tag=36, gc=False):
    """``[36, handle, epoch, first, last, reason]``: the offsets ``first..last`` of ``epoch`` will not come.

    :ivar last: 0 when unknown (the epoch's end is not known any more).
    :ivar reason: ``lag`` (this viewer was too slow), ``history`` (older than what is kept; a `Snapshot` or the next batch
        follows) or ``epoch`` (the room's history was lost; a `Snapshot` of the new epoch follows).
    """

    handle: int
    epoch: int
    first: int
    last: int
    reason: str


class Bye(Struct, array_like=True, frozen=True, tag=37, gc=False):
    """``[37, code, text, return_after_ms, return_window_ms]``: the server is about to close with ``code``
    (`engine.errors.Close`). Come back after ``return_after_ms`` plus a random part of ``return_window_ms``."""

    code: int
    text: str
    return_after_ms: int
    return_window_ms: int


class Pong(Struct, array_like=True, frozen=True, tag=38, gc=False):
    """``[38, ref, time]``: answer to `Ping`; ``time`` is the server's, Unix milliseconds."""

    ref: int
    time: int


class DirectMessage(Struct, array_like=True, frozen=True, tag=39, gc=False):
    """``[39, handle, author, body, time]``: for this user only."""

    handle: int
    author: Author
    body: str
    time: int


ServerMessage = Joined | Snapshot | Batch | Reply | Gap | Bye | Pong | DirectMessage

# -- codecs -----------------------------------------------------------------------------------------------------------


class Malformed(ValueError):
    """A message does not decode. The text names the fault and its path; ``unknown_kind`` tells a kind that is not ours."""

    def __init__(self, text: str, *, unknown_kind: bool = False) -> None:
        super().__init__(text)
        self.unknown_kind = unknown_kind


class Codec:
    """One encoding of the messages.

    :ivar number: 0 for MessagePack, 1 for JSON; part of the key of a shared frame.
    :ivar subprotocol: the WebSocket subprotocol (RFC 6455 section 1.9) that selects it.
    :ivar text: whether messages travel in text frames.
    """

    __slots__ = ("_decode", "encode", "number", "subprotocol", "text")

    def __init__(self, number: int, subprotocol: str, *, text: bool) -> None:
        self.number: Final = number
        self.subprotocol: Final = subprotocol
        self.text: Final = text
        module: Any = msgspec.json if text else msgspec.msgpack
        self.encode: Final[Callable[[object], bytes]] = module.Encoder().encode
        """Message → bytes. `Raw` fields must hold this codec's bytes."""
        self._decode = module.Decoder(ClientMessage).decode

    def decode(self, data: bytes | bytearray | memoryview) -> ClientMessage:
        """Decode one client message and validate it. Raises `Malformed`, nothing else."""
        try:
            message: ClientMessage = self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            text = str(error) if not isinstance(error, UnicodeDecodeError) else "a string is not valid UTF-8"
            raise Malformed(text, unknown_kind=text.startswith("Invalid value") and text.endswith("`$[0]`")) from None
        return message


MSGPACK: Final = Codec(0, "roomcast.v1.msgpack", text=False)
JSON: Final = Codec(1, "roomcast.v1.json", text=True)
CODECS: Final = (MSGPACK, JSON)
SUBPROTOCOLS: Final = {codec.subprotocol: codec for codec in CODECS}


def handle_of(room: str) -> int:
    """The room's number on the wire: 48 bits of BLAKE2b (RFC 7693) of its name.

    Derived rather than assigned, so that it survives restarts and is the same on every node. Two rooms share one with a
    probability of 2^-48; nothing but a client in both at once would notice.
    """
    return int.from_bytes(blake2b(room.encode(), digest_size=6).digest(), "big")
