"""The parts of the lane that know no task: what goes out in which order, when to look, how long things took."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.alarm import Alarm
from engine.ledger.delays import Delays
from engine.ledger.outgoing import Outgoing
from engine.ledger.values import Booked, Entry, Mark

from .lanes import Told


def entry(number: int, room: str = "room") -> Entry:
    return Entry(room, number, b"event", 1)


def mark(number: int, epoch: int = 7) -> Mark:
    return Mark("room", number, epoch, number * 10)


def numbers(entries: list[Entry]) -> list[int]:
    return [each.number for each in entries]


# -- what goes out ----------------------------------------------------------------------------------------------------


def test_what_was_found_comes_before_what_was_booked_after_it() -> None:
    outgoing = Outgoing()
    outgoing.hold([entry(5), entry(6)])
    outgoing.adopt([entry(2), entry(4), entry(5)])
    assert (outgoing.unpublished, outgoing.ready) == (4, 0)
    outgoing.release()
    assert numbers(outgoing.take()) == [2, 4, 5, 6]


def test_a_part_of_what_is_held_can_go_first() -> None:
    outgoing = Outgoing()
    outgoing.hold([entry(5)])
    outgoing.adopt([entry(3), entry(2)])
    outgoing.release([entry(3), entry(2), entry(1)])
    assert numbers(outgoing.take()) == [2, 3]
    outgoing.landed([mark(2), mark(3)])
    outgoing.adopt([entry(4)])
    outgoing.release()
    assert numbers(outgoing.take()) == [4, 5]


def test_what_is_known_is_not_published_again() -> None:
    outgoing = Outgoing()
    outgoing.hold([entry(1), entry(2), entry(3)])
    outgoing.release()
    outgoing.take()
    outgoing.adopt([entry(1), entry(2)])
    outgoing.landed([mark(1), mark(2), mark(3)])
    outgoing.adopt([entry(3)])
    outgoing.release()
    assert not outgoing.take()
    outgoing.recorded(outgoing.marks())
    assert not outgoing.marks_waiting


def test_who_asks_again_is_told_when_the_entry_is_published_or_at_once() -> None:
    outgoing, told = Outgoing(), Told()
    outgoing.hold([entry(1)])
    assert outgoing.ask(Booked(entry(1), 10), told("first")) is None
    assert outgoing.ask(Booked(entry(1), 10, repeated=True), told("second")) is None
    outgoing.release()
    outgoing.take()
    answers = outgoing.landed([mark(1)])
    placed = Entry("room", 1, b"event", 1, 7, 10)
    assert [booked for _, booked in answers] == [Booked(placed, 10), Booked(placed, 10, repeated=True)]
    later = Booked(entry(1), 10, repeated=True)
    assert outgoing.ask(later, told("third")) == Booked(placed, 10, repeated=True)
    recorded = Booked(placed, 10, repeated=True)
    assert outgoing.ask(recorded, told("fourth")) is recorded
    assert not outgoing.abandon()


def test_a_position_of_another_epoch_that_came_meanwhile_is_kept() -> None:
    outgoing = Outgoing()
    outgoing.mark([mark(1)])
    recording = outgoing.marks()
    outgoing.mark([mark(1, epoch=8)])
    outgoing.recorded(recording)
    assert outgoing.marks() == [mark(1, epoch=8)]


# -- when to look -----------------------------------------------------------------------------------------------------


def test_the_first_look_is_due_at_once_and_the_next_at_the_deadline() -> None:
    alarm = Alarm(shared=False)
    assert alarm.next(100, 5_000) <= 100
    alarm.looked(100, 9_000)
    assert alarm.next(100, 5_000) == 104
    alarm.expect(12_000)
    assert alarm.next(101, 6_000) == 104
    alarm.expect(7_000)
    assert alarm.next(101, 6_000) == 102
    alarm.looked(102, None)
    assert alarm.next(102, 7_000) == math.inf


def test_looks_are_not_crowded_and_naps_not_long() -> None:
    alarm = Alarm(shared=False)
    alarm.looked(100, 5_000)
    assert 100 < alarm.next(100, 5_000) <= 100.1
    alarm.looked(100, 10**9)
    # The clock of deadlines jumps ahead; that is seen within a minute.
    assert alarm.next(100, 5_000) == 160
    assert alarm.next(160, 10**9) == 160


def test_where_others_book_there_is_always_a_next_look() -> None:
    alarm = Alarm(shared=True)
    alarm.looked(100, None)
    assert 100 < alarm.next(100, 5_000) <= 103


# -- how long it took -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**8), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_at_most_an_eighth_too_large(microseconds: list[int], share: float) -> None:
    delays = Delays()
    for each in microseconds:
        delays.add(each / 1_000_000)
    wanted = sorted(microseconds)[math.ceil(share * len(microseconds)) - 1] / 1000
    # A microsecond may be lost on the way through seconds.
    assert wanted - 0.002 <= delays.quantile_ms(share) <= wanted * 1.125 + 0.001
    assert delays.max_ms * 1000 - max(microseconds) < 0.01
    assert delays.count == len(microseconds)


def test_nothing_took_no_time() -> None:
    delays = Delays()
    assert (delays.mean_ms, delays.quantile_ms(0.99), delays.max_ms) == (0, 0, 0)
    delays.add(-1)
    delays.add(0.002)
    assert (delays.mean_ms, delays.max_ms) == (1, 2)
