"""The library of server-side functions as seen from a node: its name, its arguments, its answers, its records.

Owns the encoding in both directions; ``library.lua`` and the files beside it are the other end. Must not know connections.

The library's name carries the version of the data it keeps and a digest of its source, so that loading it is harmless however
often it is done, and nodes with different libraries work side by side on the same rooms as long as the version is the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from engine.brokers.base import FREE, Ballot, Conflict, Events, History, Pending, Position, Receipt, Record, RecordFull
from engine.brokers.budget import UNLIMITED, Budget
from engine.brokers.redacted import REDACTED
from engine.brokers.redis.share import News
from engine.brokers.redis.spread import Counted, Told, UnknownRecord, pack_body, read_counts, read_record, read_told
from engine.brokers.redis.wire import Part
from engine.settings import BrokerSettings, RedisSettings

__all__ = ["BEGINNING", "VERSION", "Change", "Functions", "Outcome", "Request", "State", "library"]

VERSION: Final = 3
"""Of keys and what is in them. A change of it is another set of keys, so rooms begin new epochs. What is spread has versions
of its own."""
BEGINNING: Final = -1
"""Instead of an offset after which history is wanted: from the first event of the epoch."""
_SALTS: Final = 1_000
_YES: Final = ord("1")
_KEEP_BIT: Final = 6
"""A ballot is a byte: what to keep, then the choice."""
_FUNCTIONS: Final = (
    "publish",
    "published",
    "history",
    "redact",
    "amend",
    "record",
    "cast",
    "discard",
    "tallies",
    "voters",
    "report",
)
_PARTS: Final = ("library", "budget", "publish", "history", "record", "tallies", "totals")
"""Files of the library, in the order in which they build upon each other."""
_FREE: Final = "."
_LIMITED: Final = ord("0")
"""Lanes as ``budget.lua`` knows them: a character for each event, that of the lane `LIMITED` higher by the reserve."""


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
    :ivar due_ms: the caller is to report again after that time, so that others learn totals and tallies; 0: it need not.
    :ivar revision: of the room's record.
    :ivar tallied: version of the tallies that was spread.
    """

    head: Position
    time: int
    due_ms: int
    revision: int
    tallied: int
    totals: Told


class Outcome(NamedTuple):
    """Answer to ballots.

    :ivar due_ms: the caller is to report after that time, so that others learn the tallies; 0: it need not.
    :ivar counted: of each.
    """

    head: Position
    due_ms: int
    counted: list[bool]


