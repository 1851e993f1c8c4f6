"""The broker contract: one place per room that assigns offsets, keeps history and spreads what it accepted.

Owns the values that cross the contract and says what an implementation must keep. Must not know viewers, frames or sockets:
an event is opaque bytes here.

What every implementation promises (the contract suite in ``tests/brokers`` checks it):

- **Order.** A room's offsets count from 1 without holes within an epoch. All subscribers see the same events at the same
  offsets, in order; `Events` of one room join without hole or overlap as long as the subscription lasts.
- **Atomicity.** The events of one publish that get offsets get consecutive ones, or none does.
- **Budget.** A room has a budget of events and one of bytes (``limits.room_events_per_second``, ``room_bytes_per_second``; all
  nodes together; one second's worth at once). Events of the lane `FREE` always fit, and leave less for others: up to a second's
  worth of debt. One of the lane `LIMITED` fits if what it takes and its *reserve* are there; if that is more than there ever
  is, it fits while the budget is untouched. One that does not fit is *withheld*: it gets no place in the room, and its key is
  not remembered, so that a retry is a new attempt. How many were withheld, and for want of which budget, is part of the totals.
- **Idempotency.** An event whose key was published before gets its first offset again and is not stored twice. Keys are
  forgotten by count (``broker.retry_keys``), oldest first.
- **Epoch.** Positions of different epochs cannot be compared. A new epoch begins whenever a room's history may have been
  lost; no offset is ever given twice within an epoch.
- **Time.** Unix milliseconds of the broker's clock, never decreasing within a room. `now_ms` tells a subscribed room's, as well
  as it is known here, whatever the clock of this machine says.
- **Totals.** Everybody gets the sums over all nodes. Viewers are those of the subscriptions at present. Likes are counted by
  *sources*, named by those who count, each with a total that only grows: the most that was ever told of a source counts, so
  that repeating a report, telling it through another node or telling an older one late changes nothing. A source that is not
  told any more keeps its likes; when too many of these are remembered the oldest merge into the sum for good.
- **Counts of who came.** ``peak`` is the most viewers there ever were at once, over all nodes; ``unique`` an estimate of how
  many different users came (HyperLogLog, Flajolet et al. 2007; a standard error of 1 %).
- **Tallies.** A room has named tallies: who chose what. `Keep.FIRST`: a voter's first choice stands. `Keep.LARGEST`: a larger
  choice replaces a smaller one. Counts are exact, over all nodes; subscribers get a `Tally` for each at first and whenever one
  has changed, the newest at the latest ``redis.totals_seconds`` after it. Counts of an older moment never come after those of a
  newer one. A tally lives as long as the room is remembered.
- **Redaction.** What is redacted is an `engine.schema.OmittedEvent` in every `history` from then on; its offset stays.
- **Record.** A room has a small map of named fields. Every change has a *revision*, one more than the one before. Subscribers
  get a `Record` at first and after anything missed, and every `Amended` in between, in order and without hole. Fields may
  expire, by the broker's clock, which is an amendment like any other and comes a while later at the latest. A record outlives
  a change of epoch unless it was lost too, and lives as long as the room is remembered, or as what expires last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import trio
from msgspec import Struct

from engine.errors import RoomcastError
from engine.settings import Settings

__all__ = [
    "FREE",
    "LIMITED",
    "NO_BYTES",
    "NO_EVENTS",
    "Amended",
    "Ballot",
    "Broker",
    "Conflict",
    "Deliver",
    "Delivery",
    "Events",
    "History",
    "Keep",
    "Pending",
    "Position",
    "Receipt",
    "Record",
    "RecordFull",
    "Report",
    "Tally",
    "Totals",
    "Unavailable",
]


FREE: Final = 0
"""Lane of events that always get an offset."""
LIMITED: Final = 1
"""Lane of events that get one if the room's budget has one left."""
NO_EVENTS: Final = -1
"""Instead of an offset: withheld for want of the budget of events."""
NO_BYTES: Final = -2
"""Instead of an offset: withheld for want of the budget of bytes."""


class Unavailable(RoomcastError):
    """The broker is out of reach. The same call may succeed later; a publish may be repeated only with keys."""


class Conflict(RoomcastError):
    """A record is at another revision than was expected.

    :ivar revision: that it is at.
    """

    def __init__(self, expected: int, revision: int) -> None:
        super().__init__(f"the record is at revision {revision}, not {expected}")
        self.revision = revision


class RecordFull(RoomcastError):
    """A field does not fit into a record, or a tally into a room. The text names the setting."""

    def __init__(self, setting: str) -> None:
        super().__init__(f"the room's record is full (broker.{setting})")


class Position(NamedTuple):
    """Where a room stands, or where a viewer is in it."""

    epoch: int
    offset: int


class Pending(Struct, frozen=True, gc=False):
    """An event on its way to an offset.

    :ivar event: MessagePack of a `engine.schema.Event`.
    :ivar session: with ``ref`` the key that makes a retry harmless; empty: no key.
    :ivar lane: `FREE` or `LIMITED`.
    :ivar reserve: what must be left of the room's budget after it, in 64ths of one second's worth; 0..63.
    """

    event: bytes
    session: str = ""
    ref: int = 0
    lane: int = FREE
    reserve: int = 0


class Receipt(NamedTuple):
    """What became of a publish: ``offsets[i]`` is the offset of the i-th event, its first one if it was a retry, `NO_EVENTS` or
    `NO_BYTES` (both negative) if it was withheld."""

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
    """A room's counters over all nodes, as delivered to subscribers.

    :ivar withheld: events that did not fit so far, for want of the budget of events, and of bytes.
    :ivar peak: most viewers at once; ``unique`` how many users came, an estimate.
    :ivar reactions: given so far, by name.
    """

    room: str
    likes: int
    viewers: int
    withheld: tuple[int, int] = (0, 0)
    peak: int = 0
    unique: int = 0
    reactions: dict[str, int] = {}


