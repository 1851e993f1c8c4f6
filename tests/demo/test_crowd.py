"""The simulated audience is made of real viewers: the node counts them, hears them and sees them go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from engine.client import items, open_client
from engine.demo.audience import Audience
from engine.demo.crowd import Crowd, Frames
from engine.demo.script import Script
from engine.errors import RoomcastError
from engine.node import Node, open_node
from engine.settings import EdgeSettings, RoomSettings, Settings
from engine.ws import Opcode, close_frame, frame

ROOM = "demo"
SETTINGS = Settings(edge=EdgeSettings(port=0))
PATIENCE = 30


def crowd_of(node: Node) -> Crowd:
    return Crowd(node.edge.addresses[0], node.settings.edge.path, ROOM)


async def until(met: Callable[[], bool]) -> None:
    for _ in range(PATIENCE * 100):
        if met():
            return
        await trio.sleep(0.01)
    raise AssertionError("it never came to that")


# -- frames ------------------------------------------------------------------------------------------------------------------

payloads = st.lists(st.sampled_from((0, 1, 125, 126, 300, 65_535, 65_536)).map(bytes), max_size=6)


@given(payloads, st.booleans(), st.lists(st.integers(1, 70_000), min_size=1, max_size=8))
def test_a_close_is_seen_wherever_the_bytes_are_cut(sent: list[bytes], ends: bool, sizes: list[int]) -> None:
    data = b"".join(frame(Opcode.BINARY, each.replace(b"\0", b"\x88")) for each in sent) + (close_frame(1000) if ends else b"")
    frames, seen, at = Frames(), False, 0
    # Small pieces first, so that heads are cut; then the rest.
    for size in (1, 1, 2, 3, *sizes, len(data)):
        if at < len(data) and not seen:
            seen = frames.closes(data[at : at + size])
            at += size
    assert seen is ends


def test_a_close_is_seen_byte_by_byte() -> None:
    data = frame(Opcode.TEXT, b"\x88\x00" * 100) + frame(Opcode.PING, b"") + close_frame(1001, "bye")
    frames = Frames()
    seen = [at for at in range(len(data)) if frames.closes(data[at : at + 1])]
    assert seen[0] == len(data) - len(close_frame(1001, "bye")) + 1


# -- viewers ----------------------------------------------------------------------------------------------------------------


async def test_what_one_of_them_does_everybody_sees() -> None:
    async with open_node(SETTINGS) as node, trio.open_nursery() as nursery:
        crowd = crowd_of(node)
        nursery.start_soon(crowd.run)
        await node.room(ROOM).poll("tea", "?", ["绿", "红"])
        with trio.fail_after(PATIENCE):
            async with open_client(node.url, room=ROOM) as viewer:
                anna, bob = await crowd.enter("Anna", "en"), await crowd.enter("小明", "zh")
                anna.comment("hello")
                bob.comment("你好")
                bob.like(3)
                bob.like(2, "🎉")
                anna.vote("tea", 1)
                said = {}
                async for item in viewer:
                    if isinstance(item, items.Comment):
                        said[item.author.id] = (item.author.name, item.body)
                    counters = viewer.counters
                    if len(said) == 2 and counters and counters.likes == 3 and counters.reactions.get("🎉") == 2:
                        break
        assert said == {anna.user: ("Anna", "hello"), bob.user: ("小明", "你好")}
        assert set(crowd.users) == set(said)
        assert len(crowd) == len(crowd.people()) == 2
        nursery.cancel_scope.cancel()


async def test_they_leave_as_viewers_do() -> None:
    async with open_node(SETTINGS) as node, trio.open_nursery() as nursery:
        crowd = crowd_of(node)
        nursery.start_soon(crowd.run)
        people = [await crowd.enter(f"v{number}", "en") for number in range(3)]
        people[0].leave()
        people[0].comment("nobody hears this")
        await node.room(ROOM).kick(people[1].user)
        await until(lambda: len(crowd) == 1 == node.edge.statistics().viewers)
        assert crowd.people() == [people[2]]
        assert node.edge.statistics().closed.get(1000) == 1
        nursery.cancel_scope.cancel()


async def test_who_is_not_let_in_hears_why() -> None:
    full = replace(SETTINGS, room=RoomSettings(viewers_max=1))
    async with open_node(full) as node:
        crowd = crowd_of(node)
        await crowd.enter("first", "en")
        with trio.fail_after(PATIENCE), pytest.raises(RoomcastError, match="did not let a viewer in"):
            await crowd.enter("second", "en")
        with trio.fail_after(PATIENCE), pytest.raises(RoomcastError, match="HTTP 404"):
            await Crowd(node.edge.addresses[0], "/elsewhere", ROOM).enter("third", "en")
        assert len(crowd) == 1
        address = node.edge.addresses[0]
        for viewer in crowd.people():
            crowd.drop(viewer)
    with trio.fail_after(PATIENCE), pytest.raises(ConnectionRefusedError):
        await Crowd(address, "/ws", ROOM).enter("late", "en")


async def test_an_audience_goes_on_though_some_are_not_let_in() -> None:
    full = replace(SETTINGS, room=RoomSettings(viewers_max=4))
    async with open_node(full) as node, trio.open_nursery() as nursery:
        crowd = crowd_of(node)
        audience = Audience(crowd, Script(1), viewers=6, comments_per_second=100, gifts=(), pace=20)
        nursery.start_soon(crowd.run)
        nursery.start_soon(audience.run)
        await until(lambda: len(crowd) == 4)
        for viewer in crowd.people():
            await node.room(ROOM).kick(viewer.user)
        # They are replaced.
        await until(lambda: len(crowd.users) >= 8)
        nursery.cancel_scope.cancel()
