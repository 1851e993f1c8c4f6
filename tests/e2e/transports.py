"""WebSocket connections of four makes behind one face: text or bytes out and in, and how it ended.

Owns the libraries' differences. `websockets`, `trio-websocket` and Node's `ws` are not ours; `raw` is a bare socket, which can
do what a library forbids: stop reading, send rubbish, hang up in the middle. Must not know what messages mean.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
import trio_websocket
import websockets.exceptions
from websockets.trio.client import connect
from websockets.typing import Subprotocol

from engine.ws import Opcode, client_frame

from .nodejs import NODE, SCRIPT

__all__ = ["ABNORMAL", "KEY", "Gone", "HttpRefusal", "RawTransport", "Transport", "open_transport", "request"]

ABNORMAL = 1006
"""Code of a connection that ended without a close frame (RFC 6455 section 7.1.5)."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_MASK = b"\x11\x9c\xe3\x5a"
_LARGEST = 64 << 20


class Gone(Exception):
    """The connection is over."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class HttpRefusal(Exception):
    """The upgrade was refused."""

    def __init__(self, status: int, headers: Mapping[str, str], body: str = "") -> None:
        super().__init__(f"HTTP {status}: {body}")
        self.status = status
        self.headers = headers
        self.body = body


class Transport(ABC):
    """A connection.

    :ivar deflate: whether permessage-deflate was agreed on.
    """

    deflate: bool = False

    @abstractmethod
    async def send(self, data: str | bytes) -> None:
        """Send one message. Raises `Gone`."""

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Return the next message. Raises `Gone`."""


class _Websockets(Transport):
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.deflate = bool(connection.protocol.extensions)

    async def send(self, data: str | bytes) -> None:
        try:
            await self._connection.send(data)
        except websockets.exceptions.ConnectionClosed as closed:
            raise _gone(closed) from None

    async def receive(self) -> str | bytes:
        try:
            data: str | bytes = await self._connection.recv()
        except websockets.exceptions.ConnectionClosed as closed:
            raise _gone(closed) from None
        return data


def _gone(closed: websockets.exceptions.ConnectionClosed) -> Gone:
    return Gone(closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else Gone(ABNORMAL)


class _TrioWebsocket(Transport):
    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, data: str | bytes) -> None:
        try:
            await self._connection.send_message(data)
        except trio_websocket.ConnectionClosed as closed:
            raise self._gone(closed) from None

    async def receive(self) -> str | bytes:
        try:
            data: str | bytes = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as closed:
            raise self._gone(closed) from None
        return data

    @staticmethod
    def _gone(closed: trio_websocket.ConnectionClosed) -> Gone:
        reason = closed.reason
        return Gone(ABNORMAL) if reason is None else Gone(reason.code, reason.reason or "")


class _NodeWs(Transport):
    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = bytearray()

    async def event(self) -> dict[str, Any]:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                event: dict[str, Any] = json.loads(line)
                return event
            assert self._process.stdout is not None
            chunk = await self._process.stdout.receive_some(1 << 16)
            if not chunk:
                return {"kind": "close", "code": ABNORMAL, "reason": "node ended"}
            self._buffer += chunk

    async def tell(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Gone(ABNORMAL, "node ended") from None

    async def send(self, data: str | bytes) -> None:
        binary = isinstance(data, bytes)
        raw = data if isinstance(data, bytes) else data.encode()
        await self.tell({"data": base64.b64encode(raw).decode(), "binary": binary})

    async def receive(self) -> str | bytes:
        while True:
            event = await self.event()
            match event["kind"]:
                case "message":
                    data = base64.b64decode(event["data"])
                    return data if event["binary"] else data.decode()
                case "close":
                    raise Gone(event["code"], event["reason"])


class RawTransport(Transport):
    """A bare socket that has been upgraded.

    :ivar stream: for sending what no library would.
    """

    def __init__(self, stream: trio.SocketStream, rest: bytes, deflate: bool) -> None:
        self.stream = stream
        self.deflate = deflate
        self._buffer = bytearray(rest)

    async def send(self, data: str | bytes) -> None:
        text = isinstance(data, str)
        raw = data.encode() if isinstance(data, str) else data
        try:
            await self.stream.send_all(client_frame(Opcode.TEXT if text else Opcode.BINARY, raw, _MASK))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Gone(ABNORMAL) from None

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload. Raises `Gone` without one."""
        head = await self._exactly(2)
        assert not head[1] & 0x80, "a server does not mask"
        size = head[1]
        if size >= 126:
            size = int.from_bytes(await self._exactly(2 if size == 126 else 8), "big")
        return head[0], await self._exactly(size)

    async def receive(self) -> str | bytes:
        while True:
            first, payload = await self.frame()
            assert first & 0x80, "the server never fragments"
            if first & 0x40:
                assert self.deflate
                payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            match first & 0x0F:
                case 1:
                    return payload.decode()
                case 2:
                    return payload
                case 8:
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self.stream.send_all(client_frame(Opcode.CLOSE, payload[:2], _MASK))
                    code = int.from_bytes(payload[:2], "big") if payload else 1005
                    raise Gone(code, payload[2:].decode())

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                chunk = await self.stream.receive_some(1 << 16)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise Gone(ABNORMAL) from None
            if not chunk:
                raise Gone(ABNORMAL)
            self._buffer += chunk
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def request(url: str, subprotocol: str, *, deflate: bool = False, headers: Mapping[str, str] | None = None) -> bytes:
    """An upgrade request."""
    parts = urlsplit(url)
    fields = {
        "Host": parts.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Protocol": subprotocol,
        **({"Sec-WebSocket-Extensions": "permessage-deflate"} if deflate else {}),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {parts.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


async def connect_raw(url: str, *, receive_buffer: int | None = None) -> trio.SocketStream:
    """A TCP connection to a node."""
    parts = urlsplit(url)
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer is not None:
        # Before connecting, else the window has been announced already.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await sock.connect((parts.hostname, parts.port))
    return trio.SocketStream(sock)


async def read_response(stream: trio.SocketStream) -> tuple[int, dict[str, str], bytes]:
    """Status and headers of an HTTP response, and what followed them. Raises `Gone` when there is none."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        try:
            chunk = await stream.receive_some(1 << 16)
        except trio.BrokenResourceError:
            raise Gone(ABNORMAL, "reset") from None
        if not chunk:
            raise Gone(ABNORMAL, bytes(data).decode("latin-1"))
        data += chunk
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)
    assert match is not None, first
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(match[1]), headers, bytes(data[end + 4 :])


