"""Many viewers of one room that cost little: each is a WebSocket of its own that speaks and throws away what it hears.

Owns their sockets. A client of ours (`engine.client`) decodes and checks all that comes, which is what viewers are for; two
hundred of them would take more of the machine than the node that they are there to show. So these read the length of each frame
and nothing else, all of them in one task, a few times a second: the kernel keeps it until then. Nobody waits for a socket of
theirs to be readable, because in a living room each of them is. Must not know why anybody says anything.
"""

from __future__ import annotations

import errno
import os
import socket
from base64 import b64encode
from itertools import count
from random import Random
from typing import Any, Final

import msgspec
import trio

from engine.demo.lines import Language
from engine.errors import RoomcastError
from engine.schema import MSGPACK, handle_of
from engine.ws import Opcode, client_frame

__all__ = ["Crowd", "Frames", "Viewer"]

_GATHER_SECONDS: Final = 0.25
"""Between two rounds of reading. The room's own tick is shorter, so one read takes several batches."""
_ENTER_SECONDS: Final = 10.0
_CHUNK: Final = 65_536
_HEAD_MAX: Final = 16_384
"""Bytes of the answer to the upgrade, or of the first messages, that are looked at."""
_JOINED: Final = 32
_SLICE: Final = 256
"""Viewers read between two turns of everybody else."""
_REMEMBERED: Final = 4_096

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Frames:
    """Where the server's frames end (RFC 6455 section 5.2; a server does not mask)."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0

    def closes(self, data: bytes) -> bool:
        """Take what has come. Returns whether a close frame is among it."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, size = self._left, len(data)
        while at < size:
            head = _head(data, at)
            if head is None:
                self._rest, self._left = data[at:], 0
                return False
            opcode, _, end = head
            if opcode == Opcode.CLOSE:
                return True
            at = end
        self._left = at - size
        return False


