"""Two records of one load → for every figure: better, worse or the same, and how sure that is.

Owns the judgement. Must not know how figures are measured or shown. A figure is worse when it is so by more than the
tolerance *and* by more than the noise *and* by more than its unit can tell:

*Tolerance.* The larger of two values divided by the smaller, less one: 0.1 lets a latency grow by 10 % and a throughput
fall by 9.1 %, so that exchanging the records exchanges better and worse and nothing else.

*Noise.* Rounds of a record spread. Order statistics bound the median of what they are drawn from without any assumption on
its distribution: of n sorted rounds the k-th from either end, with the largest k for which the chance that the median lies
outside, 2 · P(Binomial(n, ½) < k), is at most 5 % (David and Nagaraja, Order Statistics, 7.1). With fewer than six rounds no
k is as sure, and the least and the most are taken: 94 % for five, 75 % for three. Bounds that do not overlap are beyond
noise; for two records of five rounds that happens by chance once in 126 comparisons, which leaves room for thirty figures
at once. Bootstrapping the difference was rejected: from five values it promises more than it knows.
With fewer than three rounds on either side there are no bounds, and tolerance judges alone.

The bounds know the noise between rounds only. What changed between the two runs, a busy neighbour say, looks like a change
of the engine: compare runs made one right after the other, on a machine with nothing else to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import comb, isfinite, nan
from typing import Any, Final, Literal

from bench.load import Load
from bench.report.record import FIGURES, Record

__all__ = ["Change", "CompareError", "Comparison", "Verdict", "bounds", "compare"]

OUTSIDE: Final = 20
"""Once in so many the median may lie outside its bounds."""
ROUNDS_MIN: Final = 3
"""Rounds that give bounds at all: the median lies between the least and the most of two only every other time."""
MS_FLOOR: Final = 1.0
"""A wakeup on a busy core comes so late, whatever the engine does."""
SHARE_FLOOR: Final = 0.005
"""Of a core: half the kernel's clock tick of 10 ms each second."""
SECONDS_FLOOR: Final = 0.02
"""Two ticks of the kernel's clock."""
MEMORY_FLOOR: Final = 256 << 10
"""Bytes: the allocators take memory from the kernel and give it back in about such pieces."""

Verdict = Literal["better", "worse", "same"]
Bounds = tuple[float, float]


