"""Two nodes over Redis against a plain list: publishes one after the other and at the same time, retries, answers that are
lost, connections that are cut.

Owns the model: what a room must hold after each step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from copy import deepcopy
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.redisproc import RedisProcess, redis_server
from engine.brokers.base import Ballot, Conflict, Keep, Pending, RecordFull, Report
from engine.brokers.budget import Budget
from engine.brokers.redis import RedisBroker
from engine.settings import BrokerSettings, RedisSettings

from .contract import Clock
from .model import ModelRecord, ModelRoom, amended
from .model_counts import ModelTallies, ModelTotals
from .redis_brokers import Watcher, fresh_prefix, opened
from .ways import Cut, cut

KEYS = 4
HISTORY = 200
BUDGETS = (Budget(3.0), Budget(bytes=30.0), Budget(3.0, 100.0))
FIELDS, BYTES = 3, 20
TALLIES = 2
Batch = list[Pending]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server


events = st.builds(
    Pending,
    st.binary(max_size=40) | st.builds(lambda piece, count: piece * count, st.binary(max_size=3), st.integers(1, 100)),
    st.sampled_from(("", "s", "t")),
    st.integers(1, 4),
    st.integers(0, 1),
    st.sampled_from((0, 0, 16, 32, 63)),
)
batches = st.lists(events, min_size=1, max_size=5)
nodes = st.integers(0, 1)
likes = st.dictionaries(st.sampled_from("stu"), st.integers(0, 9))
reactions = st.dictionaries(st.sampled_from("stu"), st.dictionaries(st.sampled_from(("❤️", "x y", "1")), st.integers(0, 9)))
reports = st.builds(Report, likes, st.integers(0, 5), reactions, st.lists(st.sampled_from("uvw"), max_size=2))
ballots = st.lists(
    st.builds(Ballot, st.sampled_from(("", "字", "x")), st.sampled_from("uvw"), st.integers(0, 3), st.sampled_from(Keep)),
    min_size=1,
    max_size=4,
)
steps = st.one_of(
    st.tuples(st.just("publish"), nodes, batches, st.booleans()),
    st.tuples(st.just("together"), batches, batches, st.booleans()),
    st.tuples(st.just("cut"), nodes),
    st.tuples(st.just("wait"), st.sampled_from((100, 250, 2_000, -1_000))),
    st.tuples(st.just("report"), nodes, reports),
    st.tuples(st.just("cast"), nodes, ballots),
    st.tuples(st.just("voters"), nodes, st.sampled_from(("", "字", "y")), st.integers(0, 3)),
    st.tuples(
        st.just("amend"),
        nodes,
        st.sampled_from(("", "f", "a b", "字")),
        st.none() | st.binary(max_size=9),
        st.sampled_from((0, 200, 3_000)),
        st.none() | st.integers(0, 6),
        st.none() | events,
        st.booleans(),
    ),
    st.tuples(st.just("redact"), nodes, st.lists(st.integers(-1, 20), max_size=4), events, st.booleans()),
    st.tuples(st.just("history"), nodes, st.integers(0, 30), st.integers(1, 6)),
)


class Play:
    """Carries out steps on two brokers and on the model.

    :ivar rooms: what the room may be: of two publishes at the same time either may have been the first.
    """

    def __init__(self, brokers: list[RedisBroker], ways: list[Cut], epoch: int, clock: Clock, budget: Budget) -> None:
        self.brokers = brokers
        self.ways = ways
        self.epoch = epoch
        self.clock = clock
        self.rooms = [ModelRoom(KEYS, (Fraction(budget.events), Fraction(budget.bytes)))]
        self.counted = ModelTotals()
        self.tallies = ModelTallies(TALLIES)
        self.record = ModelRecord(FIELDS, BYTES)
        self.time = clock.ms

    def narrow(self, rooms: Iterable[ModelRoom]) -> None:
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
        self.narrow(room for room in self.rooms if room.publish(batch, self.clock.ms) == receipt.offsets)

    async def together(self, one: Batch, two: Batch, lose: bool) -> None:
        if lose:
            self.lose_answer(0)
        offsets: dict[int, list[int]] = {}

        async def publish(node: int, batch: Batch) -> None:
            offsets[node] = (await self.brokers[node].publish("room", batch)).offsets

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, 0, one)
            nursery.start_soon(publish, 1, two)
        others, now = deepcopy(self.rooms), self.clock.ms
        self.narrow(
            [
                *(room for room in self.rooms if [room.publish(one, now), room.publish(two, now)] == [offsets[0], offsets[1]]),
                *(room for room in others if [room.publish(two, now), room.publish(one, now)] == [offsets[1], offsets[0]]),
            ]
        )

    async def report(self, node: int, report: Report) -> None:
        self.counted.take(node, report)
        self.record.expire(self.time)
        await self.brokers[node].report("room", report)

    async def cast(self, node: int, ballots: list[Ballot]) -> None:
        expected = self.tallies.cast(ballots)
        try:
            outcome: list[bool] | str = await self.brokers[node].cast("room", ballots)
        except RecordFull as error:
            outcome = type(error).__name__
        assert outcome == expected

    async def voters(self, node: int, tally: str, limit: int) -> None:
        voters = self.tallies.voters(tally)
        assert await self.brokers[node].voters("room", tally, limit) == (voters if len(voters) <= limit else {})

    async def amend(
        self,
        node: int,
        field: str,
        value: bytes | None,
        expires_ms: int,
        expect: int | None,
        event: Pending | None,
        lose: bool,
    ) -> None:
        if lose:
            # The answer to an amendment is the only one that begins so.
            self.ways[node].swallow = b"\r\nok "
        # Whether the event was published before depends on which of two publishes was the first.
        records = [deepcopy(self.record) for _ in self.rooms]
        expected = [
            amended(record, room, field, value, expires_ms, expect, event, self.time, self.clock.ms)
            for record, room in zip(records, self.rooms, strict=True)
        ]
        try:
            outcome: int | str = await self.brokers[node].amend("room", field, value, expires_ms, expect, event)
        except (Conflict, RecordFull) as error:
            outcome = type(error).__name__
        agreeing = [index for index, each in enumerate(expected) if each == outcome]
        self.narrow(self.rooms[index] for index in agreeing)
        self.record = records[agreeing[0]]

    async def redact(self, node: int, offsets: list[int], event: Pending, lose: bool) -> None:
        if lose:
            self.lose_answer(node)
        offset = await self.brokers[node].redact("room", offsets, event)
        self.narrow(room for room in self.rooms if room.redact(offsets, event, self.clock.ms) == offset)

    async def wait(self, milliseconds: int) -> None:
        self.clock.ms += milliseconds
        # The room's, as of the next time that anybody asks for anything.
        await self.brokers[0].history("room", 0, 1)
        self.time = max(self.time, self.clock.ms)

    async def cut(self, node: int) -> None:
        # Never while it connects: a server that cannot be greeted is out of reach, and rightly said to be so.
        server = self.brokers[node]._topology.server("room")
        if server is not None and server.connected:
            self.ways[node].cut()

    async def history(self, node: int, after: int, limit: int) -> None:
        history = await self.brokers[node].history("room", after, limit)

        def explains(room: ModelRoom) -> bool:
            head = len(room.events)
            first = min(max(after, head - HISTORY), head) + 1
            # Fewer than asked for only at the end.
            return (
                history.head == (self.epoch, head)
                and history.events.first == first
                and history.events.events == room.past[first - 1 : first - 1 + limit]
            )

        self.narrow(filter(explains, self.rooms))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(budget=st.sampled_from(BUDGETS), play=st.lists(steps, max_size=15))
def test_two_nodes_and_a_list_agree(server: RedisProcess, budget: Budget, play: list[tuple[object, ...]]) -> None:
    trio.run(_agree, server, budget, play)


async def _agree(server: RedisProcess, budget: Budget, steps: list[tuple[object, ...]]) -> None:
    limits = BrokerSettings(retry_keys=KEYS, history_events=HISTORY, record_fields=FIELDS, record_bytes=BYTES, tallies=TALLIES)
    prefix, watchers, clock = fresh_prefix(), [Watcher(), Watcher()], Clock()
    with tempfile.TemporaryDirectory() as directory:
        async with cut(Path(directory) / "0", server) as near, cut(Path(directory) / "1", server) as far:
            # One node compresses what is not tiny, the other nothing: each reads both.
            urls = [
                RedisSettings(url=way.url, prefix=prefix, answer_seconds=20, compress_bytes=size)
                for way, size in ((near, 40), (far, 0))
            ]
            async with (
                opened(urls[0], watchers[0], limits, clock, budget) as first,
                opened(urls[1], watchers[1], limits, clock, budget) as second,
            ):
                epoch = (await first.subscribe("room")).epoch
                await second.subscribe("room")
                state = Play([first, second], [near, far], epoch, clock, budget)
                with trio.fail_after(60):
                    for name, *arguments in steps:
                        await getattr(state, str(name))(*arguments)
                await state.report(0, Report(viewers=5))
                await state.report(1, Report(viewers=6))
                clock.ms += 10_000
                state.record.expire(max(state.time, clock.ms))
                await second.beat(0)
                totals = state.counted.totals("room", state.rooms[0].withheld)
                for watcher in watchers:
                    seen = partial(watcher.record, "room")
                    await watcher.until(lambda seen=seen: seen() == state.record.values)
                    count = len(state.rooms[0].events)
                    await watcher.until(lambda watcher=watcher: watcher.totals("room")[-1] == totals)
                    await watcher.until(lambda watcher=watcher: watcher.tallies("room") == state.tallies.counts())
                    await watcher.until(lambda watcher=watcher, count=count: len(watcher.bodies("room")) == count)
                    state.narrow(room for room in state.rooms if room.explains(watcher.bodies("room")))
