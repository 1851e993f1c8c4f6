"""The least HTTP/1.1 client that a sequential publisher needs: one connection, one request after the other.

Owns the connection. Synchronous, and cheap, so that what is measured is the engine. Must not know what is asked for.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Final

__all__ = ["ApiClient", "ApiError"]

RECEIVE: Final = 1 << 18
ANSWER_SECONDS: Final = 30.0


class ApiError(Exception):
    """The API did not do what was asked."""


class ApiClient:
    """A connection to the HTTP API.

    :param host: with ``port`` where it is.
    :param key: API key.
    """

    def __init__(self, host: str, port: int, key: str) -> None:
        self._socket = socket.create_connection((host, port), ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._head = f"Host: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        """One request and its answer, as JSON. Raises `ApiError` when the answer is no success."""
        data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        kind = "Content-Type: application/json\r\n" if data else ""
        head = f"{method} {target} HTTP/1.1\r\n{self._head}{kind}Content-Length: {len(data)}\r\n\r\n"
        self._socket.sendall(head.encode() + data)
        status, answer = self._receive()
        if status >= 300:
            raise ApiError(f"{method} {target}: {status} {answer[:500].decode(errors='replace')}")
        return json.loads(answer) if answer else None

    def _receive(self) -> tuple[int, bytes]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._more()
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        size, start = int(headers.get("content-length", "0")), end + 4
        while len(self._buffer) < start + size:
            self._more()
        answer, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
        return int(first.split(" ")[1]), answer

    def _more(self) -> None:
        data = self._socket.recv(RECEIVE)
        if not data:
            raise ApiError("the API closed the connection")
        self._buffer += data
