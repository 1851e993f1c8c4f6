"""No library: each message becomes one frame, which a plain loop sends to all sockets. Usage: ``python limit_server.py PORT``.

What a socket does not take at once is kept and sent when it can be, so that nothing is lost. It is no server to use: it
believes every client.
"""

from __future__ import annotations

import select
import socket
import sys
from base64 import b64encode
from hashlib import sha1

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT_OR_BINARY = (1, 2)
CLOSE = 8
READ_BYTES = 1 << 18


class Server:
    """All of it."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.sockets: dict[int, socket.socket] = {}
        self.upgraded: dict[int, socket.socket] = {}
        self.input: dict[int, bytes] = {}
        self.late: dict[int, bytearray] = {}

    def run(self) -> None:
        """Until the process is ended."""
        while True:
            for descriptor, events in self.epoll.poll():
                if descriptor == self.listener.fileno():
                    self.accept()
                elif events & select.EPOLLOUT and descriptor in self.sockets:
                    self.send_rest(descriptor)
                elif descriptor in self.sockets:
                    self.read(descriptor)

    def accept(self) -> None:
        """Everybody who waits."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[sock.fileno()] = sock
            self.input[sock.fileno()] = b""
            self.epoll.register(sock, select.EPOLLIN)

    def drop(self, descriptor: int) -> None:
        """Forget a connection."""
        self.epoll.unregister(descriptor)
        self.sockets.pop(descriptor).close()
        self.upgraded.pop(descriptor, None)
        self.late.pop(descriptor, None)
        del self.input[descriptor]

    def read(self, descriptor: int) -> None:
        """One read, and what is complete after it."""
        try:
            data = self.sockets[descriptor].recv(READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self.drop(descriptor)
            return
        data = self.input[descriptor] + data
        if descriptor not in self.upgraded:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.input[descriptor] = data
                return
            self.upgrade(descriptor, data[:end])
            data = data[end + 4 :]
        while (cut := _frame(data)) is not None:
            opcode, payload, end = cut
            data = data[end:]
            if opcode == CLOSE:
                self.drop(descriptor)
                return
            if opcode in TEXT_OR_BINARY:
                self.broadcast(_whole(opcode, payload))
        if descriptor in self.input:
            self.input[descriptor] = data

    def upgrade(self, descriptor: int, request: bytes) -> None:
        """The opening handshake (RFC 6455 section 4.2.2)."""
        lines = (line.partition(b":") for line in request.split(b"\r\n"))
        key = next(value.strip() for name, _, value in lines if name.lower() == b"sec-websocket-key")
        proof = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
        self.upgraded[descriptor] = self.sockets[descriptor]
        self.send(descriptor, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        self.send(descriptor, b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n")

    def broadcast(self, frame: bytes) -> None:
        """The loop that is measured."""
        late = self.late
        size = len(frame)
        for descriptor, sock in list(self.upgraded.items()):
            if descriptor in late:
                late[descriptor] += frame
                continue
            try:
                sent = sock.send(frame)
            except BlockingIOError:
                sent = 0
            except ConnectionError:
                self.drop(descriptor)
                continue
            if sent != size:
                self.keep(descriptor, frame[sent:])

    def send(self, descriptor: int, data: bytes) -> None:
        """To one; the handshake always fits."""
        self.sockets[descriptor].send(data)

    def keep(self, descriptor: int, rest: bytes) -> None:
        """Send the rest when the socket takes it."""
        self.late[descriptor] = bytearray(rest)
        self.epoll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)

    def send_rest(self, descriptor: int) -> None:
        """The socket takes something again."""
        rest = self.late[descriptor]
        try:
            sent = self.sockets[descriptor].send(rest)
        except BlockingIOError:
            return
        except ConnectionError:
            self.drop(descriptor)
            return
        del rest[:sent]
        if not rest:
            del self.late[descriptor]
            self.epoll.modify(descriptor, select.EPOLLIN)


def _frame(data: bytes) -> tuple[int, bytes, int] | None:
    """Opcode, unmasked payload and end of the first frame (RFC 6455 section 5.2)."""
    if len(data) < 2:
        return None
    size, start = data[1] & 127, 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    end = start + 4 + size
    if len(data) < start + 4 or len(data) < end:
        return None
    mask = (data[start : start + 4] * (size // 4 + 1))[:size]
    payload = int.from_bytes(data[start + 4 : end], "big") ^ int.from_bytes(mask, "big")
    return data[0] & 15, payload.to_bytes(size, "big"), end


def _whole(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


if __name__ == "__main__":
    Server(int(sys.argv[1])).run()
