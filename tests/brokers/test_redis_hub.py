"""Two hubs over one Redis: what their edges get, also when the server is lost."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from hub.harness import FakeEdge, batches, open_hub

from engine.brokers.base import Deliver
from engine.brokers.redis import RedisBroker
from engine.errors import Code
from engine.link.messages import Likes, ReplyTo, Restart
from engine.settings import BrokerSettings, RedisSettings

from .contract import PATIENCE
from .valkey import valkey


@asynccontextmanager
async def node(redis: RedisSettings) -> AsyncIterator[FakeEdge]:
    """An edge of a node of its own, in a room."""
    brokers: list[RedisBroker] = []

    def make(deliver: Deliver) -> RedisBroker:
        brokers.append(RedisBroker(BrokerSettings(), redis, deliver))
        return brokers[0]

    async with open_hub(broker=make) as harness, trio.open_nursery() as nursery:
        await nursery.start(brokers[0].run)
        edge = harness.edge()
        await edge.open("room")
        # The snapshot: what is said from now on is shown.
        await until(lambda: edge.got)
        yield edge
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
    return valkey(Path(directory), "--save", "")


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
                await until(lambda edge=edge: edge.messages()[-1][8:] == [[12, 2]])


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
