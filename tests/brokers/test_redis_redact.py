"""Redaction over Redis: what the server remembers of it, for how long, and across a change of epoch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.redisproc import RedisProcess, redis_server
from engine.brokers.base import Pending, Position
from engine.brokers.redis import RedisBroker
from engine.brokers.redis.functions import VERSION
from engine.settings import BrokerSettings, RedisSettings

from .contract import Clock, Deliveries, comments
from .model import GONE
from .redis_brokers import Watcher, fresh_prefix, opened
from .ways import cut

DELETED = Pending(b"deleted")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server


def key(redis: RedisSettings, suffix: str) -> str:
    return f"{redis.prefix}:{VERSION}:{{room}}:{suffix}"


def replicate(server: RedisProcess, redis: RedisSettings) -> None:
    """What comes after this is lost by `fail_over`."""
    for suffix in "hs":
        server.ask("COPY", key(redis, suffix), key(redis, f"{suffix}-copy"))


def fail_over(server: RedisProcess, redis: RedisSettings) -> None:
    """As to a replica that lagged: the room is what it was, and the server has another history of its own. What was redacted
    stays, though: it must do no harm."""
    for suffix in "hs":
        server.ask("RENAME", key(redis, f"{suffix}-copy"), key(redis, suffix))
    server.ask("HSET", key(redis, "h"), "run", "0")


async def past(broker: RedisBroker) -> list[bytes]:
    return (await broker.history("room", 0, 100)).events.events


async def test_what_is_redacted_stays_so_in_a_new_epoch_that_has_it(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        old = await broker.subscribe("room")
        for body in "abc":
            await broker.publish("room", comments(body))
        assert await broker.redact("room", [1, 2], DELETED) == 4
        server.ask("HSET", key(redis, "h"), "run", "0")
        receipt = await broker.publish("room", comments("d"))
        assert (receipt.epoch > old.epoch, receipt.offsets) == (True, [5])
        assert await past(broker) == [GONE, GONE, b"c", b"deleted", b"d"]


async def test_offsets_that_were_lost_and_are_given_again_are_not_redacted(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        await broker.subscribe("room")
        await broker.publish("room", comments("a", "b"))
        replicate(server, redis)
        await broker.publish("room", comments("c"))
        assert await broker.redact("room", [1, 3], DELETED) == 4
        fail_over(server, redis)
        assert (await broker.publish("room", comments("d", "e"))).offsets == [3, 4]
        assert await past(broker) == [GONE, b"b", b"d", b"e"]


async def test_a_redaction_by_who_knows_the_epoch_before_spares_what_is_new(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        old = await broker.subscribe("room")
        await broker.publish("room", comments("a", "b", "c"))
        replicate(server, redis)
        await broker.publish("room", comments("d"))
        stale = [broker._functions.redact("room", Position(old.epoch, 4), number, [1, 4], DELETED) for number in (1, 2)]
        fail_over(server, redis)
        await broker.publish("room", comments("x"))
        # It meant what was the fourth then; the first one is what it was.
        await broker._topology.ask("room", stale[0])
        assert await past(broker) == [GONE, b"b", b"c", b"x", b"deleted"]
        # One epoch later nobody knows any more what is the same.
        server.ask("HSET", key(redis, "h"), "run", "0")
        server.ask("DEL", key(redis, "d"))
        await broker.publish("room", comments("y"))
        await broker._topology.ask("room", stale[1])
        assert await past(broker) == [b"a", b"b", b"c", b"x", b"deleted", b"y", b"deleted"]


async def test_a_redaction_that_finds_the_tail_lost_spares_what_is_new(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        old = await broker.subscribe("room")
        await broker.publish("room", comments("a", "b"))
        replicate(server, redis)
        await broker.publish("room", comments("c", "d"))
        fail_over(server, redis)
        assert await broker.redact("room", [2, 3, 4], DELETED) == 3
        await broker.publish("room", comments("x"))
        history = await broker.history("room", 0, 10)
        assert history.head.epoch > old.epoch
        assert history.events.events == [b"a", GONE, b"deleted", b"x"]


async def test_what_was_missed_and_redacted_meanwhile_comes_as_a_tombstone(server: RedisProcess) -> None:
    prefix, watcher = fresh_prefix(), Watcher()
    with tempfile.TemporaryDirectory() as directory:
        async with (
            cut(Path(directory) / "way", server) as way,
            opened(RedisSettings(url=way.url, prefix=prefix, answer_seconds=20), watcher) as far,
            opened(RedisSettings(url=server.url, prefix=prefix), Deliveries()) as near,
        ):
            await far.subscribe("room")
            way.refuse = True
            way.cut()
            await near.publish("room", comments("a", "b"))
            await near.redact("room", [1], DELETED)
            way.refuse = False
            await watcher.until(lambda: watcher.bodies("room") == [GONE, b"b", b"deleted"])


async def test_what_is_remembered_of_redactions_leaves_with_the_history(server: RedisProcess) -> None:
    redis, clock = RedisSettings(url=server.url, prefix=fresh_prefix()), Clock()
    async with opened(redis, Deliveries(), BrokerSettings(history_events=5), clock) as broker:
        for number in range(1, 41, 2):
            assert (await broker.publish("room", comments(str(number)))).offsets == [number]
            assert await broker.redact("room", [number], DELETED) == number + 1
            assert server.ask("ZCARD", key(redis, "d")) <= 4
            assert 0 < server.ask("PTTL", key(redis, "d")) <= 3_600_000
        assert await past(broker) == [b"deleted", GONE, b"deleted", GONE, b"deleted"]


async def test_more_is_redacted_at_once_than_one_call_takes(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        await broker.publish("room", [Pending(b"%d" % number) for number in range(9_000)])
        assert await broker.redact("room", range(2, 9_001), DELETED) == 9_001
        assert (await broker.history("room", 0, 9_001)).events.events == [b"0", *[GONE] * 8_999, b"deleted"]


async def test_a_redaction_and_an_amendment_whose_answers_were_lost_are_made_once(server: RedisProcess) -> None:
    watcher = Watcher()
    with tempfile.TemporaryDirectory() as directory:
        async with cut(Path(directory) / "way", server) as way:
            redis = RedisSettings(url=way.url, prefix=fresh_prefix(), answer_seconds=20)
            async with opened(redis, watcher) as broker:
                epoch = (await broker.subscribe("room")).epoch
                await broker.publish("room", comments(*"abcde"))
                for number in range(1, 6):
                    way.swallow = f"\r\n{epoch} {4 + 2 * number}\r\n".encode()
                    assert await broker.redact("room", [number], DELETED) == 4 + 2 * number
                    way.swallow = f"ok {number}\r\n".encode()
                    assert await broker.amend("room", "a", b"1", expect=number - 1, event=Pending(b"state")) == number
                assert way.swallowed == 10
                await watcher.until(lambda: len(watcher.bodies("room")) == 15)
                assert await past(broker) == [*[GONE] * 5, *[b"deleted", b"state"] * 5]
