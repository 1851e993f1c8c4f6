"""Which storms there can be, and that a seed draws the same one each time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from bench.kills.plan import FIRST_SECONDS, RETURNING_SECONDS, STARTING_SECONDS, Moment, Storm, StormError, kills_of


def test_a_seed_draws_the_same_kills_and_another_seed_others() -> None:
    storm = Storm(kills=30, nodes=3, workers=2)
    assert kills_of(storm) == kills_of(storm)
    assert kills_of(storm) != kills_of(replace(storm, seed=2))
    assert len(kills_of(storm)) == 30


def test_more_kills_begin_with_the_same_ones() -> None:
    assert kills_of(Storm(kills=50))[:6] == kills_of(Storm(kills=6))


@pytest.mark.parametrize("seed", range(5))
def test_every_moment_is_drawn_within_its_time(seed: int) -> None:
    storm = Storm(kills=200, seed=seed, nodes=3, workers=2, seconds_between=2.0)
    kills = kills_of(storm)
    most = {
        Moment.RUNNING: 4.0,
        Moment.STARTING: STARTING_SECONDS,
        Moment.RETURNING: RETURNING_SECONDS,
        Moment.FIRST: FIRST_SECONDS,
    }
    assert all(0 <= kill.seconds <= most[kill.moment] for kill in kills)
    assert set(Counter(kill.moment for kill in kills)) == set(Moment)
    assert {kill.node for kill in kills} == {0, 1, 2}
    assert {kill.role for kill in kills} == {"node", "hub", "edge"}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_killed_before_it_serves_again_was_killed_as_a_whole(seed: int) -> None:
    kills = kills_of(Storm(kills=200, seed=seed, nodes=3, workers=2))
    assert not kills[0].moment.again
    for before, kill in pairwise(kills):
        if kill.moment.again:
            assert (before.node, "node", "node") == (kill.node, kill.role, before.role)


def test_without_workers_only_nodes_are_killed() -> None:
    assert {kill.role for kill in kills_of(Storm(kills=100))} == {"node"}


@pytest.mark.parametrize(("storm", "word"), [(Storm(nodes=2), "--redis"), (Storm(redis=True), "--ledger postgresql")])
def test_what_cannot_be_is_told(storm: Storm, word: str) -> None:
    with pytest.raises(StormError, match=word):
        storm.check()


def test_what_can_be_is_taken() -> None:
    Storm().check()
    Storm(ledger="postgresql").check()
    Storm(ledger="postgresql", redis=True, nodes=3, workers=2).check()
