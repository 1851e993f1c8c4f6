"""The upgrade: a request's head in, 101 or a refusal out (RFC 6455 section 4.2, RFC 7692 section 7.1, RFC 9112).

Owns just as much HTTP as an upgrade needs. Must not know where bytes come from, nor what a token in the request is
worth; that is for whoever reads `Request.headers` and `Request.target`.

Strict where leniency lets two readers of the same bytes disagree: lines end in CRLF (a bare CR or LF is refused, though
RFC 9112 allows the latter), no folded lines, no space before a colon, one Host, no body. Lenient where nobody can be
fooled: any byte of obs-text is a legal value, and a field that nobody reads cannot fail.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection
from hashlib import sha1
from typing import Final

from engine.ws.faults import HandshakeError, refusal

__all__ = ["Accepted", "HandshakeError", "Request", "negotiate", "parse_request", "refusal"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_END = b"\r\n\r\n"
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS = re.compile(rf"^({_TOKEN}):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)\r\n", re.MULTILINE)
_START = re.compile(rf"({_TOKEN}) ([!-~]++) HTTP/(\d\.\d)\r\n")
_HOST = re.compile(r"[!-+\--~]*+")
"""Visible ASCII but the comma, which would be a second Host field or something to confuse a proxy with."""
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""Base64 of 16 bytes."""

_PARAMETER = rf'[ \t]*+;[ \t]*+({_TOKEN})(?:[ \t]*+=[ \t]*+({_TOKEN}|"(?:[^"\\]|\\.)*+"))?+'
_PARAMETERS = re.compile(_PARAMETER)
_EXTENSION = re.compile(rf"[ \t]*+(?:({_TOKEN})((?:{_PARAMETER})*+)[ \t]*+)?+(?:,|\Z)")
_BITS = re.compile(r"[89]|1[0-5]")

_SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n"
)
_DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


class Request:
    """The head of a request.

    :ivar method: as sent; methods are case-sensitive.
    :ivar target: as sent, with the query.
    :ivar path: of the target, before the query; not percent-decoded.
    :ivar headers: names in lower case; values in latin-1; repeated fields joined by ``", "`` (RFC 9110 section 5.3).
    """

    __slots__ = ("headers", "method", "path", "target")

    def __init__(self, method: str, target: str, path: str, headers: dict[str, str]) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.headers = headers


class Accepted:
    """An upgrade that was agreed on.

    :ivar response: the 101 to send.
    :ivar subprotocol: the one chosen; empty if the server has none.
    :ivar deflate: whether permessage-deflate was agreed on, without context takeover in either direction.
    """

    __slots__ = ("deflate", "response", "subprotocol")

    def __init__(self, response: bytes, subprotocol: str, deflate: bool) -> None:
        self.response = response
        self.subprotocol = subprotocol
        self.deflate = deflate


def parse_request(data: bytes | bytearray, *, limit: int) -> tuple[Request, int] | None:
    """The head at the start of ``data``, and its size in bytes; what follows belongs to the WebSocket.

    :param limit: largest head in bytes, with the empty line at its end.
    :returns: ``None`` when more bytes are needed. To be called again with all bytes so far; a call scans at most
        ``limit`` of them.
    :raises HandshakeError: 400 malformed, HTTP/1.0, or a body that is not announced by a size; 413 a body; 431 larger
        than the limit; 505 another version of HTTP.
    """
    end = data.find(_END, 0, limit)
    if end < 0:
        if data and not 0x21 <= data[0] <= 0x7E:
            raise HandshakeError(400, "this is not HTTP")
        if len(data) >= limit:
            raise HandshakeError(431, f"request head is larger than {limit} bytes")
        if data.endswith(b"\n\n"):
            raise HandshakeError(400, "lines must end in CR LF")
        return None
    text = data[: end + 2].decode("latin-1")
    start = _START.match(text)
    if start is None:
        raise HandshakeError(400, "malformed request line")
    method, target, version = start.groups()
    if version != "1.1":
        raise HandshakeError(400 if version == "1.0" else 505, f"HTTP/{version} is not supported, use HTTP/1.1")
    return Request(method, target, _path(target), _headers(text, start.end())), end + len(_END)


