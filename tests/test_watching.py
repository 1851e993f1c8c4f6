"""What a node tells of itself: figures each second while somebody looks and only then, and what advice is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel
from hub.harness import FakeEdge, Harness, now_ms, open_hub, settle
from trio.testing import MockClock

from engine.advice import Advice, Observation
from engine.backend import Backend
from engine.brokers.base import Unavailable
from engine.errors import RoomcastError
from engine.hub.vitals import node_vitals
from engine.link.messages import Presence, Qualities, Vitals
from engine.pulse import Pulse
from engine.quality import Measured, RoomQuality, Sent, bucket_of
from engine.reload import Reloaded
from engine.schema import CONSOLE, MSGPACK, Author, CommentEvent, HeldEvent, ModeratedEvent, backstage_of
from engine.settings import AccessSettings, ApiSettings
from engine.watching import FIGURES, FIGURES_BYTES, KEPT_SECONDS, OBSERVED_SECONDS, Watch, bodied

ROOM = "大厅"


async def no_reload() -> Reloaded:
    raise RoomcastError("there is no file")


@asynccontextmanager
async def watched(**sections: Any) -> AsyncIterator[tuple[Harness, Watch]]:
    """A hub, with somebody who watches it."""
    sections.setdefault("api", ApiSettings(enabled=True))
    async with open_hub(**sections) as hub:
        pulse = Pulse()

        def vitals() -> dict[str, Any]:
            statistics = dataclasses.asdict(hub.hub.statistics())
            return node_vitals("node", statistics, hub.hub.edges(), pulse.statistics(), hub.hub.edge_lines())

        backend = Backend(hub.hub, lambda: hub.hub.settings, (vitals,), no_reload)
        watch = Watch(backend, hub.hub, now_ms)
        async with trio.open_nursery() as nursery:
            await nursery.start(watch.run)
            yield hub, watch
            nursery.cancel_scope.cancel()


def figures(edge: FakeEdge) -> list[dict[str, Any]]:
    """What a viewer of the console's room has been told."""
    events = edge.events()
    assert all(event[0] == 2 and event[1][0] == "server" and event[3] == FIGURES for event in events)
    return [msgspec.json.decode(event[4]) for event in events]


# -- figures -----------------------------------------------------------------------------------------------------------


async def test_figures_come_each_second_while_somebody_is_there_and_not_otherwise(autojump_clock: MockClock) -> None:
    async with watched() as (hub, watch):
        await trio.sleep(60)
        assert hub.hub.statistics().events_published == 0
        edge = hub.edge()
        await edge.open(CONSOLE)
        await trio.sleep(10.5)
        assert watch.watched
        came = figures(edge)
        assert 10 <= len(came) <= 11
        times = [each["time"] for each in came]
        assert [later - earlier for earlier, later in pairwise(times)] == [1_000] * (len(came) - 1)
        edge.send(Presence(CONSOLE, 0))
        await trio.sleep(1)
        before = hub.hub.statistics().events_published
        await trio.sleep(60)
        assert hub.hub.statistics().events_published == before


@pytest.mark.parametrize("room", ["#consoles", "#everyone", "#", "console", f"{CONSOLE}#backstage"])
async def test_who_is_elsewhere_looks_at_nothing(autojump_clock: MockClock, room: str) -> None:
    async with watched() as (hub, watch):
        edge = hub.edge()
        await edge.open(room)
        await trio.sleep(5)
        assert not watch.watched
        assert not edge.events()


