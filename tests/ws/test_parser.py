"""The parser: each case whole, byte by byte, in chunks and with more behind it; every fault and its code."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import RoomcastError
from engine.ws import (
    Closed,
    Event,
    Message,
    Opcode,
    Parser,
    Ping,
    Pong,
    ProtocolError,
    client_frame,
    deflate,
)

from .strategies import MAX_MESSAGE, bytewise, chunked, conversations, drive, patiently, wirelike

CONT, TEXT, BINARY = Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
MASK = b"\x37\xfa\x21\x3d"


def parser(*, deflate: bool = True, max_message: int = MAX_MESSAGE) -> Parser:
    return Parser(max_message=max_message, deflate=deflate)


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


GOOD: dict[str, tuple[bytes, list[Event]]] = {
    "text of RFC 6455 section 5.7": (bytes.fromhex("818537fa213d7f9f4d5158"), [Message(TEXT, b"Hello")]),
    "binary": (client_frame(BINARY, b"\x00\xff" * 30, MASK), [Message(BINARY, b"\x00\xff" * 30)]),
    "empty": (client_frame(BINARY, b"", MASK), [Message(BINARY, b"")]),
    "125 bytes": (client_frame(BINARY, b"x" * 125, MASK), [Message(BINARY, b"x" * 125)]),
    "126 bytes": (client_frame(BINARY, b"x" * 126, MASK), [Message(BINARY, b"x" * 126)]),
    "as large as allowed": (client_frame(BINARY, b"x" * MAX_MESSAGE, MASK), [Message(BINARY, b"x" * MAX_MESSAGE)]),
    "Chinese": (client_frame(TEXT, "你好".encode(), MASK), [Message(TEXT, "你好".encode())]),
    "deflated, of RFC 7692 section 7.2.3.1": (
        client_frame(TEXT, bytes.fromhex("f248cdc9c90700"), MASK, rsv1=True),
        [Message(TEXT, b"Hello")],
    ),
    "deflated as large as allowed": (
        client_frame(BINARY, deflate(bytes(MAX_MESSAGE)), MASK, rsv1=True),
        [Message(BINARY, bytes(MAX_MESSAGE))],
    ),
    "deflated and larger for it": (
        client_frame(BINARY, deflate(bytes(range(250)) * 4, 0), MASK, rsv1=True),
        [Message(BINARY, bytes(range(250)) * 4)],
    ),
    "fragments with a ping between": (
        client_frame(TEXT, b"He", MASK, fin=False)
        + client_frame(PING, b"?", MASK)
        + client_frame(CONT, b"", MASK, fin=False)
        + client_frame(CONT, b"llo", MASK),
        [Ping(b"?"), Message(TEXT, b"Hello")],
    ),
    "a character cut by fragments": (
        b"".join(client_frame(CONT if at else TEXT, "€".encode()[at : at + 1], MASK, fin=at == 2) for at in range(3)),
        [Message(TEXT, "€".encode())],
    ),
    "deflated fragments": (
        client_frame(BINARY, deflate(b"Hello")[:3], MASK, fin=False, rsv1=True)
        + client_frame(CONT, deflate(b"Hello")[3:], MASK),
        [Message(BINARY, b"Hello")],
    ),
    "ping and pong": (
        client_frame(PING, b"", MASK) + client_frame(PONG, b"p" * 125, MASK),
        [Ping(b""), Pong(b"p" * 125)],
    ),
    "close": (client_frame(CLOSE, close_payload(4999, "à bientôt".encode()), MASK), [Closed(4999, "à bientôt")]),
    "close without code": (client_frame(CLOSE, b"", MASK), [Closed(1005, "")]),
    "close within a message": (
        client_frame(TEXT, b"He", MASK, fin=False) + client_frame(CLOSE, close_payload(1000), MASK),
        [Closed(1000, "")],
    ),
    "ten messages": (client_frame(TEXT, b"hi", MASK) * 10, [Message(TEXT, b"hi")] * 10),
}

ZEROS = b"\x00\x00\x00\x00"
BAD: dict[str, tuple[bytes, int]] = {
    "no mask": (b"\x82\x01x", 1002),
    "no mask, of an empty frame": (b"\x82\x00", 1002),
    "RSV2": (b"\xa2\x80" + ZEROS, 1002),
    "RSV3": (b"\x92\x80" + ZEROS, 1002),
    "RSV1 on a continuation": (
        client_frame(BINARY, deflate(b"a"), fin=False, rsv1=True) + client_frame(CONT, b"", rsv1=True),
        1002,
    ),
    "RSV1 on a ping": (client_frame(PING, b"", rsv1=True), 1002),
    **{f"opcode {opcode}": (client_frame(opcode, b""), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"{opcode.name} in fragments": (client_frame(opcode, b"", fin=False), 1002) for opcode in (CLOSE, PING, PONG)},
    **{f"{opcode.name} of 126 bytes": (client_frame(opcode, bytes(126)), 1002) for opcode in (CLOSE, PING, PONG)},
    "16 bits for 125": (b"\x82\xfe\x00\x7d" + ZEROS + bytes(125), 1002),
    "64 bits for 65535": (b"\x82\xff" + (65_535).to_bytes(8, "big") + ZEROS, 1002),
    "64 bits for 0": (b"\x82\xff" + bytes(8) + ZEROS, 1002),
    "highest bit of the length": (b"\x82\xff" + (1 << 63).to_bytes(8, "big"), 1002),
    "continuation of nothing": (client_frame(CONT, b"x"), 1002),
    "continuation after the end": (client_frame(BINARY, b"x") + client_frame(CONT, b"x"), 1002),
    "message within a message": (client_frame(TEXT, b"x", fin=False) + client_frame(BINARY, b"x"), 1002),
    "close of 1 byte": (client_frame(CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (client_frame(CLOSE, close_payload(code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    "close reason not UTF-8": (client_frame(CLOSE, close_payload(1000, b"\xff")), 1007),
    "text not UTF-8": (client_frame(TEXT, b"a\xffb", MASK), 1007),
    "text ends within a character": (client_frame(TEXT, "€".encode()[:2], MASK), 1007),
    "text with a surrogate": (client_frame(TEXT, b"\xed\xa0\x80", MASK), 1007),
    "fragments end within a character": (
        client_frame(TEXT, "€".encode()[:1], fin=False) + client_frame(CONT, "€".encode()[1:2]),
        1007,
    ),
    "a fragment not UTF-8, more to come": (client_frame(TEXT, b"\xc0", fin=False), 1007),
    "deflated text not UTF-8": (client_frame(TEXT, deflate(b"\xff"), rsv1=True), 1007),
    "not deflate": (client_frame(BINARY, b"\xff\xff", rsv1=True), 1007),
    "deflate cut short": (client_frame(BINARY, deflate(b"Hello Hello")[:-3], rsv1=True), 1007),
    "too large, told in 16 bits": (b"\x82\xfe" + (MAX_MESSAGE + 1).to_bytes(2, "big"), 1009),
    "too large, told in 64 bits": (b"\x82\xff" + (1 << 62).to_bytes(8, "big"), 1009),
    "too large in fragments": (
        client_frame(BINARY, bytes(MAX_MESSAGE), fin=False) + b"\x80\x81",
        1009,
    ),
    "too large deflated": (b"\xc2\xfe" + (MAX_MESSAGE * 2).to_bytes(2, "big"), 1009),
    "too large deflated in fragments": (
        client_frame(BINARY, bytes(MAX_MESSAGE), fin=False, rsv1=True) + b"\x80\xfe" + (MAX_MESSAGE).to_bytes(2, "big"),
        1009,
    ),
    "bomb": (client_frame(BINARY, deflate(bytes(200_000)), rsv1=True), 1009),
}


@pytest.mark.parametrize(("wire", "events"), GOOD.values(), ids=GOOD)
def test_a_correct_stream_gives_its_events(wire: bytes, events: list[Event]) -> None:
    whole = parser()
    assert whole.feed(wire) == events
    assert whole.over == isinstance(events[-1], Closed)
    assert drive(parser(), bytewise(wire)) == (events, None)


@pytest.mark.parametrize(("wire", "events"), GOOD.values(), ids=GOOD)
def test_what_follows_a_stream_waits_for_its_rest(wire: bytes, events: list[Event]) -> None:
    if isinstance(events[-1], Closed):
        assert parser().feed(wire + b"\x00garbage") == events
        return
    another = client_frame(BINARY, b"y" * 200, MASK)
    for cut in range(len(another)):
        split = parser()
        assert split.feed(wire + another[:cut]) == events
        assert split.feed(another[cut:]) == [Message(BINARY, b"y" * 200)]


@patiently
@given(st.data())
def test_a_stream_means_the_same_in_any_chunks(data: st.DataObject) -> None:
    wire, events = data.draw(conversations())
    assert drive(parser(), [wire]) == (events, None)
    assert drive(parser(), data.draw(chunked(wire))) == (events, None)
    assert drive(parser(), bytewise(wire)) == (events, None)


@pytest.mark.parametrize(("wire", "code"), BAD.values(), ids=BAD)
def test_a_fault_has_its_code(wire: bytes, code: int) -> None:
    assert drive(parser(), [wire])[1] == code
    assert drive(parser(), bytewise(wire))[1] == code
    assert drive(parser(), [wire + b"more"])[1] == code


@pytest.mark.parametrize(("wire", "code"), BAD.values(), ids=BAD)
def test_what_was_complete_before_a_fault_is_not_lost(wire: bytes, code: int) -> None:
    ping, message = client_frame(PING, b"p", MASK), client_frame(TEXT, b"first", MASK)
    broken = parser()
    with pytest.raises(ProtocolError) as caught:
        broken.feed(message + ping + wire)
    assert list(caught.value.events)[:2] == [Message(TEXT, b"first"), Ping(b"p")]
    assert caught.value.code == code
    assert broken.over


def test_without_the_extension_rsv1_is_a_fault() -> None:
    wire = client_frame(TEXT, deflate(b"Hello"), rsv1=True)
    assert drive(parser(deflate=False), [wire]) == ([], 1002)
    assert drive(parser(deflate=False), [client_frame(TEXT, b"Hello")]) == ([Message(TEXT, b"Hello")], None)


def test_messages_of_64_bit_length_are_read() -> None:
    wire = client_frame(BINARY, bytes(70_000), MASK)
    assert parser(max_message=70_000).feed(wire) == [Message(BINARY, bytes(70_000))]
    assert drive(parser(max_message=69_999), [wire[:10]]) == ([], 1009)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999])
def test_a_valid_close_code_is_passed_on(code: int) -> None:
    assert parser().feed(client_frame(CLOSE, close_payload(code))) == [Closed(code, "")]


def test_after_close_everything_is_ignored() -> None:
    closed = parser()
    closed.feed(client_frame(CLOSE, b"") + client_frame(TEXT, b"late"))
    assert closed.over
    assert closed.feed(client_frame(TEXT, b"later")) == []
    assert closed.feed(b"\x00\x00") == []


def test_after_a_fault_everything_is_ignored() -> None:
    broken = parser()
    with pytest.raises(ProtocolError, match="mask"):
        broken.feed(b"\x82\x01x")
    assert broken.feed(client_frame(TEXT, b"later")) == []


def test_a_fault_is_an_error_of_this_project() -> None:
    assert issubclass(ProtocolError, RoomcastError)


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\x82\x01", "frame of a client without mask"),
        (b"\xa2\x80", "reserved bit set"),
        (b"\xc9\x80", "reserved bit set"),
        (b"\x09\x80", "fragmented control frame"),
        (b"\x83\x80", "opcode 3 is reserved"),
        (b"\x0f\x80", "opcode 15 is reserved"),
        (b"\x89\xfe", "control frame longer than 125 bytes"),
    ],
)
def test_two_bytes_are_enough_to_see_a_bad_head(wire: bytes, text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parser().feed(wire)
    assert caught.value.text == text


def held(idle: Parser) -> list[object]:
    return [getattr(idle, name) for name in Parser.__slots__]


@patiently
@given(conversations())
def test_an_idle_parser_holds_nothing_of_its_own(conversation: tuple[bytes, list[Event]]) -> None:
    wire, _ = conversation
    used = parser()
    fresh = held(parser())
    drive(used, bytewise(wire))
    if not used.over:
        assert [value for value in held(used) if not isinstance(value, int)] == [
            value for value in fresh if not isinstance(value, int)
        ]
    assert not hasattr(used, "__dict__")
    assert sys.getsizeof(used) < 100


def test_empty_fragments_without_end_take_no_memory() -> None:
    patient = parser()
    patient.feed(client_frame(BINARY, b"x", fin=False))
    empty = client_frame(CONT, b"", fin=False)
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert patient.feed(empty) == []
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1000
    assert patient.feed(client_frame(CONT, b"y")) == [Message(BINARY, b"xy")]


def test_a_declared_length_reserves_nothing() -> None:
    patient = parser(max_message=1 << 20)
    tracemalloc.start()
    try:
        assert patient.feed(client_frame(BINARY, bytes(1 << 20))[:100]) == []
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1000


@patiently
@given(st.one_of(wirelike(), st.binary(max_size=200)), st.booleans(), st.data())
def test_any_bytes_give_events_or_a_typed_error_and_the_same_in_any_chunks(
    wire: bytes, extension: bool, data: st.DataObject
) -> None:
    def outcome(chunks: Iterator[bytes] | list[bytes]) -> tuple[list[Event], int | None]:
        return drive(parser(deflate=extension, max_message=150), chunks)

    events, code = outcome([wire])
    assert code in (None, 1002, 1007, 1009)
    assert outcome(data.draw(chunked(wire))) == (events, code)
    assert outcome(bytewise(wire)) == (events, code)
    for event in events:
        if isinstance(event, Message):
            assert len(event.data) <= 150
            assert type(event.data) is bytes
            if event.opcode == TEXT:
                event.data.decode()
