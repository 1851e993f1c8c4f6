"""What edges in other processes have done, as one table, and with the hub's own statistics the whole node's.

Owns the sum and its shape, and the line that stands for each edge. Must not know what an edge counts.

Everything counts from an edge's first report to this hub, which is the first thing that comes over a link, and what edges that
are gone had reported stays in the sum. So nothing falls while the hub lives, and when it is replaced all begins at zero, with
its own counters. Rejected: to add up what edges have counted in their lives. After the hub was replaced that sum would begin
without the edges that are gone, lower than before but far from zero, and who reads it would take all of it for new.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from engine.pulse import ProcessStatistics
from engine.totals import since, summed

__all__ = ["EdgeVitals", "edge_line", "node_vitals"]


class EdgeVitals:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._first: dict[str, Mapping[str, Any]] = {}
        self._last: dict[str, Mapping[str, Any]] = {}
        self._past: dict[str, Any] = {}
        self._pids: dict[str, int] = {}

    def tell(self, edge: str, statistics: Mapping[str, Any]) -> None:
        """An edge's latest report.

        :param edge: incarnation of its process, whose id may be told with it as ``pid``.
        """
        if "pid" in statistics:
            # Which cannot be added up.
            self._pids[edge] = statistics["pid"]
            statistics = {name: value for name, value in statistics.items() if name != "pid"}
        self._first.setdefault(edge, statistics)
        self._last[edge] = statistics

    def part(self, edge: str) -> None:
        """Its link has ended. If it comes back, it counts from its first report then."""
        if (last := self._last.pop(edge, None)) is not None:
            self._past = summed([], [self._past, since(last, self._first.pop(edge))])
            self._pids.pop(edge, None)

    def summed(self) -> dict[str, Any]:
        """All edges in one, as `engine.edge.EdgeStatistics` as a table; empty as long as none has reported."""
        return summed((since(last, self._first[edge]) for edge, last in self._last.items()), [self._past])

    def lines(self) -> list[dict[str, Any]]:
        """Each edge that is there, as `edge_line`, by the id of its process."""
        lines = (edge_line(edge, self._pids.get(edge, 0), last, last.get("process", {})) for edge, last in self._last.items())
        return sorted(lines, key=lambda line: (line["pid"], line["name"]))


def edge_line(name: str, pid: int, edge: Mapping[str, Any], process: Mapping[str, Any]) -> dict[str, Any]:
    """An edge in a list of them: what its process takes, how late its loop is, and what it does.

    :param name: incarnation of its process.
    :param edge: `engine.edge.EdgeStatistics` as a table; ``process`` `engine.pulse.ProcessStatistics`.
    """
    return {
        "name": name,
        "pid": pid,
        "connections": edge.get("connections", 0),
        "viewers_max": edge.get("viewers_max", 0),
        "stalls": edge.get("stalls", 0),
        "cpu_seconds": process.get("cpu_seconds", 0.0),
        "loop_delay_max": process.get("loop_delay_max", 0.0),
        "resident_bytes": process.get("resident_bytes", 0),
        "descriptors": process.get("descriptors", 0),
    }


def node_vitals(
    name: str, hub: dict[str, Any], edges: dict[str, Any], process: ProcessStatistics, lines: list[dict[str, Any]]
) -> dict[str, Any]:
    """What `engine.backend.Backend.vitals` gives where edges are other processes.

    :param hub: its statistics as a table; ``edges`` as `EdgeVitals.summed` has it.
    :param process: the hub's own.
    :param lines: `EdgeVitals.lines`.
    """
    processes = {"hub": dataclasses.asdict(process)}
    if (of_edges := edges.pop("process", None)) is not None:
        processes["edge"] = of_edges
    return {"name": name, "hub": hub, "edge": edges, "process": processes, "edges": lines}
