"""A room's tallies in memory: who chose what, and how many chose each.

Owns the rules: bounds, which choice of a voter counts. ``tallies.lua`` has the same inside Redis. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.brokers.base import Ballot, Keep, RecordFull, Tally

__all__ = ["CHOICES", "NAME_CHARACTERS", "Tallies", "check"]

NAME_CHARACTERS: Final = 96
"""Of a tally."""
CHOICES: Final = 64
"""In a tally."""


def check(ballots: Sequence[Ballot]) -> None:
    """Raises `ValueError` if there is one that no tally can take."""
    for ballot in ballots:
        if len(ballot.tally) > NAME_CHARACTERS:
            raise ValueError(f"a tally's name has {len(ballot.tally)} characters, more than {NAME_CHARACTERS}")
        if not 0 <= ballot.choice < CHOICES:
            raise ValueError(f"choice {ballot.choice} of tally {ballot.tally!r} is not among 0..{CHOICES - 1}")


class _Tally:
    __slots__ = ("choices", "counts")

    def __init__(self) -> None:
        self.choices: dict[str, int] = {}
        self.counts: list[int] = []

    def take(self, voter: str, choice: int, keep: Keep) -> bool | None:
        """Returns whether the choice counts, None if it did already."""
        before = self.choices.get(voter)
        if before == choice:
            return None
        if before is not None:
            if keep is Keep.FIRST or choice < before:
                return False
            self.counts[before] -= 1
        if choice >= len(self.counts):
            self.counts += [0] * (choice + 1 - len(self.counts))
        self.counts[choice] += 1
        self.choices[voter] = choice
        return True


class Tallies:
    """See the module's docstring.

    :ivar tallies_max: that may be in the room.
    """

    __slots__ = ("_tallies", "tallies_max")

    def __init__(self, tallies_max: int) -> None:
        self.tallies_max = tallies_max
        self._tallies: dict[str, _Tally] = {}

    def cast(self, ballots: Sequence[Ballot]) -> tuple[list[bool], list[str]]:
        """Returns of each ballot whether it counts, and the names of the tallies that have changed. Raises `ValueError` and
        `RecordFull`; nothing has been done then."""
        check(ballots)
        new = {ballot.tally for ballot in ballots}.difference(self._tallies)
        if len(self._tallies) + len(new) > self.tallies_max:
            raise RecordFull("tallies")
        counted: list[bool] = []
        changed: dict[str, None] = {}
        for ballot in ballots:
            tally = self._tallies.get(ballot.tally)
            if tally is None:
                tally = self._tallies[ballot.tally] = _Tally()
            outcome = tally.take(ballot.voter, ballot.choice, ballot.keep)
            if outcome:
                changed[ballot.tally] = None
            counted.append(outcome is not False)
        return counted, list(changed)

    def tally(self, room: str, name: str) -> Tally:
        """For subscribers."""
        return Tally(room, name, tuple(self._tallies[name].counts))

    def discard(self, name: str) -> None:
        """Forget one."""
        self._tallies.pop(name, None)

    def names(self) -> list[str]:
        """Of all tallies, the oldest first."""
        return list(self._tallies)

    def voters(self, name: str, limit: int) -> dict[str, int]:
        """As `engine.brokers.base.Broker.voters`."""
        tally = self._tallies.get(name)
        return dict(tally.choices) if tally is not None and len(tally.choices) <= limit else {}
