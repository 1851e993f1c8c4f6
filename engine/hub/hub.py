"""The hub: its parts put together, the order in which they begin and end, and what the node itself wants of a room.

Owns the nursery of all that a hub does. Must not know viewer sockets, nor what crosses a link (`engine.hub.links`), nor how a
room lives (`engine.hub.rooms`), nor what requests do (`engine.hub.desk`).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import trio

from engine.access import SERVER, check_room_name
from engine.brokers.base import Broker, Deliver, Pending, Record
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.ballots import Ballots
from engine.hub.catalogue import Catalogue
from engine.hub.desk import Desk
from engine.hub.links import Links
from engine.hub.money import Money, MoneyStatistics
from engine.hub.outbox import Outbox
from engine.hub.publisher import Publisher
from engine.hub.room import HubRoom
from engine.hub.rooms import Rooms
from engine.hub.wordlists import WordLists
from engine.ledger.address import ledger_fault
from engine.ledger.lane import Lane
from engine.link.base import End
from engine.link.messages import (
    Down,
    Up,
)
from engine.schema import MSGPACK, Act, Author, CommentEvent, CustomEvent, Vote
from engine.settings import Settings

__all__ = ["Hub", "HubStatistics"]

_LEDGER_SHARE: Final = 0.5
"""Of the time for stopping, how much the ledger may take: it may be out of reach, and viewers are still to be told to leave."""

log = logging.getLogger("roomcast.hub")


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """What a hub has done since it started.

    :ivar link_bytes: to its edges, where they are other processes.
    :ivar refused: comments that rooms' rules refused, by the name of the code.
    :ivar snapshots: built for newcomers.
    """

    rooms: int
    viewers: int
    events_published: int
    events_withheld: int
    events_waiting: int
    batches: int
    backfills: int
    link_bytes: int
    quality_reports: int
    gaps_reported: int
    reconnects_reported: int
    refused: dict[str, int]
    snapshots: int
    money: MoneyStatistics


class Hub:
    """See the module's docstring.

    :param broker: made from the function that it is to call for every delivery.
    :param now_ms: Unix milliseconds.
    :param lane: makes the lane; another one in tests.
    :ivar desk: carries out requests; ``money`` those about what is paid.
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
            restore=lambda room, position: self._outbox.restore(room, position),
            stale=lambda room: self.money.stale(room),
            turn_over=self._flush,
        )
        self.broker = self._rooms.broker
        self._publisher = Publisher(self.broker, settings.limits.pending_events, self._flush)
        self._ballots = Ballots(self.broker, settings.limits.pending_events, self._flush)
        self._outbox = Outbox(self.broker, self._rooms, lambda: self._lane, settings, self._spawn)
        self._lane = lane(settings.ledger, self._outbox.publish, now_ms, self._flush, fault=ledger_fault(settings))
        self._catalogue = Catalogue(settings.gifts, self._lane)
        self.money = Money(settings.ledger, self._catalogue, self._lane, now_ms, self._rooms.ranked, self._spawn)
        self.desk = Desk(settings, self.broker, self._publisher, self._ballots, self.money, self._spawn)
        self._links = Links(settings, self.broker, self._rooms, self._publisher, self.desk, self._spawn)
        self._numbers = count(1)
        self._nursery: trio.Nursery | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self._word_lists.run)
            self._nursery.start_soon(self._publisher.run)
            self._nursery.start_soon(self._ballots.run)
            self._rooms.start(self._nursery)
            await self._nursery.start(self._lane.run)
            self._nursery.start_soon(self._catalogue.run)
            task_status.started()

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
        with trio.move_on_after(self._settings.node.shutdown_seconds * _LEDGER_SHARE) as bound:
            await self._lane.drain()
        if bound.cancelled_caught:
            log.warning("ledger_not_drained", extra={"hint": "what was booked is published when a node starts again"})
        await self._publisher.drain()
        await self._ballots.drain()
        self._rooms.flush()
        self._links.stop()

    def statistics(self) -> HubStatistics:
        """A frozen picture of the hub."""
        return HubStatistics(
            rooms=len(self._rooms),
            viewers=sum(room.viewers for room in self._rooms),
            events_published=self._publisher.published,
            events_withheld=self._publisher.withheld,
            events_waiting=self._publisher.waiting,
            batches=self._rooms.batches,
            backfills=self._links.backfills,
            link_bytes=self._links.sent_bytes,
            quality_reports=self._links.quality[0],
            gaps_reported=self._links.quality[1],
            reconnects_reported=self._links.quality[2],
            refused=self._rooms.refused,
            snapshots=self._rooms.snapshots,
            money=self.money.statistics(),
        )

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
        check_room_name(room)
        return await self.desk.publish(room, Pending(event, session, ref))

    async def act(self, room: str, act: Act, actor: Actor) -> int:
        """Do in a room what a viewer could ask for; returns the offset of the event that tells of it, 0 if there is none.
        Raises `engine.errors.Refused`."""
        check_room_name(room)
        async with self.opened(room) as opened:
            if not isinstance(act, Vote):
                return await self.desk.act(opened, actor, act)
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

    def opened(self, name: str) -> AbstractAsyncContextManager[HubRoom]:
        """Have a room open, and live, while the block runs, whether it has viewers here or not."""
        return self._rooms.opened(name)

    def like(self, name: str, count: int) -> None:
        """Add likes to an open room from outside its edges."""
        room = self._rooms.get(name)
        if room is not None:
            room.counts.add(count)
            self._publisher.report(room)

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

    def _spawn(self, do: Callable[..., Awaitable[None]], *args: Any) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._do, do, *args)

    async def _do(self, do: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Something that takes a while; what came of it is handed over."""
        await do(*args)
        self._flush()

    def _flush(self) -> None:
        self._links.flush()
