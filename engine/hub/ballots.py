"""Votes and receipts on their way to the broker's tallies.

Owns what waits, and the task that casts it: all that came since the last time, in one step for each room. Must not know what is
voted on, nor who is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from engine.brokers.base import Ballot, Broker, RecordFull, Unavailable
from engine.errors import Code, Refused
from engine.timing import Bell

__all__ = ["Ballots", "Cast"]

_RETRY_SECONDS: Final = 1.0
"""Pause before a broker that was out of reach is told receipts again."""

Cast = Callable[[Code, str], None]
"""Who voted: told exactly once what became of it."""


class Ballots:
    """See the module's docstring.

    :ivar limit: ballots that may wait.
    :param turn_over: called after each step, to hand over the answers.
    """

    def __init__(self, broker: Broker, limit: int, turn_over: Callable[[], None]) -> None:
        self._broker = broker
        self.limit = limit
        self._turn_over = turn_over
        self._waiting: dict[str, list[tuple[Ballot, Cast | None]]] = {}
        self._count = 0
        self._bell = Bell()
        self._idle = trio.Event()

    def add(self, room: str, ballot: Ballot, told: Cast | None = None) -> None:
        """Cast with the next ones. Raises `Refused` when too many wait.

        :param told: None: it is nobody's request, and is repeated until it is cast.
        """
        if self._count >= self.limit:
            raise Refused(Code.OVERLOADED, "too many votes wait (limits.pending_events)", 1000)
        self._count += 1
        if self._idle.is_set():
            self._idle = trio.Event()
        self._waiting.setdefault(room, []).append((ballot, told))
        self._bell.ring()

    async def drain(self) -> None:
        """Wait until nothing waits."""
        self._bell.ring()
        await self._idle.wait()

    async def run(self) -> None:
        """Cast until cancelled."""
        while True:
            if not self._waiting:
                self._idle.set()
            await self._bell.wait()
            waiting, self._waiting = self._waiting, {}
            failed = False
            for room, queue in waiting.items():
                try:
                    counted = await self._broker.cast(room, [ballot for ballot, _ in queue])
                except Unavailable as error:
                    failed = self._failed(room, queue, Code.UNAVAILABLE, str(error)) or failed
                except RecordFull as error:
                    self._failed(room, [each for each in queue if each[1] is not None], Code.STATE_FULL, str(error))
                    self._count -= sum(1 for _, told in queue if told is None)
                else:
                    self._count -= len(queue)
                    for (_, told), counts in zip(queue, counted, strict=True):
                        if told is not None:
                            told(*(_COUNTED if counts else _VOTED))
            self._turn_over()
            if failed:
                await trio.sleep(_RETRY_SECONDS)
                self._bell.ring()

    def _failed(self, room: str, queue: list[tuple[Ballot, Cast | None]], code: Code, text: str) -> bool:
        """Tell those who asked; keep the rest. Returns whether there is a rest."""
        rest = [(ballot, told) for ballot, told in queue if told is None]
        for _, told in queue:
            if told is not None:
                told(code, text)
        self._count -= len(queue) - len(rest)
        if rest:
            self._waiting.setdefault(room, []).extend(rest)
        return bool(rest)


_COUNTED: Final = (Code.OK, "")
_VOTED: Final = (Code.ALREADY_VOTED, "you have voted already")
