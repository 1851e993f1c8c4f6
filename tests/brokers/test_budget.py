"""A room's purse: the arithmetic of its budget, by itself. What brokers make of it is in the contract."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.base import FREE, LIMITED, NO_BYTES, NO_EVENTS, Pending
from engine.brokers.budget import UNLIMITED, Budget, Purse

from .model import ModelRoom

NOW = 1_700_000_000_000

# Rates of which no fraction of a millisecond's worth is nearer to nothing than the rounding that is forgiven.
rates = st.sampled_from((0.0, 0.25, 1.0, 2.5, 3.0, 100.0))
attempts = st.lists(
    st.tuples(
        st.sampled_from((0, 0, 1, 333, 1_000, 7_000, -1_500)),
        st.builds(
            Pending,
            st.integers(0, 250).map(bytes),
            lane=st.sampled_from((FREE, LIMITED, LIMITED)),
            reserve=st.integers(0, 63),
        ),
    ),
    max_size=40,
)


def limited(size: int, reserve: int = 0) -> Pending:
    return Pending(bytes(size), lane=LIMITED, reserve=reserve)


@given(events=rates, of_bytes=rates, attempts=attempts)
def test_a_purse_pays_what_a_model_in_fractions_does(
    events: float, of_bytes: float, attempts: list[tuple[int, Pending]]
) -> None:
    purse, model, now = Purse(Budget(events, of_bytes)), ModelRoom(0, (Fraction(events), Fraction(of_bytes))), NOW
    for wait, pending in attempts:
        now += wait
        assert min(model.publish([pending], now)[0], 0) == purse.pay(now, pending)


def test_no_limit_refuses_nothing() -> None:
    purse = Purse(UNLIMITED)
    assert not any(purse.pay(NOW, limited(10_000, 63)) for _ in range(1_000))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 300)), min_size=1, max_size=60))
def test_what_is_given_stays_within_the_budget_and_one_seconds_worth(attempts: list[tuple[int, int]]) -> None:
    purse, now, given_events, given_bytes = Purse(Budget(5.0, 300.0)), NOW, 0, 0
    for wait, size in attempts:
        now += wait
        if purse.pay(now, limited(size)) == 0:
            given_events, given_bytes = given_events + 1, given_bytes + size
    seconds = (now - NOW) / 1_000
    assert given_events <= 5 * seconds + 5 + 1e-3
    assert given_bytes <= 300 * seconds + 300 + 1e-3


def test_rounding_does_not_refuse_the_last_of_a_burst() -> None:
    purse, now = Purse(Budget(10.0)), NOW
    for _ in range(10):
        assert purse.pay(now, limited(1)) == 0
    for _ in range(10_000):
        assert purse.pay(now, limited(1)) == NO_EVENTS
        now += 100
        assert purse.pay(now, limited(1)) == 0


def test_what_is_refused_for_want_of_bytes_costs_no_event() -> None:
    purse = Purse(Budget(2.0, 100.0))
    assert [purse.pay(NOW, limited(size)) for size in (60, 60, 40, 1)] == [0, NO_BYTES, 0, NO_EVENTS]


def test_the_debt_of_the_free_lane_is_one_seconds_worth_at_most() -> None:
    purse = Purse(Budget(2.0))
    assert not any(purse.pay(NOW, Pending(b"")) for _ in range(50))
    assert purse.pay(NOW + 1_499, limited(1)) == NO_EVENTS
    assert purse.pay(NOW + 1_500, limited(1)) == 0


def test_levels_of_reserve_are_withheld_one_after_the_other() -> None:
    purse, given_by_reserve = Purse(Budget(64.0)), {48: 0, 32: 0, 16: 0, 0: 0}
    for _ in range(64):
        for reserve in given_by_reserve:
            given_by_reserve[reserve] += purse.pay(NOW, limited(1, reserve)) == 0
    # Four take turns while more than three quarters are left, three while more than half are, and so on.
    assert given_by_reserve == {48: 4, 32: 10, 16: 17, 0: 33}
