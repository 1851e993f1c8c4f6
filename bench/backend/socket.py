"""A backend's own WebSocket with a server role: comments sent ahead of their acknowledgements.

Owns the connection and the window of what is not acknowledged. Must not know what the comments say.
"""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

import msgpack

from bench.generator.wire import BINARY, accept_of, client_frame, header_at, upgrade_at, upgrade_request

__all__ = ["SocketError", "SocketPublisher"]

RECEIVE: Final = 1 << 18
ANSWER_SECONDS: Final = 30.0
JOINED, REPLY = 32, 35
COMMENT = 3
MASK: Final = bytes(4)
"""A mask of zeros is one, and costs nothing: this is a benchmark of the other side."""


class SocketError(Exception):
    """The node did not do what was asked."""


class SocketPublisher:
    """See the module's docstring. Joins the room when it is made.

    :param token: of a user with the role server.
    :param feed: that it is to hear; what it says comes back to it otherwise, too.
    """

    def __init__(self, host: str, port: int, path: str, room: str, token: str, feed: str) -> None:
        self._socket = socket.create_connection((host, port), ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._refs = 1
        key = b64encode(os.urandom(16))
        self._socket.sendall(upgrade_request(f"{host}:{port}", path, key, "roomcast.v1.msgpack", compression=False))
        while (answer := upgrade_at(self._buffer)) is None:
            self._more()
        if answer.status != 101 or answer.headers.get("sec-websocket-accept") != accept_of(key):
            raise SocketError(f"the upgrade was answered with {answer.status}")
        self._buffer = self._buffer[answer.end :]
        self._socket.sendall(self._frame([1, 1, room, 0, 0, None, None, {}, token, feed]))
        self._handle = 0
        while not self._handle:
            for message in self._messages():
                if message[0] == REPLY:
                    raise SocketError(f"the join was refused: {message[2]} {message[4]}")
                if message[0] == JOINED:
                    self._handle = message[2]

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def say(self, bodies: list[str]) -> None:
        """Send comments, in order."""
        frames = []
        for body in bodies:
            self._refs += 1
            frames.append(self._frame([COMMENT, self._refs, self._handle, body]))
        self._socket.sendall(b"".join(frames))

    def acknowledged(self) -> list[tuple[int, int]]:
        """Wait for acknowledgements: number of the comment, from 1, and its offset. Raises `SocketError` for a refusal."""
        found: list[tuple[int, int]] = []
        while not found:
            for message in self._messages():
                if message[0] == REPLY:
                    if message[2]:
                        raise SocketError(f"a comment was refused: {message[2]} {message[4]}")
                    found.append((message[1] - 1, message[3]))
        return found

    @staticmethod
    def _frame(message: list[Any]) -> bytes:
        return client_frame(BINARY, msgpack.packb(message), MASK)

    def _messages(self) -> Iterator[list[Any]]:
        """What has come, after waiting for something."""
        self._more()
        position = 0
        while (header := header_at(self._buffer, position)) is not None:
            if header.opcode != BINARY:
                raise SocketError("the node closed the connection")
            yield msgpack.unpackb(self._buffer[header.start : header.end])
            position = header.end
        self._buffer = self._buffer[position:]

    def _more(self) -> None:
        data = self._socket.recv(RECEIVE)
        if not data:
            raise SocketError("the node closed the connection")
        self._buffer += data