class Tally(Struct, frozen=True):
    """A tally over all nodes, as delivered to subscribers.

    :ivar counts: how many chose 0, 1, 2 …
    """

    room: str
    name: str
    counts: tuple[int, ...]


class Keep(IntEnum):
    """Which of a voter's choices counts."""

    FIRST = 0
    LARGEST = 1


class Ballot(Struct, frozen=True, gc=False):
    """One choice in one tally.

    :ivar tally: name, at most 96 characters.
    :ivar choice: 0..63.
    """

    tally: str
    voter: str
    choice: int = 0
    keep: Keep = Keep.FIRST


class Record(Struct, frozen=True):
    """A room's record, as delivered to subscribers.

    :ivar revision: of its last change; 0: there was none.
    """

    room: str
    revision: int
    fields: dict[str, bytes]


class Amended(Struct, frozen=True, gc=False):
    """A change of a room's record.

    :ivar value: None: the field is gone.
    """

    room: str
    revision: int
    field: str
    value: bytes | None


class History(NamedTuple):
    """A part of a room's past and where the room stands now.

    :ivar events: begins at the first kept offset after the one asked for: if ``events.first`` is larger than that plus one,
        what lies between is gone. Empty, with ``events.first`` one past the head, when nothing is newer.
    """

    head: Position
    events: Events


class Report(Struct, frozen=True):
    """This node's part in the totals of a room.

    :ivar likes: total by source, of all sources that count here at present. One that is left out will not be told again, as
        far as this node knows.
    :ivar viewers: now.
    :ivar reactions: total by source and name; at most 64 names in a room count.
    :ivar arrivals: users who came since the last report; one who is told again does no harm.
    """

    likes: Mapping[str, int] = {}
    viewers: int = 0
    reactions: Mapping[str, Mapping[str, int]] = {}
    arrivals: Sequence[str] = ()


Delivery = Events | Totals | Tally | Record | Amended

Deliver = Callable[[Delivery], None]
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

    def adopt(self, settings: Settings) -> None:  # noqa: B027  # one without settings has nothing to do
        """Take other settings, of which only those differ that can change while rooms are open (`engine.reload`)."""

    def traffic(self) -> dict[str, int]:
        """What it has exchanged with its server so far: ``requests`` and ``pushes``, the bytes ``sent`` and ``received``, and
        ``reads`` of history for want of a push. Empty if it has none."""
        return {}

    async def reach(self) -> None:
        """Wait until the broker answers; at once where it is in the process."""
        await trio.lowlevel.checkpoint()

    @abstractmethod
    async def subscribe(self, room: str) -> Position:
        """Begin delivering a room: a `Totals`, a `Record`, and everything after the returned position."""

    @abstractmethod
    async def unsubscribe(self, room: str) -> None:
        """Stop delivering a room and withdraw this subscription's viewers from its totals."""

    @abstractmethod
    def now_ms(self, room: str) -> int:
        """The time in a subscribed room; 0 before the broker has told it."""

    @abstractmethod
    async def history(self, room: str, after: int, limit: int) -> History:
        """Read at most ``limit`` events with offsets above ``after``, oldest first."""

    @abstractmethod
    async def report(self, room: str, report: Report) -> None:
        """Tell this node's part in the totals of a subscribed room."""

    async def report_all(self, reports: Mapping[str, Report]) -> None:
        """`report` several rooms. Tries all before it raises."""
        failure: Unavailable | None = None
        for room, report in reports.items():
            try:
                await self.report(room, report)
            except Unavailable as error:
                failure = error
        if failure is not None:
            raise failure

    @abstractmethod
    async def cast(self, room: str, ballots: Sequence[Ballot]) -> list[bool]:
        """Take part in tallies of a room; return of each whether its choice counts: it is the voter's first, replaces a smaller
        one, or is what the voter had chosen before. Repeating it is harmless.

        :raises RecordFull: ``broker.tallies`` would be exceeded; if there are very many ballots, some may count nevertheless.
        :raises ValueError: the name of a tally is too long, or a choice too large.
        """

    @abstractmethod
    async def voters(self, room: str, tally: str, limit: int) -> dict[str, int]:
        """Who chose what; empty if they are more than ``limit``."""

    @abstractmethod
    async def discard(self, room: str, tally: str) -> None:
        """Forget a tally: nobody asks for it any more. A choice that comes later begins it anew."""

    @abstractmethod
    async def published(self, room: str, session: str, ref: int) -> int:
        """Offset of the event that was published with this key, 0 if none is remembered."""

    @abstractmethod
    async def redact(self, room: str, offsets: Sequence[int], event: Pending) -> int:
        """Let the events at these offsets be gone from the history, and publish ``event`` in the same step; returns its offset.
        Offsets that are not kept, or are redacted already, are left alone. With a key that was published before nothing is
        done."""

    @abstractmethod
    async def amend(
        self,
        room: str,
        field: str,
        value: bytes | None,
        expires_ms: int = 0,
        expect: int | None = None,
        event: Pending | None = None,
    ) -> int:
        """Set a field of a room's record, and return the revision that the record has then.

        :param event: published in the same step, if that is a change: both happen, or neither. If its key was published before,
            nothing is done, whatever is expected. Its lane does not matter.
        :param value: None deletes the field; one that is not there stays so without a change.
        :param expires_ms: milliseconds from now after which it goes by itself; 0: it stays.
        :param expect: the revision on which this builds; with another the room is left alone.
        :raises Conflict: the record is at another revision than expected.
        :raises RecordFull: ``broker.record_fields`` or ``broker.record_bytes`` would be exceeded.
        """
