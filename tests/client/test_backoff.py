"""Back-off: delays grow with full jitter, ask what the server asked, and close codes are judged by their band."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.client.backoff import Backoff, Loss, judge
from engine.errors import Close


class Largest(Random):
    """Randomness at its upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Smallest(Random):
    """Randomness at its lower end."""

    def uniform(self, a: float, b: float) -> float:
        return a


def test_the_ceiling_doubles_up_to_the_cap_and_begins_anew_after_a_success() -> None:
    backoff = Backoff(Largest())
    assert [backoff.delay(Loss()) for _ in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 20, 20]
    assert backoff.attempts == 9
    backoff.reset()
    assert backoff.delay(Loss()) == 0.25


def test_the_jitter_is_full() -> None:
    backoff = Backoff(Smallest())
    assert [backoff.delay(Loss()) for _ in range(9)] == [0] * 9


def test_a_pause_asked_for_has_a_lower_bound() -> None:
    assert Backoff(Smallest()).delay(Loss(patient=True)) == 2
    assert Backoff(Smallest(), cap_seconds=1).delay(Loss(patient=True)) == 1


def test_the_server_s_window_is_kept() -> None:
    loss = Loss(after_seconds=3, window_seconds=10)
    assert Backoff(Smallest()).delay(loss) == 3
    assert Backoff(Largest()).delay(loss) == 13


@given(st.integers(0, 5_000), st.integers(0, 2**32))
def test_delays_stay_within_bounds(attempts: int, seed: int) -> None:
    backoff = Backoff(Random(seed))
    backoff.attempts = attempts
    assert 0 <= backoff.delay(Loss()) <= 20


@pytest.mark.parametrize("code", [*range(4000, 4400), 1001, 1005, 1006, 1011, 1012, 1013, 1014])
def test_these_codes_say_come_back(code: int) -> None:
    assert not judge(code).final


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 3000, 3999, *range(4400, 4700, 7), 4999])
def test_these_codes_say_stay_away(code: int) -> None:
    assert judge(code).final


def test_the_judgement_agrees_with_the_engine_s() -> None:
    assert [code for code in Close if judge(code).final] == [code for code in Close if not code.resumable]


def test_only_the_second_band_asks_for_patience() -> None:
    assert not judge(4150).patient
    assert judge(4350).patient
