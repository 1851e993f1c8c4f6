"""A room's finished frames at an edge, oldest first: the one thing all its viewers share.

Owns the frames, their numbers, and the bytes they hold. A viewer is a cursor: the number of the next entry it is to get.
Numbers have no holes and are the edge's own; offsets belong to the broker. Which viewers exist is not known here, except
that a viewer who has got half a frame pins its entry: a pinned entry that left the log still counts as log bytes.

A log serves one plain variant and its compressed form. What is deleted leaves its entries at once, but their frames are made
anew only when somebody needs them: most of what a log holds, nobody will ask for again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.room.encoder import codec_of, plain
from engine.room.redaction import compress, redact
from engine.settings import RoomSettings

__all__ = ["Entry", "FrameLog"]


class Entry:
    """One batch, or the frames that tell of a new epoch.

    :ivar number: its place in the log.
    :ivar epoch: of its offsets; the frames that tell of a new epoch belong to the old one.
    :ivar first: first offset of the batch.
    :ivar last: last offset; ``first - 1`` for a batch without events.
    :ivar at: when it came, in seconds of the caller's clock.
    :ivar frames: bytes by variant, as far as they are made: `FrameLog.frame` makes those of a redacted entry.
    :ivar source: frames of a redacted entry from which its own are to be made; empty when they are, None if it is not redacted.
    :ivar redactions: what is to be done to the source: epoch, offsets and reason.
    :ivar leads_to: epoch and offset of what comes next for a viewer who has got all of it.
    :ivar pins: viewers who have got a part of it.
    """

    __slots__ = ("at", "epoch", "first", "frames", "last", "leads_to", "number", "pins", "redactions", "size", "source")

    def __init__(self, number: int, epoch: int, first: int, last: int, at: float, frames: dict[int, bytes]) -> None:
        self.number = number
        self.epoch = epoch
        self.first = first
        self.last = last
        self.leads_to = epoch, last + 1
        self.at = at
        self.frames = frames
        self.source: dict[int, bytes] | None = None
        self.redactions: tuple[tuple[int, Sequence[int], int], ...] = ()
        self.size = _size(frames)
        self.pins = 0


def _size(frames: dict[int, bytes]) -> int:
    # One object may serve several variants; it is in memory once.
    return sum(len(frame) for frame in {id(frame): frame for frame in frames.values()}.values())


class FrameLog:
    """The entries ``start .. end - 1`` of one room.

    :ivar epoch: of the newest entry.
    :ivar head: last offset of the newest entry; what the log was opened at while it is empty.
    :ivar start: number of the oldest entry.
    :ivar end: number the next entry will get; the cursor of a viewer who has everything.
    :ivar epoch_start: the oldest number a viewer who knows the epoch may have as its cursor.
    :ivar bytes: held by frames, those pinned after they left the log included.
    """

    __slots__ = ("_entries", "_pinned", "_roomy_until", "_settings", "bytes", "end", "epoch", "epoch_start", "head", "start")

    def __init__(self, epoch: int, head: int, settings: RoomSettings) -> None:
        self._settings = settings
        self.epoch = epoch
        self.head = head
        self.start = self.end = self.epoch_start = 0
        self.bytes = 0
        self._roomy_until = -math.inf
        self._entries: dict[int, Entry] = {}
        self._pinned: dict[int, Entry] = {}

    def adopt(self, settings: RoomSettings) -> None:
        """Take other settings; what has to leave by them leaves when the next batch comes."""
        self._settings = settings

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number]

    @property
    def floor(self) -> int:
        """First offset of the epoch that the log has; ``head + 1`` if it has none."""
        oldest = max(self.start, self.epoch_start)
        return self._entries[oldest].first if oldest < self.end else self.head + 1

    def append(self, first: int, last: int, frames: dict[int, bytes], now: float) -> None:
        """Add the newest batch. Raises ValueError if it does not join."""
        if first != self.head + 1:
            raise ValueError(f"batch begins at {first}, expected {self.head + 1}")
        self._add(first, last, frames, now)

    def restart(self, epoch: int, head: int, frames: dict[int, bytes], now: float) -> None:
        """Begin another epoch at ``head``. The frames tell those who follow; who returns with a position cannot have them."""
        self._add(self.head + 1, self.head, frames, now)
        self._entries[self.end - 1].leads_to = epoch, head + 1
        self.epoch = epoch
        self.head = head
        self.epoch_start = self.end

    def _add(self, first: int, last: int, frames: dict[int, bytes], now: float) -> None:
        entry = self._entries[self.end] = Entry(self.end, self.epoch, first, last, now, frames)
        self.end += 1
        self.head = last
        self.bytes += entry.size

    def prepend(self, batches: Sequence[tuple[int, int, dict[int, bytes]]], now: float) -> bool:
        """Add older batches, in order, before the oldest entry, if they join it and there is room.

        A busy room's log is always full: what is fetched for returning viewers may take half as much again, and for as long
        as a viewer may lag. The entries get numbers that others had before they left the log.
        """
        if not batches or self.start < self.epoch_start or batches[-1][1] + 1 != self.floor:
            return False
        entries = [Entry(0, self.epoch, first, last, now, frames) for first, last, frames in batches]
        size = sum(entry.size for entry in entries)
        roomy_until = now + self._settings.lag_seconds
        if self.bytes + size > self._limit(now, roomy_until):
            return False
        self._roomy_until = roomy_until
        for entry in reversed(entries):
            self.start -= 1
            entry.number = self.start
            self._entries[self.start] = entry
        self.epoch_start = min(self.epoch_start, self.start)
        self.bytes += size
        return True

    # -- what is deleted ----------------------------------------------------------------------------------------------

    def redact(self, epoch: int, offsets: Sequence[int], reason: int) -> None:
        """The events at these offsets are gone (`engine.room.redaction.redact`). Whoever has half of an entry gets the rest of
        what it was; everybody else, what is made of it."""
        if epoch != self.epoch or not offsets:
            return
        if self.start < self.epoch_start and offsets[0] <= self._entries[self.epoch_start - 1].leads_to[1] - 1:
            # The snapshot that tells of this epoch may show some of them.
            self._redact(self.epoch_start - 1, epoch, offsets, reason)
        touched: dict[int, list[int]] = {}
        for at in range(0, len(offsets), 2):
            first, last = max(offsets[at], self.floor), min(offsets[at + 1], self.head)
            number = self.find(epoch, first - 1) if first <= last else None
            while number is not None and number < self.end and self._entries[number].first <= last:
                entry = self._entries[number]
                # Heartbeats have none.
                if first <= entry.last >= entry.first:
                    touched.setdefault(number, []).extend((first, last))
                number += 1
        for number, some in touched.items():
            self._redact(number, epoch, some, reason)

    def _redact(self, number: int, epoch: int, offsets: Sequence[int], reason: int) -> None:
        entry = self._entries[number]
        if entry.pins:
            self._pinned[id(entry)] = entry
            other = Entry(entry.number, entry.epoch, entry.first, entry.last, entry.at, {})
            other.leads_to = entry.leads_to
            other.source, other.size = dict(entry.frames), entry.size
            # While both hold the same bytes they count twice, which is soon over.
            self.bytes += other.size
            self._entries[number] = entry = other
        elif entry.frames:
            entry.source, entry.frames = entry.frames, {}
        entry.redactions += ((epoch, offsets, reason),)

    def frame(self, entry: Entry, variant: int) -> bytes:
        """An entry's bytes for the viewers of a variant: the plain ones if it has no others."""
        frame = entry.frames.get(variant)
        return self._other(entry, variant) if frame is None else frame

    def _other(self, entry: Entry, variant: int) -> bytes:
        frames, base = entry.frames, plain(variant)
        if entry.source is None:
            return frames[base]
        if entry.redactions:
            frame = entry.source[base]
            for epoch, offsets, reason in entry.redactions:
                frame = redact(frame, codec_of(base), epoch, offsets, reason)
            frames[base] = frame
            entry.source, entry.redactions = {}, ()
        if variant != base:
            frames[variant] = compress(frames[base])
        size = _size(frames)
        self.bytes += size - entry.size
        entry.size = size
        return frames[variant]

    # -- what leaves --------------------------------------------------------------------------------------------------

    def _limit(self, now: float, roomy_until: float) -> int:
        size = self._settings.log_bytes
        return size + size // 2 if now < roomy_until else size

    def holds(self, entry: Entry) -> bool:
        """Whether an entry is in the log still."""
        return self._entries.get(entry.number) is entry

    def find(self, epoch: int, offset: int) -> int | None:
        """The cursor of a viewer who has everything up to ``offset``: the entry with the next one, whole, so it may begin
        before. None if that is of another epoch, older than the log, or newer than its end."""
        if epoch != self.epoch or offset > self.head or offset + 1 < self.floor:
            return None
        low, high = max(self.start, self.epoch_start), self.end
        while low < high:
            middle = (low + high) // 2
            if self._entries[middle].last > offset:
                high = middle
            else:
                low = middle + 1
        return low

    def follows(self, other: FrameLog, number: int) -> int | None:
        """The cursor here of a viewer whose cursor in ``other`` is ``number``, if both logs go on from the same place. Logs of
        a room end alike, so it is as far from the end; only what was fetched for returning viewers, or has left, differs."""
        if (self.epoch, self.head) != (other.epoch, other.head):
            return None
        cursor = self.end - (other.end - number)
        if cursor < self.end:
            if cursor < self.start:
                return None
            here, there = self._entries[cursor], other[number]
            if (here.epoch, here.first, here.last) != (there.epoch, there.first, there.last):
                return None
        return cursor

    def cutoff(self, now: float) -> int:
        """The oldest number that may stay, by bytes and age. The newest entry always may."""
        settings = self._settings
        oldest = now - settings.log_seconds
        size, limit = self.bytes, self._limit(now, self._roomy_until)
        number = self.start
        while number < self.end - 1:
            entry = self._entries[number]
            if size <= limit and entry.at >= oldest:
                break
            if not entry.pins:
                # What is pinned leaves the log without leaving memory: others have to go for it.
                size -= entry.size
            number += 1
        return number

    def lagging(self, now: float) -> int:
        """The oldest number that a viewer within the lag limit may have as its cursor."""
        oldest = now - self._settings.lag_seconds
        number = self.end
        while number > self.start and self._entries[number - 1].at >= oldest:
            number -= 1
        return number

    def trim(self, cutoff: int) -> None:
        """Let the entries below ``cutoff`` go. Those pinned leave the log but keep counting until they are unpinned."""
        while self.start < cutoff:
            entry = self._entries.pop(self.start)
            self.start += 1
            if entry.pins:
                self._pinned[id(entry)] = entry
            else:
                self.bytes -= entry.size

    def pin(self, entry: Entry) -> None:
        """A viewer has got a part of ``entry``, which may be one that was never in the log: a snapshot. It counts then."""
        if not entry.pins and not self.holds(entry):
            self._pinned[id(entry)] = entry
            self.bytes += entry.size
        entry.pins += 1

    def unpin(self, entry: Entry) -> None:
        """The viewer has got the rest, or is gone."""
        entry.pins -= 1
        if not entry.pins and self._pinned.pop(id(entry), None) is not None:
            self.bytes -= entry.size

    def overdue(self, now: float) -> list[Entry]:
        """Entries that left the log, are still pinned, and must go now: all while the log is over its bytes, else those
        older than its age. Their viewers are to be closed."""
        settings = self._settings
        if self.bytes > self._limit(now, self._roomy_until):
            return list(self._pinned.values())
        oldest = now - settings.log_seconds
        return [entry for entry in self._pinned.values() if entry.at < oldest]
