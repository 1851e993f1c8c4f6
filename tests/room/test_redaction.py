"""Redaction: a batch without what is gone, whatever its codec and size; everything else in it stays as it was."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.room.redaction import compress, redact
from engine.schema import JSON, MONEY, MSGPACK, Codec, OmittedReason
from engine.ws import Opcode, frame

from .frames import messages_in

DELETED = int(OmittedReason.DELETED)
BOTH = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])


def encoded(codec: Codec, message: list[Any]) -> bytes:
    """A frame as anybody would write it: not with our encoder."""
    if codec is JSON:
        return frame(Opcode.TEXT, json.dumps(message).encode())
    return frame(Opcode.BINARY, msgpack.packb(message))


def decoded(codec: Codec, frames: bytes) -> list[Any]:
    messages = messages_in(frames)
    assert all(text is codec.text for text, _ in messages)
    return [json.loads(payload) if codec is JSON else msgpack.unpackb(payload) for _, payload in messages]


def batch(first: int, events: list[Any], epoch: int = 5, last: int | None = None, *more: Any) -> list[Any]:
    last = first + len(events) - 1 if last is None else last
    return [34, 7, epoch, first, last, 1000, events, list(range(len(events))), [3, 4], {"rate": 2.5}, *more]


def comment(text: str) -> list[Any]:
    return [1, ["guest-1", "阿明", {"a": "b"}], 9, text]


stretches = st.lists(st.integers(1, 60), unique=True, max_size=12).map(sorted)


def paired(offsets: list[int]) -> list[int]:
    """Single offsets as first and last of stretches."""
    stretches: list[int] = []
    for offset in offsets:
        if stretches and stretches[-1] == offset - 1:
            stretches[-1] = offset
        else:
            stretches += [offset, offset]
    return stretches


@BOTH
@given(
    first=st.integers(1, 40),
    sizes=st.lists(st.one_of(st.none(), st.integers(1, 5)), max_size=12),
    gone=stretches,
    size=st.sampled_from((3, 300, 70_000)),
)
def test_a_batch_is_as_a_list_of_its_events_with_tombstones(
    codec: Codec, first: int, sizes: list[int | None], gone: list[int], size: int
) -> None:
    """A size is that of an omission; None is a comment."""
    events: list[Any] = []
    expected: list[Any] = []
    offset = first
    for index, count in enumerate(sizes):
        event = [0, 3, count] if count is not None else comment(f"{index}" * (size if index < 2 else 1))
        events.append(event)
        expected.append([0, DELETED, 1] if count is None and offset in gone else event)
        offset += count or 1
    message = batch(first, events, last=offset - 1)
    found = decoded(codec, redact(encoded(codec, message), codec, 5, paired(gone), DELETED))
    message[6] = expected
    assert found == [message]


@BOTH
def test_elements_of_later_versions_stay(codec: Codec) -> None:
    message = batch(1, [[99, "what", {"is": [1, 2.5, None]}, "this"], comment("gone"), comment("stays")], 5, 3, "more", [True])
    found = decoded(codec, redact(encoded(codec, message), codec, 5, [2, 2], DELETED))
    message[6][1] = [0, DELETED, 1]
    assert found == [message]


@BOTH
def test_another_epoch_and_other_messages_are_left_alone(codec: Codec) -> None:
    messages = [batch(1, [comment("a")], epoch=4), [36, 7, 4, 2, 0, "epoch"], [99, "unknown"]]
    frames = b"".join(encoded(codec, message) for message in messages)
    assert decoded(codec, redact(frames, codec, 5, [1, 9], DELETED)) == messages


@BOTH
def test_a_snapshot_shows_nothing_that_is_gone(codec: Codec) -> None:
    recent = [[offset, 1000 + offset, comment(f"{offset}")] for offset in (3, 5, 6, 9)]
    snapshot = [33, 7, "room", 5, 9, 1, [1, 2], 25_000, {"peak": 3}, [["pin", "", {"offset": 5}, 1]], recent, "more"]
    frames = encoded(codec, [36, 7, 4, 12, 0, "epoch"]) + encoded(codec, snapshot)
    gap, found = decoded(codec, redact(frames, codec, 5, [4, 5, 9, 9], DELETED))
    assert gap == [36, 7, 4, 12, 0, "epoch"]
    assert found == [*snapshot[:10], [recent[0], recent[2]], "more"]
    short = snapshot[:8]
    assert decoded(codec, redact(encoded(codec, short), codec, 5, [4, 5], DELETED)) == [short]


@BOTH
def test_money_stays_whoever_wants_it_gone(codec: Codec) -> None:
    author = ["guest-1", "阿明", {"a": "b"}]
    money: list[list[Any]] = [[kind, author, 100 + kind, 1, 2, 3] for kind in MONEY]
    events = [comment("a"), *money, comment("b")]
    message = batch(1, events)
    snapshot = [33, 7, "room", 5, 8, 1, [1, 2], 25_000, {}, [], [[at, 1000, event] for at, event in enumerate(events, 1)]]
    frames = encoded(codec, message) + encoded(codec, snapshot)
    shown, found = decoded(codec, redact(frames, codec, 5, [1, 8], DELETED))
    assert shown[6] == [[0, DELETED, 1], *money, [0, DELETED, 1]]
    assert [event for _, _, event in found[10]] == money


@BOTH
def test_what_was_redacted_once_stays_so(codec: Codec) -> None:
    frames = encoded(codec, batch(1, [comment("a"), comment("b")]))
    once = redact(frames, codec, 5, [1, 1], DELETED)
    assert redact(once, codec, 5, [1, 1], int(OmittedReason.EXPIRED)) == once
    twice = decoded(codec, redact(once, codec, 5, [1, 2], int(OmittedReason.EXPIRED)))
    assert twice == [batch(1, [[0, DELETED, 1], [0, OmittedReason.EXPIRED, 1]])]


@BOTH
def test_compressed_frames_say_the_same_and_are_never_larger(codec: Codec) -> None:
    frames = encoded(codec, [36, 7, 4, 12, 0, "epoch"]) + encoded(codec, batch(1, [comment("always the same " * 50)]))
    packed = compress(frames)
    assert decoded(codec, packed) == decoded(codec, frames)
    assert len(packed) < len(frames)
    short = encoded(codec, [38, 1, 2])
    assert compress(short) is short
