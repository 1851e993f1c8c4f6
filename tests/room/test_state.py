"""What newcomers get: one shared snapshot until something changes, and counters that do not run backwards."""

from __future__ import annotations

import json

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.base import Position, Totals
from engine.room.encoder import PLAIN_VARIANTS
from engine.room.state import RoomState
from engine.schema import handle_of

from .frames import payload_of


def test_a_snapshot_is_the_same_object_until_something_changes() -> None:
    state = RoomState("大厅")
    first = state.snapshot(Position(3, 9), 1000, 25_000, PLAIN_VARIANTS)
    assert state.snapshot(Position(3, 9), 2000, 25_000, PLAIN_VARIANTS) is first
    moved = state.snapshot(Position(3, 10), 2000, 25_000, PLAIN_VARIANTS)
    assert moved is not first
    assert moved[0] != first[0]
    state.update(Totals("大厅", 5, 2))
    counted = state.snapshot(Position(3, 10), 2000, 25_000, PLAIN_VARIANTS)
    assert counted is not moved
    state.update(Totals("大厅", 5, 2))
    assert state.snapshot(Position(3, 10), 2000, 25_000, PLAIN_VARIANTS) is counted
    assert state.snapshot(Position(4, 10), 2000, 25_000, PLAIN_VARIANTS) is not counted


def test_a_snapshot_says_in_both_codecs_where_the_room_stands() -> None:
    state = RoomState("大厅🎉")
    state.update(Totals("大厅🎉", 7, 3))
    frames = state.snapshot(Position(2, 9), 1234, 25_000, PLAIN_VARIANTS)
    expected = [33, handle_of("大厅🎉"), "大厅🎉", 2, 9, 1234, [7, 3], 25_000]
    assert msgpack.unpackb(payload_of(frames[0])) == expected
    assert json.loads(payload_of(frames[1])) == expected


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100))))
def test_likes_never_go_down_and_viewers_are_the_last_ones(totals: list[tuple[int, int]]) -> None:
    state = RoomState("room")
    likes = 0
    for new, viewers in totals:
        state.update(Totals("room", new, viewers))
        likes = max(likes, new)
        assert state.counters == (likes, viewers)
        assert state.changed == (state.counters != (0, 0))
    state.announced = state.counters
    assert not state.changed


def test_a_gap_names_the_range_and_the_reason() -> None:
    frames = RoomState("room").gap(2, 5, 9, "history", PLAIN_VARIANTS)
    expected = [36, handle_of("room"), 2, 5, 9, "history"]
    assert msgpack.unpackb(payload_of(frames[0])) == expected
    assert json.loads(payload_of(frames[1])) == expected
