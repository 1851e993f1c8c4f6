"""Deflate: every window, bounded bombs, and payloads that are not one whole stream."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ws import ProtocolError, deflate, inflate

from .strategies import patiently

HELLO = bytes.fromhex("f248cdc9c90700")
"""RFC 7692 section 7.2.3.1."""


@patiently
@given(st.binary(max_size=2000), st.integers(0, 9))
def test_what_was_deflated_inflates_again(message: bytes, level: int) -> None:
    assert inflate(deflate(message, level), len(message)) == message


@pytest.mark.parametrize("size", [0, 1, 200, 255, 256, 257, 511, 512, 1023, 5000, 40_000, 300_000])
def test_small_windows_do_not_change_the_message(size: int) -> None:
    words = random.Random(size).choices([b"hello ", b"world ", b"\xe4\xbd\xa0 ", b"42 "], k=size)
    message = b"".join(words)[:size]
    packed = deflate(message)
    assert not packed.endswith(b"\x00\x00\xff\xff")
    assert zlib.decompressobj(-15).decompress(packed + b"\x00\x00\xff\xff") == message


@pytest.mark.parametrize("bits", range(9, 16))
def test_a_client_may_use_any_window(bits: int) -> None:
    message = random.Random(bits).randbytes(300) * 200
    packer = zlib.compressobj(9, zlib.DEFLATED, -bits)
    packed = packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert inflate(packed[:-4], len(message)) == message


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (HELLO, b"Hello"),
        (bytes.fromhex("00 0500 faff 48656c6c6f 00"), b"Hello"),  # stored, section 7.2.3.3
        (bytes.fromhex("f348cdc9c9070000"), b"Hello"),  # final block with its padding, section 7.2.3.4
        (bytes.fromhex("f348cdc9c90700"), b"Hello"),  # final block without
        (bytes.fromhex("f24805000000ffffcac9c90700"), b"Hello"),  # two blocks, section 7.2.3.5
        (b"\x00", b""),  # section 7.2.3.6
        (b"", b""),
    ],
)
def test_the_examples_of_the_rfc_inflate(payload: bytes, message: bytes) -> None:
    assert inflate(payload, 100) == message


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff\xff\xff\xff", id="no deflate"),
        pytest.param(HELLO[:3], id="cut within a block"),
        pytest.param(bytes.fromhex("f348cdc9c9070000") + HELLO, id="goes on after a final block"),
        pytest.param(b"\x00\x05\x00\xfa\xffHel", id="stored block cut short"),
    ],
)
def test_what_is_not_one_whole_stream_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        inflate(payload, 100)
    assert caught.value.code == 1007


@pytest.mark.parametrize("limit", [0, 1, 999, 16_384])
def test_the_limit_is_exact(limit: int) -> None:
    assert inflate(deflate(bytes(limit)), limit) == bytes(limit)
    with pytest.raises(ProtocolError) as caught:
        inflate(deflate(bytes(limit + 1)), limit)
    assert caught.value.code == 1009


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    bomb = deflate(bytes(50_000_000), 9)
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            inflate(bomb, 16_384)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == 1009
    assert peak < 500_000


@patiently
@given(st.binary(max_size=300), st.integers(0, 1000))
def test_any_bytes_inflate_or_raise_a_typed_error(payload: bytes, limit: int) -> None:
    try:
        assert len(inflate(payload, limit)) <= limit
    except ProtocolError as error:
        code = error.code
    else:
        return
    assert code in (1007, 1009)
