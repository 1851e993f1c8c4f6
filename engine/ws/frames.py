"""Frames as bytes: how one is built, and how a mask comes off (RFC 6455 section 5.2).

Owns the layout of a single outgoing frame. Must not know what came before it or what it means.

Server frames are not masked, so the bytes of a frame are the same for every viewer.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

__all__ = ["CONTROL_MAX", "Opcode", "client_frame", "close_frame", "frame", "is_close_code", "unmask"]

CONTROL_MAX = 125
"""Largest payload of a control frame, in bytes (section 5.5)."""

_REASON_MAX = CONTROL_MAX - 2
_FIN = 0x80
_RSV1 = 0x40
_MASKED = 0x80
_LENGTH_16 = 126
_LENGTH_64 = 127
_HEAD_16 = Struct("!BBH").pack
_HEAD_64 = Struct("!BBQ").pack
_int = int.from_bytes


class Opcode(IntEnum):
    """What a frame carries (section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """A complete server frame: final, unmasked, RSV1 set when ``compressed`` (RFC 7692 section 6).

    :raises ValueError: a control frame that is compressed or longer than 125 bytes.
    """
    if opcode >= Opcode.CLOSE and (compressed or len(payload) > CONTROL_MAX):
        raise ValueError("a control frame carries at most 125 bytes, uncompressed")
    return _head(_FIN | _RSV1 | opcode if compressed else _FIN | opcode, 0, len(payload)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut to what fits, between two characters.

    :param code: 1005 stands for *no code* and gives an empty payload (section 7.1.5).
    :raises ValueError: the code may not be sent (section 7.4).
    """
    if code == 1005:
        return frame(Opcode.CLOSE, b"")
    if not is_close_code(code):
        raise ValueError(f"close code {code} may not be sent")
    text = reason.encode("utf-8", "replace")
    if len(text) > _REASON_MAX:
        text = text[:_REASON_MAX].decode("utf-8", "ignore").encode()
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + text)


def client_frame(
    opcode: int, payload: bytes, mask: bytes = b"\x00\x00\x00\x00", *, fin: bool = True, rsv1: bool = False
) -> bytes:
    """A masked frame as a client sends it, for tests and load generators; nothing is checked.

    :param mask: 4 bytes. The default leaves the payload as it is: cheap, and no server can object, though a real client
        must choose at random (section 5.3).
    """
    first = opcode | (_FIN if fin else 0) | (_RSV1 if rsv1 else 0)
    body = payload if mask == b"\x00\x00\x00\x00" else unmask(payload, mask)
    return _head(first, _MASKED, len(payload)) + mask + body


def unmask(payload: bytes | bytearray | memoryview, mask: bytes) -> bytes:
    """The payload with the mask applied, which is also how it is put on (section 5.3).

    Two long integers and one XOR: 0.5 us for 60 bytes, 35 us for 16 kB. Translating each of the four phases by a table
    takes 1.3 us and 32 us; multiplying the mask by a stored 0x…0000000100000001 is no faster and needs the table.
    """
    size = len(payload)
    key = (mask * ((size + 3) >> 2))[:size]
    return (_int(payload, "little") ^ _int(key, "little")).to_bytes(size, "little")


def is_close_code(code: int) -> bool:
    """Whether a close frame may carry this code (section 7.4 and the IANA registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _head(first: int, masked: int, size: int) -> bytes:
    """First byte, mask bit and the shortest encoding of the size."""
    if size < _LENGTH_16:
        return bytes((first, masked | size))
    if size < 1 << 16:
        return _HEAD_16(first, masked | _LENGTH_16, size)
    return _HEAD_64(first, masked | _LENGTH_64, size)
