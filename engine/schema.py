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
from enum import IntEnum, StrEnum
from hashlib import blake2b
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

__all__ = [
    "BACKSTAGE",
    "JSON",
    "MSGPACK",
    "SUBPROTOCOLS",
    "Act",
    "Ask",
    "Author",
    "Batch",
    "Bye",
    "Change",
    "Choose",
    "ClientMessage",
    "Codec",
    "Comment",
    "CommentEvent",
    "Custom",
    "CustomEvent",
    "Direct",
    "DirectMessage",
    "EVERYWHERE",
    "Event",
    "EventKind",
    "Gap",
    "HeldEvent",
    "Join",
    "Joined",
    "Leave",
    "Like",
    "LinkedCommentEvent",
    "Malformed",
    "Moderate",
    "ModeratedEvent",
    "Notice",
    "NoticeEvent",
    "OmittedEvent",
    "OmittedReason",
    "Page",
    "Ping",
    "Pong",
    "PresenceEvent",
    "Quality",
    "RankedAuthor",
    "ReadHistory",
    "ReadState",
    "Receipt",
    "Reply",
    "ServerMessage",
    "Snapshot",
    "State",
    "StateEvent",
    "Vote",
    "WithheldReason",
    "backstage_of",
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
User = Annotated[str, Meta(min_length=1, max_length=64)]
"""Id of a user, as in `Author`."""
Key = Annotated[str, Meta(max_length=64)]
"""Id of something in a room's state, unique among those of its kind."""
_DEPTH: Final = 8
_EXACT: Final = (-(2**53), 2**53)
Value = Annotated[dict[Annotated[str, Meta(max_length=32)], Any], Meta(max_length=32)]
"""A map of strings, numbers, booleans, and lists and maps of these, at most `_DEPTH` deep; `engine.hub.state` knows what each
kind of state has."""


# -- client to server ------------------------------------------------------------------------------------------------


class Join(Struct, array_like=True, frozen=True, tag=1, gc=False):
    """``[1, ref, room, epoch?, offset?, session?, name?, attributes?, token?, feed?]``: enter a room, at the end or at a
    position.

    :ivar ref: echoed in `Joined`, or in an error `Reply`.
    :ivar room: name of the room, 1..128 characters.
    :ivar epoch: with ``offset`` the position of the last event seen; 0 when there is none.
    :ivar offset: see ``epoch``.
    :ivar session: as given by an earlier `Joined`; null for a new viewer.
    :ivar name: display name of a self-named user; null for a guest.
    :ivar attributes: up to 8 small strings shown with each event of this user.
    :ivar token: says who this is and what it may do (`engine.access`); null for a guest.
    :ivar feed: one of the operator's feeds (``feeds``); empty: everything.
    """

    ref: Ref
    room: Room
    epoch: Int = 0
    offset: Int = 0
    session: Session | None = None
    name: Name | None = None
    attributes: Attributes = {}
    token: Annotated[str, Meta(max_length=4096)] | None = None
    feed: Key = ""


class Leave(Struct, array_like=True, frozen=True, tag=2, gc=False):
    """``[2, ref, handle]``: leave the room, keep the connection."""

    ref: Ref
    handle: Int


class Comment(Struct, array_like=True, frozen=True, tag=3, gc=False):
    """``[3, ref, handle, body, reply_to?, mentions?, lifetime_ms?]``: say something. The `Reply` carries the offset it was
    given.

    :ivar body: published in normal form C, without characters that control a screen or reorder text (`engine.text`); length
        limits are in bytes and in characters as people count them.
    :ivar reply_to: offset of the comment that this answers; 0: none.
    :ivar mentions: ids of users that it speaks of, at most 16.
    :ivar lifetime_ms: it vanishes from screens and history after this time; 0: it stays.
    """

    ref: Ref
    handle: Int
    body: Text
    reply_to: Int = 0
    mentions: Annotated[list[User], Meta(max_length=16)] = []
    lifetime_ms: Int = 0


class Like(Struct, array_like=True, frozen=True, tag=4, gc=False):
    """``[4, handle, total, reactions?]``: likes of this session in this room so far, cumulative, so that a repeated or lost
    message does no harm. Not answered unless refused (with ref 0).

    :ivar reactions: total of each reaction that the session gave; those that ``room.reactions`` does not name do not count.
    """

    handle: Int
    total: Int
    reactions: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=32)], Int], Meta(max_length=16)] = {}


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


class Moderate(Struct, array_like=True, frozen=True, tag=9, gc=False):
    """``[9, ref, handle, action, user?, offset?, seconds?, reason?, everywhere?]``: needs the permission ``moderate``.
    Effective at all nodes within a tick; audited backstage (`backstage_of`).

    :ivar action: ``mute``, ``unmute``; ``shadow``, ``unshadow`` (nobody else sees what the user says, and it is not told);
        ``ban``, ``unban``; ``ban_address`` (``user`` is an address, or who is at it), ``unban_address``; ``kick``; ``delete``
        (the event at ``offset``), ``delete_user`` (all of a user's comments that are kept), ``clear`` (all comments that are
        kept); ``approve``, ``reject`` (of the held comment at ``offset`` backstage).
    :ivar seconds: how long; 0: until it is taken back.
    :ivar everywhere: in all rooms; for mutes, shadow mutes and bans.
    """

    ref: Ref
    handle: Int
    action: Annotated[str, Meta(min_length=1, max_length=32)]
    user: Annotated[str, Meta(max_length=64)] = ""
    offset: Int = 0
    seconds: Int = 0
    reason: Annotated[str, Meta(max_length=256)] = ""
    everywhere: bool = False


