"""What advice is made of, and what it is made from.

Owns the shapes; all of them are plain enough for JSON. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Advice", "Change", "Language", "Observation", "Severity"]

Language = Literal["en", "zh"]
"""That advice is told in."""
Severity = Literal["fault", "limit", "hint"]
"""``fault``: viewers or the product lose something now. ``limit``: the next thing that will. ``hint``: could be better."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A node at one moment; advice is made from two of them.

    :ivar at: monotonic seconds.
    :ivar vitals: `engine.backend.Backend.vitals`.
    :ivar rooms: certificates of the rooms that are open at the node (`engine.hub.quality`), by name.
    :ivar machine: what the machine says (`engine.machine`).
    :ivar settings: in force, by path, such as ``edge.backlog``; without secrets.
    """

    at: float
    vitals: dict[str, Any]
    rooms: dict[str, dict[str, Any]]
    machine: dict[str, Any]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """Exactly what to change.

    :ivar setting: path in the config file; or the name of a kernel parameter or a command, for what is not in it.
    :ivar now: what it is; ``to`` what it should be, as it is written in the config file.
    :ivar where: ``config`` (at once, or after a ``restart``), ``kernel``, ``service`` (limits of the process), ``product``
        (nothing to set: something to do).
    """

    setting: str
    now: str
    to: str
    where: Literal["config", "kernel", "service", "product"] = "config"
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice.

    :ivar cause: what limits: ``cpu``, ``loop``, ``descriptors``, ``kernel``, ``network``, ``broker``, ``database``,
        ``last_mile``, ``setting``, ``product``.
    :ivar rule: name of the rule, a stable identifier such as ``viewers_refused``.
    :ivar what: what is wrong, one sentence.
    :ivar evidence: what it was seen by, each a counter with its value over the time looked at, such as
        ``edge.refused.503: 40 in 10 s``.
    :ivar changes: what to change; empty if nothing helps here.
    :ivar effect: what the change should do, in terms of the evidence.
    :ivar watch: paths of counters that should move as promised, each with ``falls``, ``rises`` or ``stops``: in the vitals, or
        after ``machine.`` in what the machine says, after ``room.`` in the room's certificate (`engine.advice.counters`).
    :ivar room: that it is about; empty: the node.
    """

    cause: str
    rule: str
    severity: Severity
    what: str
    evidence: list[str]
    changes: list[Change]
    effect: str
    watch: dict[str, Literal["falls", "rises", "stops"]] = field(default_factory=dict)
    room: str = ""
