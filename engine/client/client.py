"""A viewer in Python: follows one room, speaks in it, and comes back by itself when the connection is lost.

Owns what a program sees of it: what is known, what can be done, the items in order. The connection is the supervisor's. Runs
wherever trio runs; decodes with the `msgpack` and `json` packages, never with the engine's own codec.

Everything lives in one nursery, which the context manager of `open_client` owns.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple, Self

import trio

from engine.client.bearer import TokenSource
from engine.client.claims import over
from engine.client.control import GiversAnswer, Joined, OffersAnswer, PageAnswer, PaidAnswer, Pong, Reply, StateAnswer
from engine.client.counters import Counters
from engine.client.dial import endpoint_of, unwrapped
from engine.client.follower import Statistics
from engine.client.items import Entry, Event, Gap, Givers, Item, Offer, Omitted, Page, Paid, Position, Snapshot
from engine.client.known import LedgerEntries
from engine.client.options import Identity, Options
from engine.client.plaincodec import CODECS
from engine.client.quality import Quality
from engine.client.requests import Request, refused
from engine.client.state import PACKET
from engine.client.supervisor import Closed, Supervisor
from engine.errors import Code

__all__ = ["Client", "Closed", "RoundTrip", "open_client"]

_COMMENT, _CUSTOM, _DIRECT, _MODERATE, _CHANGE, _NOTICE = 3, 7, 8, 9, 10, 11
_RECEIPT, _VOTE, _ASK, _READ_HISTORY, _READ_STATE, _CHOOSE = 12, 13, 14, 15, 16, 17
_GIVE, _PACK, _READ_GIVERS, _READ_GIFTS = 18, 20, 21, 22


class RoundTrip(NamedTuple):
    """Answer to a ping: its duration, and the server's clock in Unix milliseconds."""

    seconds: float
    server_time: int


