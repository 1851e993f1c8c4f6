"""What a room is: totals that do not run backwards, told when they change; one shared snapshot until something changes."""

from __future__ import annotations

import json
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.base import Position, Totals
from engine.room.feeds import Feeds
from engine.room.state import RECEIPTS, Entry, RoomState
from engine.schema import MSGPACK, Author, CommentEvent, CustomEvent, handle_of
from engine.settings import FeedSettings, RoomSettings

from .frames import payload_of

NOW = 1_700_000_000_000
SETTINGS = RoomSettings(reactions_shown=2)
FEEDS = Feeds({"money": FeedSettings(kinds=("custom",)), "all": FeedSettings()})
ALL = FEEDS.plain_variants
POLLS: list[Entry] = [("poll", "1", {"options": ["红", "蓝"]}, 1), ("question", "7", {"text": "?"}, 3)]


def room(entries: list[Entry] | None = None, recent: list[tuple[int, int, bytes]] | None = None) -> RoomState:
    """A room whose entries and recent events the caller may change."""
    return RoomState("大厅🎉", SETTINGS, FEEDS, lambda: entries or [], lambda: recent or [])


def totals(likes: int = 0, viewers: int = 0, **others: Any) -> Totals:
    return Totals("大厅🎉", likes, viewers, **others)


# -- counters and totals ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100))))
def test_likes_never_go_down_and_viewers_are_the_last_ones(told: list[tuple[int, int]]) -> None:
    state = room()
    likes = 0
    for new, viewers in told:
        state.update(totals(new, viewers), NOW)
        likes = max(likes, new)
        assert state.counters == (likes, viewers)
        assert state.changed == (state.counters != (0, 0))
    state.announce(NOW + 10_000)
    assert not state.changed


counts = st.dictionaries(st.sampled_from("❤️👍😂🔥"), st.integers(0, 9), max_size=3)
updates = st.builds(
    totals,
    st.integers(0, 50),
    st.integers(0, 5),
    withheld=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    peak=st.integers(0, 5),
    unique=st.integers(0, 5),
    reactions=counts,
)
tallies = st.tuples(
    st.sampled_from(("poll:1", "question:7", "poll:gone", f"{RECEIPTS}5", f"{RECEIPTS}12")),
    st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple),
)


@given(st.lists(st.tuples(st.one_of(updates, tallies), st.integers(0, 4_000), st.booleans(), st.booleans()), max_size=25))
def test_who_puts_together_what_was_told_knows_what_holds(
    script: list[tuple[Totals | tuple[str, tuple[int, ...]], int, bool, bool]],
) -> None:
    state = room(POLLS)
    known: dict[str, Any] = {}
    most: dict[str, int] = {}
    now = NOW
    for news, pause, tell, heartbeat in script:
        now += pause
        if isinstance(news, Totals):
            state.update(news, now)
            most = {name: max(most.get(name, 0), news.reactions.get(name, 0)) for name in {*most, *news.reactions}}
        else:
            state.tally(*news)
        if not tell:
            continue
        told = state.announce(now, heartbeat=heartbeat)
        assert state.announced == state.counters
        for name, value in told.items():
            known[name] = {**known.get(name, {}), **value} if name in ("votes", "receipts") else value
        # After it, nothing else is to be told but a rate that goes down.
        assert state.changed == (known.get("rate", 0) > 0)
        assert {name: value for name, value in known.items() if value} == state.all_totals()
        top = sorted(((-count, name) for name, count in most.items() if count))[: SETTINGS.reactions_shown]
        assert state.all_totals().get("reactions", {}) == {name: -count for count, name in top}
        assert "poll:gone" not in known.get("votes", {})


def test_only_what_has_changed_is_told_but_everything_in_a_heartbeat_and_now_and_then() -> None:
    state = room(POLLS)
    state.update(totals(0, 1, peak=3, unique=9), NOW)
    state.tally("poll:1", (1, 0))
    state.tally("question:7", (4,))
    everything = {"peak": 3, "unique": 9, "votes": {"poll:1": (1, 0), "question:7": (4,)}}
    assert state.announce(NOW) == everything
    assert state.announce(NOW) == {}
    state.tally("poll:1", (1, 1))
    assert state.changed
    assert state.announce(NOW) == {"votes": {"poll:1": (1, 1)}}
    everything["votes"] = {"poll:1": (1, 1), "question:7": (4,)}
    assert state.announce(NOW + 1_000, heartbeat=True) == everything
    assert state.announce(NOW + 25_999) == {}
    # A busy room sends no heartbeats.
    assert state.announce(NOW + 26_000) == everything


def test_an_entry_that_is_made_anew_begins_without_votes() -> None:
    state = room(POLLS)
    state.tally("poll:1", (1, 0))
    state.forget("poll:1")
    state.forget("poll:none")
    assert not state.changed
    assert state.all_totals() == {}


def test_what_is_withheld_is_told_by_reason() -> None:
    state = room()
    state.update(totals(withheld=(5, 0)), NOW)
    assert state.all_totals() == {"withheld": {"events": 5}}
    state.update(totals(withheld=(4, 2)), NOW)
    assert state.all_totals() == {"withheld": {"events": 5, "bytes": 2}}


def test_receipts_count_who_has_it_and_who_has_read_it() -> None:
    state = room()
    state.announce(NOW)
    assert state.receipts(12) == (0, 0)
    state.tally(f"{RECEIPTS}12", (90, 30, 10))
    assert state.receipts(12) == (40, 10)
    assert state.announce(NOW) == {"receipts": {"12": (40, 10)}}
    state.tally(f"{RECEIPTS}12", (91, 30, 10))
    assert not state.changed


