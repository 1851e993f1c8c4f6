"""The wire schema: the same message for both codecs and every reader, and nothing but `Malformed` for what is none."""

from __future__ import annotations

import json
import typing
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from strategies import plainly, values

from engine.schema import (
    JSON,
    MSGPACK,
    SUBPROTOCOLS,
    Author,
    Batch,
    ClientMessage,
    Codec,
    Comment,
    CommentEvent,
    Event,
    EventKind,
    Give,
    Join,
    LinkedCommentEvent,
    Malformed,
    MoneyAct,
    MoneyEvent,
    Pack,
    Page,
    RankedAuthor,
    ReadGivers,
    ServerMessage,
    Snapshot,
    handle_of,
)

BOTH = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
SESSION = "abcdefghijklmnop"


def read(codec: Codec, data: bytes) -> Any:
    """What a package that is not ours reads."""
    return json.loads(data) if codec.text else msgpack.unpackb(data)


def write(codec: Codec, message: object) -> bytes:
    """What a package that is not ours writes."""
    return json.dumps(message).encode() if codec.text else msgpack.packb(message)


def refused(codec: Codec, message: object) -> Malformed:
    with pytest.raises(Malformed) as caught:
        codec.decode(write(codec, message))
    return caught.value


@BOTH
@given(values(ClientMessage))
def test_every_client_message_is_read_as_others_write_it(codec: Codec, message: ClientMessage) -> None:
    assert read(codec, codec.encode(message)) == plainly(message)
    assert codec.decode(write(codec, plainly(message))) == message
    assert codec.decode(bytearray(codec.encode(message))) == message
    assert codec.decode(memoryview(codec.encode(message))) == message


@BOTH
@given(st.one_of(*(values(kind) for kind in typing.get_args(ServerMessage) if kind not in (Batch, Page, Snapshot))))
def test_every_server_message_is_written_as_others_read_it(codec: Codec, message: ServerMessage) -> None:
    data = codec.encode(message)
    assert read(codec, data) == plainly(message)
    decoder: Any = msgspec.json if codec.text else msgspec.msgpack
    assert decoder.decode(data, type=ServerMessage) == message


@BOTH
def test_a_batch_carries_its_events_as_they_are(codec: Codec) -> None:
    events = [[1, ["guest-1", "小明", {}], 5, "太好看了😂"], [0, 2, 3]]
    message = Batch(1, 2, 3, 7, 9, [Raw(write(codec, event)) for event in events], [0, 4], (1, 2))
    assert read(codec, codec.encode(message)) == [34, 1, 2, 3, 7, 9, events, [0, 4], [1, 2], {}]


@BOTH
@given(
    values(ClientMessage), st.lists(st.one_of(st.integers(-5, 5), st.text(max_size=5), st.none(), st.lists(st.integers(0, 9))))
)
def test_elements_at_the_end_that_are_not_known_are_ignored(codec: Codec, message: ClientMessage, tail: list[Any]) -> None:
    assert codec.decode(write(codec, plainly(message) + tail)) == message


@BOTH
def test_optional_elements_at_the_end_may_be_omitted(codec: Codec) -> None:
    assert codec.decode(write(codec, [1, 9, "room"])) == Join(9, "room")
    assert codec.decode(write(codec, [1, 9, "room", 2, 3])) == Join(9, "room", 2, 3)
    assert "at least length 4" in str(refused(codec, [3, 1, 2]))
    assert codec.decode(write(codec, [18, 9, 2, "rose"])) == Give(9, 2, "rose", 1, "")
    assert codec.decode(write(codec, [20, 9, 2, 100, 5])) == Pack(9, 2, 100, 5, "random", 0, 0, False, "", "")
    assert codec.decode(write(codec, [21, 9, 2])) == ReadGivers(9, 2, None, 0, 100)
    assert "at least length 4" in str(refused(codec, [19, 9, 2]))


