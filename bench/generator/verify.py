"""What a room sent, checked event by event, and what each viewer got, checked offset by offset.

Owns the truth of one generator process: which (sender, sequence) stands at which offset, which frames carry it, and
every fault found. Sans-IO: knows no socket; times come in as arguments. A distinct frame is decoded and checked once
per process; viewers that get the same bytes again cost a comparison.

Faults:

``hole``       offsets were skipped without a gap; ``gap`` an explicit gap that the scenario does not allow
``repeat``     offsets came twice, or came late (counted as reordered when they had been missed before)
``altered``    an event is not what any sender wrote; ``twice`` one message stands at two offsets
``disagree``   two frames put different messages at one offset
``order``      one sender's messages do not stand in the order in which they were sent
``moved``      the reply to a comment named another offset than the one where it is; ``missing`` it is nowhere
``likes``      a room's like counter is not the number of likes sent there; ``reaction`` the same for a reaction
``withheld``   a room does not tell, of each reason, how many senders were told that their comment was withheld
``untold``     not every viewer of a room has had the last of such a total
``balance``    the counts of one process do not add up to the deliveries its viewers are entitled to
``behind``     a viewer never got the last offsets; ``wire`` and ``message`` bytes that break the protocol
``closed``     the server ended a connection; ``connect`` it refused one; ``refused`` a request got an error code

Those about money are in `bench.generator.account`, `bench.generator.cashier` and `bench.audit`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from bench.generator.account import Account, Coins
from bench.generator.body import Bodies
from bench.generator.tally import Tally
from bench.generator.totals import LIKES, Heard
from bench.histogram import Histogram

__all__ = ["Fault", "Faults", "Frame", "Log", "SLOT_SHIFT"]

SLOT_SHIFT = 16
"""Receipts are counted in slots of 65 µs, the resolution of every latency."""
COARSE_SHIFT = 4
"""A frame whose receipts fill many slots took long to fan out: 1 ms is then resolution enough."""
SLOTS_FINE = 128
FRAMES_KEPT = 256
"""Decoded frames remembered per room and process; an older one is decoded and checked again."""
BATCH_ENDS: tuple[list[int], tuple[int, ...], dict[str, Any]] = ([], (), {})
"""Delays, counters and totals of a batch that leaves them out."""
PRESENCE_KEY = -1
"""Instead of a message: somebody notable came or went."""
MONEY_KEY = -2
"""Instead of a message: less the number of an entry."""
FAULTS_KEPT = 40
"""Faults told in full per process; all are counted."""
OMITTED, COMMENT, NOTICE, PRESENCE = 0, 1, 4, 7
SILENT_KEPT = 64
"""Frames without events remembered per room and process: viewers get one while others still get the one before."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One violation: which viewer, and which offsets of which room (0 where it has no offset)."""

    kind: str
    viewer: int
    room: int = 0
    first: int = 0
    last: int = 0
    detail: str = ""

    def __str__(self) -> str:
        where = f" room {self.room} offsets {self.first}..{self.last}" if self.last else ""
        return f"{self.kind}: viewer {self.viewer}{where}{': ' if self.detail else ''}{self.detail}"


