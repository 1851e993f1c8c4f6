"""One connection to a Redis server: requests in, replies in the same order, pushes as they come.

Owns the socket and who waits for which reply. Must not know what is asked, nor what happens after the connection has ended.

The parser is coredis's; its connections are not used, for they read whatever the server sends into buffers without bound,
hand over each push through a task switch, and leave nobody to say when that is too much. Here a push is handled where it is
read, and the socket is not read again before that, so that the kernel's buffer is the only one and the server sees a slow node.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import trio
from coredis.constants.resp import DataType
from coredis.exceptions import InvalidResponse, RedisError
from coredis.parser import NotEnoughData, Parser

from engine.brokers.base import Unavailable
from engine.brokers.redis.address import Address

__all__ = ["Lost", "Part", "Reply", "Traffic", "Wire", "ask_once"]

_CHUNK: Final = 65_536
_COMPACT: Final = 1 << 20
"""Parsed bytes after which the parser's buffer is renewed; it does so itself only in the unlikely case that it is empty."""
_WAITING_BYTES: Final = 32 << 20
"""Requests not yet answered. More than that, and the server is too slow to be asked more."""

Part = bytes | str | int


@dataclass(slots=True)
class Traffic:
    """What went over connections so far; they share one.

    :ivar requests: commands sent that are answered one by one.
    :ivar pushes: messages that came unasked.
    :ivar sent: bytes.
    :ivar received: bytes.
    """

    requests: int = 0
    pushes: int = 0
    sent: int = 0
    received: int = 0


class Lost(Exception):
    """The connection ended before the reply came: nobody knows whether the request was carried out."""