def test_receipts_of_the_newest_notices_are_told_and_of_all_known() -> None:
    state = room()
    for offset in range(1, 101):
        state.tally(f"{RECEIPTS}{offset}", (0, 1))
    told = state.all_totals()["receipts"]
    assert list(told) == [str(offset) for offset in range(69, 101)]
    assert state.receipts(1) == (1, 0)


# -- the rate of likes ------------------------------------------------------------------------------------------------


def test_the_likes_of_all_the_time_before_are_no_rate() -> None:
    state = room()
    state.update(totals(1_000_000), NOW)
    assert state.announce(NOW) == {"rate": 0}


def test_a_rate_goes_down_to_nothing_which_is_told() -> None:
    state = room()
    state.update(totals(0, 1), NOW)
    state.announce(NOW)
    state.update(totals(300, 1), NOW + 50)
    assert state.announce(NOW + 100) == {"rate": 100}
    state.update(totals(600, 1), NOW + 2_050)
    assert state.announce(NOW + 2_100) == {"rate": 200}
    assert state.announce(NOW + 4_000) == {"rate": 100}
    assert state.announce(NOW + 6_000) == {"rate": 0}
    assert not state.changed
    assert state.all_totals() == {}
    assert state.announce(NOW + 7_000, heartbeat=True) == {"rate": 0}


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 10**6)), min_size=1, max_size=60))
def test_the_rate_is_what_came_in_three_seconds(script: list[tuple[int, int]]) -> None:
    state = room()
    state.update(totals(), NOW)
    now, likes = NOW, 0
    came: list[tuple[int, int]] = []
    for pause, gain in script:
        now += pause
        likes += gain
        came.append((now, gain))
        state.update(totals(likes), now)
        rate = state.announce(now, heartbeat=True)["rate"]
        # Times count in tenths of a second.
        least = sum(gain for time, gain in came if time > now - 2_900) / 3
        most = sum(gain for time, gain in came if time > now - 3_000) / 3
        assert least <= rate < most + 1


# -- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_the_same_object_until_something_changes() -> None:
    state = room()
    first = state.snapshot(Position(3, 9), NOW, 0, ALL)
    assert state.snapshot(Position(3, 9), NOW + 1_000, 0, ALL) is first
    moved = state.snapshot(Position(3, 10), NOW, 0, ALL)
    assert moved is not first
    assert moved[0] != first[0]
    state.update(totals(5, 2), NOW)
    counted = state.snapshot(Position(3, 10), NOW, 0, ALL)
    assert counted is not moved
    state.update(totals(5, 2), NOW)
    assert state.snapshot(Position(3, 10), NOW, 0, ALL) is counted
    state.tally("poll:1", (1,))
    voted = state.snapshot(Position(3, 10), NOW, 0, ALL)
    assert voted is not counted
    changed = state.snapshot(Position(3, 10), NOW, 1, ALL)
    assert changed is not voted
    assert state.snapshot(Position(4, 10), NOW, 1, ALL) is not changed
    assert state.builds == 6


def test_variants_that_are_wanted_later_are_added_to_the_same_build() -> None:
    state = room()
    frames = state.snapshot(Position(3, 9), NOW, 0, (0,))
    plain = frames[0]
    assert set(state.snapshot(Position(3, 9), NOW, 0, (0, 1, 2))) >= {0, 1, 2}
    assert state.snapshot(Position(3, 9), NOW, 0, (0,))[0] is plain
    assert state.builds == 1


def test_a_snapshot_says_in_every_codec_and_feed_what_the_room_is() -> None:
    said = [
        (8, NOW - 9, MSGPACK.encode(CommentEvent(Author("ann"), 1, "太好看了"))),
        (9, NOW - 5, MSGPACK.encode(CustomEvent(Author("ann"), 2, "gift", "🌹"))),
    ]
    state = room(POLLS, said)
    state.update(totals(7, 3, peak=4, reactions={"👍": 2, "🔥": 5, "😂": 1}), NOW)
    state.tally("poll:1", (2, 1))
    state.tally("poll:gone", (9,))
    frames = state.snapshot(Position(2, 9), NOW, 0, ALL)
    recent = [[offset, time, msgpack.unpackb(event)] for offset, time, event in said]
    told = {"peak": 4, "reactions": {"🔥": 5, "👍": 2}, "votes": {"poll:1": [2, 1]}}
    entries = [list(entry) for entry in POLLS]
    for variant in ALL:
        shown = recent[1:] if variant in (4, 5) else recent
        expected = [33, handle_of("大厅🎉"), "大厅🎉", 2, 9, NOW, [7, 3], 25_000, told, entries, shown]
        payload = payload_of(frames[variant])
        assert (json.loads(payload) if variant & 1 else msgpack.unpackb(payload)) == expected
    assert frames[0] is frames[8], "feeds that show the same share their frames"


def test_a_snapshot_tells_the_rate_that_was_told_to_all() -> None:
    state = room()
    state.update(totals(0), NOW)
    state.update(totals(90), NOW + 10)
    assert "rate" not in state.all_totals()
    before = state.snapshot(Position(1, 0), NOW, 0, (0,))
    state.announce(NOW + 20)
    assert state.all_totals() == {"rate": 30}
    assert state.snapshot(Position(1, 0), NOW, 0, (0,)) is not before


def test_a_gap_names_the_range_and_the_reason() -> None:
    frames = room().gap(2, 5, 9, "history", ALL)
    assert set(frames) == set(ALL)
    expected = [36, handle_of("大厅🎉"), 2, 5, 9, "history"]
    assert msgpack.unpackb(payload_of(frames[4])) == expected
    assert json.loads(payload_of(frames[5])) == expected
