"""What the viewers of one process have seen: the order they share, and how each viewer's bytes are checked against it.

Owns the learnt order and the reading of server frames. Sans-IO: bytes come in, counts come out. Must not know sockets,
nor any server's protocol: `Audience.decode` turns a message into claims.

Servers that broadcast send nearly everybody the same bytes in the same order. The first viewer who gets a frame has it
parsed, decoded and checked, and appends it to the order, which is kept as one stream of bytes. Every other viewer is a
position in that stream: what it reads must be what stands there, however the kernel cut it, and one comparison checks a
read of any number of frames. A viewer whose frames differ from the order at one point leaves it for good: from then on it
has a ledger of its own, and every frame counts for itself. So a server that gives viewers different orders, drops or
doubles is counted right, only more slowly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from time import monotonic_ns
from typing import Any
from zlib import crc32

from bench.generator.wire import CLOSE, WireError, header_at
from bench.histogram import Histogram
from bench.peers.payload import Claim

__all__ = ["Audience", "Ledger", "Order", "Reader", "Tally"]

SLOT_SHIFT = 18
"""Receipts are counted in slots of 2^18 ns, a quarter of a millisecond."""
KNOWN_MAX = 1024
"""Distinct frames outside the order that are remembered decoded; one frame is sent to everybody within a short time."""
Claims = tuple[Claim | None, ...]
"""Of one frame; None stands for an altered text."""


@dataclass(slots=True)
class Tally:
    """Counts since the last mark. A delivery is one message at one viewer, each message once.

    :ivar frames: data frames that carried messages; ``other_frames`` are all others (answers, heartbeats).
    :ivar reads: ``recv`` calls that returned data.
    """

    deliveries: int = 0
    doubled: int = 0
    reordered: int = 0
    altered: int = 0
    frames: int = 0
    other_frames: int = 0
    reads: int = 0
    wire_bytes: int = 0
    last_ns: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def dump(self) -> dict[str, Any]:
        """As JSON; the histogram as `Histogram.dump`."""
        return asdict(self) | {"latency": self.latency.dump()}

    def merge(self, dumped: Mapping[str, Any]) -> None:
        """Add what was dumped elsewhere."""
        self.latency.merge(Histogram.load(dumped["latency"]))
        self.last_ns = max(self.last_ns, dumped["last_ns"])
        for one in fields(self):
            if one.name not in ("latency", "last_ns"):
                setattr(self, one.name, getattr(self, one.name) + dumped[one.name])


class Noted:
    """What one frame means to one who has seen all before it."""

    __slots__ = ("altered", "deliveries", "doubled", "intended", "reordered")

    def __init__(self) -> None:
        self.deliveries = self.doubled = self.reordered = self.altered = 0
        self.intended: dict[int, int] = {}

    def count(self, tally: Tally, slot: int, times: int) -> None:
        """Count it as received ``times`` times in one slot."""
        tally.frames += times
        tally.deliveries += self.deliveries * times
        tally.doubled += self.doubled * times
        tally.reordered += self.reordered * times
        tally.altered += self.altered * times
        tally.last_ns = max(tally.last_ns, (slot + 1) << SLOT_SHIFT)
        middle = (slot << SLOT_SHIFT) + (1 << SLOT_SHIFT >> 1)
        for intended, messages in self.intended.items():
            tally.latency.add((middle - intended) // 1000, messages * times)


class Ledger:
    """The messages that one reader has seen: (publisher, sequence), and each publisher's highest number."""

    __slots__ = ("_latest", "seen")

    def __init__(self) -> None:
        self.seen: set[tuple[int, int]] = set()
        self._latest: dict[int, int] = {}

    def note(self, claims: Claims) -> Noted:
        """Enter the messages of one frame.

        A message seen before is doubled; a new one whose publisher was already seen with a higher number is reordered.
        """
        noted = Noted()
        for claim in claims:
            if claim is None:
                noted.altered += 1
                continue
            publisher, sequence, intended = claim
            if (publisher, sequence) in self.seen:
                noted.doubled += 1
                continue
            self.seen.add((publisher, sequence))
            noted.deliveries += 1
            noted.intended[intended] = noted.intended.get(intended, 0) + 1
            if sequence < self._latest.get(publisher, 0):
                noted.reordered += 1
            else:
                self._latest[publisher] = sequence
        return noted

    def missing(self, published: Mapping[int, int]) -> int:
        """How many of each publisher's messages 1 … ``published`` were not seen."""
        return sum(published.values()) - sum(sequence <= published.get(publisher, 0) for publisher, sequence in self.seen)


class Order:
    """The frames in the order in which this process first met them.

    :ivar stream: all of them, header and payload, one after the other.
    :ivar ends: where in the stream each one ends.
    :ivar totals: distinct messages in the first 0, 1, 2 … frames.
    """

    __slots__ = ("_claims", "_crossings", "_ledger", "_noted", "ends", "stream", "totals")

    def __init__(self) -> None:
        self.stream = bytearray()
        self.ends: list[int] = []
        self.totals = [0]
        self._claims: list[Claims] = []
        self._noted: list[Noted] = []
        self._ledger = Ledger()
        self._crossings: dict[tuple[int, int, int], int] = {}

    def start(self, place: int) -> int:
        """Where in the stream the frame at a place begins."""
        return self.ends[place - 1] if place else 0

    def learn(self, raw: bytes, claims: Claims) -> None:
        """Append a frame."""
        noted = self._ledger.note(claims)
        self.stream += raw
        self.ends.append(len(self.stream))
        self.totals.append(self.totals[-1] + noted.deliveries)
        self._claims.append(claims)
        self._noted.append(noted)

    def cross(self, first: int, stop: int, slot: int) -> None:
        """A viewer has received the frames ``first`` … ``stop - 1``."""
        key = (first, stop, slot)
        self._crossings[key] = self._crossings.get(key, 0) + 1

    def fold(self, tally: Tally) -> None:
        """Turn the crossings into counts and forget them."""
        crossings, self._crossings = self._crossings, {}
        receipts: dict[tuple[int, int], int] = {}
        for (first, stop, slot), times in crossings.items():
            for place in range(first, stop):
                key = (place, slot)
                receipts[key] = receipts.get(key, 0) + times
        for (place, slot), times in receipts.items():
            self._noted[place].count(tally, slot, times)

    def ledger(self, place: int) -> Ledger:
        """What somebody has seen who followed the order up to a place."""
        ledger = Ledger()
        for claims in self._claims[:place]:
            ledger.note(claims)
        return ledger

    def digest(self) -> int:
        """The same in every process that learnt the same messages in the same order, however they were framed."""
        digest = 0
        for claims in self._claims:
            for claim in claims:
                digest = crc32(repr(claim).encode(), digest)
        return digest


