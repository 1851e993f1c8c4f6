"""Scripted sockets and the wire above them: a kernel that takes as many bytes as the test says, and a careful reader.

Owns the fakes of the edge's tests and the reader that checks what a viewer got. Asserts what a stream must be, nothing about
the part under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from engine.client.follower import Follower
from engine.edge.session import Overflow, Session, Stage
from engine.room.encoder import encode_message
from engine.schema import MSGPACK, Joined
from engine.ws import Opcode, close_frame, frame, inflate

__all__ = ["HANDLE", "PRIVATE_BYTES", "FakeSocket", "FakeWire", "Reader", "frames_in", "joined", "pong", "viewer"]

HANDLE = 7
PRIVATE_BYTES = 300
_fds = itertools.count(1000)


class FakeSocket:
    """A socket whose kernel is a number: how many bytes it still takes.

    :ivar room: bytes it takes before it would block; None for any number.
    :ivar chunk: bytes one call takes at most.
    :ivar broken: once ``room`` is used up the connection is reset, mid-frame or not.
    :ivar received: what the peer has got.
    """

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self.chunk: int | None = None
        self.broken = False
        self.closed = False
        self.received = bytearray()

    def close(self) -> None:
        self.closed = True

    def send(self, data: bytes | memoryview) -> int:
        return self.sendmsg([data])

    def sendmsg(self, buffers: Sequence[bytes | memoryview]) -> int:
        assert not self.closed, "written to after it was closed"
        data = b"".join(buffers)
        assert data, "nothing to write"
        limits = [limit for limit in (self.room, self.chunk) if limit is not None]
        count = min([len(data), *limits])
        if not count:
            if self.broken:
                raise ConnectionResetError
            raise BlockingIOError
        self.received += data[:count]
        if self.room is not None:
            self.room -= count
        return count


class FakeWire:
    """What `engine.edge.connections` does to a connection, over fake sockets and without an epoll object.

    :ivar armed: sessions watched for writability.
    :ivar closed: close codes by session; None for a drop.
    """

    def __init__(self) -> None:
        self.armed: set[Session] = set()
        self.closed: dict[Session, int | None] = {}
        self.known: dict[int, Session] = {}

    def push(self, session: Session, data: bytes) -> None:
        if session.stage is Stage.CLOSED:
            return
        try:
            if session.push(data, PRIVATE_BYTES):
                return
        except Overflow:
            self.close(session, 4202, "replies are not read")
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
        self.closed[session] = int(code)
        broken = session.entry is not None
        self._left(session)
        if broken:
            self.drop(session)
            return
        session.stage = Stage.CLOSING
        last = close_frame(code, reason)
        try:
            if not session.push(last, PRIVATE_BYTES + len(last)):
                self.arm(session, True)
        except (OSError, Overflow):
            self.drop(session)

    def drop(self, session: Session) -> None:
        if session.stage is Stage.CLOSED:
            return
        self.closed.setdefault(session, None)
        self._left(session)
        session.stage = Stage.CLOSED
        session.sock.close()
        self.armed.discard(session)
        session.private = None

    def _left(self, session: Session) -> None:
        if session.room is not None:
            session.room.leave(session)
        elif session.track is not None:
            session.track.leave(session)

    def arm(self, session: Session, write: bool) -> None:
        if session.stage is not Stage.CLOSED:
            (self.armed.add if write else self.armed.discard)(session)

    def await_join(self, session: Session) -> None:
        session.deadline = 0.0

    def find(self, viewer: int) -> Session | None:
        return self.known.get(viewer)

    def writable(self, session: Session) -> None:
        """The poller found that the socket takes more."""
        assert session in self.armed
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


def viewer(number: int, variant: int = 0, *, room: int | None = None) -> tuple[Session, FakeSocket]:
    """A session with an open WebSocket on a fake socket."""

    sock = FakeSocket(room)
    session = Session(sock, next(_fds), number, 0.0)  # type: ignore[arg-type]  # a fake socket
    session.stage = Stage.OPEN
    session.codec = MSGPACK
    session.variant = variant
    session.secret = f"secret-{number:09}"
    return session, sock


def joined(resumed: bool) -> bytes:
    """The private frame that answers a join."""
    return encode_message(MSGPACK, Joined(1, HANDLE, "s" * 16, "guest-1", "viewer", resumed, 25_000))


def pong(number: int) -> bytes:
    """A private frame with a number."""
    return frame(Opcode.BINARY, msgpack.packb([38, number, 1]))


def frames_in(data: bytes | bytearray) -> Iterator[tuple[int, bool, bytes, int]]:
    """Opcode, RSV1, payload and end of each whole server frame (RFC 6455 section 5.2), read by hand."""
    at = 0
    while len(data) - at >= 2:
        first, size = data[at], data[at + 1]
        assert first & 0x80, "fragmented"
        assert not first & 0x30, "reserved bits"
        assert first & 0x0F in (1, 2, 8, 9, 10), f"opcode {first & 15}"
        assert not size & 0x80, "masked"
        head = 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            head += wide
            if len(data) - at < head:
                return
            size = int.from_bytes(data[at + 2 : at + head], "big")
        end = at + head + size
        if end > len(data):
            return
        yield first & 0x0F, bool(first & 0x40), bytes(data[at + head : end]), end
        at = end


class Reader:
    """Reads one viewer's stream of MessagePack frames and lets nothing through that the protocol forbids.

    Beside `Follower`, whose rules are the client's, it checks that private frames come in order and that a close is the end.

    :ivar returns: whether it asked to go on at its position, and wants to know what became of that.
    :ivar seen: ranges covered by batches, as ``(epoch, first, last)``; ``gaps`` those of explicit gaps.
    :ivar messages: all that it has read, each with the place in the stream where its frame begins.
    """

    def __init__(self, sock: FakeSocket) -> None:
        self.sock = sock
        self.follower = Follower()
        self.at = 0
        self.pong = 0
        self.ended = False
        self.returns = False
        self.seen: list[tuple[int, int, int]] = []
        self.gaps: list[tuple[int, int, int, str]] = []
        self.messages: list[tuple[int, list[Any]]] = []

    @property
    def rest(self) -> bytes:
        """Bytes of a frame that is not whole yet."""
        return bytes(self.sock.received[self.at :])

    @property
    def position(self) -> tuple[int, int] | None:
        position = self.follower.position
        return (position.epoch, position.offset) if position is not None else None

    def read(self) -> None:
        """Take in the frames that became whole."""
        data = self.sock.received[self.at :]
        start = self.at
        for opcode, compressed, payload, end in frames_in(data):
            assert not self.ended, "frames after a close"
            begin, self.at = self.at, start + end
            if opcode == Opcode.CLOSE:
                self.ended = True
                continue
            assert opcode == Opcode.BINARY
            message: list[Any] = msgpack.unpackb(inflate(payload, 1 << 20) if compressed else payload)
            self.messages.append((begin, message))
            if message[0] == 38:
                assert message[1] == self.pong + 1, "private frames out of order"
                self.pong += 1
            elif message[0] == 34:
                self.seen.append((message[2], message[3], message[4]))
            elif message[0] == 36:
                self.gaps.append((message[2], message[3], message[4], message[5]))
            elif message[0] == 32:
                # A new stay in the room: what the client does between leaving one and joining the next.
                if message[6] or self.returns:
                    self.follower.lost()
                else:
                    self.follower = Follower()
            self.follower.feed(message)
