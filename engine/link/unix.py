"""A link over a Unix stream socket: the same messages as inside a process, framed, versioned, bounded.

Owns the framing, the first words both sides exchange, and what has not left yet. Must not know what messages say.

A frame is a length, four bytes in network order, and that many bytes: MessagePack of the list of messages of one `End.send`.
All that was sent in one turn of the loop leaves in one system call, from a task of the link's own, so `send` never blocks. The
first frame of each side is a `Hello`; a peer with another version is refused, on both sides, before anything else is read.

**Bounds.** `UnixEnd.backlog` counts the messages that the kernel has not taken; what its buffer holds, some hundred kilobytes,
comes on top. When more than ``limit`` bytes wait, the other side has stopped reading: the link ends at once, loudly, instead of
growing. A frame that claims to be larger than ``limit``, or does not decode, ends it likewise.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import islice
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio

from engine.errors import RoomcastError
from engine.link.base import End
from engine.link.messages import VERSION, Down, Up
from engine.timing import Bell

__all__ = ["LIMIT_BYTES", "Hello", "LinkRefused", "UnixEnd", "connect_hub", "greet_edge", "greet_hub", "link_limit"]

LIMIT_BYTES: Final = 64 << 20
"""Bytes that may wait for the other side unless the caller says otherwise."""
_MAGIC: Final = "roomcast link"
_LENGTH: Final = struct.Struct("!I")
_RECEIVE: Final = 262_144
_GATHER: Final = 64
"""Frames in one write; Linux takes up to 1,024 buffers (IOV_MAX)."""
_HELLO_BYTES: Final = 4_096
_HELLO_SECONDS: Final = 5.0
"""Time for the other side's first words."""
_FAREWELL_SECONDS: Final = 2.0
"""Time for the other side to take what waits when the link is closed."""

log = logging.getLogger("roomcast.link")

Out = TypeVar("Out")
In = TypeVar("In")


def link_limit(log_bytes: int) -> int:
    """Bytes that may wait on a link of a node whose rooms keep so many: some answers about the past, each half a room's log."""
    return max(LIMIT_BYTES, 4 * log_bytes)


class LinkRefused(RoomcastError):
    """The other side of a link is not one that this process can talk to, or said nothing in time."""


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """First words of each side. Its shape outlives versions: it may only grow at the end.

    :ivar incarnation: of the process; a new one is another process, which remembers nothing.
    """

    magic: str
    version: int
    incarnation: str


