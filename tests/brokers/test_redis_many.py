"""The Redis broker on a cluster and behind Sentinels: the contract, and what happens when a primary is lost."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.redisproc import RedisProcess, claimed_ports, cluster, redis_server, sentinels, until
from engine.brokers.base import Broker, Position, Unavailable
from engine.brokers.budget import UNLIMITED, Budget
from engine.brokers.redis import RedisBroker
from engine.brokers.redis.cluster import slot
from engine.brokers.redis.functions import VERSION
from engine.settings import BrokerSettings, RedisSettings

from .contract import BrokerContract, Clock, Deliveries, comments
from .redis_brokers import Watcher, fresh_prefix, opened, pass_time, published
from .ways import cut

KEEPS_NOTHING = ("--save", "", "--repl-diskless-sync-delay", "0")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RedisProcess]]:
    with tempfile.TemporaryDirectory() as directory, cluster(Path(directory), *KEEPS_NOTHING) as nodes:
        yield nodes


def cluster_url(nodes: list[RedisProcess]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def room_in(index: int) -> str:
    """A room whose slot belongs to that primary at the beginning."""
    return next(f"room {number}" for number in range(1000) if slot(f"{{room {number}}}") * 3 // 16_384 == index)


class TestRedisBrokerOnACluster(BrokerContract):
    @pytest.fixture(autouse=True)
    def _on(self, nodes: list[RedisProcess]) -> None:
        self.redis = RedisSettings(url=cluster_url(nodes[:1]), prefix=fresh_prefix(), answer_seconds=20)

    @asynccontextmanager
    async def open(
        self, settings: BrokerSettings, deliver: Deliveries, clock: Clock, budget: Budget = UNLIMITED
    ) -> AsyncIterator[Broker]:
        async with opened(self.redis, deliver, settings, clock, budget) as broker:
            yield broker

    async def lose(self, broker: Broker, room: str, settings: BrokerSettings, clock: Clock) -> None:
        assert isinstance(broker, RedisBroker)
        await pass_time(broker, self.redis, settings, clock)


def test_slots_are_those_of_the_server(nodes: list[RedisProcess]) -> None:
    for key in ("", "a", "{a}b", "a{}b", "a{b", "{{a}}", "x:1:{房间 🎉}:h", "123456789"):
        assert slot(key) == nodes[0].ask("CLUSTER", "KEYSLOT", key)


async def test_rooms_on_all_servers_of_a_cluster_are_delivered_to_all_nodes(nodes: list[RedisProcess]) -> None:
    redis, one, two = RedisSettings(url=cluster_url(nodes), prefix=fresh_prefix()), Watcher(), Watcher()
    rooms = [room_in(index) for index in range(3)]
    async with opened(redis, one) as first, opened(redis, two) as second:
        for room in rooms:
            await first.subscribe(room)
            await second.subscribe(room)
        for number in range(5):
            await (first, second)[number % 2].publish_all({room: comments(f"{room}.{number}") for room in rooms})
        for watcher in (one, two):
            for room in rooms:
                await watcher.until(lambda watcher=watcher, room=room: len(watcher.bodies(room)) == 5)
        for room in rooms:
            await first.unsubscribe(room)


async def test_a_room_whose_slot_moves_goes_on_in_a_new_epoch(nodes: list[RedisProcess]) -> None:
    redis, one, two = RedisSettings(url=cluster_url(nodes), prefix=fresh_prefix(), answer_seconds=20), Watcher(), Watcher()
    room = room_in(1)
    number = slot(f"{{{room}}}")
    async with opened(redis, one) as first, opened(redis, two) as second:
        before = await first.subscribe(room)
        await second.subscribe(room)
        await first.publish(room, comments("a"))
        target = nodes[2].ask("CLUSTER", "MYID").decode()
        assert nodes[1].ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", number, number, "NODE", target) == b"OK"
        until(lambda: nodes[2].ask("CLUSTER", "COUNTKEYSINSLOT", number) > 0)
        receipt = await published(first, room, comments("b", session="s", ref=1))
        for watcher in (one, two):
            await watcher.until(lambda watcher=watcher: watcher.bodies(room) == [b"a", b"b"])
        assert receipt.epoch > before.epoch
        assert receipt.offsets == [2]
        assert (await published(second, room, comments("c"))).offsets == [3]
        assert (await first.history(room, 0, 10)).events.events == [b"a", b"b", b"c"]
        await one.until(lambda: one.bodies(room)[-1] == b"c")


async def test_a_primary_of_a_cluster_is_killed_and_its_rooms_go_on_in_a_new_epoch() -> None:
    with tempfile.TemporaryDirectory() as directory, cluster(Path(directory), *KEEPS_NOTHING) as nodes:
        redis, one, two = RedisSettings(url=cluster_url(nodes), answer_seconds=1), Watcher(), Watcher()
        lost, safe = room_in(0), room_in(1)
        async with opened(redis, one) as first, opened(redis, two) as second:
            before = {room: await first.subscribe(room) for room in (lost, safe)}
            for room in (lost, safe):
                await second.subscribe(room)
                await first.publish(room, comments("a"))
            nodes[0].kill()
            # Other servers' rooms do not notice until the cluster itself stands still.
            receipt = await published(first, lost, comments("b", session="s", ref=1))
            assert receipt.epoch > before[lost].epoch
            await published(second, lost, comments("c", session="t", ref=1))
            for watcher in (one, two):
                await watcher.until(lambda watcher=watcher: watcher.bodies(lost) == [b"a", b"b", b"c"])
            assert (await published(second, safe, comments("b", session="s", ref=1))) == (before[safe].epoch, [2])
            await one.until(lambda: one.bodies(safe) == [b"a", b"b"])


async def test_a_primary_is_killed_and_sentinels_name_another() -> None:
    with tempfile.TemporaryDirectory() as directory, sentinels(Path(directory), *KEEPS_NOTHING) as (servers, watching):
        where = ",".join(f"127.0.0.1:{each.port}" for each in watching)
        redis, one, two = RedisSettings(url=f"redis+sentinel://{where}/primary"), Watcher(), Watcher()
        async with opened(redis, one) as first, opened(redis, two) as second:
            before = await first.subscribe("room")
            await second.subscribe("room")
            for number in range(1, 6):
                assert await first.publish("room", comments(str(number))) == (before.epoch, [number])
            watching[0].kill()
            servers[0].kill()
            receipt = await published(first, "room", comments("6", session="s", ref=1))
            assert receipt.epoch > before.epoch
            for watcher in (one, two):
                await watcher.until(lambda watcher=watcher: watcher.bodies("room")[-1] == b"6")
            assert (await second.history("room", 0, 10)).head == Position(receipt.epoch, receipt.offsets[-1])


async def test_with_wait_an_answer_means_that_a_replica_has_it() -> None:
    with (
        claimed_ports(2) as ports,
        tempfile.TemporaryDirectory() as directory,
        redis_server(Path(directory) / "0", *KEEPS_NOTHING, port=ports[0]) as primary,
        redis_server(Path(directory) / "1", "--replicaof", f"127.0.0.1 {ports[0]}", *KEEPS_NOTHING, port=ports[1]) as replica,
    ):
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        redis = RedisSettings(url=primary.url, wait_replicas=1, answer_seconds=2)
        async with opened(redis, Deliveries()) as broker:
            first = await broker.publish("room", comments("a", session="s", ref=1))
            assert replica.ask("HGET", f"roomcast:{VERSION}:{{room}}:h", "offset") == b"1"
            replica.pause()
            with pytest.raises(Unavailable, match="wait_replicas"):
                await broker.publish("room", comments("b", session="s", ref=2))
            replica.resume()
            assert (await published(broker, "room", comments("b", session="s", ref=2))) == (first.epoch, [2])


async def test_a_replica_that_lagged_is_promoted_and_no_offset_is_given_twice() -> None:
    with claimed_ports(2) as ports, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sockets = [("--unixsocket", str(directory / each / "socket")) for each in "01"]
        with (
            redis_server(directory / "0", *KEEPS_NOTHING, *sockets[0], port=ports[0]) as primary,
            redis_server(
                directory / "1", "--replicaof", f"127.0.0.1 {ports[0]}", *KEEPS_NOTHING, *sockets[1], port=ports[1]
            ) as replica,
        ):
            until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
            watcher = Watcher()
            async with (
                cut(directory / "way", primary) as way,
                opened(RedisSettings(url=way.url, answer_seconds=20), watcher) as old,
            ):
                before = await old.subscribe("room")
                await old.publish("room", comments("a", "b", session="s", ref=1))
                until(lambda: replica.ask("HGET", f"roomcast:{VERSION}:{{room}}:h", "offset") == b"2")
                # From here on the primary's writes do not reach it.
                assert replica.ask("REPLICAOF", "NO", "ONE") == b"OK"
                assert (await old.publish("room", comments("lost"))).offsets == [3]
                await watcher.until(lambda: watcher.bodies("room") == [b"a", b"b", b"lost"])
                primary.kill()
                # A node that never saw what was lost is the first to publish.
                async with opened(RedisSettings(url=f"redis://127.0.0.1:{replica.port}"), Deliveries()) as other:
                    receipt = await other.publish("room", comments("new"))
                    # What survived is remembered.
                    again = await other.publish("room", comments("b", session="s", ref=2))
                    assert (await other.history("room", 0, 10)).events.events == [b"a", b"b", b"new"]
                assert again == (receipt.epoch, [2])
                assert receipt.epoch > before.epoch
                assert receipt.offsets == [3]
                way.target = replica.path
                way.cut()
                await watcher.until(lambda: watcher.bodies("room")[-1] == b"new")
                assert watcher.events("room")[-1].epoch == receipt.epoch