@BOTH
@pytest.mark.parametrize(
    ("message", "path"),
    [
        ([1, 0, "room"], "$[1]"),
        ([1, -1, "room"], "$[1]"),
        ([1, 2**53, "room"], "$[1]"),
        ([1, 2**63, "room"], "$[1]"),
        ([1, 2**64 - 1, "room"], "$[1]"),
        ([1, 1.5, "room"], "$[1]"),
        ([1, True, "room"], "$[1]"),
        ([1, None, "room"], "$[1]"),
        ([1, 1, ""], "$[2]"),
        ([1, 1, "r" * 129], "$[2]"),
        ([1, 1, 5], "$[2]"),
        ([1, 1, "room", -1], "$[3]"),
        ([1, 1, "room", 0, 2**53], "$[4]"),
        ([1, 1, "room", 0, 0, "short"], "$[5]"),
        ([1, 1, "room", 0, 0, "s" * 65], "$[5]"),
        ([1, 1, "room", 0, 0, SESSION + "\n"], "$[5]"),
        ([1, 1, "room", 0, 0, SESSION + "é"], "$[5]"),
        ([1, 1, "room", 0, 0, None, ""], "$[6]"),
        ([1, 1, "room", 0, 0, None, "n" * 65], "$[6]"),
        ([1, 1, "room", 0, 0, None, None, {"": "x"}], "$[7]"),
        ([1, 1, "room", 0, 0, None, None, {"k" * 33: "x"}], "$[7]"),
        ([1, 1, "room", 0, 0, None, None, {"k": "v" * 129}], "$[7]"),
        ([1, 1, "room", 0, 0, None, None, {"k": 1}], "$[7]"),
        ([1, 1, "room", 0, 0, None, None, {str(key): "v" for key in range(9)}], "$[7]"),
        ([1, 1, "room", 0, 0, None, None, []], "$[7]"),
        ([3, 1, 2, "x" * 16_385], "$[3]"),
        ([3, 1, 2**53, "x"], "$[2]"),
        ([3, 0, 2, "x"], "$[1]"),
        ([4, 1, 2**53], "$[2]"),
        ([7, 1, 2, "", "x"], "$[3]"),
        ([8, 1, 2, "user", None], "$[4]"),
        ([1, 1, "room", 0, 0, None, None, {}, "t" * 4097], "$[8]"),
        ([1, 1, "room", 0, 0, None, None, {}, None, "f" * 65], "$[9]"),
        ([3, 1, 2, "x", -1], "$[4]"),
        ([3, 1, 2, "x", 0, [""]], "$[5][0]"),
        ([3, 1, 2, "x", 0, ["u"] * 17], "$[5]"),
        ([3, 1, 2, "x", 0, [], 2**53], "$[6]"),
        ([4, 1, 2, {"🎉": -1}], "$[3][...]"),
        ([4, 1, 2, {str(key): 1 for key in range(17)}], "$[3]"),
        ([9, 1, 2, ""], "$[3]"),
        ([9, 1, 2, "mute", "u" * 65], "$[4]"),
        ([9, 1, 2, "mute", "u", 0, -1], "$[6]"),
        ([9, 1, 2, "mute", "u", 0, 0, "r" * 257], "$[7]"),
        ([9, 1, 2, "mute", "u", 0, 0, "", 1], "$[8]"),
        ([10, 1, 2, "card", "k" * 65, None], "$[4]"),
        ([10, 1, 2, "card", "k", []], "$[5]"),
        ([10, 1, 2, "card", "k", {str(key): 1 for key in range(33)}], "$[5]"),
        ([10, 1, 2, "card", "k", None, -2], "$[6]"),
        ([11, 1, 2, "x", 1], "$[4]"),
        ([12, 1, -1], "$[2]"),
        ([13, 1, 2, "poll", "k", 64], "$[5]"),
        ([14, 1, 2, None], "$[3]"),
        ([15, 1, 2, 0, 0], "$[4]"),
        ([15, 1, 2, 0, 1001], "$[4]"),
        ([17, 1, 2, "f" * 65], "$[3]"),
        ([18, 0, 2, "rose"], "$[1]"),
        ([18, 1, 2, ""], "$[3]"),
        ([18, 1, 2, "g" * 65], "$[3]"),
        ([18, 1, 2, "rose", 0], "$[4]"),
        ([18, 1, 2, "rose", 1_000_001], "$[4]"),
        ([18, 1, 2, "rose", 1, "u" * 65], "$[5]"),
        ([18, 1, 2, "rose", 1, None], "$[5]"),
        ([19, 1, 2, -1], "$[3]"),
        ([19, 1, 2, 2**53], "$[3]"),
        ([19, 1, 2, "7"], "$[3]"),
        ([20, 1, 2, 0, 1], "$[3]"),
        ([20, 1, 2, 2**53, 1], "$[3]"),
        ([20, 1, 2, 9, 0], "$[4]"),
        ([20, 1, 2, 9, 1_000_001], "$[4]"),
        ([20, 1, 2, 9, 1, "fair"], "$[5]"),
        ([20, 1, 2, 9, 1, "equal", -1], "$[6]"),
        ([20, 1, 2, 9, 1, "equal", 0, 2**53], "$[7]"),
        ([20, 1, 2, 9, 1, "equal", 0, 0, 1], "$[8]"),
        ([20, 1, 2, 9, 1, "equal", 0, 0, True, "p" * 65], "$[9]"),
        ([20, 1, 2, 9, 1, "equal", 0, 0, True, "", "t" * 257], "$[10]"),
        ([21, 1, 2, 5], "$[3]"),
        ([21, 1, 2, "s" * 65], "$[3]"),
        ([21, 1, 2, None, -1], "$[4]"),
        ([21, 1, 2, None, 0, 0], "$[5]"),
        ([21, 1, 2, None, 0, 201], "$[5]"),
        ([22, 0, 2], "$[1]"),
    ],
    ids=repr,
)
def test_a_fault_is_refused_with_its_path(codec: Codec, message: list[Any], path: str) -> None:
    fault = refused(codec, message)
    assert path in str(fault)
    assert not fault.unknown_kind


