"""permessage-deflate for one message at a time (RFC 7692 section 7.2).

Owns the conversion between a message and its compressed payload. Must not know frames; keeps no state between calls,
because neither side has context takeover.
"""

from __future__ import annotations

import zlib

from engine.ws.faults import ProtocolError

__all__ = ["deflate", "inflate"]

_TAIL = b"\x00\x00\xff\xff"
"""End of an empty stored block: what a sender cuts off and a receiver puts back."""
_END = _TAIL + b"\x03\x00"
"""The tail and then a final block. Whoever sees the stream end there knows that the message was whole; zlib would take
a payload that was cut short without complaint."""
_AFTER_FINAL = frozenset((_END, b"\x00" + _END))
"""What may follow when the sender itself used a final block (section 7.2.3.4), with and without its padding byte."""
_WINDOW_BITS = 15
_WINDOW_BITS_MIN = 9


def deflate(payload: bytes, level: int = 1) -> bytes:
    """Compress a message, in a window no larger than it needs: clearing zlib's tables is what a small one costs.

    :param level: zlib's, 0..9. Level 1 is right for what is compressed once and sent at once.
    """
    bits = min(max(len(payload).bit_length() + 1, _WINDOW_BITS_MIN), _WINDOW_BITS)
    packer = zlib.compressobj(level, zlib.DEFLATED, -bits, max(bits - 7, 1))
    packed = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed[: -len(_TAIL)]


def inflate(data: bytes, limit: int) -> bytes:
    """The message in a compressed payload, of any window the sender may have used.

    Never makes more than ``limit`` + 1 bytes, whatever the payload promises.

    :param limit: largest message, in bytes.
    :raises ProtocolError: 1009 the message is larger; 1007 this is not one whole deflate stream.
    """
    if not data:
        # An empty message should be one zero byte (section 7.2.3.6); a sender that cut off more is understood.
        return b""
    unpacker = zlib.decompressobj(-_WINDOW_BITS)
    try:
        message = unpacker.decompress(data + _END, limit + 1)
    except zlib.error as error:
        raise ProtocolError(1007, "message is not valid deflate data") from error
    if len(message) > limit:
        raise ProtocolError(1009, f"message is larger than {limit} bytes after inflating")
    if not unpacker.eof or (unpacker.unused_data and unpacker.unused_data not in _AFTER_FINAL):
        raise ProtocolError(1007, "message is not one whole deflate stream")
    return message