class Audience:
    """What all viewers of a process share.

    :param decode: payload of a data frame → its claims; None when it carries no message. Raises ValueError, TypeError,
        KeyError or IndexError when it makes no sense.
    :param clock: nanoseconds.
    """

    __slots__ = ("_decode", "_known", "clock", "order", "past", "tally")

    def __init__(self, decode: Callable[[bytes], Claims | None], clock: Callable[[], int] = monotonic_ns) -> None:
        self._decode = decode
        self._known: OrderedDict[bytes, Claims | None] = OrderedDict()
        self.clock = clock
        self.order = Order()
        self.tally = Tally()
        self.past = Tally()

    def decode(self, raw: bytes, payload: bytes) -> Claims | None:
        """The claims of a frame; each distinct frame is decoded once."""
        if raw in self._known:
            return self._known[raw]
        claims = self._known[raw] = self._decode(payload)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return claims

    def settle(self) -> Tally:
        """Bring the counts up to date and return them."""
        self.order.fold(self.tally)
        return self.tally

    def mark(self) -> None:
        """Begin counting anew; positions stay."""
        self.past.merge(self.settle().dump())
        self.tally = Tally()

    def missing(self, readers: Iterable[Reader], published: Mapping[int, int]) -> dict[int, int]:
        """Index of each reader that has not all → how many messages it misses."""
        found: dict[int, int] = {}
        at: dict[int, int] = {}
        for number, reader in enumerate(readers):
            if reader.own is not None:
                lost = reader.own.missing(published)
            else:
                if reader.place not in at:
                    at[reader.place] = self.order.ledger(reader.place).missing(published)
                lost = at[reader.place]
            if lost:
                found[number] = lost
        return found


class Reader:
    """One viewer's bytes after the upgrade.

    :ivar position: how far in the order's stream this viewer's bytes are equal to it.
    :ivar place: how many frames of the order it has received.
    :ivar own: its own ledger once it has left the order.
    """

    __slots__ = ("audience", "own", "place", "position", "tail")

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self.position = 0
        self.place = 0
        self.tail = b""
        self.own: Ledger | None = None

    @property
    def received(self) -> int:
        """Distinct messages so far."""
        return len(self.own.seen) if self.own is not None else self.audience.order.totals[self.place]

    def feed(self, data: bytes) -> None:
        """Take what was read. Raises `WireError`, or what `Audience.decode` raises."""
        audience = self.audience
        tally = audience.tally
        tally.reads += 1
        tally.wire_bytes += len(data)
        order = audience.order
        if self.own is None and not self.tail and order.stream.startswith(data, self.position):
            self._advance(order, self.position + len(data))
        else:
            self._parse(data)

    def _advance(self, order: Order, position: int) -> None:
        self.position = position
        if position >= order.ends[self.place]:
            place = bisect_right(order.ends, position, self.place)
            order.cross(self.place, place, self.audience.clock() >> SLOT_SHIFT)
            self.place = place

    def _parse(self, data: bytes) -> None:
        order = self.audience.order
        if self.own is None and not self.tail:
            start = order.start(self.place)
            data = bytes(order.stream[start : self.position]) + data
            self.position = start
        else:
            data, self.tail = self.tail + data, b""
        at = 0
        while at < len(data):
            if self.own is None and self.place < len(order.ends) and order.stream.startswith(data[at:], self.position):
                self._advance(order, self.position + len(data) - at)
                return
            header = header_at(data, at)
            if header is None:
                self.tail = data[at:]
                return
            if header.deflated:
                raise WireError("a compressed frame, though compression was not negotiated")
            payload = data[header.start : header.end]
            if header.opcode >= CLOSE:
                self.on_control(header.opcode, payload)
            else:
                self._take(data[at : header.end], payload)
            at = header.end

    def _take(self, raw: bytes, payload: bytes) -> None:
        audience = self.audience
        order = audience.order
        if self.own is None and self.place < len(order.ends) and order.stream.startswith(raw, self.position):
            self._advance(order, self.position + len(raw))
            return
        claims = audience.decode(raw, payload)
        if claims is None:
            audience.tally.other_frames += 1
            self.on_other(payload)
            return
        if self.own is None:
            if self.place == len(order.ends):
                order.learn(raw, claims)
                self._advance(order, self.position + len(raw))
                return
            self.own = order.ledger(self.place)
        self.own.note(claims).count(audience.tally, audience.clock() >> SLOT_SHIFT, 1)

    def on_control(self, opcode: int, payload: bytes) -> None:
        """A ping, pong or close frame came."""

    def on_other(self, payload: bytes) -> None:
        """A data frame without messages came."""