async def test_figures_tell_of_the_node_its_rooms_and_what_came_of_them(autojump_clock: MockClock) -> None:
    async with watched() as (hub, watch):
        console = hub.edge("looking")
        await console.open(CONSOLE)
        edge = hub.edge("edge-1")
        await edge.open(ROOM, 3)
        await edge.open(f"{ROOM}#backstage", 1)
        edge.send(Vitals({"pid": 17, "connections": 4, "stalls": 2, "process": {"cpu_seconds": 1.5, "processes": 1}}))
        await hub.hub.say(ROOM, "你好", author=Author("u"))
        delays = {bucket_of(100): 10}
        sent, measured = Sent(100, 5, 2, 1, {}, 1, 2.5), Measured(2, 100, 98, 1, delays, {})
        edge.send(Qualities([RoomQuality(ROOM, sent, {"a": measured, "b": Measured(1, 100, 100, 0, delays, {})})]))
        await trio.sleep(3)
        told = figures(console)[-1]
        assert (told["node"], told["workers"]) == (watch._backend.name, 1)
        assert told["version"]
        assert told["vitals"]["edges"] == [
            {
                "name": "edge-1",
                "pid": 17,
                "connections": 4,
                "viewers_max": 0,
                "stalls": 2,
                "cpu_seconds": 1.5,
                "loop_delay_max": 0.0,
                "resident_bytes": 0,
                "descriptors": 0,
            }
        ]
        assert "pid" not in told["vitals"]["edge"]
        (line,) = told["rooms"]
        assert {name: line[name] for name in ("room", "viewers", "offset", "likes", "held")} == {
            "room": ROOM,
            "viewers": 3,
            "offset": 1,
            "likes": 0,
            "held": 0,
        }
        assert (line["laggards"], line["lag_max"], line["skipped"], line["sent_rate"]) == (1, 2.5, 5, 0.95)
        assert (line["reports"], line["arrival_rate"]) == (3, 0.99)
        assert line["delay_p50_ms"] == pytest.approx(100, rel=0.2)
        assert (line["withheld"], line["refused"]) == (0, 0)
        assert await watch._backend.figures() | {"time": 0, "vitals": 0} == told | {"time": 0, "vitals": 0}


async def test_what_is_held_is_told_as_long_as_somebody_looks(autojump_clock: MockClock) -> None:
    async with watched() as (hub, watch):
        console, edge, stage = hub.edge(), hub.edge(), backstage_of(ROOM)
        await edge.open(ROOM)
        said = CommentEvent(Author("anna"), 1, "加微信")
        held = HeldEvent(said.author, "s", 1, msgspec.Raw(MSGPACK.encode(said)), "加微信")
        for _ in range(3):
            await hub.hub.publish(stage, MSGPACK.encode(held))
        await trio.sleep(2)
        assert hub.hub.counters(stage) is None, "nobody looks"
        await console.open(CONSOLE)
        await trio.sleep(3)
        assert figures(console)[-1]["rooms"][0]["held"] == 3
        await hub.hub.publish(stage, MSGPACK.encode(ModeratedEvent(Author("mod"), "reject", "", [2, 2])))
        await trio.sleep(3)
        assert figures(console)[-1]["rooms"][0]["held"] == 2
        console.send(Presence(CONSOLE, 0))
        await trio.sleep(2)
        assert hub.hub.counters(stage) is None
        assert (await watch.figures())["rooms"][0]["held"] is None


async def test_of_many_rooms_those_with_most_viewers_are_told(autojump_clock: MockClock) -> None:
    async with watched() as (hub, _):
        edge = hub.edge()
        for number in range(100):
            await edge.open(f"room-{number}", 1 + number)
        await edge.open(CONSOLE)
        await trio.sleep(2)
        assert [line["room"] for line in figures(edge)[-1]["rooms"]] == [f"room-{99 - number}" for number in range(40)]


def test_figures_that_are_too_long_tell_of_fewer_rooms() -> None:
    short: dict[str, Any] = {"vitals": {}, "rooms": [{"room": "茶" * 80} for _ in range(40)]}
    assert len(msgspec.json.decode(bodied(short))["rooms"]) == 40
    long: dict[str, Any] = {"vitals": "x" * 40_000, "rooms": [{"room": "茶" * 80} for _ in range(40)]}
    text = bodied(long)
    assert len(text.encode()) <= FIGURES_BYTES
    assert 10 <= len(msgspec.json.decode(text)["rooms"]) < 40


