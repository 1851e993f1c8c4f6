"""Viewer connections from accept to close: the handshake, the reading, private writes, closing, and what ends too late.

Owns the table of sessions and their sockets; the only place where a viewer's socket is opened, read or closed. Must not know
rooms: what a message means is for `requests`, who is in a room for `rooms`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from engine import ws
from engine.edge.admission import Admission
from engine.edge.bearers import brought
from engine.edge.listener import tune
from engine.edge.meter import code_of
from engine.edge.poller import Poller
from engine.edge.session import Overflow, Refusal, Session, Stage
from engine.errors import Close
from engine.room.encoder import variant_of
from engine.schema import SUBPROTOCOLS
from engine.settings import EdgeSettings, Settings
from engine.timing import Bell, Deadlines

__all__ = ["Connections"]

_RECEIVE: Final = 65_536
"""Bytes taken from one viewer before others get their turn."""
_MUCH: Final = 8_192
"""Bytes from one viewer at a time that are worth a wake-up: a hundred messages."""
_CLOSING_SECONDS: Final = 5.0
"""Time for a peer to answer our close, or to read an error response, before the socket is closed under it."""
_RETRY_AFTER: Final = 5
"""Seconds a refused client is asked to wait."""
_SPARE: Final = 128
"""Connections above the capacity that still get a proper 503; beyond them the socket is closed at once."""
_GRID_SECONDS: Final = 0.25
"""Resolution of handshake, join and closing deadlines."""
_ABNORMAL: Final = 1006
"""A connection that ended without a close (RFC 6455 section 7.1.5)."""
_FD_BITS: Final = 22
"""Low bits of a viewer's number that hold its descriptor; Linux allows at most 2^20 by default, 2^22 is ample."""
_FD_MASK: Final = (1 << _FD_BITS) - 1


log = logging.getLogger("roomcast.edge")