class Client:
    """One viewer in one room; made by `open_client`. An asynchronous iterator over what happens in the room, in order: the
    items of `engine.client.items`, that is the room's events, `Omitted`, `Gap`, `Counters`, `Direct`, `Snapshot` and `Present`,
    and `Disconnected`, `Reconnected` and `Refusal`.

    Iteration continues across lost connections. It ends by raising, after everything that came before was handed out:
    `Closed` (the server wants no return), `Refused` (it does not let this viewer back in), `Unreachable` (given up),
    `ProtocolViolation` (the order was broken; ``position`` is still good). Requests then raise the same.

    Items that are not iterated over are held, up to ``Options.undelivered``. At that bound the client stops reading:
    replies stop, too, and in the end the server sees a slow viewer, with all consequences (a `Gap`, or a close and a
    resume). Whoever only speaks and never iterates in a busy room must expect that.

    Requests wait for their answer. One that was under way when the connection was lost is sent again after the return
    with the same ref, which the server recognises, so an event is published once; a direct message may arrive twice.
    Cancelling a request does not take it back.

    Every request raises `Refused`, with code, text and ``retry_after_ms``, or `Uncertain`: sent, but not known whether
    carried out. One that publishes returns the offset of its event, or 0 when nobody else sees it yet because a moderator
    will decide (`Code.HELD`): it has been taken, so sending it again would be a second one. Once it is approved it comes
    as an event like any other.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._position = supervisor.start
        self._packed: Position | None = None
        """Of the newest red packet that this client gave."""

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def user(self) -> str:
        """Id under which this viewer's events appear."""
        return self._now.user

    @property
    def role(self) -> str:
        """What this viewer may do, as the server names it."""
        return self._now.role

    @property
    def session(self) -> str:
        """Secret that makes a later client the same viewer. Keep it, show it to nobody."""
        return self._now.session

    @property
    def taps(self) -> dict[str, int]:
        """Likes, under the empty name, and reactions that servers were told in this session. A later client goes on from there:
        read it when this one has left."""
        return self._supervisor.taps.totals

    @property
    def position(self) -> Position | None:
        """After the last item handed out: pass it to a later client to continue there. None while it is lost."""
        return self._position

    @property
    def counters(self) -> Counters | None:
        """The newest totals received; None before the first."""
        return self._supervisor.follower.counters

    @property
    def state(self) -> dict[tuple[str, str], Entry]:
        """What the room is, by kind and key, as far as received: a copy, ahead of the items that are not handed out yet."""
        return dict(self._supervisor.follower.state.entries)

    @property
    def certain(self) -> bool:
        """Whether ``state`` lacks nothing. Not after a `Gap`, until the client has read it again and yields `Present`."""
        return self._supervisor.follower.state.certain

    @property
    def entries(self) -> LedgerEntries:
        """Which entries of the room's ledger came in events, ahead of the items that are not handed out yet. One that comes
        again after the room's history was lost is dropped: an `Omitted` stands in its place."""
        return self._supervisor.follower.entries

    @property
    def reconnects(self) -> int:
        """How often the client came back."""
        return self._supervisor.reconnects

    def statistics(self) -> Statistics:
        """What came so far."""
        return self._supervisor.follower.statistics()

    def quality(self) -> Quality:
        """What came so far of what this viewer is entitled to, ahead of the items that are not handed out yet; a share of
        viewers reports it to the server (``Options.quality``)."""
        return self._supervisor.meter.quality()

    # -- what can be said ------------------------------------------------------------------------------------------

    async def comment(
        self, body: str, *, reply_to: int = 0, mentions: Sequence[str] = (), lifetime_seconds: float = 0.0
    ) -> int:
        """Say something; return the offset it was given, or 0: see `Client`.

        :param reply_to: offset of the comment that this answers.
        :param mentions: ids of users that it speaks of, at most 16.
        :param lifetime_seconds: time after which it vanishes; 0: it stays.
        """
        fields = [reply_to, list(mentions), _milliseconds(lifetime_seconds)]
        return await self._ask(_COMMENT, body, *(fields if any(fields) else ()))

    async def custom(self, name: str, body: str) -> int:
        """Publish an event of the product's own; return its offset, or 0."""
        return await self._ask(_CUSTOM, name, body)

    async def direct(self, user: str, body: str) -> None:
        """Send to one user of the room, by id."""
        await self._ask(_DIRECT, user, body)

    def like(self, likes: int = 1) -> None:
        """Add likes. Their sum goes out every ``Options.like_seconds`` and when the client leaves; a refusal is an
        item.

        :raises ValueError: ``likes`` is negative.
        """
        self._alive()
        self._supervisor.taps.like(likes)

    def react(self, name: str, times: int = 1) -> None:
        """Add reactions; they go out as likes do. Those that the room does not know (``room.reactions``) do not count.

        :raises ValueError: ``times`` is negative, the name too long or empty, or one too many: a viewer can give 16
            different ones.
        """
        self._alive()
        self._supervisor.taps.react(name, times)

    async def vote(self, kind: str, key: str, choice: int = 0) -> None:
        """Vote in a ``poll`` for one of its options, counted from 0, or for a ``question``."""
        await self._ask(_VOTE, kind, key, choice)

    async def ask(self, body: str) -> None:
        """Ask the host a question that others can vote for: state of the kind ``question``."""
        await self._ask(_ASK, body)

    # -- what is paid for ------------------------------------------------------------------------------------------

    async def give(self, gift: str, count: int = 1, to: str = "") -> Paid:
        """Give something, by its id in the catalogue; returns when it is in the ledger and in the room.

        :param to: id of the user who gets it; empty: the host.
        """
        return _paid(await self._supervisor.ask(_GIVE, self._now.handle, gift, count, to))

    async def pack(
        self,
        total: int,
        shares: int,
        *,
        split: Literal["equal", "random"] = "random",
        opens_ms: int = 0,
        lasts_ms: int = 0,
        followers: bool = False,
        phrase: str = "",
        text: str = "",
    ) -> Paid:
        """Give a red packet to the room: ``total`` in so many shares. Its entry is its number.

        :param opens_ms: milliseconds from now until it can be claimed.
        :param lasts_ms: milliseconds from then until what is left goes back; 0: the operator's.
        :param followers: only who follows the host can claim it.
        :param phrase: only who has said this in the room since then can claim it.
        :param text: shown with it.
        """
        fields = (total, shares, split, opens_ms, lasts_ms, followers, phrase, text)
        paid = _paid(await self._supervisor.ask(_PACK, self._now.handle, *fields))
        now = self._supervisor.follower.position
        self._packed = None if now is None else Position(now.epoch, paid.offset)
        return paid

    async def claim(self, packet: int) -> Paid:
        """Claim a share of a red packet, by its entry. The second claim of a user is answered as its first.

        Raises `Refused` with `Code.PACKET_OVER` when nothing is left, which is told to the whole room and not to each who
        claims. After a `Gap` that may be all that is known: whether this user has a share is in the room's history.
        """
        state = self._supervisor.follower.state
        key = PACKET, str(packet)
        # A packet of which the room was not told yet is dropped by the server, like one that is over.
        if key not in state.entries and self._packed is not None:
            await self._supervisor.reached(self._packed)
        if key not in state.entries:
            await self.refresh()
        if key not in state.entries:
            raise over()
        return _paid(await self._supervisor.claim(packet))

    async def givers(self, stream: str | None = None, after: int = 0, limit: int = 100) -> Givers:
        """Read who gave most.

        :param stream: name of a broadcast in this room; None: the present one; empty: of all time.
        :param after: skip so many; ``limit``: at most so many, 1..200.
        """
        answer = (await self._supervisor.ask(_READ_GIVERS, self._now.handle, stream, after, limit)).answer
        if not isinstance(answer, GiversAnswer):
            raise refused(answer)
        return answer.givers

    async def gifts(self) -> tuple[Offer, ...]:
        """Read what can be given here, cheapest first."""
        answer = (await self._supervisor.ask(_READ_GIFTS, self._now.handle)).answer
        if not isinstance(answer, OffersAnswer):
            raise refused(answer)
        return answer.offers

    # -- what hosts and moderators do ------------------------------------------------------------------------------

    async def notice(self, body: str, *, receipts: bool = False, deadline_seconds: float = 0.0) -> int:
        """Announce something; return its offset.

        :param receipts: count to whom it came and who read it (``Counters.receipts``).
        :param deadline_seconds: time after which the server tells its product who has not read it; 0: never.
        """
        return await self._ask(_NOTICE, body, receipts, _milliseconds(deadline_seconds))

    async def change(
        self, kind: str, key: str, value: Mapping[str, Any] | None, *, expect: int = -1, on_leave: bool = False
    ) -> None:
        """Change an entry of the room's state. It comes back as a `State`.

        :param value: None deletes.
        :param expect: the version on which this builds (``state``), 0: there must be none; -1: any. `Code.CONFLICT` if not.
        :param on_leave: delete it when this viewer leaves the room.
        """
        await self._ask(_CHANGE, kind, key, None if value is None else dict(value), expect, on_leave)

    async def moderate(
        self,
        action: str,
        *,
        user: str = "",
        offset: int = 0,
        seconds: float = 0.0,
        reason: str = "",
        everywhere: bool = False,
    ) -> None:
        """Act as a moderator: see `engine.schema.Moderate` for the actions and what they take.

        :param seconds: how long, in whole seconds (rounded up); 0: until it is taken back.
        """
        await self._ask(_MODERATE, action, user, offset, math.ceil(seconds), reason, everywhere)

    # -- what else can be asked for --------------------------------------------------------------------------------

    async def history(self, before: int = 0, limit: int = 100) -> Page:
        """Read events with offsets below ``before`` (0: up to the newest), the newest of them, in one page.

        :param limit: at most so many offsets, 1..1000; the page may hold fewer. The next one is ``before=page.first``.
        """
        answer = (await self._supervisor.ask(_READ_HISTORY, self._now.handle, before, limit)).answer
        if not isinstance(answer, PageAnswer):
            raise refused(answer)
        return answer.page

    async def refresh(self) -> None:
        """Read the room's state again, so that ``state`` is what it is now: what a newcomer is told first may be older by
        changes that are still on their way."""
        answer = (await self._supervisor.ask(_READ_STATE, self._now.handle)).answer
        if not isinstance(answer, StateAnswer):
            raise refused(answer)

    async def received(self, offset: int) -> None:
        """Tell that the notice at this offset has come (``Options.receipts`` does so by itself). Not answered: returns
        when it is on its way."""
        await self._supervisor.tell(_RECEIPT, self._now.handle, offset)

    async def read(self, offset: int) -> None:
        """Tell that the notice at this offset was read. As `received`."""
        await self._supervisor.tell(_RECEIPT, self._now.handle, offset, True)

    async def choose(self, feed: str) -> None:
        """Take another feed from the next batch on, and after a return; empty: everything."""
        await self._ask(_CHOOSE, feed)
        self._supervisor.feed = feed

    async def ping(self) -> RoundTrip:
        """Ask for a sign of life."""
        request = await self._supervisor.ping()
        answer, sent = request.answer, request.sent
        if not isinstance(answer, Pong) or sent is None:
            raise refused(answer)
        return RoundTrip(request.answered - sent, answer.time)

    # -- what happens ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        try:
            item = await self._supervisor.inbox.receive()
        except trio.EndOfChannel:
            assert self._supervisor.requests.failure is not None
            raise self._supervisor.requests.failure from None
        self._position = _after(item, self._position)
        return item

    @property
    def _now(self) -> Joined:
        return self._supervisor.now

    def _alive(self) -> None:
        if self._supervisor.requests.failure is not None:
            raise self._supervisor.requests.failure

    async def _ask(self, kind: int, *fields: Any) -> int:
        answer = (await self._supervisor.ask(kind, self._now.handle, *fields)).answer
        if not isinstance(answer, Reply) or 0 < answer.code < Code.HELD:
            raise refused(answer)
        return answer.offset if answer.code == Code.OK else 0