@BOTH
def test_what_is_just_within_the_limits_is_taken(codec: Codec) -> None:
    attributes = {"键" * 32: "值" * 128, **{str(key): "" for key in range(7)}}
    message = [1, 2**53 - 1, "房" * 128, 2**53 - 1, 2**53 - 1, "A-_9" * 16, "名" * 64, attributes, None, ""]
    assert plainly(codec.decode(write(codec, message))) == message
    assert codec.decode(write(codec, [3, 1, 0, "😀" * 16_384])) == Comment(1, 0, "😀" * 16_384)
    pack = [20, 1, 0, 2**53 - 1, 1_000_000, "equal", 2**53 - 1, 2**53 - 1, True, "语" * 64, "财" * 256]
    assert plainly(codec.decode(write(codec, pack))) == pack
    give = [18, 1, 0, "礼" * 64, 1_000_000, "人" * 64]
    assert plainly(codec.decode(write(codec, give))) == give


@BOTH
def test_an_author_with_a_role_and_a_linked_comment_are_longer_arrays_of_the_same_kind(codec: Codec) -> None:
    plain = CommentEvent(Author("a"), 1, "x")
    linked = LinkedCommentEvent(RankedAuthor("a", role="host", level=3), 1, "x", 7, ["b"], 9)
    assert read(codec, codec.encode(plain)) == [1, ["a", "", {}], 1, "x"]
    assert read(codec, codec.encode(linked)) == [1, ["a", "", {}, "host", 3], 1, "x", 7, ["b"], 9]


@BOTH
@given(st.one_of(*(values(kind) for kind in typing.get_args(MoneyEvent))))
def test_every_event_about_money_is_written_as_others_read_it(codec: Codec, event: MoneyEvent) -> None:
    data = codec.encode(event)
    assert read(codec, data) == plainly(event)
    assert read(codec, data)[2] == event.entry, "the entry is the third element of all of them"
    decoder: Any = msgspec.json if codec.text else msgspec.msgpack
    assert decoder.decode(data, type=MoneyEvent) == event
    assert decoder.decode(write(codec, [*plainly(event), "of tomorrow"]), type=MoneyEvent) == event


def test_kinds_are_what_they_are_and_none_is_used_twice() -> None:
    """They are on the wire: another number would part clients of two versions."""
    for union, first, last in ((ClientMessage, 1, 23), (ServerMessage, 32, 44), (Event, 0, 13)):
        kinds = [kind.__struct_config__.tag for kind in typing.get_args(union)]
        assert sorted(kinds) == list(range(first, last + 1))
    assert [kind.__struct_config__.tag for kind in typing.get_args(MoneyAct)] == [18, 19, 20, 21, 22]
    assert {kind.__name__.removesuffix("Event"): kind.__struct_config__.tag for kind in typing.get_args(MoneyEvent)} == {
        "Gift": EventKind.GIFT,
        "Combo": EventKind.COMBO,
        "Correction": EventKind.CORRECTION,
        "Packet": EventKind.PACKET,
        "Share": EventKind.SHARE,
        "PacketEnd": EventKind.PACKET_END,
    }


