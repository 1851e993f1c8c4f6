"""The rooms of an edge and the edge's end of the link.

Owns the open rooms, when the hub is told of them, and what comes down. Must not know sockets beyond the wire, nor how what is
said gets to the hub (`engine.edge.upward`).

A link may end and another one come: the rooms stay, who is in them stays. What viewers said is held until the hub has answered,
and said again to the next one; (session, ref) makes that harmless. Meanwhile nobody can enter what only the hub could open.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

import trio

from engine.access import Grant, shown
from engine.edge.bars import Bars
from engine.edge.bearers import Bearers
from engine.edge.fanout import Fanout
from engine.edge.held import RETRY_MS, Held
from engine.edge.knocking import Knocking
from engine.edge.meter import Meter
from engine.edge.quality import Measuring
from engine.edge.room import EdgeRoom
from engine.edge.session import Session, Wire
from engine.edge.upward import Upward
from engine.errors import Close, Code, Refused
from engine.link.base import End
from engine.link.messages import (
    AskRoll,
    Backfill,
    Barred,
    CloseRoom,
    DirectTo,
    Down,
    Expel,
    Frames,
    Gate,
    Located,
    Pace,
    Packets,
    PrivateTo,
    Qualities,
    Redact,
    RefuseRoom,
    ReplyTo,
    Request,
    Restart,
    Say,
    SharedSnapshot,
    Stop,
    Trust,
    Up,
)
from engine.room.encoder import encode_message, plain
from engine.schema import CONSOLE, DirectMessage, Join, Reply
from engine.settings import Settings
from engine.timing import Bell, Deadlines

__all__ = ["Rooms"]

_BACKLOG_MAX: Final = 100_000
"""Messages that may wait for the hub; above it viewers' messages are refused with a retry."""
_BANNED: Final = "you are banned from this room"
_PACE_SECONDS: Final = 0.25
"""Time between reports of the fan-out's speed."""
_WAIT_SECONDS: Final = 1.0
"""Time between looks whether there is a hub again that can be told what was counted in an empty room."""