@asynccontextmanager
async def open_client(
    url: str,
    *,
    room: str,
    name: str | None = None,
    attributes: Mapping[str, str] | None = None,
    position: Position | tuple[int, int] | None = None,
    session: str | None = None,
    taps: Mapping[str, int] | None = None,
    token: str | TokenSource | None = None,
    feed: str = "",
    codec: Literal["msgpack", "json"] = "msgpack",
    options: Options | None = None,
) -> AsyncIterator[Client]:
    """Enter ``room`` as a viewer; leave it, and the server, at the end of the block.

    The block begins when the viewer is in the room and knows its position. What it raises comes out as it is.

    :param url: such as ``ws://127.0.0.1:8765/ws``.
    :param name: shown with what this viewer says; None for a guest.
    :param attributes: up to 8 small strings, shown likewise.
    :param position: continue after this event (``Client.position`` of an earlier client); None: at the end.
    :param session: be the viewer of an earlier client (``Client.session``); ``taps``: what that one gave (``Client.taps``).
    :param token: says who this is and what it may do; None for a guest. Or an asynchronous function that returns a fresh one:
        called for each connection, and on a live one in time before the last one expires. Where it is a text, the server ends
        the connection when it expires (`Close.TOKEN_EXPIRED`), and the client does not come back.
    :param feed: one of the operator's feeds; empty: everything.
    :raises Unreachable: no connection.
    :raises Refused: the server does not let this viewer in.
    :raises Closed: the server hung up before.
    :raises ProtocolViolation: the server's answer is not one.
    """
    place = None if position is None else Position(*position)
    who = Identity(room, name, attributes or {}, session, place, token, feed, taps or {})
    supervisor = Supervisor(endpoint_of(url), CODECS[codec], who, options or Options())
    try:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(supervisor.run)
                yield Client(supervisor)
            finally:
                await supervisor.leave()
    except BaseExceptionGroup as group:
        error = unwrapped(group)
        raise error from error.__cause__


def _after(item: Item, position: Position | None) -> Position | None:
    if isinstance(item, (Event, Omitted, Gap)):
        return item.position
    if isinstance(item, Snapshot):
        # During a resume a snapshot may lie below what was seen already.
        return max(item.position, position) if position and position.epoch == item.epoch else item.position
    return position


def _paid(request: Request) -> Paid:
    answer = request.answer
    if not isinstance(answer, PaidAnswer):
        raise refused(answer)
    return answer.paid


def _milliseconds(seconds: float) -> int:
    """Rounded up, so that a little is not taken for nothing."""
    return math.ceil(seconds * 1000)
