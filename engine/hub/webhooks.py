"""What the product is told after it has happened: from the hub into the outbox, and what operators do with dead letters.

Owns what becomes a happening beside what is booked (a room's life, its peaks, moderation), and what waits while the database is
out of reach: rooms go on. Must not know how the outbox is kept (`engine.ledger.webhooks`) nor how it is told
(`engine.hooks.dispatcher`). What is booked gets into the outbox with the transaction that books it.

Moderation is written down before it acts, as it is backstage. A room's life and its peak are told by every hub that sees them,
after they have come to be, and again when a room opens, so that none is lost with the hub that made it; the outbox drops what
it has been told.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import trio

from engine.errors import Code, Refused
from engine.hooks.dispatcher import Dispatcher
from engine.hooks.letters import DeadLetter, Mark, News, kinds_of, packed, place_of
from engine.hub.actor import Actor
from engine.hub.room import HubRoom
from engine.ledger.errors import LedgerError
from engine.ledger.lane import Lane
from engine.schema import CONSOLE, EVERYWHERE, ModeratedEvent
from engine.schema.named import named
from engine.settings import HookSettings
from engine.timing import Bell

if TYPE_CHECKING:
    from engine.ledger.store import Store

__all__ = ["STEPS", "WebhookStatistics", "Webhooks"]

STEPS: Final = tuple(unit * 10**power for power in range(2, 10) for unit in (1, 2, 5))
"""Viewers at which a new peak is told."""
_KEPT: Final = 10_000
"""Happenings that wait while the database is out of reach; beyond that the newest are lost."""
_GROUP: Final = 500
"""Written at once."""
_PAUSE_SECONDS: Final = 1.0
"""Time between two attempts at a database that fails."""
_PATIENCE_SECONDS: Final = 1.0
"""How long moderation waits until it is written down here; backstage it is in any case."""

log = logging.getLogger("roomcast.hooks")

_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class WebhookStatistics:
    """A frozen picture. Of the outbox only the node that tells knows more than 0: there is one at a time.

    :ivar sent: happenings delivered by this node since it started.
    :ivar failures: requests that failed.
    :ivar dead: happenings put aside by this node since it started.
    :ivar lost: happenings that could not be written down and did not fit into memory.
    :ivar waiting: happenings in the outbox and on their way into it; ``letters`` those put aside.
    :ivar oldest_ms: age of the oldest that waits, milliseconds.
    """

    sent: int
    failures: int
    dead: int
    lost: int
    waiting: int
    letters: int
    oldest_ms: int


class _Waiting(NamedTuple):
    news: News
    written: trio.Event


class Webhooks:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    """

    def __init__(self, settings: HookSettings, lane: Lane, now_ms: Callable[[], int]) -> None:
        self._lane = lane
        self._now_ms = now_ms
        self._waiting: deque[_Waiting] = deque()
        self._bell = Bell()
        self._writing = trio.Lock()
        self._failing = False
        self._lost = 0
        self._dispatcher = Dispatcher(settings, lane)
        self.adopt(settings)

    def adopt(self, settings: HookSettings) -> None:
        """These settings hold from now on."""
        self._topics = frozenset(settings.events if settings.events_url and not self._lane.fault else ())
        if settings.events_url and self._lane.fault:
            log.warning("webhooks_off", extra={"reason": self._lane.fault})
        self._lane.tell(kinds_of(tuple(self._topics)), self._dispatcher.ring)
        self._dispatcher.adopt(settings)

    def statistics(self) -> WebhookStatistics:
        """A frozen picture."""
        told = self._dispatcher.told
        return WebhookStatistics(
            sent=told.sent,
            failures=told.failures,
            dead=told.dead,
            lost=self._lost,
            waiting=told.waiting + len(self._waiting),
            letters=told.letters,
            oldest_ms=told.oldest_ms,
        )

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write down and tell until cancelled."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dispatcher.run)
            while True:
                await self._bell.wait()
                while self._waiting:
                    if not await self._write():
                        await trio.sleep(_PAUSE_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Write down what waits and tell what is due once, for so long at most; the rest stays in the outbox."""
        with trio.move_on_after(seconds):
            while self._waiting and await self._write():
                pass
            await self._dispatcher.drain()
        if self._waiting:
            log.error("happenings_lost", extra={"count": len(self._waiting), "hint": "the node has stopped"})

    async def _write(self) -> bool:
        """Write down what has waited longest; returns whether the database was there."""
        async with self._writing:
            group = list(islice(self._waiting, _GROUP))
            news = [each.news for each in group]
            try:
                await self._lane.keep(lambda store: store.webhooks.tell(news))
            except LedgerError:
                self._failing = True
                return False
            self._failing = False
            for each in group:
                self._waiting.popleft()
                each.written.set()
        self._dispatcher.ring()
        return True

    # -- what happens -------------------------------------------------------------------------------------------------

    def noticed(self, room: HubRoom) -> None:
        """A room is live, or its record or its totals have changed."""
        if not self._topics or room.backstage or room.name in (EVERYWHERE, CONSOLE):
            return
        if "room" in self._topics:
            self._look_at_life(room)
        if "peak" in self._topics and room.peak > room.peak_told:
            self._look_at_peak(room)

    def _look_at_life(self, room: HubRoom) -> None:
        entry = room.rules.entries.get("life", "")
        life = f"{room.rules.entries.life}\n{room.rules.entries.stream}" if entry is not None else ""
        if life == room.life_told:
            return
        before, room.life_told = room.life_told, life
        if entry is None:
            if before.startswith("open\n"):
                return
            life = "open\n"
        value, version = (entry.value, entry.version) if entry is not None else (None, room.rules.record.revision)
        table = {"type": "state", "kind": "life", "key": "", "value": value, "version": version}
        mark = Mark("life", room.position.epoch, room.rules.record.revision, life)
        self._add(News(room.name, f"room.{_told(life)}", room.time(), packed(table), mark=mark))

    def _look_at_peak(self, room: HubRoom) -> None:
        index = bisect_right(STEPS, room.peak)
        if not index or STEPS[index - 1] <= room.peak_told:
            return
        step, epoch = STEPS[index - 1], room.position.epoch
        room.peak_told = step
        mark = Mark("peak", epoch, step, f"{epoch}/{step}")
        self._add(News(room.name, "viewers.peak", room.time(), packed({"viewers": room.peak, "step": step}), mark=mark))

    async def moderated(self, room: HubRoom, actor: Actor, event: ModeratedEvent, everywhere: bool) -> None:
        """A moderator is about to act; returns when that is written down, or the database has had its time."""
        if "moderation" not in self._topics:
            return
        key = blake2b(f"{actor.session}/{actor.ref}".encode(), digest_size=12).hexdigest() if actor.session else ""
        table = {**named(_encode(event)), "everywhere": everywhere}
        written = self._add(News(room.name, f"moderation.{event.action}", room.time(), packed(table), key))
        if not self._failing:
            with trio.move_on_after(_PATIENCE_SECONDS):
                await written.wait()

    def _add(self, news: News) -> trio.Event:
        written = trio.Event()
        if len(self._waiting) >= _KEPT:
            if not self._lost:
                log.error("happenings_lost", extra={"hint": "the ledger's database is out of reach for too long"})
            self._lost += 1
            written.set()
        else:
            self._waiting.append(_Waiting(news, written))
            self._bell.ring()
        return written

    # -- dead letters -------------------------------------------------------------------------------------------------

    async def dead(self, after: str = "", limit: int = 100) -> list[DeadLetter]:
        """Happenings that were put aside, each room's in their order.

        :param after: id of the one before the first.
        :raises Refused: ``INVALID``: it is no id; ``LEDGER``: the database is out of reach.
        """
        if not self._lane.opened:
            return []
        place = _place(after)
        return await self._lane.read(lambda store: store.webhooks.dead(place, limit))

    async def replay(self, letter: str = "") -> int:
        """Have one of them told once more, or all; returns how many. One that fails is put aside again.

        :param letter: its id; empty: all.
        :raises Refused: ``NOT_FOUND``, ``INVALID``, ``LEDGER``.
        """
        place = _place(letter) if letter else None
        count = await self._change(lambda store: store.webhooks.replay(place))
        if letter and not count:
            raise Refused(Code.NOT_FOUND, "there is no such dead letter")
        self._dispatcher.ring()
        return count

    async def drop(self, letter: str = "") -> int:
        """Forget one of them, or all; as `replay`."""
        place = _place(letter) if letter else None
        count = await self._change(lambda store: store.webhooks.drop(place))
        if letter and not count:
            raise Refused(Code.NOT_FOUND, "there is no such dead letter")
        return count

    async def _change(self, do: Callable[[Store], int]) -> int:
        if not self._lane.opened:
            return 0
        return await self._lane.write(do)


def _told(life: str) -> str:
    state = life.partition("\n")[0]
    return "opened" if state == "open" else state


def _place(letter: str) -> tuple[int, int]:
    """Where it is in the outbox; before all if it is empty."""
    try:
        return place_of(letter) if letter else (0, 0)
    except ValueError as error:
        raise Refused(Code.INVALID, f"id: {error}") from None
