"""What a node tells the server about its rooms again and again: its share in their totals, and that it is still there.

Owns leases, and when a report is due. Must not know connections, nor what becomes of events.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import trio

from engine.brokers.base import Position, Report, Unavailable
from engine.brokers.redis.functions import Functions
from engine.brokers.redis.server import Call
from engine.brokers.redis.share import News
from engine.brokers.redis.subscription import Subscription
from engine.brokers.redis.topology import Topology
from engine.timing import Bell, Deadlines

__all__ = ["Reports"]

_BURST: Final = 200
"""Reports in one go. More would let a publish wait behind them."""
_GRID_SECONDS: Final = 0.05
"""Reports that fall due within it leave together."""

log = logging.getLogger("roomcast.broker")


class Reports:
    """See the module's docstring. Methods raise `Unavailable`.

    :param subscriptions: the node's, by room.
    :param answered: called with a room of which an answer may have shown that it is behind.
    """

    def __init__(
        self,
        functions: Functions,
        topology: Topology,
        subscriptions: Mapping[str, Subscription],
        answered: Callable[[Subscription], None],
    ) -> None:
        self._functions = functions
        self._topology = topology
        self._subscriptions = subscriptions
        self._answered = answered
        self._due: Deadlines[Subscription] = Deadlines(_GRID_SECONDS)
        self._bell = Bell()

    async def report(self, subscription: Subscription) -> Position:
        """Report now, whether there is news or not; returns where the room stands."""
        return await self._finish(subscription, self._begin(subscription))

    async def take(self, reports: Mapping[str, Report]) -> None:
        """Report for rooms in which something has changed. Tries all before it raises."""
        changed = []
        for room, report in reports.items():
            subscription = self._subscriptions.get(room)
            if subscription is not None:
                subscription.share.set(report)
                if subscription.share.changed(subscription.known.epoch):
                    changed.append(subscription)
        await self.report_all(changed)

    async def report_all(self, subscriptions: Iterable[Subscription]) -> None:
        """Report for many rooms in bursts, and find out by the answers which are behind. Raises in the end, if some could not
        be reported; a later beat will."""
        waiting = iter(subscriptions)
        failure: Unavailable | None = None
        while burst := list(islice(waiting, _BURST)):
            begun = []
            for each in burst:
                # Those that were left meanwhile must not come back to life.
                if self._subscriptions.get(each.room) is each:
                    try:
                        begun.append((each, self._begin(each)))
                    except Unavailable as error:
                        failure = error
            for each, call in begun:
                try:
                    await self._finish(each, call)
                except Unavailable as error:
                    failure = error
                else:
                    self._answered(each)
        if failure is not None:
            raise failure

    def _begin(self, subscription: Subscription) -> tuple[Call, News]:
        room, known = subscription.room, subscription.known
        news = subscription.share.news(known.epoch)
        request = self._functions.report(room, known, subscription.name, news)
        return self._topology.begin(self._functions.base(room), request), news

    async def _finish(self, subscription: Subscription, begun: tuple[Call, News]) -> Position:
        call, news = begun
        state = Functions.state(subscription.room, await self._topology.finish(call))
        subscription.renewed = trio.current_time()
        subscription.clock.learn(state.time, subscription.renewed)
        subscription.share.told(news, state.head.epoch)
        subscription.take_state(state)
        lost = state.head.epoch != news.epoch and subscription.share.changed(state.head.epoch)
        if lost or subscription.share.waiting:
            # The server may have lost what it was told before; or there is more than fits into one report.
            self.soon(subscription, 0.0)
        elif state.due_ms:
            self.soon(subscription, state.due_ms / 1000)
        return state.head

    async def leave(self, subscriptions: Iterable[Subscription]) -> None:
        """Withdraw from rooms for good, in one go."""
        calls = []
        for each in subscriptions:
            request = self._functions.leave(each.room, each.known, each.name, each.share.news(each.known.epoch))
            calls.append(self._topology.begin(self._functions.base(each.room), request))
        for call in calls:
            await self._topology.finish(call)

    # -- time ---------------------------------------------------------------------------------------------------------

    def soon(self, subscription: Subscription, seconds: float) -> None:
        """Have a report made after that time."""
        when = trio.current_time() + seconds
        if when < subscription.due:
            subscription.due = when
            if self._due.add(when, subscription):
                self._bell.ring()

    async def beat(self, seconds: float) -> None:
        """Renew the leases that were not renewed for so long, and see to the rooms that turn out to be behind."""
        old = trio.current_time() - seconds
        await self.report_all([each for each in self._subscriptions.values() if each.begun and each.renewed <= old])

    async def keep_leases(self, lease_seconds: float) -> None:
        """Renew leases, and look at the connections, until cancelled."""
        while True:
            await trio.sleep(lease_seconds / 3)
            try:
                await self.beat(lease_seconds / 4)
                await self._topology.check()
            except Unavailable as error:
                log.warning("leases_not_renewed", extra={"error": str(error)})

    async def keep_promises(self) -> None:
        """Make the reports that fall due, until cancelled."""
        while True:
            await self._bell.wait_until(self._due.next())
            try:
                await self.report_all(self._expired())
            except Unavailable as error:
                log.warning("totals_not_spread", extra={"error": str(error)})

    def _expired(self) -> Iterator[Subscription]:
        for subscription in self._due.expired(trio.current_time()):
            subscription.due = math.inf
            yield subscription
