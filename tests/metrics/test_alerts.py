"""The rules for Prometheus: they ask for metrics that there are."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest
import yaml

from engine.metrics.catalogue import METRICS

GROUPS: dict[str, Any] = yaml.safe_load(files("engine.metrics").joinpath("alerts.yml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in GROUPS["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_is_sound(rule: dict[str, Any]) -> None:
    assert rule.keys() == {"alert", "expr", "for", "annotations"}
    expression = rule["expr"]
    labels = {metric.exposed: set(metric.labels) for metric in METRICS if metric.kind != "histogram"}
    labels |= {f"{metric.name}_bucket": {*metric.labels, "le"} for metric in METRICS if metric.kind == "histogram"}
    asked = re.findall(r"\broomcast_\w+", expression)
    assert asked
    assert set(asked) <= labels.keys()
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert told <= grouped
    for name in asked:
        assert grouped - {"job", "instance"} <= labels[name]
        counted = re.search(rf"rate\({name}\[\d+m\]\)", expression)
        assert bool(counted) == name.endswith(("_total", "_bucket"))
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_rules_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
