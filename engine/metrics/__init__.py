"""The node's statistics as Prometheus reads them.

Owns the form: text format 0.0.4 of `prometheus_client`, from the table in `engine.metrics.catalogue`. Must not know where
statistics come from. It takes milliseconds: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from engine.durations import BOUNDS
from engine.metrics.catalogue import ANY, METRICS, Metric

__all__ = ["CONTENT_TYPE", "render"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_FAMILIES: Final[dict[str, type[_Family]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
_LE: Final = (*map(repr, BOUNDS), "+Inf")


def render(vitals: Mapping[str, Any]) -> bytes:
    """The metrics of a node.

    :param vitals: `engine.backend.Backend.vitals`, and under ``api`` `engine.metrics.requests.Requests.table`, if there is one.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Vitals(vitals))
    return generate_latest(registry)


class _Vitals(Collector):
    """What `prometheus_client` asks for metrics."""

    def __init__(self, vitals: Mapping[str, Any]) -> None:
        self._vitals = vitals

    def collect(self) -> Iterator[_Family]:
        for metric in METRICS:
            family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
            for labels, value in _found(self._vitals, metric.path):
                _add(family, metric, labels, value)
            if family.samples:
                yield family


def _add(family: _Family, metric: Metric, labels: list[str], value: Any) -> None:
    if isinstance(family, HistogramMetricFamily):
        counts, running = value["counts"], 0
        buckets: list[tuple[str, float]] = []
        for number, bound in enumerate(_LE):
            running += counts.get(str(number), 0)
            buckets.append((bound, running))
        family.add_metric(labels, buckets, value["seconds"])
    else:
        family.add_metric(labels, metric.read(value))


def _found(table: Any, path: Iterable[str]) -> list[tuple[list[str], Any]]:
    """What is at a path, and the keys that stand for each `ANY`."""
    found: list[tuple[list[str], Any]] = [([], table)]
    for step in path:
        if step == ANY:
            found = [([*labels, str(key)], value) for labels, each in found for key, value in each.items()]
        else:
            found = [(labels, each[step]) for labels, each in found if step in each]
    return found
