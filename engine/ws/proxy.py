"""PROXY protocol version 2: who really connected, told by a load balancer in front of the HTTP request.

Owns the binary header (HAProxy's proxy-protocol.txt, section 2.2). Must not know whom to believe: the caller asks for
it only on connections from proxies it trusts.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from struct import Struct

from engine.ws.faults import HandshakeError

__all__ = ["parse_proxy_header"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD = Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_BODY4 = Struct("!4s4sHH")
_BODY6 = Struct("!16s16sHH")
_BODY_MAX = 4096
"""Longest body accepted: addresses and type-length-values. A certificate's names fit, a flood does not."""


def parse_proxy_header(data: bytes | bytearray) -> tuple[tuple[str, int] | None, int] | None:
    """The source address in a header at the start of ``data``, and how many bytes the header takes.

    :returns: ``((address, port), consumed)``; the address is ``None`` when the proxy speaks for itself (LOCAL, a health
        check) or does not know. ``None`` alone: more bytes are needed.
    :raises HandshakeError: 400, this is no such header, or one for something else than TCP.
    """
    if data[:12] != _SIGNATURE[: len(data)]:
        raise HandshakeError(400, "expected a PROXY protocol version 2 header")
    if len(data) < _HEAD.size:
        return None
    _, command, family, length = _HEAD.unpack_from(data)
    if command not in (_LOCAL, _PROXY):
        raise HandshakeError(400, f"PROXY version and command 0x{command:02x} are not known")
    if length > _BODY_MAX:
        raise HandshakeError(400, f"PROXY header is longer than {_BODY_MAX} bytes")
    if command == _PROXY and family not in (_UNSPECIFIED, _TCP4, _TCP6):
        raise HandshakeError(400, f"PROXY address family 0x{family:02x} is not TCP")
    consumed = _HEAD.size + length
    if len(data) < consumed:
        return None
    if command == _LOCAL or family == _UNSPECIFIED:
        return None, consumed
    body = _BODY4 if family == _TCP4 else _BODY6
    if length < body.size:
        raise HandshakeError(400, "PROXY header is too short for its addresses")
    source, _, port, _ = body.unpack_from(data, _HEAD.size)
    address = ".".join(map(str, source)) if family == _TCP4 else str(IPv6Address(source))
    return (address, port), consumed
