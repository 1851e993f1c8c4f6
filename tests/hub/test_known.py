"""Each entry of a room's ledger is new once, in whatever order they come; and which events have one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from engine.hub.known import Known, entry_of
from engine.schema import (
    MSGPACK,
    Author,
    ComboEvent,
    CommentEvent,
    CorrectionEvent,
    CustomEvent,
    EventKind,
    GiftEvent,
    HeldEvent,
    ModeratedEvent,
    NoticeEvent,
    OmittedEvent,
    PacketEndEvent,
    PacketEvent,
    PresenceEvent,
    RankedAuthor,
    ShareEvent,
    StateEvent,
)

ANN = Author("ann", "安", {"badge": "7"})
BOB = RankedAuthor("bob", "Bob", {}, "host", 3)
OTHERS: list[Any] = [
    OmittedEvent(1, 3),
    CommentEvent(ANN, 9, "hello"),
    CustomEvent(BOB, 9, "name", "body"),
    StateEvent(BOB, 9, "pin", "1", None, 4),
    NoticeEvent(BOB, 9, "body", True),
    ModeratedEvent(BOB, "delete", "ann", [1, 2]),
    HeldEvent(ANN, "s", 9, Raw(b"\x90")),
    PresenceEvent(BOB, True),
]


def money(entry: int) -> list[Any]:
    return [
        GiftEvent(ANN, entry, 9, "rose", 1, 10, "", entry, 1, 5_000, 10),
        ComboEvent(BOB, entry, 5, "rose", "", 2, 20),
        CorrectionEvent(ANN, entry, 5, "bob", -10, 0, "refund"),
        PacketEvent(BOB, entry, 9, 100, 5, "random", 0, 1, False, "发财", "", "c0ffee"),
        ShareEvent(ANN, entry, 5, 1, 20),
        PacketEndEvent(BOB, entry, 5, "emptied", 5, 0, "5eed"),
    ]


@given(st.lists(st.integers(1, 40)))
def test_an_entry_is_new_the_first_time_in_whatever_order_they_come(entries: list[int]) -> None:
    known = Known()
    shown: set[int] = set()
    for entry in entries:
        assert known.new(entry) is (entry not in shown)
        shown.add(entry)
        assert [each for each in range(45) if each in known] == sorted(shown)
        assert len(known) == sum(1 for each in shown if each - 1 not in shown)


@given(st.integers(1, 2**50), st.permutations(range(60)), st.integers(0, 59))
def test_a_room_that_is_opened_in_its_midst_swallows_nothing(first: int, order: list[int], late: int) -> None:
    known = Known()
    assert all(known.new(first + each) for each in order if each != late)
    assert known.new(first + late)
    assert not any(known.new(first + each) for each in order)
    assert len(known) == 1


def test_a_million_entries_in_order_are_one_run() -> None:
    known = Known()
    assert all(map(known.new, range(7, 100_007)))
    assert len(known) == 1
    assert [each in known for each in (6, 7, 100_006, 100_007)] == [False, True, True, False]


@given(st.integers(1, 5), st.lists(st.integers(1, 60)))
def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten(runs: int, entries: list[int]) -> None:
    known = Known(runs)
    shown: set[int] = set()
    for entry in entries:
        assert known.new(entry) is (entry not in shown)
        shown.add(entry)
        starts = sorted(each for each in shown if each - 1 not in shown)
        if len(starts) > runs:
            shown = {each for each in shown if each >= starts[-runs]}
        assert len(known) == min(len(starts), runs)
        assert {each for each in range(62) if each in known} == shown


@pytest.mark.parametrize("entry", [1, 127, 128, 65_536, 2**53 - 1])
def test_every_event_about_money_has_its_entry(entry: int) -> None:
    events = money(entry)
    assert [MSGPACK.encode(event)[1] for event in events] == [*range(EventKind.GIFT, EventKind.PACKET_END + 1)]
    assert [entry_of(MSGPACK.encode(event)) for event in events] == [entry] * len(events)


def test_no_other_event_has_one() -> None:
    assert [MSGPACK.encode(event)[1] for event in OTHERS] == [*range(EventKind.GIFT)]
    assert [entry_of(MSGPACK.encode(event)) for event in OTHERS] == [None] * len(OTHERS)
    # A kind of tomorrow.
    assert entry_of(b"\x93\x0e\x90\x01") is None


@pytest.mark.parametrize("event", [b"", b"\x90", b"\x91\x08", b"\x93\x08\x90\xa1x", b"\x93\x08\x90\xc0", b"\x93\x08\x90"])
def test_what_cannot_be_read_has_none(event: bytes) -> None:
    assert entry_of(event) is None


@given(st.integers(EventKind.GIFT, EventKind.PACKET_END), st.binary(max_size=12))
def test_whatever_stands_in_the_stream_does_not_stop_it(kind: int, rest: bytes) -> None:
    entry = entry_of(bytes([0x93, kind]) + rest)
    assert entry is None or isinstance(entry, int)
