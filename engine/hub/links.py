"""The links to a hub's edges: what comes over them, and whom it concerns.

Owns one task per link that reads it, and the ports. Must not know viewer sockets, nor how a room lives (`engine.hub.rooms`),
nor what requests do (`engine.hub.desk`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

import trio
from msgspec import structs

from engine.brokers.base import Broker, Position, Unavailable
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.backfill import backfill
from engine.hub.desk import Desk
from engine.hub.notices import ADDRESSED, CAME, READ
from engine.hub.port import Port
from engine.hub.presence import Attendance
from engine.hub.publisher import Publisher
from engine.hub.quality import Certificates
from engine.hub.returning import bring_up
from engine.hub.room import HubRoom, Phase
from engine.hub.rooms import Rooms
from engine.hub.trust import Trusted
from engine.hub.vitals import EdgeVitals
from engine.link.base import End
from engine.link.messages import (
    Arrivals,
    CloseRoom,
    DirectTo,
    Down,
    FetchBackfill,
    FetchSnapshot,
    Gate,
    Knock,
    Left,
    Likes,
    Located,
    Notable,
    OpenRoom,
    Pace,
    Presence,
    Qualities,
    Receipts,
    RefuseRoom,
    ReplyTo,
    Request,
    Roll,
    Say,
    Up,
    Vitals,
    Wants,
)
from engine.settings import Settings

__all__ = ["Links"]

_RETRY_SECONDS: Final = 1.0
"""Pause before a broker that was out of reach is asked again, and before who was told to wait should try again."""
_RETURN_SECONDS: Final = 10.0
"""How long an edge whose link has ended may take to come back over another one."""

log = logging.getLogger("roomcast.hub")


class Links:
    """See the module's docstring.

    :param spawn: begins a task that the hub owns, and hands over what came of it.
    :ivar ports: of the links that are there.
    :ivar backfills: answered so far.
    :ivar edges: what edges in other processes have told of themselves.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        rooms: Rooms,
        publisher: Publisher,
        desk: Desk,
        spawn: Callable[..., None],
        trust: Trusted,
        quality: Certificates,
    ) -> None:
        self._settings = settings
        # What a link takes was settled when it began.
        self._backfill_bytes = settings.room.log_bytes // 2
        self._broker = broker
        self._rooms = rooms
        self._publisher = publisher
        self._desk = desk
        self._attendance = Attendance(broker)
        self._spawn = spawn
        self._trust = trust
        self._quality = quality
        self._stopped = False
        self._parted_bytes = 0
        self.ports: set[Port] = set()
        self.backfills = 0
        self.edges = EdgeVitals()

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._settings = settings

    @property
    def sent_bytes(self) -> int:
        """To edges so far, where they are other processes."""
        return self._parted_bytes + sum(port.sent_bytes for port in self.ports)

    def flush(self) -> None:
        """Hand over what was collected for the edges."""
        for port in self.ports:
            port.flush()

    def stop(self) -> None:
        """Tell the edges that what was collected is the last."""
        for port in self.ports:
            port.stop()
        self._stopped = True
        self.flush()

    def tell(self, message: Down) -> None:
        """Tell all edges."""
        for port in self.ports:
            port.post(message)
            port.flush()

    def gate(self) -> None:
        """Whether viewers have to knock has changed, perhaps: tell the edges."""
        for port in self.ports:
            self._tell_gate(port)
            port.flush()

    def _tell_gate(self, port: Port) -> None:
        port.post(Gate(self._desk.consent.asking.asks("join")))

    def ready(self, room: HubRoom) -> None:
        """A room is live, again perhaps: edges that came back can be brought up to date."""
        for port in room.behind:
            self._welcome(port, room)
        self._publisher.report(room)

    async def serve(self, link: End[Down, Up], edge: str, done: trio.Event) -> None:
        for port in [port for port in self.ports if port.edge == edge]:
            # Its end has not been noticed yet.
            self._part(port)
        port = Port(link, edge)
        self.ports.add(port)
        self._tell_gate(port)
        if (news := self._trust.news) is not None:
            port.post(news)
        if self._stopped:
            port.stop()
        port.flush()
        try:
            while port in self.ports and (messages := await port.receive()):
                for message in messages:
                    self._handlers[type(message)](self, port, message)
                self.flush()
        finally:
            # Whatever else is wrong, somebody waits for the end.
            done.set()
            self._part(port)

    def _part(self, port: Port) -> None:
        """An edge is gone."""
        if port not in self.ports:
            return
        self.ports.discard(port)
        self._parted_bytes += port.sent_bytes
        self.edges.part(port.edge)
        port.close()
        for room in self._rooms.of(port):
            notables, leavers = port.notables.get(room.name, {}), port.leavers.get(room.name, set())
            self._rooms.leave(port, room)
            if notables or leavers:
                self._spawn(self._parted, port.edge, room.name, list(notables.values()), list(leavers))

    # -- what edges send ----------------------------------------------------------------------------------------

    def _on_say(self, port: Port, say: Say) -> None:
        room = self._rooms.get(say.room)
        if room is not None and room.phase is not Phase.OPENING:
            self._desk.say(port, room, say)
        else:
            self._when_live(port, say.room, say.viewer, say.ref, lambda room: self._desk.say(port, room, say))

    def _on_request(self, port: Port, request: Request) -> None:
        self._when_live(port, request.room, request.viewer, request.ref, lambda room: self._desk.request(port, room, request))

    def _when_live(self, port: Port, name: str, viewer: int, ref: int, do: Callable[[HubRoom], None]) -> None:
        """What a viewer wants is decided by what the room is, which has to be known."""
        room = self._rooms.get(name)
        if room is None:
            port.post(ReplyTo(viewer, ref, Code.UNAVAILABLE, 0, "the room is not open", int(_RETRY_SECONDS * 1000)))
        elif room.phase is not Phase.OPENING:
            do(room)
        elif len(room.waiting) < self._settings.limits.pending_events:
            room.waiting.append(lambda: do(room))
        else:
            port.post(
                ReplyTo(viewer, ref, Code.OVERLOADED, 0, "too many wait for the room to open", int(_RETRY_SECONDS * 1000))
            )

    def _on_open(self, port: Port, message: OpenRoom) -> None:
        known = Position(message.epoch, message.offset)
        try:
            room = self._rooms.show(port, message.room, message.opening, tuple(message.variants), known)
        except Refused as refused:
            port.post(RefuseRoom(message.room, message.opening, refused.code, refused.text))
        else:
            if port in room.behind:
                self._welcome(port, room)

    def _welcome(self, port: Port, room: HubRoom) -> None:
        if room.phase in (Phase.LIVE, Phase.REPAIRING):
            self._spawn(bring_up, self._broker, self._rooms.upstream, room, port, self.flush)

    def _on_close(self, port: Port, message: CloseRoom) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            self._rooms.leave(port, room)

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
            room.counts.count(port.source(room.name), message.total, message.reactions)
            self._publisher.report(room)

    def _on_presence(self, port: Port, message: Presence) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            room.ports[port] = message.viewers
            self._publisher.report(room)
            self._quality.noticed(room)

    def _on_arrivals(self, port: Port, message: Arrivals) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports:
            room.counts.came(message.users)
            self._publisher.report(room)

    def _on_notable(self, port: Port, message: Notable) -> None:
        room = self._rooms.get(message.room)
        if room is not None:
            actor = Actor(message.author, message.standing)
            known = port.notables.setdefault(room.name, {})
            if message.present:
                known[actor.user] = actor
            else:
                known.pop(actor.user, None)
            self._spawn(self._note, port, room.name, actor)

    async def _note(self, port: Port, name: str, actor: Actor) -> None:
        """Tell whether a notable viewer is at an edge: as it is when that is written down, whatever came in between."""
        # Open for as long as it takes, though the edge may close it right after.
        async with self._rooms.opened(name) as room:
            await self._attendance.note(
                room, actor, port.edge, lambda: actor.user in port.notables.get(name, {}) if port in self.ports else None
            )

    def _on_receipts(self, port: Port, message: Receipts) -> None:
        room = self._rooms.get(message.room)
        if room is not None:
            self._desk.notices.receipts(room, message.offset, READ if message.read else CAME, message.users)

    def _on_roll(self, port: Port, message: Roll) -> None:
        room = self._rooms.get(message.room)
        if room is not None:
            self._desk.notices.receipts(room, message.offset, ADDRESSED, message.users)

    def _on_left(self, port: Port, message: Left) -> None:
        room = self._rooms.get(message.room)
        if room is not None:
            port.leavers.get(room.name, set()).discard(message.session)
            self._spawn(self._desk.left, room, message.session)

    def _on_located(self, port: Port, message: Located) -> None:
        room = self._rooms.get(message.room)
        if room is not None:
            self._spawn(self._desk.located, room, self._rooms.everywhere(), message.user, message.address)

    async def _parted(self, edge: str, name: str, notables: list[Actor], leavers: list[str]) -> None:
        """An edge is gone with people of whom more is known than that they are there. Perhaps it comes back."""
        await trio.sleep(_RETURN_SECONDS)
        async with self._rooms.opened(name) as room:
            # One that is back says itself which of the sessions have ended, and of the notable only who is there.
            if not any(port.edge == edge for port in self.ports):
                for session in leavers:
                    await self._desk.left(room, session)
            for actor in notables:
                await self._attendance.note(room, actor, edge, partial(self._present, edge, name, actor.user))

    def _present(self, edge: str, room: str, user: str) -> bool:
        """Whether an edge has told of a notable viewer."""
        return any(port.edge == edge and user in port.notables.get(room, {}) for port in self.ports)

    def _on_pace(self, port: Port, message: Pace) -> None:
        port.learn(message)

    def _on_fetch_snapshot(self, port: Port, message: FetchSnapshot) -> None:
        room = self._rooms.get(message.room)
        if room is not None and port in room.ports and room.phase is not Phase.OPENING:
            room.send_snapshot(port)

    def _on_fetch_backfill(self, port: Port, message: FetchBackfill) -> None:
        self._spawn(self._backfill, port, message)

    async def _backfill(self, port: Port, wanted: FetchBackfill) -> None:
        # Half of what an edge's log may hold: the answer is to fit beside the newest frames.
        limit = min(self._settings.room.log_bytes // 2, self._backfill_bytes)
        while port in self.ports and (room := self._rooms.get(wanted.room)) is not None:
            redactions = room.redactions
            try:
                answer = await backfill(self._broker, wanted, room.state.counters, limit, self._rooms.feeds)
            except Unavailable as error:
                # The viewers who wait for it would rather wait than have a gap.
                log.warning("broker_unavailable", extra={"room": wanted.room, "error": str(error)})
                await trio.sleep(_RETRY_SECONDS)
            else:
                if room.redactions == redactions:
                    port.post(room.begin_at(answer) if wanted.snapshot else answer)
                    self.backfills += 1
                    return

    def _on_direct(self, port: Port, message: DirectTo) -> None:
        room = self._rooms.get(message.room)
        if room is not None and room.phase is not Phase.OPENING:
            room.send(structs.replace(message, time=room.time()))

    def _on_knock(self, port: Port, knock: Knock) -> None:
        try:
            asked = self._desk.consent.needed("join", knock.standing)
        except Refused as refused:
            port.post(ReplyTo(knock.viewer, knock.ref, refused.code, 0, refused.text, refused.retry_after_ms))
            return
        if asked:
            self._spawn(self._let_in, port, knock)
        else:
            port.post(ReplyTo(knock.viewer, knock.ref, Code.OK))

    async def _let_in(self, port: Port, knock: Knock) -> None:
        try:
            await self._desk.consent.entry(knock)
        except Refused as refused:
            port.post(ReplyTo(knock.viewer, knock.ref, refused.code, 0, refused.text, refused.retry_after_ms))
        else:
            port.post(ReplyTo(knock.viewer, knock.ref, Code.OK))

    def _on_qualities(self, port: Port, message: Qualities) -> None:
        self._quality.told(port, message)

    def _on_vitals(self, port: Port, message: Vitals) -> None:
        self.edges.tell(port.edge, message.statistics)

    _handlers: ClassVar[dict[type, Callable[[Links, Port, Any], None]]] = {
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
        Qualities: _on_qualities,
        Request: _on_request,
        Receipts: _on_receipts,
        Roll: _on_roll,
        Arrivals: _on_arrivals,
        Notable: _on_notable,
        Left: _on_left,
        Located: _on_located,
        Knock: _on_knock,
        Vitals: _on_vitals,
    }
