"""The hub: serves its edges' links and the broker, and runs the rooms' ticks.

Owns the open rooms, one task per link that reads it, and one that ticks for all rooms. Must not know viewer sockets, nor how
events get to the broker, nor how a room is kept in line with it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, ClassVar

import trio

from engine.access import SERVER, check_room_name
from engine.brokers.base import LIMITED, Broker, Deliver, Pending, Position, Record
from engine.errors import Code, Refused
from engine.hub.backfill import backfill
from engine.hub.port import Port
from engine.hub.publisher import Publisher
from engine.hub.returning import bring_up
from engine.hub.room import HubRoom, Phase
from engine.hub.upstream import Upstream
from engine.link.base import End
from engine.link.messages import (
    CloseRoom,
    DirectTo,
    Down,
    FetchBackfill,
    FetchSnapshot,
    Likes,
    OpenRoom,
    Pace,
    Presence,
    QualitySum,
    RefuseRoom,
    ReplyTo,
    Say,
    Up,
    Wants,
)
from engine.schema import MSGPACK, Author, CommentEvent, CustomEvent
from engine.settings import Settings
from engine.timing import Bell, Deadlines

__all__ = ["Hub", "HubStatistics"]


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """What a hub has done since it started.

    :ivar link_bytes: to its edges, where they are other processes.
    """

    rooms: int
    viewers: int
    events_published: int
    events_withheld: int
    events_waiting: int
    batches: int
    backfills: int
    link_bytes: int
    quality_reports: int
    gaps_reported: int
    reconnects_reported: int


class Hub:
    """See the module's docstring.

    :param broker: made from the function that it is to call for every delivery.
    """

    def __init__(self, settings: Settings, broker: Callable[[Deliver], Broker]) -> None:
        self._settings = settings
        self._clock = trio.current_time
        self._rooms: dict[str, HubRoom] = {}
        self._upstream = Upstream(broker, self._rooms, self._schedule, self._live, self._flush)
        self.broker = self._upstream.broker
        self._ports: set[Port] = set()
        self._publisher = Publisher(self.broker, settings.limits.pending_events, self._flush)
        self._incarnation = secrets.token_hex(8)
        self._numbers = count(1)
        # On a common grid many small rooms share a wake-up instead of having one each.
        self._deadlines: Deadlines[HubRoom] = Deadlines(settings.room.tick_grid_seconds)
        self._ticker = Bell()
        self._nursery: trio.Nursery | None = None
        self._stopped = False
        self._batches = self._backfills = self._parted_bytes = 0
        self._quality = [0, 0, 0]

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._upstream.start(self._nursery)
            self._nursery.start_soon(self._publisher.run)
            self._nursery.start_soon(self._tick)
            task_status.started()

    def attach(self, link: End[Down, Up], edge: str = "") -> trio.Event:
        """Serve one edge until its link ends, which sets the event. `run` first.

        :param edge: incarnation of its process, by which it and what it counts are known again when it comes back over another
            link; empty: it will not.
        """
        if self._nursery is None:
            raise RuntimeError("the hub does not run")
        done = trio.Event()
        self._nursery.start_soon(self._serve, link, edge or f"{self._incarnation}.{next(self._numbers)}", done)
        return done

    async def serve(self, link: End[Down, Up], edge: str = "") -> None:
        """As `attach`, and wait until the link has ended or this is cancelled."""
        done = self.attach(link, edge)
        try:
            await done.wait()
        finally:
            link.close()
            with trio.CancelScope(shield=True):
                await done.wait()

    async def _serve(self, link: End[Down, Up], edge: str, done: trio.Event) -> None:
        for port in [port for port in self._ports if port.edge == edge]:
            # Its end has not been noticed yet.
            self._part(port)
        port = Port(link, edge)
        self._ports.add(port)
        if self._stopped:
            port.stop()
            port.flush()
        try:
            while port in self._ports and (messages := await port.receive()):
                for message in messages:
                    self._handlers[type(message)](self, port, message)
                self._flush()
        finally:
            self._part(port)
            done.set()

    def _part(self, port: Port) -> None:
        """An edge is gone."""
        if port not in self._ports:
            return
        self._ports.discard(port)
        self._parted_bytes += port.sent_bytes
        port.close()
        for room in [room for room in self._rooms.values() if port in room.ports]:
            self._detach(port, room)

    async def drain(self, *, replaced: bool = False) -> None:
        """Accept nothing more, publish and hand over all that waits, and tell the edges that this was the last.

        :param replaced: another process goes on with the rooms, over the same broker.
        """
        await self._publisher.drain()
        now = self._clock()
        for room in self._rooms.values():
            room.flush(now)
        for port in self._ports:
            port.stop()
        self._stopped = True
        self._flush()

    def statistics(self) -> HubStatistics:
        """A frozen picture of the hub."""
        return HubStatistics(
            rooms=len(self._rooms),
            viewers=sum(room.viewers for room in self._rooms.values()),
            events_published=self._publisher.published,
            events_withheld=self._publisher.withheld,
            events_waiting=self._publisher.waiting,
            batches=self._batches,
            backfills=self._backfills,
            link_bytes=self._parted_bytes + sum(port.sent_bytes for port in self._ports),
            quality_reports=self._quality[0],
            gaps_reported=self._quality[1],
            reconnects_reported=self._quality[2],
        )

    # -- the node's own events ----------------------------------------------------------------------------------------

    async def say(
        self, room: str, body: str, *, name: str = "", author: Author = SERVER, session: str = "", ref: int = 0
    ) -> int:
        """Publish a comment, or with ``name`` a custom event, and return its offset. The room's budget does not apply.

        ``(session, ref)`` makes a retry harmless. Raises `engine.errors.Refused`.
        """
        check_room_name(room)
        done = trio.Event()
        outcome: list[tuple[Code, int, str, int]] = []

        def answer(code: Code, offset: int, text: str, retry_after_ms: int) -> None:
            outcome.append((code, offset, text, retry_after_ms))
            done.set()

        self._publisher.accept(room, Pending(_event(author, ref, name, body), session, ref), answer)
        await done.wait()
        code, offset, text, retry_after_ms = outcome[0]
        if code is not Code.OK:
            raise Refused(code, text, retry_after_ms)
        return offset

    def like(self, name: str, count: int) -> None:
        """Add likes to an open room from outside its edges."""
        room = self._rooms.get(name)
        if room is not None:
            room.count(room.own, room.likes.get(room.own, 0) + count)
            self._publisher.report(room)

    def counters(self, name: str) -> tuple[int, ...] | None:
        """``(likes, viewers)`` of an open room."""
        room = self._rooms.get(name)
        return room.state.counters if room is not None else None

    async def amend(self, room: str, field: str, value: bytes | None, *, expires_ms: int = 0, expect: int | None = None) -> int:
        """Change a room's record at all nodes (`engine.brokers.base.Broker.amend`), and return its revision.

        Raises `engine.errors.Refused` for a bad name, and what the broker raises.
        """
        check_room_name(room)
        return await self.broker.amend(room, field, value, expires_ms, expect)

    def record(self, name: str) -> Record | None:
        """The record of an open room, as far as it has come here; do not change it."""
        room = self._rooms.get(name)
        return room.record if room is not None else None

    # -- link: what edges send ----------------------------------------------------------------------------------------

    def _on_say(self, port: Port, say: Say) -> None:
        try:
            pending = Pending(_event(say.author, say.ref, say.name, say.body), say.session, say.ref, LIMITED)
            self._publisher.accept(say.room, pending, partial(_reply, port, say.viewer, say.ref))
        except Refused as refused:
            _reply(port, say.viewer, say.ref, refused.code, 0, refused.text, refused.retry_after_ms)

    def _on_open(self, port: Port, message: OpenRoom) -> None:
        room = self._rooms.get(message.room)
        if room is None:
            if len(self._rooms) >= self._settings.room.rooms_max:
                port.post(
                    RefuseRoom(message.room, message.opening, Code.ROOM_FULL, "no more rooms on this node (room.rooms_max)")
                )
                return
            own = f"{self._incarnation}/{next(self._numbers)}"
            room = HubRoom(message.room, self._settings.room, own, partial(self.broker.now_ms, message.room))
            self._rooms[message.room] = room
            self._upstream.opened(room)
        port.openings[room.name] = message.opening
        port.wants[room.name] = tuple(message.variants)
        room.attach(port, Position(message.epoch, message.offset))
        if port in room.behind:
            self._welcome(port, room)
        elif room.phase is not Phase.OPENING:
            room.send_snapshot(port)

    def _welcome(self, port: Port, room: HubRoom) -> None:
        if room.phase in (Phase.LIVE, Phase.REPAIRING) and self._nursery is not None:
            self._nursery.start_soon(bring_up, self.broker, self._upstream, room, port, self._flush)

    def _live(self, room: HubRoom) -> None:
        """The room goes on, with whom it stands is known."""
        for port in room.behind:
            self._welcome(port, room)
        self._publisher.report(room)

    def _on_close(self, port: Port, message: CloseRoom) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            self._detach(port, room)
            port.forget(room.name)

    def _detach(self, port: Port, room: HubRoom) -> None:
        room.detach(port)
        if room.ports:
            self._publisher.report(room)
        else:
            room.wake = math.inf
            del self._rooms[room.name]
            self._upstream.closed(room)

    def _on_wants(self, port: Port, message: Wants) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            port.wants[message.room] = tuple(message.variants)
            room.want()
            if room.phase is not Phase.OPENING:
                room.send_snapshot(port)

    def _on_likes(self, port: Port, message: Likes) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            room.count(port.source(room.name), message.total)
            self._publisher.report(room)

    def _on_presence(self, port: Port, message: Presence) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            room.ports[port] = message.viewers
            self._publisher.report(room)

    def _on_pace(self, port: Port, message: Pace) -> None:
        port.learn(message)

    def _on_fetch_snapshot(self, port: Port, message: FetchSnapshot) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports and room.phase is not Phase.OPENING:
            room.send_snapshot(port)

    def _on_fetch_backfill(self, port: Port, message: FetchBackfill) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._backfill, port, message)

    async def _backfill(self, port: Port, wanted: FetchBackfill) -> None:
        # Half of what an edge's log may hold: the answer is to fit beside the newest frames.
        limit = self._settings.room.log_bytes // 2
        port.post(await backfill(self.broker, wanted, self.counters(wanted.room) or (), limit))
        self._backfills += 1
        self._flush()

    def _on_direct(self, port: Port, message: DirectTo) -> None:
        room = self._rooms.get(message.room)
        if room is not None and room.phase is not Phase.OPENING:
            room.send(DirectTo(message.room, message.author, message.user, message.body, room.time()))

    def _on_quality(self, port: Port, message: QualitySum) -> None:
        self._quality[0] += message.reports
        self._quality[1] += message.gaps
        self._quality[2] += message.reconnects

    _handlers: ClassVar[dict[type, Callable[[Hub, Port, Any], None]]] = {
        OpenRoom: _on_open,
        CloseRoom: _on_close,
        Wants: _on_wants,
        Say: _on_say,
        Likes: _on_likes,
        Presence: _on_presence,
        Pace: _on_pace,
        FetchBackfill: _on_fetch_backfill,
        FetchSnapshot: _on_fetch_snapshot,
        DirectTo: _on_direct,
        QualitySum: _on_quality,
    }

    # -- time ---------------------------------------------------------------------------------------------------------

    def _schedule(self, room: HubRoom) -> None:
        due = room.due()
        if due < room.wake:
            room.wake = due
            if self._deadlines.add(due, room):
                self._ticker.ring()

    async def _tick(self) -> None:
        while True:
            await self._ticker.wait_until(self._deadlines.next())
            now = self._clock()
            for room in self._deadlines.expired(now):
                if room.wake <= now:
                    room.wake = math.inf
                    room.service(now)
                    self._batches += 1
                    self._schedule(room)
            self._flush()

    def _flush(self) -> None:
        for port in self._ports:
            port.flush()


def _event(author: Author, ref: int, name: str, body: str) -> bytes:
    event = CustomEvent(author, ref, name, body) if name else CommentEvent(author, ref, body)
    return MSGPACK.encode(event)


def _reply(port: Port, viewer: int, ref: int, code: Code, offset: int, text: str, retry_after_ms: int) -> None:
    port.post(ReplyTo(viewer, ref, code, offset, text, retry_after_ms))
