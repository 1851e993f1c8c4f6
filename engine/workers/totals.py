"""Statistics of a node out of those of its processes, in the shape that a single process has.

Owns the sums. Pure. Numbers are added, tables by their keys; what describes a moment counts only for processes that were there
to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["summed"]

_MOMENTARY: Final = frozenset({"connections", "viewers", "viewers_max", "rooms", "laggards", "log_bytes", "events_waiting"})
"""What there is, rather than what was done."""


def summed(present: Iterable[Mapping[str, Any]], past: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Add up.

    :param present: of processes that were there at the end.
    :param past: of those that ended before.
    """
    total: dict[str, Any] = {}
    for statistics in present:
        _add(total, statistics)
    for statistics in past:
        _add(total, {name: 0 if name in _MOMENTARY else value for name, value in statistics.items()})
    return total


def _add(total: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, Mapping):
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value
