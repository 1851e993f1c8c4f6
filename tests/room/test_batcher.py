"""The batcher: every event out once, in order, at the tick; large heaps are split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.base import Events
from engine.room.batcher import Batcher, Collected, tick_seconds
from engine.schema import MSGPACK, Author, CommentEvent, ShareEvent
from engine.settings import RoomSettings

LIMIT = 1024
SETTINGS = RoomSettings(batch_bytes=LIMIT)


def events(first: int, bodies: list[bytes], time: int = 1) -> Events:
    return Events("room", 1, first, bodies, [time] * len(bodies))


def drain(batcher: Batcher, now: float) -> list[Collected]:
    batches = []
    while (batch := batcher.take(now)) is not None:
        batches.append(batch)
    return batches


@given(
    st.integers(0, 100),
    st.lists(
        st.one_of(
            st.just("take"),
            st.just("drain"),
            st.lists(st.binary(max_size=20) | st.integers(0, 1500).map(bytes), min_size=1, max_size=5),
        )
    ),
)
def test_every_event_comes_out_once_in_order_and_within_the_limit(head: int, steps: list[str | list[bytes]]) -> None:
    batcher = Batcher(head, SETTINGS)
    put: list[bytes] = []
    got: list[Collected] = []
    for number, step in enumerate(steps):
        if isinstance(step, list):
            batcher.add(events(head + len(put) + 1, step, number), float(number), 0.5)
            put += step
        elif step == "take":
            batch = batcher.take(float(number))
            got += [batch] if batch is not None else []
        else:
            got += drain(batcher, float(number))
        waiting = head + len(put) - (got[-1].last if got else head)
        assert len(batcher) == waiting
        assert batcher.last == head + len(put)
        assert (batcher.due is None) == (not waiting)
    got += drain(batcher, 99.0)
    assert batcher.take(99.0) is None
    assert [event for batch in got for event in batch.events] == put
    offset = head
    times = [time for batch in got for time in batch.times]
    assert times == sorted(times)
    for batch in got:
        assert batch.first == offset + 1
        assert batch.last - batch.first + 1 == len(batch.events) == len(batch.times) > 0
        assert len(batch.events) == 1 or sum(map(len, batch.events)) <= LIMIT
        offset = batch.last


def test_the_first_event_after_silence_sets_the_tick_and_later_ones_do_not_move_it() -> None:
    batcher = Batcher(0, SETTINGS)
    batcher.add(events(1, [b"a"]), 10.0, 0.5)
    assert batcher.due == 10.5
    batcher.add(events(2, [b"b"]), 10.4, 0.1)
    assert batcher.due == 10.5
    assert drain(batcher, 10.5)
    batcher.add(events(3, [b"c"]), 20.0, 0.25)
    assert batcher.due == 20.25


def test_a_full_batch_is_due_at_once_and_so_is_what_exceeds_it() -> None:
    batcher = Batcher(0, SETTINGS)
    batcher.add(events(1, [bytes(LIMIT)]), 10.0, 0.5)
    assert batcher.due == 10.0
    batcher.add(events(2, [b"x"]), 11.0, 0.5)
    assert batcher.due == 10.0
    first = batcher.take(12.0)
    assert first is not None
    assert (first.first, first.last) == (1, 1)
    assert batcher.due == 12.0


def test_an_event_larger_than_a_batch_goes_alone() -> None:
    batcher = Batcher(0, SETTINGS)
    batcher.add(events(1, [b"a", bytes(2 * LIMIT), b"b"]), 0.0, 0.5)
    assert [(batch.first, batch.last) for batch in drain(batcher, 0.0)] == [(1, 1), (2, 2), (3, 3)]


def test_what_waits_can_be_replaced_but_for_money() -> None:
    batcher = Batcher(5, SETTINGS)
    comment, share = MSGPACK.encode(CommentEvent(Author("ann"), 1, "x")), MSGPACK.encode(ShareEvent(Author("ann"), 5, 4, 1, 20))
    batcher.add(events(6, [comment, share, comment]), 0.0, 0.5)
    for offset in (5, 6, 7, 9):
        batcher.replace(offset, b"\x93\x00\x01\x01")
    batch = batcher.take(1.0)
    assert batch is not None
    assert batch.events == [b"\x93\x00\x01\x01", share, comment]


def test_events_that_do_not_join_are_refused_and_nothing_is_taken() -> None:
    batcher = Batcher(5, SETTINGS)
    for first in (5, 7):
        with pytest.raises(ValueError, match="expected 6"):
            batcher.add(events(first, [b"x"]), 0.0, 0.5)
    assert batcher.take(1.0) is None


def test_a_hole_is_skipped_only_while_nothing_waits() -> None:
    batcher = Batcher(0, SETTINGS)
    batcher.skip(8)
    assert batcher.last == 7
    batcher.add(events(8, [b"x"]), 0.0, 0.5)
    with pytest.raises(ValueError, match="waiting"):
        batcher.skip(20)


@given(st.integers(0, 1_000_000), st.floats(0, 1e-3))
def test_the_tick_is_what_the_fanout_takes_over_its_share_within_the_bounds(viewers: int, seconds: float) -> None:
    settings = RoomSettings(fanout_share=0.5, tick_grid_seconds=0.01, tick_max_seconds=1.0)
    tick = tick_seconds(viewers, seconds, settings)
    assert 0.001 <= tick <= 1.0
    if 0.001 < tick < 1.0:
        assert tick * 0.5 == pytest.approx(viewers * seconds)


def test_the_tick_of_known_rooms() -> None:
    settings = RoomSettings(fanout_share=0.5, tick_grid_seconds=0.01, tick_max_seconds=1.0)
    assert tick_seconds(0, 1e-5, settings) == 0.001
    assert tick_seconds(10_000, 1e-5, settings) == pytest.approx(0.2)
    assert tick_seconds(200_000, 1e-5, settings) == 1.0
