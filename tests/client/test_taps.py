"""Likes and reactions of a client that comes back: what was told first, then what is new; against a fake server, and at two
edges, where each counts once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
from e2e.edges import Edges, open_edges
from e2e.nodes import lively
from hypothesis import given
from hypothesis import strategies as st

from engine.client import Client, Disconnected, Options, Reconnected, open_client
from engine.client.items import Comment
from engine.client.taps import Taps

from .fakeroom import HANDLE, ROOM, FakeRoom, serving

DEADLINE = 20
FAST: dict[str, Any] = {"backoff_base_seconds": 0.002, "backoff_cap_seconds": 0.01, "like_seconds": 0.001, "random": Random(1)}


@pytest.fixture
async def room() -> AsyncIterator[FakeRoom]:
    async with serving() as room:
        yield room


@asynccontextmanager
async def viewer(url: str, *, like_seconds: float = 0.001, **how: Any) -> AsyncIterator[Client]:
    options = Options(**(FAST | {"like_seconds": like_seconds}))
    with trio.fail_after(DEADLINE):
        async with open_client(url, room=ROOM, options=options, **how) as client:
            yield client


async def until(client: Client, kind: type) -> None:
    async for item in client:
        if isinstance(item, kind):
            return


def likes(room: FakeRoom) -> list[list[Any]]:
    """Told since the last join, without kind and handle."""
    joins = [at for at, message in enumerate(room.received) if message[0] == 1]
    told = [message for message in room.received[joins[-1] :] if message[0] == 4]
    assert all(message[1] == HANDLE for message in told)
    return [message[2:] for message in told]


async def told(room: FakeRoom, connection: int, *totals: list[Any]) -> None:
    await room.until(lambda: len(room.joins) == connection and len(likes(room)) >= len(totals))
    assert likes(room) == list(totals)


async def test_what_was_told_comes_first_and_what_is_new_after_it(room: FakeRoom) -> None:
    async with viewer(room.url) as client:
        # It has given nothing.
        room.peer.cut()
        await told(room, 2, [0])
        client.like(3)
        await told(room, 2, [0], [3])
        await until(client, Reconnected)
        room.peer.cut()
        await until(client, Disconnected)
        # While it is away, and as soon as it is back.
        client.like(2)
        await until(client, Reconnected)
        client.react("🔥")
        await room.until(lambda: len(room.joins) == 3 and likes(room)[-1:] == [[5, {"🔥": 1}]])
        assert likes(room)[0] == [3]
        room.peer.cut()
        await told(room, 4, [5, {"🔥": 1}])


async def test_another_session_begins_with_nothing_and_has_what_the_old_one_did_not_tell(room: FakeRoom) -> None:
    async with viewer(room.url, like_seconds=60) as client:
        client.like(3)
        await told(room, 1, [3])
        client.like(4)
        room.session = "another session here"
        room.peer.cut()
        await told(room, 2, [0], [4])


async def test_the_goodbye_of_a_client_that_has_just_come_back_keeps_the_order(room: FakeRoom) -> None:
    async with viewer(room.url, like_seconds=60) as client:
        client.like(3)
        await told(room, 1, [3])
        client.like(4)
        room.peer.cut()
        await until(client, Reconnected)
        client.like(1)
    await room.until(lambda: room.received[-1][0] == 2)
    assert likes(room)[0] == [3]
    assert likes(room)[-1] == [8]


async def test_a_later_client_goes_on_where_the_earlier_one_stopped(room: FakeRoom) -> None:
    async with viewer(room.url, like_seconds=60) as client:
        client.like(3)
        client.react("🔥", 2)
    assert client.taps == {"": 3, "🔥": 2}
    async with viewer(room.url, session=client.session, position=client.position, taps=client.taps) as later:
        later.like()
        await room.until(lambda: len(room.joins) == 2 and len(likes(room)) == 2)
        assert likes(room) == [[3, {"🔥": 2}], [4, {"🔥": 2}]]


@given(st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["report", "return", "renew"])), max_size=30))
def test_whatever_is_told_to_whom_adds_up(play: Sequence[int | str]) -> None:
    """A server that counts from what it is told first, each time."""
    taps, given_, counted, base = Taps(), 0, 0, 0

    def report() -> None:
        nonlocal counted, base
        while (totals := taps.report()) is not None:
            if base >= 0:
                counted += totals[0] - base
            base = totals[0]

    for step in play:
        if isinstance(step, int):
            taps.like(step)
            given_ += step
        elif step == "report":
            report()
        else:
            taps.connected(returning=True, same_session=step == "return")
            base = -1
    report()
    assert counted == given_


VISITS: list[tuple[int, int, int]] = [
    # edge, likes while away, likes as soon as it is in
    (1, 0, 0),
    (0, 0, 2),
    (1, 3, 0),
    (1, 0, 0),
    (0, 1, 5),
    (0, 2, 2),
    (1, 0, 1),
    (0, 0, 0),
    (1, 7, 7),
]


@pytest.mark.parametrize("first", [0, 4])
async def test_likes_are_exact_at_whichever_edge_the_viewer_comes_back(first: int) -> None:
    async with open_edges(lively()) as edges, viewer(edges.url) as client:
        client.like(first)
        total = first
        await quiet(edges, client, total)
        for edge, away, back in VISITS:
            edges.move(edge)
            await until(client, Disconnected)
            client.like(away)
            await until(client, Reconnected)
            client.like(back)
            total += away + back
            await quiet(edges, client, total)


async def quiet(edges: Edges, client: Client, total: int) -> None:
    """Wait until nothing is on its way: likes that are, when a connection breaks, count only at the same edge. And something
    happens, by which an edge sees that a viewer was elsewhere."""
    await edges.counted(ROOM, total)
    await client.comment("here")
    await until(client, Comment)
    assert edges.likes(ROOM) == total