class UnixEnd(End[Out, In], Generic[Out, In]):
    """One side. Made by `greet_hub` and `greet_edge`.

    :ivar peer: the other side's incarnation.
    """

    def __init__(self, sock: socket.socket, kind: Any, limit: int) -> None:
        self._sock = sock
        self._limit = limit
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode
        self._waiting: deque[tuple[memoryview, int]] = deque()
        self._waiting_bytes = 0
        self._backlog = self._lost = 0
        self._sent_bytes = 0
        self._bell = Bell()
        self._closed = False
        self._buffer = bytearray()
        self._ended = False
        self.peer = ""

    # -- out ----------------------------------------------------------------------------------------------------------

    def send(self, messages: Sequence[Out]) -> None:
        if messages and not self._closed:
            self._queue(self._encode(messages), len(messages))

    def _queue(self, body: bytes, count: int) -> None:
        size = _LENGTH.size + len(body)
        if self._waiting_bytes + size > self._limit:
            self._break("overflow", f"more than {self._limit} bytes wait for the other side")
            return
        self._waiting.append((memoryview(_LENGTH.pack(len(body)) + body), count))
        self._waiting_bytes += size
        self._sent_bytes += size
        self._backlog += count
        self._bell.ring()

    @property
    def backlog(self) -> int:
        return self._backlog

    @property
    def lost(self) -> int:
        return self._lost

    @property
    def sent_bytes(self) -> int:
        return self._sent_bytes

    async def write(self) -> None:
        """Hand over what waits, until `close` and everything is handed over, or the other side is gone."""
        sock, waiting = self._sock, self._waiting
        while True:
            await self._bell.wait()
            while waiting:
                try:
                    count = sock.sendmsg([data for data, _ in islice(waiting, _GATHER)])
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(sock)
                except OSError:
                    # The reader sees the end after what the other side said last.
                    self._forget()
                    self._closed = True
                else:
                    self._advance(count)
                    if waiting:
                        await trio.lowlevel.checkpoint()
            if self._closed:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                return

    def _advance(self, size: int) -> None:
        waiting = self._waiting
        self._waiting_bytes -= size
        while size:
            data, count = waiting[0]
            if size < len(data):
                waiting[0] = data[size:], count
                return
            size -= len(data)
            self._backlog -= count
            waiting.popleft()

    def _forget(self) -> None:
        self._waiting.clear()
        self._lost += self._backlog
        self._waiting_bytes = self._backlog = 0

    # -- in -----------------------------------------------------------------------------------------------------------

    async def receive(self) -> Sequence[In]:
        messages: list[In] = []
        if self._buffer and not self._ended:
            # What came right behind the other side's first words.
            messages = self._parse()
        if messages or self._ended:
            await trio.lowlevel.checkpoint_if_cancelled()
        while not messages and not self._ended:
            await trio.lowlevel.wait_readable(self._sock)
            if self._read():
                messages = self._parse()
        return messages

    def _read(self) -> bool:
        """Take what the kernel has; return whether there was something."""
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ECONNRESET:
                raise
            data = b""
        if data:
            self._buffer += data
            return True
        if self._buffer:
            self._break("truncated", "the stream ends inside a frame")
        self._ended = True
        return False

    def _parse(self) -> list[In]:
        """The messages of all complete frames."""
        messages: list[In] = []
        while (body := self._body(self._limit)) is not None:
            try:
                messages += self._decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._break("garbage", str(error))
        return messages

    def _body(self, limit: int) -> bytes | None:
        """Remove and return the first complete frame's content."""
        buffer, head = self._buffer, _LENGTH.size
        if len(buffer) < head:
            return None
        (size,) = _LENGTH.unpack_from(buffer)
        if size > limit:
            self._break("garbage", f"a frame claims to have {size} bytes")
            return None
        if len(buffer) < head + size:
            return None
        body = bytes(memoryview(buffer)[head : head + size])
        del buffer[: head + size]
        return body

    # -- ends ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(OSError):
                # Wakes our reader, and the other side's writer; what has arrived can still be read.
                self._sock.shutdown(socket.SHUT_RD)
            self._bell.ring()

    def _break(self, why: str, text: str) -> None:
        """End the link now: the other side does not keep to the rules."""
        log.error("link_broken", extra={"why": why, "text": text, "peer": self.peer})
        self._forget()
        self._buffer.clear()
        self._closed = self._ended = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._bell.ring()

    async def greet(self, incarnation: str) -> None:
        """Exchange first words. Raises `LinkRefused`."""
        self._queue(msgspec.msgpack.encode(Hello(_MAGIC, VERSION, incarnation)), 0)
        with trio.move_on_after(_HELLO_SECONDS):
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                if self._read() and (body := self._body(_HELLO_BYTES)) is not None:
                    break
                if self._ended:
                    raise LinkRefused("the other side of the link hung up before its first words")
            try:
                hello = msgspec.msgpack.decode(body, type=Hello)
            except msgspec.MsgspecError as error:
                raise LinkRefused(f"the other side of the link does not begin as one: {error}") from None
            if hello.magic != _MAGIC:
                raise LinkRefused("the other side of the link is not one of ours")
            if hello.version != VERSION:
                raise LinkRefused(f"the other side speaks version {hello.version} of the link, this process {VERSION}")
            self.peer = hello.incarnation
            return
        raise LinkRefused(f"the other side of the link said nothing for {_HELLO_SECONDS:g} seconds")


@asynccontextmanager
async def _open(sock: socket.socket, kind: Any, incarnation: str, limit: int) -> AsyncIterator[UnixEnd[Any, Any]]:
    refused: LinkRefused | None = None
    with sock:
        sock.setblocking(False)
        end: UnixEnd[Any, Any] = UnixEnd(sock, kind, limit)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.write)
            try:
                await end.greet(incarnation)
            except LinkRefused as error:
                # Raised outside of the nursery, which would wrap it.
                refused = error
            else:
                try:
                    yield end
                finally:
                    end.close()
            end.close()
            # The writer ends by itself when everything has left.
            nursery.cancel_scope.deadline = trio.current_time() + _FAREWELL_SECONDS
    if refused is not None:
        raise refused


def greet_hub(
    sock: socket.socket, incarnation: str, *, limit: int = LIMIT_BYTES
) -> AbstractAsyncContextManager[UnixEnd[Up, Down]]:
    """The edge's end of a link over a connected socket, which is the link's from now on.

    The link is closed at the end of the block; what was sent has then left, unless the other side took none of it for a while.

    :raises LinkRefused: the peer is of another version, or none of ours.
    """
    return _open(sock, Down, incarnation, limit)


def greet_edge(
    sock: socket.socket, incarnation: str, *, limit: int = LIMIT_BYTES
) -> AbstractAsyncContextManager[UnixEnd[Down, Up]]:
    """The hub's end. See `greet_hub`."""
    return _open(sock, Up, incarnation, limit)


def connect_hub(path: str) -> socket.socket:
    """Connect to a hub's socket. Raises OSError when no process owns it or too many wait there already."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
