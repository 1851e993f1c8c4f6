"""The Grafana dashboard: it shows every metric that there is, and none that there is not."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest

from engine.cli import app
from engine.metrics.catalogue import METRICS

DASHBOARD: dict[str, Any] = json.loads(files("engine.metrics").joinpath("dashboard.json").read_text(encoding="utf-8"))
OWN = re.compile(r"\broomcast_\w+")
SELECTED = re.compile(r"\broomcast_\w+(?=\{)")


def panels() -> list[dict[str, Any]]:
    return [*DASHBOARD["panels"], *(panel for row in DASHBOARD["panels"] for panel in row.get("panels", ()))]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def samples() -> dict[str, str]:
    """Names that a query may use → the metric."""
    found = {metric.exposed: metric.name for metric in METRICS if metric.kind != "histogram"}
    for metric in METRICS:
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{end}": metric.name for end in ("bucket", "count", "sum")}
    return found


def test_every_metric_that_is_asked_for_exists() -> None:
    known = samples()
    asked = {name for expression in expressions() for name in OWN.findall(expression)}
    asked |= {name for variable in DASHBOARD["templating"]["list"] for name in OWN.findall(str(variable["query"]))}
    assert asked <= known.keys()


def test_every_metric_is_shown() -> None:
    known = samples()
    shown = {known[name] for expression in expressions() for name in OWN.findall(expression)}
    assert shown == {metric.name for metric in METRICS}


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_sound(expression: str) -> None:
    assert OWN.findall(expression) == SELECTED.findall(expression), "a metric without a selector is of all nodes"
    assert expression.count('{job=~"$job",instance=~"$instance"') == len(OWN.findall(expression))
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    for name in OWN.findall(expression):
        counted = re.search(rf"rate\({name}\{{[^}}]*\}}\[\$__rate_interval\]\)", expression)
        assert bool(counted) == name.endswith(("_total", "_bucket", "_count", "_sum")), "rates are of what only grows"


@pytest.mark.parametrize("expression", expressions())
def test_labels_in_an_expression_are_those_of_the_metric(expression: str) -> None:
    labels = {metric.name: set(metric.labels) for metric in METRICS}
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    metrics = {samples()[name] for name in OWN.findall(expression)}
    for metric in metrics:
        assert grouped - {"le", "instance"} <= labels[metric]


def test_panels_have_ids_places_and_a_data_source_that_can_be_chosen() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        mine = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not mine & cells, panel["title"]
        cells |= mine
        assert panel["type"] in {"row", "timeseries", "stat"}, "what every Grafana has"
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert [target["refId"] for target in panel["targets"]] == [*"ABCDEFGH"][: len(panel["targets"])]
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance"]
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 38


def test_the_command_line_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    app(["dashboard"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == DASHBOARD
