"""Tells the product what has happened: takes happenings out of the outbox and sends them until they are taken.

Owns when something is sent, and by which node. Must not know how the outbox is kept (`engine.ledger.webhooks`), what goes
together (`engine.hooks.rounds`) nor how it is sent (`engine.hooks.courier`).

One node at a time has the **lease**, and one request is under way at a time, so nothing overtakes. A lease that is not renewed
ends; no request sets out that might outlive it. What was taken is written down a little later, with what comes after it: a node
that is killed in between tells it again.

A request that fails holds its rooms back (`engine.hooks.rounds`). All others wait for a few seconds at most: whether the
product is there must not be asked with every room.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from engine.errors import Refused
from engine.hooks.courier import Answer, Courier, courier
from engine.hooks.letters import Page
from engine.hooks.rounds import Parcel, Round, parcels, pause_seconds
from engine.ledger.errors import LedgerError
from engine.settings import HookSettings
from engine.timing import Bell

if TYPE_CHECKING:
    from engine.ledger.lane import Lane

__all__ = ["Dispatcher", "Told"]

_PAGE: Final = 2_000
"""Happenings that are read at once."""
_SETTLE_SECONDS: Final = 0.5
"""How long what was taken may wait until it is written down."""
_GATHER_SECONDS: Final = 0.05
"""What happens within this time goes out together."""
_SHARED_SECONDS: Final = 1.0
"""Time between two looks where other nodes write to the outbox, too."""
_LETTERS_SECONDS: Final = 2.0
"""Time between two looks where there are dead letters: operators may want one to be sent again."""
_BREATH_SECONDS: Final = 5.0
"""Longest pause after a failure for rooms that have nothing to do with it."""
_PAUSE_SECONDS: Final = 1.0
"""Time between two attempts at a database that fails."""
_LEASE_SPARE_SECONDS: Final = 0.5
_LEASE_LOOK_SECONDS: Final = 5.0
"""Longest time between two looks whether another node's lease is over."""
_PRUNE_SECONDS: Final = 3_600.0

log = logging.getLogger("roomcast.hooks")


@dataclass(slots=True)
class Told:
    """Figures of a dispatcher (`engine.hub.webhooks.WebhookStatistics`)."""

    sent: int = 0
    failures: int = 0
    dead: int = 0
    waiting: int = 0
    letters: int = 0
    oldest_ms: int = 0


