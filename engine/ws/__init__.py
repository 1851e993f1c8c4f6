"""WebSocket, server side, sans-IO: bytes in, events out; what to say in, bytes out. RFC 6455, RFC 7692, PROXY v2.

Owns the wire format. Must not know sockets, clocks, trio, rooms or settings: every limit comes in as an argument, and
whatever arrives is answered by an event or by one of two exceptions, `HandshakeError` before the upgrade and
`ProtocolError` after it.

permessage-deflate is agreed on only without context takeover in either direction. Every message is then compressed by
itself, so one finished frame serves every viewer, and an idle connection keeps no buffer and no window of 32 kB.
"""

from __future__ import annotations

from engine.ws.deflate import deflate, inflate
from engine.ws.faults import HandshakeError, ProtocolError, refusal
from engine.ws.frames import Opcode, client_frame, close_frame, frame, is_close_code, unmask
from engine.ws.handshake import Accepted, Request, negotiate, parse_request
from engine.ws.parser import Closed, Event, Message, Parser, Ping, Pong
from engine.ws.proxy import parse_proxy_header

__all__ = [
    "Accepted",
    "Closed",
    "Event",
    "HandshakeError",
    "Message",
    "Opcode",
    "Parser",
    "Ping",
    "Pong",
    "ProtocolError",
    "Request",
    "client_frame",
    "close_frame",
    "deflate",
    "frame",
    "inflate",
    "is_close_code",
    "negotiate",
    "parse_proxy_header",
    "parse_request",
    "refusal",
    "unmask",
]