async def test_figures_wait_for_nobody_who_does_not_answer(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched() as (hub, _):
        edge = hub.edge()
        await edge.open(CONSOLE)

        async def away(*_: object) -> None:
            raise Unavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(hub.hub.broker, "publish", away)
            await trio.sleep(5)
        assert not figures(edge)
        await trio.sleep(3)
        assert figures(edge)


async def test_a_newcomer_gets_few_of_the_last_figures(autojump_clock: MockClock) -> None:
    async with watched() as (hub, _):
        edge = hub.edge()
        await edge.open(CONSOLE)
        await trio.sleep(30)
        room = hub.hub._rooms.get(CONSOLE)
        assert room is not None
        assert len(room._tail.recent()) == 10


async def test_the_room_of_the_figures_is_not_the_product_s(autojump_clock: MockClock) -> None:
    async with watched() as (hub, watch):
        edge = hub.edge()
        await edge.open(CONSOLE)
        await edge.open("#consoles")
        assert [room.name for room in hub.hub.shown()] == ["#consoles"]
        assert [line.room for line in watch._backend.rooms()] == ["#consoles"]


# -- observations ------------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Observation, Observation, str]]:
    """What advice was asked about."""
    asked: list[tuple[Observation, Observation, str]] = []

    def advise(earlier: Observation, later: Observation, room: str, language: str) -> list[Advice]:
        asked.append((earlier, later, room))
        return []

    monkeypatch.setattr("engine.advice.advise", advise)
    return asked


async def test_advice_compares_now_with_a_moment_as_long_ago_as_was_asked_for(
    mock_clock: MockClock, compared: list[tuple[Observation, Observation, str]]
) -> None:
    # Not one that jumps: a thread takes a part of each look, and the clock would not wait for it.
    async with watched(access=AccessSettings(secret="not to be shown to anybody at all")) as (hub, watch):

        async def looked(times: int) -> None:
            with trio.fail_after(KEPT_SECONDS * 10):
                while len(watch._kept) < times:  # nobody is told of a look
                    await trio.lowlevel.checkpoint()

        edge = hub.edge()
        await edge.open(ROOM, 3)
        await looked(1)
        for times in range(2, 6):
            mock_clock.jump(OBSERVED_SECONDS)
            await looked(times)
        mock_clock.jump(1)
        for seconds, ago in ((1, 1), (5, 6), (6, 6), (10, 11), (60, 21), (900, 21)):
            advised = await watch.advice(seconds=seconds)
            assert advised.since_seconds == pytest.approx(ago), seconds
            assert advised.advice == []
        assert [room for *_, room in compared] == [""] * 6
        earlier, later, _ = compared[-1]
        assert later.at - earlier.at == pytest.approx(21)
        assert later.rooms[ROOM]["viewers"] == 3
        assert later.rooms[ROOM]["sent"]["entitled"] == 0
        assert later.vitals["hub"]["viewers"] == 3
        assert later.settings["edge.backlog"] == 4096
        assert "not to be shown" not in str(later.settings)
        assert earlier.settings is later.settings


async def test_rooms_that_are_not_to_be_named_are_not_looked_at(
    mock_clock: MockClock, compared: list[tuple[Observation, Observation, str]]
) -> None:
    async with watched() as (hub, watch):
        edge = hub.edge()
        for name in ("mine", "other"):
            await edge.open(name, 10)
        await watch.advice(covers=lambda room: room == "mine")
        ((_, later, _),) = compared
        assert later.rooms.keys() == {"mine"}


async def test_a_small_room_that_is_asked_about_is_looked_at(
    mock_clock: MockClock, compared: list[tuple[Observation, Observation, str]]
) -> None:
    async with watched() as (hub, watch):
        edge = hub.edge()
        for number in range(50):
            await edge.open(f"room-{number}", 10)
        await edge.open(ROOM, 1)
        await watch.advice()
        await watch.advice(ROOM)
        (_, all_of_them, _), (_, with_it, _) = compared
        assert len(all_of_them.rooms) == 40
        assert ROOM not in all_of_them.rooms
        assert with_it.rooms.keys() - all_of_them.rooms.keys() == {ROOM}


async def test_observations_are_kept_for_a_quarter_of_an_hour(mock_clock: MockClock) -> None:
    async with watched() as (_, watch):
        assert watch._kept.maxlen == 180
        look = await watch._look()
        every, none = look.observation(lambda _: True), look.observation(lambda _: False)
        assert every.machine == none.machine
        assert len(look.packed) < 8_192
        await settle()
