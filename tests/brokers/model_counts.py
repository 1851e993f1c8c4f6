"""What a room's totals and tallies must be: plain dictionaries, written without a look at any broker.

Owns the models that brokers are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.brokers.base import Ballot, Keep, Report, Totals

__all__ = ["ModelTallies", "ModelTotals"]


@dataclass
class ModelTotals:
    """What nodes count in a room.

    :ivar told: the most that was told of a source: likes by (source, ""), reactions by (source, name).
    :ivar viewers: by node.
    """

    told: dict[tuple[str, str], int] = field(default_factory=dict)
    viewers: dict[int, int] = field(default_factory=dict)
    peak: int = 0
    users: set[str] = field(default_factory=set)

    def take(self, node: int, report: Report) -> None:
        likes = {(source, ""): total for source, total in report.likes.items()}
        reactions = {(source, name): total for source, given in report.reactions.items() for name, total in given.items()}
        for key, total in (likes | reactions).items():
            self.told[key] = max(total, self.told.get(key, 0))
        self.viewers[node] = report.viewers
        self.peak = max(self.peak, sum(self.viewers.values()))
        self.users.update(report.arrivals)

    def totals(self, room: str, withheld: tuple[int, int]) -> Totals:
        sums: dict[str, int] = {}
        for (_, name), total in self.told.items():
            sums[name] = sums.get(name, 0) + total
        likes = sums.pop("", 0)
        given = {name: total for name, total in sums.items() if total}
        return Totals(room, likes, sum(self.viewers.values()), withheld, self.peak, len(self.users), given)


@dataclass
class ModelTallies:
    """A room's tallies.

    :ivar choices: that stand, by tally and voter.
    :ivar longest: the largest choice that ever stood, by tally.
    """

    tallies_max: int
    choices: dict[tuple[str, str], int] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)

    def cast(self, ballots: Sequence[Ballot]) -> list[bool] | str:
        """Returns which count, or why none was taken."""
        if len({*self.longest, *(ballot.tally for ballot in ballots)}) > self.tallies_max:
            return "RecordFull"
        counted = []
        for ballot in ballots:
            key = ballot.tally, ballot.voter
            stands = self.choices.get(key, ballot.choice)
            if ballot.keep is Keep.LARGEST:
                stands = max(stands, ballot.choice)
            self.choices[key] = stands
            self.longest[ballot.tally] = max(self.longest.get(ballot.tally, 0), stands)
            counted.append(stands == ballot.choice)
        return counted

    def voters(self, tally: str) -> dict[str, int]:
        return {voter: choice for (name, voter), choice in self.choices.items() if name == tally}

    def counts(self) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(list(self.voters(name).values()).count(choice) for choice in range(longest + 1))
            for name, longest in self.longest.items()
        }