class Change(Struct, array_like=True, frozen=True, tag=10, gc=False):
    """``[10, ref, handle, kind, key, value, expect?, on_leave?]``: change the room's state; `engine.hub.state` tells each
    kind's ``value`` and who may. Everybody gets a `StateEvent`.

    :ivar value: null deletes.
    :ivar expect: version of the entry on which this builds (`StateEvent`), 0 if there must be none; -1: any.
    :ivar on_leave: it is deleted when this viewer leaves the room.
    """

    ref: Ref
    handle: Int
    kind: Key
    key: Key
    value: Value | None
    expect: Annotated[int, Meta(ge=-1, lt=2**53)] = -1
    on_leave: bool = False


class Notice(Struct, array_like=True, frozen=True, tag=11, gc=False):
    """``[11, ref, handle, body, receipts?, deadline_ms?]``: an announcement; needs the permission ``lead``. The `Reply` carries
    its offset.

    :ivar receipts: clients are to tell that they have it, and that it was read (`Receipt`).
    :ivar deadline_ms: time after which the server tells its product who has not read it; 0: never.
    """

    ref: Ref
    handle: Int
    body: Text
    receipts: bool = False
    deadline_ms: Int = 0


class Receipt(Struct, array_like=True, frozen=True, tag=12, gc=False):
    """``[12, handle, offset, read]``: the notice at this offset has come, or was ``read``. Not answered."""

    handle: Int
    offset: Int
    read: bool = False


class Vote(Struct, array_like=True, frozen=True, tag=13, gc=False):
    """``[13, ref, handle, kind, key, choice?]``: vote in a ``poll`` for one of its options, counted from 0, or for a
    ``question``. One vote for each user."""

    ref: Ref
    handle: Int
    kind: Key
    key: Key
    choice: Annotated[int, Meta(ge=0, lt=64)] = 0


class Ask(Struct, array_like=True, frozen=True, tag=14, gc=False):
    """``[14, ref, handle, body]``: ask the host a question that others can vote for. It becomes state of the kind
    ``question``."""

    ref: Ref
    handle: Int
    body: Text


class ReadHistory(Struct, array_like=True, frozen=True, tag=15, gc=False):
    """``[15, ref, handle, before?, limit?]``: events with offsets below ``before``, the newest of them. Answered by `Page`.

    :ivar before: 0: up to the newest.
    :ivar limit: at most so many offsets; the page may hold fewer, because it has at most about 8 kB.
    """

    ref: Ref
    handle: Int
    before: Int = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ReadState(Struct, array_like=True, frozen=True, tag=16, gc=False):
    """``[16, ref, handle]``: what the room is now; for a client that had a gap. Answered by `State`."""

    ref: Ref
    handle: Int


class Choose(Struct, array_like=True, frozen=True, tag=17, gc=False):
    """``[17, ref, handle, feed]``: another feed from the next batch on. The offsets stay the same."""

    ref: Ref
    handle: Int
    feed: Key = ""


Act = Moderate | Change | Notice | Vote | Ask | ReadHistory | ReadState
"""What the hub decides on, beside what people say."""

ClientMessage = (
    Join
    | Leave
    | Comment
    | Like
    | Ping
    | Quality
    | Custom
    | Direct
    | Moderate
    | Change
    | Notice
    | Receipt
    | Vote
    | Ask
    | ReadHistory
    | ReadState
    | Choose
)

# -- events, the elements of a batch ----------------------------------------------------------------------------------


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


class OmittedReason(IntEnum):
    """Why offsets carry no event."""

    DELETED = 1
    EXPIRED = 2
    FEED = 3


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


Event = OmittedEvent | CommentEvent | CustomEvent | StateEvent | NoticeEvent | ModeratedEvent | HeldEvent | PresenceEvent

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
    """``[33, handle, room, epoch, offset, time, counters, heartbeat_ms, totals, state, recent]``: state of the room
    *after* ``offset``; the next batch begins at ``offset + 1``. Shared by everybody who joins about now.

    :ivar counters: ``[likes, viewers]``, totals.
    :ivar totals: see `Batch`; all that are not 0.
    :ivar state: ``[kind, key, value, version]`` of each entry, as in `StateEvent`.
    :ivar recent: ``[offset, time, event]`` of the last events before, oldest first; for the screen, not for the count.
    """

    handle: int
    room: str
    epoch: int
    offset: int
    time: int
    counters: tuple[int, ...]
    heartbeat_ms: int
    totals: dict[str, Any] = {}
    state: list[tuple[str, str, Any, int]] = []
    recent: list[tuple[int, int, Raw]] = []