@BOTH
@pytest.mark.parametrize("kind", [0, 24, 32, 34, 35, 99, -1, 2**31, 2**53, 2**63])
def test_kinds_that_are_not_a_clients_are_told_as_such(codec: Codec, kind: int) -> None:
    assert refused(codec, [kind, 1, 2, "x"]).unknown_kind


@BOTH
@pytest.mark.parametrize(
    "message", [[], {}, 5, "x", None, ["3", 1, 2, "x"], [None], [[3]], [3.5, 1, 2, "x"], {"0": 3}], ids=repr
)
def test_what_has_no_kind_is_malformed(codec: Codec, message: object) -> None:
    assert not refused(codec, message).unknown_kind


@given(st.binary(max_size=200))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    for codec in (MSGPACK, JSON):
        with suppress(Malformed):
            codec.decode(data)


@BOTH
@given(values(ClientMessage), st.data())
def test_damaged_messages_are_read_or_malformed(codec: Codec, message: ClientMessage, data: st.DataObject) -> None:
    damaged = bytearray(codec.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for attempt in (bytes(damaged), bytes(damaged[:cut])):
        try:
            decoded = codec.decode(attempt)
        except Malformed:
            continue
        # What was taken can be said again, to people and to the broker.
        MSGPACK.encode(decoded)
        JSON.encode(decoded)


@BOTH
@given(values(ClientMessage))
def test_every_beginning_of_a_message_is_malformed(codec: Codec, message: ClientMessage) -> None:
    whole = codec.encode(message)
    for cut in range(len(whole)):
        with pytest.raises(Malformed):
            codec.decode(whole[:cut])
    with pytest.raises(Malformed):
        codec.decode(whole + (b"x" if codec.text else b"\x00"))


@pytest.mark.parametrize("depth", [100, 10_000, 500_000])
def test_deep_nesting_is_malformed_or_ignored_but_never_more(depth: int) -> None:
    """At the place of the kind, of a field, and of an element that is not known."""
    for start in (b"", b"[3,1,2,", b'[3,1,2,"x",'):
        for data in (start + b"[" * depth, start + b"[" * depth + b"]" * depth + (b"]" if start else b"")):
            with suppress(Malformed):
                JSON.decode(data)
    for start in (b"", b"\x94\x03\x01\x02", b"\x95\x03\x01\x02\xa1x"):
        for data in (start + b"\x91" * depth, start + b"\x91" * depth + b"\xc0"):
            with suppress(Malformed):
                MSGPACK.decode(data)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (JSON, b'[3,1,2,"\xff"]'),
        (JSON, b'[3,1,2,"\xed\xa0\x80"]'),
        (JSON, b'[3,1,2,"\\ud800"]'),
        (JSON, b'[3,1,2,"\\udc00x"]'),
        (MSGPACK, b"\x94\x03\x01\x02\xa1\xff"),
        (MSGPACK, b"\x94\x03\x01\x02\xa3\xed\xa0\x80"),
    ],
)
def test_texts_that_are_not_unicode_are_malformed(codec: Codec, data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        codec.decode(data)
    assert not caught.value.unknown_kind


def test_a_fault_tells_of_text_that_is_not_unicode() -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        MSGPACK.decode(b"\x94\x03\x01\x02\xa1\xff")


def test_escapes_are_read_as_the_characters_they_stand_for() -> None:
    assert JSON.decode(b'[3,1,2,"\\u4f60\\ud83d\\ude00\\n"]') == Comment(1, 2, "你😀\n")


def test_subprotocols_name_the_codecs() -> None:
    assert {"roomcast.v1.msgpack": MSGPACK, "roomcast.v1.json": JSON} == SUBPROTOCOLS
    assert [codec.number for codec in (MSGPACK, JSON)] == [0, 1]


@given(st.text(max_size=30))
def test_a_handle_is_48_bits_and_the_same_every_time(room: str) -> None:
    assert 0 <= handle_of(room) < 2**48
    assert handle_of(room) == handle_of(room)


def test_handles_of_known_rooms_stay_what_they_are() -> None:
    """They are on the wire: another function would part clients of two versions."""
    assert handle_of("lobby") == int.from_bytes(blake2b(b"lobby", digest_size=6).digest(), "big")
    assert len({handle_of(f"room-{number}") for number in range(10_000)}) == 10_000
