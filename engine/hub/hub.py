"""The hub: serves its edges' links and the broker, and runs the rooms' ticks.

Owns the open rooms and the tasks that move events: one reader per link, one publisher, one ticker, for any number of rooms.
Must not know viewer sockets, nor how a room is kept in line with the broker.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import trio

from engine.access import SERVER, Rate, check_room_name
from engine.brokers.base import Broker, Events, Pending, Position, Receipt, Totals, Unavailable
from engine.errors import Code, Refused
from engine.hub.backfill import backfill
from engine.hub.intake import Answer, Intake
from engine.hub.port import Port
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

_RETRY_MS: Final = 1_000
"""How long senders are asked to wait when the broker is out of reach."""
_PARTED_MAX: Final = 16
"""Edges that are gone whose likes are remembered, lest they be counted again when one comes back."""


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """What a hub has done since it started."""

    rooms: int
    viewers: int
    events_published: int
    events_waiting: int
    batches: int
    backfills: int
    quality_reports: int
    gaps_reported: int
    reconnects_reported: int


class Hub:
    """See the module's docstring.

    :param broker: made from the function that it is to call for every delivery.
    :param now_ms: Unix milliseconds.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Callable[[Callable[[Events | Totals], None]], Broker],
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._clock = trio.current_time
        self._rooms: dict[str, HubRoom] = {}
        self._upstream = Upstream(broker, self._rooms, now_ms, self._schedule, self._live, self._flush)
        self.broker = self._upstream.broker
        self._ports: set[Port] = set()
        self._parted: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._intake = Intake(settings.limits.pending_events)
        self._dirty: set[HubRoom] = set()
        self._publisher = Bell()
        # On a common grid many small rooms share a wake-up instead of having one each.
        self._deadlines: Deadlines[HubRoom] = Deadlines(settings.room.tick_grid_seconds)
        self._ticker = Bell()
        self._room_rate = (
            Rate(settings.limits.room_events_per_second, max(1, math.ceil(settings.limits.room_events_per_second)))
            if settings.limits.room_events_per_second
            else None
        )
        self._nursery: trio.Nursery | None = None
        self._idle = trio.Event()
        self._stopping = self._stopped = False
        self._published = self._batches = self._backfills = 0
        self._quality = [0, 0, 0]

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._upstream.start(self._nursery)
            self._nursery.start_soon(self._publish)
            self._nursery.start_soon(self._tick)
            task_status.started()

    def attach(self, link: End[Down, Up], edge: str = "") -> trio.Event:
        """Serve one edge until its link ends, which sets the event. `run` first.

        :param edge: incarnation of its process, by which it is known again when it comes back over another link.
        """
        if self._nursery is None:
            raise RuntimeError("the hub does not run")
        done = trio.Event()
        self._nursery.start_soon(self._serve, link, edge, done)
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
        for port in [port for port in self._ports if edge and port.edge == edge]:
            # Its end has not been noticed yet.
            self._part(port)
        port = Port(link, edge, self._parted.pop(edge, None))
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
        """An edge is gone; its likes stay counted, and are not counted again should it come back."""
        if port not in self._ports:
            return
        self._ports.discard(port)
        port.close()
        for room in [room for room in self._rooms.values() if port in room.ports]:
            self._detach(port, room)
        if port.edge:
            self._parted[port.edge] = {room: likes for room, likes in port.likes.items() if likes}
            while len(self._parted) > _PARTED_MAX:
                self._parted.popitem(last=False)

    async def drain(self) -> None:
        """Accept nothing more, publish and hand over all that waits, and tell the edges that this was the last."""
        self._stopping = True
        self._publisher.ring()
        await self._idle.wait()
        now, now_ms = self._clock(), self._now_ms()
        for room in self._rooms.values():
            room.flush(now, now_ms)
        for port in self._ports:
            port.stop()
        self._stopped = True
        self._flush()

    def statistics(self) -> HubStatistics:
        """A frozen picture of the hub."""
        return HubStatistics(
            rooms=len(self._rooms),
            viewers=sum(room.viewers for room in self._rooms.values()),
            events_published=self._published,
            events_waiting=self._intake.waiting,
            batches=self._batches,
            backfills=self._backfills,
            quality_reports=self._quality[0],
            gaps_reported=self._quality[1],
            reconnects_reported=self._quality[2],
        )

    # -- the node's own events ----------------------------------------------------------------------------------------

    async def say(
        self, room: str, body: str, *, name: str = "", author: Author = SERVER, session: str = "", ref: int = 0
    ) -> int:
        """Publish a comment, or with ``name`` a custom event, and return its offset.

        ``(session, ref)`` makes a retry harmless. Raises `engine.errors.Refused`.
        """
        check_room_name(room)
        done = trio.Event()
        outcome: list[tuple[Code, int, str, int]] = []

        def answer(code: Code, offset: int, text: str, retry_after_ms: int) -> None:
            outcome.append((code, offset, text, retry_after_ms))
            done.set()

        self._accept(room, Pending(_event(author, ref, name, body), session, ref), answer)
        await done.wait()
        code, offset, text, retry_after_ms = outcome[0]
        if code is not Code.OK:
            raise Refused(code, text, retry_after_ms)
        return offset

    def like(self, name: str, count: int) -> None:
        """Add likes to an open room from outside its edges."""
        room = self._rooms.get(name)
        if room is not None:
            room.likes += count
            self._report(room)

    def counters(self, name: str) -> tuple[int, ...] | None:
        """``(likes, viewers)`` of an open room."""
        room = self._rooms.get(name)
        return room.state.counters if room is not None else None

    def _accept(self, name: str, pending: Pending, answer: Answer) -> None:
        if self._stopping:
            raise Refused(Code.UNAVAILABLE, "the node is stopping", 1000)
        room = self._rooms.get(name)
        if room is not None and not room.admits(self._clock(), self._room_rate):
            raise Refused(Code.RATE_LIMITED, "the room is at its rate (limits.room_events_per_second)", 1000)
        self._intake.add(name, pending, answer)
        self._publisher.ring()

    # -- link: what edges send ----------------------------------------------------------------------------------------

    def _on_say(self, port: Port, say: Say) -> None:
        try:
            pending = Pending(_event(say.author, say.ref, say.name, say.body), say.session, say.ref)
            self._accept(say.room, pending, partial(_reply, port, say.viewer, say.ref))
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
            room = self._rooms[message.room] = HubRoom(message.room, self._settings.room)
            self._upstream.opened(room)
        port.openings[room.name] = message.opening
        port.wants[room.name] = tuple(message.variants)
        room.attach(port, Position(message.epoch, message.offset))
        if port in room.behind:
            self._welcome(port, room)
        elif room.phase is not Phase.OPENING:
            room.send_snapshot(self._now_ms(), port)

    def _welcome(self, port: Port, room: HubRoom) -> None:
        if room.phase in (Phase.LIVE, Phase.REPAIRING) and self._nursery is not None:
            self._nursery.start_soon(bring_up, self.broker, self._upstream, room, port, self._now_ms, self._flush)

    def _live(self, room: HubRoom) -> None:
        """The room goes on, with whom it stands is known."""
        for port in room.behind:
            self._welcome(port, room)
        self._report(room)

    def _on_close(self, port: Port, message: CloseRoom) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            self._detach(port, room)
            port.forget(room.name)

    def _detach(self, port: Port, room: HubRoom) -> None:
        room.detach(port)
        if room.ports:
            self._report(room)
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
                room.send_snapshot(self._now_ms(), port)

    def _on_likes(self, port: Port, message: Likes) -> None:
        room = self._rooms.get(message.room)
        if room is not None:
            room.like(port, message.total)
            self._report(room)

    def _on_presence(self, port: Port, message: Presence) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            room.ports[port] = message.viewers
            self._report(room)

    def _on_pace(self, port: Port, message: Pace) -> None:
        port.learn(message)

    def _on_fetch_snapshot(self, port: Port, message: FetchSnapshot) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports and room.phase is not Phase.OPENING:
            room.send_snapshot(self._now_ms(), port)

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
        if room is not None:
            room.send(DirectTo(message.room, message.author, message.user, message.body, self._now_ms()))

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

    # -- broker -------------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        while True:
            await self._publisher.wait()
            if queues := self._intake.take():
                batches = {name: [pending for pending, _ in queue] for name, queue in queues.items()}
                outcomes = await self.broker.publish_all(batches)
                for name, queue in queues.items():
                    self._answer(queue, outcomes[name])
            dirty, self._dirty = self._dirty, set()
            # What is not reported now is part of the next report: these are totals.
            with suppress(Unavailable):
                await self.broker.report_all(
                    {room.name: (room.likes, room.viewers) for room in dirty if room.ports and room.phase is not Phase.OPENING}
                )
            self._flush()
            if self._stopping and not self._intake.waiting:
                self._idle.set()

    def _answer(self, queue: list[tuple[Pending, Answer]], outcome: Receipt | Unavailable) -> None:
        """Tell the senders of one room what became of their events."""
        if isinstance(outcome, Unavailable):
            for _, answer in queue:
                answer(Code.UNAVAILABLE, 0, str(outcome), _RETRY_MS)
        else:
            self._published += len(queue)
            for (_, answer), offset in zip(queue, outcome.offsets, strict=True):
                answer(Code.OK, offset, "", 0)
        self._intake.done(len(queue))

    def _report(self, room: HubRoom) -> None:
        self._dirty.add(room)
        self._publisher.ring()

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
            now, now_ms = self._clock(), self._now_ms()
            for room in self._deadlines.expired(now):
                if room.wake <= now:
                    room.wake = math.inf
                    room.service(now, now_ms)
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
