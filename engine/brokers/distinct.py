"""How many different names there were, within a percent, in 16 kB whatever their number.

Owns the sketch: HyperLogLog, P. Flajolet, E. Fusy, O. Gandouet, F. Meunier, "HyperLogLog: the analysis of a near-optimal
cardinality estimation algorithm", 2007. Redis counts the same way, with as many registers. Pure.

A register holds the longest run of zeros, plus one, that the hashes of its share of names begin with. The estimate is that of
O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6, as in Redis: the one of 2007 is
1.5 % too large where it changes from one formula to the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

__all__ = ["Distinct"]

_BITS: Final = 14
_REGISTERS: Final = 1 << _BITS
_RUNS: Final = 64 - _BITS
"""Bits of a hash that do not choose its register."""
_EXACT: Final = 256
"""Names counted one by one. Remembering more of them would take more memory than the registers."""


class Distinct:
    """See the module's docstring. The standard error is 1.04 / 2^7, that is 0.8 %; up to 256 names there is none."""

    __slots__ = ("_counts", "_hashes", "_registers")

    def __init__(self) -> None:
        self._hashes: set[int] | None = set()
        self._registers = bytearray()
        # How many registers hold 0, 1, 2 ..., so that an estimate does not look at all of them.
        self._counts: list[int] = []

    def add(self, names: Iterable[str]) -> bool:
        """Count names; returns whether that may have changed the estimate."""
        changed = False
        for name in names:
            number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
            if self._hashes is None:
                changed = self._enter(number) or changed
            elif number not in self._hashes:
                self._hashes.add(number)
                changed = True
                if len(self._hashes) > _EXACT:
                    self._begin(self._hashes)
        return changed

    def estimate(self) -> int:
        """How many different names there were."""
        if self._hashes is not None:
            return len(self._hashes)
        counts = self._counts
        total = _REGISTERS * _tau(1 - counts[_RUNS + 1] / _REGISTERS)
        for count in counts[_RUNS:0:-1]:
            total = (total + count) / 2
        total += _REGISTERS * _sigma(counts[0] / _REGISTERS)
        return round(_REGISTERS * _REGISTERS / (2 * math.log(2) * total))

    def _begin(self, hashes: Iterable[int]) -> None:
        self._hashes = None
        self._registers = bytearray(_REGISTERS)
        self._counts = [_REGISTERS] + [0] * (_RUNS + 1)
        for number in hashes:
            self._enter(number)

    def _enter(self, number: int) -> bool:
        index, rest = number >> _RUNS, number & ((1 << _RUNS) - 1)
        run = _RUNS - rest.bit_length() + 1
        known = self._registers[index]
        if run <= known:
            return False
        self._registers[index] = run
        self._counts[known] -= 1
        self._counts[run] += 1
        return True


def _sigma(x: float) -> float:
    """x + the sum of 2^(k-1) x^(2^k), k = 1, 2, ...; for registers that hold nothing."""
    if x == 1:
        return math.inf
    total, weight = x, 1.0
    while True:
        x *= x
        before, total = total, total + x * weight
        if total == before:
            return total
        weight *= 2


def _tau(x: float) -> float:
    """A third of 1 - x less the sum of (1 - x^(2^-k))^2 2^-k, k = 1, 2, ...; for registers that are full."""
    if x in (0, 1):
        return 0.0
    total, weight = 1 - x, 1.0
    while True:
        x = math.sqrt(x)
        weight /= 2
        before, total = total, total - (1 - x) ** 2 * weight
        if total == before:
            return total / 3
