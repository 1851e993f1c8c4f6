"""Shared frames: read by other libraries than ours, each variant built once."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.room.batcher import Collected
from engine.room.encoder import encode_batch, encode_message, plain, variant_of
from engine.schema import JSON, MSGPACK, Author, CommentEvent, CustomEvent, Pong
from engine.ws import Opcode, deflate, frame

from .frames import is_text, messages_in, payload_of

ALL = (0, 1, 2, 3)
authors = st.builds(
    Author,
    st.text(min_size=1, max_size=10),
    st.text(max_size=10),
    st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
)
events = st.one_of(
    st.builds(CommentEvent, authors, st.integers(0, 2**53 - 1), st.text(max_size=60)),
    st.builds(CustomEvent, authors, st.integers(0, 2**53 - 1), st.text(min_size=1, max_size=8), st.text(max_size=60)),
)


def plainly(event: CommentEvent | CustomEvent) -> list[Any]:
    """An event as another reader sees it."""
    author = [event.author.id, event.author.name, event.author.attributes]
    if isinstance(event, CommentEvent):
        return [1, author, event.ref, event.body]
    return [2, author, event.ref, event.name, event.body]


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(events, st.integers(0, 500)), max_size=8),
    st.sets(st.sampled_from(ALL), min_size=1),
    st.integers(0, 10**6),
)
def test_every_variant_says_the_same_to_every_reader(
    first: int, said: list[tuple[CommentEvent | CustomEvent, int]], variants: set[int], likes: int
) -> None:
    start = 1_700_000_000_000
    times: list[int] = []
    for _, delay in said:
        times.append((times[-1] if times else start) + delay)
    batch = Collected(first, first + len(said) - 1, [MSGPACK.encode(event) for event, _ in said], times)
    frames = encode_batch(99, 3, batch, (likes, 7), 5, variants)
    assert set(frames) == variants
    time = times[0] if times else 5
    delays = [moment - time for moment in times] if times and times[-1] != time else []
    expected = [34, 99, 3, batch.first, batch.last, time, [plainly(event) for event, _ in said], delays, [likes, 7]]
    for variant, data in frames.items():
        payload = payload_of(data)
        assert is_text(data) == (plain(variant) == JSON.number)
        assert (json.loads(payload) if plain(variant) == JSON.number else msgpack.unpackb(payload)) == expected
        if variant == plain(variant):
            assert not data[0] & 0x40


def test_chinese_and_emoji_survive_both_codecs_and_compression() -> None:
    event = CommentEvent(Author("guest-1", "小明", {"勋章": "⭐"}), 1, "太好看了😂👨‍👩‍👧‍👦" * 20)
    frames = encode_batch(1, 1, Collected(1, 1, [MSGPACK.encode(event)], [9]), (0, 0), 9, ALL)
    for variant, data in frames.items():
        payload = payload_of(data)
        message = json.loads(payload) if plain(variant) == 1 else msgpack.unpackb(payload)
        assert message[6] == [plainly(event)]
    assert len(frames[2]) < len(frames[0])
    assert len(frames[3]) < len(frames[1])
    assert frames[2][0] & 0x40
    assert frames[3][0] & 0x40


def test_a_payload_not_worth_deflating_is_one_object_for_both_variants() -> None:
    frames = encode_batch(1, 1, Collected(1, 0, [], []), (0, 0), 9, ALL)
    assert frames[0] is frames[2]
    assert frames[1] is frames[3]


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    noise = "".join(chr(0x4E00 + (number * 7919) % 20000) for number in range(60))
    frames = encode_batch(1, 1, Collected(1, 1, [MSGPACK.encode(CommentEvent(Author("a"), 0, noise))], [9]), (0, 0), 9, (0, 2))
    assert len(frames[2]) <= len(frames[0])


def test_each_variant_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    deflated: list[bytes] = []

    def counting(payload: bytes) -> bytes:
        deflated.append(payload)
        return deflate(payload)

    monkeypatch.setattr("engine.ws.deflate", counting)
    batch = Collected(1, 1, [MSGPACK.encode(CommentEvent(Author("a"), 0, "x" * 500))], [9])
    encode_batch(1, 1, batch, (0, 0), 9, [3, 2, 1, 0, 2, 3])
    assert len(deflated) == 2
    deflated.clear()
    assert set(encode_batch(1, 1, batch, (0, 0), 9, [1])) == {1}
    assert not deflated


def test_several_frames_in_a_row_are_several_messages() -> None:
    data = encode_message(MSGPACK, Pong(1, 2)) + frame(Opcode.TEXT, JSON.encode(Pong(3, 4)))
    assert messages_in(data) == [(False, msgpack.packb([38, 1, 2])), (True, b"[38,3,4]")]


def test_the_number_of_a_variant_tells_codec_and_compression() -> None:
    assert sorted(variant_of(codec, deflate) for codec in (MSGPACK, JSON) for deflate in (False, True)) == [0, 1, 2, 3]
    assert [plain(variant) for variant in ALL] == [0, 1, 0, 1]
