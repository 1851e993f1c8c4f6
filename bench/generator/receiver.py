"""One viewer's connection: an asyncio protocol of a few hundred bytes that checks every offset it gets.

Owns a viewer's position and its handling of server messages; what all viewers of a process share is `bench.generator.swarm`'s.
Must not know scenarios or how a process is controlled.

Nearly every read is exactly one batch frame that another viewer of this process has had before. `data_received` finds
the frame expected at its cursor by one dictionary lookup and compares the bytes; nothing is hashed, parsed or decoded
again. (A buffered protocol with one shared buffer was measured too: 4.9 against 4.8 µs a read.)
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from enum import IntEnum
from time import monotonic_ns
from typing import Any, cast

from bench.generator.swarm import Swarm
from bench.generator.verify import SLOT_SHIFT, Frame, Log, overlap_of
from bench.generator.wire import (
    CLOSE,
    PING,
    PONG,
    Header,
    WireError,
    accept_of,
    client_frame,
    header_at,
    upgrade_at,
    upgrade_request,
)

__all__ = ["JOIN_REF", "Busy", "Viewer", "ViewerState"]

JOIN_REF = 1 << 48
"""The ref of every join; comments count from 1."""
LIMIT_HANDLE = 0
"""Batches of this room are the bare send loop's (`bench.limit`): counted, not checked."""
JOINED, SNAPSHOT, BATCH, REPLY, GAP, BYE, PONG_MESSAGE, DIRECT = range(32, 40)
PAID = 42
NEVER = 100
"""Codes of replies below this say that the same request may succeed later."""
_REPLY_ENDS = (0, "", 0)
"""Offset, text and retry-after of a reply that leaves them out."""
_NO_FRAMES: dict[int, Frame] = {}


class ViewerState(IntEnum):
    """How far a connection has come."""

    NEW = 0
    UPGRADING = 1
    JOINING = 2
    LIVE = 3
    RESUMING = 4
    """Live, but the first batch may begin before the position."""
    LEAVING = 5
    """This side ends the connection."""
    CLOSED = 6


class Busy(ConnectionError):
    """The server refused the handshake for the time being (429, 503)."""


