"""The broker over Redis: rooms on connections, and subscriptions that mend themselves.

Owns which rooms are subscribed and every promise of `engine.brokers.base` that one function call in the server does not keep by
itself. Must not know viewers, frames or edges.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Final

import trio
from coredis.exceptions import MovedError

from engine.brokers.base import (
    Ballot,
    Broker,
    Deliver,
    Events,
    History,
    Pending,
    Position,
    Receipt,
    Record,
    Report,
    Unavailable,
)
from engine.brokers.budget import Budget
from engine.brokers.redis.casting import Casting
from engine.brokers.redis.functions import Change, Functions
from engine.brokers.redis.opening import open_topology
from engine.brokers.redis.publishing import Publishing
from engine.brokers.redis.reports import Reports
from engine.brokers.redis.server import Server
from engine.brokers.redis.spread import Amendment, Counted, UnknownRecord, read_message
from engine.brokers.redis.subscription import Subscription
from engine.brokers.redis.topology import Topology
from engine.brokers.redis.turns import Turns
from engine.brokers.redis.wire import Traffic
from engine.settings import BrokerSettings, RedisSettings, Settings

__all__ = ["RedisBroker", "RedisStatistics"]

_PAGE: Final = 1_000
"""Events fetched at a time when something is missing."""
_MENDERS: Final = 8
"""Rooms mended at the same time, so that many that fell behind together do not ask for everything at once."""
_NOWHERE: Final = Position(0, 0)

log = logging.getLogger("roomcast.broker")


@dataclass(frozen=True, slots=True)
class RedisStatistics:
    """What a broker has done since it started.

    :ivar requests: operations asked of the server.
    :ivar pushes: messages that the server spread to this node.
    :ivar sent: bytes to the server.
    :ivar received: bytes from it.
    :ivar reads: of history because something had not been delivered.
    """

    rooms: int
    requests: int
    pushes: int
    sent: int
    received: int
    reads: int


class RedisBroker(Broker):
    """See the module's docstring. `run` must be running.

    :param deliver: see `engine.brokers.base.Deliver`.
    :param incarnation: of this process, never used before; drawn at random if not given.
    :param node: under which its viewers are counted; a process that takes another's place has the same, so that they are not
        counted twice. The incarnation if not given.
    :param now_ms: what rooms take for the time, for tests; None: the server's clock, the same for all nodes.
    :param budget: of each room, events per second, and ``budget_bytes`` per second; see `engine.brokers.budget.Budget`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        redis: RedisSettings,
        deliver: Deliver,
        *,
        incarnation: str = "",
        node: str = "",
        now_ms: Callable[[], int] | None = None,
        budget: float = 0.0,
        budget_bytes: float = 0.0,
    ) -> None:
        self._lease_seconds, self._totals_seconds = redis.lease_seconds, redis.totals_seconds
        self._deliver = deliver
        incarnation = incarnation or secrets.token_hex(8)
        self._node = node or incarnation
        self._functions = Functions(settings, redis, incarnation, random.randrange, now_ms, Budget(budget, budget_bytes))
        self._traffic = Traffic()
        self._mended = 0
        self._topology: Topology = open_topology(redis, self._pushed, self._restore, random.random, self._traffic)
        self._subscriptions: dict[str, Subscription] = {}
        self._channels: dict[bytes, Subscription] = {}
        self._joining, self._amending = Turns(), Turns()
        self._amendments = count(1)
        self._publishing = Publishing(self._functions, self._topology, self._known)
        self._reports = Reports(self._functions, self._topology, self._subscriptions, self._care)
        self._casting = Casting(self._functions, self._topology, self._subscriptions, self._reports.soon)
        self._menders = trio.CapacityLimiter(_MENDERS)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections, subscriptions and leases up until cancelled. Started at once, connected or not."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._topology.run)
            self._nursery.start_soon(self._reports.keep_leases, self._lease_seconds)
            self._nursery.start_soon(self._reports.keep_promises)
            task_status.started()

    def adopt(self, settings: Settings) -> None:
        self._totals_seconds = settings.redis.totals_seconds
        budget = Budget(settings.limits.room_events_per_second, settings.limits.room_bytes_per_second)
        self._functions.adopt(settings.broker, settings.redis, budget)

    def statistics(self) -> RedisStatistics:
        """A frozen picture of the broker."""
        traffic = self._traffic
        return RedisStatistics(
            rooms=len(self._subscriptions),
            requests=traffic.requests,
            pushes=traffic.pushes,
            sent=traffic.sent,
            received=traffic.received,
            reads=self._mended,
        )

    def traffic(self) -> dict[str, int]:
        return {name: count for name, count in asdict(self.statistics()).items() if name != "rooms"}

    async def reach(self) -> None:
        await self._topology.check()

    # -- publish ------------------------------------------------------------------------------------------------------

    async def publish(self, room: str, events: Sequence[Pending]) -> Receipt:
        """As `Broker.publish`. A publish whose connection was lost is sent again and applied once."""
        outcome = (await self.publish_all({room: events}))[room]
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    async def publish_all(self, batches: Mapping[str, Sequence[Pending]]) -> dict[str, Receipt | Unavailable]:
        outcomes = await self._publishing.publish_all(batches)
        for room, outcome in outcomes.items():
            subscription = self._subscriptions.get(room)
            if subscription is not None and isinstance(outcome, Receipt):
                # Should its delivery never come, the next beat finds that the room is behind.
                subscription.learn(Position(outcome.epoch, max(0, *outcome.offsets)))
                if min(outcome.offsets) < 0:
                    # Spread no more often than other totals are.
                    self._reports.soon(subscription, self._totals_seconds)
        return outcomes

    def _known(self, room: str) -> Position:
        subscription = self._subscriptions.get(room)
        return subscription.known if subscription is not None else _NOWHERE

    # -- subscriptions ------------------------------------------------------------------------------------------------

    async def subscribe(self, room: str) -> Position:
        async with self._joining.alone(room):
            return await self._subscribe(room)

    async def _subscribe(self, room: str) -> Position:
        subscription = self._subscriptions.get(room)
        if subscription is None:
            subscription = Subscription(room, self._node, self._deliver)
            # Known from now on, so that it is restored if the connection is lost meanwhile.
            self._subscriptions[room] = self._channels[self._functions.channel(room).encode()] = subscription
            try:
                await self._topology.subscribe(self._functions.base(room), self._functions.channel(room))
                head = await self._reports.report(subscription)
                await self._read_tallies(subscription)
                # Last: amendments that are spread from now on are delivered, and must not come before the record.
                await self._read_record(subscription)
            except BaseException:
                # Unless the node has left all its rooms meanwhile.
                if self._subscriptions.get(room) is subscription:
                    self._forget(subscription)
                raise
            # Before what came meanwhile: who sees the event of a change has the change.
            subscription.repeat()
            subscription.begin(head)
        else:
            await self._reports.report(subscription)
            await self._mend(subscription)
            subscription.repeat()
        return subscription.position()

    async def unsubscribe(self, room: str) -> None:
        async with self._joining.alone(room):
            await self._unsubscribe(room)

    async def _unsubscribe(self, room: str) -> None:
        subscription = self._subscriptions.get(room)
        if subscription is None:
            return
        self._forget(subscription)
        try:
            await self._reports.leave([subscription])
        finally:
            # Should this fail, the lease ends by itself, and what comes from the channel meanwhile is nobody's.
            await self._topology.unsubscribe(self._functions.base(room), self._functions.channel(room))

    async def leave(self) -> None:
        """Leave all rooms in one go, before the node stops: its viewers are withdrawn at once instead of with their leases."""
        leaving = list(self._subscriptions.values())
        for each in leaving:
            self._forget(each)
        await self._reports.leave(leaving)

    def hand_over(self) -> None:
        """Forget all rooms without a word to the server: another process of the node goes on with them."""
        for each in list(self._subscriptions.values()):
            self._forget(each)

    def _forget(self, subscription: Subscription) -> None:
        del self._subscriptions[subscription.room]
        del self._channels[self._functions.channel(subscription.room).encode()]

    def _pushed(self, push: list[Any]) -> None:
        """A push message came."""
        subscription = self._channels.get(push[1])
        if subscription is None or push[0] != b"smessage":
            if subscription is not None and push[0] == b"sunsubscribe":
                # Not asked for: the slot went to another server.
                self._topology.look()
            return
        try:
            message = read_message(subscription.room, push[2])
        except UnknownRecord as error:
            # Later events will show a hole; that history cannot be read either is told to the viewers as a gap.
            log.error("record_of_unknown_version", extra={"room": subscription.room, "version": str(error)})
            return
        if isinstance(message, Events):
            subscription.take(message)
        elif isinstance(message, Amendment):
            subscription.record.amend(*message)
        elif isinstance(message, Counted):
            subscription.tallies.take(message)
        else:
            subscription.take_totals(message)
            return
        # Only what was spread tells of a hole: replies, on another connection, may well be ahead of it.
        if subscription.hole or subscription.stale:
            self._care(subscription)

    def _care(self, subscription: Subscription) -> None:
        behind = subscription.begun and (subscription.behind or subscription.stale)
        if behind and not subscription.mending and self._nursery is not None:
            subscription.mending = True
            self._nursery.start_soon(self._mend_soon, subscription)

    async def _mend_soon(self, subscription: Subscription) -> None:
        try:
            async with self._menders:
                await self._mend(subscription)
        except Unavailable as error:
            # Found again by the next beat, or when the connection is back.
            log.warning("room_not_mended", extra={"room": subscription.room, "error": str(error)})
        finally:
            subscription.mending = False

    async def _mend(self, subscription: Subscription) -> None:
        """Fetch what was not delivered."""
        while subscription.behind and self._has(subscription):
            asked = subscription.asking
            self._mended += 1
            history = await self._history(subscription.room, subscription.known, asked.offset, _PAGE)
            # Before events: who sees the event of a change has the change.
            await self._mend_record(subscription)
            if not self._has(subscription) or not subscription.take_past(history, asked):
                break
        await self._mend_record(subscription)
        heard = None
        while subscription.tallies.behind and subscription.tallies.heard != heard and self._has(subscription):
            heard = subscription.tallies.heard
            await self._read_tallies(subscription)

    async def _mend_record(self, subscription: Subscription) -> None:
        heard = None
        # What was heard before the record was read and is not in it will not come by reading it again.
        while subscription.record.behind and subscription.record.heard != heard and self._has(subscription):
            heard = subscription.record.heard
            await self._read_record(subscription)

    async def _read_record(self, subscription: Subscription) -> None:
        room, (epoch, revision) = subscription.room, subscription.record.heard
        if not revision and epoch == subscription.known.epoch and not subscription.begun:
            # There is none.
            subscription.record.take(epoch, Record(room, 0, {}))
            return
        request = self._functions.record(room, subscription.known)
        head, time, record = Functions.recorded(room, await self._topology.ask(self._functions.base(room), request))
        if self._has(subscription):
            subscription.clock.learn(time, trio.current_time())
            subscription.learn(head)
            subscription.record.take(head.epoch, record)

    async def _read_tallies(self, subscription: Subscription) -> None:
        room, (epoch, version) = subscription.room, subscription.tallies.heard
        if not version and epoch == subscription.known.epoch and not subscription.begun:
            # There are none that were spread.
            subscription.tallies.read(Counted(epoch, 0, 0, {}))
            return
        request = self._functions.tallies(room, subscription.known)
        head, time, counted = Functions.counted(await self._topology.ask(self._functions.base(room), request))
        if self._has(subscription):
            subscription.clock.learn(time, trio.current_time())
            subscription.learn(head)
            subscription.tallies.read(counted)

    def _has(self, subscription: Subscription) -> bool:
        """Whether the room was not left meanwhile; whoever came back to it has another subscription."""
        return self._subscriptions.get(subscription.room) is subscription

    # -- history ------------------------------------------------------------------------------------------------------

    async def history(self, room: str, after: int, limit: int) -> History:
        history = await self._history(room, self._known(room), max(after, 0), limit)
        subscription = self._subscriptions.get(room)
        if subscription is not None:
            subscription.learn(history.head)
        return history

    async def _history(self, room: str, known: Position, after: int, limit: int) -> History:
        request = self._functions.history(room, known, after, limit)
        history, time, revision = Functions.past(room, await self._topology.ask(self._functions.base(room), request), limit)
        if (subscription := self._subscriptions.get(room)) is not None:
            subscription.clock.learn(time, trio.current_time())
            subscription.record.hear(history.head.epoch, revision)
        return history

    def now_ms(self, room: str) -> int:
        subscription = self._subscriptions.get(room)
        return subscription.clock.read(trio.current_time()) if subscription is not None else 0

    # -- record -------------------------------------------------------------------------------------------------------

    async def amend(
        self,
        room: str,
        field: str,
        value: bytes | None,
        expires_ms: int = 0,
        expect: int | None = None,
        event: Pending | None = None,
    ) -> int:
        change = Change(field, value, expires_ms, expect, event)
        async with self._amending.alone(room):
            request = self._functions.amend(room, self._known(room), next(self._amendments), change)
            return Functions.amended(await self._topology.ask(self._functions.base(room), request), change)

    async def published(self, room: str, session: str, ref: int) -> int:
        request = self._functions.published(room, self._known(room), session, ref)
        return int(await self._topology.ask(self._functions.base(room), request))

    async def redact(self, room: str, offsets: Sequence[int], event: Pending) -> int:
        """As `Broker.redact`. Offsets are those of the epoch that this node knows of: what was lost since is not there, and
        what has its offset now stays."""
        async with self._amending.alone(room):
            request = self._functions.redact(room, self._known(room), next(self._amendments), offsets, event)
            receipt = Functions.receipt(await self._topology.ask(self._functions.base(room), request), 1)
        assert receipt is not None
        if (subscription := self._subscriptions.get(room)) is not None:
            subscription.learn(Position(receipt.epoch, receipt.offsets[0]))
        return receipt.offsets[0]

    # -- totals -------------------------------------------------------------------------------------------------------

    async def report(self, room: str, report: Report) -> None:
        await self._reports.take({room: report})

    async def report_all(self, reports: Mapping[str, Report]) -> None:
        """`report` for many rooms in a few writes, for those in which something has changed."""
        await self._reports.take(reports)

    async def cast(self, room: str, ballots: Sequence[Ballot]) -> list[bool]:
        return await self._casting.cast(room, self._known(room), ballots)

    async def discard(self, room: str, tally: str) -> None:
        request = self._functions.discard(room, self._known(room), tally)
        await self._topology.ask(self._functions.base(room), request)

    async def voters(self, room: str, tally: str, limit: int) -> dict[str, int]:
        return await self._casting.voters(room, self._known(room), tally, limit)

    async def beat(self, seconds: float) -> None:
        """Renew the leases that were not renewed for so long, and see to the rooms that turn out to be behind."""
        await self._reports.beat(seconds)

    # -- connections --------------------------------------------------------------------------------------------------

    async def _restore(self, server: Server) -> None:
        """A connection was made: subscribe again and find out what happened meanwhile."""
        rooms = [
            each for each in self._subscriptions.values() if self._topology.server(self._functions.base(each.room)) is server
        ]
        if not rooms:
            return
        try:
            await server.subscribe([self._functions.channel(each.room) for each in rooms])
            await self._reports.report_all(each for each in rooms if each.begun)
        except MovedError:
            self._topology.look()
        except Unavailable as error:
            log.warning("rooms_not_restored", extra={"error": str(error)})
