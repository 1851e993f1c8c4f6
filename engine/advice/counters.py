"""Numbers in what a node tells of itself, by path: what they are, and by how much they have grown.

Owns the paths. ``edge.refused.503`` is in the node's vitals, ``machine.retrans_segs`` in what the machine says,
``room.withheld.budget`` in the certificate of the room that is asked about. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.advice.values import Observation
from engine.durations import BOUNDS

__all__ = ["beyond", "grown", "growth", "reading", "table"]


def growth(earlier: Observation, later: Observation, path: str, room: str = "") -> float:
    """By how much a counter has grown between two observations; 0 if there is none, or it is no number.

    A counter that fell began anew with its process, and counts as it is. A table counts as the sum of its numbers.
    """
    return grown(_found(earlier, path, room), _found(later, path, room))


def grown(before: Any, now: Any) -> float:
    """As `growth`, of what was found."""
    then, total = _sum(before), _sum(now)
    return total - then if total >= then else total


def reading(observation: Observation, path: str, room: str = "") -> float:
    """What is there now; 0 if nothing is."""
    return _sum(_found(observation, path, room))


def table(earlier: Observation, later: Observation, path: str, room: str = "") -> dict[str, float]:
    """By how much each counter of a table has grown, without those that have not."""
    before, now = _found(earlier, path, room), _found(later, path, room)
    if not isinstance(now, Mapping):
        return {}
    old = {str(key): value for key, value in before.items()} if isinstance(before, Mapping) else {}
    counts = {str(key): grown(old.get(str(key)), value) for key, value in now.items()}
    return {key: count for key, count in counts.items() if count}


def beyond(counts: Mapping[str, float], seconds: float) -> tuple[float, float]:
    """Of durations that came, by bucket (`engine.durations.Durations.table`): how many took longer, and how many there were.

    :param seconds: rounded up to a bucket's bound.
    """
    first = sum(bound < seconds for bound in BOUNDS) + 1
    return sum(count for bucket, count in counts.items() if int(bucket) >= first), sum(counts.values())


def _found(observation: Observation, path: str, room: str) -> Any:
    root, _, rest = path.partition(".")
    if root == "machine":
        return _at(observation.machine, rest)
    if root == "room":
        return _at(observation.rooms.get(room, {}), rest)
    return _at(observation.vitals, path)


def _at(found: Any, path: str) -> Any:
    """Of keys that have dots in them, such as settings, the longest that is there counts."""
    if not path:
        return found
    if not isinstance(found, Mapping):
        return None
    names = {str(key): key for key in found}
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in names:
            return _at(found[names[name]], ".".join(parts[length:]))
    return None


def _sum(value: Any) -> float:
    if isinstance(value, Mapping):
        return sum(map(_sum, value.values()))
    return float(value) if isinstance(value, int | float) else 0.0
