"""A node's ballots on their way to the server, and who cast them on the way back.

Owns how many go at a time. Must not know subscriptions beyond whether there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.brokers.base import Ballot, Position
from engine.brokers.redis.functions import Functions
from engine.brokers.redis.subscription import Subscription
from engine.brokers.redis.topology import Topology
from engine.brokers.tallies import check

__all__ = ["Casting"]

_BALLOTS: Final = 1_000
"""Cast at a time, so that others need not wait for long."""
_VOTERS: Final = 1_000
"""Read at a time, likewise."""


class Casting:
    """See the module's docstring.

    :param subscriptions: the node's, by room.
    :param soon: has a report made for a subscription after so many seconds.
    """

    def __init__(
        self,
        functions: Functions,
        topology: Topology,
        subscriptions: Mapping[str, Subscription],
        soon: Callable[[Subscription, float], None],
    ) -> None:
        self._functions = functions
        self._topology = topology
        self._subscriptions = subscriptions
        self._soon = soon

    async def cast(self, room: str, known: Position, ballots: Sequence[Ballot]) -> list[bool]:
        """As `engine.brokers.base.Broker.cast`."""
        check(ballots)
        counted: list[bool] = []
        for start in range(0, len(ballots), _BALLOTS):
            part = ballots[start : start + _BALLOTS]
            request = self._functions.cast(room, known, part, room in self._subscriptions)
            outcome = Functions.outcome(await self._topology.ask(self._functions.base(room), request), part)
            counted += outcome.counted
            subscription = self._subscriptions.get(room)
            if subscription is not None:
                subscription.learn(outcome.head)
                if outcome.due_ms:
                    # Others are to learn it then, should nothing else tell them before.
                    self._soon(subscription, outcome.due_ms / 1000)
        return counted

    async def voters(self, room: str, known: Position, tally: str, limit: int) -> dict[str, int]:
        """As `engine.brokers.base.Broker.voters`."""
        found: dict[str, int] = {}
        cursor, count = b"0", 0
        while count <= limit:
            request = self._functions.voters(room, known, tally, cursor, _VOTERS)
            count, cursor, page = Functions.voted(await self._topology.ask(self._functions.base(room), request))
            found |= page
            if cursor == b"0":
                break
        return found if max(count, len(found)) <= limit else {}