class Connections:
    """See the module's docstring. Implements `engine.edge.session.Wire`.

    :param handle: called for each message of a viewer; may raise `Refusal`.
    :param count: called with the number of frames of any kind that arrived; may raise `Refusal`.
    :param left: called when a session is about to end or stops taking part, with the code of its close; 1006: without one.
    :param turn_over: called after each round of reading.
    :ivar handshakes: completed so far.
    :ivar refused: HTTP refusals by status.
    :ivar closed: closes by code.
    :ivar orderly: connections that their peer closed while it was sent everything, answer included; ``orderly_bytes`` is all
        that was written to them, handshakes included.
    :ivar stalls: how often a private or shared frame did not fit a socket, and its viewer had to be waited for.
    """

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        handle: Callable[[Session, ws.Message], None],
        count: Callable[[Session, int], None],
        left: Callable[[Session, int], None],
        turn_over: Callable[[], None],
    ) -> None:
        self._settings = settings.edge
        self._in_query = settings.access.token_in_query
        self._admission = admission
        self._handle = handle
        self._count = count
        self._left = left
        self._sessions: dict[int, Session] = {}
        self._serial = 0
        self._deadlines: Deadlines[int] = Deadlines(_GRID_SECONDS)
        self._bell = Bell()
        self._gone = trio.Event()
        self.poller = Poller(self._readable, self._writable, turn_over, settings.room.tick_grid_seconds)
        self._warned = False
        self.handshakes = self.stalls = self.orderly = self.orderly_bytes = 0
        self.refused: dict[int, int] = {}
        self.closed: dict[int, int] = {}

    def adopt(self, settings: Settings) -> None:
        """Take other settings. What is set on sockets, and the size of messages, changes for those who are here, too."""
        old, self._settings = self._settings, settings.edge
        self._in_query = settings.access.token_in_query
        self.poller.grid = settings.room.tick_grid_seconds
        if _tuned(old) == _tuned(settings.edge):
            return
        for session in self._sessions.values():
            # One that has just broken is found out when it is read.
            with suppress(OSError):
                tune(session.sock, settings.edge)
            if session.parser is not None:
                session.parser.max_message = settings.edge.message_bytes

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self) -> list[Session]:
        """All connections, whatever their stage."""
        return list(self._sessions.values())

    # -- opening ------------------------------------------------------------------------------------------------------

    def accepted(self, sock: socket.socket, address: str) -> None:
        """A new connection from the listener."""
        admission = self._admission
        if admission.viewers >= admission.viewers_max + _SPARE:
            self._refusal(503)
            sock.close()
            return
        admission.viewers += 1
        self._serial += 1
        fd = sock.fileno()
        session = self._sessions[fd] = Session(sock, fd, self._serial << _FD_BITS | fd, 0.0)
        if not admission.trusted(address):
            session.address, allowed = admission.count(address)
            if not allowed:
                # Told by status only once it has asked; until then it costs what any connection does.
                session.faults = 1
        else:
            session.address = address
        self.poller.add(fd)
        self._expire_at(session, trio.current_time() + self._settings.handshake_seconds)

    def _handshake(self, session: Session, data: bytes) -> bytes | None:
        """Take bytes of a handshake; return what followed it once it is complete."""
        settings = self._settings
        head = session.head + data if session.head else data
        trusted = isinstance(session.address, str)
        if trusted and settings.proxy_protocol:
            parsed = ws.parse_proxy_header(head)
            if parsed is None:
                session.head = head
                return None
            address, consumed = parsed
            head = head[consumed:]
            if address is not None:
                self._identify(session, address[0])
            else:
                # The proxy itself, looking whether we are alive.
                session.address = None
            trusted = False
        request_end = ws.parse_request(head, limit=settings.request_bytes)
        if request_end is None:
            session.head = head
            return None
        request, end = request_end
        if trusted and not settings.proxy_protocol:
            forwarded = self._admission.forwarded(request.headers.get("x-forwarded-for", ""))
            if forwarded is not None:
                self._identify(session, forwarded)
            elif not self._warned:
                self._warned = True
                hint = "a trusted proxy sends no usable X-Forwarded-For: its viewers are exempt from edge.viewers_per_address"
                log.warning("address_unknown", extra={"connection": session.viewer, "proxy": session.address, "hint": hint})
        accepted = ws.negotiate(
            request,
            path=settings.path,
            subprotocols=tuple(SUBPROTOCOLS),
            origins=settings.origins,
            compression=settings.compression,
        )
        token = brought(request, in_query=self._in_query)
        if session.faults:
            raise ws.HandshakeError(429, "too many connections from this address", retry_after=_RETRY_AFTER)
        if self._admission.full:
            raise ws.HandshakeError(503, "no place for another viewer", retry_after=_RETRY_AFTER)
        codec = SUBPROTOCOLS[accepted.subprotocol]
        session.codec = codec
        session.variant = variant_of(codec, accepted.deflate)
        session.parser = ws.Parser(max_message=settings.message_bytes, deflate=accepted.deflate)
        session.head = token
        session.stage = Stage.OPEN
        self.handshakes += 1
        self.push(session, accepted.response)
        when = trio.current_time() + settings.join_seconds
        if when < session.deadline:
            self._expire_at(session, when)
        else:
            # The entry made at accept comes first and will look at this; most viewers have joined by then.
            session.deadline = when
        return head[end:]

    def _identify(self, session: Session, address: str) -> None:
        """A proxy told whose connection this is."""
        session.address, allowed = self._admission.count(address)
        session.faults = 0 if allowed else 1

    def _reject(self, session: Session, error: ws.HandshakeError) -> None:
        self._refusal(error.status)
        session.stage = Stage.CLOSING
        try:
            session.send(error.response)
            # Closing with input unread would reset the connection and take the response with it.
            session.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(session)
            return
        self._expire_at(session, trio.current_time() + _CLOSING_SECONDS)

    def _refusal(self, status: int) -> None:
        self.refused[status] = self.refused.get(status, 0) + 1

    # -- reading ------------------------------------------------------------------------------------------------------

    def _readable(self, fd: int) -> bool:
        """Take what a viewer sent; returns whether that was much: a product's server sends as fast as it is answered."""
        session = self._sessions.get(fd)
        if session is None:
            return False
        try:
            data = session.sock.recv(_RECEIVE)
        except BlockingIOError:
            return False
        except OSError:
            self.drop(session)
            return False
        if not data:
            self.drop(session)
            return False
        if session.stage is Stage.HANDSHAKE:
            try:
                rest = self._handshake(session, data)
            except ws.HandshakeError as error:
                self._reject(session, error)
                return False
            if not rest:
                return False
            data = rest
        if session.parser is not None and session.stage in (Stage.OPEN, Stage.CLOSING):
            self._feed(session, session.parser, data)
        return len(data) >= _MUCH and session.stage is Stage.OPEN

    def _feed(self, session: Session, parser: ws.Parser, data: bytes) -> None:
        fault: ws.ProtocolError | None = None
        before = parser.frames
        try:
            events = parser.feed(data)
        except ws.ProtocolError as error:
            events, fault = list(error.events), error
        if session.stage is Stage.CLOSING:
            # Everything but the answer to our close frame is ignored (RFC 6455 section 5.5.1).
            if fault is not None or any(type(event) is ws.Closed for event in events):
                self.drop(session)
            return
        try:
            # Fragments count, though they make no event: a message may come in thousands.
            self._count(session, parser.frames - before)
            for event in events:
                if type(event) is ws.Message:
                    self._handle(session, event)
                elif type(event) is ws.Ping:
                    self.push(session, ws.frame(ws.Opcode.PONG, event.data))
                elif type(event) is ws.Closed:
                    self._answer_close(session, event)
                if session.stage is not Stage.OPEN:
                    return
        except Refusal as refusal:
            self.close(session, refusal.code, refusal.reason)
            return
        if fault is not None:
            self._fail(session, fault)

    def _fail(self, session: Session, fault: ws.ProtocolError) -> None:
        """The peer broke the protocol (RFC 6455 section 7.1.7)."""
        self.close(session, fault.code, fault.text)
        if session.stage is Stage.CLOSING and not session.blocked:
            # The parser is over and will not see the peer's close frame; the end of the stream is the answer then.
            with suppress(OSError):
                session.sock.shutdown(socket.SHUT_WR)

    def _answer_close(self, session: Session, event: ws.Closed) -> None:
        """The peer closes: echo its code (RFC 6455 section 5.5.1) and end."""
        self._count_close(event.code)
        if not session.blocked:
            with suppress(OSError, Overflow):
                if session.push(ws.close_frame(event.code), self._settings.private_bytes):
                    self.orderly += 1
                    self.orderly_bytes += session.written
        self.drop(session, code_of(event.code))

    def _writable(self, fd: int) -> None:
        session = self._sessions.get(fd)
        if session is None:
            return
        if session.track is not None:
            session.track.pump(session)
            return
        try:
            done = session.flush_private()
        except OSError:
            self.drop(session)
            return
        if done:
            self.arm(session, False)

    # -- Wire ---------------------------------------------------------------------------------------------------------

    def push(self, session: Session, data: bytes) -> None:
        if session.stage is Stage.CLOSED:
            return
        try:
            if session.push(data, self._settings.private_bytes):
                return
        except Overflow:
            self.close(session, Close.PRIVATE_FULL, "replies are not read")
            return
        except OSError:
            self.drop(session)
            return
        if session.track is not None:
            session.track.hold(session)
        else:
            self.arm(session, True)

    def close(self, session: Session, code: int, reason: str = "") -> None:
        if session.stage >= Stage.CLOSING:
            return
        self.finish(session, code, ws.close_frame(code, reason))

    def finish(self, session: Session, code: int, last: bytes) -> None:
        """Send the last bytes of a connection, a close frame at their end, and wait a little for the peer's."""
        self._count_close(code)
        broken = session.entry is not None
        self._left(session, code)
        if broken:
            # Half a frame is out and its rest will not follow: a close frame would be read as a part of it.
            self.drop(session)
            return
        session.stage = Stage.CLOSING
        try:
            if not session.push(last, self._settings.private_bytes + len(last)):
                self.arm(session, True)
        except (OSError, Overflow):
            self.drop(session)
            return
        self._expire_at(session, trio.current_time() + _CLOSING_SECONDS)

    def drop(self, session: Session, code: int = _ABNORMAL) -> None:
        if session.stage is Stage.CLOSED:
            return
        self._left(session, code)
        session.stage = Stage.CLOSED
        self.poller.remove(session.fd)
        del self._sessions[session.fd]
        session.sock.close()
        session.private = None
        admission = self._admission
        admission.viewers -= 1
        if not isinstance(session.address, str):
            admission.release(session.address)
        if not self._sessions:
            self._gone.set()

    def arm(self, session: Session, write: bool) -> None:
        if session.stage is not Stage.CLOSED:
            self.stalls += write
            self.poller.arm(session.fd, write=write)

    def await_join(self, session: Session) -> None:
        self._expire_at(session, trio.current_time() + self._settings.join_seconds)

    def find(self, viewer: int) -> Session | None:
        session = self._sessions.get(viewer & _FD_MASK)
        return session if session is not None and session.viewer == viewer and session.stage is Stage.OPEN else None

    def _count_close(self, code: int) -> None:
        self.closed[code] = self.closed.get(code, 0) + 1

    # -- time ---------------------------------------------------------------------------------------------------------

    def _expire_at(self, session: Session, when: float) -> None:
        session.deadline = when
        if self._deadlines.add(when, session.viewer):
            self._bell.ring()

    async def expire(self) -> None:
        """End what takes too long: handshakes, connections that join no room, closes without an answer. Until cancelled."""
        while True:
            await self._bell.wait_until(self._deadlines.next())
            now = trio.current_time()
            for viewer in self._deadlines.expired(now):
                session = self._sessions.get(viewer & _FD_MASK)
                if session is None or session.viewer != viewer:
                    continue
                if session.stage is Stage.OPEN and session.room is not None:
                    continue
                if session.deadline > now:
                    self._deadlines.add(session.deadline, viewer)
                elif session.stage is Stage.HANDSHAKE:
                    self._reject(session, ws.HandshakeError(408, "the upgrade request took too long"))
                elif session.stage is Stage.OPEN:
                    self.close(session, Close.TIMEOUT, "no room was joined in time")
                else:
                    self.drop(session)

    async def gone(self) -> None:
        """Wait until no connection is left."""
        while self._sessions:
            self._gone = trio.Event()
            await self._gone.wait()

    def drop_all(self) -> None:
        """End every connection without a word."""
        for session in self.sessions():
            self.drop(session)


def _tuned(settings: EdgeSettings) -> tuple[float, ...]:
    """What is set on each connection."""
    return settings.send_buffer_bytes, settings.dead_peer_seconds, settings.message_bytes
