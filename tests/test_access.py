"""Identities, names and rates: what a guest is, which texts show anything, and how much may flow."""

from __future__ import annotations

import string
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.access import Permission, Rate, Role, admit, check_room_name
from engine.errors import Code, Refused
from engine.schema import Join
from engine.settings import AccessSettings

SECRET = "abcdefghijklmnopqrstuv"


class Bucket:
    """The same rate as a leaky bucket in exact arithmetic: it holds ``burst``, and one unit leaves every interval."""

    def __init__(self, per_second: int, burst: int) -> None:
        self.interval = Fraction(1, per_second)
        self.burst = burst
        self.level = Fraction(0)
        self.at = Fraction(0)

    def fits(self, now: Fraction) -> int:
        level = max(self.level - (now - self.at) / self.interval, Fraction(0))
        return int(self.burst - level)

    def take(self, now: Fraction, amount: int) -> bool:
        self.level = max(self.level - (now - self.at) / self.interval, Fraction(0))
        self.at = now
        if self.level + amount > self.burst:
            return False
        self.level += amount
        return True


@example(per_second=3, burst=10, start=123_457, steps=[(0, 1)] * 11)
@example(per_second=20, burst=200, start=4_000_000, steps=[(0, 1)] * 201)
@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.sampled_from((0, 0, 0, 1, 7, 130, 1000, 60_000)), st.integers(1, 6)), max_size=40),
)
def test_a_rate_is_a_leaky_bucket(per_second: int, burst: int, start: int, steps: list[tuple[int, int]]) -> None:
    """In steps of a prime fraction of the interval, so that no float stands exactly on the edge but a burst at one moment."""
    rate, bucket = Rate(per_second, burst), Bucket(per_second, burst)
    # Floats this large are exact to less than a nanosecond.
    moment = Fraction(start)
    bucket.at = moment
    state = 0.0
    for step, amount in steps:
        moment += Fraction(step, 1009 * per_second)
        now = float(moment)
        assert rate.fits(state, now) == bucket.fits(moment)
        fitted = bucket.take(moment, amount)
        following = rate.take(state, now, amount)
        assert (following >= 0) == fitted
        if fitted:
            state = following


@example(per_second=3.0, burst=200, now=412590.8783498111, pauses=[0.0, 0.05, 0.95, 0.05, 1.0, 1.0, 0.05, 0.61])
@given(
    st.sampled_from((2.0, 3.0, 7.0, 20.0, 50.0)), st.integers(1, 300), st.floats(0, 1e6), st.lists(st.floats(0, 3), max_size=30)
)
def test_what_fits_may_be_taken_and_no_more(per_second: float, burst: int, now: float, pauses: list[float]) -> None:
    rate = Rate(per_second, burst)
    state = 0.0
    for pause in pauses:
        now += pause
        count = rate.fits(state, now)
        assert 0 <= count <= burst
        if count:
            state = rate.take(state, now, count)
            assert state >= 0, "what fits was refused"
        assert rate.fits(state, now) == 0
        assert rate.take(state, now) < 0


@given(st.integers(1, 100), st.integers(1, 100), st.floats(1, 1e6))
def test_a_burst_at_one_moment_is_taken_one_by_one_and_the_wait_is_told(per_second: int, burst: int, now: float) -> None:
    rate = Rate(per_second, burst)
    state = 0.0
    for _ in range(burst):
        state = rate.take(state, now)
        assert state >= 0
    wait = rate.take(state, now)
    assert wait < 0
    assert -wait == pytest.approx(1 / per_second, rel=1e-3, abs=1e-6)
    assert rate.take(state, now - wait + 1e-6) >= 0


def test_a_rate_forgets_what_was_before_a_silence() -> None:
    rate = Rate(1.0, 3)
    state = 0.0
    for _ in range(3):
        state = rate.take(state, 100.0)
    assert rate.take(state, 100.0) < 0
    assert rate.fits(state, 1000.0) == 3
    assert rate.fits(state, 101.0) == 1


def test_more_than_a_burst_never_fits() -> None:
    assert Rate(1.0, 3).take(0.0, 100.0, 4) < 0
    assert Rate(1.0, 3).take(0.0, 100.0, 3) >= 0


# -- who ---------------------------------------------------------------------------------------------------------------


def test_a_guest_is_given_a_session_that_fits_the_wire() -> None:
    grant = admit(Join(1, "room"), AccessSettings())
    assert 16 <= len(grant.session) <= 64
    assert set(grant.session) <= set(string.ascii_letters + string.digits + "-_")
    assert grant.role is Role.VIEWER
    assert grant.author.name == ""
    assert admit(Join(1, "room"), AccessSettings()).session != grant.session


def test_a_guest_that_returns_is_the_same_whatever_its_name_and_nobody_else_is() -> None:
    first = admit(Join(1, "room", session=SECRET, name="小明", attributes={"勋章": "⭐"}), AccessSettings())
    again = admit(Join(2, "other", session=SECRET, name="别人"), AccessSettings())
    other = admit(Join(1, "room", session=SECRET + "x", name="小明"), AccessSettings())
    assert first.session == again.session == SECRET
    assert first.author.id == again.author.id != other.author.id
    assert SECRET not in first.author.id
    assert (first.author.name, first.author.attributes) == ("小明", {"勋章": "⭐"})


def test_readers_may_do_nothing_but_receive() -> None:
    grant = admit(Join(1, "room"), AccessSettings(anonymous="read"))
    assert grant.role is Role.READER
    assert grant.role.permissions == Permission(0)


def test_nobody_is_admitted_without_a_token_where_anonymous_viewers_are_not() -> None:
    with pytest.raises(Refused) as caught:
        admit(Join(1, "room"), AccessSettings(anonymous="none"))
    assert caught.value.code is Code.FORBIDDEN
    assert "access.anonymous" in caught.value.text


@pytest.mark.parametrize("name", [" ", "\u200b", "\u3000\u2060", "\n", "\u202e", "\u00ad"])
def test_a_name_that_shows_nothing_is_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        admit(Join(1, "room", name=name), AccessSettings())
    assert caught.value.code is Code.EMPTY


def test_roles_grow() -> None:
    assert Permission.COMMENT in Role.VIEWER.permissions
    assert Permission.CUSTOM not in Role.VIEWER.permissions
    for role in (Role.MODERATOR, Role.HOST, Role.SERVER):
        assert Role.VIEWER.permissions in role.permissions
        assert Permission.DIRECT in role.permissions


# -- rooms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["lobby", "大厅", "a b", "🎉", "房" * 85, "x" * 256, "a/b:c"])
def test_good_room_names(room: str) -> None:
    check_room_name(room)


@pytest.mark.parametrize(
    "room", [" a", "a ", "a\n", "a\tb", "\u200b", "a\u202eb", "\u3000a", "房" * 86, "x" * 257, "a\x00", "\ud800", "a\u00a0b"]
)
def test_bad_room_names(room: str) -> None:
    with pytest.raises(Refused) as caught:
        check_room_name(room)
    assert caught.value.code is Code.BAD_ROOM


@given(st.text(max_size=128))
def test_a_room_name_is_taken_or_refused(room: str) -> None:
    try:
        check_room_name(room)
    except Refused:
        return
    assert len(room.splitlines()) <= 1
    assert room == room.strip()
