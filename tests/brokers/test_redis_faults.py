"""The Redis broker when the server or the way to it fails: killed, restarted, emptied, paused, cut."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from bench.redisproc import RedisProcess, redis_server
from engine.brokers.base import Amended, Events, Pending, Record, Report, Unavailable
from engine.brokers.redis.functions import VERSION
from engine.settings import BrokerSettings, RedisSettings

from .contract import Deliveries, comments
from .model import Seen
from .redis_brokers import Watcher, fresh_prefix, opened, published
from .ways import cut

KEEPS_EVERYTHING = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
KEEPS_MOST = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
KEEPS_NOTHING = ("--save", "", "--appendonly", "no")


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's: the path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), *KEEPS_NOTHING) as server:
        yield server


async def test_a_publish_whose_answer_was_lost_is_applied_once(server: RedisProcess, directory: Path) -> None:
    async with cut(directory / "way", server) as way:
        redis, watcher = RedisSettings(url=way.url, prefix=fresh_prefix(), answer_seconds=20), Watcher()
        async with opened(redis, watcher) as broker:
            epoch = (await broker.subscribe("room")).epoch
            for number in range(10):
                # The answer to a publish begins with the epoch; so do no pushes.
                way.swallow = f"\r\n{epoch} {number * 2 + 1}\r\n".encode()
                receipt = await broker.publish("room", comments(f"{number}", f"{number}+"))
                assert receipt.offsets == [number * 2 + 1, number * 2 + 2]
            assert way.swallowed == 10
            await watcher.until(lambda: len(watcher.bodies("room")) == 20)
            assert watcher.bodies("room") == [body.encode() for n in range(10) for body in (f"{n}", f"{n}+")]


async def test_a_cut_way_loses_no_delivery_and_repeats_none(server: RedisProcess, directory: Path) -> None:
    async with cut(directory / "way", server) as way:
        prefix, watcher = fresh_prefix(), Watcher()
        async with (
            opened(RedisSettings(url=way.url, prefix=prefix, answer_seconds=20), watcher) as far,
            opened(RedisSettings(url=server.url, prefix=prefix), Deliveries()) as near,
        ):
            await far.subscribe("room")
            await far.subscribe("other")
            for number in range(60):
                if number % 6 == 3:
                    way.cut()
                await near.publish("room", comments(str(number)))
                await near.publish("other", comments(str(number)))
            for room in ("room", "other"):
                await watcher.until(lambda room=room: len(watcher.bodies(room)) == 60)
                assert watcher.bodies(room) == [b"%d" % number for number in range(60)]


async def test_a_hole_that_history_cannot_fill_is_shown_as_a_hole(server: RedisProcess, directory: Path) -> None:
    settings = BrokerSettings(history_events=2)
    async with cut(directory / "way", server) as way:
        prefix, deliveries = fresh_prefix(), Deliveries()
        async with (
            opened(RedisSettings(url=way.url, prefix=prefix, answer_seconds=20), deliveries, settings) as far,
            opened(RedisSettings(url=server.url, prefix=prefix), Deliveries(), settings) as near,
        ):
            await far.subscribe("room")
            way.refuse = True
            way.cut()
            for number in range(1, 11):
                await near.publish("room", comments(str(number)))
            way.refuse = False
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 2)
            assert deliveries.bodies("room") == [b"9", b"10"]
            assert deliveries.events("room")[-1].last == 10


async def test_without_a_server_calls_fail_and_go_on_when_it_is_there(directory: Path) -> None:
    server = RedisProcess(directory, *KEEPS_NOTHING)
    redis, deliveries = RedisSettings(url=server.url, answer_seconds=20), Deliveries()
    try:
        async with opened(redis, deliveries) as broker:
            with pytest.raises(Unavailable, match="out of reach"):
                await broker.publish("room", comments("a"))
            with pytest.raises(Unavailable):
                await broker.subscribe("room")
            with pytest.raises(Unavailable):
                await broker.history("room", 0, 1)
            assert isinstance((await broker.publish_all({"a": comments("a")}))["a"], Unavailable)
            server.start()
            assert (await published(broker, "room", comments("a"))).offsets == [1]
            assert (await broker.subscribe("room")).offset == 1
    finally:
        server.kill()


async def test_a_server_that_comes_back_empty_begins_a_new_epoch_and_everybody_is_told(directory: Path) -> None:
    with redis_server(directory, *KEEPS_NOTHING) as server:
        redis, one, two = RedisSettings(url=server.url), Watcher(), Watcher()
        async with opened(redis, one) as first, opened(redis, two) as second:
            old = await first.subscribe("room")
            await second.subscribe("room")
            await first.report("room", Report({"first": 5}, 1))
            await first.publish("room", comments("a", "b"))
            await two.until(lambda: two.bodies("room") == [b"a", b"b"])
            server.kill()
            server.start()
            receipt = await published(first, "room", comments("c", session="s", ref=1))
            assert receipt.epoch > old.epoch
            assert receipt.offsets == [1]
            for watcher in (one, two):
                await watcher.until(lambda watcher=watcher: watcher.bodies("room")[-1] == b"c")
                last = watcher.events("room")[-1]
                assert (last.epoch, last.last) == (receipt.epoch, 1)
            # Whoever asks because of the new epoch gets all of it.
            assert await second.subscribe("room") == (receipt.epoch, 0)
            assert await second.subscribe("room") == (receipt.epoch, 1)
            await two.until(lambda: two.counts("room")[-1] == (5, 1))


async def test_rooms_without_events_are_told_of_a_new_epoch_too(directory: Path) -> None:
    with redis_server(directory, *KEEPS_NOTHING) as server:
        watcher = Watcher()
        async with opened(RedisSettings(url=server.url), watcher) as broker:
            old = await broker.subscribe("room")
            server.kill()
            server.start()
            await watcher.until(lambda: bool(watcher.events("room")))
            assert watcher.events("room")[-1].epoch > old.epoch
            assert (watcher.events("room")[-1].first, watcher.bodies("room")) == (1, [])


async def test_a_server_that_keeps_everything_continues_after_a_kill(directory: Path) -> None:
    with redis_server(directory, *KEEPS_EVERYTHING) as server:
        redis, watcher = RedisSettings(url=server.url), Watcher()
        async with opened(redis, watcher) as broker:
            position = await broker.subscribe("room")
            for number in range(1, 11):
                assert (await broker.publish("room", comments(str(number)))).offsets == [number]
            await broker.report("room", Report({"broker": 3}, 1))
            server.kill()
            server.start()
            receipt = await published(broker, "room", comments("11", session="s", ref=1))
            assert (receipt.epoch, receipt.offsets) == (position.epoch, [11])
            await watcher.until(lambda: len(watcher.bodies("room")) == 11)
            assert (await broker.history("room", 0, 100)).events.events == [b"%d" % number for number in range(1, 12)]
        async with opened(redis, watcher) as broker:
            await broker.subscribe("room")
            await watcher.until(lambda: watcher.totals("room")[-1].likes == 3)


async def test_a_server_that_may_have_lost_the_last_second_begins_a_new_epoch(directory: Path) -> None:
    with redis_server(directory, *KEEPS_MOST) as server:
        watcher = Watcher()
        async with opened(RedisSettings(url=server.url), watcher) as broker:
            position = await broker.subscribe("room")
            await broker.publish("room", comments("a"))
            await watcher.until(lambda: watcher.bodies("room") == [b"a"])
            server.kill()
            server.start()
            receipt = await published(broker, "room", comments("b", session="s", ref=1))
            assert receipt.epoch > position.epoch
            # What it has kept is there under its offsets, and nothing was shown twice.
            history = (await broker.history("room", 0, 10)).events
            assert (history.epoch, history.events[-1], history.last) == (receipt.epoch, b"b", receipt.offsets[0])
            await watcher.until(lambda: watcher.bodies("room") == [b"a", b"b"])
            assert await broker.subscribe("room") == (receipt.epoch, receipt.offsets[0] - 1)


async def test_an_emptied_server_begins_a_new_epoch_with_the_next_publish(server: RedisProcess) -> None:
    redis, one, two = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher(), Watcher()
    async with opened(redis, one) as first, opened(redis, two) as second:
        old = await first.subscribe("room")
        await second.subscribe("room")
        await first.publish("room", comments("a", "b", session="s", ref=1))
        await two.until(lambda: len(two.bodies("room")) == 2)
        server.ask("FLUSHALL")
        receipt = await first.publish("room", comments("c"))
        assert receipt.epoch > old.epoch
        assert receipt.offsets == [1]
        for watcher in (one, two):
            await watcher.until(lambda watcher=watcher: watcher.bodies("room") == [b"a", b"b", b"c"])
        # Its first life is not remembered.
        assert (await second.publish("room", comments("a", session="s", ref=1))).offsets == [2]


async def test_an_emptied_server_is_noticed_by_a_beat(server: RedisProcess) -> None:
    watcher = Watcher()
    async with opened(RedisSettings(url=server.url, prefix=fresh_prefix()), watcher) as broker:
        old = await broker.subscribe("room")
        await broker.publish("room", comments("a"))
        await watcher.until(lambda: len(watcher.bodies("room")) == 1)
        server.ask("FLUSHALL")
        await broker.beat(0)
        await watcher.until(lambda: watcher.events("room")[-1].epoch > old.epoch)


async def test_an_emptied_server_is_told_all_likes_again(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0), Watcher()
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        await broker.report("room", Report({"s": 5, "t": 1}, 1))
        await broker.report("room", Report({"s": 5, "t": 3, "u": 2}, 1))
        await watcher.until(lambda: watcher.totals("room")[-1].likes == 10)
        server.ask("FLUSHALL")
        await broker.report("room", Report({"s": 6, "t": 3, "u": 2}, 1))
        await watcher.until(lambda: watcher.totals("room")[-1].likes == 11)
        server.ask("FLUSHALL")
        # Noticed by a publish.
        await broker.publish("room", comments("a"))
        await broker.report("room", Report({"s": 6, "t": 3, "u": 3}, 1))
        await watcher.until(lambda: watcher.totals("room")[-1].likes == 12)


async def test_an_amendment_whose_answer_was_lost_is_made_once(server: RedisProcess, directory: Path) -> None:
    async with cut(directory / "way", server) as way:
        redis, watcher = RedisSettings(url=way.url, prefix=fresh_prefix(), answer_seconds=20), Watcher()
        async with opened(redis, watcher) as broker:
            await broker.subscribe("room")
            for number in range(10):
                way.swallow = b"ok %d\r\n" % (number + 1)
                assert await broker.amend("room", "a", b"%d" % number, expect=number) == number + 1
            assert way.swallowed == 10
            await watcher.until(lambda: watcher.record("room") == {"a": b"9"})


async def test_a_node_that_was_away_is_given_the_record(server: RedisProcess, directory: Path) -> None:
    async with cut(directory / "way", server) as way:
        prefix, watcher = fresh_prefix(), Watcher()
        async with (
            opened(RedisSettings(url=way.url, prefix=prefix, answer_seconds=20), watcher) as far,
            opened(RedisSettings(url=server.url, prefix=prefix), Deliveries()) as near,
        ):
            await far.subscribe("room")
            expected = {}
            for number in range(60):
                if number % 12 == 5:
                    way.cut()
                field, value = f"f{number % 5}", str(number).encode()
                expected[field] = value
                await near.amend("room", field, value)
            await watcher.until(lambda: watcher.record("room") == expected)
            # Nothing more comes that would show that something is missing.
            way.refuse = True
            way.cut()
            await near.amend("room", "f1", None)
            way.refuse = False
            del expected["f1"]
            await watcher.until(lambda: watcher.record("room") == expected)


async def test_a_node_that_was_away_has_each_change_before_its_event(server: RedisProcess, directory: Path) -> None:
    async with cut(directory / "way", server) as way:
        prefix, watcher = fresh_prefix(), Watcher()
        async with (
            opened(RedisSettings(url=way.url, prefix=prefix, answer_seconds=20), watcher) as far,
            opened(RedisSettings(url=server.url, prefix=prefix), Deliveries()) as near,
        ):
            await far.subscribe("room")
            for number in range(60):
                if number % 12 == 5:
                    way.cut()
                value = str(number).encode()
                await near.amend("room", "a", value, event=Pending(value))
            await watcher.until(lambda: len(watcher.bodies("room")) == 60)
            seen = Seen()
            for delivery in watcher.all:
                if isinstance(delivery, Record | Amended):
                    seen.take(delivery)
                elif isinstance(delivery, Events):
                    assert all(int(event) <= int(seen.values["a"]) for event in delivery.events)


async def test_a_record_outlives_an_epoch_as_long_as_the_server_has_it(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as broker:
        old = await broker.subscribe("room")
        await broker.amend("room", "a", b"1")
        await broker.publish("room", comments("a", "b"))
        server.ask("HSET", f"{redis.prefix}:{VERSION}:{{room}}:h", "offset", 1)
        assert (await broker.publish("room", comments("c"))).epoch > old.epoch
        assert await broker.amend("room", "b", b"2") == 2
        await watcher.until(lambda: watcher.record("room") == {"a": b"1", "b": b"2"})
        server.ask("FLUSHALL")
        await broker.beat(0)
        await watcher.until(lambda: watcher.record("room") == {})
        assert await broker.amend("room", "c", b"3") == 1
        await watcher.until(lambda: watcher.record("room") == {"c": b"3"})


async def test_a_history_that_went_back_begins_a_new_epoch_above_all_before(server: RedisProcess) -> None:
    # As after a failover to a replica that lagged: the same epoch, a smaller head.
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as broker:
        old = await broker.subscribe("room")
        await broker.publish("room", comments("a", "b", "c"))
        server.ask("HSET", f"{redis.prefix}:{VERSION}:{{room}}:h", "offset", 2)
        receipt = await broker.publish("room", comments("d"))
        assert receipt.epoch > old.epoch
        assert receipt.offsets == [3]
        # An epoch from before is no better.
        server.ask("HSET", f"{redis.prefix}:{VERSION}:{{room}}:h", "epoch", old.epoch, "offset", 100)
        again = await broker.publish("room", comments("e"))
        assert again.epoch > receipt.epoch
        assert again.offsets == [101]
        await watcher.until(lambda: watcher.bodies("room")[-1] == b"e")


async def test_a_paused_server_is_unavailable_within_the_bound_and_goes_on(directory: Path) -> None:
    with redis_server(directory, *KEEPS_NOTHING) as server:
        redis, watcher = RedisSettings(url=server.url, answer_seconds=0.3, connect_seconds=0.3), Watcher()
        async with opened(redis, watcher) as broker:
            position = await broker.subscribe("room")
            server.pause()
            with trio.fail_after(10):
                with pytest.raises(Unavailable):
                    await broker.publish("room", comments("a", session="s", ref=1))
                with pytest.raises(Unavailable):
                    await broker.report("room", Report({"broker": 4}, 1))
                with pytest.raises(Unavailable):
                    await broker.publish("room", comments("b", session="s", ref=2))
            server.resume()
            assert (await published(broker, "room", comments("c", session="s", ref=3))).epoch == position.epoch
            for ref, body in ((1, "a"), (2, "b"), (3, "c")):
                await published(broker, "room", comments(body, session="s", ref=ref))
            await broker.report("room", Report({"broker": 4}, 1))
            await watcher.until(lambda: len(watcher.bodies("room")) == 3 and watcher.totals("room")[-1].likes == 4)
            assert sorted(watcher.bodies("room")) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("handed_over", [True, False])
async def test_a_node_may_leave_while_it_opens_a_room(directory: Path, handed_over: bool) -> None:
    with redis_server(directory, *KEEPS_NOTHING) as server:
        redis = RedisSettings(url=server.url, answer_seconds=20)
        async with opened(redis, Watcher()) as broker, trio.open_nursery() as nursery:
            await broker.subscribe("another")
            server.pause()
            nursery.start_soon(broker.subscribe, "room")
            await trio.testing.wait_all_tasks_blocked()
            if handed_over:
                broker.hand_over()
            else:
                nursery.start_soon(broker.leave)
                await trio.testing.wait_all_tasks_blocked()
            server.resume()
            nursery.cancel_scope.cancel()


async def test_a_publish_that_arrives_after_a_later_one_is_not_applied(server: RedisProcess) -> None:
    watcher = Watcher()
    async with opened(RedisSettings(url=server.url, prefix=fresh_prefix()), watcher) as broker:
        await broker.subscribe("room")
        early = broker._functions.publish("room", broker._known("room"), 1, [Pending(b"early")])
        broker._publishing._sequence = 1
        await broker.publish("room", [Pending(b"late")])
        with pytest.raises(Unavailable, match="later publish"):
            await broker._topology.ask("room", early)
        await broker.publish("room", [Pending(b"last")])
        await watcher.until(lambda: watcher.bodies("room") == [b"late", b"last"])


async def test_a_wrong_password_is_named(directory: Path) -> None:
    with redis_server(directory, *KEEPS_NOTHING) as server:
        server.ask("CONFIG", "SET", "requirepass", "secret")
        async with opened(RedisSettings(url=f"unix://:wrong@{server.path}"), Deliveries()) as broker:
            with pytest.raises(Unavailable, match="invalid username-password"):
                await broker.publish("room", comments("a"))
        async with opened(RedisSettings(url=f"unix://:secret@{server.path}"), Deliveries()) as broker:
            assert (await broker.publish("room", comments("a"))).offsets == [1]
