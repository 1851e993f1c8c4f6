"""One room at an edge: its viewers, in one track per feed and codec, and what the hub is to know of them.

Owns the tracks, who waits to come in, and who is to change to another feed. Must not know sockets beyond the wire, nor what a
comment is. Tracks, and who waits for one, go by its plain variant.
"""

from __future__ import annotations

import math

from engine.edge.applause import Applause
from engine.edge.attendance import Attendance
from engine.edge.bars import Bars
from engine.edge.meter import Meter
from engine.edge.session import Session, Wire
from engine.edge.track import Track, of_track
from engine.errors import Close, Code
from engine.link.messages import (
    Backfill,
    FetchBackfill,
    FetchSnapshot,
    Frames,
    OpenRoom,
    Presence,
    Redact,
    Restart,
    SharedSnapshot,
    Up,
    Wants,
)
from engine.quality import RoomQuality
from engine.room.encoder import encode_message, plain
from engine.room.log import Entry
from engine.schema import Gap, Join, Joined, Reply, handle_of
from engine.settings import RoomSettings

__all__ = ["EdgeRoom"]


class EdgeRoom:
    """See the module's docstring.

    :ivar handle: of the room on the wire.
    :ivar opening: number of this opening of the room at this edge, by which every hub knows its likes again; what a hub says of
        an earlier one is ignored.
    :ivar applause: likes counted here since the edge opened the room.
    :ivar attendance: who came.
    :ivar meter: what is measured.
    :ivar bars: who may not be here; None while nobody.
    :ivar packets: red packets that can be claimed, by their entries, as the hub said last.
    :ivar outbox: what the hub is to be told of this room at the end of the turn.
    :ivar empty_since: when the last viewer left; None while somebody is here.
    """

    __slots__ = (
        "_choices",
        "_fetching",
        "_origin",
        "_overtaken",
        "_renewing",
        "_resuming",
        "_returning",
        "_settings",
        "_waiting",
        "_wants",
        "_wire",
        "applause",
        "attendance",
        "bars",
        "empty_since",
        "handle",
        "meter",
        "name",
        "opening",
        "outbox",
        "packets",
        "past_lost",
        "reported_viewers",
        "tracks",
    )

    def __init__(self, name: str, opening: int, settings: RoomSettings, wire: Wire, meter: Meter | None = None) -> None:
        self.name = name
        self.opening = opening
        self.handle = handle_of(name)
        self._settings = settings
        self._wire = wire
        self.tracks: dict[int, Track] = {}
        self._wants: set[int] = set()
        self._waiting: dict[int, list[tuple[Session, Join]]] = {}
        self._resuming: dict[int, list[tuple[Session, Join]]] = {}
        self._fetching: dict[int, int] = {}
        self._returning: dict[int, list[tuple[Session, Join]]] = {}
        self._origin = (0, 0, -math.inf)
        self._renewing = False
        self._overtaken = 0
        self._choices: dict[Session, tuple[int, int]] = {}
        self.applause = Applause(settings.reactions)
        self.attendance = Attendance(name, settings)
        self.meter = meter if meter is not None else Meter(name)
        self.bars: Bars | None = None
        self.packets: frozenset[int] = frozenset()
        self.reported_viewers = self.past_lost = 0
        self.outbox: list[Up] = []
        self.empty_since: float | None = None

    def adopt(self, settings: RoomSettings) -> None:
        """Take other settings."""
        self._settings = settings
        self.applause.adopt(settings.reactions)
        self.attendance.adopt(settings)
        for track in self.tracks.values():
            track.adopt_settings(settings)

    def __len__(self) -> int:
        return sum(map(len, self.tracks.values()))

    @property
    def place(self) -> int:
        """Of the offset that it has next (`engine.edge.meter`); 0 while nothing is here."""
        return max((track.place for track in self.tracks.values()), default=0)

    @property
    def pending(self) -> int:
        """How many viewers are not in yet."""
        return sum(len(queue) for queues in self._queues for queue in queues.values())

    @property
    def _queues(self) -> tuple[dict[int, list[tuple[Session, Join]]], ...]:
        """Who waits: for a snapshot, for a part of the past, for the beginning of the epoch; by plain variant."""
        return self._waiting, self._resuming, self._returning

    @property
    def present(self) -> list[Session]:
        """Everybody who is in."""
        return [session for track in self.tracks.values() for session in track.sessions]

    @property
    def outside(self) -> list[tuple[Session, int]]:
        """Everybody who is not in yet, with the ref of each one's join."""
        return [(session, join.ref) for queues in self._queues for queue in queues.values() for session, join in queue]

    @property
    def overtaken(self) -> int:
        """How often the lag policy was applied."""
        return self._overtaken + sum([track.overtaken for track in self.tracks.values()])

    # -- coming in ----------------------------------------------------------------------------------------------------

    def enter(self, session: Session, join: Join, now: float) -> None:
        """Let a viewer in, now or as soon as what it needs has come from the hub."""
        session.room = self
        self.empty_since = None
        self._want(session.variant)
        place = self.meter.after(join.epoch, join.offset) if join.epoch else 0
        self.applause.enter(session, returning=bool(join.session), place=place)
        track = self.tracks.get(plain(session.variant))
        if track is None:
            self._wait(session, join)
        elif join.epoch:
            self._resume(track, session, join, now)
        else:
            self._begin(track, session, join, now)

    def _want(self, variant: int) -> None:
        if variant not in self._wants:
            first = not self._wants
            self._wants |= {variant, plain(variant)}
            wants = sorted(self._wants)
            self.outbox.append(OpenRoom(self.name, self.opening, wants) if first else Wants(self.name, wants))

    def _wait(self, session: Session, join: Join) -> None:
        number = plain(session.variant)
        self._waiting.setdefault(number, []).append((session, join))
        if number in self.tracks and not self._renewing:
            # Its snapshot is old. The first one in a variant comes unasked.
            self._renewing = True
            self.outbox.append(FetchSnapshot(self.name))

    def _joined(self, session: Session, join: Join, resumed: bool) -> bytes:
        assert session.codec is not None
        assert session.author is not None
        heartbeat_ms = int(self._settings.heartbeat_seconds * 1000)
        user, role = session.author.id, session.role.value
        return encode_message(session.codec, Joined(join.ref, self.handle, session.secret, user, role, resumed, heartbeat_ms))

    def _begin(self, track: Track, session: Session, join: Join, now: float, gap: bytes = b"") -> None:
        """From the room's present state."""
        snapshot = track.snapshot(now)
        if snapshot is None:
            self._wait(session, join)
        else:
            self._welcome(track, session, join, now, snapshot, gap)

    def _welcome(self, track: Track, session: Session, join: Join, now: float, snapshot: tuple[Entry, int], gap: bytes) -> None:
        self.attendance.enter(session)
        track.welcome(session, self._joined(session, join, False) + gap, *snapshot)
        self._entered(track, session, join, now)

    def _entered(self, track: Track, session: Session, join: Join, now: float) -> None:
        """A viewer who returns over another connection has more to report than what comes from here on."""
        if join.session and not session.report_at:
            session.reported = min(session.reported, self.meter.reach(track.log.epoch, now))

    def _resume(self, track: Track, session: Session, join: Join, now: float, *, last_try: bool = False) -> None:
        """From the viewer's position: the log, the history, or an explicit gap."""
        log = track.log
        cursor = log.find(join.epoch, join.offset)
        if cursor is None and join.epoch == log.epoch:
            if join.offset > log.head:
                # It has seen more than this edge has: the rest is on its way, and the client drops the overlap.
                cursor = log.end
            elif not last_try:
                self._fetch(track, session, join)
                return
        if cursor is not None:
            self._wire.push(session, self._joined(session, join, True))
            if session.room is self:
                self.attendance.enter(session)
                track.enter(session, cursor)
                self._entered(track, session, join, now)
            return
        if join.epoch != log.epoch and self._return(track, session, join, now, last_try=last_try):
            return
        snapshot = track.snapshot(now)
        if snapshot is None:
            self._wait(session, join)
            return
        last, reason = 0, "epoch"
        if join.epoch == log.epoch:
            # What the snapshot stands after; the batches that follow it begin there.
            cursor = snapshot[1]
            last, reason = (log[cursor].first - 1 if cursor < log.end else log.head), "history"
            self.past_lost += 1
        gap = encode_message(track.codec, Gap(self.handle, join.epoch, join.offset + 1, last, reason))
        self._begin(track, session, join, now, gap)

    def _return(self, track: Track, session: Session, join: Join, now: float, *, last_try: bool) -> bool:
        """Let a viewer in whose epoch is over, where the room began in the present one: what was published again because it was
        lost is shown to it, too. Returns False if the log does not go back that far any more."""
        epoch, offset, at = self._origin
        if epoch != track.log.epoch or now - at > self._settings.log_seconds:
            return False
        origin = track.origin(offset)
        if origin is not None:
            gap = encode_message(track.codec, Gap(self.handle, join.epoch, join.offset + 1, 0, "epoch"))
            self._welcome(track, session, join, now, origin, gap)
            return True
        if last_try:
            return False
        # This track began later than the room, or its snapshot is not to be shown any more.
        number = track.variant
        if number not in self._returning:
            self._returning[number] = []
            self.outbox.append(FetchBackfill(self.name, epoch, offset, track.log.floor, number, True))
        self._returning[number].append((session, join))
        return True

    def _fetch(self, track: Track, session: Session, join: Join) -> None:
        number = track.variant
        self._resuming.setdefault(number, []).append((session, join))
        if number not in self._fetching:
            self._fetching[number] = join.offset
            # What the log already has from an earlier answer is not asked for again.
            self.outbox.append(FetchBackfill(self.name, join.epoch, join.offset, track.log.floor, number))

    def leave(self, session: Session) -> None:
        """A viewer is gone, wherever it was."""
        session.room = None
        self.applause.leave(session, self.place)
        if session.track is not None:
            self._choices.pop(session, None)
            self.attendance.leave(session)
            session.track.leave(session)
            return
        for queues in self._queues:
            for number, queue in queues.items():
                queues[number] = [waiting for waiting in queue if waiting[0] is not session]

    # -- another feed ---------------------------------------------------------------------------------------------------

    def choose(self, session: Session, ref: int, variant: int) -> None:
        """Give a viewer another variant, and tell it right before the first frame of that. Until the track is there and goes on
        where the viewer is, it stays where it is: nothing is missing, and nothing comes twice."""
        old = session.track
        assert old is not None  # it is in
        earlier = self._choices.pop(session, None)
        old.changing.pop(session, None)
        if earlier is not None:
            self._wire.push(session, _reply(session, earlier[0], Code.CONFLICT, "another choice came after it"))
            if session.track is None:
                return
        if plain(variant) == old.variant:
            self._wire.push(session, _reply(session, ref, Code.OK))
            return
        self._want(variant)
        self._choices[session] = ref, variant
        old.changing[session] = self._change
        self._hurry(session)

    def _hurry(self, session: Session) -> None:
        """Change its track now if it can be done. A viewer that is live but has not been passed gets the frames first."""
        old = session.track
        if old is not None and not self._change(session) and session not in old.laggards:
            old.pump(session)

    def _change(self, session: Session) -> bool:
        """Change a viewer's track if it is where the other one goes on. Returns whether it is not in the old one any more."""
        ref, variant = self._choices[session]
        new = self.tracks.get(plain(variant))
        if new is None or not new.adopt(session, variant, _reply(session, ref, Code.OK)):
            return False
        self._choices.pop(session, None)
        return True

    # -- for the hub --------------------------------------------------------------------------------------------------

    def report(self, linked: bool) -> list[Up]:
        """What a hub is to be told now. What is told while there is none comes again with `announce`.

        :param linked: whether there is one.
        """
        outbox, self.outbox = self.outbox, []
        viewers = len(self)
        if viewers != self.reported_viewers:
            self.reported_viewers = viewers
            outbox.append(Presence(self.name, viewers))
        outbox += self.attendance.report(linked)
        likes = self.applause.report(self.name)
        if likes is not None:
            outbox.append(likes)
        return outbox

    def measured(self, now: float) -> RoomQuality:
        """What a hub is to be told of how the room reached its viewers, since the last time."""
        tracks = self.tracks.values()
        laggards = sum(len(track.laggards) for track in tracks)
        lag_max = max((track.lag(now) for track in tracks if track.laggards), default=0.0)
        return self.meter.take(self.place, now, laggards, lag_max)

    def refuse(self) -> list[tuple[Session, int]]:
        """The room cannot be opened: return who waited, with the ref of each one's join."""
        refused = [(session, join.ref) for queue in self._waiting.values() for session, join in queue]
        self._waiting.clear()
        for session, _ in refused:
            session.room = None
        return refused

    def announce(self) -> None:
        """The hub knows nothing of this room, or nothing any more: say everything. Who waits for an answer waits for this
        one's."""
        for queues in (self._resuming, self._returning):
            for number, queue in queues.items():
                self._waiting.setdefault(number, []).extend(queue)
            queues.clear()
        self._fetching.clear()
        self._renewing = False
        self.reported_viewers = 0
        # It says again who may not be here, if anybody may not, and always which red packets are open; until then claims are
        # held, as all else that is asked for.
        self.bars = None
        self.applause.announce()
        self.attendance.announce(self.present)
        # All tracks are given the same batches.
        log = next((track.log for track in self.tracks.values()), None)
        epoch, offset = (log.epoch, log.head) if log is not None else (0, 0)
        self.outbox = [OpenRoom(self.name, self.opening, sorted(self._wants), epoch, offset)]

    # -- from the hub -------------------------------------------------------------------------------------------------

    def snapshot(self, message: SharedSnapshot, now: float) -> None:
        """The state after the newest frames, in each variant that the hub knows to be needed here."""
        self._renewing = False
        for number in message.frames:
            if number != plain(number):
                continue
            track = self.tracks.get(number)
            if track is None:
                if message.epoch != self._origin[0]:
                    self._origin = message.epoch, message.offset if message.origin < 0 else message.origin, now
                self.tracks[number] = track = Track(self.handle, number, message, self._settings, self._wire, self.meter)
            else:
                track.renew(message)
            for session, join in self._waiting.pop(number, ()):
                if session.room is not self:
                    continue
                if join.epoch:
                    self._resume(track, session, join, now)
                else:
                    self._begin(track, session, join, now)
        for session, (_, variant) in list(self._choices.items()):
            if session in self._choices and plain(variant) in message.frames:
                self._hurry(session)

    def frames(self, message: Frames, now: float) -> None:
        """A finished batch."""
        self._strand(message.frames)
        for number, track in self.tracks.items():
            track.append(message.first, message.last, of_track(number, message.frames), now)
        if len(self.tracks) > 1:
            self._shed(now)

    def _shed(self, now: float) -> None:
        """Give up tracks that nobody has used for the linger time: the hub makes their frames as long as somebody may want
        them. The last one goes with the room."""
        awaited = {number for queues in self._queues for number, queue in queues.items() if queue}
        awaited |= {plain(variant) for _, variant in self._choices.values()}
        for number, track in list(self.tracks.items()):
            if len(track) or number in awaited:
                track.vacant_since = None
            elif track.vacant_since is None:
                track.vacant_since = now
            elif now - track.vacant_since >= self._settings.linger_seconds and len(self.tracks) > 1:
                self._overtaken += self.tracks.pop(number).overtaken
                self._wants -= {variant for variant in self._wants if plain(variant) == number}
                self.outbox.append(Wants(self.name, sorted(self._wants)))

    def _strand(self, frames: dict[int, bytes]) -> None:
        """A track for which nothing comes cannot go on: somebody wanted it again before an answer to earlier wants had come,
        and was taken in with that. Whoever is there comes back with its position."""
        if not self.tracks.keys() <= frames.keys():
            for number in self.tracks.keys() - frames.keys():
                track = self.tracks.pop(number)
                for session in track.sessions:
                    self._wire.close(session, Close.SHUTDOWN, "this feed begins anew; come back")
                self._overtaken += track.overtaken

    def restart(self, message: Restart, now: float) -> None:
        """A new epoch."""
        self._strand(message.frames)
        self._origin = message.epoch, message.offset, now
        for number, track in self.tracks.items():
            track.restart(message.epoch, message.offset, of_track(number, message.frames), now)

    def redact(self, message: Redact) -> None:
        """Events are gone."""
        for track in self.tracks.values():
            track.redact(message.epoch, message.offsets, message.reason)

    def backfill(self, message: Backfill, now: float) -> None:
        """A part of the past that was asked for."""
        number = message.variant
        track = self.tracks.get(number)
        if message.snapshot:
            self._begin_at(message, now)
            return
        queue = self._resuming.pop(number, [])
        asked = self._fetching.pop(number, 0)
        if track is None:
            return
        if message.epoch == track.log.epoch:
            batches = [(first, last, {number: frame}) for first, last, frame in message.batches]
            track.prepend(batches, now)
        for session, join in queue:
            if session.room is self:
                # Whoever needs older offsets than were asked for is asked for again.
                self._resume(track, session, join, now, last_try=join.offset >= asked)

    def _begin_at(self, message: Backfill, now: float) -> None:
        """The beginning of the epoch, for who comes from another one."""
        number = message.variant
        track, queue = self.tracks.get(number), self._returning.pop(number, [])
        if track is None:
            return
        if message.epoch == track.log.epoch:
            track.prepend([(first, last, {number: frame}) for first, last, frame in message.batches], now)
            track.begin_at(message.epoch, message.after, message.snapshot)
        for session, join in queue:
            if session.room is self:
                self._resume(track, session, join, now, last_try=True)


def _reply(session: Session, ref: int, code: Code, text: str = "") -> bytes:
    assert session.codec is not None
    return encode_message(session.codec, Reply(ref, code, 0, text))
