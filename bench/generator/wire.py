"""The client's half of RFC 6455, as little of it as a load generator needs: bytes in, bytes out.

Owns the upgrade exchange, masked client frames and the splitting of server frames. Knows no socket and no message.
Written independently of `engine.ws`: a fault in one does not hide the same fault in the other.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

__all__ = [
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "BINARY",
    "Header",
    "Upgrade",
    "WireError",
    "accept_of",
    "client_frame",
    "header_at",
    "inflate",
    "server_frame",
    "upgrade_at",
    "upgrade_request",
]

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
RESPONSE_BYTES_MAX = 16_384
MESSAGE_BYTES_MAX = 16 << 20
"""No batch is larger (``room.batch_bytes`` has this bound)."""


class WireError(Exception):
    """The server's bytes are not what RFC 6455 allows here."""


class Header(NamedTuple):
    """One frame within a buffer: its payload is ``buffer[start:end]``, the next frame begins at ``end``."""

    opcode: int
    deflated: bool
    start: int
    end: int


class Upgrade(NamedTuple):
    """The server's answer to the upgrade request."""

    status: int
    headers: dict[str, str]
    end: int


def upgrade_request(host: str, path: str, key: bytes, subprotocol: str, compression: bool) -> bytes:
    """The opening handshake (RFC 6455 section 4.1); ``key`` is 24 characters of base64."""
    extension = (
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        if compression
        else ""
    )
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n"
        f"{extension}\r\n"
    ).encode()


def accept_of(key: bytes) -> str:
    """The proof that the server read the key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest()).decode()


def upgrade_at(data: bytes) -> Upgrade | None:
    """Parse the server's answer; None while it is incomplete. Raises `WireError` when it is no HTTP answer."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > RESPONSE_BYTES_MAX:
            raise WireError(f"no end of the HTTP answer within {RESPONSE_BYTES_MAX} bytes")
        return None
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or parts[0] != "HTTP/1.1" or not parts[1].isdigit():
        raise WireError(f"not an HTTP/1.1 answer: {first[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    return Upgrade(int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}, end + 4)


def client_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """One whole masked frame (RFC 6455 section 5.3); ``mask`` is 4 bytes."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    stream = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(stream, "little")
    return head + mask + masked.to_bytes(size, "little")


def server_frame(opcode: int, payload: bytes) -> bytes:
    """One whole unmasked frame: what a server sends; for limit rounds and the tests' own server."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def header_at(data: bytes, position: int) -> Header | None:
    """The frame that begins at ``position``; None while it is incomplete.

    Raises `WireError` for a masked frame, a reserved bit other than RSV1 (RFC 7692), a fragment (this server sends
    whole messages) and an unreasonable length.
    """
    have = len(data) - position
    if have < 2:
        return None
    first, second = data[position], data[position + 1]
    if first & 0xB0 != 0x80 or second & 0x80:
        raise WireError(f"frame header {first:#04x} {second:#04x}: fragmented, masked or with reserved bits")
    start = position + 2
    size = second
    if second == 126:
        start += 2
        size = int.from_bytes(data[position + 2 : start], "big")
    elif second == 127:
        start += 8
        size = int.from_bytes(data[position + 2 : start], "big")
    if len(data) < start:
        return None
    if size > MESSAGE_BYTES_MAX:
        raise WireError(f"a frame of {size} bytes")
    if len(data) < start + size:
        return None
    return Header(first & 0x0F, bool(first & 0x40), start, start + size)


def inflate(payload: bytes) -> bytes:
    """Undo permessage-deflate without context takeover (RFC 7692 section 7.2.2). Raises `WireError`."""
    inflater = zlib.decompressobj(wbits=-15)
    try:
        message = inflater.decompress(payload + b"\x00\x00\xff\xff", MESSAGE_BYTES_MAX)
    except zlib.error as error:
        raise WireError(f"a message does not inflate: {error}") from None
    if inflater.unconsumed_tail:
        raise WireError(f"a message inflates to more than {MESSAGE_BYTES_MAX} bytes")
    return message
