"""The upgrade: what browsers send is accepted, what is hostile gets its status, and nothing else is ever raised."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ws import Accepted, HandshakeError, Request, negotiate, parse_request, refusal

from .strategies import KEY, bytewise, headlike, patiently, request_head

LIMIT = 16_384
SUBPROTOCOLS = ("roomcast.v1.msgpack", "roomcast.v1.json")
ORIGINS = frozenset({"https://live.example.com"})
DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def parse(data: bytes, limit: int = LIMIT) -> Request:
    parsed = parse_request(data, limit=limit)
    assert parsed is not None
    return parsed[0]


def upgrade(*changes: tuple[str, str | None], start: str = "GET /ws HTTP/1.1", compression: bool = True) -> Accepted:
    request = parse(request_head(*changes, start=start))
    return negotiate(request, path="/ws", subprotocols=SUBPROTOCOLS, origins=ORIGINS, compression=compression)


def fields(response: bytes) -> dict[str, str]:
    head, _, _ = response.decode().partition("\r\n\r\n")
    return dict(line.split(": ", 1) for line in head.split("\r\n")[1:])


# -- parse_request ---------------------------------------------------------------------------------------------------


def test_a_browsers_request_is_read_completely() -> None:
    request = parse(request_head(start="GET /ws?token=a.b.c&x=%2F HTTP/1.1"))
    assert (request.method, request.target, request.path) == ("GET", "/ws?token=a.b.c&x=%2F", "/ws")
    assert len(request.headers) == 14
    assert request.headers["cookie"] == "session=abcdef; theme=dark"
    assert request.headers["sec-websocket-key"] == KEY


def test_a_request_is_read_byte_by_byte() -> None:
    wire = request_head()
    so_far = bytearray()
    for byte in bytewise(wire[:-1]):
        so_far += byte
        assert parse_request(so_far, limit=LIMIT) is None
    parsed = parse_request(so_far + wire[-1:], limit=LIMIT)
    assert parsed is not None
    assert parsed[1] == len(wire)
    assert parsed[0].headers == parse(wire).headers


@pytest.mark.parametrize("rest", [b"\x81\x80\x00\x00\x00\x00", b"\r\n\r\n", bytes(100_000)])
def test_what_follows_the_head_is_left_alone(rest: bytes) -> None:
    wire = request_head()
    parsed = parse_request(wire + rest, limit=len(wire))
    assert parsed is not None
    assert parsed[1] == len(wire)


@pytest.mark.parametrize("target", ["http://example.com/ws?x", "ws://example.com/ws", "WSS://example.com:1/ws?/y"])
def test_a_target_in_absolute_form_has_the_same_path(target: str) -> None:
    request = parse(request_head(start=f"GET {target} HTTP/1.1"))
    assert (request.path, request.target) == ("/ws", target)


@pytest.mark.parametrize("target", ["http://example.com", "http://example.com?x=/ws"])
def test_an_absolute_target_without_path_means_the_root(target: str) -> None:
    assert parse(request_head(start=f"GET {target} HTTP/1.1")).path == "/"


def test_repeated_fields_are_joined_in_order() -> None:
    wire = request_head(("X-A", "1"), ("x-a", " 2\t"), ("X-a", ""), ("X-A ", None))
    assert parse(wire).headers["x-a"] == "1, 2, "


def test_values_are_stripped_of_blanks_and_tabs_only() -> None:
    headers = parse(request_head(("X-A", "\t \xa0a\tb\x85 \t"), ("X-B", ""), ("X-C", "  "))).headers
    assert (headers["x-a"], headers["x-b"], headers["x-c"]) == ("\xa0a\tb\x85", "", "")


HEAD = request_head()
MALFORMED = {
    "bare LF": HEAD.replace(b"\r\n", b"\n"),
    "one bare LF": HEAD.replace(b"\r\n", b"\n", 1),
    "LF in a value": request_head(("X-A", "a\nb: c")),
    "CR in a value": request_head(("X-A", "a\rb")),
    "NUL in a value": request_head(("X-A", "a\0b")),
    "DEL in a value": request_head(("X-A", "a\x7fb")),
    "folded line": request_head(("X-A", "a\r\n b")),
    "folded first line": HEAD.replace(b"Host", b" Host", 1),
    "blank before the colon": request_head(("X-A ", "a")),
    "blank in a name": request_head(("X A", "a")),
    "empty name": request_head(("", "a")),
    "non-ASCII name": request_head(("X-\xe9", "a")),
    "no colon": HEAD.replace(b"Pragma: no-cache", b"Pragma"),
    "no Host": request_head(("Host", None)),
    "two Hosts": request_head(("host", "live.example.com:8765")),
    "two empty Hosts": request_head(("Host", ""), ("host", "")),
    "non-ASCII Host": request_head(("Host", "caf\xe9")),
    "Transfer-Encoding": request_head(("Transfer-Encoding", "chunked")),
    "Content-Length not a number": request_head(("Content-Length", "\xb2")),
    "Content-Length twice": request_head(("Content-Length", "0"), ("content-length", "0")),
    "HTTP/1.0": request_head(start="GET /ws HTTP/1.0"),
    "no version": request_head(start="GET /ws"),
    "two blanks": request_head(start="GET  /ws HTTP/1.1"),
    "blank in the target": request_head(start="GET /w s HTTP/1.1"),
    "non-ASCII target": request_head(start="GET /\xe9 HTTP/1.1"),
    "NUL in the target": request_head(start="GET /\0 HTTP/1.1"),
    "bad method": request_head(start="G(T /ws HTTP/1.1"),
    "asterisk": request_head(start="OPTIONS * HTTP/1.1"),
    "authority": request_head(start="CONNECT example.com:443 HTTP/1.1"),
    "unknown scheme": request_head(start="GET ftp://example.com/ws HTTP/1.1"),
    "lower-case version": request_head(start="GET /ws http/1.1"),
    "blank line first": b"\r\n" + HEAD,
    "nothing": b"\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303"),
    "NUL": b"\0",
}


@pytest.mark.parametrize("wire", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_head_is_refused(wire: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse_request(wire, limit=LIMIT)
    assert caught.value.status == 400
    assert caught.value.response.startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("version", ["2.0", "1.2", "0.9"])
def test_other_versions_of_http_are_refused(version: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse(request_head(start=f"GET /ws HTTP/{version}"))
    assert caught.value.status == 505


def test_a_body_is_refused() -> None:
    assert parse(request_head(("Content-Length", "0"))).headers["content-length"] == "0"
    with pytest.raises(HandshakeError) as caught:
        parse(request_head(("Content-Length", "5")))
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "wire",
    [
        request_head(("X-Large", "x" * 100_000)),
        request_head(("X" * 100_000, "x")),
        request_head(start=f"GET /{'x' * 100_000} HTTP/1.1"),
        b"G" * 100_000,
        request_head(*((f"X-{index}", "x") for index in range(20_000))),
    ],
    ids=["value", "name", "target", "method", "fields"],
)
def test_a_head_above_the_limit_is_refused_before_its_end(wire: bytes) -> None:
    for size in (LIMIT, len(wire)):
        with pytest.raises(HandshakeError) as caught:
            parse_request(wire[:size], limit=LIMIT)
        assert caught.value.status == 431
    assert parse_request(wire[: LIMIT - 1], limit=LIMIT) is None


def test_the_limit_counts_the_whole_head() -> None:
    assert parse_request(HEAD, limit=len(HEAD)) is not None
    with pytest.raises(HandshakeError) as caught:
        parse_request(HEAD, limit=len(HEAD) - 1)
    assert caught.value.status == 431


# -- negotiate -------------------------------------------------------------------------------------------------------


def test_the_key_of_the_rfc_is_answered_as_in_the_rfc() -> None:
    accepted = upgrade()
    head, _, rest = accepted.response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert rest == b""
    assert fields(accepted.response) == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Sec-WebSocket-Protocol": "roomcast.v1.msgpack",
        "Sec-WebSocket-Extensions": DEFLATE,
    }
    assert accepted.deflate
    assert accepted.subprotocol == "roomcast.v1.msgpack"


@pytest.mark.parametrize(
    "change",
    [
        ("Upgrade", "WebSocket"),
        ("Upgrade", "h2c, websocket"),
        ("Connection", "upgrade"),
        ("Connection", "close,\tUPGRADE"),
        ("Origin", None),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("Sec-WebSocket-Extensions", None),
        ("X-Forwarded-For", "\xff\xfe"),
    ],
)
def test_what_is_legal_is_accepted(change: tuple[str, str | None]) -> None:
    assert upgrade(change).response.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (426, [("Upgrade", None)]),
        (426, [("Upgrade", "h2c")]),
        (426, [("Connection", None)]),
        (426, [("Connection", "keep-alive")]),
        (426, [("Sec-WebSocket-Version", None)]),
        (426, [("Sec-WebSocket-Version", "8")]),
        (426, [("Sec-WebSocket-Version", "13, 8")]),
        (400, [("Sec-WebSocket-Key", None)]),
        (400, [("Sec-WebSocket-Key", "")]),
        (400, [("Sec-WebSocket-Key", "short")]),
        (400, [("Sec-WebSocket-Key", b64encode(bytes(15)).decode())]),
        (400, [("Sec-WebSocket-Key", b64encode(bytes(17)).decode())]),
        (400, [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZ\xe9==")]),
        (400, [("sec-websocket-key", KEY)]),
        (403, [("Origin", "https://evil.example.com")]),
        (403, [("Origin", "null")]),
        (403, [("Origin", "https://live.example.com.evil.example")]),
        (403, [("origin", "https://live.example.com")]),
        (400, [("Sec-WebSocket-Protocol", None)]),
        (400, [("Sec-WebSocket-Protocol", "")]),
        (400, [("Sec-WebSocket-Protocol", "mqtt, ROOMCAST.V1.JSON")]),
        (400, [("Sec-WebSocket-Extensions", "permessage-deflate;;")]),
        (400, [("Sec-WebSocket-Extensions", "\xe9")]),
    ],
)
def test_what_is_not_agreed_on_has_its_status(status: int, changes: list[tuple[str, str | None]]) -> None:
    with pytest.raises(HandshakeError) as caught:
        upgrade(*changes)
    assert caught.value.status == status
    assert caught.value.response.startswith(f"HTTP/1.1 {status} ".encode())


def test_only_get_on_the_path_is_served() -> None:
    with pytest.raises(HandshakeError) as caught:
        upgrade(start="POST /ws HTTP/1.1")
    assert (caught.value.status, fields(caught.value.response)["Allow"]) == (405, "GET")
    for path in ("/", "/ws/", "/wsx", "/%77s", "/WS"):
        with pytest.raises(HandshakeError) as caught:
            upgrade(start=f"GET {path} HTTP/1.1")
        assert caught.value.status == 404


def test_a_wrong_version_is_told_the_right_one() -> None:
    with pytest.raises(HandshakeError) as caught:
        upgrade(("Sec-WebSocket-Version", "25"))
    answer = fields(caught.value.response)
    assert (answer["Sec-WebSocket-Version"], answer["Upgrade"]) == ("13", "websocket")


def test_the_known_subprotocols_are_listed() -> None:
    with pytest.raises(HandshakeError) as caught:
        upgrade(("Sec-WebSocket-Protocol", "mqtt"))
    for name in SUBPROTOCOLS:
        assert name.encode() in caught.value.response.partition(b"\r\n\r\n")[2]


def test_the_clients_order_of_subprotocols_decides() -> None:
    accepted = upgrade(("Sec-WebSocket-Protocol", "x,roomcast.v1.json , roomcast.v1.msgpack"))
    assert accepted.subprotocol == "roomcast.v1.json"


def test_a_server_without_subprotocols_and_origins_takes_anybody() -> None:
    request = parse(request_head(("Origin", "null"), ("Sec-WebSocket-Protocol", "mqtt")))
    accepted = negotiate(request, path="/ws", subprotocols=(), origins=(), compression=False)
    assert accepted.subprotocol == ""
    assert not accepted.deflate
    assert set(fields(accepted.response)) == {"Upgrade", "Connection", "Sec-WebSocket-Accept"}


# -- permessage-deflate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("permessage-deflate", DEFLATE),
        ("permessage-deflate; client_max_window_bits", DEFLATE),
        ("permessage-deflate;client_max_window_bits=8", DEFLATE),
        ('permessage-deflate; client_max_window_bits="10"', DEFLATE),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", DEFLATE),
        ("permessage-deflate; server_max_window_bits=15", f"{DEFLATE}; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", DEFLATE),
        ("permessage-deflate; unknown=1 , , permessage-deflate ; client_max_window_bits = 15", DEFLATE),
        ("x-webkit-deflate-frame, permessage-deflate", DEFLATE),
        (r'foo; bar="a, \"permessage-deflate", permessage-deflate', DEFLATE),
    ],
)
def test_the_first_usable_offer_is_taken(offers: str, answer: str) -> None:
    accepted = upgrade(("Sec-WebSocket-Extensions", offers))
    assert accepted.deflate
    assert fields(accepted.response)["Sec-WebSocket-Extensions"] == answer


@pytest.mark.parametrize(
    "offers",
    [
        "",
        ", ,",
        "x-webkit-deflate-frame",
        "permessage-deflate-2",
        "PERMESSAGE-DEFLATE; unknown",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        'permessage-deflate; client_no_context_takeover=""',
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=14",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; client_max_window_bits=x",
        'permessage-deflate; client_max_window_bits=""',
        'foo; bar="permessage-deflate, permessage-deflate"',
    ],
)
def test_other_offers_are_declined(offers: str) -> None:
    accepted = upgrade(("Sec-WebSocket-Extensions", offers))
    assert not accepted.deflate
    assert "Sec-WebSocket-Extensions" not in fields(accepted.response)


def test_offers_in_several_fields_are_one_list() -> None:
    accepted = upgrade(
        ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=9"),
        ("sec-websocket-extensions", "permessage-deflate"),
    )
    assert accepted.deflate


def test_compression_that_is_switched_off_is_not_agreed_on() -> None:
    accepted = upgrade(compression=False)
    assert not accepted.deflate
    assert "Sec-WebSocket-Extensions" not in fields(accepted.response)


# -- refusal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 426, 429, 431, 500, 503, 505])
def test_a_refusal_is_a_complete_response_that_ends_the_connection(status: int) -> None:
    response = refusal(status, "no, 不行")
    answer = fields(response)
    body = response.partition(b"\r\n\r\n")[2]
    assert body.decode() == "no, 不行\n"
    assert int(answer["Content-Length"]) == len(body)
    assert "close" in answer["Connection"]
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert "Retry-After" not in answer


def test_a_refusal_tells_when_to_come_back() -> None:
    assert fields(refusal(503, "full", retry_after=7))["Retry-After"] == "7"
    assert fields(HandshakeError(429, "too many", retry_after=0).response)["Retry-After"] == "0"


# -- hostile input ---------------------------------------------------------------------------------------------------


FIELDS = [line.partition(b": ")[0].decode() for line in HEAD.split(b"\r\n")[1:-2]]
INTERPRETED = {
    "Host",
    "Connection",
    "Upgrade",
    "Origin",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
}


def answer(wire: bytes, limit: int = LIMIT) -> bytes:
    """The response from its status on; empty when more bytes are needed."""
    try:
        parsed = parse_request(wire, limit=limit)
        if parsed is None:
            return b""
        request, consumed = parsed
        assert 0 < consumed <= min(limit, len(wire))
        accepted = negotiate(request, path="/ws", subprotocols=SUBPROTOCOLS, origins=ORIGINS, compression=True)
    except HandshakeError as error:
        response = error.response
    else:
        response = accepted.response
    return response.removeprefix(b"HTTP/1.1 ")


@pytest.mark.parametrize("value", ["\xff", "caf\xe9", "".join(map(chr, range(0x80, 0x100)))])
@pytest.mark.parametrize("name", FIELDS)
def test_a_non_ascii_value_fails_only_where_it_is_read(name: str, value: str) -> None:
    if name in INTERPRETED:
        with pytest.raises(HandshakeError):
            upgrade((name, value))
    else:
        assert upgrade((name, value)).response.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "value", [None, "", "," * 8000, ";" * 8000, '"' * 8000, " \t" * 4000, "a;b=" * 2000, "a," + " " * 8000]
)
def test_a_missing_or_odd_field_is_accepted_or_refused(name: str, value: str | None) -> None:
    assert answer(request_head((name, value))).startswith((b"101", b"400", b"403", b"426"))


@patiently
@given(st.one_of(headlike, st.binary(max_size=300)), st.integers(0, 2000))
def test_any_bytes_are_accepted_or_refused_with_a_typed_error(wire: bytes, limit: int) -> None:
    assert answer(wire, limit)[:1] in (b"", b"1", b"4", b"5")


@patiently
@given(st.sampled_from(FIELDS), st.text(st.characters(max_codepoint=0xFF), max_size=60))
def test_any_value_of_any_field_is_accepted_or_refused_with_a_typed_error(name: str, value: str) -> None:
    response = answer(request_head((name, value)))
    assert response.startswith((b"101", b"400", b"403", b"413", b"426"))
    assert response.count(b"\r\n\r\n") == 1
    assert response.isascii()
