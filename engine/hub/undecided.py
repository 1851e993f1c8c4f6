"""How many comments wait for a decision, in rooms that somebody looks at.

Owns that number: what is held backstage and kept, but for that on which somebody has decided (`engine.hub.moderation`). Must
not know who looks, nor decide.

The backstage of a room that is looked at is open here, as for a moderator. So its head is known without asking, and only what
is new is read, when there is something new: a room in which nothing is held costs a look at a number. Nothing is counted by
whoever holds or decides: what is counted beside what is written would differ from it after the first crash in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from engine.brokers.base import Events, Unavailable
from engine.hub.backfill import PAGE
from engine.hub.moderation import members
from engine.hub.rules import kind_of
from engine.schema import EventKind, backstage_of
from engine.settings import Settings
from engine.timing import Bell

if TYPE_CHECKING:
    from engine.hub.room import HubRoom
    from engine.hub.rooms import Rooms

__all__ = ["Undecided", "decided"]

_DECISIONS: Final = ("approve", "reject")
_PATIENCE_SECONDS: Final = 2.0
"""For one room: another one may be within reach."""

log = logging.getLogger("roomcast.undecided")

_decode: Final = msgspec.msgpack.Decoder().decode


def decided(event: Any) -> Iterable[int]:
    """Offsets of held comments on which this event backstage decides; the event as `engine.backend.values.PastEvent` has it."""
    return members(event[4]) if event[0] == EventKind.MODERATED and event[2] in _DECISIONS else ()


@dataclass(slots=True)
class _Backstage:
    """A backstage that is open here.

    :ivar epoch: of what was read, up to ``last``.
    :ivar kept: what was read up to this offset, without what the history does not keep any more.
    :ivar waiting: when each comment was held, Unix milliseconds, by its offset.
    :ivar known: whether all was read that there was at some moment.
    """

    room: HubRoom
    stack: AsyncExitStack
    epoch: int = 0
    last: int = 0
    kept: int = 0
    waiting: dict[int, int] = field(default_factory=dict)
    known: bool = False

    def begin(self, epoch: int) -> None:
        """Nothing of this one was read."""
        self.epoch, self.last, self.kept, self.known = epoch, 0, 0, False
        self.waiting.clear()

    def take(self, events: Events) -> None:
        """What comes next."""
        for offset, (time, event) in enumerate(zip(events.times, events.events, strict=True), events.first):
            match kind_of(event):
                case EventKind.HELD:
                    self.waiting[offset] = time
                case EventKind.MODERATED:
                    for gone in decided(_decode(event)):
                        self.waiting.pop(gone, None)
        self.last = events.last

    def forget(self, *, first: int = 0, since: float = 0) -> None:
        """Nothing below this offset, or from before this moment, is kept any more. Offsets and times rise together."""
        # In one go: to begin at the first one again and again passes all that were there before it, each time.
        for offset, _ in list(takewhile(lambda held: held[0] < first or held[1] < since, self.waiting.items())):
            del self.waiting[offset]


class Undecided:
    """See the module's docstring."""

    def __init__(self, rooms: Rooms, settings: Callable[[], Settings]) -> None:
        self._rooms = rooms
        self._settings = settings
        self._open: dict[str, _Backstage] = {}
        self._wanted: Collection[str] = ()
        self._bell = Bell()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look when asked to, until cancelled."""
        task_status.started()
        try:
            while True:
                await self._bell.wait()
                await self.look(self._wanted)
        finally:
            with trio.CancelScope(shield=True):
                await self.look(())

    def follow(self, rooms: Collection[str]) -> None:
        """Let these rooms be looked at, now, and no others. Call it as often as the number is wanted."""
        self._wanted = rooms
        if rooms or self._open:
            self._bell.ring()

    def count(self, room: str) -> int | None:
        """How many wait in a room as it was when it was last looked at; None if it is not."""
        found = self._open.get(room)
        if found is None or not found.known:
            return None
        found.forget(since=found.room.time() - self._settings().broker.history_seconds * 1000)
        return len(found.waiting)

    async def look(self, rooms: Collection[str]) -> None:
        """Look at these rooms from now on, and at no others. What is out of reach is looked at the next time."""
        for name in self._open.keys() - set(rooms):
            await self._open.pop(name).stack.aclose()
        for name in rooms:
            try:
                with trio.move_on_after(_PATIENCE_SECONDS):
                    await self._read(name)
            except Unavailable as error:
                log.debug("held_not_counted", extra={"room": name, "error": str(error)})

    async def _read(self, name: str) -> None:
        behind = self._open.get(name)
        if behind is None:
            async with AsyncExitStack() as stack:
                room = await stack.enter_async_context(self._rooms.opened(backstage_of(name)))
                behind = self._open[name] = _Backstage(room, stack.pop_all())
        room, broker = behind.room, self._rooms.broker
        if behind.epoch != room.position.epoch:
            behind.begin(room.position.epoch)
        while behind.last < room.head:
            events = (await broker.history(room.name, behind.last, PAGE)).events
            if events.epoch != behind.epoch or not events.events:
                # Another one has begun, or nothing of this one is kept.
                behind.last = room.head
                break
            behind.take(events)
            await trio.lowlevel.checkpoint()
        if behind.kept != behind.last:
            # What has left the history since it was read.
            behind.forget(first=(await broker.history(room.name, 0, 1)).events.first)
            behind.kept = behind.last
        behind.known = True
