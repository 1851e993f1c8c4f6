"""Frames: layout at every length encoding, close frames, masks; wsproto reads what we write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol

from engine.ws import Opcode, client_frame, close_frame, frame, is_close_code, unmask

from .strategies import masks, patiently


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
    ],
)
def test_a_server_frame_has_the_shortest_length_and_no_mask(size: int, head: str) -> None:
    assert frame(Opcode.BINARY, b"x" * size) == bytes.fromhex(head) + b"x" * size


def test_a_compressed_frame_sets_rsv1_and_nothing_else() -> None:
    assert frame(Opcode.TEXT, b"x", compressed=True) == b"\xc1\x01x"


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_client_reads_our_frames(size: int, opcode: Opcode) -> None:
    client = FrameProtocol(client=True, extensions=[])
    client.receive_bytes(frame(opcode, b"x" * size))
    (received,) = client.received_frames()
    assert int(received.opcode) == opcode
    assert received.message_finished
    assert received.payload == ("x" * size if opcode == Opcode.TEXT else b"x" * size)


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_a_control_frame_is_short_and_uncompressed(opcode: Opcode) -> None:
    assert frame(opcode, b"x" * 125)[2:] == b"x" * 125
    with pytest.raises(ValueError, match="control frame"):
        frame(opcode, b"x" * 126)
    with pytest.raises(ValueError, match="control frame"):
        frame(opcode, b"x", compressed=True)


def test_a_close_frame_carries_code_and_reason() -> None:
    assert close_frame(4001, "lag") == b"\x88\x05\x0f\xa1lag"
    assert close_frame(1005, "not sent") == b"\x88\x00"


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65_536])
def test_a_close_code_that_may_not_be_sent_is_refused(code: int) -> None:
    assert not is_close_code(code)
    with pytest.raises(ValueError, match=str(code)):
        close_frame(code)


@patiently
@given(st.text())
def test_a_long_reason_is_cut_between_characters(reason: str) -> None:
    payload = close_frame(1000, reason)[2:]
    assert len(payload) <= 125
    assert reason.startswith(payload[2:].decode())
    if len(reason.encode()) <= 123:
        assert payload[2:].decode() == reason


def test_a_reason_that_is_no_unicode_is_still_sent() -> None:
    assert close_frame(1000, "\ud800")[4:] == b"?"


@patiently
@given(st.binary(max_size=500), masks)
def test_unmask_is_xor_with_the_repeated_mask(payload: bytes, mask: bytes) -> None:
    plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    assert unmask(payload, mask) == plain
    assert unmask(memoryview(payload), mask) == plain
    assert unmask(plain, mask) == payload


@patiently
@given(st.binary(max_size=200), masks, st.booleans())
def test_a_server_reads_client_frames(payload: bytes, mask: bytes, fin: bool) -> None:
    server = FrameProtocol(client=False, extensions=[])
    server.receive_bytes(client_frame(Opcode.BINARY, payload, mask, fin=fin))
    received = list(server.received_frames())
    assert b"".join(each.payload for each in received if isinstance(each.payload, bytes)) == payload
    assert received[-1].message_finished == fin


def test_a_client_frame_sets_the_bits_it_is_told() -> None:
    assert client_frame(Opcode.TEXT, b"a", fin=False, rsv1=True) == b"\x41\x81\x00\x00\x00\x00a"
