"""The Redis broker on a real server: the contract, and what two nodes see of each other."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from bench.redisproc import RedisProcess, redis_server
from engine.brokers.base import Broker, Events, Pending, Report
from engine.brokers.budget import UNLIMITED, Budget
from engine.brokers.redis import RedisBroker
from engine.brokers.redis.functions import VERSION, library
from engine.settings import BrokerSettings, RedisSettings

from .contract import BrokerContract, Clock, Deliveries, comments
from .redis_brokers import Watcher, fresh_prefix, opened, pass_time


@pytest.fixture(scope="session")
def server() -> Iterator[RedisProcess]:
    # Not pytest's directory: the path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server


class TestRedisBroker(BrokerContract):
    @pytest.fixture(autouse=True)
    def _on(self, server: RedisProcess) -> None:
        self.redis = RedisSettings(url=server.url, prefix=fresh_prefix(), answer_seconds=20)

    @asynccontextmanager
    async def open(
        self, settings: BrokerSettings, deliver: Deliveries, clock: Clock, budget: Budget = UNLIMITED
    ) -> AsyncIterator[Broker]:
        async with opened(self.redis, deliver, settings, clock, budget) as broker:
            yield broker

    async def lose(self, broker: Broker, room: str, settings: BrokerSettings, clock: Clock) -> None:
        assert isinstance(broker, RedisBroker)
        await pass_time(broker, self.redis, settings, clock)


# -- nodes ---------------------------------------------------------------------------------------------------------------


def bodies_at(watcher: Watcher, room: str) -> dict[int, bytes]:
    return {events.first + index: body for events in watcher.events(room) for index, body in enumerate(events.events)}


async def test_two_nodes_see_the_same_events_at_the_same_offsets(server: RedisProcess) -> None:
    redis, one, two = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher(), Watcher()
    async with opened(redis, one) as first, opened(redis, two) as second:
        assert await first.subscribe("房间") == await second.subscribe("房间")

        async def speak(broker: RedisBroker, name: str) -> None:
            for number in range(20):
                await broker.publish("房间", comments(f"{name}.{number}", f"{name}.{number}+"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak, first, "a")
            nursery.start_soon(speak, second, "b")
        for watcher in (one, two):
            await watcher.until(lambda watcher=watcher: len(watcher.bodies("房间")) == 80)
        assert bodies_at(one, "房间") == bodies_at(two, "房间")
        assert [events.times for events in one.events("房间")] == [events.times for events in two.events("房间")]
        assert one.bodies("房间")[::2] == [body.rstrip(b"+") for body in one.bodies("房间")[1::2]]


async def test_a_key_published_through_another_node_is_known(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as first, opened(redis, Deliveries()) as second:
        one = await first.publish("room", comments("a", "b", session="s", ref=1))
        assert await second.publish("room", comments("a", "b", session="s", ref=1)) == one


async def test_totals_are_sums_over_nodes_and_a_node_that_leaves_keeps_its_likes(server: RedisProcess) -> None:
    redis, one, two = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0.05), Watcher(), Watcher()
    async with opened(redis, one) as first:
        await first.subscribe("room")
        async with opened(redis, two) as second:
            await second.subscribe("room")
            await first.report("room", Report({"first": 5}, 2))
            await second.report("room", Report({"second": 7}, 3))
            for watcher in (one, two):
                await watcher.until(lambda watcher=watcher: watcher.counts("room")[-1] == (12, 5))
            await second.unsubscribe("room")
            await one.until(lambda: one.counts("room")[-1] == (12, 2))
            await second.subscribe("room")
            await second.report("room", Report({"second": 8}, 1))
            await one.until(lambda: one.counts("room")[-1] == (13, 3))


async def test_a_node_that_stops_withdraws_its_viewers_from_all_rooms(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as first, opened(redis, Deliveries()) as second:
        rooms = [f"room {number}" for number in range(5)]
        for room in rooms:
            await first.subscribe(room)
            await second.subscribe(room)
            await second.report(room, Report({"second": 7}, 3))
        await second.leave()
        for room in rooms:
            await watcher.until(lambda room=room: watcher.counts(room)[-1] == (7, 0))


async def test_what_a_node_asks_and_gets_does_not_depend_on_how_much_is_in_a_publish(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        # What is spread because the room is new has come when this has.
        await broker.publish("room", comments("first"))
        await watcher.until(lambda: len(watcher.bodies("room")) == 1)
        before = broker.statistics()
        for size in (1, 100):
            await broker.publish("room", comments(*(str(number) for number in range(size))))
        await watcher.until(lambda: len(watcher.bodies("room")) == 102)
        after = broker.statistics()
        assert (after.requests - before.requests, after.pushes - before.pushes) == (2, 2)
        assert after.received > before.received
        assert after.sent > before.sent
        assert (after.rooms, after.reads) == (1, 0)


async def test_a_node_that_vanished_keeps_its_likes_and_loses_its_viewers_once(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0)
    clock, watcher = Clock(), Watcher()
    async with opened(redis, watcher, clock=clock) as first:
        await first.subscribe("room")
        async with opened(redis, Deliveries(), clock=clock) as second:
            await second.subscribe("room")
            await second.report("room", Report({"second": 7}, 3))
            await first.report("room", Report({"first": 1}, 1))
        assert watcher.counts("room")[-1] == (8, 4)
        clock.ms += 20_000
        await first.beat(0)
        assert watcher.counts("room")[-1] == (8, 4)
        for _ in range(3):
            clock.ms += 20_000
            await first.beat(0)
            assert watcher.counts("room")[-1] == (8, 1)


async def test_a_node_whose_lease_ran_out_while_it_slept_is_counted_again_and_not_twice(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0)
    clock, watcher = Clock(), Watcher()
    async with opened(redis, watcher, clock=clock) as first, opened(redis, Deliveries(), clock=clock) as second:
        await first.subscribe("room")
        await second.subscribe("room")
        await second.report("room", Report({"second": 7}, 3))
        for _ in range(3):
            clock.ms += 15_000
            await first.beat(0)
        assert watcher.counts("room")[-1] == (7, 0)
        await second.report("room", Report({"second": 9}, 3))
        await watcher.until(lambda: watcher.counts("room")[-1] == (9, 3))


async def test_totals_held_back_for_their_rate_are_spread_in_the_end(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0.2), Watcher()
    async with opened(redis, watcher) as first, opened(redis, Deliveries()) as second:
        await first.subscribe("room")
        await second.subscribe("room")
        for likes in range(1, 51):
            await second.report("room", Report({"second": likes}, 1))
        await watcher.until(lambda: watcher.counts("room")[-1] == (50, 1))
        assert len(watcher.totals("room")) < 50


async def test_many_rooms_are_published_in_one_go(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as broker:
        rooms = [f"room {number}" for number in range(50)]
        for room in rooms[:10]:
            await broker.subscribe(room)
        for turn in range(3):
            outcomes = await broker.publish_all({room: comments(f"{room}.{turn}") for room in rooms})
            assert {room: getattr(outcome, "offsets", outcome) for room, outcome in outcomes.items()} == {
                room: [turn + 1] for room in rooms
            }
        await broker.report_all({room: Report({"here": number}, 1) for number, room in enumerate(rooms)})
        for number, room in enumerate(rooms[:10]):
            await watcher.until(lambda room=room: len(watcher.bodies(room)) == 3)
            assert watcher.counts(room)[-1] == (number, 1)


async def test_names_with_braces_are_rooms_like_any_other(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as broker:
        for room in ("}", "{", "{}", "a}b", "a%7Db", "{a}"):
            await broker.subscribe(room)
            assert (await broker.publish(room, comments(room))).offsets == [1]
            await watcher.until(lambda room=room: watcher.bodies(room) == [room.encode()])


async def test_events_of_every_size_come_back_as_they_were_also_beside_a_retry(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    sizes = (0, 1, 255, 256, 65_535, 65_536, 100_000)
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        events = [Pending(bytes([number]) * size, "s", number + 1) for number, size in enumerate(sizes)]
        await broker.publish("room", events[1:6:2])
        assert (await broker.publish("room", events)).offsets == [4, 1, 5, 2, 6, 3, 7]
        expected = [each.event for each in (*events[1:6:2], *events[::2])]
        await watcher.until(lambda: len(watcher.bodies("room")) == 7)
        assert watcher.bodies("room") == expected
        assert (await broker.history("room", 0, 100)).events.events == expected
        assert (await broker.history("room", 4, 2)).events == Events(
            "room", watcher.events("room")[0].epoch, 5, expected[4:6], watcher.events("room")[1].times[1:3]
        )


async def test_a_cancelled_call_leaves_the_connection_as_it_was(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        for number in range(50):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(broker.publish, "room", comments(f"x{number}"))
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
                    scope.cancel()
            receipt = await broker.publish("room", comments(f"y{number}"))
            history = await broker.history("room", receipt.offsets[0] - 1, 1)
            assert history.events.events == [f"y{number}".encode()]


async def test_both_versions_of_the_library_work_side_by_side(server: RedisProcess) -> None:
    # A library is never replaced: another source has another name.
    name = (await first_library(server))[0]
    other = name[:-8] + "deadbeef"
    source = "#!lua name=" + other + "\nredis.register_function('" + other + "_publish', function() return 'other' end)"
    server.ask("FUNCTION", "LOAD", source)
    async with opened(RedisSettings(url=server.url, prefix=fresh_prefix()), Deliveries()) as broker:
        assert (await broker.publish("room", comments("a"))).offsets == [1]
    assert server.ask("FCALL", f"{other}_publish", 0) == b"other"


async def first_library(server: RedisProcess) -> tuple[str, str]:
    async with opened(RedisSettings(url=server.url, prefix=fresh_prefix()), Deliveries()) as broker:
        await broker.history("room", 0, 1)
    return library()


async def test_a_library_that_was_flushed_is_loaded_again(server: RedisProcess) -> None:
    async with opened(RedisSettings(url=server.url, prefix=fresh_prefix()), Deliveries()) as broker:
        assert (await broker.publish("room", comments("a"))).offsets == [1]
        server.ask("FUNCTION", "FLUSH", "SYNC")
        assert (await broker.publish("room", comments("b"))).offsets == [2]


async def test_a_record_of_an_unknown_version_becomes_a_hole_and_nothing_worse(server: RedisProcess) -> None:
    redis, deliveries = RedisSettings(url=server.url, prefix=fresh_prefix()), Deliveries()
    async with opened(redis, deliveries) as broker:
        position = await broker.subscribe("room")
        server.ask("SPUBLISH", f"{redis.prefix}:{VERSION}:{{room}}:c", f"9 {position.epoch} 1 1 0 ?")
        assert (await broker.publish("room", comments("a"))).offsets == [1]
        await deliveries.until(lambda: deliveries.bodies("room") == [b"a"])


async def test_no_key_of_a_room_lives_for_ever(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        await broker.subscribe("room")
        await broker.publish("room", comments("a", session="s", ref=1))
        await broker.report("room", Report({"broker": 1}, 1))
        await broker.amend("room", "a", b"1")
        await broker.redact("room", [1], Pending(b"deleted"))
        keys = server.ask("KEYS", f"{redis.prefix}:*")
        assert {key.rpartition(b":")[2] for key in keys} == {b"h", b"s", b"d", b"k", b"b", b"v", b"w", b"n", b"o", b"r"}
        assert all(0 < server.ask("PTTL", key.decode()) <= 4_500_000 for key in keys)


async def test_a_record_lives_as_long_as_what_expires_last(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        month_ms = 30 * 86_400_000
        await broker.amend("room", "ban", b"x", month_ms)
        await broker.amend("room", "title", b"x")
        await broker.amend("room", "mute", b"x", 60_000)
        await broker.subscribe("room")
        assert server.ask("PTTL", f"{redis.prefix}:{VERSION}:{{room}}:r") > month_ms - 3_600_000
        assert 0 < server.ask("PTTL", f"{redis.prefix}:{VERSION}:{{room}}:h") <= 3_600_000


async def test_memory_of_publishers_is_bounded(server: RedisProcess) -> None:
    redis, clock = RedisSettings(url=server.url, prefix=fresh_prefix()), Clock()
    key = f"{redis.prefix}:{VERSION}:{{room}}:b"
    for _ in range(70):
        server.ask("HSET", key, f"old{_}", f"1 {clock.ms - 700_000} 1 1")
    async with opened(redis, Deliveries(), clock=clock) as broker:
        await broker.history("room", 0, 1)
        for _ in range(70):
            server.ask("HSET", key, f"old{_}", f"1 {clock.ms - 700_000} 1 1")
        await broker.publish("room", comments("a"))
        assert server.ask("HLEN", key) == 1
