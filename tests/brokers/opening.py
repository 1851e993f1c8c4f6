"""What the parts of the contract suite share: how a broker is opened, a clock, what was delivered.

Owns no promise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import dropwhile

import trio

from engine.brokers.base import Amended, Broker, Delivery, Events, Pending, Record, Tally, Totals
from engine.brokers.budget import UNLIMITED, Budget
from engine.settings import BrokerSettings

from .model import Seen

__all__ = ["PATIENCE", "Clock", "Deliveries", "Opening", "comments"]

PATIENCE = 20.0
"""Seconds until a delivery that never comes fails the test."""


class Clock:
    """Unix milliseconds, set by the test."""

    def __init__(self, ms: int = 1_700_000_000_000) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


class Deliveries:
    """What a broker delivered, in order. Not every broker delivers before its methods return, so tests wait."""

    def __init__(self) -> None:
        self.all: list[Delivery] = []
        self._came = trio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.all.append(delivery)
        self._came.set()

    def events(self, room: str) -> list[Events]:
        return [item for item in self.all if isinstance(item, Events) and item.room == room]

    def totals(self, room: str) -> list[Totals]:
        return [item for item in self.all if isinstance(item, Totals) and item.room == room]

    def counts(self, room: str) -> list[tuple[int, int]]:
        """Likes and viewers."""
        return [(totals.likes, totals.viewers) for totals in self.totals(room)]

    def tallies(self, room: str) -> dict[str, tuple[int, ...]]:
        """As they were delivered last."""
        return {item.name: item.counts for item in self.all if isinstance(item, Tally) and item.room == room}

    def records(self, room: str) -> list[Record | Amended]:
        return [item for item in self.all if isinstance(item, Record | Amended) and item.room == room]

    def record(self, room: str) -> dict[str, bytes]:
        """The room's record, by what was delivered: a whole one, and amendments that join."""
        seen = Seen()
        for delivery in dropwhile(lambda item: not isinstance(item, Record), self.records(room)):
            seen.take(delivery)
        assert seen.revision >= 0
        return seen.values

    def bodies(self, room: str) -> list[bytes]:
        return [body for events in self.events(room) for body in events.events]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what came makes ``condition`` true."""
        with trio.fail_after(PATIENCE):
            while not condition():
                await self._came.wait()
                self._came = trio.Event()


def comments(*bodies: str, session: str = "", ref: int = 0, lane: int = 0) -> list[Pending]:
    return [Pending(body.encode(), session, ref + number if session else 0, lane) for number, body in enumerate(bodies)]


class Opening(ABC):
    """How a broker is opened, and how it loses a room."""

    @abstractmethod
    def open(
        self, settings: BrokerSettings, deliver: Deliveries, clock: Clock, budget: Budget = UNLIMITED
    ) -> AbstractAsyncContextManager[Broker]:
        """A broker with no rooms."""

    def another(
        self, broker: Broker, settings: BrokerSettings, deliver: Deliveries, clock: Clock, budget: Budget = UNLIMITED
    ) -> AbstractAsyncContextManager[Broker]:
        """A broker of another node with the same rooms."""
        return self.open(settings, deliver, clock, budget)

    @abstractmethod
    async def lose(self, broker: Broker, room: str, settings: BrokerSettings, clock: Clock) -> None:
        """Let as much time pass, and whatever else it takes, that a room nobody watches has lost its history."""
