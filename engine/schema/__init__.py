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

from engine.schema.codecs import (
    CODECS,
    JSON,
    MSGPACK,
    SUBPROTOCOLS,
    Codec,
    Malformed,
)
from engine.schema.events import (
    Author,
    CommentEvent,
    CustomEvent,
    EventKind,
    HeldEvent,
    LinkedCommentEvent,
    ModeratedEvent,
    NoticeEvent,
    OmittedEvent,
    OmittedReason,
    PresenceEvent,
    RankedAuthor,
    StateEvent,
    WithheldReason,
)
from engine.schema.messages import (
    Batch,
    Bye,
    DirectMessage,
    Gap,
    Joined,
    Page,
    Pong,
    Reply,
    Snapshot,
    State,
)
from engine.schema.money import (
    MONEY,
    Claim,
    ComboEvent,
    CorrectionEvent,
    GiftEvent,
    Gifts,
    Give,
    Givers,
    Pack,
    PacketEndEvent,
    PacketEvent,
    Paid,
    ReadGifts,
    ReadGivers,
    ShareEvent,
)
from engine.schema.names import (
    BACKSTAGE,
    CONSOLE,
    EVERYWHERE,
    backstage_of,
    handle_of,
)
from engine.schema.requests import (
    Ask,
    Change,
    Choose,
    Comment,
    Custom,
    Direct,
    Join,
    Leave,
    Like,
    Moderate,
    Notice,
    Ping,
    Quality,
    ReadHistory,
    ReadState,
    Receipt,
    Renew,
    Vote,
)
from engine.schema.unions import (
    Act,
    ClientMessage,
    Event,
    MoneyAct,
    MoneyEvent,
    ServerMessage,
)

__all__ = [
    "Act",
    "Ask",
    "Author",
    "BACKSTAGE",
    "Batch",
    "Bye",
    "CODECS",
    "Change",
    "Choose",
    "Claim",
    "ClientMessage",
    "Codec",
    "ComboEvent",
    "Comment",
    "CommentEvent",
    "CorrectionEvent",
    "Custom",
    "CustomEvent",
    "Direct",
    "DirectMessage",
    "CONSOLE",
    "EVERYWHERE",
    "Event",
    "EventKind",
    "Gap",
    "GiftEvent",
    "Gifts",
    "Give",
    "Givers",
    "HeldEvent",
    "JSON",
    "Join",
    "Joined",
    "Leave",
    "Like",
    "LinkedCommentEvent",
    "MONEY",
    "MSGPACK",
    "Malformed",
    "Moderate",
    "ModeratedEvent",
    "MoneyAct",
    "MoneyEvent",
    "Notice",
    "NoticeEvent",
    "OmittedEvent",
    "OmittedReason",
    "Pack",
    "PacketEndEvent",
    "PacketEvent",
    "Page",
    "Paid",
    "Ping",
    "Pong",
    "PresenceEvent",
    "Quality",
    "RankedAuthor",
    "ReadGifts",
    "ReadGivers",
    "ReadHistory",
    "ReadState",
    "Receipt",
    "Renew",
    "Reply",
    "SUBPROTOCOLS",
    "ServerMessage",
    "ShareEvent",
    "Snapshot",
    "State",
    "StateEvent",
    "Vote",
    "WithheldReason",
    "backstage_of",
    "handle_of",
]
