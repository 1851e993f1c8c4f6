"""Statistics of a node out of those of its processes, in the shape that a single process has.

Owns the sums. Pure. Numbers are added, tables by their keys; what describes a moment counts only for processes that were there
to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["is_extreme", "is_momentary", "since", "summed"]

_MOMENTARY: Final = frozenset(
    {
        *("connections", "viewers", "viewers_max", "rooms", "laggards", "log_bytes", "events_waiting"),
        *("waiting", "outbox", "marks_waiting"),
        *("letters", "oldest_ms", "breakers", "breakers_open"),
        *("processes", "resident_bytes", "descriptors"),
    }
)
"""What there is, rather than what was done."""
_LARGEST: Final = ("_mean", "_max", "_ms")
"""Ends the names of what cannot be added."""


def is_momentary(name: str | int) -> bool:
    """Whether it is what there is, rather than what was done."""
    return name in _MOMENTARY


def is_extreme(name: str | int) -> bool:
    """Whether it cannot be added: a mean, an extreme, a quantile. A close code, which is a number, names none."""
    return isinstance(name, str) and name.endswith(_LARGEST) and name not in _MOMENTARY


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


def since(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """What one process has done between two of its reports; what cannot be subtracted is as it is now."""
    return {name: _since(name, value, then.get(name)) for name, value in now.items()}


def _since(name: str | int, now: Any, then: Any) -> Any:
    if isinstance(now, Mapping):
        return since(now, then or {})
    if isinstance(now, str) or is_momentary(name) or is_extreme(name):
        return now
    return now - (then or 0)


def _add(total: dict[str, Any], part: Mapping[str, Any], *, past: bool = False) -> None:
    for name, value in part.items():
        if isinstance(value, Mapping):
            _add(total.setdefault(name, {}), value, past=past)
        elif isinstance(value, str):
            total[name] = value
        elif is_momentary(name):
            total[name] = total.get(name, 0) + (0 if past else value)
        elif is_extreme(name):
            total[name] = max(total.get(name, 0), value)
        else:
            total[name] = total.get(name, 0) + value
