"""One room at an edge: its viewers, in one track per codec, and what the hub is to know of them.

Owns the tracks, who waits to come in, and the likes counted here. Must not know sockets beyond the wire, nor what a comment is.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from engine.edge.session import Session, Wire
from engine.edge.track import Track
from engine.link.messages import (
    Backfill,
    FetchBackfill,
    FetchSnapshot,
    Frames,
    OpenRoom,
    Restart,
    SharedSnapshot,
    Up,
    Wants,
)
from engine.room.encoder import DEFLATED, encode_message, plain
from engine.schema import CODECS, Gap, Join, Joined, handle_of
from engine.settings import RoomSettings

__all__ = ["EdgeRoom"]

_PARTED_MAX: Final = 10_000
"""Departed sessions whose like totals are remembered, per room. A returning one beyond that starts a new count."""


class EdgeRoom:
    """See the module's docstring.

    :ivar handle: of the room on the wire.
    :ivar opening: number of this opening of the room at this edge, by which every hub knows its likes again; what a hub says of
        an earlier one is ignored.
    :ivar likes: counted here since the edge opened the room.
    :ivar outbox: what the hub is to be told of this room at the end of the turn.
    :ivar empty_since: when the last viewer left; None while somebody is here.
    """

    __slots__ = (
        "_fetching",
        "_parted",
        "_renewing",
        "_resuming",
        "_settings",
        "_waiting",
        "_wants",
        "_wire",
        "empty_since",
        "handle",
        "likes",
        "name",
        "opening",
        "outbox",
        "quality",
        "reported_likes",
        "reported_viewers",
        "tracks",
    )

    def __init__(self, name: str, opening: int, settings: RoomSettings, wire: Wire) -> None:
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
        self._renewing = False
        self._parted: OrderedDict[str, int] = OrderedDict()
        self.likes = self.reported_likes = self.reported_viewers = 0
        self.quality = [0, 0, 0, 0]
        self.outbox: list[Up] = []
        self.empty_since: float | None = None

    def __len__(self) -> int:
        return sum(map(len, self.tracks.values()))

    @property
    def pending(self) -> int:
        """How many viewers are not in yet."""
        return sum(map(len, self._waiting.values())) + sum(map(len, self._resuming.values()))

    # -- coming in ----------------------------------------------------------------------------------------------------

    def enter(self, session: Session, join: Join, now: float) -> None:
        """Let a viewer in, now or as soon as what it needs has come from the hub."""
        codec = session.codec
        assert codec is not None  # a session that sends messages has agreed on one
        session.room = self
        self.empty_since = None
        if session.variant not in self._wants:
            first = not self._wants
            self._wants |= {session.variant, plain(session.variant)}
            wants = sorted(self._wants)
            self.outbox.append(OpenRoom(self.name, self.opening, wants) if first else Wants(self.name, wants))
        known = self._parted.pop(session.secret, None)
        # A session that nobody here remembers may have likes counted elsewhere: its first report is where counting begins.
        session.likes = known if known is not None else (-1 if join.session else 0)
        track = self.tracks.get(codec.number)
        if track is None:
            self._wait(session, join)
        elif join.epoch:
            self._resume(track, session, join, now)
        else:
            self._begin(track, session, join, now)

    def _wait(self, session: Session, join: Join) -> None:
        assert session.codec is not None
        self._waiting.setdefault(session.codec.number, []).append((session, join))
        if session.codec.number in self.tracks and not self._renewing:
            # Its snapshot is old. The first one in a codec comes unasked.
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
            return
        frame, cursor = snapshot
        self._wire.push(session, self._joined(session, join, False) + gap + frame)
        if session.room is self:
            track.enter(session, cursor)

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
                track.enter(session, cursor)
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
        gap = encode_message(track.codec, Gap(self.handle, join.epoch, join.offset + 1, last, reason))
        self._begin(track, session, join, now, gap)

    def _fetch(self, track: Track, session: Session, join: Join) -> None:
        number = track.codec.number
        self._resuming.setdefault(number, []).append((session, join))
        if number not in self._fetching:
            self._fetching[number] = join.offset
            # What the log already has from an earlier answer is not asked for again.
            self.outbox.append(FetchBackfill(self.name, join.epoch, join.offset, track.log.floor, number))

    def leave(self, session: Session) -> None:
        """A viewer is gone, wherever it was."""
        session.room = None
        if session.likes > 0 and session.secret:
            self._parted[session.secret] = session.likes
            while len(self._parted) > _PARTED_MAX:
                self._parted.popitem(last=False)
        if session.track is not None:
            session.track.leave(session)
            return
        for queues in (self._waiting, self._resuming):
            for number, queue in queues.items():
                queues[number] = [waiting for waiting in queue if waiting[0] is not session]

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
        for number, queue in self._resuming.items():
            self._waiting.setdefault(number, []).extend(queue)
        self._resuming.clear()
        self._fetching.clear()
        self._renewing = False
        self.reported_viewers = self.reported_likes = 0
        # All tracks are given the same batches.
        log = next((track.log for track in self.tracks.values()), None)
        epoch, offset = (log.epoch, log.head) if log is not None else (0, 0)
        self.outbox = [OpenRoom(self.name, self.opening, sorted(self._wants), epoch, offset)]

    # -- from the hub -------------------------------------------------------------------------------------------------

    def snapshot(self, message: SharedSnapshot, now: float) -> None:
        """The state after the newest frames, in each codec that the hub knows to be needed here."""
        self._renewing = False
        for number in message.frames:
            track = self.tracks.get(number)
            if track is None:
                self.tracks[number] = track = Track(self.handle, CODECS[number], message, self._settings, self._wire)
            else:
                track.renew(message)
            for session, join in self._waiting.pop(number, ()):
                if session.room is not self:
                    continue
                if join.epoch:
                    self._resume(track, session, join, now)
                else:
                    self._begin(track, session, join, now)

    def frames(self, message: Frames, now: float) -> None:
        """A finished batch."""
        for number, track in self.tracks.items():
            track.append(message.first, message.last, _of_codec(number, message.frames), now)

    def restart(self, message: Restart, now: float) -> None:
        """A new epoch."""
        for number, track in self.tracks.items():
            track.restart(message.epoch, message.offset, _of_codec(number, message.frames), now)

    def backfill(self, message: Backfill, now: float) -> None:
        """A part of the past that was asked for."""
        number = message.variant
        track = self.tracks.get(number)
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


def _of_codec(number: int, frames: dict[int, bytes]) -> dict[int, bytes]:
    deflated = number | DEFLATED
    if deflated in frames:
        return {number: frames[number], deflated: frames[deflated]}
    return {number: frames[number]}
