"""The follower against a plain list: whatever the batching, what comes out is the list; what is broken is caught."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from engine import schema
from engine.client.control import Bye, Joined, Pong, Reply
from engine.client.follower import Follower, Statistics
from engine.client.items import (
    Author,
    Comment,
    Counters,
    Custom,
    Direct,
    Event,
    Gap,
    Omitted,
    Position,
    ProtocolViolation,
    Snapshot,
    Unknown,
)
from engine.errors import Close

HANDLE, EPOCH = 42, 7


def joined(*, resumed: bool = False) -> list[Any]:
    return [32, 1, HANDLE, "s" * 16, "u1", "guest", resumed, 25_000]


def snapshot(offset: int, epoch: int = EPOCH) -> list[Any]:
    return [33, HANDLE, "room", epoch, offset, 500, [3, 2], 25_000, {}, [], []]


def comment(offset: int) -> list[Any]:
    return [1, ["u1"], 0, f"say {offset}"]


def batch(first: int, last: int, **changes: Any) -> list[Any]:
    """The offsets ``first..last`` as comments; event ``n`` is of time ``1000 + n``."""
    fields = {
        "handle": HANDLE,
        "epoch": EPOCH,
        "first": first,
        "last": last,
        "time": 1000 + first,
        "events": [comment(offset) for offset in range(first, last + 1)],
        "delays": list(range(last - first + 1)),
        "counters": [3, 2],
        "totals": {},
    }
    assert changes.keys() <= fields.keys()
    return [34, *(fields | changes).values()]


def gap(first: int, last: int, reason: str = "lag", epoch: int = EPOCH) -> list[Any]:
    return [36, HANDLE, epoch, first, last, reason]


def live(offset: int = 0) -> Follower:
    """A follower in the room, after ``offset``."""
    follower = Follower()
    follower.feed(joined())
    follower.feed(snapshot(offset))
    return follower


def resumed(offset: int) -> Follower:
    """A follower that has come back with its position."""
    follower = Follower(Position(EPOCH, offset))
    follower.feed(joined(resumed=True))
    return follower


def feed_all(follower: Follower, messages: list[Any]) -> list[Any]:
    return [thing for message in messages for thing in follower.feed(message)]


def offsets(things: list[Any]) -> list[int]:
    return [thing.offset for thing in things if isinstance(thing, (Comment, Custom, Unknown))]


@pytest.mark.parametrize("codec", schema.CODECS, ids=lambda codec: codec.subprotocol)
def test_what_the_engine_writes_is_read(codec: schema.Codec) -> None:
    author = schema.Author("u1", "Ann", {"flag": "🇳🇱"})
    events = [
        schema.CommentEvent(author, 5, "你好 👋"),
        schema.OmittedEvent(schema.OmittedReason.DELETED, 2),
        schema.CustomEvent(author, 6, "poll", "{}"),
    ]
    raws = [Raw(codec.encode(event)) for event in events]
    messages: list[schema.ServerMessage] = [
        schema.Joined(1, HANDLE, "s" * 16, "u1", "guest", False, 25_000),
        schema.Snapshot(HANDLE, "大厅", EPOCH, 0, 500, (3, 2), 25_000),
        schema.Batch(HANDLE, EPOCH, 1, 4, 1000, raws, [0, 1, 1], (4, 2)),
        schema.Gap(HANDLE, EPOCH, 5, 9, "lag"),
        schema.Reply(2, 1, 0, "slow down", 300),
        schema.Pong(3, 99),
        schema.DirectMessage(HANDLE, author, "psst", 8),
        schema.Bye(4000, "restart", 10, 500),
    ]
    read = json.loads if codec.text else msgpack.unpackb
    ann = Author("u1", "Ann", {"flag": "🇳🇱"})
    assert feed_all(Follower(), [read(codec.encode(message)) for message in messages]) == [
        Joined(1, HANDLE, "s" * 16, "u1", "guest", False, 25_000),
        Snapshot("大厅", EPOCH, 0, 500, Counters(3, 2)),
        Comment(EPOCH, 1, 1000, ann, "你好 👋", 5),
        Omitted(EPOCH, 2, 3, 1),
        Custom(EPOCH, 4, 1001, ann, "poll", "{}", 6),
        Counters(4, 2),
        Gap(EPOCH, 5, 9, "lag"),
        Reply(2, 1, 0, "slow down", 300),
        Pong(3, 99),
        Direct(ann, "psst", 8),
        Bye(4000, "restart", 10, 500),
    ]


def test_a_new_viewer_begins_with_the_snapshot() -> None:
    follower = Follower()
    assert follower.feed(joined()) == [Joined(1, HANDLE, "s" * 16, "u1", "guest", False, 25_000)]
    assert follower.feed(snapshot(9)) == [Snapshot("room", EPOCH, 9, 500, Counters(3, 2))]
    assert follower.position == (EPOCH, 9)
    assert follower.heartbeat_ms == 25_000
    assert follower.counters == Counters(3, 2)
    assert offsets(follower.feed(batch(10, 12))) == [10, 11, 12]


def test_every_kind_of_event_is_read() -> None:
    events = [
        [1, ["u1", "Ann", {"team": "red"}], 5, "你好 👋"],
        [2, ["u2", "Bob"], 6, "poll", "{}"],
        [0, 1, 3],
        [77, "tomorrow", [1]],
    ]
    items = live().feed(batch(1, 6, events=events, delays=[0, 2, 2, 9], counters=[4, 2]))
    assert items == [
        Comment(EPOCH, 1, 1001, Author("u1", "Ann", {"team": "red"}), "你好 👋", 5),
        Custom(EPOCH, 2, 1003, Author("u2", "Bob"), "poll", "{}", 6),
        Omitted(EPOCH, 3, 5, 1),
        Unknown(EPOCH, 6, 1010, 77, ("tomorrow", [1])),
        Counters(4, 2),
    ]


def test_messages_to_one_viewer_are_read() -> None:
    follower = live()
    assert follower.feed([35, 4, 0, 17, "", 0]) == [Reply(4, 0, 17)]
    assert follower.feed([35, 4, 1]) == [Reply(4, 1)]
    assert follower.feed([37, 4000, "restart", 10, 500]) == [Bye(Close.SHUTDOWN, "restart", 10, 500)]
    assert follower.feed([38, 4, 99]) == [Pong(4, 99)]
    assert follower.feed([39, HANDLE, ["u2"], "psst", 8]) == [Direct(Author("u2"), "psst", 8)]


def test_elements_of_tomorrow_are_ignored_in_every_array() -> None:
    follower = Follower()
    messages: list[list[Any]] = [
        joined(),
        snapshot(0),
        batch(
            1, 2, events=[[1, ["u1", "Ann", {}, "", 0, "new"], 0, "x", 0, [], 0, "new"], [0, 1, 1, "new"]], counters=[3, 2, 1]
        ),
        gap(3, 4),
        [35, 4, 0, 0, "", 0],
        [37, 4000, "", 0, 0],
        [38, 1, 2],
        [39, HANDLE, ["u2"], "psst", 8],
    ]
    for message in messages:
        follower.feed([*message, "new", {"x": 1}])
    assert follower.position == (EPOCH, 4)


def test_messages_of_an_unknown_kind_are_ignored_and_counted() -> None:
    follower = live()
    assert follower.feed([99, "whatever"]) == []
    assert follower.statistics().ignored == 1


def test_optional_elements_may_be_missing() -> None:
    assert offsets(live().feed([34, HANDLE, EPOCH, 1, 1, 1001, [comment(1)]])) == [1]


def test_a_heartbeat_says_nothing_and_counters_only_what_changed() -> None:
    follower = live()
    assert follower.feed(batch(1, 0)) == []
    assert follower.feed(batch(1, 0, counters=[])) == []
    assert follower.feed(batch(1, 0, counters=[9, 2])) == [Counters(9, 2)]
    assert follower.counters == Counters(9, 2)


def test_the_overlap_after_a_resume_is_dropped_and_counted() -> None:
    follower = resumed(5)
    assert follower.feed(batch(2, 3)) == [Counters(3, 2)]
    assert offsets(follower.feed(batch(4, 7))) == [6, 7]
    assert follower.statistics() == Statistics(events=2, overlap=4)


def test_an_omission_across_the_position_is_cut_to_what_is_new() -> None:
    items = resumed(5).feed(batch(3, 9, events=[[0, 1, 5], comment(8), comment(9)], delays=[]))
    assert items[0] == Omitted(EPOCH, 6, 7, 1)
    assert offsets(items) == [8, 9]


def test_a_gap_moves_the_position_and_the_next_batch_follows_it() -> None:
    follower = live(3)
    assert follower.feed(gap(4, 9)) == [Gap(EPOCH, 4, 9, "lag")]
    assert follower.position == (EPOCH, 9)
    assert offsets(follower.feed(batch(10, 10))) == [10]
    assert follower.statistics().missing == 6


def test_lost_history_is_followed_by_a_snapshot_or_a_batch() -> None:
    follower = resumed(3)
    follower.feed(gap(4, 9, "history"))
    assert offsets(follower.feed(batch(8, 11))) == [10, 11]
    follower = resumed(3)
    follower.feed(gap(4, 9, "history"))
    follower.feed(snapshot(9))
    assert offsets(follower.feed(batch(10, 11))) == [10, 11]


def test_a_new_epoch_needs_a_snapshot_of_it() -> None:
    follower = resumed(3)
    assert follower.feed(gap(4, 0, "epoch")) == [Gap(EPOCH, 4, 0, "epoch")]
    assert follower.position is None
    for message in (batch(4, 5), batch(1, 1, epoch=8), snapshot(9)):
        with pytest.raises(ProtocolViolation):
            follower.feed(message)
    follower.feed(snapshot(2, epoch=8))
    # The new epoch's clock may be behind the old one's.
    assert offsets(follower.feed(batch(3, 3, epoch=8, time=1))) == [3]


def test_a_gap_of_unknown_end_in_the_same_epoch_does_not_lead_back() -> None:
    follower = resumed(3)
    follower.feed(gap(4, 0, "history"))
    with pytest.raises(ProtocolViolation):
        follower.feed(snapshot(2))
    follower.feed(snapshot(30))
    assert follower.position == (EPOCH, 30)


def test_nothing_of_a_refused_message_is_kept() -> None:
    follower = live()
    broken = batch(1, 3, events=[comment(1), comment(2), [1, ["u1"], 0, 5]], counters=[9, 9])
    with pytest.raises(ProtocolViolation):
        follower.feed(broken)
    assert follower.position == (EPOCH, 0)
    assert follower.counters == Counters(3, 2)
    assert offsets(follower.feed(batch(1, 3))) == [1, 2, 3]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(batch(7, 8), id="hole"),
        pytest.param(batch(4, 5), id="duplicate"),
        pytest.param(batch(5, 6), id="overlap without a resume"),
        pytest.param(batch(5, 4), id="old heartbeat"),
        pytest.param(batch(6, 7, epoch=8), id="wrong epoch"),
        pytest.param(batch(6, 7, handle=43), id="wrong room"),
        pytest.param(batch(6, 8, events=[comment(6)], delays=[]), id="too few events"),
        pytest.param(batch(6, 6, events=[comment(6)] * 2, delays=[]), id="too many events"),
        pytest.param(batch(6, 7, events=[[0, 1, 3]], delays=[]), id="omission beyond the end"),
        pytest.param(batch(6, 7, events=[[0, 1, 0], *[comment(6)] * 2], delays=[]), id="omission of nothing"),
        pytest.param(batch(6, 3, events=[]), id="range backwards"),
        pytest.param(batch(6, 7, delays=[0]), id="too few delays"),
        pytest.param(batch(6, 7, delays=[0, 1, 2]), id="too many delays"),
        pytest.param(batch(6, 7, delays=[5, 1]), id="delays backwards"),
        pytest.param(batch(6, 7, delays=[0, -1]), id="negative delay"),
        pytest.param(batch(6, 7, time=999), id="time backwards"),
        pytest.param(batch(6, 7, time=True), id="boolean for a number"),
        pytest.param(batch(6, 7, time=2**53), id="number too large"),
        pytest.param(batch(6, 7, events=None), id="no events"),
        pytest.param(batch(6, 6, events=["x"]), id="event not an array"),
        pytest.param(batch(6, 6, events=[[]]), id="event without a kind"),
        pytest.param(batch(6, 6, events=[[1, [], 0, "x"]]), id="author without id"),
        pytest.param(batch(6, 6, events=[[1, ["u1", "", {"a": 1}], 0, "x"]]), id="attribute not a string"),
        pytest.param(batch(6, 6, counters=[1]), id="one counter"),
        pytest.param(gap(7, 9), id="gap after a hole"),
        pytest.param(gap(5, 9), id="gap over what came"),
        pytest.param(gap(6, 5), id="empty gap"),
        pytest.param(gap(6, 9, epoch=8), id="gap in another epoch"),
        pytest.param(snapshot(8), id="snapshot ahead"),
        pytest.param(snapshot(5, epoch=8), id="snapshot of another epoch"),
        pytest.param(joined(), id="joined twice"),
        pytest.param([], id="empty"),
        pytest.param({}, id="not an array"),
        pytest.param(["34"], id="kind not a number"),
        pytest.param([34], id="cut short"),
        pytest.param([35, 1], id="reply without a code"),
    ],
)
def test_a_broken_stream_is_caught(message: Any) -> None:
    follower = live()
    follower.feed(batch(1, 5))
    with pytest.raises(ProtocolViolation):
        follower.feed(message)
    assert follower.position == (EPOCH, 5)
    assert offsets(follower.feed(batch(6, 6))) == [6]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(batch(7, 8), id="hole"),
        pytest.param(gap(7, 9), id="gap after a hole"),
        pytest.param(snapshot(6), id="snapshot without a gap"),
        pytest.param(snapshot(0, epoch=8), id="new epoch without a gap"),
        pytest.param(batch(1, 2, epoch=8), id="another epoch"),
    ],
)
def test_a_resume_does_not_skip_silently(message: Any) -> None:
    with pytest.raises(ProtocolViolation):
        resumed(5).feed(message)


@pytest.mark.parametrize("message", [batch(1, 1), snapshot(0), gap(1, 2), [39, HANDLE, ["u"], "x", 1]])
def test_nothing_of_the_room_comes_before_joined(message: Any) -> None:
    with pytest.raises(ProtocolViolation):
        Follower().feed(message)
    follower = live()
    follower.lost()
    with pytest.raises(ProtocolViolation):
        follower.feed(message)


def test_nothing_comes_between_joined_and_the_first_snapshot() -> None:
    for message in (batch(1, 1), gap(1, 2)):
        follower = Follower()
        follower.feed(joined())
        with pytest.raises(ProtocolViolation):
            follower.feed(message)


# -- against the model ------------------------------------------------------------------------------------------------

LENGTH = 40


@st.composite
def rooms(draw: st.DrawFn) -> list[tuple[int, int, list[Any]]]:
    """A log as (first, last, event): events of all kinds, of tomorrow, too, and omissions of several offsets."""
    log: list[tuple[int, int, list[Any]]] = []
    offset = 1
    while offset <= LENGTH:
        kind = draw(st.sampled_from(["comment", "comment", "unknown", "omitted", "state", "notice", "moderated", "presence"]))
        count = draw(st.integers(1, 4)) if kind == "omitted" else 1
        event = {
            "comment": comment(offset),
            "unknown": [99, offset],
            "omitted": [0, 3, count],
            "state": [3, ["u1"], 0, "card", f"p{offset % 3}", draw(st.none() | st.just({"at": offset})), offset],
            "notice": [4, ["u1"], 0, "soon", True],
            "moderated": [5, ["u1"], "delete", "u2", [1, offset]],
            "presence": [7, ["u1", "Ann", {}, "host", 3], True],
        }[kind]
        log.append((offset, offset + count - 1, event))
        offset += count
    return log


def cover(log: list[tuple[int, int, list[Any]]], start: int, stop: int) -> list[Any]:
    part = log[start:stop]
    first, last = part[0][0], part[-1][1]
    delays = [begin - first for begin, _, _ in part]
    return batch(first, last, events=[event for _, _, event in part], delays=delays)


@given(rooms(), st.data())
def test_the_list_comes_out_whatever_the_batches_reconnects_overlaps_and_gaps(
    log: list[tuple[int, int, list[Any]]], data: st.DataObject
) -> None:
    follower = live()
    expected: dict[int, object] = {}
    got: dict[int, object] = {}
    index = 0
    while index < len(log):
        step = data.draw(st.sampled_from(["batch", "batch", "batch", "heartbeat", "reconnect", "lag", "history"]))
        stop = data.draw(st.integers(index + 1, len(log)))
        first, last = log[index][0], log[stop - 1][1]
        messages: list[list[Any]] = []
        if step == "heartbeat":
            messages, stop = [batch(first, first - 1)], index
        elif step == "batch":
            messages = [cover(log, index, stop)]
        elif step == "reconnect":
            follower.lost()
            back = data.draw(st.integers(0, index))
            messages = [joined(resumed=True), cover(log, back, stop)]
        else:
            if step == "history":
                follower.lost()
                messages = [joined(resumed=True)]
            messages.append(gap(first, last, step))
        for at in range(first, last + 1) if stop > index else ():
            expected[at] = "gap" if step in ("lag", "history") else at
        for message in messages:
            for thing in follower.feed(message):
                if isinstance(thing, Joined):
                    continue
                lost = isinstance(thing, Gap)
                low, high = (
                    (thing.first, thing.last)
                    if isinstance(thing, (Gap, Omitted))
                    else (thing.offset, thing.offset)
                    if isinstance(thing, Event)
                    else (1, 0)
                )
                for at in range(low, high + 1):
                    assert at not in got, "twice"
                    assert at == len(got) + 1, "out of order"
                    got[at] = "gap" if lost else at
        index = stop
    assert got == expected
    statistics = follower.statistics()
    assert statistics.events + statistics.omitted + statistics.missing == log[-1][1]


@given(rooms(), st.data())
def test_batches_lost_repeated_or_swapped_are_caught(log: list[tuple[int, int, list[Any]]], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(log) - 1), min_size=2)) | {0, len(log)})
    stream = [cover(log, a, b) for a, b in pairwise(cuts)]
    at = data.draw(st.integers(0, len(stream) - 2))
    broken = {
        "lost": stream[:at] + stream[at + 1 :],
        "repeated": [*stream[: at + 1], *stream[at:]],
        "swapped": [*stream[:at], stream[at + 1], stream[at], *stream[at + 2 :]],
    }[data.draw(st.sampled_from(["lost", "repeated", "swapped"]))]
    follower = live()
    with pytest.raises(ProtocolViolation):
        feed_all(follower, broken)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(), st.lists), st.integers(32, 39))
def test_garbage_is_read_or_refused_and_nothing_else(garbage: Any, kind: int) -> None:
    fields = garbage if isinstance(garbage, list) else [garbage]
    for message in (garbage, [kind, *fields], [kind, HANDLE, *fields], [34, HANDLE, EPOCH, 1, 1, 1001, fields]):
        follower = live()
        try:
            follower.feed(message)
        except ProtocolViolation:
            assert follower.position == (EPOCH, 0)
