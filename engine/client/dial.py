"""One WebSocket connection to a node, from URL to goodbye, with typed errors.

Owns the use of trio-websocket: what it raises, what it leaves open and where it waits without end. Knows nothing of
rooms and of what messages mean.

trio-websocket's own ``open_websocket`` is not used for two reasons. It waits for its whole timeout when the peer hangs
up during the handshake, which is what a restarting node does to connections in its accept queue. And it waits for the
peer to end the TCP connection after a close frame, for as long as the peer likes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ssl import SSLContext, create_default_context
from typing import NamedTuple
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from engine.errors import RoomcastError

__all__ = ["Connection", "Endpoint", "Unreachable", "connect", "endpoint_of", "unwrapped"]

_RECEIVE_BYTES = 65_536


class Unreachable(RoomcastError):
    """No connection came about, or the peer speaks something else.

    :ivar status: HTTP status of a refused handshake, 0 if it did not come to that.
    :ivar retriable: whether a later attempt may succeed.
    :ivar retry_after_seconds: what the refusal said in Retry-After (RFC 9110 section 10.2.3, seconds only), else 0.
    """

    def __init__(self, text: str, status: int = 0, retry_after_seconds: float = 0.0, *, retriable: bool = True) -> None:
        super().__init__(text)
        self.status = status
        self.retriable = retriable and (status == 0 or status in (408, 429) or status >= 500)
        self.retry_after_seconds = retry_after_seconds


class Endpoint(NamedTuple):
    """Where to connect."""

    host: str
    port: int
    resource: str
    secure: bool


class Connection(NamedTuple):
    """An open connection, and the nursery of its tasks: they are cancelled with it."""

    websocket: WebSocketConnection
    nursery: trio.Nursery


def endpoint_of(url: str) -> Endpoint:
    """Take apart a ``ws:`` or ``wss:`` URL (RFC 6455 section 3). Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.fragment:
        raise ValueError(f"a URL such as ws://host:port/path is needed, not {url!r}")
    secure = parts.scheme == "wss"
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(parts.hostname, parts.port or (443 if secure else 80), resource, secure)


@asynccontextmanager
async def connect(
    endpoint: Endpoint, subprotocol: str, message_bytes: int, ssl_context: SSLContext | None = None
) -> AsyncIterator[Connection]:
    """Open a connection that speaks ``subprotocol``; when the block ends it is gone, without ceremony.

    What the block raises comes out as it is, not as a group. Sets no deadline.

    :param message_bytes: largest message accepted.
    :raises Unreachable: no connection came about, or it broke in a way that the block did not notice.
    """
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    authority = host if endpoint.port == (443 if endpoint.secure else 80) else f"{host}:{endpoint.port}"
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    try:
        if endpoint.secure:
            context = ssl_context or create_default_context()
            stream = await trio.open_ssl_over_tcp_stream(
                endpoint.host, endpoint.port, ssl_context=context, https_compatible=True
            )
        else:
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except OSError as error:
        raise Unreachable(f"{authority}: {error}") from error
    watched = _Watched(stream)
    try:
        async with trio.open_nursery() as nursery:
            websocket = await wrap_client_stream(
                nursery,
                watched,  # type: ignore[arg-type]  # any stream will do
                authority,
                endpoint.resource,
                subprotocols=[subprotocol],
                max_message_size=message_bytes,
                receive_buffer_size=_RECEIVE_BYTES,
            )
            watched.established = True
            if websocket.subprotocol != subprotocol:
                raise Unreachable(f"{authority} chose subprotocol {websocket.subprotocol}, not {subprotocol}", retriable=False)
            yield Connection(websocket, nursery)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _translated(group, authority) from None
    finally:
        await trio.aclose_forcefully(stream)


def unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception in a nursery's group, or the group."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group


class _Watched(trio.abc.Stream):
    """Raises when the peer hangs up during the handshake or answers something else, where trio-websocket would wait on."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.established = False
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            if self.established:
                raise
            raise ConnectionResetError(f"reset during the handshake: {error}") from error
        if not data and not self.established:
            raise ConnectionResetError("hung up during the handshake")
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()
        if not self.established:
            raise ConnectionResetError("the answer is not a WebSocket handshake")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _translated(group: BaseExceptionGroup[BaseException], authority: str) -> BaseException:
    """What a connection's group of exceptions says. The block's own exception counts more than the library's."""
    library: BaseException | None = None
    others: list[BaseException] = []
    for leaf in _leaves(group):
        if isinstance(leaf, (ConnectionRejected, ConnectionClosed, ProtocolError, h11.ProtocolError, OSError)):
            library = library or leaf
        elif not isinstance(leaf, trio.Cancelled):
            others.append(leaf)
    if others:
        return others[0] if len(others) == 1 else group
    if isinstance(library, ConnectionRejected):
        headers = {bytes(name).lower(): bytes(value) for name, value in library.headers}
        seconds = headers.get(b"retry-after", b"").strip()
        after = float(seconds) if re.fullmatch(rb"[0-9]{1,9}", seconds) else 0.0
        return Unreachable(f"{authority} answered HTTP {library.status_code}", library.status_code, after)
    if library is not None:
        return Unreachable(f"{authority}: {library}")
    return group
