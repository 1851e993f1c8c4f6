"""The frame log against a plain list of entries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgpack
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.room.log import Entry, FrameLog
from engine.settings import RoomSettings
from engine.ws import Opcode, deflate, frame

from .frames import messages_in, payload_of

LAG_SECONDS = 4.0
LOG_SECONDS = 10.0


@dataclass(eq=False)
class Known:
    """One entry as the model knows it."""

    entry: Entry
    epoch: int
    first: int
    last: int
    at: float
    size: int
    pins: int = 0


@dataclass
class Room:
    """What a log must be: a list, what left it while pinned, and where it stands."""

    entries: list[Known] = field(default_factory=list)
    gone: list[Known] = field(default_factory=list)


def frames_of(size: int, shape: int) -> dict[int, bytes]:
    """Frames of ``size`` bytes together: one, two, or one object under two keys."""
    if shape == 0:
        return {0: bytes(size)}
    if shape == 1:
        return {0: bytes(size - size // 2), 2: bytes(size // 2) or b""}
    frame = bytes(size)
    return {0: frame, 2: frame}


sizes = st.integers(1, 120)
shapes = st.integers(0, 2)


class LogMachine(RuleBasedStateMachine):
    """Entries come, age, are pinned, let go, and put in front."""

    @initialize(epoch=st.integers(1, 3), head=st.integers(0, 50), log_bytes=st.sampled_from((100, 400, 10_000)))
    def begin(self, epoch: int, head: int, log_bytes: int) -> None:
        self.settings = RoomSettings(log_bytes=log_bytes, lag_seconds=LAG_SECONDS, log_seconds=LOG_SECONDS)
        self.log = FrameLog(epoch, head, self.settings)
        self.epoch, self.head, self.now = epoch, head, 1000.0
        # Until then what was fetched for returning viewers may take half as much again.
        self.roomy_until = 0.0
        self.model = Room()
        # Where the present epoch begins in the model's list.
        self.boundary = 0

    def _took(self, epoch: int, first: int, last: int, size: int) -> None:
        entry = self.log[self.log.end - 1]
        self.model.entries.append(Known(entry, epoch, first, last, self.now, size))

    @rule(count=st.integers(0, 4), size=sizes, shape=shapes)
    def append(self, count: int, size: int, shape: int) -> None:
        first, last = self.head + 1, self.head + count
        self.log.append(first, last, frames_of(size, shape), self.now)
        self._took(self.epoch, first, last, size)
        self.head = last

    @rule(wrong=st.integers(-3, 3).filter(bool))
    def append_what_does_not_join(self, wrong: int) -> None:
        with pytest.raises(ValueError, match="expected"):
            self.log.append(self.head + 1 + wrong, self.head + 4, {0: b"x"}, self.now)

    @rule(offset=st.integers(0, 30), size=sizes)
    def restart(self, offset: int, size: int) -> None:
        self.log.restart(self.epoch + 1, offset, frames_of(size, 0), self.now)
        self._took(self.epoch, self.head + 1, self.head, size)
        self.epoch, self.head = self.epoch + 1, offset
        self.boundary = len(self.model.entries)

    @rule(counts=st.lists(st.integers(1, 4), min_size=1, max_size=4), size=sizes, wrong=st.sampled_from((0, 0, 0, 1, -1)))
    def prepend(self, counts: list[int], size: int, wrong: int) -> None:
        entries = self.model.entries
        floor = entries[self.boundary].first if self.boundary < len(entries) else self.head + 1
        last = floor - 1 + wrong
        batches: list[tuple[int, int, dict[int, bytes]]] = []
        for count in counts:
            batches.insert(0, (last - count + 1, last, frames_of(size, 0)))
            last -= count
        before, held = self.log.start, self.log.bytes
        added = self.log.prepend(batches, self.now)
        assert not (added and (wrong or self.boundary))
        if not wrong and not self.boundary:
            assert added == (held + size * len(batches) <= self.settings.log_bytes * 3 // 2)
        if not added:
            assert self.log.start == before
            return
        assert self.log.start == before - len(batches)
        self.roomy_until = self.now + LAG_SECONDS
        fresh = [
            Known(self.log[self.log.start + index], self.epoch, first, last, self.now, size)
            for index, (first, last, _) in enumerate(batches)
        ]
        self.model.entries[:0] = fresh

    @rule(seconds=st.sampled_from((0.0, 1.0, LAG_SECONDS + 0.5, LOG_SECONDS + 0.5)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from(self.model.entries))
        self.log.pin(known.entry)
        known.pins += 1

    @precondition(lambda self: any(known.pins for known in self.model.entries + self.model.gone))
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from([known for known in self.model.entries + self.model.gone if known.pins]))
        self.log.unpin(known.entry)
        known.pins -= 1
        if not known.pins and known in self.model.gone:
            self.model.gone.remove(known)

    @rule(keep=st.integers(0, 3))
    def trim(self, keep: int) -> None:
        """Down to the cutoff, or as far as a pass in progress allows."""
        cutoff = self.log.cutoff(self.now)
        assert self.log.start <= cutoff <= max(self.log.end - 1, self.log.start)
        self._check_cutoff(cutoff)
        target = max(cutoff - keep, self.log.start)
        count = target - self.log.start
        self.log.trim(target)
        leaving, self.model.entries = self.model.entries[:count], self.model.entries[count:]
        self.model.gone += [known for known in leaving if known.pins]
        self.boundary = max(self.boundary - count, 0)

    @rule(data=st.data(), count=st.integers(1, 3))
    def redact(self, data: st.DataObject, count: int) -> None:
        """Nobody needs the frames: entries and bytes are all there is to see."""
        some = st.integers(1, self.head + 8)
        offsets = sorted(data.draw(st.lists(some, min_size=2 * count, max_size=2 * count, unique=True)))
        present = self.model.entries[self.boundary :]
        self.log.redact(self.epoch, offsets, 1)
        gone = {offset for at in range(0, len(offsets), 2) for offset in range(offsets[at], offsets[at + 1] + 1)}
        restart = self.model.entries[self.boundary - 1] if self.boundary else None
        for index, known in enumerate(self.model.entries):
            if known is restart:
                touched = min(gone) <= known.entry.leads_to[1] - 1
            else:
                touched = known in present and not gone.isdisjoint(range(known.first, known.last + 1))
            number = self.log.start + index
            assert bool(self.log[number].redactions) >= touched
            if touched and known.pins:
                self.model.gone.append(replace(known))
                known.entry, known.pins = self.log[number], 0

    @precondition(lambda self: self.log.epoch > 1)
    @rule()
    def redact_what_is_of_another_epoch(self) -> None:
        entries = [(known.entry, known.entry.redactions) for known in self.model.entries]
        self.log.redact(self.epoch - 1, [1, 1000], 1)
        assert [(known.entry, known.entry.redactions) for known in self.model.entries] == entries

    def _limit(self) -> int:
        size = self.settings.log_bytes
        return size + size // 2 if self.now < self.roomy_until else size

    def _check_cutoff(self, cutoff: int) -> None:
        """By the words of the settings: over bytes or too old, and never the newest."""
        size = sum(known.size for known in self.model.entries + self.model.gone)
        expected = self.log.start
        for known in self.model.entries[:-1]:
            if size <= self._limit() and known.at >= self.now - LOG_SECONDS:
                break
            # What is pinned leaves the log, but not memory.
            size -= 0 if known.pins else known.size
            expected += 1
        assert cutoff == expected

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def agrees_with_the_list(self) -> None:
        log, entries = self.log, self.model.entries
        assert len(log) == len(entries) == log.end - log.start
        for index, known in enumerate(entries):
            entry = log[log.start + index]
            assert entry is known.entry
            assert entry.number == log.start + index
            assert (entry.epoch, entry.first, entry.last, entry.at) == (known.epoch, known.first, known.last, known.at)
            assert entry.size == known.size
            assert entry.pins == known.pins
        assert (log.epoch, log.head) == (self.epoch, self.head)
        assert log.bytes == sum(known.size for known in entries + self.model.gone)

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def finds_the_entry_with_the_next_offset(self) -> None:
        log = self.log
        present = self.model.entries[self.boundary :]
        floor = present[0].first if present else self.head + 1
        assert log.floor == floor
        for offset in range(max(floor - 3, 0), self.head + 3):
            number = log.find(self.epoch, offset)
            if offset + 1 < floor or offset > self.head:
                assert number is None
            elif offset == self.head:
                assert number == log.end
            else:
                assert number is not None
                assert log[number].first <= offset + 1 <= log[number].last
        assert log.find(self.epoch - 1, self.head) is None
        assert log.find(self.epoch + 1, 0) is None

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def knows_who_lags_and_what_is_overdue(self) -> None:
        log, entries = self.log, self.model.entries
        recent = 0
        for known in reversed(entries):
            if known.at < self.now - LAG_SECONDS:
                break
            recent += 1
        assert log.lagging(self.now) == log.end - recent
        if log.bytes > self._limit():
            expected = self.model.gone
        else:
            expected = [known for known in self.model.gone if known.at < self.now - LOG_SECONDS]
        assert {id(entry) for entry in log.overdue(self.now)} == {id(known.entry) for known in expected}


TestFrameLog = LogMachine.TestCase
TestFrameLog.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_an_empty_log_knows_only_where_it_was_opened() -> None:
    log = FrameLog(3, 17, RoomSettings())
    assert len(log) == 0
    assert log.floor == 18
    assert log.find(3, 17) == log.end == 0
    assert log.find(3, 16) is None
    assert log.find(3, 18) is None
    assert log.cutoff(0.0) == log.lagging(0.0) == 0
    assert log.overdue(0.0) == []


def test_a_returning_viewer_may_begin_before_its_position() -> None:
    log = FrameLog(1, 0, RoomSettings())
    log.append(1, 10, {0: b"x"}, 0.0)
    log.append(11, 20, {0: b"x"}, 0.0)
    assert [log.find(1, offset) for offset in (0, 5, 9, 10, 19, 20)] == [0, 0, 0, 1, 1, 2]


def test_a_pinned_entry_counts_until_it_is_let_go() -> None:
    log = FrameLog(1, 0, RoomSettings(log_bytes=65_536))
    log.append(1, 1, {0: bytes(100)}, 0.0)
    log.append(2, 2, {0: bytes(10)}, 0.0)
    entry = log[0]
    log.pin(entry)
    log.pin(entry)
    log.trim(1)
    assert log.bytes == 110
    log.unpin(entry)
    assert log.bytes == 110
    log.unpin(entry)
    assert log.bytes == 10


def test_an_entry_that_left_is_told_from_the_one_that_has_its_number() -> None:
    """An entry leaves the log pinned, and a backfill takes its place and number."""
    log = FrameLog(1, 0, RoomSettings(log_bytes=65_536))
    log.append(1, 5, {0: bytes(100)}, 0.0)
    log.append(6, 6, {0: bytes(10)}, 0.0)
    old = log[0]
    log.pin(old)
    assert log.holds(old)
    log.trim(1)
    assert log.prepend([(1, 5, {0: bytes(7)})], 1.0)
    assert log[log.start].number == old.number
    assert not log.holds(old)
    assert log.bytes == 117
    log.unpin(old)
    assert log.bytes == 17


def test_one_object_under_two_variants_is_counted_once() -> None:
    frame = bytes(50)
    log = FrameLog(1, 0, RoomSettings())
    log.append(1, 1, {0: frame, 2: frame}, 0.0)
    assert log.bytes == 50


def test_the_frames_of_a_restart_are_for_those_who_follow_not_for_those_who_return() -> None:
    log = FrameLog(1, 0, RoomSettings())
    log.append(1, 3, {0: b"x"}, 0.0)
    log.restart(2, 9, {0: b"gap and snapshot"}, 1.0)
    assert (log.epoch, log.head, log.floor) == (2, 9, 10)
    assert log.find(1, 3) is None
    assert log.find(2, 8) is None
    assert log.find(2, 9) == log.end == 2
    assert log[1].epoch == 1
    log.append(10, 11, {0: b"x"}, 1.0)
    assert log.find(2, 9) == 2
    # What came before the restart stands between: nothing can be put in front of the new epoch's first entry.
    assert not log.prepend([(8, 9, {0: b"x"})], 1.0)


# -- what is deleted ----------------------------------------------------------------------------------------------------


def batch_frames(first: int, last: int, *variants: int, padding: int = 0) -> dict[int, bytes]:
    events = [[1, ["guest-1"], 9, f"{offset} " + "x" * padding] for offset in range(first, last + 1)]
    payload = msgpack.packb([34, 7, 1, first, last, 1000, events, [], [0, 0]])
    frames = {0: frame(Opcode.BINARY, payload), 2: frame(Opcode.BINARY, deflate(payload), compressed=True)}
    return {variant: frames[variant] for variant in variants or (0,)}


def shown(data: bytes) -> list[object]:
    """The events of a batch: their bodies, or why there is none."""
    return [event[3].split()[0] if event[0] == 1 else event[1:] for event in msgpack.unpackb(payload_of(data))[6]]


def held(log: FrameLog) -> int:
    return sum(log[number].size for number in range(log.start, log.end))


def test_what_is_deleted_is_made_anew_for_who_needs_it_once_per_variant() -> None:
    log = FrameLog(1, 0, RoomSettings())
    log.append(1, 3, batch_frames(1, 3, 0, 2, padding=200), 0.0)
    log.append(4, 6, batch_frames(4, 6, 0, 2, padding=200), 0.0)
    log.append(7, 6, batch_frames(7, 6), 0.0)
    log.append(7, 9, batch_frames(7, 9, 0, 2, padding=200), 0.0)
    before, untouched = log.bytes, log[3].frames
    log.redact(1, [3, 4, 6, 6], 1)
    assert log.bytes == before
    assert log[3].frames is untouched
    assert not log[0].frames
    assert shown(log.frame(log[0], 2)) == ["1", "2", [1, 1]]
    assert shown(log.frame(log[1], 0)) == [[1, 1], "5", [1, 1]]
    assert log.frame(log[0], 2) is log.frame(log[0], 2)
    assert log.frame(log[1], 0) is log.frame(log[1], 0)
    assert shown(log.frame(log[0], 0)) == ["1", "2", [1, 1]]
    assert log[0].source == {}
    assert log[0].size == len(log.frame(log[0], 0)) + len(log.frame(log[0], 2))
    assert log[1].size == len(log.frame(log[1], 0))
    assert log.bytes == held(log) < before


def test_what_is_deleted_in_two_steps_is_gone_for_both_reasons() -> None:
    for between in (False, True):
        log = FrameLog(1, 0, RoomSettings())
        log.append(1, 3, batch_frames(1, 3, 0, 2), 0.0)
        log.redact(1, [2, 2], 1)
        if between:
            assert shown(log.frame(log[0], 2)) == ["1", [1, 1], "3"]
        log.redact(1, [2, 3], 2)
        assert shown(log.frame(log[0], 2)) == ["1", [1, 1], [2, 1]]
        assert shown(log.frame(log[0], 0)) == ["1", [1, 1], [2, 1]]
        assert log.bytes == held(log)


def test_who_has_half_of_an_entry_gets_the_rest_of_what_it_was() -> None:
    log = FrameLog(1, 0, RoomSettings())
    log.append(1, 2, batch_frames(1, 2), 0.0)
    old = log[0]
    log.pin(old)
    log.redact(1, [1, 1], 1)
    assert not log.holds(old)
    assert shown(log.frame(old, 0)) == ["1", "2"]
    assert log.bytes == old.size + log[0].size
    assert shown(log.frame(log[0], 0)) == [[1, 1], "2"]
    assert log.bytes == old.size + log[0].size
    newer = log[0]
    log.pin(newer)
    log.redact(1, [2, 2], 1)
    assert shown(log.frame(newer, 0)) == [[1, 1], "2"]
    assert shown(log.frame(log[0], 0)) == [[1, 1], [1, 1]]
    log.unpin(old)
    assert log.bytes == newer.size + log[0].size
    log.unpin(newer)
    assert log.bytes == log[0].size


def test_what_came_without_compression_is_compressed_once_it_is_made_anew() -> None:
    """Nobody remembers then whether it was worth it; a frame that grows stays as it is."""
    log = FrameLog(1, 0, RoomSettings())
    log.append(1, 2, batch_frames(1, 2, 0, padding=300), 0.0)
    assert log.frame(log[0], 2) is log.frame(log[0], 0)
    log.redact(1, [1, 1], 1)
    assert shown(log.frame(log[0], 2)) == [[1, 1], "2"]
    assert len(log.frame(log[0], 2)) < len(log.frame(log[0], 0))


def test_the_snapshot_that_tells_of_a_new_epoch_is_redacted_too() -> None:
    log = FrameLog(1, 0, RoomSettings())
    log.append(1, 1, batch_frames(1, 1), 0.0)
    recent = [[offset, 1000, [1, ["guest-1"], 9, f"{offset}"]] for offset in (3, 4)]
    snapshot = frame(Opcode.BINARY, msgpack.packb([33, 7, "room", 2, 4, 1, [0, 0], 25_000, {}, [], recent]))
    log.restart(2, 4, {0: frame(Opcode.BINARY, msgpack.packb([36, 7, 1, 2, 0, "epoch"])) + snapshot}, 0.0)
    log.redact(2, [3, 3], 1)
    gap, told = (msgpack.unpackb(payload) for _, payload in messages_in(log.frame(log[1], 0)))
    assert gap == [36, 7, 1, 2, 0, "epoch"]
    assert told[10] == recent[1:]
    assert shown(log.frame(log[0], 0)) == ["1"]
