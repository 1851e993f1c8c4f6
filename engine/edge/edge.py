"""The edge: everything between viewers' sockets and the link, put together.

Owns the parts and the order in which they start and stop. Must not know the hub.
"""

from __future__ import annotations

import errno
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from engine import ws
from engine.edge.admission import Admission
from engine.edge.connections import Connections
from engine.edge.listener import accept_forever, open_listeners
from engine.edge.requests import Requests
from engine.edge.rooms import Rooms
from engine.edge.session import Stage
from engine.errors import Close, RoomcastError
from engine.link.base import End
from engine.link.messages import Down, Up
from engine.room.encoder import encode_message
from engine.schema import Bye
from engine.settings import Settings

__all__ = ["Edge", "EdgeStatistics", "raise_descriptor_limit"]

_RESERVED_DESCRIPTORS: Final = 256
"""Descriptors kept for everything that is not a viewer: listeners, epoll, database, logs, refusals under way."""
_BYE_SLICE: Final = 256
"""Viewers told to leave between two checkpoints."""


@dataclass(frozen=True, slots=True)
class EdgeStatistics:
    """What an edge has done since it started.

    :ivar laggards: viewers with something half-sent or left over now.
    :ivar lag_policies: how often the lag policy was applied.
    :ivar refused: handshakes refused, by HTTP status.
    :ivar closed: WebSocket closes, by code.
    :ivar orderly: connections that ended with a close frame in both directions, so that their peers have every byte;
        ``orderly_bytes`` were written to them.
    :ivar fanout_seconds: that passes took, waits between slices included.
    """

    connections: int
    viewers: int
    viewers_max: int
    rooms: int
    laggards: int
    log_bytes: int
    handshakes: int
    messages_received: int
    frames_sent: int
    fanout_seconds: float
    stalls: int
    lag_policies: int
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

    :param link: the edge's end.
    :param now_ms: Unix milliseconds.
    :raises RoomcastError: the platform cannot do it.
    """

    def __init__(self, settings: Settings, link: End[Up, Down], now_ms: Callable[[], int]) -> None:
        if not sys.platform.startswith("linux"):
            raise RoomcastError(
                f"the server needs epoll and runs on Linux only, not on {sys.platform}; the client runs anywhere"
            )
        self._settings = settings
        self._link = link
        limit = raise_descriptor_limit()
        capacity = max(limit - _RESERVED_DESCRIPTORS, 1)
        viewers_max = min(settings.edge.viewers_max or capacity, capacity)
        self.admission = Admission(settings.edge, viewers_max)
        self.connections = Connections(
            settings,
            self.admission,
            lambda session, event: self._requests.handle(session, event),
            lambda session, frames: self._requests.count(session, frames),
            lambda session: self.rooms.leave(session),
            lambda: self.rooms.turn_over(),
        )
        self.rooms = Rooms(settings, self.connections, link)
        self._requests = Requests(settings, self.rooms, self.connections, now_ms)
        self._listeners: list[socket.socket] = []
        self._accepting = trio.CancelScope()

    # -- life ---------------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Bind the configured address. Raises `RoomcastError`."""
        edge = self._settings.edge
        try:
            self._listeners = open_listeners(edge)
        except socket.gaierror as error:
            raise RoomcastError(f"edge.host: {edge.host} is not an address of this machine ({error.strerror})") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = "another process listens there; stop it or choose another edge.port"
            elif error.errno == errno.EACCES:
                hint = "ports below 1024 need a privilege; choose another edge.port"
            else:
                hint = "edge.host must be an address of this machine"
            raise RoomcastError(f"cannot listen on {edge.host}:{edge.port}: {error.strerror}; {hint}") from error

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. `listen` first."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.connections.poller.run)
                nursery.start_soon(self.connections.expire)
                nursery.start_soon(self.rooms.run)
                nursery.start_soon(self.rooms.expire)
                nursery.start_soon(self.rooms.fanout.run)
                nursery.start_soon(self._accept)
                task_status.started()
        finally:
            self.connections.drop_all()
            self.connections.poller.close()
            self._close_listeners()
            self._link.close()

    async def _accept(self) -> None:
        with self._accepting:
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(partial(accept_forever, listener, self.connections.accepted))

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    def stop_accepting(self) -> None:
        """Take no new connections; those queued by the kernel are reset."""
        self._accepting.cancel()
        self._close_listeners()

    async def drain(self) -> None:
        """After the hub's last message: wait until live viewers have every frame, say bye to all, wait until they are gone.

        The caller sets a deadline; `run`'s cancellation then ends who is left.
        """
        await self.rooms.stopped.wait()
        while not self.rooms.fanout.idle:
            await trio.lowlevel.checkpoint()
        window = int(self._settings.node.return_window_seconds * 1000)
        byes = {}
        for codec in {session.codec for session in self.connections.sessions()}:
            if codec is not None:
                bye = Bye(Close.SHUTDOWN, "the node stops", 0, window)
                byes[codec] = encode_message(codec, bye) + ws.close_frame(Close.SHUTDOWN, "the node stops")
        for index, session in enumerate(self.connections.sessions()):
            if session.stage is Stage.OPEN and session.codec is not None:
                self.connections.finish(session, Close.SHUTDOWN, byes[session.codec])
            elif session.stage is Stage.HANDSHAKE:
                self.connections.drop(session)
            if index % _BYE_SLICE == 0:
                await trio.lowlevel.checkpoint()
        await self.connections.gone()

    # -- looking in ---------------------------------------------------------------------------------------------------

    def statistics(self) -> EdgeStatistics:
        """A frozen picture of the edge."""
        connections, rooms = self.connections, self.rooms
        tracks = [track for room in rooms.values() for track in room.tracks.values()]
        return EdgeStatistics(
            connections=len(connections),
            viewers=sum(map(len, tracks)),
            viewers_max=self.admission.viewers_max,
            rooms=len(rooms),
            laggards=sum(len(track.laggards) for track in tracks),
            log_bytes=sum(track.log.bytes for track in tracks),
            handshakes=connections.handshakes,
            messages_received=self._requests.received,
            frames_sent=rooms.fanout.frames,
            fanout_seconds=rooms.fanout.seconds,
            stalls=connections.stalls,
            lag_policies=sum(track.overtaken for track in tracks),
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
