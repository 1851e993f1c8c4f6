"""Small runs against the real engine: its certificate balances, bytes included, whatever befalls its viewers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from runs import Runs, started

RUNS = {
    "burst": ("--viewers", "60", "--codec", "json"),
    "mixed-evening": ("--rooms", "8", "--viewers", "12", "--rate", "3", "--seconds", "3", "--storm-every-seconds", "1"),
    "reconnect-storm": ("--viewers", "60", "--senders", "5", "--seconds", "2", "--storm-every-seconds", "0"),
    "slow-viewers": ("--viewers", "40", "--slow-share", "0.1", "--senders", "4", "--rate", "150", "--seconds", "1"),
    "likes": ("--viewers", "20", "--senders", "20", "--messages", "4000"),
    "many-rooms": ("--rooms", "20", "--viewers", "3", "--rate", "2", "--seconds", "2", "--processes", "2"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with started(tmp_path_factory.mktemp("runs"), {name: (name, *options) for name, options in RUNS.items()}) as made:
        yield made


@pytest.mark.parametrize("name", RUNS)
def test_the_certificate_balances_to_the_byte(runs: Runs, name: str) -> None:
    assert runs.outcome(name)["scenario"] == name


def test_those_cut_off_came_back(runs: Runs) -> None:
    assert runs.outcome("reconnect-storm")["figures"]["returned"] == 20


def test_those_who_stopped_met_a_gap(runs: Runs) -> None:
    figures = runs.outcome("slow-viewers")["figures"]
    assert figures["slow_viewers"] == figures["met_lag_policy"] == 4


def test_likes_arrive_to_the_last_one(runs: Runs) -> None:
    assert runs.outcome("likes")["certificate"]["likes"] > 3_800
