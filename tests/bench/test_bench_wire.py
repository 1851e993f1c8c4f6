"""The load generator's own WebSocket client, whole, byte by byte and with trailing data; wsproto is the other side."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameDecoder, Opcode

from bench.generator import wire

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def test_accept_is_that_of_the_standard() -> None:
    assert wire.accept_of(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_answer_is_parsed_once_it_is_whole() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-Thing:  a:b \r\n\r\n"
    for size in range(len(answer)):
        assert wire.upgrade_at(answer[:size]) is None
    upgrade = wire.upgrade_at(answer + b"more")
    assert upgrade == wire.Upgrade(101, {"upgrade": "websocket", "x-thing": "a:b"}, len(answer))


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"x" * 20_000])
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.upgrade_at(answer)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.binary(max_size=1))
def test_frames_are_found_whole_and_in_a_row(payloads: list[bytes], rest: bytes) -> None:
    data = b"".join(wire.server_frame(wire.BINARY, payload) for payload in payloads) + rest
    position, found = 0, []
    while (header := wire.header_at(data, position)) is not None:
        assert header.opcode == wire.BINARY
        assert not header.deflated
        found.append(data[header.start : header.end])
        position = header.end
    assert found == payloads
    assert data[position:] == rest


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_an_incomplete_frame_is_none(size: int) -> None:
    frame = wire.server_frame(wire.TEXT, b"x" * size)
    for cut in {*range(min(len(frame), 12)), len(frame) - 1}:
        assert wire.header_at(frame[:cut], 0) is None
    header = wire.header_at(frame, 0)
    assert header is not None
    assert header.end - header.start == size


@pytest.mark.parametrize(
    "head",
    [b"\x02\x00", b"\x82\x80\0\0\0\0", b"\xa2\x00", b"\x92\x00", b"\x82\x7f" + (1 << 40).to_bytes(8, "big")],
    ids=["fragment", "masked", "rsv2", "rsv3", "huge"],
)
def test_what_a_server_may_not_send_is_refused(head: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.header_at(head, 0)


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_client_frames_are_what_wsproto_reads(payload: bytes, mask: bytes) -> None:
    decoder = FrameDecoder(client=False)
    decoder.receive_bytes(wire.client_frame(wire.BINARY, payload, mask))
    received = b""
    while (frame := decoder.process_buffer()) is not None:
        assert frame.opcode in (Opcode.BINARY, Opcode.CONTINUATION)
        received += bytes(frame.payload)  # type: ignore[arg-type]  # only text frames hold str
    assert received == payload


@given(st.binary(max_size=5000))
def test_inflate_undoes_a_compressed_message(message: bytes) -> None:
    deflater = zlib.compressobj(wbits=-15)
    deflated = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert wire.inflate(deflated[:-4]) == message


def test_inflate_refuses_garbage_and_bombs() -> None:
    with pytest.raises(wire.WireError):
        wire.inflate(b"\xff\xff\xff")
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(bytes(wire.MESSAGE_BYTES_MAX + 1)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(wire.WireError):
        wire.inflate(bomb[:-4])
