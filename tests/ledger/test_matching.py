"""Ledger and stream, side by side: what is missing, doubled, changed or foreign is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.faults import Faults
from engine.ledger.matching import Happening, Kept, Matched, Recorded, match
from engine.schema import EventKind, OmittedReason

ROOM, EPOCH = "大厅", 7


def gift(entry: int, amount: int = 10) -> list[Any]:
    return [EventKind.GIFT, ["u1", "", {}], entry, 1, "rose", 1, amount, "", entry, 1, 5000, amount]


def comment(offset: int) -> Happening:
    return Happening(offset, offset, [EventKind.COMMENT, ["u1"], 1, "你好"])


def at(offset: int, event: list[Any]) -> Happening:
    return Happening(offset, offset, event)


class Book:
    """A ledger in memory, by entry."""

    def __init__(self, *entries: Kept) -> None:
        self._entries = {each.number: each for each in entries}

    def count(self, room: str) -> int:
        return max(self._entries, default=0)

    def entries(self, room: str, numbers: Sequence[int]) -> list[Kept]:
        return [self._entries[number] for number in set(numbers) & self._entries.keys()]

    def published(self, room: str, epoch: int, first: int, last: int) -> Iterator[Kept]:
        found = [each for each in self._entries.values() if each.epoch == epoch and first <= each.offset <= last]
        return iter(sorted(found, key=lambda each: each.offset))


def kept(number: int, offset: int, *, epoch: int = EPOCH, amount: int = 10) -> Kept:
    return Kept(number, EventKind.GIFT, amount, msgspec.msgpack.encode(gift(number, amount)), epoch, offset)


def compared(book: Book, *happenings: Happening, first: int = 1) -> tuple[Matched, list[str]]:
    faults = Faults()
    matched = match(book, Recorded(ROOM, EPOCH, first, happenings), faults)
    assert faults.count == len(faults.first)
    return matched, [str(each) for each in faults.first]


def test_what_is_the_same_on_both_sides_has_no_fault() -> None:
    book = Book(kept(1, 2), kept(2, 3), kept(3, 5))
    matched, faults = compared(book, comment(1), at(2, gift(1)), at(3, gift(2)), comment(4), at(5, gift(3)), comment(6))
    assert (matched, faults) == (Matched(3, 0), [])


def test_nothing_and_nothing_are_the_same() -> None:
    assert compared(Book()) == (Matched(0, 0), [])


@pytest.mark.parametrize(
    ("happenings", "fault"),
    [
        ([comment(1), comment(2), at(3, gift(2))], "entry 1: is not in the stream, where the ledger has it at offset 2"),
        ([comment(1), Happening(2, 2, [0, OmittedReason.DELETED, 1]), at(3, gift(2))], "entry 1: is not in the stream"),
        ([at(2, gift(1)), at(3, gift(2)), at(4, gift(2))], "entry 2: is in the stream more than once, again at offset 4"),
        ([at(2, gift(1)), at(3, gift(2)), at(4, gift(3))], "entry 3: is at offset 4 of the stream, and not in the ledger"),
        ([at(2, gift(1)), at(3, gift(2)), at(4, gift(10**15))], "and not in the ledger"),
        ([at(2, gift(1)), at(3, gift(2, 11))], "entry 2: is another event at offset 3"),
        ([at(2, gift(1)), at(4, gift(2))], "entry 2: is at offset 4 of the stream, the ledger has it at 3"),
        ([at(1, gift(1)), at(3, gift(2))], "entry 1: is at offset 1 of the stream, the ledger has it at 2"),
        ([at(2, gift(1)), at(3, gift(2)), at(4, [EventKind.GIFT, ["u1"]])], "at offset 4 of the stream names no entry"),
        ([at(2, gift(1)), at(3, gift(2)), at(4, [EventKind.GIFT, ["u1"], "2"])], "names no entry"),
    ],
)
def test_what_differs_is_one_fault(happenings: list[Happening], fault: str) -> None:
    _, faults = compared(Book(kept(1, 2), kept(2, 3)), *happenings)
    assert len(faults) == 1
    assert fault in faults[0]


def test_only_the_recorded_range_is_asked_for() -> None:
    book = Book(kept(1, 2), kept(2, 9), kept(3, 40), kept(4, 10, epoch=6))
    assert compared(book, comment(8), at(9, gift(2)), first=8) == (Matched(1, 0), [])


def test_what_the_recorder_was_not_given_is_not_missing() -> None:
    book = Book(kept(1, 2), kept(2, 5), kept(3, 6))
    assert compared(book, comment(1), Happening(2, 5, None), at(6, gift(3))) == (Matched(1, 0), [])


def test_what_came_again_elsewhere_is_no_fault() -> None:
    # Published again in a later epoch; published but not yet written down; known, and shown before where it was first.
    book = Book(kept(1, 90, epoch=8), kept(2, 0, epoch=0), kept(3, 6))
    known = Happening(6, 6, [0, OmittedReason.KNOWN, 1])
    assert compared(book, at(3, gift(1)), at(4, gift(2)), at(5, gift(3)), known) == (Matched(3, 1), [])


def test_of_what_is_not_kept_any_more_the_amount_is_the_same() -> None:
    book = Book(Kept(1, EventKind.GIFT, 10, b"", EPOCH, 2))
    assert compared(book, at(2, gift(1))) == (Matched(1, 0), [])
    for other in (gift(1, 11), [EventKind.SHARE, *gift(1)[1:]], gift(1)[:5]):
        assert "another event" in compared(book, at(2, other))[1][0]


def test_whoever_was_erased_may_have_been_shown() -> None:
    event = [EventKind.GIFT, ["erased-00", "", {}], *gift(1)[2:]]
    book = Book(Kept(1, EventKind.GIFT, 10, msgspec.msgpack.encode(event), EPOCH, 2))
    assert compared(book, at(2, gift(1))) == (Matched(1, 0), [])
    assert "another event" in compared(book, at(2, gift(1, 11)))[1][0]


def test_an_entry_that_cannot_be_read_differs() -> None:
    _, faults = compared(Book(Kept(1, EventKind.GIFT, 10, b"\xc1", EPOCH, 2)), at(2, gift(1)))
    assert "another event" in faults[0]


def test_all_faults_are_counted_and_the_first_described() -> None:
    faults = Faults(described=3)
    match(Book(), Recorded(ROOM, EPOCH, 1, [at(offset, gift(offset)) for offset in range(1, 1_200)]), faults)
    assert (faults.count, len(faults.first)) == (1_199, 3)


@given(st.data(), st.integers(1, 40))
def test_any_single_change_to_a_stream_is_found(data: st.DataObject, count: int) -> None:
    offsets = sorted(data.draw(st.sets(st.integers(1, 200), min_size=count, max_size=count)))
    book = Book(*(kept(number, offset) for number, offset in enumerate(offsets, 1)))
    stream = [at(offset, gift(number)) for number, offset in enumerate(offsets, 1)]
    end = comment(201)
    assert compared(book, *stream, end) == (Matched(count, 0), [])
    index = data.draw(st.integers(0, count - 1))
    offset, number = offsets[index], index + 1
    changed = data.draw(st.sampled_from(("lost", "another", "foreign", "doubled")))
    if changed == "lost":
        stream[index] = comment(offset)
    elif changed == "another":
        stream[index] = at(offset, gift(number, 11))
    elif changed == "foreign":
        stream.append(at(201, gift(count + 1)))
    else:
        stream.append(at(201, gift(number)))
    assert compared(book, *stream, comment(202))[1]