class Faults:
    """Counts of all faults and the first few in full."""

    __slots__ = ("counts", "kept")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.kept: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Record one."""
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
        if len(self.kept) < FAULTS_KEPT:
            self.kept.append(fault)


class Frame:
    """One distinct batch frame: its bytes, its range, what checking found in it, and when how many viewers got it.

    :ivar folded: viewers whose receipts have been counted and forgotten.
    :ivar coins: the money in it; None: there is none.
    """

    __slots__ = ("bad", "coins", "first", "folded", "good", "intended", "last", "notices", "omitted", "raw", "times", "twice")

    def __init__(self, raw: bytes, first: int, last: int) -> None:
        self.raw = raw
        self.first = first
        self.last = last
        self.good = self.bad = self.twice = self.omitted = self.notices = self.folded = 0
        self.intended: dict[int, int] = {}
        self.times: dict[int, int] = {}
        self.coins: Coins | None = None

    @property
    def received(self) -> int:
        """How many viewers got it."""
        return self.folded + sum(self.times.values())


class Log:
    """One room in one epoch, as this process has seen it.

    :ivar frames: first offset → the latest frame with events that begins there.
    :ivar silent: the latest frame without events (heartbeat or counters); ``silents`` the last of them by their bytes.
    :ivar counted: such frames of each node so far, and ``apart_ms`` the least time between two of one node by the room's clock.
    :ivar totals: what the room told.
    :ivar presence: events of who comes and goes.
    :ivar head: highest offset seen or acknowledged.
    :ivar viewers: of this process who are entitled to what comes; ``bases`` is the sum of where they came in, so that
        they are entitled to ``viewers * head - bases`` offsets in all.
    :ivar account: the room's money; None: there is not to be any.
    """

    __slots__ = (
        "_bodies",
        "_faults",
        "_silent_ms",
        "account",
        "apart_ms",
        "base",
        "bases",
        "counted",
        "epoch",
        "frames",
        "handle",
        "head",
        "presence",
        "room",
        "silent",
        "silents",
        "totals",
        "viewers",
        "what",
        "where",
    )

    def __init__(
        self, room: int, handle: int, epoch: int, base: int, bodies: Bodies, faults: Faults, account: Account | None = None
    ) -> None:
        self.room = room
        self.account = account
        self.handle = handle
        self.epoch = epoch
        self.base = base
        self.bases = self.viewers = 0
        self.head = base
        self.totals = Heard()
        self.presence = 0
        self.counted: dict[int, int] = {}
        self.apart_ms: int | None = None
        self._silent_ms: dict[int, int] = {}
        self.silents: dict[bytes, Frame] = {}
        self.frames: dict[int, Frame] = {}
        self.silent: Frame | None = None
        self.what: dict[int, int] = {}
        self.where: dict[int, int] = {}
        self._bodies = bodies
        self._faults = faults

    def enter(self, offset: int) -> None:
        """A viewer is entitled to everything after ``offset``."""
        self.viewers += 1
        self.bases += offset

    def leave(self, offset: int) -> None:
        """A viewer who has come to ``offset`` is entitled to nothing more: its connection ended, or the epoch."""
        self.viewers -= 1
        self.bases -= offset

    def learn(self, raw: bytes, batch: list[Any], viewer: int, tally: Tally, node: int = 0) -> Frame:
        """Check a batch not seen before and remember its frame.

        :param node: that sent it.
        :param batch: the decoded array, kind first.
        :raises ValueError: it has not the documented shape.
        """
        _, handle, epoch, first, last, time, events, *optional = batch
        if handle != self.handle or epoch != self.epoch:
            raise ValueError(f"batch of room {handle}, epoch {epoch} instead of {self.handle}, {self.epoch}")
        if not isinstance(first, int) or not isinstance(last, int) or not isinstance(events, list):
            raise ValueError("batch fields of the wrong type")
        if (known := self.silents.get(raw)) is not None:
            self.silent = known
            return known
        frame = Frame(raw, first, last)
        offset = first
        for event in events:
            offset = self._check(frame, event, offset, viewer)
        if offset != last + 1:
            raise ValueError(f"the events of batch {first}..{last} cover {first}..{offset - 1}")
        _delays, counters, totals = (*optional, *BATCH_ENDS[len(optional) :])[:3]
        self.totals.take(counters, totals, frame, node)
        if last < first:
            self._keep_silent(frame, time, tally, node)
            return frame
        self.head = max(self.head, last)
        old = self.frames.pop(first, None)
        if old is not None:
            fold(old, tally)
        elif len(self.frames) >= FRAMES_KEPT:
            fold(self.frames.pop(next(iter(self.frames))), tally)
        self.frames[first] = frame
        return frame

    def _keep_silent(self, frame: Frame, time: int, tally: Tally, node: int) -> None:
        before = self._silent_ms.get(node, 0)
        if time > before:
            # Not one that was forgotten meanwhile.
            if before:
                self.apart_ms = min(time - before, time if self.apart_ms is None else self.apart_ms)
            self._silent_ms[node] = time
            self.counted[node] = self.counted.get(node, 0) + 1
        if len(self.silents) >= SILENT_KEPT:
            fold(self.silents.pop(next(iter(self.silents))), tally)
        self.silent = self.silents[frame.raw] = frame

    @property
    def likes(self) -> int:
        """As last told."""
        return self.totals.values.get(LIKES, 0)

    @property
    def latest_bytes(self) -> int:
        """Length of the frame with events that was learnt last; 0 if there was none."""
        return len(self.frames[next(reversed(self.frames))].raw) if self.frames else 0

    def _check(self, frame: Frame, event: Any, offset: int, viewer: int) -> int:
        kind = event[0]
        if kind == OMITTED:
            frame.omitted += event[2]
            return offset + int(event[2])
        if kind == PRESENCE:
            self.presence += offset not in self.what
            if self.what.setdefault(offset, PRESENCE_KEY) == PRESENCE_KEY:
                frame.good += 1
            else:
                frame.bad += 1
                self._fault("disagree", viewer, offset, f"{event!r:.120} and {_name(self.what[offset])}")
            return offset + 1
        if self.account is not None and kind > PRESENCE:
            self._book(self.account, frame, event, offset, viewer)
            return offset + 1
        body, ref = (event[3], event[2]) if kind in (COMMENT, NOTICE) else (None, 0)
        claim = self._bodies.read(body, self.room)
        if claim is None or ref not in (0, claim.sequence):
            frame.bad += 1
            self._fault("altered", viewer, offset, f"{event!r:.120}")
            return offset + 1
        message = key_of(claim.sender, claim.sequence)
        if self.what.setdefault(offset, message) != message:
            frame.bad += 1
            self._fault("disagree", viewer, offset, f"{_name(message)} and {_name(self.what[offset])}")
        elif (other := self.where.setdefault(message, offset)) != offset:
            frame.twice += 1
            self._fault("twice", viewer, offset, f"{_name(message)} also stands at {other}")
        else:
            frame.good += 1
            frame.notices += kind == NOTICE
            frame.intended[claim.intended_us] = frame.intended.get(claim.intended_us, 0) + 1
        return offset + 1

    def _book(self, account: Account, frame: Frame, event: list[Any], offset: int, viewer: int) -> None:
        if frame.coins is None:
            frame.coins = Coins()
        entry = event[2]
        found = account.take(frame.coins, event, offset)
        if found is None and self.what.setdefault(offset, MONEY_KEY - entry) != MONEY_KEY - entry:
            found = "disagree", f"{event!r:.120} and {_name(self.what[offset])}"
        if found is not None:
            kind, detail = found
            frame.twice += kind == "twice"
            frame.bad += kind != "twice"
            self._fault(kind, viewer, offset, detail)
            return
        frame.good += 1
        intended_us = account.intended_us(event)
        if intended_us is not None:
            frame.intended[intended_us] = frame.intended.get(intended_us, 0) + 1

    def settle(self, tally: Tally) -> None:
        """Fold the receipts of all remembered frames into the counts."""
        for frame in self.frames.values():
            if frame.times:
                fold(frame, tally)
        for frame in self.silents.values():
            fold(frame, tally)

    def check_order(self) -> int:
        """After the run: does each sender's numbering rise with the offsets? Returns how many events do not."""
        latest: dict[int, int] = {}
        wrong = 0
        for offset in sorted(self.what):
            if self.what[offset] <= PRESENCE_KEY:
                continue
            sender, sequence = divmod(self.what[offset], 1 << 32)
            if sequence <= latest.get(sender, 0):
                wrong += 1
                self._fault("order", -1, offset, f"{_name(self.what[offset])} after number {latest[sender]}")
            latest[sender] = max(sequence, latest.get(sender, 0))
        return wrong

    def check_reply(self, sender: int, sequence: int, offset: int) -> bool:
        """After the run: does an acknowledged comment stand where its reply said? Returns whether it does."""
        found = self.where.get(key_of(sender, sequence))
        if found == offset:
            return True
        if found is None:
            self._fault("missing", sender, offset, f"{_name(key_of(sender, sequence))} was acknowledged")
        else:
            self._fault("moved", sender, offset, f"{_name(key_of(sender, sequence))} stands at {found}")
        return False

    def digest(self) -> int:
        """The same in every process that saw the same messages at the same offsets."""
        return sum(crc32(b"%d %d" % pair) for pair in self.what.items()) & (2**63 - 1)

    def _fault(self, kind: str, viewer: int, offset: int, detail: str) -> None:
        self._faults.add(Fault(kind, viewer, self.room, offset, offset, detail))