def _head(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Opcode, begin and end of the payload of the frame that begins there; None: its head is not complete."""
    if len(data) < at + 2:
        return None
    opcode, length, begin = data[at] & 0x0F, data[at + 1], at + 2
    if length >= 126:
        begin += 2 if length == 126 else 8
        if len(data) < begin:
            return None
        length = int.from_bytes(data[at + 2 : begin], "big")
    return opcode, begin, begin + length


class Viewer:
    """One of the crowd, in the room. What it says is gone if it cannot be sent at once: then the viewer goes, too.

    :ivar name: as it joined.
    :ivar user: id under which its events appear.
    """

    def __init__(self, crowd: Crowd, sock: socket.socket, handle: int, name: str, language: Language) -> None:
        self._crowd = crowd
        self._handle = handle
        self._refs = count(2)
        self._likes = 0
        self._reactions: dict[str, int] = {}
        self._frames = Frames()
        self.sock = sock
        self.name = name
        self.user = ""
        self.language: Language = language
        self.leaving = False

    def comment(self, body: str) -> None:
        """Say something."""
        self._send(3, next(self._refs), self._handle, body)

    def like(self, times: int, reaction: str = "") -> None:
        """Tap so many times."""
        if reaction:
            self._reactions[reaction] = self._reactions.get(reaction, 0) + times
        else:
            self._likes += times
        self._send(4, self._handle, self._likes, self._reactions)

    def vote(self, poll: str, choice: int) -> None:
        """Vote in a poll."""
        self._send(13, next(self._refs), self._handle, "poll", poll, choice)

    def give(self, gift: str, times: int = 1) -> None:
        """Give something to the host."""
        self._send(18, next(self._refs), self._handle, gift, times)

    def claim(self, packet: int) -> None:
        """Claim a share of a red packet."""
        self._send(19, next(self._refs), self._handle, packet)

    def leave(self) -> None:
        """Say goodbye (RFC 6455 section 7.1.2); the server ends the connection."""
        if not self.leaving:
            self.leaving = True
            self._write(client_frame(Opcode.CLOSE, (1000).to_bytes(2, "big"), os.urandom(4)))

    def take(self, data: bytes) -> None:
        """What has come."""
        if self._frames.closes(data):
            self.leave()

    def _send(self, *message: Any) -> None:
        if not self.leaving:
            self._write(_message(*message))

    def _write(self, data: bytes) -> None:
        try:
            whole = self.sock.send(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self._crowd.drop(self)


def _message(*message: Any) -> bytes:
    return client_frame(Opcode.BINARY, _encode(message), os.urandom(4))


class Crowd:
    """See the module's docstring. `run` reads; without it nobody stays for long.

    :param address: host and port of the viewers' side of a node on this machine.
    :param path: of its WebSocket endpoint.
    :ivar users: ids of all who were ever here, as far as they are remembered.
    """

    def __init__(self, address: tuple[str, int], path: str, room: str) -> None:
        self._address = address
        self._path = path
        self._room = room
        self._handle = handle_of(room)
        self._here: dict[Viewer, None] = {}
        self.users: dict[str, Viewer] = {}

    def __len__(self) -> int:
        return len(self._here)

    def somebody(self, random: Random) -> Viewer | None:
        """Anyone who is here."""
        here = self.people()
        return random.choice(here) if here else None

    def people(self) -> list[Viewer]:
        """Everybody who is here."""
        return [viewer for viewer in self._here if not viewer.leaving]

    async def enter(self, name: str, language: Language) -> Viewer:
        """Another viewer comes in. Raises OSError, or RoomcastError when it is not let in."""
        sock = socket.socket(socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET)
        sock.setblocking(False)
        viewer = Viewer(self, sock, self._handle, name, language)
        try:
            with trio.move_on_after(_ENTER_SECONDS) as patience:
                await self._connect(sock)
                viewer.user = await self._join(sock, viewer)
            if patience.cancelled_caught:
                raise RoomcastError("the node did not answer in time")
        except BaseException:
            sock.close()
            raise
        self._here[viewer] = None
        self.users[viewer.user] = viewer
        while len(self.users) > _REMEMBERED:
            self.users.pop(next(iter(self.users)))
        return viewer

    async def _connect(self, sock: socket.socket) -> None:
        code = sock.connect_ex(self._address)
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def _join(self, sock: socket.socket, viewer: Viewer) -> str:
        """The upgrade (RFC 6455 section 4.1) and the room. Returns the user's id."""
        host = self._address[0]
        key = b64encode(os.urandom(16)).decode()
        sock.send(
            (
                f"GET {self._path} HTTP/1.1\r\nHost: {f'[{host}]' if ':' in host else host}:{self._address[1]}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {MSGPACK.subprotocol}\r\n\r\n"
            ).encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await _arrived(sock, len(answer))
        status = answer.split(b" ", 2)[1:2]
        if status != [b"101"]:
            raise RoomcastError(f"the node answered HTTP {b''.join(status).decode('ascii', 'replace')}")
        sock.send(_message(1, 1, self._room, 0, 0, None, viewer.name))
        data = b""
        while (head := _head(data, 0)) is None or head[2] > len(data):
            data += await _arrived(sock, len(data))
        opcode, begin, end = head
        message: Any = _decode(data[begin:end]) if opcode == Opcode.BINARY else [opcode]
        if message[0] != _JOINED:
            raise RoomcastError(f"the node did not let a viewer in: {message}")
        viewer.take(data[end:])
        user: str = message[4]
        return user

    async def run(self) -> None:
        """Read until cancelled; then everybody is gone."""
        try:
            while True:
                await trio.sleep(_GATHER_SECONDS)
                for number, viewer in enumerate(list(self._here), 1):
                    self._read(viewer)
                    if number % _SLICE == 0:
                        await trio.lowlevel.checkpoint()
        finally:
            for viewer in list(self._here):
                viewer.leave()
                self.drop(viewer)

    def _read(self, viewer: Viewer) -> None:
        if viewer not in self._here:
            return
        try:
            data = viewer.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            viewer.take(data)
        else:
            self.drop(viewer)

    def drop(self, viewer: Viewer) -> None:
        """Whoever it is, it is gone."""
        viewer.leaving = True
        if viewer in self._here:
            del self._here[viewer]
            viewer.sock.close()


async def _arrived(sock: socket.socket, already: int) -> bytes:
    """More bytes. Raises OSError when there are no more, or too many."""
    await trio.lowlevel.wait_readable(sock)
    data = sock.recv(_CHUNK)
    if not data or already > _HEAD_MAX:
        raise ConnectionResetError(errno.ECONNRESET, "the node hung up" if not data else "the node says too much")
    return data
