"""The hub: its parts put together, the order in which they begin and end, and what the node itself wants of a room.

Owns the nursery of all that a hub does. Must not know viewer sockets, nor what crosses a link (`engine.hub.links`), nor how a
room lives (`engine.hub.rooms`), nor what requests do (`engine.hub.desk`).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import trio

from engine.access import SERVER, Role, Standing, check_room_name
from engine.brokers.base import Broker, Deliver, Pending, Record, Unavailable
from engine.errors import Code, Refused
from engine.hooks.asking import Asking, AskingStatistics
from engine.hub.actor import Actor
from engine.hub.ballots import Ballots
from engine.hub.catalogue import Catalogue
from engine.hub.consent import Consent
from engine.hub.desk import Desk
from engine.hub.keeping import keep
from engine.hub.links import Links
from engine.hub.money import Money, MoneyStatistics
from engine.hub.outbox import Outbox
from engine.hub.passes import Passes
from engine.hub.publisher import Outcome, Publisher
from engine.hub.quality import Certificates, QualityStatistics
from engine.hub.revocation import Revocation
from engine.hub.room import HubRoom
from engine.hub.rooms import Rooms
from engine.hub.rules import kind_of
from engine.hub.trust import Trusted
from engine.hub.undecided import Undecided
from engine.hub.webhooks import Webhooks, WebhookStatistics
from engine.hub.wordlists import WordLists
from engine.ledger.address import ledger_fault
from engine.ledger.lane import Lane
from engine.link.base import End
from engine.link.messages import (
    Down,
    Up,
)
from engine.schema import EVERYWHERE, MSGPACK, Act, Author, CommentEvent, CustomEvent, EventKind, Vote
from engine.settings import Settings

__all__ = ["Hub", "HubStatistics"]

_LEDGER_SHARE: Final = 0.5
"""Of the time for stopping, how much the ledger may take: it may be out of reach, and viewers are still to be told to leave."""
_ASKING_SHARE: Final = 0.25
"""And how much the product, for its answers to what it was asked by then."""
_TELLING_SHARE: Final = 0.2
"""And how much it may take to tell it what has happened."""
_CERTIFYING_SHARE: Final = 0.1
"""And how much a disk may take in the end, for the certificates of the rooms that are open."""
_CERTIFYING_SECONDS: Final = 2.0
"""But no longer than this: it is the last thing that an operator waits for."""
_SAID: Final = (EventKind.COMMENT, EventKind.CUSTOM, EventKind.NOTICE)
"""Events that change nothing."""

_RETRY_MS: Final = 1_000

log = logging.getLogger("roomcast.hub")


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """What a hub has done since it started.

    :ivar room_viewers_max: of the room that has most here.
    :ivar broker: `engine.brokers.base.Broker.traffic`.
    :ivar events_failed: that the broker did not take, because it was out of reach.
    :ivar events_overloaded: that were refused because ``limits.pending_events`` waited.
    :ivar publish_delays: `engine.durations.Durations.table` of how long the broker took for what was published at once.
    :ivar link_bytes: to its edges, where they are other processes.
    :ivar refused: comments that rooms' rules refused, by the name of the code.
    :ivar snapshots: built for newcomers.
    """

    rooms: int
    viewers: int
    room_viewers_max: int
    events_published: int
    events_withheld: int
    events_failed: int
    events_overloaded: int
    events_waiting: int
    publish_delays: dict[str, Any]
    batches: int
    backfills: int
    broker: dict[str, int]
    link_bytes: int
    quality: QualityStatistics
    refused: dict[str, int]
    snapshots: int
    money: MoneyStatistics
    asking: AskingStatistics
    webhooks: WebhookStatistics


class Hub:
    """See the module's docstring.

    :param broker: made from the function that it is to call for every delivery.
    :param now_ms: Unix milliseconds.
    :param lane: makes the lane; another one in tests.
    :ivar desk: carries out requests; ``money`` those about what is paid.
    :ivar asking: what the product is asked before; ``webhooks`` what it is told after.
    :ivar quality: how rooms reach their viewers.
    :ivar undecided: how many comments are held in rooms that somebody looks at.
    :ivar trust: which tokens hold; ``revocation`` takes them back; ``passes`` makes what holds for a moment.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Callable[[Deliver], Broker],
        now_ms: Callable[[], int],
        *,
        lane: Callable[..., Lane] = Lane,
    ) -> None:
        self._settings = settings
        self._incarnation = secrets.token_hex(8)
        self._word_lists = WordLists(settings.moderation)
        self._rooms = Rooms(
            settings,
            broker,
            self._incarnation,
            lambda: self._word_lists.words,
            ready=lambda room: self._links.ready(room),
            noticed=lambda room, offset: self.desk.notices.published(room, offset),
            overdue=lambda room, offset: self._spawn(self.desk.notices.finish, room, offset),
            left=lambda room: self._publisher.report(room),
            parted=lambda port, room, shown: self.quality.left(port, room, shown),
            restore=lambda room, position: self._outbox.restore(room, position),
            stale=lambda room: self.money.stale(room),
            shared=lambda: self.trust.changed(),
            told=self._noticed,
            turn_over=self._flush,
        )
        self.broker = self._rooms.broker
        self.quality = Certificates(settings, now_ms, self._spawn)
        self.trust = Trusted(settings.access, lambda: self.record(EVERYWHERE), lambda message: self._links.tell(message))
        self.revocation = Revocation(self.broker, lambda: self.record(EVERYWHERE), now_ms)
        self.passes = Passes(self.broker, lambda: self.opened(EVERYWHERE), now_ms)
        self.undecided = Undecided(self._rooms, lambda: self._settings)
        self._publisher = Publisher(self.broker, settings.limits.pending_events, self._flush)
        self._ballots = Ballots(self.broker, settings.limits.pending_events, self._flush)
        self._outbox = Outbox(self.broker, self._rooms, lambda: self._lane, settings, self._spawn)
        self._lane = lane(settings.ledger, self._outbox.publish, now_ms, self._flush, fault=ledger_fault(settings))
        self.webhooks = Webhooks(settings.hooks, self._lane, now_ms)
        self._catalogue = Catalogue(settings.gifts, self._lane)
        self.asking = Asking(settings.hooks, now_ms, lambda: self._links.gate())
        self._consent = Consent(self.asking, settings.limits, now_ms)
        self.money = Money(settings.ledger, self._catalogue, self._lane, now_ms, self._rooms.ranked, self._spawn, self._consent)
        self.desk = Desk(settings, self.broker, self._publisher, self._ballots, self.money, self._spawn, self._consent)
        self._links = Links(
            settings, self.broker, self._rooms, self._publisher, self.desk, self._spawn, self.trust, self.quality
        )
        self.desk.moderation.told = self.webhooks.moderated
        self._numbers = count(1)
        self._nursery: trio.Nursery | None = None
        self._draining = False

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self._word_lists.run)
            await self._nursery.start(keep, self.asking.run)
            await self._nursery.start(keep, self.trust.run)
            self._nursery.start_soon(self._publisher.run)
            self._nursery.start_soon(self._ballots.run)
            self._rooms.start(self._nursery)
            await self._nursery.start(self._lane.run)
            self._nursery.start_soon(self._catalogue.run)
            await self._nursery.start(keep, self.webhooks.run)
            await self._nursery.start(keep, self.quality.run)
            await self._nursery.start(keep, self.undecided.run)
            task_status.started()

    @property
    def settings(self) -> Settings:
        """In force."""
        return self._settings

    async def adopt(self, settings: Settings) -> None:
        """Take other settings, of which only those differ that can change while viewers stay (`engine.reload`).

        :raises engine.hub.wordlists.WordListError: a word list cannot be used; nothing has changed then.
        """
        await self._word_lists.adopt(settings.moderation)
        self.trust.adopt(settings.access)
        if lost := [key.name for key in self._settings.api.keys if key not in settings.api.keys]:
            self._spawn(self.revocation.withdraw, lost)
        self._settings = settings
        self.broker.adopt(settings)
        self._publisher.adopt(settings.limits.pending_events)
        self._ballots.limit = settings.limits.pending_events
        self._outbox.adopt(settings)
        self._lane.adopt(settings.ledger)
        self.webhooks.adopt(settings.hooks)
        self._catalogue.adopt(settings.gifts)
        self.asking.adopt(settings.hooks)
        self._consent.adopt(settings.limits)
        self.desk.adopt(settings)
        self._links.adopt(settings)
        self.quality.adopt(settings)
        # After what they ask: a room may have something to do at once.
        self._rooms.adopt(settings)
        self._flush()

    def attach(self, link: End[Down, Up], edge: str = "") -> trio.Event:
        """Serve one edge until its link ends, which sets the event. `run` first.

        :param edge: incarnation of its process, by which it and what it counts are known again when it comes back over another
            link; empty: it will not.
        """
        if self._nursery is None:
            raise RuntimeError("the hub does not run")
        done = trio.Event()
        self._nursery.start_soon(self._links.serve, link, edge or f"{self._incarnation}.{next(self._numbers)}", done)
        return done

    async def serve(self, link: End[Down, Up], edge: str = "") -> None:
        """As `attach`, and wait until the link has ended or this is cancelled."""
        done = self.attach(link, edge)
        try:
            await done.wait()
        finally:
            link.close()
            with trio.CancelScope(shield=True):
                await done.wait()

    async def drain(self, *, replaced: bool = False) -> None:
        """Accept nothing more, publish and hand over all that waits, and tell the edges that this was the last.

        :param replaced: another process goes on with the rooms, over the same broker.
        """
        self._draining = self._consent.stopping = self.quality.stopping = True
        with trio.move_on_after(self._settings.node.shutdown_seconds * _ASKING_SHARE):
            await self.desk.idle()
        with trio.move_on_after(self._settings.node.shutdown_seconds * _LEDGER_SHARE) as bound:
            await self._lane.drain()
        if bound.cancelled_caught:
            log.warning("ledger_not_drained", extra={"hint": "what was booked is published when a node starts again"})
        await self._publisher.drain()
        await self._ballots.drain()
        self._rooms.flush()
        self._links.stop()
        await self.webhooks.drain(self._settings.node.shutdown_seconds * _TELLING_SHARE)

    async def finish(self) -> None:
        """After `drain`, when the edges have told what became of their viewers: write down how all rooms have reached them."""
        seconds = min(self._settings.node.shutdown_seconds * _CERTIFYING_SHARE, _CERTIFYING_SECONDS)
        with trio.move_on_after(seconds, shield=True):
            # What an edge in this process has told waits for its turn; after the second one it has had it.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            await self.quality.finish()

    def statistics(self) -> HubStatistics:
        """A frozen picture of the hub."""
        # Not by `HubRoom.viewers`: of thousands of rooms that would be most of the cost.
        viewers = [sum(room.ports.values()) for room in self._rooms]
        return HubStatistics(
            rooms=len(self._rooms),
            viewers=sum(viewers),
            room_viewers_max=max(viewers, default=0),
            events_published=self._publisher.published,
            events_withheld=self._publisher.withheld,
            events_failed=self._publisher.failed,
            events_overloaded=self._publisher.overloaded,
            events_waiting=self._publisher.waiting,
            publish_delays=self._publisher.delays.table(),
            batches=self._rooms.batches,
            backfills=self._links.backfills,
            broker=self.broker.traffic(),
            link_bytes=self._links.sent_bytes,
            quality=self.quality.statistics(),
            refused=self._rooms.refused,
            snapshots=self._rooms.snapshots,
            money=self.money.statistics(),
            asking=self.asking.statistics(),
            webhooks=self.webhooks.statistics(),
        )

    def edges(self) -> dict[str, Any]:
        """What edges in other processes have done since they came to this hub, in the shape of one edge's statistics; their
        processes' are under ``process``."""
        return self._links.edges.summed()

    def edge_lines(self) -> list[dict[str, Any]]:
        """Each of these edges by itself (`engine.hub.vitals.edge_line`)."""
        return self._links.edges.lines()

    # -- what the node itself does ------------------------------------------------------------------------------------

    async def say(
        self, room: str, body: str, *, name: str = "", author: Author = SERVER, session: str = "", ref: int = 0
    ) -> int:
        """Publish a comment, or with ``name`` a custom event, and return its offset. No rule of the room applies.

        ``(session, ref)`` makes a retry harmless. Raises `engine.errors.Refused`.
        """
        event = CustomEvent(author, ref, name, body) if name else CommentEvent(author, ref, body)
        return await self.publish(room, MSGPACK.encode(event), session=session, ref=ref)

    async def publish(self, room: str, event: bytes, *, session: str = "", ref: int = 0) -> int:
        """Publish any event, MessagePack of an `engine.schema.Event`, and return its offset. One that tells of a change of the
        room's state, or of a deletion, makes it. Raises `engine.errors.Refused`."""
        self._check(room)
        return await self.desk.publish(room, Pending(event, session, ref))

    async def publish_many(self, events: Sequence[tuple[str, Pending]]) -> list[Outcome]:
        """Publish comments, custom events and notices, those of a room in their order, with a few operations for all of them;
        returns of each what became of it. Raises `engine.errors.Refused` before anything is published."""
        for room in {room for room, _ in events}:
            self._check(room)
        if any(kind_of(pending.event) not in _SAID for _, pending in events):
            raise Refused(Code.INVALID, "several at once can be comments, custom events and notices")
        return await self._publisher.publish_many(events)

    async def act(self, room: str, act: Act, actor: Actor) -> int:
        """Do in a room what a viewer could ask for; returns the offset of the event that tells of it, 0 if there is none.
        Raises `engine.errors.Refused`, unless it has been carried out before."""
        self._check(room)
        async with self.opened(room) as opened:
            if not isinstance(act, Vote):
                try:
                    return await self.desk.act(opened, actor, act)
                except Refused as refused:
                    # Done once it may be impossible: to delete what is gone, to build on a version that is not the last.
                    known = bool(actor.session) and not refused.code.retriable
                    if known and (offset := await self.broker.published(room, actor.session, actor.ref)):
                        return offset
                    raise
            done = trio.Event()
            outcome: list[tuple[Code, str]] = []

            def told(code: Code, text: str) -> None:
                outcome.append((code, text))
                done.set()

            self.desk.vote(opened, actor, act, told)
            await done.wait()
            code, text = outcome[0]
            if code is not Code.OK:
                raise Refused(code, text)
            return 0

    def _check(self, room: str) -> None:
        """Raise `Refused` for a name that is none, or when nobody at this node would see any more what is said."""
        check_room_name(room)
        if self._draining:
            raise Refused(Code.UNAVAILABLE, "the node is stopping", _RETRY_MS)

    def opened(self, name: str) -> AbstractAsyncContextManager[HubRoom]:
        """Have a room open, and live, while the block runs, whether it has viewers here or not."""
        return self._rooms.opened(name)

    def shown(self) -> list[HubRoom]:
        """Live rooms that have viewers here."""
        return self._rooms.shown()

    async def ready(self) -> bool:
        """Whether new viewers are welcome: nobody has told it to stop, and the broker answers."""
        if self._draining or self._nursery is None:
            return False
        try:
            await self.broker.reach()
        except Unavailable:
            return False
        return True

    def like(self, name: str, count: int) -> None:
        """Add likes to an open room from outside its edges."""
        room = self._rooms.get(name)
        if room is not None:
            room.counts.add(count)
            self._publisher.report(room)

    async def applaud(self, name: str, likes: int, reactions: Mapping[str, int], source: str = "") -> None:
        """Add likes and reactions to a room from outside its edges, and return when the broker has them.

        :param source: telling the same of it again adds nothing, as long as the broker remembers it; empty: the hub.
        :raises Refused: it is archived, or there is no such reaction.
        :raises Unavailable: the broker is out of reach.
        """
        check_room_name(name)
        if unknown := reactions.keys() - set(self._settings.room.reactions):
            raise Refused(Code.INVALID, f"there is no reaction {min(unknown)!r} (room.reactions)")
        async with self.opened(name) as room:
            room.rules.mode.check_life(Standing(Role.SERVER.value))
            counts = room.counts
            if source:
                counts.count(source, likes, reactions)
                counts.ends(source)
            else:
                known = counts.reactions.get(counts.own, {})
                counts.count(
                    counts.own,
                    counts.likes.get(counts.own, 0) + likes,
                    {name: known.get(name, 0) + count for name, count in reactions.items()},
                )
            await self._publisher.reported(room)

    def counters(self, name: str) -> tuple[int, ...] | None:
        """``(likes, viewers)`` of an open room."""
        room = self._rooms.get(name)
        return room.state.counters if room is not None else None

    async def amend(self, room: str, field: str, value: bytes | None, *, expires_ms: int = 0, expect: int | None = None) -> int:
        """Change a room's record at all nodes (`engine.brokers.base.Broker.amend`), and return its revision.

        Raises `engine.errors.Refused` for a bad name, and what the broker raises.
        """
        check_room_name(room)
        return await self.broker.amend(room, field, value, expires_ms, expect)

    def record(self, name: str) -> Record | None:
        """The record of an open room, as far as it has come here; do not change it."""
        room = self._rooms.get(name)
        return room.rules.record if room is not None else None

    def _noticed(self, room: HubRoom) -> None:
        """A room is live, or its record or its totals may have changed."""
        self.webhooks.noticed(room)
        self.quality.noticed(room)

    def _spawn(self, do: Callable[..., Awaitable[None]], *args: Any) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._do, do, *args)

    async def _do(self, do: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Something that takes a while; what came of it is handed over."""
        await do(*args)
        self._flush()

    def _flush(self) -> None:
        self._links.flush()
