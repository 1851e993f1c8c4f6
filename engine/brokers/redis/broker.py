"""The broker over Redis: rooms on connections, subscriptions that mend themselves, leases that are renewed.

Owns which rooms are subscribed and every promise of `engine.brokers.base` that one function call in the server does not keep by
itself. Must not know viewers, frames or edges.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import trio
from coredis.exceptions import MovedError

from engine.brokers.base import Broker, Deliver, Events, History, Pending, Position, Receipt, Unavailable
from engine.brokers.redis.functions import Functions, UnknownRecord, read_message
from engine.brokers.redis.opening import open_topology
from engine.brokers.redis.server import Call, Server
from engine.brokers.redis.subscription import Subscription
from engine.brokers.redis.topology import Topology
from engine.brokers.redis.wire import Traffic
from engine.settings import BrokerSettings, RedisSettings
from engine.timing import Bell, Deadlines

__all__ = ["RedisBroker", "RedisStatistics"]

_PAGE: Final = 1_000
"""Events fetched at a time when something is missing."""
_MENDERS: Final = 8
"""Rooms mended at the same time, so that many that fell behind together do not ask for everything at once."""
_BURST: Final = 200
"""Reports in one go. More would let a publish wait behind them."""
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
    :param incarnation: of this node, never used before; drawn at random if not given.
    :param now_ms: what rooms take for the time, for tests; None: the server's clock, the same for all nodes.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        redis: RedisSettings,
        deliver: Deliver,
        *,
        incarnation: str = "",
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._redis = redis
        self._deliver = deliver
        self._incarnation = incarnation or secrets.token_hex(8)
        self._functions = Functions(settings, redis, self._incarnation, secrets.randbelow, now_ms)
        self._traffic = Traffic()
        self._mended = 0
        self._topology: Topology = open_topology(redis, self._pushed, self._restore, random.random, self._traffic)
        self._subscriptions: dict[str, Subscription] = {}
        self._channels: dict[bytes, Subscription] = {}
        self._joining: dict[str, trio.Lock] = {}
        self._publishing: dict[str, trio.Event] = {}
        self._sequence = 0
        self._sources = 0
        self._menders = trio.CapacityLimiter(_MENDERS)
        self._nursery: trio.Nursery | None = None
        self._due: Deadlines[Subscription] = Deadlines(0.05)
        self._bell = Bell()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections, subscriptions and leases up until cancelled. Started at once, connected or not."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._topology.run)
            self._nursery.start_soon(self._beat)
            self._nursery.start_soon(self._repeat_reports)
            task_status.started()

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

    # -- publish ------------------------------------------------------------------------------------------------------

    async def publish(self, room: str, events: Sequence[Pending]) -> Receipt:
        """As `Broker.publish`. A publish whose connection was lost is sent again and applied once."""
        outcome = (await self.publish_all({room: events}))[room]
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    async def publish_all(self, batches: Mapping[str, Sequence[Pending]]) -> dict[str, Receipt | Unavailable]:
        """Publish to several rooms at once, in one write, and wait for all: one round trip instead of one for each."""
        outcomes: dict[str, Receipt | Unavailable] = {}
        calls: dict[str, Call] = {}
        held: dict[str, trio.Event] = {}
        try:
            # In one order, so that two who publish to the same rooms never wait for each other.
            for room in sorted(batches) if len(batches) > 1 else batches:
                while (earlier := self._publishing.get(room)) is not None:
                    await earlier.wait()
                held[room] = self._publishing[room] = trio.Event()
                self._sequence += 1
                request = self._functions.publish(room, self._known(room), self._sequence, batches[room])
                try:
                    calls[room] = self._topology.begin(self._functions.base(room), request)
                except Unavailable as error:
                    outcomes[room] = error
            for room, call in calls.items():
                try:
                    value = await self._topology.finish(call)
                except Unavailable as error:
                    outcomes[room] = error
                else:
                    outcomes[room] = self._published(room, Functions.receipt(value, len(batches[room])))
        finally:
            for room, event in held.items():
                del self._publishing[room]
                event.set()
        return outcomes

    def _published(self, room: str, receipt: Receipt) -> Receipt:
        subscription = self._subscriptions.get(room)
        if subscription is not None:
            # Should its delivery never come, the next beat finds that the room is behind.
            subscription.learn(Position(receipt.epoch, max(receipt.offsets)))
        return receipt

    def _known(self, room: str) -> Position:
        subscription = self._subscriptions.get(room)
        return subscription.known if subscription is not None else _NOWHERE

    # -- subscriptions ------------------------------------------------------------------------------------------------

    async def subscribe(self, room: str) -> Position:
        async with self._alone(room):
            return await self._subscribe(room)

    @asynccontextmanager
    async def _alone(self, room: str) -> AsyncIterator[None]:
        """One after the other, those who come to a room or leave it."""
        lock = self._joining.setdefault(room, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._joining.pop(room, None)

    async def _subscribe(self, room: str) -> Position:
        subscription = self._subscriptions.get(room)
        if subscription is None:
            self._sources += 1
            subscription = Subscription(room, f"{self._incarnation}.{self._sources}", self._deliver)
            # Known from now on, so that it is restored if the connection is lost meanwhile.
            self._subscriptions[room] = self._channels[self._functions.channel(room).encode()] = subscription
            try:
                await self._topology.subscribe(self._functions.base(room), self._functions.channel(room))
                state = await self._report(subscription)
            except BaseException:
                self._forget(subscription)
                raise
            if not subscription.begun:
                subscription.begin(state)
        else:
            await self._report(subscription)
            await self._mend(subscription)
        subscription.repeat_totals()
        return subscription.position()

    async def unsubscribe(self, room: str) -> None:
        async with self._alone(room):
            await self._unsubscribe(room)

    async def _unsubscribe(self, room: str) -> None:
        subscription = self._subscriptions.get(room)
        if subscription is None:
            return
        self._forget(subscription)
        key = self._functions.base(room)
        what = subscription.likes, subscription.viewers
        report = self._functions.report(room, subscription.known, subscription.source, *what, leave=True)
        try:
            await self._topology.ask(key, report)
        finally:
            # Should this fail, the lease ends by itself, and what comes from the channel meanwhile is nobody's.
            await self._topology.unsubscribe(key, self._functions.channel(room))

    async def leave(self) -> None:
        """Leave all rooms in one go, before the node stops: its viewers are withdrawn at once instead of with their leases."""
        leaving = list(self._subscriptions.values())
        calls = []
        for each in leaving:
            self._forget(each)
            report = self._functions.report(each.room, each.known, each.source, each.likes, each.viewers, leave=True)
            calls.append(self._topology.begin(self._functions.base(each.room), report))
        for call in calls:
            await self._topology.finish(call)

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
            # Only what was spread tells of a hole: replies, on another connection, may well be ahead of it.
            if subscription.hole:
                self._care(subscription)
        else:
            subscription.take_totals(message)

    def _care(self, subscription: Subscription) -> None:
        if subscription.begun and subscription.behind and not subscription.mending and self._nursery is not None:
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
        while subscription.behind and self._subscriptions.get(subscription.room) is subscription:
            asked = subscription.asking
            self._mended += 1
            history = await self._history(subscription.room, subscription.known, asked.offset, _PAGE)
            if not subscription.take_past(history, asked):
                return

    # -- history ------------------------------------------------------------------------------------------------------

    async def history(self, room: str, after: int, limit: int) -> History:
        history = await self._history(room, self._known(room), max(after, 0), limit)
        subscription = self._subscriptions.get(room)
        if subscription is not None:
            subscription.learn(history.head)
        return history

    async def _history(self, room: str, known: Position, after: int, limit: int) -> History:
        request = self._functions.history(room, known, after, limit)
        return Functions.past(room, await self._topology.ask(self._functions.base(room), request), limit)

    # -- totals -------------------------------------------------------------------------------------------------------

    async def report(self, room: str, likes: int, viewers: int) -> None:
        subscription = self._subscriptions.get(room)
        if subscription is None:
            return
        subscription.likes, subscription.viewers = likes, viewers
        if subscription.reported != (likes, viewers):
            await self._report(subscription)

    async def report_all(self, reports: Mapping[str, tuple[int, int]]) -> None:
        """`report` likes and viewers of many rooms in a few writes. Raises `Unavailable` in the end, if some failed."""
        changed = []
        for room, what in reports.items():
            subscription = self._subscriptions.get(room)
            if subscription is not None:
                subscription.likes, subscription.viewers = what
                if subscription.reported != what:
                    changed.append(subscription)
        await self._report_all(changed)

    async def _report(self, subscription: Subscription) -> Position:
        return await self._reported(subscription, self._begin_report(subscription))

    def _begin_report(self, subscription: Subscription) -> tuple[Call, tuple[int, int]]:
        what = subscription.likes, subscription.viewers
        request = self._functions.report(subscription.room, subscription.known, subscription.source, *what)
        return self._topology.begin(self._functions.base(subscription.room), request), what

    async def _reported(self, subscription: Subscription, begun: tuple[Call, tuple[int, int]]) -> Position:
        call, what = begun
        state = Functions.state(await self._topology.finish(call))
        subscription.reported = what
        now = trio.current_time()
        subscription.renewed = now
        subscription.take_state(state)
        if state.due_ms and self._due.add(now + state.due_ms / 1000, subscription):
            self._bell.ring()
        return state.head

    async def _report_all(self, subscriptions: Iterable[Subscription]) -> None:
        """Report for many rooms in bursts, and find out by the answers which are behind. Raises `Unavailable` in the end, if
        some could not be reported; a later beat will."""
        waiting = iter(subscriptions)
        failure: Unavailable | None = None
        while burst := list(islice(waiting, _BURST)):
            begun = []
            for each in burst:
                # Those that were left meanwhile must not come back to life.
                if self._subscriptions.get(each.room) is each:
                    try:
                        begun.append((each, self._begin_report(each)))
                    except Unavailable as error:
                        failure = error
            for each, call in begun:
                try:
                    await self._reported(each, call)
                except Unavailable as error:
                    failure = error
                else:
                    self._care(each)
        if failure is not None:
            raise failure

    # -- time ---------------------------------------------------------------------------------------------------------

    async def beat(self, seconds: float) -> None:
        """Renew the leases that were not renewed for so long, and see to the rooms that turn out to be behind."""
        old = trio.current_time() - seconds
        await self._report_all([each for each in self._subscriptions.values() if each.begun and each.renewed <= old])
        await self._topology.check()

    async def _beat(self) -> None:
        while True:
            await trio.sleep(self._redis.lease_seconds / 3)
            try:
                await self.beat(self._redis.lease_seconds / 4)
            except Unavailable as error:
                log.warning("leases_not_renewed", extra={"error": str(error)})

    async def _repeat_reports(self) -> None:
        """Report again for rooms whose totals the server has not spread yet."""
        while True:
            await self._bell.wait_until(self._due.next())
            try:
                await self._report_all(self._due.expired(trio.current_time()))
            except Unavailable as error:
                log.warning("totals_not_spread", extra={"error": str(error)})

    async def _restore(self, server: Server) -> None:
        """A connection was made: subscribe again and find out what happened meanwhile."""
        rooms = [
            each for each in self._subscriptions.values() if self._topology.server(self._functions.base(each.room)) is server
        ]
        if not rooms:
            return
        try:
            await server.subscribe([self._functions.channel(each.room) for each in rooms])
            await self._report_all(each for each in rooms if each.begun)
        except MovedError:
            self._topology.look()
        except Unavailable as error:
            log.warning("rooms_not_restored", extra={"error": str(error)})