class CompareError(Exception):
    """Two records cannot be compared. The text says why, one reason a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of both records.

    :ivar change: from ``a`` to ``b`` as a share of ``a``; None when that is zero.
    :ivar a_bounds: between which the median lies, from the rounds; None without enough of them.
    :ivar change_bounds: the least and the most that the change can be, from both.
    :ivar reason: of "same": ``equal``, within ``tolerance`` or ``noise``, or a difference ``too small`` to tell anything.
    """

    name: str
    a: float
    b: float
    change: float | None
    a_bounds: Bounds | None
    b_bounds: Bounds | None
    change_bounds: Bounds | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result.

    :ivar rounds: of a and b.
    :ivar verified: whether a and b are.
    :ivar warnings: what makes the comparison less sure.
    """

    scenario: str
    tolerance: float
    rounds: tuple[int, int]
    verified: tuple[bool, bool]
    changes: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def regressed(self) -> bool:
        """Whether any figure is worse."""
        return any(change.verdict == "worse" for change in self.changes)

    @property
    def failed(self) -> bool:
        """Whether b is not to be accepted: a figure is worse, or its deliveries are not verified."""
        return self.regressed or not self.verified[1]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"regressed": self.regressed, "failed": self.failed}


def compare(a: Record, b: Record, tolerance: float, figures: Sequence[str] = (), *, force: bool = False) -> Comparison:
    """Judge b by a.

    :param tolerance: see the module's docstring.
    :param figures: judge only these; all that both records have otherwise.
    :param force: compare different loads all the same.
    :raises CompareError: the loads differ, a figure is not in both or has no better direction, or none is left.
    """
    other = _different_loads(a, b)
    if other and not force:
        raise CompareError("\n".join(["these are runs of different loads, which compare only by --force:", *other]))
    names = _chosen(a, b, figures)
    changes = [_change(name, a, b, tolerance) for name in names]
    rounds = len(a.rounds), len(b.rounds)
    warnings = [*other, *_warnings(a, b)]
    if all(change.change_bounds is None for change in changes):
        warnings.append("no noise bounds: run both with --rounds 5 or more")
    return Comparison(
        scenario=b.scenario,
        tolerance=tolerance,
        rounds=rounds,
        verified=(a.verified, b.verified),
        changes=changes,
        warnings=warnings,
    )


# -- what is compared ----------------------------------------------------------------------------------------------------


def _different_loads(a: Record, b: Record) -> list[str]:
    """A field that a record does not have yet was played as it is by default now. Rounds are no part of a load."""
    usual = asdict(Load())
    mine = {"scenario": a.scenario, "viewers in all": a.viewers} | usual | a.load
    theirs = {"scenario": b.scenario, "viewers in all": b.viewers} | usual | b.load
    return [line for line in _differences(mine, theirs) if not line.startswith("rounds:")]


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    names = [*mine, *(name for name in theirs if name not in mine)]
    return [f"{name}: {mine.get(name)} and {theirs.get(name)}" for name in names if mine.get(name) != theirs.get(name)]


def _chosen(a: Record, b: Record, figures: Sequence[str]) -> list[str]:
    faults = []
    for name in figures:
        if name not in FIGURES:
            faults.append(f"{name}: no such figure")
        elif FIGURES[name].better is None:
            faults.append(f"{name}: neither more nor less of it is better")
        else:
            faults += (
                f"{name}: {which} does not have it" for which, record in (("A", a), ("B", b)) if name not in record.figures
            )
    if faults:
        raise CompareError("\n".join(faults))
    both = [name for name, figure in FIGURES.items() if figure.better and _has(a, name) and _has(b, name)]
    chosen = [name for name in both if not figures or name in figures]
    if not chosen:
        raise CompareError("the records have no figure in common of which more or less is better")
    return chosen


def _has(record: Record, name: str) -> bool:
    return isfinite(record.figures.get(name, nan))


def _warnings(a: Record, b: Record) -> list[str]:
    found = []
    for which, record in (("A", a), ("B", b)):
        if record.partial:
            found.append(f"{which} was interrupted: a partial result, not verified")
        elif not record.verified:
            found.append(f"{which} failed its verification")
        if record.bottleneck:
            found.append(f"{which}: the generator was the bottleneck; the engine can do better than its figures")
    found += (f"different {line}" for line in _differences(_flat(a.environment), _flat(b.environment)))
    found += (f"different setting {line}" for line in _differences(_flat(a.config), _flat(b.config)))
    for which, record, other in (("A", a, b), ("B", b, a)):
        only = [
            name for name, figure in FIGURES.items() if figure.better and name in record.figures.keys() - other.figures.keys()
        ]
        if only:
            found.append(f"only {which} has {', '.join(only)}")
    return found


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"edge": {"port": 0}}`` → ``{"edge.port": 0}``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= {f"{name}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {name: value}
    return found


# -- how it is judged ----------------------------------------------------------------------------------------------------


def bounds(values: Sequence[float]) -> Bounds | None:
    """Between which the median lies of what these are drawn from; None from fewer than three."""
    count = len(values)
    if count < ROUNDS_MIN:
        return None
    ordered = sorted(values)
    outside, place = 0, 0
    while place < (count - 1) // 2:
        outside += comb(count, place)
        if 2 * outside * OUTSIDE > 2**count:
            break
        place += 1
    place = max(1, place)
    return ordered[place - 1], ordered[count - place]


def _change(name: str, a: Record, b: Record, tolerance: float) -> Change:
    old, new = a.figures[name], b.figures[name]
    mine, theirs = (bounds([figures[name] for figures in record.rounds if name in figures]) for record in (a, b))
    verdict, reason = _judged(name, old, new, tolerance, mine, theirs, min(a.viewers, b.viewers))
    return Change(
        name=name,
        a=old,
        b=new,
        change=(new - old) / abs(old) if old else None,
        a_bounds=mine,
        b_bounds=theirs,
        change_bounds=_change_bounds(old, mine, theirs),
        verdict=verdict,
        reason=reason,
    )


def _change_bounds(old: float, mine: Bounds | None, theirs: Bounds | None) -> Bounds | None:
    """Shares of a. Where a can be zero or less, only its figure serves as the measure."""
    if not mine or not theirs or not old:
        return None
    if mine[0] > 0:
        return theirs[0] / mine[1] - 1, theirs[1] / mine[0] - 1
    return (theirs[0] - mine[1]) / abs(old), (theirs[1] - mine[0]) / abs(old)


def _judged(
    name: str, old: float, new: float, tolerance: float, mine: Bounds | None, theirs: Bounds | None, viewers: int
) -> tuple[Verdict, str]:
    difference = abs(new - old)
    if not difference:
        return "same", "equal"
    if difference < _floor(name, viewers):
        return "same", "too small"
    if difference <= tolerance * min(abs(old), abs(new)):
        return "same", "tolerance"
    if mine and theirs and mine[0] <= theirs[1] and theirs[0] <= mine[1]:
        return "same", "noise"
    return ("better" if (new < old) == (FIGURES[name].better == "lower") else "worse"), ""


def _floor(name: str, viewers: int) -> float:
    """The least difference that tells anything, by the figure's unit."""
    if name.endswith("_bytes_per_viewer"):
        return MEMORY_FLOOR / max(1, viewers)
    for ending, floor in (
        ("_ms", MS_FLOOR),
        ("_share", SHARE_FLOOR),
        ("_seconds", SECONDS_FLOOR),
        ("_memory_bytes", MEMORY_FLOOR),
        ("_growth_bytes", MEMORY_FLOOR),
    ):
        if name.endswith(ending):
            return floor
    return 0.0
