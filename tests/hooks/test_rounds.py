"""What goes into one request and what its answer means: order within a room, whatever the product answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hooks.courier import Answer
from engine.hooks.letters import Letter, RoomPage, Settled, packed
from engine.hooks.rounds import Parcel, Round, parcels, pause_seconds
from engine.settings import HookSettings

SETTINGS = HookSettings(retry_seconds=1, retry_most_seconds=300, attempts=20)


def page(row: int, count: int, sent: int = 0, attempts: int = 0) -> RoomPage:
    letters = [Letter(number, "viewers.peak", 5, packed({"viewers": 100})) for number in range(sent + 1, sent + count + 1)]
    return RoomPage("ab", row, f"房间{row}", sent, attempts, letters)


def numbers(parcel: Parcel) -> list[tuple[int, list[int]]]:
    return [(room.row, [each.number for each in letters]) for room, letters in parcel.parts]


def ids(room: RoomPage, letters: Sequence[Letter]) -> list[str]:
    return [each.happening(room).id for each in letters]


def round_of(**more: object) -> Round:
    settings = HookSettings(**{"attempts": 20, "retry_seconds": 1, **more})  # type: ignore[arg-type]
    return Round(settings, lambda: 0.0)


@pytest.mark.parametrize("event", [[8, 7], [], 5, [99]])
def test_an_event_of_another_shape_is_told_as_it_is(event: object) -> None:
    assert Letter(1, "gift.given", 5, packed(event)).happening(page(1, 1)).data == {"event": event}


def test_rooms_share_requests_and_a_room_goes_on_in_the_next_one() -> None:
    assert [numbers(each) for each in parcels([page(1, 3), page(2, 5, sent=7), page(3, 1)], 4)] == [
        [(1, [1, 2, 3]), (2, [8])],
        [(2, [9, 10, 11, 12])],
        [(3, [1])],
    ]
    assert list(parcels([], 4)) == []


def test_rooms_that_failed_go_apart_and_with_fewer_each_time() -> None:
    found = [numbers(each) for each in parcels([page(1, 10, attempts=2), page(2, 3), page(3, 10, attempts=9)], 8)]
    assert found == [[(2, [1, 2, 3])], [(1, [1, 2])], [(3, [1])]]


def test_a_request_is_the_same_when_the_same_is_sent_again() -> None:
    room = page(1, 2)
    first, again = Parcel([(room, room.letters)]), Parcel([(page(1, 2), page(1, 2).letters)])
    assert first.sealed() == again.sealed()
    message, body = first.sealed()
    assert "." not in message
    assert json.loads(body) == {
        "happenings": [
            {
                "id": f"ab-1-{number}",
                "type": "viewers.peak",
                "room": "房间1",
                "number": number,
                "time": 5,
                "data": {"viewers": 100},
            }
            for number in (1, 2)
        ]
    }
    assert Parcel([(room, room.letters[:1])]).sealed()[0] != message


def test_what_is_taken_is_delivered_from_its_first_to_its_last() -> None:
    rooms = [page(1, 3), page(2, 5)]
    done = round_of()
    for parcel in parcels(rooms, 4):
        done.take(parcel, Answer())
    assert done.settled() == [Settled(1, 1, 3), Settled(2, 1, 5)]
    assert (done.sent, done.dead, done.held) == (8, 0, set())
    assert done.settled() == []


def test_a_request_that_fails_holds_all_its_rooms() -> None:
    first, second = parcels([page(1, 3), page(2, 5)], 4)
    done = round_of()
    done.take(first, Answer())
    done.take(second, Answer("status 500"))
    # What was not the next one of its room has failed once.
    assert done.settled() == [Settled(1, 1, 3), Settled(2, 1, 1, attempts=1, pause_ms=1_000)]
    assert done.held == {2}
    assert second.without(done.held).parts == []
    assert [row for row, _ in numbers(first.without(done.held))] == [1]


def test_a_failure_counts_and_the_pause_grows() -> None:
    room = page(1, 3, sent=4, attempts=3)
    done = round_of()
    done.take(Parcel([(room, room.letters)]), Answer("late"))
    assert done.settled() == [Settled(1, 5, 4, attempts=4, pause_ms=8_000)]


def test_one_that_was_tried_often_enough_is_put_aside_and_the_room_goes_on() -> None:
    room = page(1, 1, sent=4, attempts=19)
    done = round_of()
    done.take(Parcel([(room, room.letters)]), Answer("status 500"))
    assert done.settled() == [Settled(1, 5, 4, dead=5, tries=20, reason="status 500")]
    assert done.dead == 1


def test_a_receiver_can_refuse_some_and_their_rooms_wait_from_there_on() -> None:
    one, two = page(1, 4), page(2, 2)
    done = round_of()
    refused = frozenset({ids(one, one.letters)[2], "someone-elses"})
    done.take(Parcel([(one, one.letters), (two, two.letters)]), Answer("", refused))
    assert done.settled() == [Settled(1, 1, 2, attempts=1, pause_ms=1_000), Settled(2, 1, 2)]
    assert done.held == {1}


def test_a_receiver_can_say_that_it_will_never_take_one() -> None:
    one = page(1, 4)
    done = round_of()
    done.take(Parcel([(one, one.letters)]), Answer("", frozenset(ids(one, one.letters)[1:3]), gone=True))
    # The others after it come again.
    assert done.settled() == [Settled(1, 1, 1, dead=2, tries=1, reason="refused")]


def test_a_receiver_that_refuses_what_was_not_sent_has_taken_nothing() -> None:
    one = page(1, 2)
    done = round_of()
    done.take(Parcel([(one, one.letters)]), Answer("", frozenset({"ab-9-9"})))
    assert done.settled() == [Settled(1, 1, 0, attempts=1, pause_ms=1_000)]


def test_a_dead_letter_that_is_tried_again_concerns_nobody_else() -> None:
    letter = page(1, 1, sent=6, attempts=20)
    done = round_of()
    done.take_again(letter, Answer("status 500"))
    done.take_again(page(2, 1, sent=3), Answer("", frozenset({"ab-2-4"})))
    done.take_again(page(3, 1, sent=3), Answer())
    assert done.settled() == [
        Settled(1, 7, 6, dead=7, tries=21, reason="status 500", again=True),
        Settled(2, 4, 3, dead=4, tries=1, reason="refused", again=True),
        Settled(3, 4, 4, again=True),
    ]
    assert (done.sent, done.dead, done.held) == (1, 0, set())


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (1_000, 300)])
def test_the_pause_doubles_up_to_its_bound_and_is_not_the_same_for_all(attempts: int, seconds: float) -> None:
    assert pause_seconds(attempts, SETTINGS, lambda: 0.0) == seconds
    assert pause_seconds(attempts, SETTINGS, lambda: 1.0) == seconds / 2


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 6)), min_size=1, max_size=6),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_whatever_is_answered_nothing_of_a_room_overtakes(rooms: list[tuple[int, int]], most: int, random: object) -> None:
    """Against a product that takes a room's happenings up to some point, all rooms' or none, until all are there."""
    choose = random.random  # type: ignore[attr-defined]
    left = {row: page(row, count, attempts=attempts) for row, (count, attempts) in enumerate(rooms, 1)}
    taken: dict[int, list[int]] = {row: [] for row in left}
    dead: dict[int, list[int]] = {row: [] for row in left}
    for _ in range(10_000):
        if not left:
            break
        done = round_of(attempts=9)
        for parcel in parcels(list(left.values()), most):
            part = parcel.without(done.held)
            if not part.parts:
                continue
            for room, letters in part.parts:
                # Joins what was taken or put aside, within this page, too.
                known = {*taken[room.row], *dead[room.row]}
                assert letters[0].number - 1 in {0, *known}
                assert [each.number for each in letters] == list(range(letters[0].number, letters[-1].number + 1))
            if choose() < 0.4:
                done.take(part, Answer("status 500"))
                if choose() < 0.5:
                    break
                continue
            refused: list[str] = []
            for room, letters in part.parts:
                bound = len(letters) if choose() < 0.6 else int(choose() * len(letters))
                taken[room.row] += [each.number for each in letters[:bound]]
                refused += ids(room, letters[bound:])
            done.take(part, Answer("", frozenset(refused), gone=bool(refused) and choose() < 0.1))
        for each in done.settled():
            room = left.pop(each.row)
            if each.dead:
                dead[each.row].append(each.dead)
            sent = max(each.last, each.dead)
            rest = [letter for letter in room.letters if letter.number > sent]
            if rest:
                left[each.row] = RoomPage("ab", each.row, room.name, sent, each.attempts, rest)
    assert not left
    for row, (count, _) in enumerate(rooms, 1):
        assert sorted({*taken[row], *dead[row]}) == list(range(1, count + 1))
        firsts = list(dict.fromkeys(taken[row]))
        assert firsts == sorted(firsts)
