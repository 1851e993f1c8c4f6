"""Who said what of late: against a plain list of all that was ever said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hub.recent import SHARE_MS, Recent

WINDOW = 20_000
SESSION = "s" * 16
USERS = ("ann", "bob", "小明")
TEXTS = ("hello", "Hello ", "ｈｅｌｌｏ", "666", "太好看了", "再见")
LOOK = {"Hello ": "hello", "ｈｅｌｌｏ": "hello"}

steps = st.lists(
    st.tuples(
        st.sampled_from(("heard", "let pass", "seen", "withheld")),
        st.sampled_from(USERS),
        st.sampled_from(TEXTS),
        st.integers(0, 4_000),
    ),
    max_size=40,
)


class Model:
    """Everything, in lists."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, int]] = []
        self.going: list[tuple[str, int, str, int]] = []

    def of(self, user: str, now: int) -> list[tuple[str, int]]:
        heard = [(text, time) for who, text, time in self.said if who == user]
        return heard + [(text, time) for who, _, text, time in self.going if who == user and time > now - 30_000]

    def wait_ms(self, user: str, slow: int, now: int) -> int:
        return max([0, *(time + slow - now for _, time in self.of(user, now))])

    def repeats(self, user: str, text: str, window: int, now: int) -> bool:
        look = LOOK.get(text, text)
        return any(LOOK.get(other, other) == look and time > now - window for other, time in self.of(user, now))

    def share(self, user: str, now: int) -> float:
        heard = sum(math.exp((time - now) / SHARE_MS) for who, _, time in self.said if who == user)
        return heard + sum(1 for who, _, _, time in self.going if who == user and time > now - 30_000)


@given(steps)
def test_every_answer_is_that_of_a_list_of_all_that_was_said(script: list[tuple[str, str, str, int]]) -> None:
    recent, model = Recent(WINDOW), Model()
    now = 1_700_000_000_000
    for ref, (step, user, text, pause) in enumerate(script, 1):
        now += pause
        mine = [each for each in model.going if each[0] == user and each[3] > now - 30_000]
        if step == "heard":
            recent.note(user, -ref, text, now)
            model.said.append((user, text, now))
        elif step == "let pass":
            recent.accept(user, SESSION, ref, text, now)
            model.going.append((user, ref, text, now))
        elif mine and step == "seen":
            recent.note(user, mine[0][1], mine[0][2], now)
            model.going.remove(mine[0])
            model.said.append((user, mine[0][2], now))
        elif mine:
            recent.withdraw(user, SESSION, mine[0][1])
            model.going.remove(mine[0])
        for other in USERS:
            for slow in (0, 1_000, WINDOW):
                assert recent.wait_ms(other, slow, now) == (model.wait_ms(other, slow, now) if slow else 0)
            for window in (500, WINDOW):
                assert recent.repeats(other, text, window, now) == model.repeats(other, text, window, now)
            assert recent.share(other, now) == pytest.approx(model.share(other, now), abs=0.03)


def test_what_was_let_pass_and_then_seen_counts_once() -> None:
    recent = Recent(WINDOW)
    recent.accept("ann", SESSION, 7, "hello", 1_000)
    assert recent.share("ann", 1_000) == 1
    recent.note("ann", 7, "hello", 1_000)
    assert recent.share("ann", 1_000) == 1


def test_what_was_let_pass_twice_counts_once() -> None:
    recent = Recent(WINDOW)
    recent.accept("ann", SESSION, 7, "hello", 1_000)
    recent.accept("ann", SESSION, 7, "hello", 2_000)
    assert recent.share("ann", 2_000) == 1
    recent.note("ann", 7, "hello", 2_000)
    recent.accept("ann", SESSION, 7, "hello", 2_000)
    assert recent.share("ann", 2_000) == 1


def test_who_was_withheld_may_say_the_same_at_once() -> None:
    recent = Recent(WINDOW)
    recent.accept("ann", SESSION, 7, "hello", 1_000)
    assert recent.repeats("ann", "hello", WINDOW, 1_000)
    recent.withdraw("ann", SESSION, 7)
    recent.withdraw("ann", SESSION, 7)
    assert not recent.repeats("ann", "hello", WINDOW, 1_000)
    assert recent.wait_ms("ann", 5_000, 1_000) == 0


def test_a_text_that_was_masked_on_its_way_is_known_in_both_forms() -> None:
    recent = Recent(WINDOW)
    recent.accept("ann", SESSION, 7, "you weasel", 1_000)
    recent.note("ann", 7, "you ******", 1_100)
    assert recent.repeats("ann", "you weasel", WINDOW, 1_200)
    assert recent.repeats("ann", "you ******", WINDOW, 1_200)


def test_a_retry_is_known_while_the_comment_is_on_its_way_and_after_it_was_seen() -> None:
    recent = Recent(WINDOW)
    assert not recent.tried("ann", SESSION, 7)
    recent.accept("ann", SESSION, 7, "hello", 1_000)
    assert recent.tried("ann", SESSION, 7)
    recent.note("ann", 7, "hello", 1_100)
    assert recent.tried("ann", SESSION, 7)
    assert not recent.tried("ann", SESSION, 8)
    # The ref alone proves nothing: a user may have several sessions.
    assert not recent.tried("ann", "t" * 16, 7)
    recent.note("ann", 9, "heard from another node", 1_200)
    assert not recent.tried("ann", SESSION, 7)


def test_a_clock_ahead_of_the_stream_lets_nobody_wait_longer_than_slow_mode() -> None:
    recent = Recent(WINDOW)
    recent.note("ann", 1, "hello", 5_000)
    assert recent.wait_ms("ann", 3_000, 4_000) == 3_000
    assert recent.share("ann", 4_000) == 1


def test_users_and_texts_are_bounded_by_number_and_by_time() -> None:
    recent = Recent(WINDOW, users=3, texts=4)
    for number in range(10):
        recent.note(f"user{number}", 1, "hello", 1_000 + number)
    assert len(recent) == 3
    assert recent.share("user6", 1_010) == 0
    assert recent.share("user7", 1_010) > 0.9
    assert not recent.repeats("user5", "hello", WINDOW, 1_010)
    assert recent.repeats("user6", "hello", WINDOW, 1_010)
    recent.note("late", 1, "hello", 1_000_000)
    assert len(recent) == 1


def test_who_speaks_again_is_not_the_first_to_be_forgotten() -> None:
    recent = Recent(WINDOW, users=2)
    for time, user in enumerate(("ann", "bob", "ann", "小明")):
        recent.note(user, 1, "hello", time)
    assert recent.share("ann", 3) > 1
    assert recent.share("bob", 3) == 0


def test_what_is_never_seen_is_forgotten_by_itself() -> None:
    recent = Recent(WINDOW)
    for number in range(2_500):
        recent.accept(f"user{number}", SESSION, 1, "hello", number * 100)
    now = 2_500 * 100
    assert recent.share("user0", now) == 0
    assert recent.share("user2499", now) == 1
    assert sum(recent.tried(f"user{number}", SESSION, 1) for number in range(2_500)) < 1_500


def test_texts_are_not_looked_at_when_nobody_asks() -> None:
    recent = Recent(WINDOW, texts=0)
    recent.note("ann", 1, "hello", 1_000)
    recent.accept("ann", SESSION, 2, "hello", 1_000)
    assert not recent.repeats("ann", "hello", WINDOW, 1_000)
    assert recent.share("ann", 1_000) == 2
