"""A hub process that is asked, over the HTTP API, to read the settings again, and lets the supervisor do it.

Owns the questions that are not answered. Must not know where settings come from.
"""

from __future__ import annotations

from itertools import count

import trio

from engine.errors import RoomcastError
from engine.reload import Reloaded, ReloadRefused
from engine.workers.channel import AskReload, Channel, Outcome

__all__ = ["Reloading"]


class Reloading:
    """See the module's docstring.

    :param channel: to the supervisor.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = count(1)
        self._waiting: dict[int, trio.Event] = {}
        self._outcomes: dict[int, Outcome] = {}

    async def ask(self) -> Reloaded:
        """As `engine.backend.Backend.reload`. What was asked is done, also if who has asked is cancelled."""
        number = next(self._numbers)
        done = self._waiting[number] = trio.Event()
        try:
            await self._channel.send(AskReload(number))
            await done.wait()
        finally:
            del self._waiting[number]
            outcome = self._outcomes.pop(number, None)
        assert outcome is not None  # that is what it was waited for
        if outcome.faults:
            raise ReloadRefused(outcome.faults)
        if outcome.error:
            raise RoomcastError(outcome.error)
        return Reloaded(outcome.changed, outcome.restart)

    def answered(self, outcome: Outcome) -> None:
        """The supervisor has done it, or not."""
        if outcome.number in self._waiting:
            self._outcomes[outcome.number] = outcome
            self._waiting[outcome.number].set()
