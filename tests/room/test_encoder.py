"""Shared frames: read by other libraries than ours, each variant built once."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from strategies import WORDS, plainly

from engine.room import encoder
from engine.room.batcher import Collected
from engine.room.encoder import (
    codec_of,
    encode_batch,
    encode_message,
    encode_shared,
    feed_of,
    plain,
    plain_variants,
    translate,
    variant_of,
)
from engine.schema import (
    CODECS,
    JSON,
    MSGPACK,
    Author,
    Codec,
    CommentEvent,
    CustomEvent,
    Gap,
    OmittedEvent,
    Page,
    Pong,
    Snapshot,
)
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


TOTALS = {"peak": 12, "withheld": {"events": 3}, "votes": {"poll:1": (4, 0)}, "reactions": {"🎉": 2}}


def read(data: bytes) -> Any:
    """What a frame says."""
    payload = payload_of(data)
    return json.loads(payload) if is_text(data) else msgpack.unpackb(payload)


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
    frames = encode_batch(99, 3, {0: batch}, (likes, 7), {}, 5, variants)
    assert set(frames) == variants
    time = times[0] if times else 5
    delays = [moment - time for moment in times] if times and times[-1] != time else []
    expected = [34, 99, 3, batch.first, batch.last, time, [plainly(event) for event, _ in said], delays, [likes, 7], {}]
    for variant, data in frames.items():
        assert is_text(data) == (codec_of(variant) is JSON)
        assert read(data) == expected
        if variant == plain(variant):
            assert not data[0] & 0x40


def test_chinese_and_emoji_survive_both_codecs_and_compression() -> None:
    event = CommentEvent(Author("guest-1", "小明", {"勋章": "⭐"}), 1, "太好看了😂👨‍👩‍👧‍👦" * 20)
    frames = encode_batch(1, 1, {0: Collected(1, 1, [MSGPACK.encode(event)], [9])}, (0, 0), TOTALS, 9, ALL)
    for data in frames.values():
        message = read(data)
        assert message[6] == [plainly(event)]
        assert message[9] == plainly(TOTALS)
    assert len(frames[2]) < len(frames[0])
    assert len(frames[3]) < len(frames[1])
    assert frames[2][0] & 0x40
    assert frames[3][0] & 0x40


def test_a_payload_not_worth_deflating_is_one_object_for_both_variants() -> None:
    frames = encode_batch(1, 1, {0: Collected(1, 0, [], [])}, (0, 0), {}, 9, ALL)
    assert frames[0] is frames[2]
    assert frames[1] is frames[3]


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    noise = "".join(chr(0x4E00 + (number * 7919) % 20000) for number in range(60))
    batch = Collected(1, 1, [MSGPACK.encode(CommentEvent(Author("a"), 0, noise))], [9])
    frames = encode_batch(1, 1, {0: batch}, (0, 0), {}, 9, (0, 2))
    assert len(frames[2]) <= len(frames[0])


def test_each_variant_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    deflated: list[bytes] = []

    def counting(payload: bytes) -> bytes:
        deflated.append(payload)
        return deflate(payload)

    monkeypatch.setattr("engine.ws.deflate", counting)
    batch = Collected(1, 1, [MSGPACK.encode(CommentEvent(Author("a"), 0, "x" * 500))], [9])
    encode_batch(1, 1, {0: batch}, (0, 0), {}, 9, [3, 2, 1, 0, 2, 3])
    assert len(deflated) == 2
    deflated.clear()
    assert set(encode_batch(1, 1, {0: batch}, (0, 0), {}, 9, [1])) == {1}
    assert not deflated


def test_several_frames_in_a_row_are_several_messages() -> None:
    data = encode_message(MSGPACK, Pong(1, 2)) + frame(Opcode.TEXT, JSON.encode(Pong(3, 4)))
    assert messages_in(data) == [(False, msgpack.packb([38, 1, 2])), (True, b"[38,3,4]")]


@given(st.sampled_from(CODECS), st.booleans(), st.integers(0, 15))
def test_the_number_of_a_variant_tells_codec_compression_and_feed(codec: Codec, deflate: bool, feed: int) -> None:
    variant = variant_of(codec, deflate, feed)
    assert (codec_of(variant), bool(variant & encoder.DEFLATED), feed_of(variant)) == (codec, deflate, feed)
    assert plain(variant) == variant_of(codec, False, feed)


def test_every_encoding_of_every_feed_has_a_number_of_its_own() -> None:
    numbers = [variant_of(codec, deflate, feed) for feed in range(16) for deflate in (False, True) for codec in CODECS]
    assert sorted(numbers) == list(range(64))
    assert plain_variants(range(16)) == tuple(sorted({plain(number) for number in numbers}))


# -- feeds ------------------------------------------------------------------------------------------------------------


def comment(number: int) -> bytes:
    return MSGPACK.encode(CommentEvent(Author("ann", "小明"), number, "太好看了" * 20))


def omitted(count: int) -> bytes:
    return MSGPACK.encode(OmittedEvent(3, count))


def views_of(whole: Collected) -> dict[int, Collected]:
    """As a feed shows it that hides the second and third of four events; as two feeds show it that hide nothing; and as one
    does that hides everything."""
    one, _, _, four = whole.events
    start, _, _, end = whole.times
    partly = Collected(whole.first, whole.last, [one, omitted(2), four], [start, start + 1, end])
    equal = Collected(whole.first, whole.last, whole.events.copy(), whole.times.copy())
    return {0: whole, 1: partly, 2: equal, 3: Collected(whole.first, whole.last, [omitted(4)], [start])}


WHOLE = Collected(7, 10, [comment(number) for number in range(4)], [50, 51, 55, 59])


@given(st.sets(st.integers(0, 15), min_size=1))
def test_each_feed_gets_its_view_with_the_offsets_of_all(variants: set[int]) -> None:
    views = views_of(WHOLE)
    frames = encode_batch(1, 2, views, (3, 4), TOTALS, 0, variants)
    assert set(frames) == variants
    for variant, data in frames.items():
        view = views[feed_of(variant)]
        delays = [time - 50 for time in view.times] if view.times[-1] != 50 else []
        shown = [msgpack.unpackb(event) for event in view.events]
        assert read(data) == [34, 1, 2, 7, 10, 50, shown, delays, [3, 4], plainly(TOTALS)]


def test_feeds_that_show_the_same_share_their_frames() -> None:
    frames = encode_batch(1, 2, views_of(WHOLE), (3, 4), {}, 0, range(16))
    for encoding in range(4):
        assert frames[encoding] is frames[variant_of(MSGPACK, False, 2) | encoding]
        assert frames[encoding] != frames[variant_of(MSGPACK, False, 1) | encoding]


def test_each_event_is_translated_once_for_a_codec_however_many_feeds_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    translated: list[bytes] = []

    def counting(event: bytes) -> Any:
        translated.append(event)
        return msgpack.unpackb(event)

    monkeypatch.setattr(encoder, "_decode_any", counting)
    encode_batch(1, 2, views_of(WHOLE), (3, 4), {}, 0, range(16))
    assert sorted(translated) == sorted({*WHOLE.events, omitted(2), omitted(4)})


def test_views_that_nobody_wants_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_decode_any", None)
    assert set(encode_batch(1, 2, views_of(WHOLE), (3, 4), {}, 0, (0, 4))) == {0, 4}


# -- messages without offsets of their own ----------------------------------------------------------------------------


def snapshot(*numbers: int) -> Snapshot:
    recent = [(number, 1_000 + number, Raw(comment(number))) for number in numbers]
    state = [("card", "1", {"price": "９９", "left": 3}, 2)]
    return Snapshot(1, "大厅", 2, 9, 1_234, (5, 6), 25_000, {"peak": 7}, state, recent)


@given(st.sets(st.integers(0, 15), min_size=1))
def test_a_snapshot_shows_each_feed_its_last_events_in_every_encoding(variants: set[int]) -> None:
    messages = {0: snapshot(1, 2, 3), 1: snapshot(2), 2: snapshot(1, 2, 3), 3: snapshot()}
    frames = encode_shared(messages, variants)
    assert set(frames) == variants
    for variant, data in frames.items():
        recent = [[number, 1_000 + number, msgpack.unpackb(raw)] for number, _, raw in messages[feed_of(variant)].recent]
        state = [["card", "1", {"price": "９９", "left": 3}, 2]]
        assert read(data) == [33, 1, "大厅", 2, 9, 1_234, [5, 6], 25_000, {"peak": 7}, state, recent]
    for variant in variants:
        if variant < 4 and variant + 8 in variants:
            assert frames[variant] is frames[variant + 8]


def test_a_large_snapshot_is_compressed() -> None:
    frames = encode_shared(snapshot(*range(20)), (0, 2))
    assert frames[2][0] & 0x40
    assert len(frames[2]) < len(frames[0]) / 2


def test_what_every_feed_is_told_alike_is_one_frame() -> None:
    frames = encode_shared(Gap(1, 2, 3, 4, "history"), range(64))
    assert len(frames) == 64
    assert len({id(frame) for frame in frames.values()}) == 2


@given(st.lists(events, max_size=5))
def test_a_private_answer_has_its_events_in_the_viewer_s_codec(said: list[CommentEvent | CustomEvent]) -> None:
    page = Page(1, 2, 3, 4, 3 + len(said), [9] * len(said), [Raw(MSGPACK.encode(event)) for event in said])
    for codec in CODECS:
        expected = [40, 1, 2, 3, 4, 3 + len(said), [9] * len(said), [plainly(event) for event in said]]
        assert read(encode_message(codec, page)) == expected


@given(st.dictionaries(WORDS, WORDS, max_size=3))
def test_translated_events_are_what_a_codec_writes_itself(attributes: dict[str, str]) -> None:
    event = CommentEvent(Author("ann", "小明", attributes), 1, "👨‍👩‍👧")
    for codec in CODECS:
        assert translate(codec, [MSGPACK.encode(event)]) == [Raw(codec.encode(event))]