class Dispatcher:
    """See the module's docstring.

    :ivar told: its figures.
    """

    def __init__(self, settings: HookSettings, lane: Lane) -> None:
        self._settings = settings
        self._lane = lane
        self._holder = secrets.token_hex(8)
        self._until = -math.inf
        """Until when we have the lease, by trio's clock."""
        self._not_before = -math.inf
        self._prune_at = -math.inf
        self._failures = 0
        """In a row, of whatever rooms."""
        self._bell = Bell()
        self._wanted = trio.Event()
        self._busy = trio.Lock()
        self._courier: Courier | None = None
        self.told = Told()

    def adopt(self, settings: HookSettings) -> None:
        """These settings hold from now on."""
        self._settings = settings
        if settings.events_url:
            self._wanted.set()
        self._not_before = -math.inf
        self._bell.ring()

    def ring(self) -> None:
        """There may be something to tell."""
        self._bell.ring()

    async def run(self) -> None:
        """Tell until cancelled."""
        await self._wanted.wait()
        async with courier() as self._courier:
            while True:
                more = await self._step()
                now = trio.current_time()
                await self._bell.wait_until(max(now + more, self._not_before))
                if more:
                    await trio.sleep(_GATHER_SECONDS)
                await trio.sleep_until(self._not_before)

    async def drain(self) -> None:
        """Send what is due once, write down what became of it, and leave the rest to others."""
        if self._courier is not None:
            while not await self._step() and not self._failures:
                pass
        async with self._busy:
            self._courier = None
            await self._release()

    async def _step(self) -> float:
        """Send what is due now; returns after how many seconds to look again."""
        async with self._busy:
            if self._courier is None or self._lane.fault or not self._lane.opened:
                return math.inf
            if not self._settings.events_url:
                await self._release()
                return math.inf
            try:
                return await self._tell(self._courier)
            except (LedgerError, Refused):
                self._not_before = trio.current_time() + _PAUSE_SECONDS
                return _PAUSE_SECONDS

    # -- whose turn it is ---------------------------------------------------------------------------------------------

    async def _hold(self) -> float:
        """Have the lease for longer than a request takes. Returns for how many seconds another one has it; 0: nobody."""
        now = trio.current_time()
        request = self._settings.events_seconds + _LEASE_SPARE_SECONDS
        if self._until - now > request:
            return 0.0
        lasts, now_ms = 2 * request, _now_ms()
        other = await self._lane.keep(lambda store: store.webhooks.lease(self._holder, int(lasts * 1000), now_ms))
        self._until = -math.inf if other else now + lasts
        return other / 1000

    async def _release(self) -> None:
        if self._until > trio.current_time():
            # Otherwise it ends by itself.
            with suppress(LedgerError):
                await self._lane.keep(lambda store: store.webhooks.release(self._holder))
        self._until = -math.inf
        self.told.waiting = self.told.letters = self.told.oldest_ms = 0

    # -- telling ------------------------------------------------------------------------------------------------------

    async def _tell(self, courier: Courier) -> float:
        if other := await self._hold():
            self.told.waiting = self.told.letters = self.told.oldest_ms = 0
            seconds = min(other, _LEASE_LOOK_SECONDS)
            self._not_before = trio.current_time() + seconds
            return seconds
        if trio.current_time() >= self._prune_at:
            now_ms = _now_ms()
            await self._lane.keep(lambda store: store.webhooks.prune(now_ms))
            self._prune_at = trio.current_time() + _PRUNE_SECONDS
        now_ms = _now_ms()
        limit = max(_PAGE, self._settings.events_batch)
        page = await self._lane.read(lambda store: store.webhooks.page(limit, now_ms))
        self.told.waiting, self.told.letters, self.told.oldest_ms = page.waiting, page.dead, page.oldest_ms
        next_seconds = await self._send(courier, page)
        if self._failures:
            self._not_before = trio.current_time() + min(
                pause_seconds(self._failures, self._settings, random.random), _BREATH_SECONDS
            )
        elif page.more:
            return 0.0
        if page.next_ms is not None:
            next_seconds = min(next_seconds, page.next_ms / 1000)
        if page.dead:
            next_seconds = min(next_seconds, _LETTERS_SECONDS)
        return min(next_seconds, _SHARED_SECONDS if self._lane.shared else math.inf)

    async def _send(self, courier: Courier, page: Page) -> float:
        """Send a page; returns after how many seconds something of it is to be sent again."""
        sent = Round(self._settings, random.random)
        written = trio.current_time()
        # Of rooms that failed before not all was taken along.
        again = 0.0 if any(room.attempts for room in page.rooms) else math.inf
        for parcel in parcels(page.rooms, self._settings.events_batch):
            part = parcel.without(sent.held)
            if not part.parts:
                continue
            answer = await self._post(courier, part)
            if answer is None:
                break
            sent.take(part, answer)
            if answer.reason:
                break
            if trio.current_time() >= written + _SETTLE_SECONDS:
                again = min(again, await self._settle(sent))
                written = trio.current_time()
        else:
            for room in page.again:
                answer = await self._post(courier, Parcel([(room, room.letters)]))
                if answer is None:
                    break
                sent.take_again(room, answer)
                if answer.reason:
                    break
        return min(again, await self._settle(sent))

    async def _post(self, courier: Courier, parcel: Parcel) -> Answer | None:
        """One request. None: another node's turn has come."""
        if await self._hold():
            return None
        message, body = parcel.sealed()
        answer = await courier.post(self._settings, message, body, time.time())
        if not answer.reason:
            if self._failures:
                log.info("webhooks_taken", extra={"failures": self._failures})
            self._failures = 0
            return answer
        self._failures += 1
        self.told.failures += 1
        if self._failures == 1:
            log.warning("webhooks_failing", extra={"reason": answer.reason, "rooms": len(parcel.parts)})
        return answer

    async def _settle(self, sent: Round) -> float:
        """Write down what has become of happenings; returns after how many seconds some of them are due again."""
        settled = sent.settled()
        if not settled:
            return math.inf
        now_ms = _now_ms()
        if not await self._lane.keep(lambda store: store.webhooks.settle(self._holder, settled, now_ms)):
            self._until = -math.inf
            return 0.0
        self.told.sent += sent.sent
        self.told.dead += sent.dead
        self.told.waiting = max(self.told.waiting - sent.sent - sent.dead, 0)
        if not self.told.waiting:
            # Else it would be as old as the last that was sent, until there is something to read again.
            self.told.oldest_ms = 0
        for each in settled:
            if each.dead and not each.again:
                log.warning("webhook_put_aside", extra={"reason": each.reason, "hint": "roomcast webhooks list"})
        sent.sent = sent.dead = 0
        # What comes after one that is put aside is due now.
        return min((each.pause_ms / 1000 for each in settled if each.pause_ms or each.dead), default=math.inf)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
