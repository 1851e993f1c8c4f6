"""The library of server-side functions as seen from a node: its name, its arguments, its answers, its records.

Owns the encoding in both directions; ``library.lua`` is the other end of it. Must not know connections.

The library's name carries the version of the data it keeps and a digest of its source, so that loading it is harmless however
often it is done, and nodes with different libraries work side by side on the same rooms as long as the version is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

import msgspec

from engine.brokers.base import Events, History, Pending, Position, Receipt
from engine.brokers.redis.wire import Part
from engine.settings import BrokerSettings, RedisSettings

__all__ = ["BEGINNING", "VERSION", "Functions", "Request", "State", "Told", "UnknownRecord", "library", "read_message"]

VERSION: Final = 1
"""Of keys, records and totals. A change of it is another set of keys, so rooms begin new epochs."""
BEGINNING: Final = -1
"""Instead of an offset after which history is wanted: from the first event of the epoch."""
_RECORD: Final = b"1"
_TOTALS: Final = b"t1"
_SALTS: Final = 1_000

_decode_bodies: Final = msgspec.msgpack.Decoder(list[bytes]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class UnknownRecord(Exception):
    """Something was written by a version that this one cannot read."""


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

    :ivar version: of the totals; larger is newer within an epoch.
    :ivar due_ms: the caller is to report again after that time, so that others learn the totals; 0: it need not.
    """

    head: Position
    version: int
    likes: int
    viewers: int
    due_ms: int


class Told(NamedTuple):
    """Totals as spread."""

    epoch: int
    version: int
    likes: int
    viewers: int


@cache
def library() -> tuple[str, str]:
    """Name and source of the library."""
    source = files(__package__).joinpath("library.lua").read_text(encoding="utf-8")
    name = f"roomcast_{VERSION}_{sha256(source.encode()).hexdigest()[:8]}"
    return name, source.replace("@LIBRARY@", name)


class Functions:
    """The requests of one node and the answers to them.

    :param publisher: incarnation of the node.
    :param random: an integer below its argument.
    :param now_ms: what rooms take for the time; None: the server's clock.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        redis: RedisSettings,
        publisher: str,
        random: Callable[[int], int],
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._publisher = publisher
        self._random = random
        self._now_ms = now_ms
        self._prefix = f"{redis.prefix}:{VERSION}"
        self._lease_ms = int(redis.lease_seconds * 1000)
        history_ms = int(settings.history_seconds * 1000)
        # A room is remembered while anybody may still count on it: its history, or its subscribers' leases.
        self._memory_ms = max(history_ms, 2 * self._lease_ms)
        self._publish_limits = (settings.retry_keys, settings.history_events, settings.history_bytes, history_ms)
        self._history_limits = (settings.history_events, history_ms)
        self._replicas = redis.wait_replicas
        self._totals_ms = int(redis.totals_seconds * 1000)
        self._names = {each: f"{library()[0]}_{each}" for each in ("publish", "history", "report")}

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

    def publish(self, room: str, known: Position, sequence: int, events: Sequence[Pending]) -> Request:
        """Answered by what `receipt` reads.

        :param sequence: larger than those of all earlier publishes of this node to this room; the same in a retry.
        """
        body = b"".join([_encode(pending.event) for pending in events])
        keys = [f"{pending.ref} {pending.session}" if pending.session else "" for pending in events]
        if not any(keys):
            keys.clear()
        head = (self._publisher, sequence, *self._publish_limits, len(events), body)
        return self._request("publish", room, known, *head, *keys)._replace(replicas=self._replicas)

    def history(self, room: str, known: Position, after: int, limit: int) -> Request:
        """Answered by what `past` reads."""
        return self._request("history", room, known, after, limit, *self._history_limits)

    def report(self, room: str, known: Position, source: str, likes: int, viewers: int, *, leave: bool = False) -> Request:
        """Answered by what `state` reads.

        :param source: one subscription of this node.
        """
        lease = 0 if leave else self._lease_ms
        return self._request("report", room, known, source, likes, viewers, lease, self._totals_ms)

    @staticmethod
    def receipt(value: bytes, count: int) -> Receipt:
        """Read the answer to a publish of ``count`` events."""
        epoch, first, *others = map(int, value.split())
        if len(others) + 1 < count:
            return Receipt(epoch, list(range(first, first + count)))
        return Receipt(epoch, [first, *others])

    @staticmethod
    def past(room: str, value: list[bytes], limit: int) -> History:
        """Read the answer to a question for history."""
        epoch, head, start = map(int, value[:3])
        events, times = list[bytes](), list[int]()
        first = 0
        for record in value[3:]:
            try:
                part = _read_record(room, record)
            except UnknownRecord:
                # As if it were gone, and all before it: events join.
                events, times, first = [], [], 0
                continue
            skip = max(start - part.first, 0)
            first = first or part.first + skip
            events += part.events[skip:]
            times += part.times[skip:]
        return History(Position(epoch, head), Events(room, epoch, first or head + 1, events[:limit], times[:limit]))

    @staticmethod
    def state(value: list[bytes]) -> State:
        """Read the answer to a report."""
        epoch, offset, *others = map(int, value)
        return State(Position(epoch, offset), *others)


def read_message(room: str, payload: bytes) -> Events | Told:
    """Read what was spread. Raises `UnknownRecord`."""
    if payload.startswith(_TOTALS + b" "):
        epoch, version, likes, viewers = map(int, payload.split()[1:5])
        return Told(epoch, version, likes, viewers)
    return _read_record(room, payload)


def _read_record(room: str, record: bytes) -> Events:
    try:
        version, *numbers, body = record.split(b" ", 5)
        if version != _RECORD:
            raise UnknownRecord(version[:16].decode("ascii", "replace"))
        epoch, first, count, time = map(int, numbers)
        events = _decode_bodies(_array(count) + body) if count else []
    except (ValueError, msgspec.DecodeError) as error:
        raise UnknownRecord(f"unreadable: {error}") from error
    return Events(room, epoch, first, events, [time] * count)


def _array(count: int) -> bytes:
    """Header of a MessagePack array."""
    return b"\xdd" + count.to_bytes(4, "big")
