"""The sequencer: however deliveries are cut, repeated and shuffled, what comes out is the list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.base import Events, Position
from engine.room.sequencer import EpochChanged, Sequencer

EPOCH = 4


def body(offset: int) -> bytes:
    return b"event %d" % offset


def piece(first: int, last: int, epoch: int = EPOCH) -> Events:
    offsets = range(first, last + 1)
    return Events("room", epoch, first, [body(offset) for offset in offsets], [1000 + offset for offset in offsets])


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, int]]]:
    """Head, last offset, and pieces that cover everything in between, with repeats and overlaps, in any order."""
    head = draw(st.integers(0, 50))
    count = draw(st.integers(1, 40))
    cuts = sorted(draw(st.sets(st.integers(1, count), max_size=10)) | {count})
    starts = [0, *cuts[:-1]]
    pieces = [(head + start + 1, head + end) for start, end in zip(starts, cuts, strict=True)]
    extra = draw(st.lists(st.tuples(st.integers(1, head + count), st.integers(1, 8)), max_size=6))
    pieces += [(first, min(first + size - 1, head + count)) for first, size in extra]
    return head, head + count, draw(st.permutations(pieces))


@given(deliveries())
def test_any_cut_any_repeat_and_any_order_give_the_list(case: tuple[int, int, list[tuple[int, int]]]) -> None:
    head, end, pieces = case
    sequencer = Sequencer(Position(EPOCH, head))
    out: list[Events] = []
    arrived: set[int] = set()
    for first, last in pieces:
        ready = sequencer.accept(piece(first, last))
        out += ready
        arrived |= set(range(first, last + 1))
        contiguous = head
        while contiguous + 1 in arrived:
            contiguous += 1
        assert sequencer.head == contiguous
        later = [offset for offset in arrived if offset > contiguous]
        assert sequencer.missing == ((contiguous + 1, min(later) - 1) if later else None)
    offset = head
    for events in out:
        assert events.first == offset + 1
        assert events.events
        assert events.events == [body(number) for number in range(events.first, events.last + 1)]
        assert events.times == [1000 + number for number in range(events.first, events.last + 1)]
        offset = events.last
    assert offset == sequencer.head == end


def test_what_is_missing_is_the_earliest_hole() -> None:
    sequencer = Sequencer(Position(EPOCH, 10))
    assert sequencer.accept(piece(20, 22)) == []
    assert sequencer.missing == (11, 19)
    assert sequencer.accept(piece(15, 16)) == []
    assert sequencer.missing == (11, 14)
    assert [events.last for events in sequencer.accept(piece(11, 14))] == [14, 16]
    assert sequencer.missing == (17, 19)
    assert [events.last for events in sequencer.accept(piece(17, 19))] == [19, 22]
    assert sequencer.missing is None


def test_giving_up_goes_on_behind_the_hole() -> None:
    sequencer = Sequencer(Position(EPOCH, 10))
    sequencer.accept(piece(15, 16))
    sequencer.accept(piece(20, 20))
    sequencer.give_up(15)
    assert sequencer.head == 14
    ready = sequencer.accept(Events("room", EPOCH, 15, [], []))
    assert [(events.first, events.last) for events in ready] == [(15, 16)]
    assert sequencer.missing == (17, 19)


def test_giving_up_never_goes_back() -> None:
    sequencer = Sequencer(Position(EPOCH, 10))
    sequencer.give_up(5)
    assert sequencer.head == 10


@given(st.integers(1, 20), st.integers(0, 20))
def test_another_epoch_is_told_and_nothing_of_it_is_taken(epoch: int, first: int) -> None:
    sequencer = Sequencer(Position(EPOCH, 10))
    sequencer.accept(piece(13, 14))
    if epoch != EPOCH:
        with pytest.raises(EpochChanged):
            sequencer.accept(piece(first, first + 3, epoch))
    assert (sequencer.epoch, sequencer.head, sequencer.missing) == (EPOCH, 10, (11, 12))


def test_events_of_nothing_change_nothing() -> None:
    sequencer = Sequencer(Position(EPOCH, 10))
    assert sequencer.accept(piece(11, 10)) == []
    assert sequencer.accept(piece(3, 2)) == []
    assert (sequencer.head, sequencer.missing) == (10, None)
