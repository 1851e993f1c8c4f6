"""Connections through a proxy, and what a proxy in front of it would say about where they come from.

Owns the bytes before and around the WebSocket: PROXY header, TLS, upgrade request. Must not know which proxy is there.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext

import trio
import websockets.exceptions
from e2e.transports import ABNORMAL, Gone, Transport, read_response
from e2e.viewers import MSGPACK, PATIENCE, Viewer
from websockets.trio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from engine.ws import Opcode, client_frame

__all__ = ["Door", "open_viewer", "proxy_header", "request"]

_SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
_ANSWER_SECONDS = 3 * PATIENCE
"""HAProxy tries a node that is gone for some seconds before it says so."""
_MASK = b"\x5e\x01\xc3\x99"


def proxy_header(source: str) -> bytes:
    """A PROXY protocol header, version 2, for a TCP connection from ``source``."""
    family, code = (socket.AF_INET6, b"\x21") if ":" in source else (socket.AF_INET, b"\x11")
    target = "2001:db8::1" if ":" in source else "192.0.2.1"
    body = socket.inet_pton(family, source) + socket.inet_pton(family, target) + bytes.fromhex("d431 01bb")
    return _SIGNATURE + b"\x21" + code + len(body).to_bytes(2, "big") + body


def request(*fields: str, upgrade: bool = True) -> bytes:
    """A request for the endpoint, with more header fields."""
    lines = ["GET /ws HTTP/1.1", "Host: live.example.com", *fields]
    if upgrade:
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Sec-WebSocket-Protocol: {MSGPACK}"]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


class Door:
    """Opens connections to one port and remembers them; closes them when its block ends.

    :param trust: for TLS; None where there is none.
    """

    def __init__(self, port: int, trust: SSLContext | None) -> None:
        self._port = port
        self._trust = trust
        self._streams: list[trio.abc.Stream] = []

    async def knock(self, head: bytes, *, source: str | None = None) -> int:
        """Send a request on a new connection and return the status of the answer; the connection stays open.

        :param source: told in a PROXY header, if anything.
        """
        with trio.fail_after(_ANSWER_SECONDS):
            stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            if source is not None:
                await stream.send_all(proxy_header(source))
            if self._trust is not None:
                stream = trio.SSLStream(stream, self._trust, server_hostname="127.0.0.1", https_compatible=True)
            self._streams.append(stream)
            await stream.send_all(head)
            status, _, _ = await read_response(stream)  # type: ignore[arg-type]  # any stream will do
            return status

    async def leave(self, index: int) -> None:
        """Close a WebSocket politely and wait until the other side has hung up: the node has forgotten it then."""
        stream = self._streams.pop(index)
        with trio.fail_after(PATIENCE):
            await stream.send_all(client_frame(Opcode.CLOSE, b"\x03\xe8", _MASK))
            while await stream.receive_some(1 << 16):
                pass
        await trio.aclose_forcefully(stream)

    async def __aenter__(self) -> Door:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            for stream in self._streams:
                await trio.aclose_forcefully(stream)


class _Websockets(Transport):
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.deflate = bool(connection.protocol.extensions)

    async def send(self, data: str | bytes) -> None:
        try:
            await self._connection.send(data)
        except websockets.exceptions.ConnectionClosed as closed:
            raise _gone(closed) from None

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except websockets.exceptions.ConnectionClosed as closed:
            raise _gone(closed) from None


def _gone(closed: websockets.exceptions.ConnectionClosed) -> Gone:
    return Gone(closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else Gone(ABNORMAL)


@asynccontextmanager
async def open_viewer(url: str, trust: SSLContext, subprotocol: str = MSGPACK) -> AsyncIterator[Viewer]:
    """Connect a viewer over TLS with `websockets`, which offers permessage-deflate."""
    async with connect(
        url, ssl=trust, subprotocols=[Subprotocol(subprotocol)], compression="deflate", proxy=None, ping_interval=None
    ) as connection:
        assert connection.subprotocol == subprotocol
        yield Viewer(_Websockets(connection), subprotocol)
