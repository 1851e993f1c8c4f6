"""What a room is, at a viewer: against a model that knows the state after every offset, whatever is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.client.control import StateAnswer
from engine.client.counters import Counters, merged
from engine.client.follower import Follower
from engine.client.items import Entry, Position, Present, ProtocolViolation, Snapshot

from .test_follower import EPOCH, HANDLE, batch, comment, gap, joined, live

Key = tuple[str, str]
State = dict[Key, Entry]


def change(kind: str, key: str, value: dict[str, Any] | None, version: int) -> list[Any]:
    return [3, ["u1"], 0, kind, key, value, version]


def answer(offset: int, state: State, ref: int = 9, epoch: int = EPOCH, totals: dict[str, Any] | None = None) -> list[Any]:
    return [41, ref, HANDLE, epoch, offset, totals or {}, lines(state)]


def snapshot(offset: int, state: State, epoch: int = EPOCH, **totals: Any) -> list[Any]:
    return [33, HANDLE, "room", epoch, offset, 500, [3, 2], 25_000, totals, lines(state), []]


def lines(state: State) -> list[list[Any]]:
    return [[*key, *entry] for key, entry in state.items()]


PIN = change("pin", "", {"offset": 3}, 4)


def test_a_change_is_an_item_and_part_of_the_state() -> None:
    follower = live()
    item: Any = follower.feed(batch(1, 1, events=[PIN]))[0]
    assert (item.kind, item.key, item.value, item.version) == ("pin", "", {"offset": 3}, 4)
    assert follower.state.entries == {("pin", ""): Entry({"offset": 3}, 4)}
    follower.feed(batch(2, 2, events=[change("pin", "", None, 5)]))
    assert follower.state.entries == {}
    assert follower.state.certain


def test_a_snapshot_tells_the_state() -> None:
    follower = Follower()
    follower.feed(joined())
    assert not follower.state.certain
    assert not follower.stale, "the snapshot is still to come"
    state = {("card", "p1"): Entry({"title": "茶"}, 7)}
    (item,) = follower.feed(snapshot(9, state, peak=5))
    assert isinstance(item, Snapshot)
    assert item.state == follower.state.entries == state
    assert item.counters == Counters(3, 2, peak=5)
    assert follower.state.certain


def test_a_gap_makes_the_state_uncertain_until_an_answer_that_holds_it() -> None:
    follower = live()
    follower.feed(gap(1, 9))
    assert (follower.state.certain, follower.stale) == (False, True)
    follower.feed(batch(10, 11, events=[comment(10), PIN]))
    assert follower.feed(answer(8, {})) == [StateAnswer(9)], "older than what was missed"
    assert follower.stale
    told = follower.feed(answer(9, {("mode", ""): Entry({}, 1)}, totals={"peak": 4}))
    whole = {("mode", ""): Entry({}, 1), ("pin", ""): Entry({"offset": 3}, 4)}
    assert told == [StateAnswer(9), Present(EPOCH, 9, whole), Counters(3, 2, peak=4)]
    assert (follower.state.certain, follower.stale) == (True, False)


def test_an_answer_ahead_of_the_stream_is_not_undone_by_it() -> None:
    follower = live()
    follower.feed(gap(1, 3))
    follower.feed(answer(5, {}))
    follower.feed(batch(4, 5, events=[PIN, change("pin", "", None, 5)]))
    assert follower.state.entries == {}
    follower.feed(batch(6, 6, events=[change("pin", "", {}, 6)]))
    assert follower.state.entries == {("pin", ""): Entry({}, 6)}


def test_a_viewer_who_begins_at_a_position_has_to_ask() -> None:
    follower = Follower(Position(EPOCH, 5))
    assert not follower.stale
    follower.feed(joined(resumed=True))
    assert follower.stale
    follower.feed(answer(5, {}))
    assert follower.state.certain


def test_a_viewer_who_is_told_a_snapshot_instead_of_a_resume_need_not_ask() -> None:
    follower = Follower(Position(EPOCH, 5))
    follower.feed(joined(resumed=False))
    assert not follower.stale
    follower.feed(gap(6, 0, "epoch"))
    assert not follower.stale
    follower.feed(snapshot(2, {}, epoch=8))
    assert follower.state.certain


def test_an_older_shared_snapshot_does_not_undo_what_is_known() -> None:
    follower = live()
    follower.feed(batch(1, 3, events=[comment(1), comment(2), PIN]))
    follower.lost()
    follower.feed(joined(resumed=True))
    follower.feed(snapshot(1, {}))
    assert follower.state.entries == {("pin", ""): Entry({"offset": 3}, 4)}


def test_the_overlap_completes_an_older_shared_snapshot() -> None:
    follower = Follower(Position(EPOCH, 3))
    follower.feed(joined(resumed=True))
    follower.feed(snapshot(1, {}))
    assert follower.feed(batch(2, 3, events=[comment(2), PIN])) == []
    assert follower.state.entries == {("pin", ""): Entry({"offset": 3}, 4)}


def test_an_answer_that_is_newer_is_taken_and_one_that_is_not_is_left_alone() -> None:
    follower = live()
    follower.feed(batch(1, 2, events=[PIN, comment(2)]))
    assert follower.feed(answer(2, {})) == [StateAnswer(9)]
    assert follower.feed(answer(4, {})) == [StateAnswer(9), Present(EPOCH, 4, {})]
    follower.feed(batch(3, 4, events=[PIN, comment(4)]))
    assert follower.state.entries == {}


def test_an_answer_of_another_epoch_is_left_alone() -> None:
    follower = live()
    follower.feed(gap(1, 3))
    assert follower.feed(answer(9, {}, epoch=8)) == [StateAnswer(9)]
    follower.feed(gap(4, 0, "epoch"))
    assert follower.feed(answer(9, {})) == [StateAnswer(9)]
    assert not follower.state.certain


@pytest.mark.parametrize(
    "message",
    [
        batch(1, 1, events=[[3, ["u1"], 0, "pin", "", 5, 1]]),
        batch(1, 1, events=[[3, ["u1"], 0, "pin", "", {}]]),
        batch(1, 1, events=[[3, ["u1"], 0, "pin", ""]]),
        batch(1, 0, totals=[]),
        batch(1, 0, totals={"peak": -1}),
        batch(1, 0, totals={"rate": "x"}),
        batch(1, 0, totals={"rate": float("nan")}),
        batch(1, 0, totals={"votes": {"poll:a": 3}}),
        batch(1, 0, totals={"votes": {7: [3]}}),
        batch(1, 0, totals={"receipts": {"x": [1, 2]}}),
        batch(1, 0, totals={"receipts": {"4": [1]}}),
        batch(1, 0, totals={"withheld": {"events": None}}),
        [41, 9, HANDLE, EPOCH, 3, {}],
        [41, 9, HANDLE, EPOCH, 3, {}, [["pin", "", None, 1]]],
        [41, 9, HANDLE + 1, EPOCH, 3, {}, []],
    ],
)
def test_what_is_malformed_is_caught_and_changes_nothing(message: list[Any]) -> None:
    follower = live()
    with pytest.raises(ProtocolViolation):
        follower.feed(message)
    assert follower.position == (EPOCH, 0)
    assert follower.state.entries == {}
    assert follower.counters == Counters(3, 2)


# -- totals -----------------------------------------------------------------------------------------------------------


def test_totals_are_taken_in_as_they_change() -> None:
    follower = live()
    first = {"peak": 9, "unique": 20, "rate": 1.5, "withheld": {"events": 3}, "reactions": {"🔥": 5}, "tomorrow": [1]}
    (counters,) = follower.feed(batch(1, 0, totals=first | {"votes": {"poll:a": [1, 2]}, "receipts": {"17": [5, 1]}}))
    assert counters == Counters(3, 2, 9, 20, 1.5, {"events": 3}, {"🔥": 5}, {"poll:a": (1, 2)}, {17: (5, 1)})
    more = {"votes": {"poll:b": [4]}, "receipts": {18: [1, 0]}, "reactions": {"👍": 6}, "withheld": {"bytes": 1}}
    (counters,) = follower.feed(batch(1, 0, totals=more))
    assert counters.votes == {"poll:a": (1, 2), "poll:b": (4,)}
    assert counters.receipts == {17: (5, 1), 18: (1, 0)}
    assert (counters.reactions, counters.withheld) == ({"👍": 6}, {"bytes": 1}), "these are told as a whole"
    assert follower.feed(batch(1, 0, totals=more)) == [], "repeated, nothing has changed"


def test_votes_go_with_what_they_are_for() -> None:
    follower = live()
    follower.feed(batch(1, 0, totals={"votes": {"poll:a": [1], "poll:b": [2]}}))
    items = follower.feed(batch(1, 1, events=[change("poll", "a", None, 9)]))
    assert items[-1] == Counters(3, 2, votes={"poll:b": (2,)})


def test_a_snapshot_names_all_totals() -> None:
    before = Counters(3, 2, peak=4, votes={"poll:a": (1,)})
    assert merged(before, {"likes": 5, "viewers": 1}, whole=True) == Counters(5, 1)
    assert merged(before, {}, whole=True) == Counters(3, 2)
    assert merged(None, {}, whole=True) is None
    assert merged(None, {"peak": 1}) == Counters(0, 0, peak=1)
    assert merged(before, {}) is before


def test_an_answer_that_is_older_than_the_last_says_nothing() -> None:
    follower = live()
    follower.feed(batch(1, 1))
    follower.feed(answer(9, {}))
    follower.feed(answer(5, {("pin", ""): Entry({"at": 5}, 1)}))
    assert follower.state.certain
    assert follower.state.entries == {}


# -- against the model ------------------------------------------------------------------------------------------------

LENGTH = 30
CHANGES = st.tuples(st.sampled_from(["pin", "card"]), st.sampled_from(["", "a"]), st.booleans())


@given(st.lists(st.none() | CHANGES, min_size=LENGTH, max_size=LENGTH), st.data())
def test_what_is_certain_is_true_whatever_is_lost(plan: list[tuple[str, str, bool] | None], data: st.DataObject) -> None:
    log: list[list[Any]] = []
    after: list[State] = [{}]
    versions: dict[Key, int] = {}
    for offset, step in enumerate(plan, 1):
        state = dict(after[-1])
        if step is None:
            log.append(comment(offset))
        else:
            kind, key, present = step
            versions[kind, key] = version = versions.get((kind, key), 0) + 1
            value = {"at": offset} if present else None
            log.append(change(kind, key, value, version))
            state.pop((kind, key), None)
            if value is not None:
                state[kind, key] = Entry(value, version)
        after.append(state)

    follower, position, ahead = live(), 0, 0
    while position < LENGTH:
        last = data.draw(st.integers(position + 1, LENGTH))
        match data.draw(st.sampled_from(["batch", "batch", "lag", "answer", "resume", "return", "late"])):
            case "batch":
                follower.feed(batch(position + 1, last, events=log[position:last]))
                position = last
            case "lag":
                follower.feed(gap(position + 1, last))
                position = last
            case "answer":
                offset = data.draw(st.integers(0, LENGTH))
                follower.feed(answer(offset, after[offset]))
                ahead = max(ahead, offset) if follower.state.certain else ahead
            case "resume":
                follower.lost()
                follower.feed(joined(resumed=True))
                first = data.draw(st.integers(1, position + 1))
                follower.feed(batch(first, last, events=log[first - 1 : last]))
                position = last
            case "return":
                follower.lost()
                follower.feed(joined(resumed=True))
                follower.feed(gap(position + 1, last, "history"))
                shared = data.draw(st.integers(0, last))
                if not follower.state.certain or shared >= last:
                    # What was known of later goes with what the snapshot replaces.
                    ahead = 0
                follower.feed(snapshot(shared, after[shared]))
                follower.feed(batch(shared + 1, last, events=log[shared:last])) if shared < last else None
                position = last
            case "late":
                follower.lost()
                follower.feed(joined(resumed=True))
                follower.feed(gap(position + 1, last, "history"))
                position = last
                follower.feed(batch(last + 1, last))
        if follower.state.certain:
            assert follower.state.entries in [after[at] for at in (position, max(ahead, position))]
    if follower.stale:
        follower.feed(answer(LENGTH, after[LENGTH]))
    assert follower.state.certain
    assert follower.state.entries == after[LENGTH]
