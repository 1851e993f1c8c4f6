"""A node's publishes: one after the other in a room, many rooms at once.

Owns the numbers by which the server knows a publish that is sent again. Must not know subscriptions beyond where a room stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from engine.brokers.base import Pending, Position, Receipt, Unavailable
from engine.brokers.redis.functions import Functions
from engine.brokers.redis.server import Call
from engine.brokers.redis.topology import Topology

__all__ = ["Publishing"]


class Publishing:
    """See the module's docstring.

    :param known: where a room stands as far as this node knows.
    """

    def __init__(self, functions: Functions, topology: Topology, known: Callable[[str], Position]) -> None:
        self._functions = functions
        self._topology = topology
        self._known = known
        self._under_way: dict[str, trio.Event] = {}
        self._sequence = 0

    async def publish_all(self, batches: Mapping[str, Sequence[Pending]]) -> dict[str, Receipt | Unavailable]:
        """Publish to several rooms in one write and wait for all: one round trip instead of one for each."""
        outcomes: dict[str, Receipt | Unavailable] = {}
        calls: dict[str, Call] = {}
        sequences: dict[str, int] = {}
        held: dict[str, trio.Event] = {}
        try:
            # In one order, so that two who publish to the same rooms never wait for each other.
            for room in sorted(batches) if len(batches) > 1 else batches:
                while (earlier := self._under_way.get(room)) is not None:
                    await earlier.wait()
                held[room] = self._under_way[room] = trio.Event()
                self._sequence += 1
                sequences[room] = self._sequence
                request = self._functions.publish(room, self._known(room), self._sequence, batches[room])
                try:
                    calls[room] = self._topology.begin(self._functions.base(room), request)
                except Unavailable as error:
                    outcomes[room] = error
            for room, call in calls.items():
                try:
                    outcomes[room] = await self._finish(room, call, sequences[room], batches[room])
                except Unavailable as error:
                    outcomes[room] = error
        finally:
            for room, event in held.items():
                del self._under_way[room]
                event.set()
        return outcomes

    async def _finish(self, room: str, call: Call, sequence: int, events: Sequence[Pending]) -> Receipt:
        receipt = Functions.receipt(await self._topology.finish(call), len(events))
        if receipt is None:
            request = self._functions.publish(room, self._known(room), sequence, events, plain=True)
            value = await self._topology.ask(self._functions.base(room), request)
            receipt = Functions.receipt(value, len(events))
        assert receipt is not None
        return receipt
