"""Recordings: what is written is read again, faults name their line, and what is said again refers to what was said again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.client.reading import read_event
from engine.recording import Entry, Header, Malformed, Missing, Renumbering, line_of, read
from engine.schema import EventKind

HEADER = Header(room="大厅", epoch=7, first=1, last=9, exported_at=1_700_000_000_000)
AUTHOR = ["u1", "小明", {"flag": "🇳🇱"}, "host", 3]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(0, 2**53 - 1)
authors = st.tuples(texts, texts).map(list) | st.just(AUTHOR)
values = st.none() | st.dictionaries(texts, st.none() | texts | numbers | st.lists(numbers, max_size=2), max_size=3)


def events() -> st.SearchStrategy[list[Any]]:
    """Every kind of event, as JSON has it, with elements of tomorrow."""
    pairs = st.lists(st.tuples(numbers, numbers).map(sorted), max_size=3).map(
        lambda found: [at for pair in found for at in pair]
    )
    kinds = [
        st.tuples(st.just(0), st.integers(1, 3), st.integers(1, 5)),
        st.tuples(st.just(1), authors, numbers, texts),
        st.tuples(st.just(1), authors, numbers, texts, numbers, st.lists(texts, max_size=2), numbers),
        st.tuples(st.just(2), authors, numbers, texts, texts),
        st.tuples(
            st.just(3),
            authors,
            numbers,
            st.sampled_from(["pin", "poll", "card", "notice"]),
            texts | st.just("3"),
            values,
            numbers,
        ),
        st.tuples(st.just(4), authors, numbers, texts, st.booleans()),
        st.tuples(st.just(5), authors, texts, texts, pairs, numbers, texts, st.just("of tomorrow")),
        st.tuples(st.just(6), authors, texts, numbers, st.just([1, ["u1"], 0, "held"]), texts),
        st.tuples(st.just(7), authors, st.booleans()),
        st.tuples(st.integers(14, 99), values),
    ]
    return st.one_of(*kinds).map(list)


@st.composite
def recordings(draw: st.DrawFn) -> list[Entry | Missing]:
    things: list[Entry | Missing] = []
    offset = time = 0
    for _ in range(draw(st.integers(0, 8))):
        offset += draw(st.integers(1, 3))
        time += draw(st.integers(0, 1000))
        if draw(st.integers(0, 9)):
            thing: Entry | Missing = Entry(offset, time, draw(events()))
        else:
            thing = Missing(offset, offset + draw(st.integers(0, 5)), "lag")
        things.append(thing)
        offset = thing.last
    return things


@given(recordings())
def test_what_is_written_is_read_again(things: list[Entry | Missing]) -> None:
    lines = [line_of(HEADER), *map(line_of, things)]
    assert all(line.endswith(b"\n") and b"\n" not in line[:-1] for line in lines)
    header, rest = read(b"".join(lines).splitlines(keepends=True))
    assert (header, list(rest)) == (HEADER, things)


@given(recordings(), st.data())
def test_a_line_that_is_damaged_is_named_or_still_is_one(things: list[Entry | Missing], data: st.DataObject) -> None:
    lines = [line_of(HEADER), *map(line_of, things)]
    at = data.draw(st.integers(0, len(lines) - 1))
    cut = data.draw(st.integers(0, len(lines[at]) - 2))
    lines[at] = lines[at][:cut] + data.draw(st.binary(max_size=2).filter(lambda found: b"\n" not in found)) + b"\n"
    fault = ""
    try:
        list(read(lines)[1])
    except Malformed as error:
        fault = str(error)
    assert not fault or fault.startswith("line ")


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "line 1: a recording begins with a header, and this file is empty"),
        ([b"\n", b"{}\n"], "line 2: no header of a recording: Object missing required field `room`"),
        ([b"hello\n"], "line 1: no header"),
        ([b"\xff\n"], "line 1: no header"),
        ([line_of(HEADER).replace(b'"roomcast":1', b'"roomcast":2')], "line 1: a recording of version 2, where 1 can be read"),
        ([line_of(HEADER), b"\n", b"[]\n"], "line 3: "),
        ([line_of(HEADER), b'{"offset":0,"time":1,"event":[1]}'], "line 2: .*>= 1"),
        ([line_of(HEADER), b'{"offset":1,"time":1,"event":[]}'], "line 2: an event is an array that begins with its kind"),
        ([line_of(HEADER), b'{"offset":1,"time":1,"event":[true]}'], "line 2: an event is an array that begins"),
        ([line_of(HEADER), b'{"offset":1,"time":1,"event":[1,["u"],0]}'], "line 2: body must be a string"),
        ([line_of(HEADER), b'{"offset":1,"time":1,"event":[0,1,0]}'], "line 2: 0 offsets omitted"),
        ([line_of(HEADER), b'{"first":3,"last":2,"missing":"lag"}'], "line 2: offset 3"),
        (
            [line_of(HEADER), line_of(Entry(1, 5, [0, 1, 3])), line_of(Entry(3, 6, [1, ["u"], 0, "x"]))],
            "line 3: offset 3, where at least 4 must stand: they ascend",
        ),
    ],
)
def test_faults_name_their_line(lines: list[bytes], fault: str) -> None:
    with pytest.raises(Malformed, match=fault):
        list(read(lines)[1])


# -- saying it again --------------------------------------------------------------------------------------------------


def said(*entries: Entry, first: int = 100, now: int = 0) -> list[list[Any] | None]:
    """Say entries again one after the other, from offset ``first`` on."""
    renumbering, result = Renumbering(), []
    for entry in entries:
        event = renumbering.event(entry, now or entry.time)
        if event is not None:
            renumbering.note(entry.offset, first)
            first += 1
        result.append(event)
    return result


def test_replies_follow_their_comments() -> None:
    spoken = [1, AUTHOR, 5, "hi"]
    answer = [1, ["u2"], 6, "you too", 4, ["u1"], 0, "of tomorrow"]
    to_nobody = [1, ["u2"], 6, "?", 3, [], 0]
    assert said(Entry(4, 10, spoken), Entry(5, 11, [0, 1, 2]), Entry(7, 12, answer), Entry(8, 13, to_nobody)) == [
        [1, AUTHOR, 0, "hi"],
        None,
        [1, ["u2"], 0, "you too", 100, ["u1"], 0, "of tomorrow"],
        [1, ["u2"], 0, "?", 0, [], 0],
    ]


def test_deletions_name_what_was_said_again() -> None:
    comments = [Entry(offset, 10, [1, ["u"], 0, str(offset)]) for offset in (2, 3, 6, 7, 9)]
    deleted = [
        Entry(20, 11, [5, ["m"], "delete_user", "u", [1, 3, 7, 9]]),
        Entry(21, 11, [5, ["m"], "delete", "u", [4, 5], 0, ""]),
        Entry(22, 11, [5, ["m"], "clear", "", [1, 30], 0, ""]),
        Entry(23, 11, [5, ["m"], "mute", "u", [], 5011, ""]),
    ]
    assert said(*comments, *deleted, now=1011)[5:] == [
        [5, ["m"], "delete_user", "u", [100, 101, 103, 104]],
        None,
        [5, ["m"], "clear", "", [100, 105], 0, ""],
        [5, ["m"], "mute", "u", [], 6011, ""],
    ]


def test_times_lie_as_far_ahead_as_they_did() -> None:
    assert said(
        Entry(1, 1000, [1, ["u"], 0, "gone soon", 0, [], 3000]),
        Entry(2, 1000, [3, ["h"], 0, "poll", "a", {"closes": 61_000, "open": True}, 4]),
        Entry(3, 1000, [3, ["h"], 0, "poll", "b", {"closes": 0}, 4]),
        now=500_000,
    ) == [
        [1, ["u"], 0, "gone soon", 0, [], 502_000],
        [3, ["h"], 0, "poll", "a", {"closes": 560_000, "open": True}, 4],
        [3, ["h"], 0, "poll", "b", {"closes": 0}, 4],
    ]


def test_state_is_said_again_unless_it_is_about_what_is_not_there() -> None:
    assert said(
        Entry(1, 10, [1, ["u"], 0, "pin me"]),
        Entry(2, 10, [3, ["h"], 9, "pin", "1", {"offset": 1, "event": [1, ["u"], 0, "pin me"]}, 4]),
        Entry(3, 10, [3, ["h"], 9, "pin", "77", {"offset": 77}, 5]),
        Entry(4, 10, [3, ["h"], 9, "pin", "1", None, 6]),
        Entry(5, 10, [3, ["h"], 9, "notice", "2", {"offset": 1}, 7]),
        Entry(6, 10, [4, ["h"], 9, "soon", True]),
        Entry(7, 10, [6, ["u"], "s", 1, [1, ["u"], 0, "held"], ""]),
        Entry(8, 10, [7, ["h"], True]),
        Entry(9, 10, [2, ["h"], 3, "gift", "{}"]),
        Entry(10, 10, [77, 5]),
    )[1:] == [
        [3, ["h"], 0, "pin", "100", {"offset": 100, "event": [1, ["u"], 0, "pin me"]}, 4],
        None,
        [3, ["h"], 0, "pin", "100", None, 6],
        None,
        [4, ["h"], 0, "soon", False],
        None,
        [7, ["h"], True],
        [2, ["h"], 0, "gift", "{}"],
        [77, 5],
    ]


@given(recordings(), st.integers(1, 50), numbers)
def test_whatever_is_said_again_is_an_event_of_the_same_kind(things: list[Entry | Missing], first: int, now: int) -> None:
    renumbering = Renumbering()
    new: dict[int, int] = {}
    for thing in things:
        if isinstance(thing, Missing):
            continue
        before = msgspec.json.encode(thing)
        event = renumbering.event(thing, min(now, 2**50))
        assert msgspec.json.encode(thing) == before, "the entry is left as it was"
        if event is None:
            assert thing.event[0] in (EventKind.OMITTED, EventKind.HELD, EventKind.MODERATED, EventKind.STATE)
            assert renumbering.new(thing.offset) == 0
            continue
        assert event[0] == thing.event[0]
        assert len(event) == len(thing.event)
        read_event(1, first, 1, msgspec.msgpack.decode(msgspec.msgpack.encode(event)))
        if event[0] == EventKind.COMMENT and len(event) > 4:
            assert event[4] == new.get(thing.event[4], 0)
        renumbering.note(thing.offset, first)
        new[thing.offset] = first
        first += 1
    assert all(renumbering.new(old) == offset for old, offset in new.items())
    with pytest.raises(ValueError, match="ascend"):
        renumbering.note(0, 0) if new else [renumbering.note(1, 1), renumbering.note(1, 1)]
