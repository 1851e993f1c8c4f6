"""A kill storm, drawn from its seed: what there is, and what is killed at which moment.

Owns the choice. Pure: the same seed draws the same storm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Final

__all__ = ["Kill", "Moment", "Storm", "StormError", "kills_of"]

STARTING_SECONDS: Final = 1.5
"""A process that starts is killed within this time, most often before it serves."""
FIRST_SECONDS: Final = 0.03
"""A process that has just acknowledged money again is killed within this time."""
RETURNING_SECONDS: Final = 0.5
"""A process that listens again is killed within this time."""
SHARES: Final = (45, 15, 25, 15)
"""How often each moment is drawn."""


class StormError(Exception):
    """A storm that cannot be, or a part of it did not start."""


class Moment(StrEnum):
    """From when the time until a kill counts."""

    RUNNING = "running"
    """Since money was acknowledged again: any moment of a storm."""
    STARTING = "starting"
    """Since the process was started: while it reads its settings, opens the ledger, publishes what it had committed."""
    RETURNING = "returning"
    """Since it listens: while viewers come back and rooms get again what their streams have lost."""
    FIRST = "first"
    """Since money was acknowledged again, but milliseconds later."""

    @property
    def again(self) -> bool:
        """Whether it comes before what was killed last serves again."""
        return self in (Moment.STARTING, Moment.RETURNING)


@dataclass(frozen=True, slots=True)
class Kill:
    """One ``kill -9``.

    :ivar role: of the process: ``node`` is the one that was started; with workers ``hub`` and ``edge`` are its children, of
        which ``index`` chooses one.
    """

    moment: Moment
    seconds: float
    node: int
    role: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What there is.

    :ivar ledger: ``sqlite`` or ``postgresql``.
    :ivar redis: whether a Redis outlives the processes; without it the stream is lost with each.
    :ivar viewers: of each room and node; all of them give, claim and look.
    :ivar gifts_per_second: offered by all viewers together, while somebody answers.
    """

    kills: int = 50
    seed: int = 1
    ledger: str = "sqlite"
    redis: bool = False
    nodes: int = 1
    workers: int = 0
    seconds_between: float = 1.5
    rooms: int = 3
    viewers: int = 6
    gifts_per_second: float = 60.0

    def check(self) -> None:
        """Raise `StormError` for what cannot be."""
        if self.nodes > 1 and not self.redis:
            raise StormError("several nodes need --redis: only there do they meet")
        if self.redis and self.ledger != "postgresql":
            raise StormError("--redis needs --ledger postgresql: nodes that share a stream share a ledger")


def kills_of(storm: Storm) -> list[Kill]:
    """All of a storm's, in order."""
    random = Random(f"kills {storm.seed}")
    roles = ("node", "hub", "edge") if storm.workers else ("node",)
    spans = {
        Moment.RUNNING: 2 * storm.seconds_between,
        Moment.STARTING: STARTING_SECONDS,
        Moment.RETURNING: RETURNING_SECONDS,
        Moment.FIRST: FIRST_SECONDS,
    }
    kills: list[Kill] = []
    for _ in range(storm.kills):
        (moment,) = random.choices(list(Moment), SHARES)
        share, node, role, index = random.random(), random.randrange(storm.nodes), random.choice(roles), random.randrange(256)
        if not kills and moment.again:
            moment = Moment.RUNNING
        if moment.again:
            # What starts is what was killed before, as a whole.
            node, role = kills[-1].node, "node"
            kills[-1] = replace(kills[-1], role="node")
        kills.append(Kill(moment, spans[moment] * share, node, role, index))
    return kills
