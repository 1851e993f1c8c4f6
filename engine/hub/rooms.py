"""The open rooms of a hub: from when somebody needs one until nobody does, and their ticks.

Owns the rooms, who shows them, and the one task that ticks for all. Must not know what edges say, nor what is done in a room.

Besides the edges the hub itself can have a room open: for as long as a call takes that concerns it; and always the room whose
record holds in all rooms (`engine.hub.moderation.EVERYWHERE`) and, where several nodes share a broker, the one in which nodes
tell their figures (`engine.schema.CONSOLE`): whoever looks may be at another node.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from random import Random

import trio

from engine.brokers.base import Broker, Deliver, Position
from engine.errors import Code, Refused
from engine.hub.moderation import EVERYWHERE
from engine.hub.port import Nowhere, Port
from engine.hub.room import HubRoom, Phase
from engine.hub.rules import Rules
from engine.hub.sanctions import Sanctions
from engine.hub.upstream import Upstream
from engine.hub.words import Words
from engine.link.messages import RefuseRoom
from engine.room.feeds import Feeds
from engine.schema import BACKSTAGE, CONSOLE
from engine.settings import Settings
from engine.timing import Bell, Deadlines

__all__ = ["Rooms"]


class Rooms:
    """See the module's docstring.

    :param broker: made from the function that it is to call for every delivery.
    :param incarnation: of the hub.
    :param words: the word lists as they are now.
    :param ready: called when a room is live, again after a restart.
    :param noticed: called with the offset of a notice that asks for receipts; ``overdue`` when its deadline has passed.
    :param left: called when a port does not show a room any more that goes on.
    :param parted: called when a port does not show a room any more, with whether an edge does.
    :param restore: waited for before a room opens at the broker's position, again after a restart.
    :param stale: called when a room's leaderboard has to be read again.
    :param told: called when a live room's record or totals may have changed, for who tells the product.
    :param shared: called when the record that holds in all rooms has changed.
    :param turn_over: called after each step, to hand over what rooms sent.
    :ivar batches: made so far.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Callable[[Deliver], Broker],
        incarnation: str,
        words: Callable[[], Words],
        *,
        ready: Callable[[HubRoom], None],
        noticed: Callable[[HubRoom, int], None],
        overdue: Callable[[HubRoom, int], None],
        left: Callable[[HubRoom], None],
        parted: Callable[[Port, HubRoom, bool], None],
        restore: Callable[[HubRoom, Position], Awaitable[int]],
        stale: Callable[[HubRoom], None],
        shared: Callable[[], None],
        told: Callable[[HubRoom], None],
        turn_over: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._words = words
        self._ready = ready
        self._overdue = overdue
        self._left = left
        self._parted = parted
        self._stale = stale
        self._shared = shared
        self._told = told
        self._turn_over = turn_over
        self._clock = trio.current_time
        self._open: dict[str, HubRoom] = {}
        live, amended = self._live, self._amended
        self.upstream = Upstream(broker, self._open, self._schedule, live, noticed, amended, told, restore, turn_over)
        self.broker = self.upstream.broker
        self.feeds = Feeds(settings.feeds)
        self._random = Random()
        self._incarnation = incarnation
        self._numbers = count(1)
        self._own = Port(Nowhere(), incarnation)
        self._calls: dict[str, int] = {}
        self._always = (EVERYWHERE, CONSOLE) if settings.redis.url and settings.api.enabled else (EVERYWHERE,)
        # On a common grid many small rooms share a wake-up instead of having one each.
        self._deadlines: Deadlines[HubRoom] = Deadlines(settings.room.tick_grid_seconds)
        self._ticker = Bell()
        self._refused: Counter[Code] = Counter()
        self._snapshots = 0
        self.batches = 0

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._settings = settings
        self._deadlines.grid = settings.room.tick_grid_seconds
        for room in self._open.values():
            room.adopt(settings)
            self._schedule(room)

    @property
    def refused(self) -> dict[str, int]:
        """Comments that rooms' rules have refused so far, by the name of the code."""
        refused = self._refused.copy()
        for room in self._open.values():
            # Of most there is nothing to add, which is to cost nothing.
            if room.rules.refused:
                refused.update(room.rules.refused)
        return {code.name.lower(): times for code, times in refused.items()}

    @property
    def snapshots(self) -> int:
        """Snapshots built so far."""
        return self._snapshots + sum([room.state.builds for room in self._open.values()])

    def __iter__(self) -> Iterator[HubRoom]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        """Those that edges show."""
        own = self._own
        return sum([len(room.ports) > (own in room.ports) for room in self._open.values()])

    def _is_shown(self, room: HubRoom) -> bool:
        return len(room.ports) > (self._own in room.ports)

    def shown(self) -> list[HubRoom]:
        """Those that edges show and that are live, without backstage ones and that of the figures."""
        own, opening = self._own, Phase.OPENING
        return [
            room
            for room in self._open.values()
            # As `_is_shown`, of which a call for each of thousands of rooms would be most of the cost.
            if len(room.ports) > (own in room.ports)
            and room.phase is not opening
            and not room.backstage
            and room.name != CONSOLE
        ]

    def get(self, name: str) -> HubRoom | None:
        """An open room."""
        return self._open.get(name)

    def of(self, port: Port) -> list[HubRoom]:
        """The rooms that a port shows."""
        return [room for room in self._open.values() if port in room.ports]

    def start(self, nursery: trio.Nursery) -> None:
        """Care for rooms in tasks of this nursery from now on."""
        self.upstream.start(nursery)
        nursery.start_soon(self._tick)
        for name in self._always:
            self._show(name)

    async def _tick(self) -> None:
        while True:
            await self._ticker.wait_until(self._deadlines.next())
            now = self._clock()
            for room in self._deadlines.expired(now):
                if room.wake <= now:
                    self._service(room, now)
            self._turn_over()

    def _service(self, room: HubRoom, now: float) -> None:
        room.wake = math.inf
        # First, because what it was told of does not wake it again.
        for offset in room.overdue():
            self._overdue(room, offset)
        room.service(now)
        if room.till.board.stale:
            self._stale(room)
        self.batches += 1
        self._schedule(room)

    def _schedule(self, room: HubRoom) -> None:
        due = room.due()
        if due < room.wake:
            room.wake = due
            if self._deadlines.add(due, room):
                self._ticker.ring()

    def flush(self) -> None:
        """Send all that waits, whether it is due or not."""
        now = self._clock()
        for room in self._open.values():
            room.flush(now)

    def ranked(self, room: HubRoom) -> None:
        """A room's leaderboard was read."""
        room.rank()
        if self._open.get(room.name) is room and room.phase is not Phase.OPENING:
            self._schedule(room)

    # -- open and closed ----------------------------------------------------------------------------------------------

    def show(self, port: Port, name: str, opening: int, variants: tuple[int, ...], known: Position) -> HubRoom:
        """An edge shows a room from now on, with viewers who have everything up to ``known``. Raises `Refused`."""
        room = self._open.get(name)
        if room is None:
            # Who looks at a node that is full comes in.
            if name != CONSOLE and len(self) >= self._settings.room.rooms_max:
                raise Refused(Code.ROOM_FULL, "no more rooms on this node (room.rooms_max)")
            room = self._begin(name)
        elif room.phase is not Phase.OPENING:
            self._admit(room)
        port.openings[name] = opening
        port.wants[name] = variants
        room.attach(port, known)
        if room.phase is not Phase.OPENING:
            room.bar(port)
            room.tell_packets(port)
            if port not in room.behind:
                room.send_snapshot(port)
        return room

    def leave(self, port: Port, room: HubRoom) -> None:
        """A port does not show a room any more."""
        room.detach(port)
        port.forget(room.name)
        self._parted(port, room, self._is_shown(room))
        if room.ports:
            self._left(room)
        else:
            room.wake = math.inf
            del self._open[room.name]
            self._refused.update(room.rules.refused)
            self._snapshots += room.state.builds
            self.upstream.closed(room)

    @asynccontextmanager
    async def opened(self, name: str, *, settled: bool = False) -> AsyncIterator[HubRoom]:
        """Have a room open, and live, while the block runs, whether it has viewers here or not.

        :param settled: wait also while a room that was open goes over to another epoch.
        """
        room = self._show(name)
        self._calls[name] = self._calls.get(name, 0) + 1
        try:
            if room.phase is Phase.OPENING or (settled and room.phase is Phase.RESTARTING):
                live = trio.Event()
                room.waiting.append(live.set)
                await live.wait()
            yield room
        finally:
            self._calls[name] -= 1
            if not self._calls[name]:
                del self._calls[name]
                if name not in self._always and self._open.get(name) is room:
                    self.leave(self._own, room)

    def _show(self, name: str) -> HubRoom:
        room = self._open.get(name) or self._begin(name)
        if self._own not in room.ports:
            self._own.openings[name] = next(self._numbers)
            self._own.wants[name] = ()
            room.attach(self._own, Position(0, 0))
        return room

    def _begin(self, name: str) -> HubRoom:
        rules = Rules(name, self._settings, self._words, self.everywhere, self._random)
        source = f"{self._incarnation}/{next(self._numbers)}"
        room = HubRoom(name, self._settings, source, partial(self.broker.now_ms, name), rules, self.feeds)
        self._open[name] = room
        self.upstream.opened(room)
        return room

    # -- who may be there ---------------------------------------------------------------------------------------------

    def everywhere(self) -> Sanctions | None:
        """Sanctions that hold in all rooms, once they are known."""
        room = self._open.get(EVERYWHERE)
        return room.rules.sanctions if room is not None else None

    def _admit(self, room: HubRoom) -> None:
        """Raise `Refused` if viewers may not enter."""
        if room.rules.mode.life == "archived":
            raise Refused(Code.ROOM_MODE, "archived: the room is over")
        inner = room.name in (EVERYWHERE, CONSOLE) or room.name.endswith(BACKSTAGE)
        if self._settings.room.created_only and not inner and room.rules.entries.get("life", "") is None:
            raise Refused(Code.NOT_FOUND, "there is no such room (room.created_only)")

    def _live(self, room: HubRoom) -> None:
        """The room goes on, with whom it stands is known."""
        waiting, room.waiting = room.waiting, []
        for do in waiting:
            do()
        self._told(room)
        self._ready(room)

    def _amended(self, room: HubRoom) -> None:
        """The room's record has changed."""
        if room.phase is Phase.OPENING:
            return
        self._told(room)
        if room.till.board.stale:
            self._stale(room)
        if room.name == EVERYWHERE:
            self._shared()
            for other in self._open.values():
                if other.phase is not Phase.OPENING:
                    other.bar()
            return
        try:
            self._admit(room)
        except Refused as refused:
            for port in room.ports:
                port.post(RefuseRoom(room.name, port.openings[room.name], refused.code, refused.text))
