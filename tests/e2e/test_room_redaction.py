"""Deleting, vanishing, leaving, coming back, reading back, in any order, against a plain list of what was said.

What is gone when somebody asks or comes in is never delivered to it; and every offset is accounted for, to everybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio

from engine.node import Node, open_node

from .conftest import Running
from .people import ROOM, live, token
from .viewers import COMMENT, JSON, MODERATE, MSGPACK, NOTICE, Viewer, open_viewer

STEPS = 120
CLIENTS = [("websockets", MSGPACK), ("websockets", JSON), ("raw", JSON), ("raw", MSGPACK)]
DELETED, EXPIRED = 1, 2


class Past:
    """The plain list: what stands at each offset.

    :ivar vanishing: offsets of comments with a lifetime.
    """

    def __init__(self) -> None:
        self.bodies: dict[int, str] = {}
        self.authors: dict[int, str] = {}
        self.notices: set[int] = set()
        self.gone: set[int] = set()
        self.vanishing: set[int] = set()
        self.head = 0

    def said(self, offset: int, user: str, body: str) -> None:
        assert offset == self.head + 1, "offsets have no holes"
        self.head = offset
        self.bodies[offset], self.authors[offset] = body, user

    def deleted(self, offset: int, gone: set[int]) -> None:
        assert offset == self.head + 1
        self.head = offset
        self.gone |= gone

    def by(self, user: str = "") -> set[int]:
        """What a user said, or everybody."""
        return {offset for offset, author in self.authors.items() if user in ("", author) and offset not in self.notices}

    def check(self, offset: int, event: list[Any], gone: set[int]) -> None:
        """What somebody was given who came or asked when these were gone."""
        if event[0] == 0:
            # Of one that is both, either is true.
            assert offset in {DELETED: self.gone, EXPIRED: self.vanishing}[event[1]], f"{offset} is not gone: {event}"
        elif event[0] in (1, 4):
            assert offset not in gone, f"{offset} was gone: {event}"
            assert event[3] == self.bodies[offset]
        else:
            assert event[0] == 5
            assert offset not in self.bodies


class Person:
    """Somebody over several connections.

    :ivar known: what it was given, by offset; ``first`` is where that begins.
    """

    def __init__(self, past: Past, viewer: Viewer, closing: trio.Event) -> None:
        self._past = past
        self._closing = closing
        self.viewer = viewer
        self.known: dict[int, list[Any]] = {}
        self.gone: set[int] = set()
        self.gaps = False
        self.first = 0

    def _learn(self) -> None:
        viewer = self.viewer
        self.known |= viewer.events | {offset: [0, reason, 1] for offset, reason in viewer.omitted.items()}
        for offset in viewer.gone & self.known.keys():
            self.known[offset] = [0, DELETED, 1]
        for _, first, last, _ in viewer.gaps:
            self.gaps = True
            self.known |= {offset: [-1] for offset in range(first, last + 1)}

    async def come(self, position: tuple[int, int] | None = None, session: str | None = None) -> None:
        """Come in, maybe for another time."""
        self.gone = set(self._past.gone)
        # From now on it fails when it is given one of these.
        self.viewer.gone |= self.gone
        await self.viewer.join(ROOM, position, session=session)
        if position is None:
            assert self.viewer.position is not None
            self.first = self.viewer.position[1]
            # It may be older than what follows at once.
            await self.viewer.settle()
            for offset, event in self.viewer.recent.items():
                self._past.check(offset, event, self.gone)

    async def leave(self) -> tuple[tuple[int, int], str]:
        """Go, with whatever has come so far."""
        assert self.viewer.position is not None
        self._learn()
        self.check()
        self._closing.set()
        return self.viewer.position, self.viewer.session

    async def back(self, viewer: Viewer, closing: trio.Event, position: tuple[int, int], session: str) -> None:
        self.viewer, self._closing = viewer, closing
        await self.come(position, session)

    def check(self) -> None:
        """All that came on this connection is as it has to be."""
        for offset, event in self.viewer.events.items():
            self._past.check(offset, event, self.gone)

    async def finish(self) -> None:
        """It has everything, and each offset once, or knows why not."""
        await self.viewer.until_offset(self._past.head)
        self._learn()
        self.check()
        assert set(self.known) >= set(range(self.first + 1, self._past.head + 1))
        # Of what came and was deleted later it was told, unless it was told that something is missing.
        shown = {offset for offset, event in self.known.items() if event[0] in (1, 4)}
        assert self.gaps or not shown & self._past.gone


async def hold(
    client: tuple[str, str], url: str, deflate: bool, *, task_status: trio.TaskStatus[tuple[Viewer, trio.Event]]
) -> None:
    """Keep a connection until the event is set."""
    make, codec = client
    async with open_viewer(make, url, codec, deflate=deflate) as viewer:
        closing = trio.Event()
        task_status.started((viewer, closing))
        await closing.wait()


@asynccontextmanager
async def two_nodes(running: Running, redis: dict[str, Any] | None, **more: Any) -> AsyncIterator[list[Node]]:
    sections = {**more, **({"redis": redis} if redis else {})}
    room = {"notable_roles": (), "recent_events": 12, "log_seconds": 1.0, "lag_seconds": 1.0}
    settings = live(room=room, **sections)
    async with running(settings) as one:
        if redis is None:
            yield [one, one]
        else:
            async with open_node(settings) as two:
                yield [one, two]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("many", [False, True], ids=["one", "two"])
async def test_nothing_that_is_gone_is_delivered_afterwards(
    running: Running, redis: dict[str, Any], many: bool, seed: int
) -> None:
    random, past = Random(seed), Past()
    broker = {"history_events": 60} if seed % 2 else {}
    async with two_nodes(running, redis if many else None, broker=broker) as nodes, trio.open_nursery() as nursery:

        async def connect(who: str | None = None, node: Node | None = None) -> tuple[Viewer, trio.Event]:
            url = (node or random.choice(nodes)).url
            viewer, closing = await nursery.start(hold, random.choice(CLIENTS), url, random.random() < 0.7)
            if who is not None or node is not None:
                await viewer.join(ROOM, token=who)
            return viewer, closing

        speakers = {user: (await connect(token(user)))[0] for user in ("安娜", "bob", "eve 👿")}
        hosts = [(await connect(token(f"主播{number}", "host")))[0] for number in range(2)]
        # One at each node knows when a deletion has come there.
        witnesses = [(await connect(None, node))[0] for node in nodes]
        people: list[Person] = []
        away: list[tuple[Person, tuple[int, int], str]] = []

        async def everywhere(offset: int) -> None:
            for witness in witnesses:
                await witness.until_offset(offset)

        for step in range(STEPS):
            host = random.choice(hosts)
            match random.choice("ssssssssllnddduchrprpjjjbbbba"):
                case "s" | "l" as how:
                    user = random.choice(list(speakers))
                    lifetime = [0, [], random.choice((1, 40, 10_000))] if how == "l" else []
                    reply = await speakers[user].act(COMMENT, f"{step} 弹幕 🌊", *lifetime)
                    past.said(reply.offset, user, f"{step} 弹幕 🌊")
                    if lifetime:
                        past.vanishing.add(reply.offset)
                case "n":
                    reply = await host.act(NOTICE, f"{step} 公告")
                    past.said(reply.offset, host.user, f"{step} 公告")
                    past.notices.add(reply.offset)
                case "d" if past.bodies:
                    offset = random.choice(list(past.bodies)[-30:])
                    past.deleted((await host.act(MODERATE, "delete", "", offset)).offset, {offset})
                    await everywhere(past.head)
                case "u" | "c" as what:
                    user = random.choice(list(speakers)) if what == "u" else ""
                    await everywhere(past.head)
                    kept = await read(random.choice(witnesses), past)
                    action = "delete_user" if user else "clear"
                    past.deleted((await host.act(MODERATE, action, user)).offset, past.by(user) & kept.keys())
                    await everywhere(past.head)
                case "r" | "h":
                    await read(random.choice(witnesses), past, random.choice((1, 3, 100)))
                case "p" if people:
                    await random.choice(people).viewer.settle()
                case "j" if len(people) < 6:
                    person = Person(past, *await connect())
                    await person.come()
                    people.append(person)
                case "b" if people:
                    person = people.pop(random.randrange(len(people)))
                    away.append((person, *await person.leave()))
                case "a" if away:
                    person, position, session = away.pop(random.randrange(len(away)))
                    await person.back(*await connect(), position, session)
                    people.append(person)
        for person, position, session in away:
            await person.back(*await connect(), position, session)
            people.append(person)
        assert people
        await everywhere(past.head)
        for person in people:
            await person.finish()
        kept = await read(witnesses[0], past)
        assert list(kept) == list(range(min(kept), past.head + 1))
        nursery.cancel_scope.cancel()


async def read(viewer: Viewer, past: Past, limit: int = 100) -> dict[int, list[Any]]:
    """What one can read back now."""
    gone = set(past.gone)
    found = await viewer.past(limit)
    for offset, event in found.items():
        past.check(offset, event, gone)
    return found
