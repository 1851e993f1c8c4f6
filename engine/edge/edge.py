"""The edge: everything between viewers' sockets and the link, put together.

Owns the parts and the order in which they start and stop. Must not know the hub.
"""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import trio

from engine import ws
from engine.edge.admission import Admission
from engine.edge.bearers import Bearers
from engine.edge.connections import Connections
from engine.edge.listener import accept_forever, dropped, open_listeners, tune
from engine.edge.requests import Requests
from engine.edge.rooms import Rooms
from engine.edge.session import Session, Stage
from engine.errors import Close, RoomcastError
from engine.link.base import End
from engine.link.messages import Down, Up
from engine.reload import ReloadRefused
from engine.room.encoder import encode_message
from engine.schema import CODECS, Bye
from engine.settings import Settings
from engine.tokens.keys import KeyFault

__all__ = ["Edge", "EdgeStatistics", "raise_descriptor_limit"]

_RESERVED_DESCRIPTORS: Final = 256
"""Descriptors kept for everything that is not a viewer: listeners, epoll, database, logs, refusals under way."""
_BYE_SLICE: Final = 256
"""Viewers told to leave between two checkpoints."""


@dataclass(frozen=True, slots=True)
class EdgeStatistics:
    """What an edge has done since it started.

    :ivar claims_dropped: claims of red packets that were not open; those that were not even decoded are not among the messages
        received.
    :ivar connections_dropped: new ones that the kernel dropped before they were accepted, because its queue was full.
    :ivar laggards: viewers with something half-sent or left over now.
    :ivar lag_max: seconds for which the one furthest behind has been waiting for what it gets next.
    :ivar lag_policies: how often the lag policy was applied.
    :ivar past_lost: viewers who came back and were told a gap, because what they had missed is not kept any more.
    :ivar limited: how often a viewer reached a limit, by the path of the setting.
    :ivar quality_ignored: viewers' reports of what came to them that were not counted.
    :ivar refused: handshakes refused, by HTTP status.
    :ivar closed: WebSocket closes, by code.
    :ivar orderly: connections that their viewers closed, with nothing left unsent and the close answered;
        ``orderly_bytes`` is all that was written to them, from the handshake to the answer.
    :ivar fanout_seconds: that passes took, waits between slices included.
    :ivar fanout_delays: `engine.durations.Durations.table` of the times from when an edge had a frame for a room until every
        viewer who keeps up had been sent it.
    """

    connections: int
    viewers: int
    viewers_max: int
    rooms: int
    laggards: int
    lag_max: float
    log_bytes: int
    connections_dropped: int
    handshakes: int
    messages_received: int
    claims_dropped: int
    frames_sent: int
    fanout_seconds: float
    fanout_delays: dict[str, Any]
    stalls: int
    lag_policies: int
    quality_ignored: int
    past_lost: int
    limited: dict[str, int]
    refused: dict[int, int]
    closed: dict[int, int]
    orderly: int
    orderly_bytes: int


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Edge:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    :raises RoomcastError: the platform cannot do it.
    """

    def __init__(self, settings: Settings, now_ms: Callable[[], int]) -> None:
        if not sys.platform.startswith("linux"):
            raise RoomcastError(
                f"the server needs epoll and runs on Linux only, not on {sys.platform}; the client runs anywhere"
            )
        self._settings = settings
        self._capacity = max(raise_descriptor_limit() - _RESERVED_DESCRIPTORS, 1)
        self.admission = Admission(settings.edge, self._viewers_max(settings))
        self.connections = Connections(
            settings,
            self.admission,
            lambda session, event: self._requests.handle(session, event),
            lambda session, frames: self._requests.count(session, frames),
            self._left,
            self._turn_over,
        )
        self._bearers = Bearers(settings.access, self.connections, now_ms)
        self.rooms = Rooms(settings, self.connections, now_ms, self._bearers)
        self._requests = Requests(settings, self.rooms, self.connections, now_ms, self._bearers)
        self._listeners: list[socket.socket] = []
        self._dropped = 0
        self._accepting = trio.CancelScope()
        self._accepted = trio.Event()
        self._late: set[Session] = set()
        self._byes = _byes(settings)

    def _viewers_max(self, settings: Settings) -> int:
        return min(settings.edge.viewers_max or self._capacity, self._capacity)

    @property
    def settings(self) -> Settings:
        """In force."""
        return self._settings

    def adopt(self, settings: Settings) -> None:
        """Take other settings; nobody who is here is dropped for them.

        :raises ReloadRefused: a file with a key has just become unreadable; nothing has changed then.
        """
        try:
            self._bearers.adopt(settings.access)
        except KeyFault as error:
            raise ReloadRefused([("access.keys", f"access.keys: {error}")]) from error
        self._settings = settings
        sessions = self.connections.sessions()
        addresses = [each.address for each in sessions if isinstance(each.address, int)]
        self.admission.adopt(settings.edge, self._viewers_max(settings), addresses)
        for listener in self._listeners:
            if listener.fileno() >= 0:
                tune(listener, settings.edge)
                listener.listen(settings.edge.backlog)
        self.connections.adopt(settings)
        self.rooms.adopt(settings)
        self._requests.adopt(settings, sessions)
        self._byes = _byes(settings)

    # -- life ---------------------------------------------------------------------------------------------------------

    def listen(self, listeners: Sequence[socket.socket] = ()) -> None:
        """Bind the configured address, or take over sockets that listen. Raises `RoomcastError`."""
        self._listeners = list(listeners) or open_listeners(self._settings.edge)

    def close(self) -> None:
        """Give the address back; for one that is never run."""
        self._close_listeners()
        self.connections.poller.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    async def serve(self, link: End[Up, Down], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have this hub until the link ends. Viewers stay when it does, and wait for the next."""
        await self.rooms.serve(link, task_status=task_status)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve viewers until cancelled. `listen` first."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.connections.poller.run)
                nursery.start_soon(self.connections.expire)
                nursery.start_soon(self.rooms.expire)
                nursery.start_soon(self.rooms.quality.run)
                nursery.start_soon(self._bearers.run)
                nursery.start_soon(self.rooms.fanout.run)
                nursery.start_soon(self._accept)
                task_status.started()
        finally:
            self.connections.drop_all()
            self.connections.poller.close()
            self._close_listeners()

    async def _accept(self) -> None:
        with self._accepting:
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(partial(accept_forever, listener, self.connections.accepted))
        # Not earlier: a task that has been woken for a connection would accept from a closed socket.
        self._close_listeners()
        self._accepted.set()

    def _close_listeners(self) -> None:
        self._dropped = self._drops()
        for listener in self._listeners:
            listener.close()

    def _drops(self) -> int:
        """By the kernel, of those who came to sockets that are closed, and to those that are not."""
        return self._dropped + sum(dropped(listener) for listener in self._listeners if listener.fileno() >= 0)

    def stop_accepting(self) -> None:
        """Take no new connections; those queued by the kernel are reset, unless another process holds the socket too."""
        self._accepting.cancel()

    async def leave(self) -> None:
        """After `stop_accepting`, while the hub goes on: refuse events, wait until those under way are answered, then as
        `drain`. Whoever is in the middle of a handshake may finish it: another edge serves on, and nobody is refused."""
        self.rooms.leaving = True
        await self._accepted.wait()
        await self.rooms.answered()
        self.rooms.stopped.set()
        self._late = {session for session in self.connections.sessions() if session.stage is Stage.HANDSHAKE}
        await self.drain()

    def _left(self, session: Session, code: int) -> None:
        """A connection is about to end, or stops taking part."""
        self._bearers.leave(session)
        self.rooms.leave(session, code)

    def _turn_over(self) -> None:
        """After each round of reading."""
        self.rooms.turn_over()
        if self._late:
            late = self._late
            self._late = {session for session in late if session.stage is Stage.HANDSHAKE}
            for session in late - self._late:
                self._dismiss(session)

    async def drain(self) -> None:
        """After the hub's last message: wait until live viewers have every frame, say bye to all, wait until they are gone.

        The caller sets a deadline; `run`'s cancellation then ends who is left.
        """
        await self.rooms.stopped.wait()
        while not self.rooms.fanout.idle:
            await trio.lowlevel.checkpoint()
        for index, session in enumerate(self.connections.sessions()):
            if session.stage is Stage.HANDSHAKE and session not in self._late:
                self.connections.drop(session)
            else:
                self._dismiss(session)
            if index % _BYE_SLICE == 0:
                await trio.lowlevel.checkpoint()
        # How they were closed.
        self.rooms.quality.tell()
        await self.connections.gone()

    def _dismiss(self, session: Session) -> None:
        """Tell a viewer to come back elsewhere."""
        if session.stage is Stage.OPEN and session.codec is not None:
            self.connections.finish(session, Close.SHUTDOWN, self._byes[session.codec.number])

    # -- looking in ---------------------------------------------------------------------------------------------------

    def statistics(self) -> EdgeStatistics:
        """A frozen picture of the edge."""
        connections, rooms, now = self.connections, self.rooms, trio.current_time()
        viewers = laggards = log_bytes = 0
        lag_max = 0.0
        # In one go: there may be thousands.
        for room in rooms.values():
            for track in room.tracks.values():
                viewers += len(track)
                log_bytes += track.log.bytes
                if track.laggards:
                    laggards += len(track.laggards)
                    lag_max = max(lag_max, track.lag(now))
        return EdgeStatistics(
            connections=len(connections),
            viewers=viewers,
            viewers_max=self.admission.viewers_max,
            rooms=len(rooms),
            laggards=laggards,
            lag_max=lag_max,
            log_bytes=log_bytes,
            connections_dropped=self._drops(),
            handshakes=connections.handshakes,
            messages_received=self._requests.received,
            claims_dropped=self._requests.claims_dropped,
            frames_sent=rooms.fanout.frames,
            fanout_seconds=rooms.fanout.seconds,
            fanout_delays=rooms.fanout.delays.table(),
            stalls=connections.stalls,
            lag_policies=rooms.overtaken,
            quality_ignored=rooms.quality.ignored,
            past_lost=rooms.past_lost,
            limited=dict(self._requests.limited),
            refused=dict(connections.refused),
            closed=dict(connections.closed),
            orderly=connections.orderly,
            orderly_bytes=connections.orderly_bytes,
        )

    def sockets(self, room: str) -> list[socket.socket]:
        """The sockets of a room's viewers, for measuring them; nobody else may write to one."""
        return [session.sock for track in self.rooms[room].tracks.values() for session in track.sessions]

    def settled(self, room: str) -> bool:
        """Whether every viewer of a room has been sent everything its log holds."""
        return all(track.settled and not track.laggards for track in self.rooms[room].tracks.values())


def _byes(settings: Settings) -> dict[int, bytes]:
    """What viewers are told when the node stops, and the close that follows, by codec."""
    bye = Bye(Close.SHUTDOWN, "the node stops", 0, int(settings.node.return_window_seconds * 1000))
    close = ws.close_frame(Close.SHUTDOWN, "the node stops")
    return {codec.number: encode_message(codec, bye) + close for codec in CODECS}
