"""A room's record at the hub and at the node: what was amended anywhere is there."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from engine.brokers.base import Amended, Conflict, Record
from engine.errors import Refused
from engine.node import open_node
from engine.settings import EdgeSettings, Settings

from .harness import ScriptedBroker, open_hub, settle


async def test_an_open_room_has_its_record(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        hub = harness.hub
        assert await hub.amend("room", "title", b"1") == 1
        assert hub.record("room") is None
        edge = harness.edge()
        await edge.open("room")
        assert hub.record("room") == Record("room", 1, {"title": b"1"})
        assert await hub.amend("room", "mute", b"x", expires_ms=5_000, expect=1) == 2
        assert hub.record("room") == Record("room", 2, {"title": b"1", "mute": b"x"})
        with pytest.raises(Conflict):
            await hub.amend("room", "title", None, expect=1)
        await trio.sleep(10)
        # Seen when the room is touched.
        await edge.open("room", viewers=2)
        assert hub.record("room") == Record("room", 3, {"title": b"1"})
        with pytest.raises(Refused):
            await hub.amend("bad\n", "title", b"1")


async def test_a_record_is_taken_from_whatever_the_broker_delivers(autojump_clock: MockClock) -> None:
    async with open_hub(broker=ScriptedBroker) as harness:
        broker = harness.scripted
        broker.gates["subscribe"] = trio.Event()
        edge = harness.edge()
        await edge.open("room")
        # Before the position is known, and for a room that is not open.
        broker.deliver(Record("room", 4, {"a": b"1", "b": b"2"}))
        broker.deliver(Record("other", 4, {"a": b"1"}))
        broker.gates["subscribe"].set()
        await settle()
        broker.deliver(Amended("room", 5, "a", None))
        broker.deliver(Amended("room", 6, "c", b"3"))
        assert harness.hub.record("room") == Record("room", 6, {"b": b"2", "c": b"3"})
        broker.deliver(Record("room", 0, {}))
        assert harness.hub.record("room") == Record("room", 0, {})


async def test_the_node_has_the_way_in() -> None:
    async with open_node(Settings(edge=EdgeSettings(port=0))) as node:
        assert await node.amend("room", "title", b"1") == 1
        assert await node.amend("room", "title", b"2", expect=1) == 2
        assert node.record("room") is None
