"""What clients send.

Owns each message's shape. Pure. Those about money are in `engine.schema.money`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from engine.schema.fields import Attributes, Int, Key, Name, Ref, Room, Session, Text, User, Value

__all__ = [
    "Ask",
    "Change",
    "Choose",
    "Comment",
    "Custom",
    "Direct",
    "Join",
    "Leave",
    "Like",
    "Moderate",
    "Notice",
    "Ping",
    "Quality",
    "ReadHistory",
    "ReadState",
    "Receipt",
    "Renew",
    "Vote",
]


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
    :ivar token: says who this is and what it may do (`engine.access`); null for a guest, and for who brought it with the
        upgrade: as subprotocol ``roomcast.token.`` and the token, beside the one that is spoken; or as ``?token=``, if the
        operator allows it. That one is for the first join without another.
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
    message does no harm. Not answered unless refused (with ref 0). A session that returns first repeats the totals that it has
    told before, 0 if none, and then tells what is new: it may have come to another server, which begins to count there.

    :ivar reactions: total of each reaction that the session gave; those that ``room.reactions`` does not name do not count.
    """

    handle: Int
    total: Int
    reactions: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=32)], Int], Meta(max_length=16)] = {}


class Ping(Struct, array_like=True, frozen=True, tag=5, gc=False):
    """``[5, ref]``: answered by `Pong`; browsers cannot send WebSocket pings."""

    ref: Ref


class Quality(Struct, array_like=True, frozen=True, tag=6, gc=False):
    """``[6, handle, entitled, received, gaps?, delays?, reconnects?]``: what came to this viewer since its last report that
    reached a server. Not answered; a `Pong` to a `Ping` sent after it tells that it arrived, and without one its numbers are
    part of the next report.

    :ivar entitled: offsets by which its position has moved, those of gaps included; ``received`` those that it was given one by
        one: events, and what stands in an event's place.
    :ivar gaps: `Gap` messages.
    :ivar delays: of events that came live, how many were how late by the server's clock: counts by bucket, the i-th of delays
        with ``floor(4 log2(ms + 1)) = i`` (`engine.quality.delays`), those from the last bucket on in the last.
    :ivar reconnects: how often it had to come back, by cause: the code of the close or refusal, as text; ``1006`` for a
        connection that broke.
    """

    handle: Int
    entitled: Int
    received: Int
    gaps: Int = 0
    delays: Annotated[list[Int], Meta(max_length=64)] = []
    reconnects: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=8)], Int], Meta(max_length=16)] = {}


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


class Renew(Struct, array_like=True, frozen=True, tag=23, gc=False):
    """``[23, ref, token]``: another token of the same user, before the one with which it joined expires. Its role, level and
    what else it says hold from now on. A refused one changes nothing."""

    ref: Ref
    token: Annotated[str, Meta(max_length=4096)]
