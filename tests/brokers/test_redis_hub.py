"""Two hubs over one Redis: what their edges get, also when the server is lost."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from hub.harness import FakeEdge, Harness, batches, decode, open_hub

from bench.redisproc import redis_server
from engine.brokers.base import Conflict, Deliver, Record
from engine.brokers.redis import RedisBroker
from engine.errors import Code, Refused
from engine.link.messages import DirectTo, FetchSnapshot, Frames, Likes, OpenRoom, ReplyTo, Restart, SharedSnapshot
from engine.schema import Author
from engine.settings import BrokerSettings, RedisSettings, RoomSettings

from .contract import PATIENCE


@asynccontextmanager
async def node(redis: RedisSettings, room: RoomSettings | None = None) -> AsyncIterator[FakeEdge]:
    """An edge of a node of its own, in a room."""
    async with harnessed(redis, room) as (_, edge):
        yield edge


@asynccontextmanager
async def harnessed(redis: RedisSettings, room: RoomSettings | None = None) -> AsyncIterator[tuple[Harness, FakeEdge]]:
    """A node, and an edge of it in a room."""
    brokers: list[RedisBroker] = []

    def make(deliver: Deliver) -> RedisBroker:
        brokers.append(RedisBroker(BrokerSettings(), redis, deliver))
        return brokers[0]

    async with open_hub(broker=make, room=room) as harness, trio.open_nursery() as nursery:
        await nursery.start(brokers[0].run)
        edge = harness.edge()
        await edge.open("room")
        # The snapshot: what is said from now on is shown.
        await until(lambda: edge.of(SharedSnapshot))
        yield harness, edge
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], Any]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  # an edge keeps what comes and tells nobody
            await trio.sleep(0.005)


def shown(edge: FakeEdge) -> list[str]:
    return [body for _, _, bodies in batches(edge.messages()) for body in bodies]


async def said(edge: FakeEdge, body: str, ref: int) -> int:
    """Say until it is acknowledged, as clients do; the offset."""
    with trio.fail_after(PATIENCE):
        while True:
            before = len(edge.of(ReplyTo))
            edge.say("room", body, session="a-session-of-a-viewer", ref=ref)
            await until(lambda before=before: len(edge.of(ReplyTo)) > before)
            reply = edge.of(ReplyTo)[before]
            if reply.code == Code.OK:
                return reply.offset
            assert reply.code == Code.UNAVAILABLE
            await trio.sleep(0.02)


def start(directory: str) -> Any:
    return redis_server(Path(directory), "--save", "")


async def test_what_is_said_at_one_node_is_shown_at_both_and_likes_are_summed() -> None:
    with tempfile.TemporaryDirectory() as directory, start(directory) as server:
        redis = RedisSettings(url=server.url, totals_seconds=0.02)
        async with node(redis) as one, node(redis) as two:
            for number in range(1, 21):
                assert await said((one, two)[number % 2], str(number), number) == number
            for edge in (one, two):
                await until(lambda edge=edge: len(shown(edge)) == 20)
                assert shown(edge) == [str(number) for number in range(1, 21)]
            one.send(Likes("room", 5))
            two.send(Likes("room", 7))
            for edge in (one, two):
                # Counters: likes, viewers.
                await until(lambda edge=edge: edge.messages()[-1][8:9] == [[12, 2]])


async def test_a_server_that_comes_back_empty_is_told_to_viewers_and_the_next_comment_is_shown() -> None:
    with tempfile.TemporaryDirectory() as directory, start(directory) as server:
        redis = RedisSettings(url=server.url, answer_seconds=0.5)
        async with node(redis) as one, node(redis) as two:
            await said(one, "before", 1)
            for edge in (one, two):
                await until(lambda edge=edge: shown(edge) == ["before"])
            server.kill()
            one.say("room", "lost", session="", ref=9)
            await until(lambda: one.of(ReplyTo)[-1].code == Code.UNAVAILABLE)
            server.start()
            assert await said(two, "after", 2) == 1
            for edge in (one, two):
                await until(lambda edge=edge: edge.of(Restart) and shown(edge)[-1] == "after")


async def test_likes_are_exact_when_a_node_is_killed_and_its_edge_comes_to_another() -> None:
    with tempfile.TemporaryDirectory() as directory, start(directory) as server:
        redis = RedisSettings(url=server.url, totals_seconds=0.02)
        async with node(redis, RoomSettings(counters_seconds=0.02)) as witness:
            # Told total and opening of the edge's count, likes of the room then.
            for total, opening, expected in ((5, 1, 105), (9, 1, 209), (11, 1, 311), (3, 2, 414)):
                # Nobody says goodbye at the end of the block.
                async with harnessed(redis) as (harness, _):
                    edge = harness.edge("the same edge")
                    edge.send(OpenRoom("room", opening, [0]), Likes("room", total))
                    harness.hub.like("room", 100)
                    await until(lambda expected=expected: likes_shown(witness)[-1:] == [expected])
            assert likes_shown(witness) == sorted(likes_shown(witness))


def likes_shown(edge: FakeEdge) -> list[int]:
    return [message[8][0] for message in edge.messages()]


async def test_a_record_amended_at_one_node_is_at_both_and_at_who_opens_the_room_later() -> None:
    with tempfile.TemporaryDirectory() as directory, start(directory) as server:
        redis = RedisSettings(url=server.url)
        async with harnessed(redis) as (one, _), harnessed(redis) as (two, far):
            assert await one.hub.amend("room", "title", b"1") == 1
            assert await two.hub.amend("room", "title", b"2", expect=1) == 2
            with pytest.raises(Conflict):
                await one.hub.amend("room", "title", b"3", expect=1)
            assert await one.hub.amend("room", "mute", b"x") == 3
            assert await two.hub.amend("room", "mute", None) == 4
            for harness in (one, two):
                await until(lambda harness=harness: harness.hub.record("room") == Record("room", 4, {"title": b"2"}))
            await one.hub.amend("later", "a", b"1")
            assert one.hub.record("later") is None
            await far.open("later")
            await until(lambda: two.hub.record("later") == Record("later", 1, {"a": b"1"}))
            with pytest.raises(Refused):
                await one.hub.amend(" no name", "a", b"1")


def times_of(edge: FakeEdge) -> list[int]:
    """Every time that a viewer of the edge would see, in order."""
    times: list[int] = []
    for _, message in edge.got:
        if isinstance(message, DirectTo):
            times.append(message.time)
        elif isinstance(message, Frames | SharedSnapshot):
            for kind, *fields in decode(message.frames[0]):
                if kind == 33:
                    times.append(fields[4])
                elif kind == 34:
                    times += [fields[4] + delay for delay in (fields[6] or [0] * max(len(fields[5]), 1))]
    return times


async def test_all_times_are_the_servers_whatever_the_clocks_of_the_nodes_say(monkeypatch: pytest.MonkeyPatch) -> None:
    # An hour behind, an hour ahead, and never where it was before: what is asked for the time gets that of either node.
    real = time.time
    errors = itertools.cycle((-3_600.0, 3_600.0, 0.0, 86_400.0))
    with tempfile.TemporaryDirectory() as directory, start(directory) as server:

        def server_ms() -> int:
            seconds, micros = server.ask("TIME")
            return int(seconds) * 1000 + int(micros) // 1000

        monkeypatch.setattr(time, "time", lambda: real() + next(errors))
        monkeypatch.setattr(time, "time_ns", lambda: int((real() + next(errors)) * 1e9))
        redis, begin = RedisSettings(url=server.url, totals_seconds=0.02), server_ms()
        room = RoomSettings(heartbeat_seconds=0.05, counters_seconds=0.02)
        async with node(redis, room) as one, node(redis, room) as two:
            for number in range(1, 31):
                edge = (one, two)[number % 2]
                await said(edge, str(number), number)
                edge.send(Likes("room", number), FetchSnapshot("room"), DirectTo("room", Author("guest-1"), "guest-2", "psst"))
                if number % 10 == 0:
                    beats = len(times_of(edge))
                    await until(lambda edge=edge, beats=beats: len(times_of(edge)) > beats + 2)
            for edge in (one, two):
                await until(lambda edge=edge: len(shown(edge)) == 30)
        end = server_ms()
        for edge in (one, two):
            times = times_of(edge)
            assert times == sorted(times)
            assert len(times) > 60
            assert begin - 1 <= times[0] <= times[-1] <= end + 1_000
