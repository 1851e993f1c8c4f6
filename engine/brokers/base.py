"""The broker contract: one place per room that assigns offsets, keeps history and spreads what it accepted.

Owns the values that cross the contract and says what an implementation must keep. Must not know viewers, frames or sockets:
an event is opaque bytes here.

What every implementation promises (the contract suite in ``tests/brokers`` checks it):

- **Order.** A room's offsets count from 1 without holes within an epoch. All subscribers see the same events at the same
  offsets, in order; `Events` of one room join without hole or overlap as long as the subscription lasts.
- **Atomicity.** The events of one publish get consecutive offsets, or none does.
- **Idempotency.** An event whose key was published before gets its first offset again and is not stored twice. Keys are
  forgotten by count (``broker.retry_keys``), oldest first.
- **Epoch.** Positions of different epochs cannot be compared. A new epoch begins whenever a room's history may have been
  lost; no offset is ever given twice within an epoch.
- **Time.** Unix milliseconds of the broker's clock, never decreasing within a room.
- **Totals.** Each source reports its own cumulative likes and its present viewers; everybody gets the sums. Repeating a
  report changes nothing; a source that is gone keeps its likes and loses its viewers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from engine.errors import RoomcastError

__all__ = ["Broker", "Deliver", "Events", "History", "Pending", "Position", "Receipt", "Totals", "Unavailable"]


class Unavailable(RoomcastError):
    """The broker is out of reach. The same call may succeed later; a publish may be repeated only with keys."""


class Position(NamedTuple):
    """Where a room stands, or where a viewer is in it."""

    epoch: int
    offset: int


class Pending(Struct, frozen=True, gc=False):
    """An event on its way to an offset.

    :ivar event: MessagePack of a `engine.schema.Event`.
    :ivar session: with ``ref`` the key that makes a retry harmless; empty: no key.
    """

    event: bytes
    session: str = ""
    ref: int = 0


class Receipt(NamedTuple):
    """What became of a publish: ``offsets[i]`` is the offset of the i-th event, its first one if it was a retry."""

    epoch: int
    offsets: list[int]


class Events(Struct, frozen=True):
    """Consecutive events of one room, as delivered to subscribers.

    :ivar first: offset of ``events[0]``.
    :ivar times: Unix milliseconds of each event.
    """

    room: str
    epoch: int
    first: int
    events: list[bytes]
    times: list[int]

    @property
    def last(self) -> int:
        """Offset of the last event; ``first - 1`` if there is none."""
        return self.first + len(self.events) - 1


class Totals(Struct, frozen=True, gc=False):
    """A room's counters over all nodes, as delivered to subscribers."""

    room: str
    likes: int
    viewers: int


class History(NamedTuple):
    """A part of a room's past and where the room stands now.

    :ivar events: begins at the first kept offset after the one asked for: if ``events.first`` is larger than that plus one,
        what lies between is gone. Empty, with ``events.first`` one past the head, when nothing is newer.
    """

    head: Position
    events: Events


Deliver = Callable[["Events | Totals"], None]
"""Called by the broker, in order, for every room subscribed to. Must not block or raise."""


class Broker(ABC):
    """See the module's docstring for what holds. Methods raise `Unavailable` when the broker is out of reach."""

    @abstractmethod
    async def publish(self, room: str, events: Sequence[Pending]) -> Receipt:
        """Give the events their offsets, store and spread them. At least one event."""

    async def publish_all(self, batches: Mapping[str, Sequence[Pending]]) -> dict[str, Receipt | Unavailable]:
        """Publish to several rooms, each with an outcome of its own; at once where the broker is far away."""
        outcomes: dict[str, Receipt | Unavailable] = {}
        for room, events in batches.items():
            try:
                outcomes[room] = await self.publish(room, events)
            except Unavailable as error:
                outcomes[room] = error
        return outcomes

    @abstractmethod
    async def subscribe(self, room: str) -> Position:
        """Begin delivering a room. Everything after the returned position will be delivered; a `Totals` follows."""

    @abstractmethod
    async def unsubscribe(self, room: str) -> None:
        """Stop delivering a room and withdraw this source's viewers from its totals."""

    @abstractmethod
    async def history(self, room: str, after: int, limit: int) -> History:
        """Read at most ``limit`` events with offsets above ``after``, oldest first."""

    @abstractmethod
    async def report(self, room: str, likes: int, viewers: int) -> None:
        """Set this source's contribution to the totals of a subscribed room: likes since it started, viewers now."""

    async def report_all(self, reports: Mapping[str, tuple[int, int]]) -> None:
        """`report` likes and viewers of several rooms. Tries all before it raises."""
        failure: Unavailable | None = None
        for room, (likes, viewers) in reports.items():
            try:
                await self.report(room, likes, viewers)
            except Unavailable as error:
                failure = error
        if failure is not None:
            raise failure
