"""Statistics of a node out of those of its processes, in the shape that a single process has.

Owns the sums. Pure. Numbers are added, tables by their keys; what describes a moment counts only for processes that were there
to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["summed"]

_MOMENTARY: Final = frozenset(
    {
        *("connections", "viewers", "viewers_max", "rooms", "laggards", "log_bytes", "events_waiting"),
        *("waiting", "outbox", "marks_waiting"),
    }
)
"""What there is, rather than what was done."""
_LARGEST: Final = ("_mean", "_max", "_ms")
"""Ends the names of what cannot be added."""


def summed(present: Iterable[Mapping[str, Any]], past: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Add up; of means, extremes and quantiles the largest counts, of texts the last.

    :param present: of processes that were there at the end.
    :param past: of those that ended before.
    """
    total: dict[str, Any] = {}
    for statistics in past:
        _add(total, statistics, past=True)
    for statistics in present:
        _add(total, statistics)
    return total


def _add(total: dict[str, Any], part: Mapping[str, Any], *, past: bool = False) -> None:
    for name, value in part.items():
        if isinstance(value, Mapping):
            _add(total.setdefault(name, {}), value, past=past)
        elif isinstance(value, str):
            total[name] = value
        elif name in _MOMENTARY:
            total[name] = total.get(name, 0) + (0 if past else value)
        elif name.endswith(_LARGEST):
            total[name] = max(total.get(name, 0), value)
        else:
            total[name] = total.get(name, 0) + value
