"""Statistics of a node without a node: every number that there is, and which kind each is.

Owns what the dataclasses say. Asserts nothing.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from engine.durations import Durations
from engine.edge import EdgeStatistics
from engine.hub import HubStatistics
from engine.metrics.requests import Requests
from engine.pulse import ProcessStatistics

__all__ = ["fields_of", "sample"]

KEYS = {"broker": ("requests", "pushes", "sent", "received", "reads")}
"""Tables whose keys are no labels."""


def _walk(kind: type[Any], path: str) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, here = hints[field.name], f"{path}.{field.name}" if path else field.name
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from _walk(hint, here)
        elif field.name in KEYS:
            for key in KEYS[field.name]:
                yield f"{here}.{key}", int
        elif hint == dict[str, Any]:
            yield here, Durations
        elif typing.get_origin(hint) is dict:
            yield f"{here}.*", int
        else:
            yield here, hint


def fields_of() -> dict[str, Any]:
    """Every number and text of a node's statistics: path → its type; `Durations` for a table of those."""
    found: dict[str, Any] = {"name": str}
    for kind, path in ((HubStatistics, "hub"), (EdgeStatistics, "edge"), (ProcessStatistics, "process.*")):
        found |= dict(_walk(kind, path))
    counted = {f"api.{name}" for name in ("requests.*.*.*", "durations.*.*")}
    return found | {path: Durations if "durations" in path else int for path in counted}


def sample(number: int = 1) -> dict[str, Any]:
    """Statistics in which everything is there.

    :param number: what everything is, or how often there was something.
    """
    durations = Durations()
    for _ in range(number):
        durations.add(0.003)
    requests = Requests()
    for _ in range(number):
        requests.observe("/v1/rooms/{room}", "GET", 200, 0.001)
    table: dict[str, Any] = {}
    for path, kind in fields_of().items():
        if path.startswith("api"):
            continue
        *way, last = path.replace("*", "one").split(".")
        at = table
        for step in way:
            at = at.setdefault(step, {})
        at[last] = durations.table() if kind is Durations else "open" if kind is str else number
    return table | {"api": requests.table()}