class Reply:
    """What becomes of a request. The reply is taken off the wire whether or not anybody waits for it.

    :ivar value: once it is `fine`.
    """

    __slots__ = ("_bell", "_done", "_error", "_last", "size", "value")

    def __init__(self, size: int, last: bytes | None = None) -> None:
        self.size = size
        self._last = last
        self._done = False
        # Of many requests that were sent together, the first is waited for; most others have been answered then.
        self._bell: trio.Event | None = None
        self.value: Any = None
        self._error: Exception | None = None

    @property
    def fine(self) -> bool:
        """Whether it has come and is no error."""
        return self._done and self._error is None

    async def wait(self) -> Any:
        """The value. Raises `Lost`, or coredis's `RedisError` if the server answered with one."""
        if not self._done:
            self._bell = self._bell or trio.Event()
            await self._bell.wait()
        if self._error is not None:
            raise self._error
        return self.value

    def take(self, value: Any) -> bool:
        """A reply came; returns whether it was the last one to this request."""
        if isinstance(value, RedisError):
            self._error = self._error or value
        else:
            self.value = value
        if self._last is not None and value != self._last:
            return False
        self._finish()
        return True

    def lose(self, error: Lost) -> None:
        """No reply will come."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self._done = True
        if self._bell is not None:
            self._bell.set()


def _pack(parts: Iterable[Part]) -> bytes:
    out = []
    count = 0
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
        count += 1
    return b"*%d\r\n%b" % (count, b"".join(out))


class Wire:
    """See the module's docstring. `run` must be running for anything to happen.

    :param push: called for each push message, in order; must not block or raise.
    :param ended: set when the connection has ended; may be shared by connections that end together.
    :param traffic: is added to.
    :ivar heard_at: when the server last sent anything, on trio's clock; at first when this was made.
    """

    def __init__(
        self, stream: trio.abc.Stream, push: Callable[[list[Any]], None], ended: trio.Event, traffic: Traffic | None = None
    ) -> None:
        self._traffic = traffic or Traffic()
        self._stream = stream
        self._push = push
        self._ended = ended
        self._open = True
        self._parser = Parser()
        self._replies: deque[Reply] = deque()
        self._out: list[bytes] = []
        self._wake = trio.Event()
        self._waiting = 0
        self.heard_at = trio.current_time()

    @classmethod
    async def connect(
        cls,
        address: Address,
        tls: ssl.SSLContext | None,
        push: Callable[[list[Any]], None],
        ended: trio.Event,
        traffic: Traffic | None = None,
    ) -> Wire:
        """Open a connection. Raises `OSError` or `trio.BrokenResourceError` (TLS); bound it by a cancel scope."""
        stream: trio.abc.Stream
        if address.path:
            stream = await trio.open_unix_socket(address.path)
        else:
            stream = await trio.open_tcp_stream(address.host, address.port)
        if tls is not None:
            secured = trio.SSLStream(stream, tls, server_hostname=address.host)
            try:
                await secured.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(secured)
                raise
            stream = secured
        return cls(stream, push, ended, traffic)

    def request(self, *parts: Part) -> Reply:
        """Send a command. Raises `Lost` if the connection has ended, `Unavailable` if too much waits for an answer."""
        return self._send(_pack(parts), None)

    def barrier(self, commands: Iterable[tuple[Part, ...]] = ()) -> Reply:
        """Send commands that are answered by pushes alone; the reply comes when the server has carried out all of them."""
        return self._send(b"".join(map(_pack, (*commands, (b"PING",)))), b"PONG")

    def _send(self, data: bytes, last: bytes | None) -> Reply:
        if not self._open:
            raise Lost
        if self._waiting > _WAITING_BYTES:
            raise Unavailable("Redis does not keep up: too much waits for its answer")
        reply = Reply(len(data), last)
        self._waiting += reply.size
        self._traffic.requests += 1
        self._traffic.sent += reply.size
        self._replies.append(reply)
        self._out.append(data)
        self._wake.set()
        return reply

    def close(self) -> None:
        """End the connection; whoever waits gets `Lost`."""
        if self._open:
            self._open = False
            self._ended.set()
            lost = Lost()
            while self._replies:
                self._replies.popleft().lose(lost)

    async def abort(self) -> None:
        """End a connection that was never `run`."""
        self.close()
        await trio.aclose_forcefully(self._stream)

    async def run(self) -> None:
        """Carry data both ways until the connection ends."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_ended, self._write)
                nursery.start_soon(self._until_ended, self._read)
                await self._ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.close()
            await trio.aclose_forcefully(self._stream)

    async def _until_ended(self, carry: Callable[[], Any]) -> None:
        # The last three: what came is no RESP.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, InvalidResponse, ValueError, IndexError):
            await carry()
        self.close()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            out, self._out = self._out, []
            await self._stream.send_all(b"".join(out))

    async def _read(self) -> None:
        while data := await self._stream.receive_some(_CHUNK):
            self._traffic.received += len(data)
            self.heard_at = trio.current_time()
            self._parser.feed(bytes(data))
            while not isinstance(parsed := self._parser.parse(), NotEnoughData):
                kind, value = parsed
                if kind is DataType.PUSH:
                    self._traffic.pushes += 1
                    self._push(value)  # type: ignore[arg-type]  # a push is a list
                elif not self._replies:
                    return
                elif self._replies[0].take(value):
                    self._waiting -= self._replies.popleft().size
            if self._parser.bytes_read > _COMPACT:
                self._renew_parser()

    def _renew_parser(self) -> None:
        used, self._parser = self._parser, Parser()
        self._parser.feed(used.localbuffer.getvalue()[used.bytes_read : used.bytes_written])
        self._parser.nodes, self._parser.current_node = used.nodes, used.current_node


async def ask_once(address: Address, tls: ssl.SSLContext | None, *commands: tuple[Part, ...]) -> Any:
    """Send commands over a connection of their own. Returns the last answer, None if the server cannot be asked."""
    try:
        wire = await Wire.connect(address, tls, _ignore, trio.Event())
    except (OSError, trio.BrokenResourceError):
        return None
    answer = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run)
        with suppress(Lost, RedisError):
            replies = [wire.request(*command) for command in commands]
            for reply in replies:
                answer = await reply.wait()
        nursery.cancel_scope.cancel()
    return answer


def _ignore(_: list[Any]) -> None: ...