def fold(frame: Frame, tally: Tally) -> None:
    """Turn a frame's receipts into counts and latencies, and forget them."""
    times, frame.times = frame.times, {}
    count = sum(times.values())
    frame.folded += count
    tally.frames += count
    tally.wire_bytes += count * len(frame.raw)
    if not times:
        return
    if frame.last < frame.first:
        tally.silent_frames += count
        return
    tally.deliveries += frame.good * count
    tally.notices += frame.notices * count
    tally.twice += frame.twice * count
    tally.altered += frame.bad * count
    tally.omitted += frame.omitted * count
    low, high = min(times) << SLOT_SHIFT, (max(times) + 1) << SLOT_SHIFT
    tally.first_ns = min(tally.first_ns or low, low)
    tally.last_ns = max(tally.last_ns, high)
    shift = SLOT_SHIFT
    if len(times) > SLOTS_FINE:
        shift += COARSE_SHIFT
        fine, times = times, {}
        for slot, viewers in fine.items():
            times[slot >> COARSE_SHIFT] = times.get(slot >> COARSE_SHIFT, 0) + viewers
    clock = tally.clock
    began = min(times)
    for slot, viewers in times.items():
        tally.lag.add((slot - began << shift) // 1000, viewers)
        if not frame.intended:
            continue
        received_us = ((slot << shift) + (1 << shift >> 1) - clock.epoch_ns) // 1000
        window = int(received_us / 1e6 / clock.window_seconds)
        latency = tally.latency.get(window)
        if latency is None:
            latency = tally.latency[window] = Histogram()
        for intended_us, events in frame.intended.items():
            took = received_us - intended_us
            latency.add(took, viewers * events)
            if took > clock.late_us:
                tally.late += viewers * events


def key_of(sender: int, sequence: int) -> int:
    """One integer for (sender, sequence)."""
    return sender << 32 | sequence


def _name(key: int) -> str:
    if key < 0:
        return f"entry {MONEY_KEY - key}" if key < PRESENCE_KEY else "who came or went"
    return f"message {key & 0xFFFFFFFF} of sender {key >> 32}"


def overlap_of(ranges: Iterable[tuple[int, int]], first: int, last: int) -> int:
    """How many of the offsets ``first..last`` lie within the ranges."""
    return sum(max(0, min(last, high) - max(first, low) + 1) for low, high in ranges)
