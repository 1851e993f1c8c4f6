"""The text that Prometheus reads."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.durations import BOUNDS, Durations
from engine.metrics import render
from engine.metrics.catalogue import METRICS
from engine.metrics.requests import OTHER, Requests
from engine.node import open_node
from engine.settings import EdgeSettings, Settings

from .tables import sample


def parsed(vitals: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """Samples: name and the values of its labels, by the labels' names, → value."""
    families = text_string_to_metric_families(render(vitals).decode())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_every_metric_is_there_with_its_type_and_its_meaning() -> None:
    families = {family.name: family for family in text_string_to_metric_families(render(sample()).decode())}
    assert set(families) == {metric.name for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert {tuple(each.labels) for each in family.samples if "le" not in each.labels} == {tuple(sorted(metric.labels))}
        assert not [each for each in family.samples if each.name.endswith("_created")]


def test_values_are_what_the_statistics_say() -> None:
    vitals = sample(3)
    vitals["edge"]["closed"] = {4000: 7, "1000": 5}
    vitals["hub"]["money"]["lane"]["ledger"] = "disk full"
    vitals["hub"]["webhooks"] = {"oldest_ms": 2500}
    samples = parsed(vitals)
    assert samples["roomcast_events_published_total",] == 3
    assert samples["roomcast_viewers",] == 3
    assert samples["roomcast_closes_total", "4000"] == 7
    assert samples["roomcast_closes_total", "1000"] == 5
    assert samples["roomcast_ledger_up",] == 0
    assert samples["roomcast_webhook_oldest_seconds",] == 2.5
    assert samples["roomcast_cpu_seconds_total", "one"] == 3
    assert samples["roomcast_api_requests_total", "GET", "/v1/rooms/{room}", "200"] == 3


def test_a_histogram_tells_how_many_took_how_long_at_most() -> None:
    durations = Durations()
    for seconds in (-1.0, BOUNDS[0], 0.0011, 0.002, BOUNDS[-1] + 1):
        durations.add(seconds)
    samples = parsed({"edge": {"fanout_delays": durations.table()}})
    buckets = {key[1]: value for key, value in samples.items() if key[0] == "roomcast_fanout_delay_seconds_bucket"}
    assert list(buckets) == [*map(repr, BOUNDS), "+Inf"]
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets["0.00025"], buckets["0.001"], buckets["0.002"], buckets["8.192"], buckets["+Inf"]) == (2, 2, 4, 4, 5)
    assert samples["roomcast_fanout_delay_seconds_count",] == 5
    assert samples["roomcast_fanout_delay_seconds_sum",] == pytest.approx(BOUNDS[0] + 0.0011 + 0.002 + BOUNDS[-1] + 1)


def test_what_a_node_has_not_is_left_out() -> None:
    assert render({}) == b""
    assert parsed({"name": "n", "hub": {"rooms": 2}, "edge": {}}) == {("roomcast_rooms",): 2.0}


def test_labels_can_hold_anything() -> None:
    requests = Requests()
    requests.observe('/a"b\\c\n{d}é', "GET", 200, 0.1)
    samples = parsed({"api": requests.table()})
    assert samples["roomcast_api_requests_total", "GET", '/a"b\\c\n{d}é', "200"] == 1


async def test_a_node_has_all_but_what_it_does_not_use() -> None:
    async with open_node(Settings(edge=EdgeSettings(port=0))) as node:
        vitals = node.vitals()
    text = render(vitals).decode()
    absent = {metric.name for metric in METRICS if f"# HELP {metric.exposed} " not in text}
    tables = {"closes", "limits_reached", "handshakes_refused", "comments_refused", "hook_questions", "hook_verdicts"}
    broker = {"broker_requests", "broker_pushes", "broker_sent_bytes", "broker_received_bytes", "broker_reads"}
    api = {"api_requests", "api_request_seconds"}
    assert absent <= {f"roomcast_{name}" for name in tables | broker | api}


# -- requests ---------------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_template_method_and_status() -> None:
    requests = Requests()
    for status, seconds in ((200, 0.01), (200, 0.02), (404, 0.001)):
        requests.observe("/v1/rooms/{room}", "GET", status, seconds)
    requests.observe("", "BREW", 404, 0.001)
    before = requests.table()
    assert before["requests"] == {"/v1/rooms/{room}": {"GET": {200: 2, 404: 1}}, OTHER: {OTHER: {404: 1}}}
    assert before["durations"]["/v1/rooms/{room}"]["GET"]["seconds"] == pytest.approx(0.031)
    requests.observe("/v1/rooms/{room}", "GET", 200, 0.01)
    assert before["requests"]["/v1/rooms/{room}"]["GET"][200] == 2


def test_whatever_is_asked_for_labels_are_bounded() -> None:
    requests = Requests()
    for number in range(2_000):
        requests.observe(f"/{number}", f"M{number}", 200, 0.0)
    table = requests.table()
    assert len(table["requests"]) <= 501
    assert sum(sum(each.values()) for methods in table["requests"].values() for each in methods.values()) == 2_000
    assert {method for methods in table["requests"].values() for method in methods} == {OTHER}