class Change(NamedTuple):
    """What is to be done to a record, see `engine.brokers.base.Broker.amend`."""

    field: str
    value: bytes | None
    expires_ms: int = 0
    expect: int | None = None
    event: Pending | None = None


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
        budget: Budget = UNLIMITED,
    ) -> None:
        self._publisher = publisher
        self._random = random
        self._now_ms = now_ms
        self._prefix = f"{redis.prefix}:{VERSION}"
        self._names = {each: f"{library()[0]}_{each}" for each in _FUNCTIONS}
        self.adopt(settings, redis, budget)

    def adopt(self, settings: BrokerSettings, redis: RedisSettings, budget: Budget) -> None:
        """Take other settings; where rooms live stays the same."""
        self._lease_ms = int(redis.lease_seconds * 1000)
        history_ms = int(settings.history_seconds * 1000)
        # A room is remembered while anybody may still count on it: its history, or its subscribers' leases.
        self._memory_ms = max(history_ms, 2 * self._lease_ms)
        self._budget = budget
        kept = (settings.history_events, settings.history_bytes, history_ms)
        self._publish_limits = (settings.retry_keys, *kept, repr(float(budget.events)), repr(float(budget.bytes)))
        self._record_limits = (settings.record_fields, settings.record_bytes)
        self._tallies_max = settings.tallies
        self._history_limits = (settings.history_events, history_ms)
        self._compress_bytes = redis.compress_bytes
        self._replicas = redis.wait_replicas
        self._totals_ms = int(redis.totals_seconds * 1000)

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
        keys = [_key(pending) for pending in events]
        if not any(keys):
            keys.clear()
        lanes = "".join([_lane(pending) for pending in events]) if any(self._budget) else ""
        sizes = " ".join([str(len(pending.event)) for pending in events]) if self._budget.bytes else ""
        head = (self._publisher, sequence, *self._publish_limits, len(events), body, int(packed), lanes, sizes)
        return self._request("publish", room, known, *head, *keys)._replace(replicas=self._replicas)

    def history(self, room: str, known: Position, after: int, limit: int) -> Request:
        """Answered by what `past` reads."""
        return self._request("history", room, known, after, limit, *self._history_limits)

    def report(self, room: str, known: Position, subscription: str, news: News) -> Request:
        """Answered by what `state` reads."""
        viewers = "" if news.viewers is None else news.viewers
        return self._request("report", room, known, subscription, viewers, self._lease_ms, self._totals_ms, *_told(news))

    def leave(self, room: str, known: Position, subscription: str, news: News) -> Request:
        """As `report`, the last of this subscription."""
        return self._request("report", room, known, subscription, 0, 0, self._totals_ms, *_told(news))

    def cast(self, room: str, known: Position, ballots: Sequence[Ballot], present: bool) -> Request:
        """Answered by what `outcome` reads.

        :param present: whether this node reports for the room.
        """
        head = (self._totals_ms if present else 0, self._tallies_max)
        return self._request("cast", room, known, *head, *_grouped(ballots))

    def tallies(self, room: str, known: Position) -> Request:
        """Answered by what `counted` reads."""
        return self._request("tallies", room, known)

    def discard(self, room: str, known: Position, tally: str) -> Request:
        """Answered by whether it was there."""
        return self._request("discard", room, known, tally)

    def voters(self, room: str, known: Position, tally: str, cursor: bytes, limit: int) -> Request:
        """Answered by what `voted` reads.

        :param cursor: ``b"0"`` to begin with, then what the last answer said.
        """
        return self._request("voters", room, known, tally, cursor, limit)

    def amend(self, room: str, known: Position, sequence: int, change: Change) -> Request:
        """Answered by what `amended` reads.

        :param sequence: larger than those of all earlier amendments and redactions of this node to this room; the same in a
            retry.
        """
        head = (f"{self._publisher}/r", sequence, change.field, int(change.value is not None), change.value or b"")
        limits = (change.expires_ms, "" if change.expect is None else change.expect, *self._record_limits)
        if change.event is None:
            return self._request("amend", room, known, *head, *limits)
        request = self._request("amend", room, known, *head, *limits, *self._event(change.event))
        return request._replace(replicas=self._replicas)

    def published(self, room: str, known: Position, session: str, ref: int) -> Request:
        """Answered by an offset."""
        return self._request("published", room, known, _key(Pending(b"", session, ref)))

    def redact(self, room: str, known: Position, sequence: int, offsets: Iterable[int], event: Pending) -> Request:
        """Answered by what `receipt` reads.

        :param sequence: as that of an amendment.
        """
        head = (f"{self._publisher}/r", sequence, " ".join([str(offset) for offset in offsets if offset > 0]))
        return self._request("redact", room, known, *head, *self._event(event))._replace(replicas=self._replicas)

    def _event(self, event: Pending) -> tuple[Part, ...]:
        """One that is published by the way."""
        body, packed = pack_body([event], self._compress_bytes)
        return (*self._publish_limits, body, int(packed), len(event.event), _key(event))

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
    def past(room: str, value: list[bytes], limit: int) -> tuple[History, int, int]:
        """Read the answer to a question for history: also the room's time, and the revision of its record."""
        epoch, head, time, revision, start = map(int, value[:5])
        redacted = [int(offset) for offset in value[5].split()]
        events, times = list[bytes](), list[int]()
        first = 0
        for record in value[6:]:
            try:
                part = read_record(room, record)
            except UnknownRecord:
                # As if it were gone, and all before it: events join.
                events, times, first = [], [], 0
                continue
            for offset in redacted[bisect_left(redacted, part.first) : bisect_right(redacted, part.last)]:
                part.events[offset - part.first] = REDACTED
            skip = max(start - part.first, 0)
            first = first or part.first + skip
            events += part.events[skip:]
            times += part.times[skip:]
        page = Events(room, epoch, first or head + 1, events[:limit], times[:limit])
        return History(Position(epoch, head), page), time, revision

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
    def state(room: str, value: list[bytes]) -> State:
        """Read the answer to a report."""
        epoch, offset, time, due_ms, revision, tallied = map(int, value[:6])
        return State(Position(epoch, offset), time, due_ms, revision, tallied, read_told(room, value[6]))

    @staticmethod
    def outcome(value: list[bytes], ballots: Sequence[Ballot]) -> Outcome:
        """Read the answer to ballots. Raises `RecordFull`."""
        epoch, offset, due_ms = map(int, value[:3])
        if not value[3]:
            raise RecordFull("tallies")
        answers = iter(value[3])
        counted = [False] * len(ballots)
        for places in _places(ballots).values():
            for place in places:
                counted[place] = next(answers) == _YES
        return Outcome(Position(epoch, offset), due_ms, counted)

    @staticmethod
    def counted(value: list[bytes]) -> tuple[Position, int, Counted]:
        """Read the answer to a question for tallies: where the room stands, its time, all tallies."""
        epoch, offset, time, version = map(int, value[:4])
        return Position(epoch, offset), time, Counted(epoch, 0, version, read_counts([text.decode() for text in value[4:]]))

    @staticmethod
    def voted(value: list[bytes]) -> tuple[int, bytes, dict[str, int]]:
        """Read the answer to a question for voters: how many there are, where to go on, ``b"0"`` at the end, who chose what."""
        choices = {voter.decode(): int(choice) for voter, choice in zip(value[4::2], value[5::2], strict=True)}
        return int(value[2]), value[3], choices


def _key(pending: Pending) -> str:
    return f"{pending.ref} {pending.session}" if pending.session else ""


def _lane(pending: Pending) -> str:
    return _FREE if pending.lane == FREE else chr(_LIMITED + pending.reserve)


def _told(news: News) -> Iterator[Part]:
    yield from (len(news.arrivals), len(news.sources))
    yield from news.arrivals
    for source, (likes, reactions) in news.sources.items():
        yield from (source, likes, len(reactions))
        for name, total in reactions.items():
            yield from (name, total)
    yield from news.ended


def _places(ballots: Sequence[Ballot]) -> dict[str, list[int]]:
    """Where the ballots of each tally are."""
    places: dict[str, list[int]] = {}
    for place, ballot in enumerate(ballots):
        places.setdefault(ballot.tally, []).append(place)
    return places


def _grouped(ballots: Sequence[Ballot]) -> Iterator[Part]:
    groups = _places(ballots)
    yield len(groups)
    for name, places in groups.items():
        yield name
        yield bytes([ballots[place].keep << _KEEP_BIT | ballots[place].choice for place in places])
        for place in places:
            yield ballots[place].voter