def negotiate(
    request: Request, *, path: str, subprotocols: Collection[str], origins: Collection[str], compression: bool
) -> Accepted:
    """Agree to an upgrade.

    :param path: of the endpoint.
    :param subprotocols: those the server speaks; of them the client's first is taken. Empty: none is asked for.
    :param origins: those a browser may come from, as browsers write them; empty: any. A request without Origin is not
        from a browser and passes.
    :param compression: whether to agree to permessage-deflate if a usable offer is there.
    :raises HandshakeError: 405 not GET; 404 another path; 426 no upgrade to version 13 of WebSocket; 400 bad key,
        malformed extensions or no common subprotocol; 403 origin not allowed.
    """
    headers = request.headers
    if request.method != "GET":
        raise HandshakeError(405, "the WebSocket endpoint accepts GET only")
    if request.path != path:
        raise HandshakeError(404, "there is nothing at this path")
    if not _lists(headers.get("upgrade", ""), "websocket") or not _lists(headers.get("connection", ""), "upgrade"):
        raise HandshakeError(426, "this is a WebSocket endpoint; send Upgrade: websocket and Connection: Upgrade")
    if headers.get("sec-websocket-version") != "13":
        raise HandshakeError(426, "Sec-WebSocket-Version must be 13")
    key = headers.get("sec-websocket-key", "")
    if not _KEY.fullmatch(key):
        raise HandshakeError(400, "Sec-WebSocket-Key must be the base64 of 16 bytes")
    origin = headers.get("origin")
    if origins and origin is not None and origin not in origins:
        raise HandshakeError(403, "this origin is not allowed")
    subprotocol = _subprotocol(headers.get("sec-websocket-protocol", ""), subprotocols) if subprotocols else ""
    extension = _extension(headers.get("sec-websocket-extensions", "")) if compression else ""
    fields = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    if extension:
        fields += f"Sec-WebSocket-Extensions: {extension}\r\n"
    accept = b64encode(sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest())
    return Accepted(b"%b%b\r\n" % (_SWITCH % accept, fields.encode("ascii")), subprotocol, bool(extension))


def _path(target: str) -> str:
    """Path of a target in origin form or absolute form (RFC 9112 section 3.2)."""
    if target[0] != "/":
        scheme, _, rest = target.partition("://")
        if scheme.lower() not in ("http", "https", "ws", "wss"):
            raise HandshakeError(400, "malformed request target")
        target = "/" + rest.partition("?")[0].partition("/")[2]
    return target.partition("?")[0]


def _headers(text: str, start: int) -> dict[str, str]:
    fields = _FIELDS.findall(text, start)
    if len(fields) != text.count("\n", start):
        # Each match is one line from its beginning to its end, so a line is missing.
        raise HandshakeError(400, "malformed header field")
    headers = {name.lower(): value.rstrip(" \t") for name, value in fields}
    if len(headers) != len(fields):
        values: dict[str, list[str]] = {}
        for name, value in fields:
            values.setdefault(name.lower(), []).append(value.rstrip(" \t"))
        headers = {name: ", ".join(each) for name, each in values.items()}
    host = headers.get("host")
    if host is None or not _HOST.fullmatch(host):
        raise HandshakeError(400, "exactly one Host is needed")
    if "transfer-encoding" in headers:
        raise HandshakeError(400, "an upgrade request has no body")
    size = headers.get("content-length", "0")
    if size != "0":
        raise HandshakeError(413 if size.isascii() and size.isdigit() else 400, "an upgrade request has no body")
    return headers


def _lists(value: str, token: str) -> bool:
    """Whether a comma-separated list has the token, in either case."""
    value = value.lower()
    return value == token or token in (each.strip(" \t") for each in value.split(","))


def _subprotocol(value: str, known: Collection[str]) -> str:
    for offered in value.split(","):
        name = offered.strip(" \t")
        if name in known:
            return name
    raise HandshakeError(400, f"Sec-WebSocket-Protocol must offer one of: {', '.join(known)}")


def _extension(value: str) -> str:
    """What to answer to the extensions on offer (RFC 6455 section 9.1); empty to decline them all."""
    position = 0
    while position < len(value):
        offer = _EXTENSION.match(value, position)
        if offer is None:
            raise HandshakeError(400, "malformed Sec-WebSocket-Extensions")
        if offer[1] == "permessage-deflate" and (answer := _deflate_answer(offer[2])):
            return answer
        position = offer.end()
    return ""


def _deflate_answer(parameters: str) -> str:
    """What to answer to one offer of permessage-deflate (RFC 7692 section 7.1); empty to decline it.

    A client that allows a smaller window for itself needs no answer. One that asks for a smaller window of ours cannot
    have it, the frames being everybody's; one that asks for 15 must see it confirmed.
    """
    answer = _DEFLATE
    seen: set[str] = set()
    for name, quoted in _PARAMETERS.findall(parameters):
        value = quoted.strip('"')
        if name in seen:
            return ""
        seen.add(name)
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            fits = not quoted
        elif name == "client_max_window_bits":
            fits = not quoted or _BITS.fullmatch(value) is not None
        else:
            fits = name == "server_max_window_bits" and value == "15"
            answer = f"{_DEFLATE}; server_max_window_bits=15"
        if not fits:
            return ""
    return answer