class Batch(Struct, array_like=True, frozen=True, tag=34):
    """``[34, handle, epoch, first, last, time, events, delays, counters, totals]``: the offsets ``first..last`` of a room,
    complete.

    Without events (``last == first - 1``) it is a heartbeat, or carries counters only.

    :ivar time: of the first event; of the batch when there is none.
    :ivar events: see `Event`; an `OmittedEvent` covers ``count`` offsets, every other event one.
    :ivar delays: milliseconds after ``time``, one for each element of ``events``; empty when all are 0.
    :ivar counters: ``[likes, viewers]``, totals.
    :ivar totals: those that have changed, all of them in a heartbeat: ``peak`` and ``unique`` viewers; ``rate``, likes a
        second; ``withheld``, events by reason (`WithheldReason`); ``reactions``, the most given; ``votes``, of polls and
        questions, a list for each ``kind:key``; ``receipts``, ``[came, read]`` by the offset of the notice.
    """

    handle: int
    epoch: int
    first: int
    last: int
    time: int
    events: list[Raw]
    delays: list[int] = []
    counters: tuple[int, ...] = ()
    totals: dict[str, Any] = {}


class Reply(Struct, array_like=True, frozen=True, tag=35, gc=False):
    """``[35, ref, code, offset, text, retry_after_ms]``: answer to one request (`engine.errors.Code`; 0 is success).

    :ivar ref: of the request; 0 when the request had none.
    :ivar offset: of the event that came of the request, such as a comment or a change of the state; 0 if none did.
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


class Page(Struct, array_like=True, frozen=True, tag=40, gc=False):
    """``[40, ref, handle, epoch, first, last, times, events]``: answer to `ReadHistory`: the offsets ``first..last``, complete;
    ``last == first - 1`` when nothing older is kept.

    :ivar times: Unix milliseconds, one for each element of ``events``.
    :ivar events: as in `Batch`.
    """

    ref: int
    handle: int
    epoch: int
    first: int
    last: int
    times: list[int]
    events: list[Raw]


class State(Struct, array_like=True, frozen=True, tag=41, gc=False):
    """``[41, ref, handle, epoch, offset, totals, state]``: answer to `ReadState`: as in `Snapshot`. Changes up to
    ``offset`` are part of it, so that the client applies later ones only."""

    ref: int
    handle: int
    epoch: int
    offset: int
    totals: dict[str, Any]
    state: list[tuple[str, str, Any, int]]


ServerMessage = Joined | Snapshot | Batch | Reply | Gap | Bye | Pong | DirectMessage | Page | State

# -- codecs -----------------------------------------------------------------------------------------------------------


class Malformed(ValueError):
    """A message does not decode. The text names the fault and its path; ``unknown_kind`` tells a kind that is not ours."""

    def __init__(self, text: str, *, unknown_kind: bool = False) -> None:
        super().__init__(text)
        self.unknown_kind = unknown_kind


def _check_value(value: dict[str, Any] | None) -> None:
    """Raise `Malformed` for what another codec, or a client, could not read."""
    level: list[Any] = [value]
    for _ in range(_DEPTH):
        deeper: list[Any] = []
        for each in level:
            match each:
                case int() if not _EXACT[0] < each < _EXACT[1]:
                    raise Malformed("Expected `int` within 2^53 - at `$[5]`")
                case None | str() | int() | float():
                    pass
                case list():
                    deeper += each
                case dict():
                    deeper += each.keys()
                    deeper += each.values()
                case _:
                    raise Malformed(f"Expected text, number, boolean, array or object, got `{type(each).__name__}` - at `$[5]`")
        if not deeper:
            return
        level = deeper
    raise Malformed(f"Expected a value at most {_DEPTH} deep - at `$[5]`")


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
        if type(message) is Change:
            _check_value(message.value)
        return message


MSGPACK: Final = Codec(0, "roomcast.v1.msgpack", text=False)
JSON: Final = Codec(1, "roomcast.v1.json", text=True)
CODECS: Final = (MSGPACK, JSON)
SUBPROTOCOLS: Final = {codec.subprotocol: codec for codec in CODECS}


EVERYWHERE: Final = "#everywhere"
"""Room whose record holds the sanctions that hold in all rooms. Nobody can join it."""
BACKSTAGE: Final = "#backstage"


def backstage_of(room: str) -> str:
    """Name of the room behind a room: held comments, what moderators did and why, and who has read a notice. It is a room like
    any other, with order and history; only moderators and hosts may join it."""
    return room + BACKSTAGE


def handle_of(room: str) -> int:
    """The room's number on the wire: 48 bits of BLAKE2b (RFC 7693) of its name.

    Derived rather than assigned, so that it survives restarts and is the same on every node. Two rooms share one with a
    probability of 2^-48; nothing but a client in both at once would notice.
    """
    return int.from_bytes(blake2b(room.encode(), digest_size=6).digest(), "big")
