"""The two ways a peer can fail, each with the answer it gets.

Owns the exceptions of this package and the HTTP response that goes with the first. Must not know how a fault is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from engine.errors import RoomcastError

if TYPE_CHECKING:
    from engine.ws.parser import Event

__all__ = ["HandshakeError", "ProtocolError", "refusal"]

_EXTRA = {
    405: "Allow: GET\r\n",
    426: "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n",
}
"""Header fields that a status requires: RFC 9110 sections 15.5.6 and 15.5.22, RFC 6455 section 4.4."""


class ProtocolError(RoomcastError):
    """The peer broke RFC 6455 or RFC 7692, or exceeded the size limit; the connection must be failed (section 7.1.7).

    :ivar code: what to send in the close frame: 1002 protocol, 1007 not UTF-8 or not deflate, 1009 too big.
    :ivar text: for people; short enough for the reason of a close frame.
    :ivar events: what `Parser.feed` had parsed from the same chunk before the fault, in order.
    """

    def __init__(self, code: int, text: str, events: Sequence[Event] = ()) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text
        self.events = events


class HandshakeError(RoomcastError):
    """No WebSocket came about.

    :ivar status: HTTP status.
    :ivar text: for people.
    :ivar response: the complete response; the connection is to be closed after it.
    """

    def __init__(self, status: int, text: str, *, retry_after: int | None = None) -> None:
        super().__init__(f"{text} ({status})")
        self.status = status
        self.text = text
        self.response = refusal(status, text, retry_after=retry_after)


def refusal(status: int, text: str, *, retry_after: int | None = None) -> bytes:
    """A complete HTTP/1.1 response with a text body, after which the connection is to be closed.

    :param status: 4xx or 5xx; the fields that 405 and 426 require are added.
    :param text: the body, a line for people.
    :param retry_after: seconds, for 429 and 503 (RFC 9110 section 10.2.3).
    """
    body = f"{text}\n".encode()
    extra = _EXTRA.get(status, "")
    if retry_after is not None:
        extra += f"Retry-After: {retry_after}\r\n"
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"{'Connection: Upgrade, close' if status == 426 else 'Connection: close'}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{extra}\r\n"
    )
    return head.encode("ascii") + body
