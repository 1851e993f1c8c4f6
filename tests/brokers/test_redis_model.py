"""Two nodes over Redis against a plain list: publishes one after the other and at the same time, retries, answers that are
lost, connections that are cut.

Owns the model: what a room must hold after each step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.brokers.base import Pending
from engine.brokers.redis import RedisBroker
from engine.settings import BrokerSettings, RedisSettings

from .redis_brokers import Watcher, fresh_prefix, opened
from .valkey import Cut, Valkey, cut, valkey

KEYS = 4
HISTORY = 200
Batch = list[Pending]


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as directory, valkey(Path(directory), "--save", "") as server:
        yield server


@dataclass
class Room:
    """What a room must be."""

    events: list[bytes] = field(default_factory=list)
    keys: list[tuple[tuple[str, int], int]] = field(default_factory=list)

    def publish(self, batch: Batch) -> list[int]:
        known = dict(self.keys)
        offsets = []
        for pending in batch:
            key = (pending.session, pending.ref)
            offset = known.get(key) if pending.session else None
            if offset is None:
                self.events.append(pending.event)
                offset = len(self.events)
                if pending.session:
                    known[key] = offset
                    self.keys.append((key, offset))
            offsets.append(offset)
        self.keys = self.keys[-KEYS:]
        return offsets


batches = st.lists(
    st.builds(Pending, st.binary(max_size=300), st.sampled_from(("", "s", "t")), st.integers(1, 4)), min_size=1, max_size=5
)
nodes = st.integers(0, 1)
steps = st.one_of(
    st.tuples(st.just("publish"), nodes, batches, st.booleans()),
    st.tuples(st.just("together"), batches, batches, st.booleans()),
    st.tuples(st.just("cut"), nodes),
    st.tuples(st.just("history"), nodes, st.integers(0, 30), st.integers(1, 6)),
)


class Play:
    """Carries out steps on two brokers and on the model.

    :ivar rooms: what the room may be: of two publishes at the same time either may have been the first.
    """

    def __init__(self, brokers: list[RedisBroker], ways: list[Cut], epoch: int) -> None:
        self.brokers = brokers
        self.ways = ways
        self.epoch = epoch
        self.rooms = [Room()]

    def narrow(self, rooms: Iterable[Room]) -> None:
        self.rooms = list(rooms)
        assert self.rooms, "no order of what happened explains what was seen"

    def lose_answer(self, node: int) -> None:
        # A publish is answered by a text that begins with the epoch; what is spread begins otherwise.
        self.ways[node].swallow = f"\r\n{self.epoch} ".encode()

    async def publish(self, node: int, batch: Batch, lose: bool) -> None:
        if lose:
            self.lose_answer(node)
        receipt = await self.brokers[node].publish("room", batch)
        assert receipt.epoch == self.epoch
        self.narrow(room for room in self.rooms if room.publish(batch) == receipt.offsets)

    async def together(self, one: Batch, two: Batch, lose: bool) -> None:
        if lose:
            self.lose_answer(0)
        offsets: dict[int, list[int]] = {}

        async def publish(node: int, batch: Batch) -> None:
            offsets[node] = (await self.brokers[node].publish("room", batch)).offsets

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, 0, one)
            nursery.start_soon(publish, 1, two)
        others = deepcopy(self.rooms)
        self.narrow(
            [
                *(room for room in self.rooms if (room.publish(one), room.publish(two)) == (offsets[0], offsets[1])),
                *(room for room in others if (room.publish(two), room.publish(one)) == (offsets[1], offsets[0])),
            ]
        )

    async def cut(self, node: int) -> None:
        # Never while it connects: a server that cannot be greeted is out of reach, and rightly said to be so.
        server = self.brokers[node]._topology.server("room")
        if server is not None and server.connected:
            self.ways[node].cut()

    async def history(self, node: int, after: int, limit: int) -> None:
        history = await self.brokers[node].history("room", after, limit)

        def explains(room: Room) -> bool:
            head = len(room.events)
            first = min(max(after, head - HISTORY), head) + 1
            # Fewer than asked for only at the end.
            return (
                history.head == (self.epoch, head)
                and history.events.first == first
                and history.events.events == room.events[first - 1 : first - 1 + limit]
            )

        self.narrow(filter(explains, self.rooms))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(play=st.lists(steps, max_size=15))
def test_two_nodes_and_a_list_agree(server: Valkey, play: list[tuple[object, ...]]) -> None:
    trio.run(_agree, server, play)


async def _agree(server: Valkey, steps: list[tuple[object, ...]]) -> None:
    limits = BrokerSettings(retry_keys=KEYS, history_events=HISTORY)
    prefix, watchers = fresh_prefix(), [Watcher(), Watcher()]
    with tempfile.TemporaryDirectory() as directory:
        async with cut(Path(directory) / "0", server) as near, cut(Path(directory) / "1", server) as far:
            urls = [RedisSettings(url=way.url, prefix=prefix, answer_seconds=20) for way in (near, far)]
            async with opened(urls[0], watchers[0], limits) as first, opened(urls[1], watchers[1], limits) as second:
                epoch = (await first.subscribe("room")).epoch
                await second.subscribe("room")
                state = Play([first, second], [near, far], epoch)
                with trio.fail_after(60):
                    for name, *arguments in steps:
                        await getattr(state, str(name))(*arguments)
                for watcher in watchers:
                    count = len(state.rooms[0].events)
                    await watcher.until(lambda watcher=watcher, count=count: len(watcher.bodies("room")) == count)
                    state.narrow(room for room in state.rooms if room.events == watcher.bodies("room"))
