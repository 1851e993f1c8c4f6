"""PROXY protocol version 2: addresses, LOCAL, type-length-values, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ws import HandshakeError, parse_proxy_header

from .strategies import patiently

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = bytes.fromhex("c0000201 c6336401 d431 01bb")
V6 = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000002 d431 01bb")
TLV = bytes.fromhex("04 0003 000000")


def header(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


GOOD = {
    "TCP over IPv4": (header(0x21, 0x11, V4), ("192.0.2.1", 54321)),
    "TCP over IPv6": (header(0x21, 0x21, V6), ("2001:db8::1", 54321)),
    "with type-length-values": (header(0x21, 0x11, V4 + TLV), ("192.0.2.1", 54321)),
    "LOCAL": (header(0x20, 0x00, b""), None),
    "LOCAL with an address": (header(0x20, 0x11, V4), None),
    "unspecified": (header(0x21, 0x00, TLV), None),
}


@pytest.mark.parametrize(("wire", "address"), GOOD.values(), ids=GOOD)
def test_the_address_is_read_however_the_bytes_arrive(wire: bytes, address: tuple[str, int] | None) -> None:
    for cut in range(len(wire)):
        assert parse_proxy_header(wire[:cut]) is None
    assert parse_proxy_header(wire) == (address, len(wire))
    assert parse_proxy_header(bytearray(wire + b"GET /")) == (address, len(wire))


BAD = {
    "HTTP": b"GET /ws HTTP/1.1\r\n",
    "version 1": b"PROXY TCP4 192.0.2.1",
    "version 3": header(0x31, 0x11, V4),
    "command 2": header(0x22, 0x11, V4),
    "UDP": header(0x21, 0x12, V4),
    "Unix": header(0x21, 0x31, bytes(216)),
    "family 4": header(0x21, 0x41, V4),
    "too short for IPv4": header(0x21, 0x11, V4[:-1]),
    "too short for IPv6": header(0x21, 0x21, V4),
    "too long": header(0x21, 0x11, bytes(5000))[:16],
}


@pytest.mark.parametrize("wire", BAD.values(), ids=BAD)
def test_anything_else_is_refused(wire: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse_proxy_header(wire)
    assert caught.value.status == 400
    assert caught.value.response.startswith(b"HTTP/1.1 400 ")


@patiently
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(SIGNATURE.__add__)))
def test_any_bytes_give_an_address_or_a_typed_error(wire: bytes) -> None:
    try:
        parsed = parse_proxy_header(wire)
    except HandshakeError:
        return
    if parsed is not None:
        address, consumed = parsed
        assert consumed <= len(wire)
        assert address is None or 0 <= address[1] < 65_536
