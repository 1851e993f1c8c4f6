"""Which messages and events there are.

Owns the unions by which they are told apart. Pure.
"""

from __future__ import annotations

from engine.schema.events import (
    CommentEvent,
    CustomEvent,
    HeldEvent,
    ModeratedEvent,
    NoticeEvent,
    OmittedEvent,
    PresenceEvent,
    StateEvent,
)
from engine.schema.messages import Batch, Bye, DirectMessage, Gap, Joined, Page, Pong, Reply, Snapshot, State
from engine.schema.money import (
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

__all__ = ["Act", "ClientMessage", "Event", "MoneyAct", "MoneyEvent", "ServerMessage"]

MoneyAct = Give | Claim | Pack | ReadGivers | ReadGifts
"""What the hub's money lane decides on."""

Act = Moderate | Change | Notice | Vote | Ask | ReadHistory | ReadState | MoneyAct
"""What the hub decides on, beside what people say."""

ClientMessage = Join | Leave | Comment | Like | Ping | Quality | Custom | Direct | Receipt | Choose | Renew | Act

MoneyEvent = GiftEvent | ComboEvent | CorrectionEvent | PacketEvent | ShareEvent | PacketEndEvent

Event = (
    OmittedEvent
    | CommentEvent
    | CustomEvent
    | StateEvent
    | NoticeEvent
    | ModeratedEvent
    | HeldEvent
    | PresenceEvent
    | MoneyEvent
)

ServerMessage = Joined | Snapshot | Batch | Reply | Gap | Bye | Pong | DirectMessage | Page | State | Paid | Givers | Gifts
