"""A viewer that comes back whenever its connection is lost, and asks again until it is answered.

Owns the position, the session, and requests that wait. Whatever it is told about money goes into the book as it came: it drops
nothing but what lies below its position. Must not know what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

import trio

from bench.kills.book import END, MONEY, PACKET, Book, Watcher
from bench.kills.line import Line, Lost

__all__ = ["GIVERS", "PAID", "Asked", "Place", "Viewer"]

AGAIN_SECONDS: Final = (0.02, 0.25)
"""Between two attempts to connect: whoever waits for a node is there as soon as it is."""
MOVING: Final = 0.5
"""Of those who lose a node so many choose anew where to go, and ask again there; the others wait for it."""
JOIN_REFS: Final = 1 << 48
"""Refs of joins begin here; those of requests stay below."""
_JOIN: Final = 1
_JOINED, _SNAPSHOT, _BATCH, _REPLY, _GAP = range(32, 37)
PAID, GIVERS = 42, 43
_ANSWERS: Final = (_REPLY, PAID, GIVERS)
_OMITTED: Final = 0


class Place(Protocol):
    """A node, as far as viewers know it.

    :ivar life: counts how often it was started.
    """

    @property
    def port(self) -> int: ...

    @property
    def life(self) -> int: ...


@dataclass(slots=True, eq=False)
class Asked:
    """A request that waits for its answer.

    :ivar message: kind, ref, then its other elements without the handle.
    :ivar sent: how often it was.
    :ivar sent_at: when last, in seconds of trio's clock.
    :ivar at: node and life of it from which the answer came.
    """

    message: list[Any]
    sent: int = 0
    sent_at: float = 0.0
    at: tuple[int, int] = (0, 0)
    answer: list[Any] | None = None
    done: trio.Event = field(default_factory=trio.Event)

    def renew(self) -> None:
        """Wait for another answer."""
        self.answer, self.done = None, trio.Event()


class Viewer:
    """See the module's docstring.

    :param places: where it may be, at first at the one with the index ``node``.
    :ivar user: id that it was given.
    :ivar position: after the last event that came.
    :ivar over: red packets that have ended, as it was told.
    :ivar ended: set, and replaced, when one more has.
    :ivar on_packet: called with the entry and the opening time (Unix milliseconds) of each red packet that it is told of.
    :ivar on_again: called when a request is sent again.
    """

    def __init__(self, name: str, room: str, places: Sequence[Place], node: int, book: Book, random: Random) -> None:
        self.name = name
        self.room = room
        self.user = ""
        self.node = node
        self.position = (0, 0)
        self.over: set[int] = set()
        self.ended = trio.Event()
        self.watcher: Watcher = book.watch(name, room)
        self.on_packet: Callable[[int, int], None] = lambda _entry, _opens: None
        self.on_again: Callable[[], None] = lambda: None
        self._book = book
        self._places = places
        self._random = random
        self._session = f"g-storm-{random.getrandbits(96):024x}"
        self._line: Line | None = None
        """The connection while requests can be sent on it."""
        self._at = (node, 0)
        self._visit = trio.CancelScope()
        self._away = 0.0
        self._handle = 0
        self._refs = self._joins = 0
        self._waiting: dict[int, Asked] = {}
        self._resuming = False
        """The next batch may begin before the position."""
        self._lost_epoch: int | None = None
        """A gap has told that this one is over; a snapshot must follow."""

    # -- asking -------------------------------------------------------------------------------------------------------

    def ref(self) -> int:
        """A number for a request that no other of this viewer has."""
        self._refs += 1
        return self._refs

    async def ask(self, asked: Asked) -> list[Any]:
        """Send a request, again after every return, until it is answered; the answer."""
        asked.renew()
        self._waiting[asked.message[1]] = asked
        try:
            if self._line is not None:
                await self._say(self._line, asked)
            await asked.done.wait()
        finally:
            del self._waiting[asked.message[1]]
        assert asked.answer is not None
        return asked.answer

    async def _say(self, line: Line, asked: Asked) -> None:
        if asked.sent:
            self.on_again()
        asked.sent += 1
        asked.sent_at = trio.current_time()
        kind, ref, *more = asked.message
        try:
            await line.send([kind, ref, self._handle, *more])
        except Lost:
            return  # whoever reads learns it, too

    # -- being there --------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be in the room until cancelled. Has started when it is there for the first time."""
        async with trio.open_nursery() as nursery:

            def settled(line: Line) -> None:
                """What could not be asked, or was not answered, is asked now."""
                if not self.watcher.epochs:
                    task_status.started()
                self.watcher.epochs.add(self.position[0])
                if self._line is None:
                    self._line = line
                    for asked in self._waiting.values():
                        nursery.start_soon(self._say, line, asked)

            while True:
                was_there = self._joins
                with suppress(Lost), trio.CancelScope() as self._visit:
                    await self._connected(settled)
                if self._joins > was_there and self._random.random() < MOVING:
                    self.node = self._random.randrange(len(self._places))
                away, self._away = self._away, 0.0
                await trio.sleep(away + self._random.uniform(*AGAIN_SECONDS))

    def go(self, seconds: float) -> None:
        """Lose the connection, and be away for a while."""
        self._away = seconds
        self._visit.cancel()

    async def _connected(self, settled: Callable[[Line], None]) -> None:
        place = self._places[self.node]
        self._at = self.node, place.life
        line = await Line.open(place.port, self._random)
        try:
            self._joins += 1
            await line.send([_JOIN, JOIN_REFS + self._joins, self.room, *self.position, self._session, self.name])
            while True:
                if self._take(await line.receive()):
                    settled(line)
        finally:
            self._line = None
            with trio.CancelScope(shield=True):
                await line.close()

    def _take(self, message: list[Any]) -> bool:
        """Take a message; returns whether it tells that the viewer is in the room with a position. Raises `Lost`."""
        kind = message[0]
        if kind == _JOINED:
            return self._joined(message)
        if kind == _SNAPSHOT:
            self._snapshot(message)
            return True
        if kind == _BATCH:
            self._batch(message)
        elif kind == _GAP:
            self._gap(message)
        elif kind in _ANSWERS:
            self._answered(message)
        return False

    def _answered(self, message: list[Any]) -> None:
        if message[0] == _REPLY and message[1] > JOIN_REFS:
            raise Lost(f"not let in: {message}")
        asked = self._waiting.get(message[1])
        if asked is not None and asked.answer is None:
            asked.answer, asked.at = message, self._at
            asked.done.set()

    def _joined(self, message: list[Any]) -> bool:
        _, _, self._handle, session, user, _, resumed = message[:7]
        if session != self._session or (self.user and user != self.user):
            self.watcher.trouble.append(f"came back as {user}, not as {self.user}")
        self.user = user
        self._resuming = True
        return bool(resumed)

    def _snapshot(self, message: list[Any]) -> None:
        epoch, offset, state, recent = message[3], message[4], message[9], message[10]
        known, head = self.position
        if known and self._lost_epoch is None:
            if epoch != known or offset > head or not self._resuming:
                self.watcher.trouble.append(f"a snapshot at {epoch}:{offset} without a gap after {known}:{head}")
            # What lies between comes again.
            self.position = (epoch, max(offset, head))
        else:
            self.position = (epoch, offset)
            self._resuming = False
        self._lost_epoch = None
        self.watcher.hinted.update(event[2] for _, _, event in recent if event[0] in MONEY)
        for kind, key, value, _ in state:
            if kind == "packet":
                self.on_packet(int(key), value["opens"])

    def _gap(self, message: list[Any]) -> None:
        epoch, first, last, reason = message[2:6]
        known, head = self.position
        if epoch != known or first > head + 1 or (first <= head and not self._resuming) or reason != "epoch":
            # Nobody here is slow, and histories hold more than a storm says while somebody is away.
            self.watcher.trouble.append(f"a gap of {epoch}:{first}..{last} ({reason}) after {known}:{head}")
        if last and reason != "epoch":
            self.position = (epoch, max(last, head))
        else:
            self._lost_epoch = epoch

    def _batch(self, message: list[Any]) -> None:
        epoch, first, last, events = message[2], message[3], message[4], message[6]
        known, head = self.position
        if epoch != known or first > head + 1 or (first <= head and not self._resuming):
            self.watcher.trouble.append(f"a batch of {epoch}:{first}..{last} after {known}:{head}")
        self._resuming = self._resuming and last < head
        offset = first
        for event in events:
            if event[0] == _OMITTED:
                offset += event[2]
                continue
            if offset > head and event[0] in MONEY:
                self._see(epoch, offset, event)
            offset += 1
        if offset != last + 1:
            self.watcher.trouble.append(f"a batch of {epoch}:{first}..{last} has events up to {offset - 1}")
        self.position = (epoch, max(last, head) if epoch == known else last)

    def _see(self, epoch: int, offset: int, event: list[Any]) -> None:
        self._book.show(self.watcher, epoch, offset, event)
        if event[0] == PACKET:
            self.on_packet(event[2], event[7])
        elif event[0] == END:
            self.over.add(event[3])
            self.ended.set()
            self.ended = trio.Event()
