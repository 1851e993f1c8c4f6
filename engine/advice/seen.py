"""What a rule looks at: a node at two moments, and what came between.

Owns how evidence and changes are worded. Pure. A `Finding` is advice without the name of its rule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from engine.advice import counters
from engine.advice.bounds import within
from engine.advice.values import Change, Observation, Severity
from engine.advice.words import Words, say
from engine.reload import COLD

__all__ = ["RESERVED_DESCRIPTORS", "Finding", "Seen"]

RESERVED_DESCRIPTORS: Final = 256
"""That an edge keeps for what is not a viewer, as `engine.edge.edge` has it, which is not to be imported for a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """See `engine.advice.values.Advice`. Of evidence and changes, what is no `Words` is the same in every language."""

    cause: str
    severity: Severity
    what: Words
    evidence: list[str]
    effect: Words
    changes: list[Change] = field(default_factory=list)
    watch: dict[str, Literal["falls", "rises", "stops"]] = field(default_factory=dict)
    room: str = ""


class Seen:
    """See the module's docstring.

    :ivar seconds: between the two; 0 if there is only one.
    :ivar rooms: names of the rooms to be looked at that have a certificate now.
    :ivar live: whether there is a node at all; else there are settings and a machine.
    """

    def __init__(self, earlier: Observation, later: Observation, room: str = "") -> None:
        self._earlier = earlier
        self._later = later
        self.seconds = max(later.at - earlier.at, 0.0)
        self.rooms = [name for name in later.rooms if not room or name == room]
        self.live = bool(later.vitals)

    # -- numbers ------------------------------------------------------------------------------------------------------

    def grew(self, path: str, room: str = "") -> float:
        """By how much a counter has grown."""
        return counters.growth(self._earlier, self._later, path, room)

    def now(self, path: str, room: str = "") -> float:
        """What is there now."""
        return counters.reading(self._later, path, room)

    def table(self, path: str, room: str = "") -> dict[str, float]:
        """By how much each of several counters has grown."""
        return counters.table(self._earlier, self._later, path, room)

    def word(self, path: str) -> str:
        """A text in the vitals; empty if there is none."""
        found: Any = self._later.vitals
        for name in path.split("."):
            found = found.get(name, {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, str) else ""

    def beyond(self, path: str, seconds: float) -> tuple[float, float]:
        """Of durations: how many took longer, and how many there were."""
        return counters.beyond(self.table(f"{path}.counts"), seconds)

    def names(self, path: str, room: str) -> list[str]:
        """Of the parts of a table in a room's certificate, such as its networks."""
        return list(self._later.rooms.get(room, {}).get(path, {}))

    def machine(self, name: str) -> Any:
        """What the machine says; None if it does not."""
        return self._later.machine.get(name)

    def setting(self, path: str) -> Any:
        """In force; None if it is not told."""
        return self._later.settings.get(path)

    def empty(self, path: str) -> bool:
        """Whether it is told of a setting that it holds nothing."""
        value = self.setting(path)
        return value is not None and not value

    def number(self, path: str) -> float:
        """A setting that is a number; 0 if it is not told, or a word."""
        value = self.setting(path)
        return value if isinstance(value, int | float) else 0

    # -- processes ----------------------------------------------------------------------------------------------------

    @property
    def edges(self) -> int:
        """How many processes serve viewers."""
        return max(int(self.now("process.edge.processes")), 1)

    def busy(self, role: str) -> float:
        """Share of a core that each process of a role took, on average; 0 if that cannot be told."""
        processes = max(self.now(f"process.{role}.processes"), 1)
        return self.grew(f"process.{role}.cpu_seconds") / self.seconds / processes if self.seconds else 0.0

    @property
    def roles(self) -> list[str]:
        """Of processes, such as ``hub`` and ``edge``, or ``node``."""
        return list(self._later.vitals.get("process", {}))

    @property
    def busiest(self) -> float:
        """Share of a core that the processes of the busiest role took."""
        return max(map(self.busy, self.roles), default=0.0)

    # -- words --------------------------------------------------------------------------------------------------------

    def over(self, path: str, room: str = "") -> str:
        """Evidence: a counter's growth over the time looked at."""
        grown = _said(self.grew(path, room))
        return say("{path}: {grown} in {seconds:.3g} s", path=self._named(path, room), grown=grown, seconds=self.seconds)

    def at(self, path: str, room: str = "") -> str:
        """Evidence: what is there now."""
        return say("{path}: {now} now", path=self._named(path, room), now=_said(self.now(path, room)))

    def set_to(self, path: str) -> str:
        """Evidence: a setting in force."""
        return f"{path} = {_written(self.setting(path))}"

    def late(self, path: str, seconds: float) -> str:
        """Evidence: how many durations were longer."""
        more, of = self.beyond(path, seconds)
        return say(
            "{path} beyond {bound:g} s: {more} of {of} in {seconds:.3g} s",
            path=path,
            bound=seconds,
            more=_said(more),
            of=_said(of),
            seconds=self.seconds,
        )

    @staticmethod
    def _named(path: str, room: str) -> str:
        return say("{room}: {path}", room=room, path=path.removeprefix("room.")) if room else path

    # -- changes ------------------------------------------------------------------------------------------------------

    def change(self, path: str, to: float | bool | str) -> list[Change]:
        """Another value of a setting, within its bounds; none if it has that already, or is not told."""
        now = self.setting(path)
        if isinstance(to, int | float) and not isinstance(to, bool):
            to = within(path, to)
        if now is None or now == to:
            return []
        return [Change(path, _written(now), _written(to), restart=path in COLD)]

    def raised(self, path: str, to: float) -> list[Change]:
        """As `change`, if that is more."""
        return self.change(path, to) if within(path, to) > self.number(path) else []

    def kernel(self, name: str, to: float) -> list[Change]:
        """A kernel parameter that is to be at least so much, if it is told and is less."""
        now = self.machine(name.rpartition(".")[2])
        return [Change(name, str(now), str(int(to)), "kernel")] if isinstance(now, int) and now < to else []


def _written(value: Any) -> str:
    """As a config file has it: of what is advised JSON and TOML are the same."""
    return json.dumps(value, ensure_ascii=False)


def _said(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"
