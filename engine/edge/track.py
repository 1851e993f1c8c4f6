"""A room's viewers of one feed and codec at this edge: their shared log and their cursors.

Owns the two sets a viewer can be in. **Live** viewers have everything up to the last pass and get the next frame by a plain
``send``; **laggards** have something half-sent or left over and go on from their own cursor when their socket takes more. A
slow viewer therefore delays nobody and costs a pin on one shared frame. Must not know what frames say.

All tracks of a room are given the same batches. A viewer changes from one to another where both logs go on from the same place:
at once when it is live; else as soon as what it has half of, or what only its old track has, is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from engine.edge.meter import Meter
from engine.edge.session import Session, Wire
from engine.errors import Close
from engine.link.messages import SharedSnapshot
from engine.room.encoder import DEFLATED, codec_of, encode_message
from engine.room.log import Entry, FrameLog
from engine.schema import Gap
from engine.settings import RoomSettings

__all__ = ["Track", "of_track"]

_GATHER: Final = 64
"""Entries in one catch-up write; Linux takes up to 1,024 buffers (IOV_MAX)."""
_GATHER_BYTES: Final = 262_144
"""Bytes in one catch-up write: more than a viewer's send buffer takes, so that gathering never limits it."""
_SNAPSHOT_SECONDS: Final = 1.0
"""How far back a newcomer may begin: everybody who joins within it shares a snapshot and catches up from the log."""
_SNAPSHOT_SLACK: Final = 65_536
"""Bytes of frames after which a snapshot is renewed for the next newcomer instead of followed by all of them."""