class Viewer(asyncio.Protocol):
    """One connection, and across reconnects one position.

    :ivar node: to which it is connected.
    :ivar received: bytes read from the present connection.
    :ivar returned: whether it has come back, and nobody has looked since.
    :ivar told: whether a gap has said that the epoch ends, and its snapshot is still to come.
    """

    __slots__ = (
        "cursor",
        "expects_snapshot",
        "frames",
        "index",
        "log",
        "node",
        "received",
        "returned",
        "room",
        "state",
        "swarm",
        "tail",
        "told",
        "transport",
        "waiter",
    )

    def __init__(self, swarm: Swarm, index: int, room: int) -> None:
        self.swarm = swarm
        self.index = index
        self.room = room
        self.state = ViewerState.NEW
        self.cursor = -2
        self.frames = _NO_FRAMES
        self.log: Log | None = None
        self.tail = b""
        self.received = 0
        self.returned = False
        self.node = 0
        self.expects_snapshot = True
        self.told = False
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade request."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self.tail = b""
        self.received = 0
        self.state = ViewerState.UPGRADING
        swarm = self.swarm
        self.send(upgrade_request(swarm.host, swarm.path, self._key(), swarm.subprotocol, swarm.compression))

    def _key(self) -> bytes:
        return b64encode(self.index.to_bytes(8, "big") + (id(self) & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "big"))

    def data_received(self, data: bytes) -> None:
        """The hot path: one whole frame, known to this process, at the cursor."""
        self.received += len(data)
        frame = self.frames.get(self.cursor + 1)
        if frame is not None and data == frame.raw and not self.tail:
            self.cursor = frame.last
            slot = monotonic_ns() >> SLOT_SHIFT
            times = frame.times
            times[slot] = times.get(slot, 0) + 1
            return
        self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            self._parse(self.tail + data if self.tail else data)
        except WireError as error:
            self._break("wire", str(error))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            self._break("message", f"{type(error).__name__}: {error}")

    def _break(self, kind: str, detail: str) -> None:
        self.swarm.fault(self, kind, self.cursor + 1, self.cursor + 1, detail)
        assert self.transport is not None
        self.transport.abort()

    def _parse(self, data: bytes) -> None:
        self.tail = b""
        position = self._upgraded(data) if self.state is ViewerState.UPGRADING else 0
        size = len(data)
        while position < size:
            for frame in (
                self.frames.get(self.cursor + 1),
                self.log.silent if self.log else None,
                self.swarm.limit_frame,
            ):
                if frame is not None and data.startswith(frame.raw, position):
                    position += len(frame.raw)
                    self._accept(frame)
                    break
            else:
                header = header_at(data, position)
                if header is None:
                    self.tail = data[position:]
                    return
                self._receive(header, data, position)
                position = header.end

    def _upgraded(self, data: bytes) -> int:
        answer = upgrade_at(data)
        if answer is None:
            self.tail = data
            return len(data)
        headers = answer.headers
        if answer.status in (429, 503):
            self._refused()
            return len(data)
        if answer.status != 101:
            raise WireError(f"the upgrade was answered with {answer.status}")
        if headers.get("sec-websocket-accept") != accept_of(self._key()):
            raise WireError("Sec-WebSocket-Accept does not match the key")
        if headers.get("sec-websocket-protocol") != self.swarm.subprotocol:
            raise WireError(f"subprotocol {headers.get('sec-websocket-protocol')!r}")
        extension = headers.get("sec-websocket-extensions", "")
        if self.swarm.compression and "server_no_context_takeover" not in extension:
            raise WireError(f"compression without server_no_context_takeover: {extension!r}")
        self.state = ViewerState.JOINING
        self._enter()
        return answer.end

    def _enter(self) -> None:
        join: list[Any] = [1, JOIN_REF, self.swarm.room_name(self.room)]
        token = self.swarm.token_of(self.index)
        if self.log is not None:
            self.returned = True
            join += [self.log.epoch, self.cursor, self.swarm.sessions.get(self.index)]
        elif token is not None:
            join += [0, 0, None]
        if token is not None:
            join += [None, {}, token]
        self.send(self.swarm.encode(join))

    def _refused(self) -> None:
        self.swarm.busy += 1
        self.state = ViewerState.LEAVING
        if self.waiter is not None:
            self.waiter.set_exception(Busy("the server has no place"))
            self.waiter = None
        assert self.transport is not None
        self.transport.abort()

    def cut(self) -> None:
        """Lose the connection, as in a tunnel."""
        self._leave()
        assert self.transport is not None
        self.transport.abort()

    def leave(self) -> None:
        """Close the connection in order; what the server answers ends it."""
        self._leave()
        self.send(client_frame(CLOSE, (1000).to_bytes(2, "big"), os.urandom(4)))

    def _leave(self) -> None:
        if self.state in (ViewerState.LIVE, ViewerState.RESUMING):
            self.swarm.live -= 1
        self.state = ViewerState.LEAVING

    def send(self, frame: bytes) -> None:
        """Write one client frame."""
        assert self.transport is not None
        self.transport.write(frame)

    def _receive(self, header: Header, data: bytes, position: int) -> None:
        tally = self.swarm.tally
        if header.opcode >= CLOSE:
            tally.wire_bytes += header.end - position
            self._control(header, data)
            return
        message = self.swarm.decode(header, data)
        kind = message[0]
        if kind == BATCH:
            raw = data[position : header.end]
            if message[1] == LIMIT_HANDLE:
                frame = self.swarm.limit(raw)
            elif self.log is None or self.state < ViewerState.LIVE:
                raise ValueError("a batch before the snapshot")
            else:
                frame = self.log.learn(raw, message, self.index, tally, self.node)
            self._accept(frame)
            return
        tally.wire_bytes += header.end - position
        if kind == REPLY:
            _, ref, code, *rest = message
            if self.swarm.steadfast and code < NEVER and (ref == JOIN_REF or not ref):
                if ref:
                    self._refused()
            elif ref == JOIN_REF or not ref:
                self.swarm.fault(self, "refused", detail=f"reply {code} to {'the join' if ref else 'a message'}: {rest}")
            else:
                offset, text, retry_after_ms = (*rest, *_REPLY_ENDS[len(rest) :])[:3]
                self.swarm.on_reply(self, ref, code, offset, text, retry_after_ms)
        elif kind == JOINED:
            self._joined(message)
        elif kind == SNAPSHOT:
            self._snapshot(message)
        elif kind == GAP:
            self._gap(message)
        elif kind == BYE:
            self.swarm.byes[self.index] = message[1]
        elif kind == PAID:
            _, ref, _handle, entry, offset, amount = message[:6]
            self.swarm.on_paid(self, ref, entry, offset, amount)
        elif kind not in (PONG_MESSAGE, DIRECT):
            raise ValueError(f"a message of kind {kind!r:.20}")

    def _control(self, header: Header, data: bytes) -> None:
        payload = data[header.start : header.end]
        if header.opcode == PING:
            self.send(client_frame(PONG, payload, os.urandom(4)))
        elif header.opcode == CLOSE and self.state is ViewerState.LEAVING:
            self.swarm.orderly += 1
            self.swarm.orderly_bytes += self.received
            assert self.transport is not None
            self.transport.close()
        elif header.opcode == CLOSE:
            self.swarm.closed[self.index] = int.from_bytes(payload[:2], "big")
            self.send(client_frame(CLOSE, payload[:2], os.urandom(4)))
            assert self.transport is not None
            self.transport.close()

    def _joined(self, message: list[Any]) -> None:
        _, ref, handle, session, _user, _role, resumed, _heartbeat = message[:8]
        if ref != JOIN_REF or self.state is not ViewerState.JOINING:
            raise ValueError("joined without a join")
        self.swarm.sessions[self.index] = session
        self.expects_snapshot = not resumed
        if resumed:
            if self.log is None or self.log.handle != handle:
                raise ValueError("resumed, but there was no position")
            self._live(ViewerState.RESUMING)

    def _live(self, state: ViewerState) -> None:
        if self.state < ViewerState.LIVE:
            self.swarm.live += 1
        self.state = state
        assert self.log is not None
        self.frames = self.log.frames
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        self.waiter = None

    def _snapshot(self, message: list[Any]) -> None:
        _, handle, name, epoch, offset, _time, counters, _heartbeat = message[:8]
        totals = message[8] if len(message) > 8 else {}
        swarm = self.swarm
        if name != swarm.room_name(self.room):
            raise ValueError(f"snapshot of room {name!r}")
        if self.log is not None and not self.expects_snapshot:
            self._jump(offset, "snapshot")
        elif self.log is not None and not self.told and (epoch != self.log.epoch or offset > self.cursor):
            self._count_gap(self.cursor + 1, offset if epoch == self.log.epoch else 0, "snapshot")
        log = swarm.log_of(self.room, handle, epoch, offset)
        log.base = min(log.base, offset)
        log.head = max(log.head, offset)
        log.totals.take(counters, totals)
        if log is not self.log:
            if self.log is not None:
                self.log.leave(self.cursor)
            log.enter(offset)
        self.log = log
        self.cursor = offset
        self.expects_snapshot = self.told = False
        self._live(ViewerState.LIVE)

    def _gap(self, message: list[Any]) -> None:
        _, _handle, epoch, first, last, reason = message[:6]
        if self.log is None or epoch != self.log.epoch:
            raise ValueError("a gap in an epoch that this viewer is not in")
        self._jump(first - 1, "gap")
        self._count_gap(first, last, reason)
        self.expects_snapshot = self.told = last == 0
        if last:
            self.cursor = last
            self.log.head = max(self.log.head, last)

    def _count_gap(self, first: int, last: int, reason: str) -> None:
        swarm = self.swarm
        swarm.tally.gaps += 1
        swarm.tally.gap_offsets += max(0, last - first + 1)
        swarm.gapped[self.index] = reason
        if self.index not in swarm.may_gap:
            swarm.fault(self, "gap", first, last, f"reason {reason}")

    def _jump(self, offset: int, what: str) -> None:
        """The server says that this viewer has everything up to ``offset``."""
        if offset > self.cursor:
            self._hole(self.cursor + 1, offset, what)
            self.cursor = offset
        elif offset < self.cursor:
            self.swarm.fault(self, "repeat", offset + 1, self.cursor, f"{what} goes back")

    def _hole(self, first: int, last: int, before: str) -> None:
        self.swarm.tally.lost += last - first + 1
        self.swarm.holes.setdefault(self.index, []).append((first, last))
        self.swarm.fault(self, "hole", first, last, f"missing before {before}")

    def _accept(self, frame: Frame) -> None:
        slot = monotonic_ns() >> SLOT_SHIFT
        if frame is self.swarm.limit_frame:
            frame.times[slot] = frame.times.get(slot, 0) + 1
            return
        if frame.first > self.cursor + 1:
            self._hole(self.cursor + 1, frame.first - 1, f"{frame.first}..{frame.last}")
            self.cursor = frame.first - 1
        if frame.first == self.cursor + 1:
            frame.times[slot] = frame.times.get(slot, 0) + 1
            self.cursor = frame.last
        else:
            self._repeated(frame)
        if frame.last >= frame.first and self.state is ViewerState.RESUMING:
            self.state = ViewerState.LIVE

    def _repeated(self, frame: Frame) -> None:
        """A frame that begins before the cursor: the overlap of a resume, a duplicate, or one that comes late."""
        tally = self.swarm.tally
        size = frame.last - frame.first + 1
        fresh = max(0, frame.last - self.cursor)
        tally.frames += 1
        tally.wire_bytes += len(frame.raw)
        tally.deliveries += fresh
        if self.state is ViewerState.RESUMING:
            tally.overlap += size - fresh
        else:
            holes = self.swarm.holes.get(self.index, ())
            late = overlap_of(holes, frame.first, frame.last)
            tally.lost -= late
            tally.deliveries += late
            tally.reordered += late
            tally.duplicated += size - fresh - late
            self.swarm.fault(self, "repeat", frame.first, frame.last, f"at position {self.cursor}")
        self.cursor = max(self.cursor, frame.last)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the end of the connection; a fault unless the run is over or the scenario allows it."""
        swarm = self.swarm
        joined = self.state in (ViewerState.LIVE, ViewerState.RESUMING)
        if joined:
            swarm.live -= 1
        if not swarm.stopping and self.state is not ViewerState.LEAVING and not swarm.steadfast:
            code = swarm.closed.setdefault(self.index, 0)
            if self.index not in swarm.may_gap or not (4000 <= code < 4200 or code == 0):
                swarm.fault(self, "closed", self.cursor, self.cursor, f"code {code or 'none'} {exc or ''}".rstrip())
        self.state = ViewerState.CLOSED
        self.frames = _NO_FRAMES
        self.transport = None
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ConnectionResetError(f"viewer {self.index} was closed before it had joined"))
        self.waiter = None
        if joined and swarm.on_lost is not None and not swarm.stopping:
            swarm.on_lost(self)
