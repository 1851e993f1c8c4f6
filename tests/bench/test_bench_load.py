"""Loads, scenario files and audiences: what a run is made of, before anything runs."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.audience import Audience, room_sizes
from bench.load import KINDS, Load, LoadError, changed, load_fields
from bench.scenario import read_scenario, shipped

LOADS = st.builds(
    Load,
    rooms=st.integers(1, 30),
    viewers=st.integers(1, 40),
    tail=st.floats(0, 3),
    senders=st.integers(1, 50),
    slow_share=st.floats(0, 0.9),
    storm_share=st.floats(0, 1),
    seed=st.integers(),
)


@given(LOADS)
def test_an_audience_places_everybody_once(load: Load) -> None:
    audience = Audience(load)
    assert sum(audience.sizes) == audience.everybody == load.everybody
    assert min(audience.sizes) >= 1
    assert sorted(audience.sizes, reverse=True) == audience.sizes or not load.tail
    rooms = [audience.room_of(viewer) for viewer in range(audience.everybody)]
    assert [rooms.count(room) for room in range(load.rooms)] == audience.sizes
    assert rooms == sorted(rooms)
    assert {rooms[sender] for sender in audience.senders} == set(range(load.rooms))
    assert len(set(audience.senders)) == len(audience.senders)
    assert not audience.slow & set(audience.senders)
    victims = audience.storm(3)
    assert len(set(victims)) == len(victims)
    assert not set(victims) & (audience.slow | set(audience.senders))
    assert victims == Audience(load).storm(3)


def test_rooms_fall_in_size_as_told() -> None:
    assert room_sizes(3, 9, 0.0) == [3, 3, 3]
    sizes = room_sizes(100, 10_000, 1.5)
    assert sizes[0] > 3_500
    assert sizes[-1] < 20
    with pytest.raises(ValueError, match="more rooms"):
        room_sizes(3, 2, 0.0)


def test_speakers_of_rooms_take_turns() -> None:
    assert Audience(Load(rooms=2, viewers=10, senders=2)).senders == (0, 10, 5, 15)


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_is_sound_and_says_what_it_measures(name: str) -> None:
    scenario = read_scenario(name)
    assert scenario.name == name
    assert len(scenario.text) > 20
    assert changed(Load(), asdict(scenario.load), strict=True) == scenario.load


def test_every_field_has_a_text() -> None:
    assert list(load_fields()) == list(asdict(Load()))
    assert all(field.text.endswith(".") for field in load_fields().values())


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"viewers": 0}, "viewers"),
        ({"viewers": "5"}, "viewers"),
        ({"viewers": 1.5}, "viewers"),
        ({"nobody": 1}, "no such field"),
        ({"text": "latin"}, "text"),
        ({"kinds": {"gift": 1.0}}, "gift cannot be sent"),
        ({"kinds": {}}, "shares"),
        ({"kinds": {"reaction": 1.0}}, "reactions are given"),
        ({"speech": "taps"}, "taps are likes"),
        ({"speech": "burst", "notices": 1.0}, "notices"),
        ({"speech": "visits", "seconds": 0.5}, "needs a length"),
        ({"kinds": {"like": -1.0}}, "shares"),
        ({"body_bytes": 12}, "body_bytes"),
        ({"speech": "burst", "storm_share": 0.5}, "storm_share"),
        ({"speech": "silence", "slow_share": 0.5}, "slow_share"),
        ({"seconds": 0}, "length"),
    ],
)
def test_what_is_not_allowed_is_told(values: dict[str, object], word: str) -> None:
    with pytest.raises(LoadError, match=word):
        changed(Load(), values, strict=True)


def test_all_faults_are_told_at_once_and_a_command_line_gives_text() -> None:
    with pytest.raises(LoadError) as caught:
        changed(Load(), {"viewers": -1, "rate": "fast", "seed": None}, strict=False, where="--")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["--viewers", "--rate", "--seed"]
    made = changed(Load(), {"viewers": "7", "rate": "2.5", "compression": True, "kinds": {"like": "1"}}, strict=False)
    assert (made.viewers, made.rate, made.compression, made.kinds) == (7, 2.5, True, {"like": 1.0})
    assert set(KINDS) == {"comment", "like", "reaction"}