class Track:
    """See the module's docstring.

    :param meter: what the room counts.
    :ivar variant: the plain one; compressed frames go to those who take them.
    :ivar log: finished frames.
    :ivar passed: every live viewer has the entries before this one; the next pass begins here.
    :ivar appended: bytes of frames so far.
    :ivar overtaken: how often the lag policy was applied.
    :ivar vacant_since: when nobody was found here; None while somebody is.
    :ivar changing: viewers who are to go to another track, and what is called at each of their frame boundaries until they have
        gone; it says whether they have.
    """

    __slots__ = (
        "_cutoff",
        "_groups",
        "_lagging",
        "_meter",
        "_origin",
        "_pass",
        "_settings",
        "_snapshot",
        "_snapshot_bytes",
        "_snapshot_number",
        "_target",
        "_wire",
        "appended",
        "changing",
        "codec",
        "handle",
        "laggards",
        "log",
        "overtaken",
        "passed",
        "vacant_since",
        "variant",
    )

    def __init__(
        self,
        handle: int,
        variant: int,
        snapshot: SharedSnapshot,
        settings: RoomSettings,
        wire: Wire,
        meter: Meter | None = None,
    ) -> None:
        self.handle = handle
        self.variant = variant
        self.codec = codec_of(variant)
        self._settings = settings
        self._wire = wire
        self._meter = meter if meter is not None else Meter()
        self._meter.begins(snapshot.epoch)
        self.log = FrameLog(snapshot.epoch, snapshot.offset, settings)
        self._groups: dict[int, dict[Session, None]] = {}
        self.laggards: dict[Session, None] = {}
        self.changing: dict[Session, Callable[[Session], bool]] = {}
        self.passed = 0
        self.appended = 0
        self.overtaken = 0
        self.vacant_since: float | None = None
        self._cutoff = self._lagging = 0
        self._pass: list[tuple[int, list[Session]]] = []
        self._target = 0
        self._snapshot: Entry | None
        self._origin: tuple[Entry, int] | None = (self.renew(snapshot), self.log.end)

    def adopt_settings(self, settings: RoomSettings) -> None:
        """Take other settings."""
        self._settings = settings
        self.log.adopt(settings)

    def __len__(self) -> int:
        return sum(map(len, self._groups.values())) + len(self.laggards)

    @property
    def sessions(self) -> list[Session]:
        """Everybody here."""
        return [session for group in self._groups.values() for session in group] + list(self.laggards)

    @property
    def place(self) -> int:
        """Of the offset that it has next (`engine.edge.meter`)."""
        return self._place(self.log.end)

    def _place(self, cursor: int) -> int:
        """Of the first offset that a viewer of the present epoch is to get who has this cursor."""
        log = self.log
        if cursor < log.end:
            return self._meter.place(log.epoch, log[cursor].first)
        return self._meter.place(log.epoch, log[log.end - 1].leads_to[1] if len(log) else log.head + 1)

    @property
    def settled(self) -> bool:
        """Whether every live viewer has every entry."""
        return self.passed == self.log.end and not self._pass

    def lag(self, now: float) -> float:
        """For how long the viewer who is furthest behind has been waiting for what it gets next, seconds."""
        log = self.log
        halves = [session.entry.at for session in self.laggards if session.entry is not None]
        # A snapshot is of no age: who has half of one has waited for what follows it.
        cursor = min(
            (each.cursor for each in self.laggards if each.entry is None or each.entry.at == math.inf), default=log.end
        )
        next_at = log[max(cursor, log.start)].at if cursor < log.end else now
        return now - min(*halves, next_at, now)

    # -- frames in ----------------------------------------------------------------------------------------------------

    def append(self, first: int, last: int, frames: dict[int, bytes], now: float) -> None:
        """The hub finished a batch."""
        self._meter.due((last - first + 1) * len(self))
        self.log.append(first, last, frames, now)
        self._appended(now)

    def prepend(self, batches: Sequence[tuple[int, int, dict[int, bytes]]], now: float) -> None:
        """A part of the past came, for those who return."""
        if self.log.prepend(batches, now):
            # It was let in because there is room: nobody is behind for being there, until the next frame is appended.
            self._cutoff = self.log.start

    def restart(self, epoch: int, offset: int, frames: dict[int, bytes], now: float) -> None:
        """The room goes on in another epoch; the frames tell those who follow."""
        self._meter.goes_on(self.log.epoch, self.log.head, epoch, offset)
        self.log.restart(epoch, offset, frames, now)
        self._appended(now)

    def _appended(self, now: float) -> None:
        log = self.log
        self.appended += log[log.end - 1].size
        self._cutoff = cutoff = log.cutoff(now)
        if self.laggards:
            self._lagging = log.lagging(now)
            for session in list(self.laggards):
                if not self._behind(session):
                    continue
                if session.entry is None:
                    # Whoever has nothing half-sent has its cursor in the log: this comes before every trim.
                    entry = log[session.cursor]
                    self._overtake(session, entry.epoch, entry.first)
                elif self._settings.lag_policy == "close":
                    self._close(session)
        # Nobody who is live is behind the last pass, and a pass in progress needs its entries.
        log.trim(min(cutoff, self.passed))
        if self._snapshot_number < log.start:
            # For good: a backfill may give the number of what followed it to something else.
            self._snapshot = None
        if self._origin is not None and self._origin[1] < log.start:
            self._origin = None
        overdue = log.overdue(now)
        if overdue:
            for session in list(self.laggards):
                if session.entry in overdue:
                    self._wire.close(session, Close.LOG_FULL, "a frame you have half of left the log")

    def renew(self, snapshot: SharedSnapshot) -> Entry:
        """A newer snapshot: the state after the newest entry of the log."""
        frames = of_track(self.variant, snapshot.frames)
        # It never gets too old for whoever has half of it; its bytes count.
        entry = self._snapshot = Entry(-1, snapshot.epoch, snapshot.offset + 1, snapshot.offset, math.inf, frames)
        self._snapshot_number = self.log.end
        self._snapshot_bytes = self.appended
        return entry

    def redact(self, epoch: int, offsets: Sequence[int], reason: int) -> None:
        """Events are gone. The snapshot may show some of them: another one comes."""
        self.log.redact(epoch, offsets, reason)
        self._snapshot = None
        if self._origin is not None and offsets and offsets[0] <= self._origin[0].last:
            self._origin = None

    def snapshot(self, now: float) -> tuple[Entry, int] | None:
        """A snapshot and the cursor that continues it; None if a newer one is needed."""
        log, entry, number = self.log, self._snapshot, self._snapshot_number
        if entry is None or number < log.epoch_start or self.appended - self._snapshot_bytes > _SNAPSHOT_SLACK:
            return None
        if number < log.end and log[number].at < now - _SNAPSHOT_SECONDS:
            return None
        return entry, number

    def origin(self, offset: int) -> tuple[Entry, int] | None:
        """The snapshot after this offset of the present epoch, or an earlier one, and the cursor that continues it; None if it
        is not here, or the log has not all that followed."""
        if self._origin is None or self._origin[1] < self.log.epoch_start or self._origin[0].last > offset:
            return None
        return self._origin

    def begin_at(self, epoch: int, offset: int, snapshot: bytes) -> None:
        """A snapshot came for who is to begin after this offset; what follows it is in the log, or is not."""
        cursor = self.log.find(epoch, offset)
        if cursor is not None:
            self._origin = Entry(-1, epoch, offset + 1, offset, math.inf, {self.variant: snapshot}), cursor

    # -- viewers ------------------------------------------------------------------------------------------------------

    def enter(self, session: Session, cursor: int) -> None:
        """A viewer begins at ``cursor``. What it has not got yet is sent at once, as far as its socket takes it."""
        self._begin(session, cursor)
        self._go_on(session, cursor)

    def _begin(self, session: Session, cursor: int) -> None:
        session.track = self
        session.cursor = cursor
        session.returned = self.log.end
        session.reported = place = self._place(cursor)
        self._meter.due(self.place - place)

    def _go_on(self, session: Session, cursor: int) -> None:
        if session.blocked:
            # It is watched for writability already, and what is left over goes first.
            self.hold(session)
        elif cursor >= self.log.end:
            self._live(session)
        else:
            self.pump(session)

    def welcome(self, session: Session, told: bytes, snapshot: Entry, cursor: int) -> None:
        """A viewer is told something, gets a snapshot and then what follows it, from ``cursor`` on. If its socket does not take
        a large snapshot at once, it has half of it as it may have half of a batch, and costs as little."""
        self._begin(session, cursor)
        data = told + self.log.frame(snapshot, session.variant)
        count = 0
        if not session.blocked:
            try:
                count = session.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._wire.drop(session)
                return
            session.written += count
        if len(told) <= count < len(data):
            session.entry = snapshot
            session.sent = count - len(told)
            self.log.pin(snapshot)
            self.hold(session)
            return
        if count < len(told):
            if count:
                session.private = told[count:]
            self._wire.push(session, data[len(told) if count else 0 :])
        if session.track is self:
            self._go_on(session, cursor)

    def leave(self, session: Session) -> None:
        """A viewer is gone. What it has half of is released; should its connection stay, the rest goes before anything else."""
        session.track = None
        if session.entry is not None:
            rest = self.log.frame(session.entry, session.variant)[session.sent :]
            session.private = rest if session.private is None else rest + session.private
            self.log.unpin(session.entry)
            session.entry = None
        self.laggards.pop(session, None)
        self.changing.pop(session, None)
        group = self._groups.get(session.variant)
        if group is not None:
            group.pop(session, None)

    def adopt(self, session: Session, variant: int, told: bytes) -> bool:
        """Take a viewer over from another track, if it is at a frame boundary from which this log goes on, and tell it right
        before the first frame. Returns whether it is not in the other one any more: its connection may have ended, too."""
        other = session.track
        assert other is not None
        cursor = self.log.follows(other.log, session.cursor) if session.entry is None else None
        if cursor is None:
            return False
        self._wire.push(session, told)
        if session.track is other:
            watched = session in other.laggards
            other.leave(session)
            session.track = self
            session.variant = variant
            session.returned += cursor - session.cursor
            session.cursor = cursor
            if watched:
                self.laggards[session] = None
            self.pump(session)
        return True

    def hold(self, session: Session) -> None:
        """Something is left over for a viewer: it goes on when its socket takes more."""
        self._meter.stalled()
        if session in self.laggards:
            return
        group = self._groups.get(session.variant)
        if group is not None:
            group.pop(session, None)
        self.laggards[session] = None
        self._wire.arm(session, True)

    def _live(self, session: Session) -> None:
        group = self._groups.get(session.variant)
        if group is None:
            group = self._groups[session.variant] = {}
        group[session] = None

    # -- the pass: everybody who is live gets the new frames ---------------------------------------------------------------

    def begin(self) -> bool:
        """Start a pass if there is something new. Returns whether one is in progress."""
        if not self._pass and self.passed < self.log.end:
            self._target = self.log.end
            self._pass = [(variant, list(group)) for variant, group in self._groups.items() if group]
            if not self._pass:
                self.passed = self._target
        return bool(self._pass)

    def step(self, budget: int) -> int:
        """Go on with the pass for at most ``budget`` sends and return how many were made."""
        done = 0
        while self._pass and done < budget:
            variant, sessions = self._pass[-1]
            # From the end, because that is where a list gives up elements for nothing.
            cut = max(len(sessions) - (budget - done), 0)
            some = sessions[cut:]
            del sessions[cut:]
            if not sessions:
                self._pass.pop()
            done += len(some)
            self._send(variant, some)
        if not self._pass:
            self.passed = self._target
        return done

    def _send(self, variant: int, sessions: list[Session]) -> None:
        number, target = self.passed, self._target
        if target - number == 1:
            data = self.log.frame(self.log[number], variant)
        else:
            data = b"".join([self.log.frame(self.log[n], variant) for n in range(number, target)])
        size = len(data)
        for session in sessions:
            if (
                session.cursor != number
                or session.track is not self
                or session.entry is not None
                or session.private is not None
            ):
                # Came in or fell behind during this pass: its own cursor says what it needs.
                if session.track is self and session.cursor < target and session not in self.laggards:
                    self.pump(session)
                continue
            try:
                count = session.send(data)
            except BlockingIOError:
                count = 0
            except OSError:
                self._wire.drop(session)
                continue
            session.written += count
            if count == size:
                session.cursor = target
            else:
                self._advance(session, count)
                self.hold(session)

    # -- leftovers ----------------------------------------------------------------------------------------------------

    def _advance(self, session: Session, count: int) -> None:
        """Account for ``count`` bytes that left, from the cursor's entry on."""
        log, variant = self.log, session.variant
        while count:
            entry = log[session.cursor]
            size = len(log.frame(entry, variant))
            if count < size:
                session.entry = entry
                session.sent = count
                log.pin(entry)
                return
            count -= size
            session.cursor += 1

    def pump(self, session: Session) -> None:
        """Send a viewer what it is behind with, as much as its socket takes: first the rest of a half-sent frame, then
        private frames, then whatever follows, several batches in a write."""
        log = self.log
        try:
            if not self._finish(session) or session.track is not self:
                return
            if session in self.changing and self.changing[session](session):
                return
            if not session.flush_private():
                self.hold(session)
                return
            while session.cursor < log.end:
                gathered: list[bytes] = []
                size, number = 0, session.cursor
                while number < log.end and len(gathered) < _GATHER and size < _GATHER_BYTES:
                    data = log.frame(log[number], session.variant)
                    gathered.append(data)
                    size += len(data)
                    number += 1
                count = session.sock.sendmsg(gathered)
                session.written += count
                self._advance(session, count)
                if count < size:
                    self.hold(session)
                    return
        except BlockingIOError:
            self.hold(session)
        except OSError:
            self._wire.drop(session)
        else:
            if self.laggards.pop(session, self) is None:
                self._wire.arm(session, False)
            self._live(session)
            if session in self.changing:
                self.changing[session](session)

    def _finish(self, session: Session) -> bool:
        """Send the rest of a half-sent entry; return whether the viewer is at a frame boundary."""
        entry = session.entry
        if entry is None:
            return True
        data = self.log.frame(entry, session.variant)
        count = session.send(memoryview(data)[session.sent :])
        session.sent += count
        session.written += count
        if session.sent < len(data):
            self._meter.stalled()
            return False
        session.entry = None
        epoch, following = entry.leads_to
        # An entry's number says nothing any more once it has left the log.
        cursor = entry.number + 1 if self.log.holds(entry) else self.log.find(epoch, following - 1)
        self.log.unpin(entry)
        session.cursor = -1 if cursor is None else cursor
        if cursor is None or self._behind(session):
            self._overtake(session, epoch, following)
        return True

    # -- lag ----------------------------------------------------------------------------------------------------------

    def _behind(self, session: Session) -> bool:
        """Whether the lag policy applies: by the age of the next frame, or, while a viewer who came back catches up with
        what it missed, only by what the log can hold."""
        return session.cursor < (self._cutoff if session.cursor < session.returned else max(self._cutoff, self._lagging))

    def _overtake(self, session: Session, epoch: int, first: int) -> None:
        """Apply the lag policy to a viewer at a frame boundary who has everything before ``first``."""
        log = self.log
        if epoch == log.epoch and first > log.head:
            # Nothing but heartbeats and counters passed it by: no offset is missing, and a gap of none would say otherwise.
            session.cursor = log.end
            return
        if self._settings.lag_policy == "close":
            self._close(session)
            return
        self._count_overtaken()
        if epoch == log.epoch:
            session.cursor = log.end
            self._meter.skipped(epoch, first, epoch, log.head + 1)
            told = encode_message(self.codec, Gap(self.handle, epoch, first, log.head, "lag"))
        else:
            snapshot = self.snapshot(log[log.end - 1].at)
            if snapshot is None or snapshot[1] < self._cutoff:
                # There is none, or what follows it is about to leave the log.
                self._close(session)
                return
            entry, session.cursor = snapshot
            self._meter.skipped(epoch, first, entry.epoch, entry.last + 1)
            told = encode_message(self.codec, Gap(self.handle, epoch, first, 0, "epoch")) + log.frame(entry, session.variant)
        self._wire.push(session, told)

    def _count_overtaken(self) -> None:
        self.overtaken += 1
        self._meter.overtaken()

    def _close(self, session: Session) -> None:
        self._count_overtaken()
        self._wire.close(session, Close.LAG, "too far behind")


def of_track(variant: int, frames: dict[int, bytes]) -> dict[int, bytes]:
    """The frames of one plain variant, and of its compressed form if there is one. The message itself is left as it is."""
    if len(frames) == 1 and variant in frames:
        return frames
    deflated = variant | DEFLATED
    if deflated in frames:
        return {variant: frames[variant], deflated: frames[deflated]}
    return {variant: frames[variant]}