class Rooms:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    :ivar stopped: set when the hub has sent its last message.
    :ivar quality: how rooms reach their viewers.
    :ivar leaving: whether viewers' events are refused because this edge stops.
    """

    def __init__(self, settings: Settings, wire: Wire, now_ms: Callable[[], int], bearers: Bearers) -> None:
        self._settings = settings
        self._wire = wire
        self._now_ms = now_ms
        self._bearers = bearers
        self._up = Upward()
        self._rooms: dict[str, EdgeRoom] = {}
        self._openings = 0
        self._overtaken = self._past_lost = 0
        self._dirty: dict[EdgeRoom, None] = {}
        self._lingering: Deadlines[EdgeRoom] = Deadlines()
        self._linger_bell = Bell()
        self._paced_at = 0.0
        self._paced = (0.0, 0)
        self._replies: dict[Session, list[bytes]] = {}
        self._held = Held(settings.limits.pending_events)
        self._knocking = Knocking(bool(settings.hooks.join_url), settings.hooks.pending)
        self.quality = Measuring(settings.quality, self._tell_quality)
        self.leaving = False
        self.fanout = Fanout(settings.edge.slice_frames, self.turn_over)
        self.stopped = trio.Event()

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        lingers_otherwise = settings.room.linger_seconds != self._settings.room.linger_seconds
        self._settings = settings
        self._held.most = settings.limits.pending_events
        self._knocking.most = settings.hooks.pending
        self.fanout.slice_frames = settings.edge.slice_frames
        self.quality.adopt(settings.quality)
        for room in self._rooms.values():
            room.adopt(settings.room)
            if lingers_otherwise and room.empty_since is not None:
                self._linger(room, room.empty_since)

    def __len__(self) -> int:
        return len(self._rooms)

    def __getitem__(self, name: str) -> EdgeRoom:
        return self._rooms[name]

    def values(self) -> list[EdgeRoom]:
        """The open rooms."""
        return list(self._rooms.values())

    @property
    def overtaken(self) -> int:
        """How often the lag policy was applied so far."""
        return self._overtaken + sum(room.overtaken for room in self._rooms.values())

    @property
    def past_lost(self) -> int:
        """How many viewers came back and were told a gap, because what they had missed is not kept any more."""
        return self._past_lost + sum(room.past_lost for room in self._rooms.values())

    # -- for requests -------------------------------------------------------------------------------------------------

    def join(self, session: Session, join: Join, grant: Grant) -> None:
        """Let a viewer into a room, at once or when the product has been asked, whom the console's does not concern. Raises
        `Refused`."""
        room = self._check_place(session, join)
        if not self._knocking.asked or join.room == CONSOLE:
            self._enter(session, join, grant, room)
        elif not self.linked:
            raise Refused(Code.UNAVAILABLE, "the hub is out of reach", RETRY_MS)
        else:
            self._up.add(self._knocking.knock(session, join, grant))

    def waits(self, session: Session) -> bool:
        """Whether a viewer has asked to come in and was not answered yet."""
        return session in self._knocking

    def _check_place(self, session: Session, join: Join) -> EdgeRoom | None:
        """The room, if it is open here. Raises `Refused` if a viewer cannot enter it now."""
        room = self._rooms.get(join.room)
        limits = self._settings.room
        # Who looks at a node that is full comes in.
        limited = join.room != CONSOLE
        if room is None:
            if not self.linked:
                raise Refused(Code.UNAVAILABLE, "the hub is out of reach", RETRY_MS)
            if limited and len(self._rooms) >= limits.rooms_max:
                raise Refused(Code.ROOM_FULL, "no more rooms on this node (room.rooms_max)", 5000, limit="room.rooms_max")
            return None
        if limited and limits.viewers_max and len(room) + room.pending >= limits.viewers_max:
            raise Refused(Code.ROOM_FULL, "the room is full (room.viewers_max)", 5000, limit="room.viewers_max")
        self._admit(room, session)
        return room

    def _enter(self, session: Session, join: Join, grant: Grant, room: EdgeRoom | None) -> None:
        if room is None:
            self._openings += 1
            meter = self.quality.open(join.room)
            room = self._rooms[join.room] = EdgeRoom(join.room, self._openings, self._settings.room, self._wire, meter)
        session.deadline = math.inf
        self.touch(room)
        room.enter(session, join, trio.current_time())
        if not self.linked and session.room is room and session.track is None:
            # What it needs is not here.
            room.leave(session)
            self._wire.await_join(session)
            raise Refused(Code.UNAVAILABLE, "the hub is out of reach", RETRY_MS)
        self._bearers.entered(session, grant)

    def choose(self, session: Session, ref: int, variant: int) -> None:
        """Give a viewer another variant of its room. Raises `Refused` if only a hub that is not there has it."""
        room = session.room
        assert room is not None  # it is in
        if not self.linked and plain(variant) not in room.tracks:
            raise Refused(Code.UNAVAILABLE, "the hub is out of reach", RETRY_MS)
        room.choose(session, ref, variant)
        self.touch(room)

    def leave(self, session: Session, code: int = 0) -> None:
        """A viewer leaves its room, if it is in one.

        :param code: of the close that ends its connection; 0: that stays.
        """
        room = session.room
        if room is not None:
            if code and session.track is not None:
                room.meter.closed(code)
            room.leave(session)
            self.touch(room)
        else:
            self._knocking.forget(session)

    def touch(self, room: EdgeRoom) -> None:
        """The hub is to be told of the room at the end of the turn."""
        self._dirty[room] = None

    def ask(self, message: Say | Request) -> None:
        """Something to the hub, at the end of the turn or when there is one again; kept until it is answered. Raises `Refused`
        when too much is unanswered already."""
        if self.leaving:
            raise Refused(Code.UNAVAILABLE, "the node is stopping", RETRY_MS)
        self._held.add(message)
        self._up.add(message)

    def direct(self, message: DirectTo) -> None:
        """A message for one user to the hub, at the end of the turn. Raises `Refused` when it cannot go there now."""
        if not self.linked:
            raise Refused(Code.UNAVAILABLE, "the hub is out of reach", RETRY_MS)
        if len(self._up) >= _BACKLOG_MAX:
            raise Refused(Code.OVERLOADED, "the node is behind with its input", RETRY_MS)
        self._up.add(message)

    def turn_over(self) -> None:
        """Hand over to the hub what came together in this turn."""
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for room in dirty:
                self._report(room)
        fanout = self.fanout
        now = time.perf_counter()
        if now - self._paced_at >= _PACE_SECONDS:
            seconds, frames = self._paced
            if fanout.frames > frames:
                self._up.add(Pace(fanout.seconds - seconds, fanout.frames - frames))
                self._paced = (fanout.seconds, fanout.frames)
            self._paced_at = now
        self._up.turn_over()

    def _report(self, room: EdgeRoom) -> None:
        self._up.add(*room.report(self.linked))
        if not len(room) and not room.pending and room.empty_since is None:
            room.empty_since = trio.current_time()
            self._linger(room, room.empty_since)

    def _linger(self, room: EdgeRoom, since: float) -> None:
        self._lingering.add(since + self._settings.room.linger_seconds, room)
        self._linger_bell.ring()

    async def expire(self) -> None:
        """Forget rooms that stayed empty for the linger time, until cancelled. Not without a hub: it may not have been told of
        all likes."""
        while True:
            await self._linger_bell.wait_until(self._lingering.next())
            now, linger = trio.current_time(), self._settings.room.linger_seconds
            for room in self._lingering.expired(now):
                if room.empty_since is None or room.empty_since + linger > now or self._rooms.get(room.name) is not room:
                    continue
                if not self.linked:
                    self._lingering.add(now + max(linger, _WAIT_SECONDS), room)
                else:
                    self._forget(room)
                    self._close(room)
            self.turn_over()

    def _close(self, room: EdgeRoom) -> None:
        """The hub is told of a room for the last time."""
        self._up.add(Qualities([room.measured(trio.current_time())]), CloseRoom(room.name))
        self.quality.forget(room.meter)

    def _tell_quality(self, meters: Sequence[Meter]) -> bool:
        if not self.linked:
            return False
        now = trio.current_time()
        told = [self._rooms[meter.room].measured(now) for meter in meters if meter.room in self._rooms]
        if told:
            # After what it is about.
            self.turn_over()
            self._up.tell(told)
        return True

    # -- from the hub -------------------------------------------------------------------------------------------------

    async def serve(self, link: End[Up, Down], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Exchange messages with a hub, one at a time, until its end of the link closes or this is cancelled."""
        self._up.link = link
        try:
            self._announce()
            task_status.started()
            while messages := await link.receive():
                now = trio.current_time()
                for message in messages:
                    self._take(message, now)
                self._send_replies()
                self.turn_over()
        finally:
            # What was measured and no hub has been given is told to the next.
            for each in self._up.end():
                if (room := self._rooms.get(each.room)) is not None:
                    room.meter.give_back(each)
            link.close()

    def _announce(self) -> None:
        """Tell a hub what is open here, and what it was not told or did not answer."""
        self._up.clear()
        for room in self._rooms.values():
            room.announce()
            self.touch(room)
        self.turn_over()
        self._up.add(*self._held.messages)
        self._up.add(*self._knocking.messages)
        self.turn_over()
        self.quality.hub_came()

    @property
    def linked(self) -> bool:
        """Whether there is a hub."""
        return self._up.link is not None

    async def answered(self) -> None:
        """Wait until the hub has answered everything that viewers said."""
        await self._held.empty()

    def _take(self, message: Down, now: float) -> None:
        if isinstance(message, ReplyTo):
            self._reply(message)
            return
        if isinstance(message, PrivateTo):
            self._private(message)
            return
        if isinstance(message, Stop):
            # It hears what is told right away.
            self.quality.tell()
            self.stopped.set()
            return
        if isinstance(message, Trust):
            self._bearers.trust(message)
            return
        if isinstance(message, Gate):
            self._knocking.asked = message.asked
            return
        room = self._rooms.get(message.room)
        if room is None or (isinstance(message, SharedSnapshot | RefuseRoom) and message.opening != room.opening):
            return
        match message:
            case Frames():
                room.frames(message, now)
                self._fan_out(room)
            case SharedSnapshot():
                room.snapshot(message, now)
                self.touch(room)
            case Backfill():
                room.backfill(message, now)
                self.touch(room)
            case Restart():
                room.restart(message, now)
                self._fan_out(room)
            case Redact():
                room.redact(message)
            case AskRoll():
                room.attendance.roll(message.offset, room.present)
                self.touch(room)
            case Barred():
                self._bar(room, message)
            case Packets():
                self._open_packets(room, frozenset(message.open))
            case Expel():
                self._expel(room, message.user)
            case DirectTo():
                self._direct(room, message)
            case RefuseRoom():
                self._refuse(room, message)

    def _open_packets(self, room: EdgeRoom, packets: frozenset[int]) -> None:
        """These can be claimed. No claim is held for one that could not."""
        over, room.packets = room.packets - packets, packets
        if over:
            self._held.release(room.name, packets)

    def _forget(self, room: EdgeRoom) -> None:
        """Nothing is told of this room any more."""
        del self._rooms[room.name]
        self._overtaken += room.overtaken
        self._past_lost += room.past_lost
        self._open_packets(room, frozenset())

    def _fan_out(self, room: EdgeRoom) -> None:
        for track in room.tracks.values():
            self.fanout.add(track)

    def _reply(self, message: ReplyTo) -> None:
        if message.ref < 0:
            self._open_door(message)
            return
        self._held.done(message.viewer, message.ref)
        session = self._wire.find(message.viewer)
        if session is not None and session.codec is not None:
            reply = Reply(message.ref, message.code, message.offset, message.text, message.retry_after_ms)
            self._replies.setdefault(session, []).append(encode_message(session.codec, reply))

    def _open_door(self, message: ReplyTo) -> None:
        """A knock was answered: what held when the viewer knocked is looked at again."""
        visitor = self._knocking.answered(message.viewer, message.ref)
        if visitor is None:
            return
        session, join, grant, _ = visitor
        reply = Reply(join.ref, message.code, 0, message.text, message.retry_after_ms)
        if message.code == Code.OK:
            try:
                if grant.claims is not None:
                    self._bearers.admit(session, join)
                self._enter(session, join, grant, self._check_place(session, join))
                return
            except Refused as refused:
                reply = Reply(join.ref, refused.code, 0, refused.text, refused.retry_after_ms)
        assert session.codec is not None  # it has joined, or tried to
        self._wire.push(session, encode_message(session.codec, reply))

    def _private(self, message: PrivateTo) -> None:
        self._held.done(message.viewer, message.ref)
        session = self._wire.find(message.viewer)
        if session is not None:
            self._replies.setdefault(session, []).append(message.frame)

    def _send_replies(self) -> None:
        """One write for each viewer, however many of its requests were answered."""
        if self._replies:
            replies, self._replies = self._replies, {}
            for session, frames in replies.items():
                self._wire.push(session, b"".join(frames) if len(frames) > 1 else frames[0])

    def _direct(self, room: EdgeRoom, message: DirectTo) -> None:
        direct = DirectMessage(room.handle, shown(message.author, message.standing), message.body, message.time)
        for session in room.present:
            if session.codec is not None and session.author is not None and session.author.id == message.user:
                self._wire.push(session, encode_message(session.codec, direct))

    def _refuse(self, room: EdgeRoom, message: RefuseRoom) -> None:
        self._forget(room)
        for session, ref in room.refuse():
            if session.codec is not None:
                self._wire.await_join(session)
                reply = Reply(ref, message.code, 0, message.text, 5000)
                self._wire.push(session, encode_message(session.codec, reply))
        for session in room.present:
            self._wire.close(session, Close.GOING_AWAY, message.text)
        # Who was there is not any more, before the room is closed; whether the hub had it open or not.
        self._dirty.pop(room, None)
        self._up.add(*room.report(self.linked))
        self._close(room)

    # -- who may not be here ------------------------------------------------------------------------------------------

    def _admit(self, room: EdgeRoom, session: Session) -> None:
        """Raise `Refused` if a viewer is barred."""
        bars, author = room.bars, session.author
        if bars is None or author is None:
            return
        self._locate(room, bars, session)
        left = bars.retry_after_ms(author.id, session.address, self._now_ms())
        if left is not None:
            raise Refused(Code.BANNED, _BANNED, left)

    def _locate(self, room: EdgeRoom, bars: Bars, session: Session) -> None:
        """Tell the hub the address of a user whom it looks for."""
        address = bars.found(session.author.id, session.address) if session.author is not None else None
        if session.author is not None and address is not None:
            self._up.add(Located(room.name, session.author.id, address))

    def _bar(self, room: EdgeRoom, message: Barred) -> None:
        bars = Bars(message)
        room.bars = bars if bars else None
        if not bars:
            return
        now_ms = self._now_ms()
        for session in room.present:
            self._locate(room, bars, session)
            author = session.author
            if author is not None and bars.retry_after_ms(author.id, session.address, now_ms) is not None:
                self._wire.close(session, Close.BANNED, _BANNED)
        for session, ref in room.outside:
            try:
                self._admit(room, session)
            except Refused as refused:
                self._turn_away(room, session, Reply(ref, refused.code, 0, refused.text, refused.retry_after_ms))

    def _turn_away(self, room: EdgeRoom, session: Session, reply: Reply) -> None:
        """A viewer that is not in yet does not get in."""
        room.leave(session)
        self.touch(room)
        if session.codec is not None:
            self._wire.await_join(session)
            self._wire.push(session, encode_message(session.codec, reply))

    def _expel(self, room: EdgeRoom, user: str) -> None:
        for session in [*room.present, *(session for session, _ in room.outside)]:
            if session.author is not None and session.author.id == user:
                self._wire.close(session, Close.KICKED, "a moderator sent you out")
