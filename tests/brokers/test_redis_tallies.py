"""Totals and tallies over Redis: what is spread when, what survives, what is forgotten."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from bench.redisproc import RedisProcess, redis_server
from engine.brokers.base import Ballot, Keep, Report, Tally, Unavailable
from engine.brokers.redis.functions import VERSION
from engine.settings import BrokerSettings, RedisSettings

from .contract import PATIENCE, Clock, Deliveries
from .redis_brokers import Watcher, fresh_prefix, opened
from .ways import cut


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server


def votes(tally: str, *voters: str) -> list[Ballot]:
    return [Ballot(tally, voter) for voter in voters]


async def test_tallies_that_were_held_back_are_spread_by_who_changed_them(server: RedisProcess) -> None:
    redis, one, two = RedisSettings(url=server.url, prefix=fresh_prefix()), Deliveries(), Deliveries()
    async with opened(redis, one) as first, opened(redis, two) as second:
        await first.subscribe("room")
        await second.subscribe("room")
        for number in range(100):
            await first.cast("room", votes("a", str(number)))
        await first.cast("room", votes("b", "u"))
        for deliveries in (one, two):
            await deliveries.until(lambda deliveries=deliveries: deliveries.tallies("room") == {"a": (100,), "b": (1,)})
        # Spread together, far less often than they changed.
        assert second.statistics().pushes < 60


async def test_who_leaves_does_not_leave_tallies_unspread(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=60)
    one, two = Deliveries(), Deliveries()
    async with opened(redis, one) as first, opened(redis, two) as second:
        await first.subscribe("room")
        await second.subscribe("room")
        for voter in "abc":
            await first.cast("room", votes("a", voter))
        await two.until(lambda: two.tallies("room") == {"a": (1,)})
        await first.unsubscribe("room")
        await two.until(lambda: two.tallies("room") == {"a": (3,)})


async def test_a_node_that_was_away_is_given_the_tallies(server: RedisProcess) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with cut(Path(directory) / "way", server) as way:
            prefix, watcher = fresh_prefix(), Watcher()
            async with (
                opened(RedisSettings(url=way.url, prefix=prefix, answer_seconds=20), watcher) as far,
                opened(RedisSettings(url=server.url, prefix=prefix, totals_seconds=0), Deliveries()) as near,
            ):
                await far.subscribe("room")
                for number in range(60):
                    if number % 12 == 5:
                        way.cut()
                    await near.cast("room", [Ballot(f"t{number % 3}", f"u{number}", number % 2)])
                await watcher.until(lambda: watcher.tallies("room") == dict.fromkeys(("t0", "t1", "t2"), (10, 10)))
                # Nothing more comes that would show that something is missing.
                way.refuse = True
                way.cut()
                await near.cast("room", votes("t3", "u"))
                way.refuse = False
                await watcher.until(lambda: watcher.tallies("room").get("t3") == (1,))


async def test_ballots_whose_connection_is_cut_count_once(server: RedisProcess) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with cut(Path(directory) / "way", server) as way:
            watcher = Watcher()
            redis = RedisSettings(url=way.url, prefix=fresh_prefix(), answer_seconds=20, totals_seconds=0)
            async with opened(redis, watcher) as broker, trio.open_nursery() as nursery:
                await broker.subscribe("room")
                answers: list[bool] = []

                async def vote(start: int) -> None:
                    for number in range(start, start + 20):
                        answers.extend(await broker.cast("room", [Ballot("a", str(number), 1, Keep.LARGEST)]))

                for start in range(0, 100, 20):
                    nursery.start_soon(vote, start)
                for done in range(5, 95, 10):
                    with trio.fail_after(PATIENCE):
                        while len(answers) < done:  # noqa: ASYNC110  # nobody tells
                            await trio.sleep(0.001)
                    way.cut()
                await watcher.until(lambda: watcher.tallies("room") == {"a": (0, 100)})
                with trio.fail_after(PATIENCE):
                    while len(answers) < 100:  # noqa: ASYNC110  # as above
                        await trio.sleep(0.001)
                assert all(answers)


async def test_tallies_and_totals_outlive_an_epoch_as_long_as_the_server_has_them(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0), Watcher()
    async with opened(redis, watcher) as broker:
        old = await broker.subscribe("room")
        await broker.cast("room", votes("a", "u", "v"))
        await broker.report("room", Report({"s": 2}, 7, {"s": {"x": 3}}, ("u", "v")))
        server.ask("HSET", f"{redis.prefix}:{VERSION}:{{room}}:h", "epoch", old.epoch - 1)
        assert await broker.cast("room", votes("a", "u", "w")) == [True, True]
        await watcher.until(lambda: watcher.tallies("room") == {"a": (3,)})
        await broker.report("room", Report({"s": 2}, 6, {"s": {"x": 4}}, ("w",)))
        await watcher.until(lambda: watcher.totals("room")[-1].viewers == 6)
        totals = watcher.totals("room")[-1]
        assert (totals.likes, totals.peak, totals.unique, totals.reactions) == (2, 7, 3, {"x": 4})
        assert watcher.events("room")[-1].epoch > old.epoch


async def test_tallies_that_were_lost_have_no_counts_and_begin_anew(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0), Watcher()
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        await broker.cast("room", [*votes("a", "u", "v"), *votes("b", "u")])
        await broker.report("room", Report({"s": 2}, 7, {"s": {"x": 3}}))
        await watcher.until(lambda: watcher.tallies("room") == {"a": (2,), "b": (1,)})
        server.ask("FLUSHALL")
        await broker.beat(0)
        await watcher.until(lambda: watcher.tallies("room") == {"a": (), "b": ()})
        await broker.cast("room", votes("a", "u"))
        await watcher.until(lambda: watcher.tallies("room") == {"a": (1,), "b": ()})
        # What the node counts is told again.
        await watcher.until(lambda: watcher.totals("room")[-1].reactions == {"x": 3})
        count = len(watcher.all)
        await broker.subscribe("room")
        assert [item for item in watcher.all[count:] if isinstance(item, Tally)] == [Tally("room", "a", (1,))]


async def test_no_key_of_totals_and_tallies_lives_for_ever_or_dies_early(server: RedisProcess) -> None:
    redis, clock = RedisSettings(url=server.url, prefix=fresh_prefix()), Clock()
    async with opened(redis, Deliveries(), clock=clock) as broker:
        await broker.subscribe("room")
        await broker.report("room", Report({"s": 1}, 1, {"s": {"x": 1}}, ["u"]))
        await broker.cast("room", votes("a", "u"))
        await broker.cast("room", votes("a b", "u"))

        def living() -> dict[bytes, int]:
            keys = server.ask("KEYS", f"{redis.prefix}:*")
            return {key.partition(b"}:")[2]: server.ask("PTTL", key.decode()) for key in keys}

        long = {b"n", b"o", b"e", b"u", b"q", b"g", b"t:a", b"t:a b"}
        assert living().keys() == long | {b"h", b"v", b"w"}
        for key in living().keys() & long:
            server.ask("PEXPIRE", f"{redis.prefix}:{VERSION}:{{room}}:{key.decode()}", 3_600_000)
        clock.ms += 800_000
        await broker.history("room", 0, 1)
        assert all(0 < ttl <= 3_600_000 for ttl in living().values())
        clock.ms += 200_000
        await broker.history("room", 0, 1)
        assert all(3_600_000 < ttl <= 4_500_000 for key, ttl in living().items() if key in long)


async def test_a_room_that_is_forgotten_takes_its_voters_with_it(server: RedisProcess) -> None:
    redis, clock = RedisSettings(url=server.url, prefix=fresh_prefix(), lease_seconds=1), Clock()
    async with opened(redis, Deliveries(), BrokerSettings(history_seconds=10), clock) as broker:
        await broker.cast("room", [*votes("a", "u"), *votes("b", "u")])
        clock.ms += 11_000
        assert await broker.voters("room", "a", 9) == {}
        assert {key.partition(b"}:")[2] for key in server.ask("KEYS", f"{redis.prefix}:*")} == {b"h"}


async def test_users_who_came_while_the_server_was_away_are_told_later_and_in_pieces() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        redis_server(Path(directory), "--appendonly", "yes", "--appendfsync", "always") as server,
    ):
        redis, watcher = RedisSettings(url=server.url, answer_seconds=0.2, connect_seconds=0.2), Watcher()
        async with opened(redis, watcher) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report(arrivals=["u1", "u2"]))
            server.kill()
            with pytest.raises(Unavailable):
                await broker.report("room", Report(viewers=1, arrivals=[f"u{number}" for number in range(15_000)]))
            with pytest.raises(Unavailable):
                await broker.report("room", Report(viewers=2, arrivals=[f"u{number}" for number in range(10_000, 25_000)]))
            server.start()
            with trio.fail_after(PATIENCE):
                while True:
                    try:
                        await broker.report("room", Report(viewers=3))
                        break
                    except Unavailable:
                        await trio.sleep(0.01)
            await watcher.until(lambda: abs(watcher.totals("room")[-1].unique - 25_000) < 1_000)


async def test_reactions_of_sources_that_ended_are_not_kept_for_ever(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0), Watcher()
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        for turn in range(16):
            await broker.report("room", Report(reactions={f"{turn}.{number}": {"x": 1} for number in range(100)}))
        await watcher.until(lambda: watcher.totals("room")[-1].reactions == {"x": 1600})
        for key in "neo":
            count = "ZCARD" if key == "o" else "HLEN"
            assert server.ask(count, f"{redis.prefix}:{VERSION}:{{room}}:{key}") <= 1_100


async def test_the_peak_outlives_the_nodes_that_saw_it(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0), Watcher()
    async with opened(redis, Deliveries()) as broker:
        await broker.subscribe("room")
        await broker.report("room", Report(viewers=50, arrivals="abc"))
        await broker.leave()
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        await broker.report("room", Report(viewers=3, arrivals="cd"))
        await watcher.until(lambda: watcher.counts("room")[-1] == (0, 3))
        assert (watcher.totals("room")[-1].peak, watcher.totals("room")[-1].unique) == (50, 4)
