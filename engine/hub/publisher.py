"""From the hub to the broker: events of all rooms, and the rooms' totals.

Owns the one task that publishes, what waits for it, and when nothing does any more. Must not know edges, nor what the broker
delivers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import trio

from engine.brokers.base import NO_BYTES, NO_EVENTS, Broker, Pending, Receipt, Unavailable
from engine.durations import Durations
from engine.errors import Code, Refused
from engine.hub.intake import Answer, Intake
from engine.hub.room import HubRoom, Phase
from engine.timing import Bell

__all__ = ["Outcome", "Publisher"]

_RETRY_MS: Final = 1_000
"""How long senders are asked to wait when the room is at its rate, the broker out of reach, or the node stops."""
_OVER: Final = {
    NO_EVENTS: "the room takes no more at the moment (limits.room_events_per_second)",
    NO_BYTES: "the room takes no more at the moment (limits.room_bytes_per_second)",
}


class Outcome(NamedTuple):
    """What became of an event: ``code`` is ``OK`` and it has an ``offset``, or why it has none."""

    code: Code
    offset: int = 0
    text: str = ""
    retry_after_ms: int = 0


class Publisher:
    """See the module's docstring.

    :param limit: events that may wait.
    :param turn_over: called after each step, to hand over the answers.
    :ivar published: events that have an offset; ``withheld`` those that did not fit their room's budget, ``failed`` those
        that the broker did not take.
    :ivar delays: how long the broker took for what was published at once.
    """

    def __init__(self, broker: Broker, limit: int, turn_over: Callable[[], None]) -> None:
        self._broker = broker
        self._turn_over = turn_over
        self._intake = Intake(limit)
        self._dirty: set[HubRoom] = set()
        self._reported: list[Callable[[Unavailable | None], None]] = []
        self._bell = Bell()
        self._idle = trio.Event()
        self._stopping = False
        self.published = self.withheld = self.failed = 0
        self.delays = Durations()

    def adopt(self, limit: int) -> None:
        """Let so many events wait from now on."""
        self._intake.limit = limit

    @property
    def waiting(self) -> int:
        """Events accepted and not answered."""
        return self._intake.waiting

    @property
    def overloaded(self) -> int:
        """Events that were refused because too many waited."""
        return self._intake.refused

    def accept(self, room: str, pending: Pending, answer: Answer) -> None:
        """Publish an event with the next ones. Raises `Refused`."""
        if self._stopping:
            raise Refused(Code.UNAVAILABLE, "the node is stopping", _RETRY_MS)
        self._intake.add(room, pending, answer)
        self._bell.ring()

    async def publish(self, room: str, pending: Pending) -> int:
        """Publish an event and return its offset. Raises `Refused`."""
        [(code, offset, text, retry_after_ms)] = await self.publish_many([(room, pending)])
        if code is not Code.OK:
            raise Refused(code, text, retry_after_ms)
        return offset

    async def publish_many(self, events: Sequence[tuple[str, Pending]]) -> list[Outcome]:
        """Publish events, those of a room in their order, and return of each what became of it."""
        outcomes = [Outcome(Code.UNAVAILABLE)] * len(events)
        left = len(events)
        done = trio.Event()

        def answer(index: int, code: Code, offset: int, text: str, retry_after_ms: int) -> None:
            nonlocal left
            outcomes[index] = Outcome(code, offset, text, retry_after_ms)
            left -= 1
            if not left:
                done.set()

        for index, (room, pending) in enumerate(events):
            try:
                self.accept(room, pending, partial(answer, index))
            except Refused as refused:
                answer(index, refused.code, 0, refused.text, refused.retry_after_ms)
        if events:
            await done.wait()
        return outcomes

    def report(self, room: HubRoom) -> None:
        """The room's totals have changed here."""
        self._dirty.add(room)
        self._bell.ring()

    async def reported(self, room: HubRoom) -> None:
        """Have the broker know the totals of a room that stays open for as long. Raises `Unavailable`."""
        done = trio.Event()
        failures: list[Unavailable] = []

        def told(failure: Unavailable | None) -> None:
            failures.extend([failure] if failure is not None else [])
            done.set()

        self._reported.append(told)
        self.report(room)
        await done.wait()
        if failures:
            raise failures[0]

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._bell.wait()
            if queues := self._intake.take():
                batches = {name: [pending for pending, _ in queue] for name, queue in queues.items()}
                begun = time.perf_counter()
                outcomes = await self._broker.publish_all(batches)
                self.delays.add(time.perf_counter() - begun)
                for name, queue in queues.items():
                    self._answer(queue, outcomes[name])
            await self._report()
            self._turn_over()
            if self._stopping and not self._intake.waiting:
                self._idle.set()

    async def drain(self) -> None:
        """Accept nothing more and wait until nothing waits."""
        self._stopping = True
        self._bell.ring()
        await self._idle.wait()

    async def _report(self) -> None:
        dirty, self._dirty = self._dirty, set()
        reported, self._reported = self._reported, []
        rooms = [room for room in dirty if room.ports and room.phase is not Phase.OPENING]
        reports = {room.name: room.counts.report(room.viewers) for room in rooms}
        ended = [room.counts.ended_totals() for room in rooms]
        try:
            await self._broker.report_all(reports)
        except Unavailable as error:
            # What is not reported now is part of the next report: these are totals.
            for told in reported:
                told(error)
            return
        for room, totals in zip(rooms, ended, strict=True):
            room.counts.told(totals, reports[room.name])
        for told in reported:
            told(None)

    def _answer(self, queue: list[tuple[Pending, Answer]], outcome: Receipt | Unavailable) -> None:
        """Tell the senders of one room what became of their events."""
        if isinstance(outcome, Unavailable):
            self.failed += len(queue)
            for _, answer in queue:
                answer(Code.UNAVAILABLE, 0, str(outcome), _RETRY_MS)
        else:
            for (_, answer), offset in zip(queue, outcome.offsets, strict=True):
                if offset > 0:
                    self.published += 1
                    answer(Code.OK, offset, "", 0)
                else:
                    self.withheld += 1
                    answer(Code.WITHHELD, 0, _OVER[offset], _RETRY_MS)
        self._intake.done(len(queue))
