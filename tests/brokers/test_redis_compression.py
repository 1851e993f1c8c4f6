"""Large publishes cross compressed, are kept and spread so, and come out as they went in."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.redisproc import RedisProcess, redis_server
from engine.brokers.base import NO_BYTES, NO_EVENTS, Events, Pending
from engine.brokers.budget import Budget
from engine.brokers.redis.functions import VERSION
from engine.brokers.redis.spread import UnknownRecord, pack_body, read_record
from engine.settings import BrokerSettings, RedisSettings

from .contract import Clock, Deliveries
from .model import GONE
from .redis_brokers import Watcher, fresh_prefix, opened


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server


def speech(first: int, count: int, lane: int = 0) -> list[Pending]:
    """Comments that have much in common."""
    return [
        Pending(f"[1, ['guest-{ref}', '', {{}}], 主播好厉害 {ref}]".encode(), "s", ref, lane)
        for ref in range(first, first + count)
    ]


def stored(server: RedisProcess, redis: RedisSettings) -> list[bytes]:
    """The versions of the records that the server has of the room."""
    return [fields[1].split(b" ")[0] for _, fields in server.ask("XRANGE", f"{redis.prefix}:{VERSION}:{{room}}:s", "-", "+")]


@given(st.lists(st.binary(max_size=200), max_size=30), st.sampled_from((0, 1, 100, 10_000)))
def test_a_body_comes_out_as_it_went_in(events: list[bytes], compress_bytes: int) -> None:
    body, packed = pack_body([Pending(event) for event in events], compress_bytes)
    assert not packed or compress_bytes
    record = b"%d 7 3 %d 99 %b" % (2 if packed else 1, len(events), body)
    assert read_record("room", record) == Events("room", 7, 3, events, [99] * len(events))


def test_a_compressed_body_that_is_cut_off_or_is_none_is_refused() -> None:
    body = zlib.compress(b"\xc4\x03abc" * 5, 1)
    assert read_record("room", b"2 7 1 5 0 " + body).events == [b"abc"] * 5
    for broken in (body[:-1], body[2:], b"\xc4\x03abc" * 5, b""):
        with pytest.raises(UnknownRecord):
            read_record("room", b"2 7 1 5 0 " + broken)


async def test_what_is_large_is_compressed_once_and_read_by_every_node(server: RedisProcess) -> None:
    redis, one, two = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher(), Watcher()
    async with opened(redis, one) as first, opened(redis, two) as second:
        await first.subscribe("room")
        await second.subscribe("room")
        events = [*speech(1, 1), *speech(2, 100), *speech(102, 2)]
        assert (await first.publish("room", events[:1])).offsets == [1]
        assert (await first.publish("room", events[1:101])).offsets == list(range(2, 102))
        assert (await second.publish("room", events[101:])).offsets == [102, 103]
        assert stored(server, redis) == [b"1", b"2", b"1"]
        expected = [pending.event for pending in events]
        for watcher in (one, two):
            await watcher.until(lambda watcher=watcher: watcher.bodies("room") == expected)
        assert (await second.history("room", 0, 200)).events.events == expected
        assert (await second.history("room", 50, 20)).events.events == expected[50:70]


async def test_it_saves_most_of_the_bytes_of_a_hundred_comments(server: RedisProcess) -> None:
    received = {}
    for compress_bytes in (512, 0):
        redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix(), compress_bytes=compress_bytes), Watcher()
        async with opened(redis, watcher) as broker:
            await broker.subscribe("room")
            before = broker.statistics().received
            await broker.publish("room", speech(1, 100))
            await watcher.until(lambda watcher=watcher: len(watcher.bodies("room")) == 100)
            received[compress_bytes] = broker.statistics().received - before
    assert received[512] < received[0] / 2


async def test_a_retry_beside_something_new_is_told_from_it_though_both_are_compressed(server: RedisProcess) -> None:
    redis, watcher = RedisSettings(url=server.url, prefix=fresh_prefix()), Watcher()
    async with opened(redis, watcher) as broker:
        await broker.subscribe("room")
        assert (await broker.publish("room", speech(1, 60))).offsets == list(range(1, 61))
        requests = broker.statistics().requests
        # All of it is known: nothing to be taken apart.
        assert (await broker.publish("room", speech(1, 60))).offsets == list(range(1, 61))
        assert broker.statistics().requests == requests + 1
        # A half is.
        assert (await broker.publish("room", speech(31, 60))).offsets == list(range(31, 91))
        assert broker.statistics().requests == requests + 3
        assert (await broker.publish("room", speech(91, 60))).offsets == list(range(91, 151))
        await watcher.until(lambda: len(watcher.bodies("room")) == 150)
        assert watcher.bodies("room") == [pending.event for pending in speech(1, 150)]
        assert stored(server, redis) == [b"2", b"1", b"2"]


async def test_what_is_withheld_is_taken_out_of_what_is_compressed_and_costs_the_budget_once(server: RedisProcess) -> None:
    redis, watcher, clock = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0), Watcher(), Clock()
    async with opened(redis, watcher, clock=clock, budget=Budget(50.0)) as broker:
        await broker.subscribe("room")
        assert (await broker.publish("room", speech(1, 40, lane=1))).offsets == list(range(1, 41))
        assert (await broker.publish("room", speech(41, 40, lane=1))).offsets == [*range(41, 51), *[NO_EVENTS] * 30]
        assert (await broker.publish("room", speech(51, 40, lane=1))).offsets == [NO_EVENTS] * 40
        await watcher.until(lambda: watcher.totals("room")[-1].withheld == (70, 0))
        assert watcher.bodies("room") == [pending.event for pending in speech(1, 50)]


async def test_a_budget_of_bytes_is_one_of_events_as_they_are_and_not_as_they_are_compressed(server: RedisProcess) -> None:
    redis, watcher, clock = RedisSettings(url=server.url, prefix=fresh_prefix(), totals_seconds=0), Watcher(), Clock()
    events = speech(1, 40, lane=1)
    size = sum(len(pending.event) for pending in events[:30])
    async with opened(redis, watcher, clock=clock, budget=Budget(bytes=size)) as broker:
        await broker.subscribe("room")
        assert (await broker.publish("room", events)).offsets == [*range(1, 31), *[NO_BYTES] * 10]
        await watcher.until(lambda: watcher.totals("room")[-1].withheld == (0, 10))
        assert watcher.bodies("room") == [pending.event for pending in events[:30]]


async def test_what_is_redacted_is_taken_out_of_what_is_compressed_by_who_reads_it(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries()) as broker:
        events = [pending.event for pending in speech(1, 60)]
        await broker.publish("room", speech(1, 60))
        assert await broker.redact("room", [60, 7, 1], Pending(b"deleted" * 1_000)) == 61
        assert stored(server, redis) == [b"2", b"2"]
        expected = [GONE, *events[1:6], GONE, *events[7:59], GONE, b"deleted" * 1_000]
        for after, limit in ((0, 100), (0, 1), (6, 1), (5, 3), (59, 2)):
            assert (await broker.history("room", after, limit)).events.events == expected[after : after + limit]


async def test_the_bounds_of_history_hold_for_compressed_records(server: RedisProcess) -> None:
    redis = RedisSettings(url=server.url, prefix=fresh_prefix())
    async with opened(redis, Deliveries(), BrokerSettings(history_events=100)) as broker:
        for turn in range(6):
            await broker.publish("room", speech(1 + 40 * turn, 40 if turn % 2 else 2))
        history = await broker.history("room", 0, 1000)
        assert history.events.last == history.head.offset == 126
        assert 60 <= len(history.events.events) <= 100