async def upgrade(stream: trio.SocketStream, head: bytes) -> RawTransport:
    """Send a request and wait for the upgrade. Raises `HttpRefusal`, `Gone`."""
    await stream.send_all(head)
    status, headers, rest = await read_response(stream)
    if status != 101:
        size = int(headers["content-length"])
        while len(rest) < size:
            chunk = await stream.receive_some(1 << 16)
            assert chunk, "the body is shorter than announced"
            rest += chunk
        raise HttpRefusal(status, headers, rest.decode())
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    return RawTransport(stream, rest, "permessage-deflate" in headers.get("sec-websocket-extensions", ""))


@asynccontextmanager
async def _open_websockets(
    url: str, subprotocol: str, deflate: bool, headers: Mapping[str, str] | None, offers: Sequence[str]
) -> AsyncIterator[Transport]:
    async with connect(
        url,
        additional_headers=headers,
        subprotocols=[Subprotocol(each) for each in (*offers, subprotocol)],
        compression="deflate" if deflate else None,
        proxy=None,
        ping_interval=None,
        max_size=_LARGEST,
        # With a bound, closing waits for ever when what was received is not read.
        max_queue=None,
    ) as connection:
        assert connection.subprotocol == subprotocol
        yield _Websockets(connection)


@asynccontextmanager
async def _open_trio_websocket(url: str, subprotocol: str) -> AsyncIterator[Transport]:
    # Over a stream of our own: the library leaves its socket open when the server closed first.
    async with await connect_raw(url) as stream, trio.open_nursery() as nursery:
        parts = urlsplit(url)
        connection = await trio_websocket.wrap_client_stream(
            nursery, stream, parts.netloc, parts.path, subprotocols=[subprotocol], max_message_size=_LARGEST
        )
        assert connection.subprotocol == subprotocol
        yield _TrioWebsocket(connection)
        with trio.move_on_after(5):
            await connection.aclose()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_node_ws(
    url: str, subprotocol: str, deflate: bool, headers: Mapping[str, str] | None, home: Path, offers: Sequence[str]
) -> AsyncIterator[Transport]:
    options = [",".join((*offers, subprotocol)), "true" if deflate else "false", json.dumps(dict(headers or {}))]
    command = [str(NODE), str(SCRIPT), str(home), url, *options]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    transport = _NodeWs(process)
    try:
        event = await transport.event()
        if event["kind"] == "refused":
            raise HttpRefusal(event["status"], {})
        assert event["kind"] == "open", event
        assert event["protocol"] == subprotocol
        transport.deflate = "permessage-deflate" in event["extensions"]
        yield transport
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.aclose()
            with trio.move_on_after(10) as late:
                await process.wait()
            if late.cancelled_caught:
                process.kill()
                await process.wait()
            await process.stdout.aclose()


@asynccontextmanager
async def _open_raw(
    url: str, subprotocol: str, deflate: bool, headers: Mapping[str, str] | None, receive_buffer: int | None
) -> AsyncIterator[RawTransport]:
    stream = await connect_raw(url, receive_buffer=receive_buffer)
    async with stream:
        yield await upgrade(stream, request(url, subprotocol, deflate=deflate, headers=headers))


@asynccontextmanager
async def open_transport(
    make: str,
    url: str,
    subprotocol: str,
    *,
    deflate: bool = True,
    home: Path | None = None,
    headers: Mapping[str, str] | None = None,
    receive_buffer: int | None = None,
    offers: Sequence[str] = (),
) -> AsyncIterator[Transport]:
    """Connect with the library called ``make``.

    :param home: where `ws` is, for ``ws``.
    :param headers: more of the request, not for ``trio-websocket``.
    :param receive_buffer: SO_RCVBUF, for ``raw``.
    :param offers: subprotocols to be offered before this one, for ``websockets`` and ``ws``.
    """
    match make:
        case "websockets":
            opened: Any = _open_websockets(url, subprotocol, deflate, headers, offers)
        case "trio-websocket":
            opened = _open_trio_websocket(url, subprotocol)
        case "ws":
            assert home is not None
            opened = _open_node_ws(url, subprotocol, deflate, headers, home, offers)
        case _:
            opened = _open_raw(url, subprotocol, deflate, headers, receive_buffer)
    async with opened as transport:
        yield transport
