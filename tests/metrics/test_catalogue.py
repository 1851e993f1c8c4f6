"""The table of metrics: it has every number that there is, and says of each what it is."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from engine.durations import Durations
from engine.metrics.catalogue import ANY, METRICS, UNEXPORTED, Metric
from engine.totals import is_extreme, is_momentary

from .tables import fields_of


def path_of(metric: Metric) -> str:
    return ".".join(metric.path)


def test_every_number_is_exported_or_not_for_a_reason() -> None:
    exported = {path_of(metric) for metric in METRICS}
    assert exported | UNEXPORTED.keys() == fields_of().keys()
    assert not exported & UNEXPORTED.keys()
    assert all(UNEXPORTED.values())


def test_each_number_is_exported_once_under_a_name_of_its_own() -> None:
    assert not [path for path, times in Counter(map(path_of, METRICS)).items() if times > 1]
    assert not [name for name, times in Counter(metric.name for metric in METRICS).items() if times > 1]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_follows_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"roomcast(_[a-z]+)+", metric.name)
    assert not re.search(r"_(ms|milliseconds|kilobytes|percent|total|bucket|count|sum|created|info)$", metric.name)
    assert metric.help[0].isupper()
    assert metric.help.endswith(".")
    assert len(metric.labels) == metric.path.count(ANY)
    assert set(metric.labels) <= {"role", "status", "code", "route", "method", "kind", "verdict", "setting"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_what_is_added_up_over_processes_is_a_counter_and_nothing_else_is(metric: Metric) -> None:
    field = next(step for step in reversed(metric.path) if step != ANY)
    if metric.kind == "histogram":
        assert fields_of()[path_of(metric)] is Durations
    elif metric.kind == "counter":
        assert not is_momentary(field)
        assert not is_extreme(field)
    elif path_of(metric) != "hub.money.lane.ledger":
        assert is_momentary(field) or is_extreme(field)
