"""What the product is asked and told, and what it may answer, as plain values.

Owns their shapes. Pure. A **question** is asked before something is accepted; a **happening** is told of after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct

__all__ = ["ALLOW", "Allow", "Change", "Happening", "Hold", "Hook", "Kind", "Question", "Refuse", "Topic", "Verdict"]

Kind = Literal["comment", "gift", "red_packet", "join"]
Topic = Literal["room", "gift", "red_packet", "moderation", "peak"]


class Question(Struct, frozen=True, kw_only=True):
    """May this happen?

    :ivar id: of this question; another one each time, also when the same request comes again.
    :ivar key: of the request, the same when it comes again; tells nothing of the viewer's session. Of a gift or a red packet
        that of its payment, too (`engine.hub.spending.Spend`); empty: it has none, as a join.
    :ivar time: Unix milliseconds.
    :ivar user: id; ``name``, ``role``, ``level`` and ``attributes`` as events would show them.
    :ivar body: of a comment, a custom event or a red packet: what is said; else empty.
    :ivar details: of a comment ``reply_to``, ``mentions``, ``lifetime_ms``, if given; of a custom event its ``name``, too; of a
        gift ``gift``, ``count``, ``amount``, ``to``; of a red packet ``total``, ``shares``, ``phrase``; of a join ``address``
        (empty if unknown) and ``follower``.
    """

    id: str
    kind: Kind
    room: str
    user: str
    key: str = ""
    time: int = 0
    name: str = ""
    role: str = "viewer"
    level: int = 0
    attributes: dict[str, str] = {}
    body: str = ""
    details: dict[str, Any] = {}


class Allow(Struct, frozen=True, tag_field="verdict", tag="allow"):
    """It may happen as it is."""


class Change(Struct, frozen=True, tag_field="verdict", tag="change"):
    """A comment or custom event may be published with this text instead; then it is treated like one that was sent so."""

    body: str


class Hold(Struct, frozen=True, tag_field="verdict", tag="hold"):
    """A moderator is to decide on a comment; the reason is shown to moderators. Of anything else: as `Refuse`."""

    reason: str = ""


class Refuse(Struct, frozen=True, tag_field="verdict", tag="refuse"):
    """It may not happen.

    :ivar reason: for the viewer to read.
    """

    reason: str = ""


Verdict = Allow | Change | Hold | Refuse
ALLOW = Allow()

Hook = Callable[[Question], "Awaitable[Verdict | None] | Verdict | None"]
"""A product's own, in Python: sync (called in the hub's loop, so it must not block) or async. None allows."""


class Happening(Struct, frozen=True, kw_only=True):
    """Something that has happened in a room.

    :ivar id: the same whenever it is told again.
    :ivar type: ``room.opened``, ``room.closed``, ``room.archived``; ``gift.given``, ``gift.combo``, ``gift.corrected``;
        ``red_packet.opened``, ``red_packet.claimed``, ``red_packet.ended``; ``moderation.ACTION`` with the action of
        `engine.schema.Moderate`; ``viewers.peak``.
    :ivar number: counts what is told of one room, from 1 without holes, in the order in which it is told.
    :ivar time: Unix milliseconds.
    :ivar data: as `engine.schema` has the event, by the names of its fields; of a peak ``viewers``.
    """

    id: str
    type: str
    room: str
    number: int
    time: int
    data: dict[str, Any]
