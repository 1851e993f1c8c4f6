"""The library of server-side functions as seen from a node: its name, its arguments, its answers, its records.

Owns the encoding in both directions; ``library.lua`` and the files beside it are the other end. Must not know connections.

The library's name carries the version of the data it keeps and a digest of its source, so that loading it is harmless however
often it is done, and nodes with different libraries work side by side on the same rooms as long as the version is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from engine.brokers.base import LIMITED, Conflict, Events, History, Pending, Position, Receipt, Record, RecordFull
from engine.brokers.budget import Budget
from engine.brokers.redis.spread import UnknownRecord, pack_body, read_record
from engine.brokers.redis.wire import Part
from engine.settings import BrokerSettings, RedisSettings

__all__ = ["BEGINNING", "VERSION", "Change", "Functions", "Request", "State", "library"]

VERSION: Final = 2
"""Of keys and what is in them. A change of it is another set of keys, so rooms begin new epochs. What is spread has versions
of its own."""
BEGINNING: Final = -1
"""Instead of an offset after which history is wanted: from the first event of the epoch."""
_SALTS: Final = 1_000
_FUNCTIONS: Final = ("publish", "history", "amend", "record", "report")
_PARTS: Final = ("library", "publish", "history", "record", "totals")
"""Files of the library, in the order in which they build upon each other."""


class Request(NamedTuple):
    """A call of a function, but for what only the connection knows.

    :ivar replicas: that must have what it wrote before it counts as answered.
    """

    before: tuple[Part, ...]
    after: tuple[Part, ...]
    replicas: int = 0

    def parts(self, lossless: bool) -> tuple[Part, ...]:
        """The command.

        :param lossless: whether a restart of this server keeps whatever it has answered.
        """
        return (*self.before, int(lossless), *self.after)


class State(NamedTuple):
    """Answer to a report: where the room stands, and its totals.

    :ivar time: of the room's clock.
    :ivar version: of the totals; larger is newer within an epoch.
    :ivar due_ms: the caller is to report again after that time, so that others learn the totals; 0: it need not.
    :ivar revision: of the room's record.
    """

    head: Position
    time: int
    version: int
    likes: int
    viewers: int
    withheld: int
    due_ms: int
    revision: int


class Change(NamedTuple):
    """What is to be done to a record, see `engine.brokers.base.Broker.amend`."""

    field: str
    value: bytes | None
    expires_ms: int
    expect: int | None


@cache
def library() -> tuple[str, str]:
    """Name and source of the library."""
    here = files(__package__)
    source = "\n".join(here.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS)
    name = f"roomcast_{VERSION}_{sha256(source.encode()).hexdigest()[:8]}"
    return name, source.replace("@LIBRARY@", name)


class Functions:
    """The requests of one node and the answers to them.

    :param publisher: incarnation of the node.
    :param random: an integer below its argument.
    :param now_ms: what rooms take for the time; None: the server's clock.
    :param budget: of each room, see `engine.brokers.budget.Budget`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        redis: RedisSettings,
        publisher: str,
        random: Callable[[int], int],
        now_ms: Callable[[], int] | None = None,
        budget: float = 0.0,
    ) -> None:
        self._publisher = publisher
        self._random = random
        self._now_ms = now_ms
        self._prefix = f"{redis.prefix}:{VERSION}"
        self._lease_ms = int(redis.lease_seconds * 1000)
        history_ms = int(settings.history_seconds * 1000)
        # A room is remembered while anybody may still count on it: its history, or its subscribers' leases.
        self._memory_ms = max(history_ms, 2 * self._lease_ms)
        self._budget = Budget(budget)
        kept = (settings.history_events, settings.history_bytes, history_ms)
        self._publish_limits = (settings.retry_keys, *kept, repr(float(budget)), self._budget.burst)
        self._record_limits = (settings.record_fields, settings.record_bytes)
        self._history_limits = (settings.history_events, history_ms)
        self._compress_bytes = redis.compress_bytes
        self._replicas = redis.wait_replicas
        self._totals_ms = int(redis.totals_seconds * 1000)
        self._names = {each: f"{library()[0]}_{each}" for each in _FUNCTIONS}

    def base(self, room: str) -> str:
        """What the keys of a room begin with. All are in one slot: the room is their hash tag."""
        # A tag ends at the first closing brace, and an empty one is none.
        return f"{self._prefix}:{{{room.replace('%', '%25').replace('}', '%7D')}}}"

    def channel(self, room: str) -> str:
        """The shard channel on which a room is spread, in the slot of its keys."""
        return f"{self.base(room)}:c"

    def _request(self, name: str, room: str, known: Position, *arguments: Part) -> Request:
        now = "" if self._now_ms is None else self._now_ms()
        # One key for all: it exists if anything of the room does, so it also says where the room is while its slot is moved.
        before = (b"FCALL", self._names[name], 1, f"{self.base(room)}:h", now, self._random(_SALTS), known.epoch, known.offset)
        return Request(before, (self._memory_ms, *arguments))

    def publish(self, room: str, known: Position, sequence: int, events: Sequence[Pending], *, plain: bool = False) -> Request:
        """Answered by what `receipt` reads.

        :param sequence: larger than those of all earlier publishes of this node to this room; the same in a retry.
        :param plain: do not compress.
        """
        body, packed = pack_body(events, 0 if plain else self._compress_bytes)
        keys = [f"{pending.ref} {pending.session}" if pending.session else "" for pending in events]
        if not any(keys):
            keys.clear()
        lanes = "".join([str(pending.lane) for pending in events]) if self._budget.per_second else ""
        if str(LIMITED) not in lanes:
            lanes = ""
        head = (self._publisher, sequence, *self._publish_limits, len(events), body, int(packed), lanes)
        return self._request("publish", room, known, *head, *keys)._replace(replicas=self._replicas)

    def history(self, room: str, known: Position, after: int, limit: int) -> Request:
        """Answered by what `past` reads."""
        return self._request("history", room, known, after, limit, *self._history_limits)

    def report(
        self, room: str, known: Position, subscription: str, viewers: int | None, likes: Mapping[str, int], ended: Iterable[str]
    ) -> Request:
        """Answered by what `state` reads.

        :param viewers: None: as many as were told last.
        :param likes: totals by source that the server does not have.
        :param ended: sources that will not be told again.
        """
        head = (subscription, "" if viewers is None else viewers, self._lease_ms, self._totals_ms, len(likes))
        return self._request("report", room, known, *head, *_chained(likes), *ended)

    def leave(self, room: str, known: Position, subscription: str, likes: Mapping[str, int]) -> Request:
        """As `report`, the last of this subscription."""
        head = (subscription, 0, 0, self._totals_ms, len(likes))
        return self._request("report", room, known, *head, *_chained(likes))

    def amend(self, room: str, known: Position, sequence: int, change: Change) -> Request:
        """Answered by what `amended` reads.

        :param sequence: larger than those of all earlier amendments of this node to this room; the same in a retry.
        """
        head = (f"{self._publisher}/r", sequence, change.field, int(change.value is not None), change.value or b"")
        expect = "" if change.expect is None else change.expect
        return self._request("amend", room, known, *head, change.expires_ms, expect, *self._record_limits)

    def record(self, room: str, known: Position) -> Request:
        """Answered by what `recorded` reads."""
        return self._request("record", room, known)

    @staticmethod
    def receipt(value: bytes, count: int) -> Receipt | None:
        """Read the answer to a publish of ``count`` events. None: nothing was done, for the server has to take it apart; it is
        to be sent again in plain."""
        if value == b"PLAIN":
            return None
        epoch, first, *others = map(int, value.split())
        if len(others) + 1 < count:
            return Receipt(epoch, list(range(first, first + count)))
        return Receipt(epoch, [first, *others])

    @staticmethod
    def past(room: str, value: list[bytes], limit: int) -> tuple[History, int]:
        """Read the answer to a question for history, and the room's time."""
        epoch, head, time, start = map(int, value[:4])
        events, times = list[bytes](), list[int]()
        first = 0
        for record in value[4:]:
            try:
                part = read_record(room, record)
            except UnknownRecord:
                # As if it were gone, and all before it: events join.
                events, times, first = [], [], 0
                continue
            skip = max(start - part.first, 0)
            first = first or part.first + skip
            events += part.events[skip:]
            times += part.times[skip:]
        return History(Position(epoch, head), Events(room, epoch, first or head + 1, events[:limit], times[:limit])), time

    @staticmethod
    def amended(value: bytes, change: Change) -> int:
        """Read the answer to an amendment: the revision. Raises `Conflict` and `RecordFull`."""
        outcome, rest = value.decode().split()
        if outcome == "full":
            raise RecordFull(rest)
        if outcome == "conflict":
            raise Conflict(change.expect or 0, int(rest))
        return int(rest)

    @staticmethod
    def recorded(room: str, value: list[bytes]) -> tuple[Position, int, Record]:
        """Read the answer to a question for a record: where the room stands, its time, the record."""
        epoch, head, time, revision = map(int, value[:4])
        fields = {field.decode(): content for field, content in zip(value[4::2], value[5::2], strict=True)}
        return Position(epoch, head), time, Record(room, revision, fields)

    @staticmethod
    def state(value: list[bytes]) -> State:
        """Read the answer to a report."""
        epoch, offset, *others = map(int, value)
        return State(Position(epoch, offset), *others)


def _chained(likes: Mapping[str, int]) -> Iterator[Part]:
    for source, total in likes.items():
        yield source
        yield total
