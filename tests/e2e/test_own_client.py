"""Our own client against our own node: what each of them promises the other, in both codecs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Literal

import pytest
import trio

from engine.client import Client, Disconnected, Options, Reconnected, open_client
from engine.client.items import Comment, Counters, Custom, Event, Gap
from engine.errors import Close, Code, Refused
from engine.node import Node

from .conftest import Running
from .nodes import lively
from .viewers import PATIENCE, open_viewer

ROOM = "自己人"
Codec = Literal["msgpack", "json"]
CODECS: tuple[Codec, ...] = ("msgpack", "json")
QUICK = Options(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)


async def events(client: Client, until: int, seen: list[Any] | None = None) -> list[Any]:
    """Items up to the event at offset ``until``."""
    seen = [] if seen is None else seen
    with trio.fail_after(PATIENCE):
        async for item in client:
            seen.append(item)
            if isinstance(item, Event) and item.offset >= until:
                break
    return seen


async def until(client: Client, wanted: Callable[[Any], bool]) -> Any:
    with trio.fail_after(PATIENCE):
        async for item in client:
            if wanted(item):
                return item
    raise AssertionError("the client ended")


def cut(node: Node) -> None:
    """Break the connections of all viewers in the room."""
    for sock in node.edge.sockets(ROOM):
        sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("codec", CODECS)
async def test_speaking_liking_and_hearing(running: Running, codec: Codec) -> None:
    async with (
        running(lively()) as node,
        open_client(node.url, room=ROOM, name="小红", attributes={"level": "9"}, codec=codec) as one,
        open_client(node.url, room=ROOM, codec="msgpack") as two,
        open_viewer("websockets", node.url) as stranger,
    ):
        await stranger.join(ROOM)
        assert await one.comment("大家好 🎉") == 1
        assert await two.comment("你好" * 300) == 2
        await node.custom(ROOM, "gift", "{}")
        one.like(3)
        two.like(4)
        for client in (one, two):
            heard = [item for item in await events(client, 3) if isinstance(item, Event)]
            assert [item.offset for item in heard] == [1, 2, 3]
            first, second, third = heard
            assert isinstance(first, Comment)
            assert (first.body, first.author.name, first.author.attributes) == ("大家好 🎉", "小红", {"level": "9"})
            assert isinstance(second, Comment)
            assert second.body == "你好" * 300
            assert isinstance(third, Custom)
            await until(client, lambda item: isinstance(item, Counters) and (item.likes, item.viewers) == (7, 3))
        assert (await one.ping()).server_time > 0
        await stranger.until_offset(3)
        with pytest.raises(Refused) as caught:
            await one.comment("  ")
        assert caught.value.code == Code.EMPTY
        with pytest.raises(Refused) as caught:
            await one.custom("gift", "{}")
        assert caught.value.code == Code.FORBIDDEN
        with pytest.raises(Refused) as caught:
            await one.direct(two.user, "psst")
        assert caught.value.code == Code.FORBIDDEN


@pytest.mark.parametrize("codec", CODECS)
async def test_a_lost_connection_is_resumed_without_hole(running: Running, codec: Codec) -> None:
    async with (
        running(lively()) as node,
        open_client(node.url, room=ROOM, codec=codec, options=QUICK) as client,
        open_viewer("raw", node.url) as witness,
    ):
        await witness.join(ROOM)
        session = client.session
        seen: list[Any] = []
        said = 0
        for round_ in range(5):
            for number in range(10):
                said = await node.comment(ROOM, f"{round_}.{number}")
            if round_ < 4:
                cut(node)
            with trio.fail_after(PATIENCE):
                said = await client.comment(f"mine {round_}")
        await events(client, said, seen)
        heard = [item for item in seen if isinstance(item, Comment)]
        assert [item.offset for item in heard] == list(range(1, said + 1))
        assert said == 55, "a comment sent again after the return is one comment"
        assert not [item for item in seen if isinstance(item, Gap)]
        assert len([item for item in seen if isinstance(item, Disconnected)]) == 4
        assert [item.resumed for item in seen if isinstance(item, Reconnected)] == [True] * 4
        assert client.session == session


@pytest.mark.parametrize("codec", CODECS)
async def test_a_later_client_continues_where_an_earlier_one_stopped(running: Running, codec: Codec) -> None:
    async with running(lively()) as node:
        async with open_client(node.url, room=ROOM, codec=codec) as client:
            await client.comment("one")
            await events(client, 1)
            position, session = client.position, client.session
        await node.comment(ROOM, "two")
        async with open_client(node.url, room=ROOM, codec=codec, position=position, session=session) as client:
            await client.comment("three")
            heard = [item.body for item in await events(client, 3) if isinstance(item, Comment)]
            assert heard == ["two", "three"]


@pytest.mark.parametrize("codec", CODECS)
async def test_likes_survive_a_lost_connection_and_count_once(running: Running, codec: Codec) -> None:
    async with running(lively()) as node, open_client(node.url, room=ROOM, codec=codec, options=QUICK) as client:
        client.like(5)
        await until(client, lambda item: isinstance(item, Counters) and item.likes == 5)
        cut(node)
        await until(client, lambda item: isinstance(item, Reconnected))
        client.like(2)
        await until(client, lambda item: isinstance(item, Counters) and item.likes >= 7)
        assert node.counters(ROOM) == (7, 1)


@pytest.mark.parametrize("codec", CODECS)
async def test_the_client_hears_of_the_node_stopping(running: Running, codec: Codec) -> None:
    stop, ready = trio.Event(), trio.Event()
    url: list[str] = []

    async def serve() -> None:
        async with running(lively()) as node:
            url.append(node.url)
            ready.set()
            await stop.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await ready.wait()
        async with open_client(url[0], room=ROOM, codec=codec, options=QUICK) as client:
            said = await client.comment("before the end")
            stop.set()
            seen: list[Any] = []
            await events(client, said, seen)
            lost = await until(client, lambda item: isinstance(item, Disconnected))
            assert lost.code == Close.SHUTDOWN
