"""A node in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import trio

import engine
from engine.errors import Close, Code, Refused, RoomcastError
from engine.settings import EdgeSettings

from .hosts import GENEROUS, HASTY, SETTINGS, program, viewing


def test_a_node_is_called_from_any_thread() -> None:
    with engine.start(SETTINGS) as running:
        room = running.node.room("大厅")

        async def look() -> None:
            async with viewing(running.node.url) as viewer:
                offset = await asyncio.to_thread(running.call, room.comment, "你好")
                assert offset == 1
                await viewer.hear("你好")
                assert [line.viewers for line in running.call(running.node.rooms)] == [1]

        asyncio.run(look())
        with ThreadPoolExecutor(8) as threads:
            offsets = list(threads.map(lambda number: running.call(room.comment, f"{number}"), range(40)))
        assert sorted(offsets) == list(range(2, 42))
        assert running.statistics().hub.events_published == 41
    assert running.statistics().hub.events_published == 41
    with pytest.raises(RoomcastError, match="ended"):
        running.call(room.comment, "nobody is there")
    running.stop()


def test_what_a_call_raises_is_raised() -> None:
    def fails() -> None:
        raise ZeroDivisionError

    with engine.start(SETTINGS) as running:
        with pytest.raises(ZeroDivisionError):
            running.call(fails)
        with pytest.raises(Refused) as refused:
            running.call(running.node.room("\n").comment, "where?")
        assert refused.value.code is Code.BAD_ROOM
        with pytest.raises(RuntimeError, match="directly"):
            running.call(running.call, fails)
        assert running.call(sorted, [2, 1], reverse=True) == [2, 1]


def test_several_nodes_in_one_program_and_viewers_are_told_to_go() -> None:
    with engine.start(SETTINGS) as one, engine.start(SETTINGS) as two:
        assert one.call(one.node.comment, "大厅", "here") == 1
        assert two.call(two.node.comment, "大厅", "and here") == 1

        async def look() -> int:
            async with viewing(one.node.url) as viewer:
                stopping = asyncio.create_task(asyncio.to_thread(one.stop))
                code = await viewer.closed()
                await stopping
                return code

        assert asyncio.run(look()) == Close.SHUTDOWN
        assert two.call(two.node.comment, "大厅", "still here") == 2


def test_what_keeps_a_node_from_starting_is_raised(tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(RoomcastError, match=r"edge\.host"):
        engine.start(replace(SETTINGS, edge=EdgeSettings(host="192.0.2.1")))
    with pytest.raises(RoomcastError):
        engine.start(tmp_path / "missing.toml")
    assert threading.active_count() <= threads


def test_a_node_that_ends_by_itself_is_reported_by_calls_and_by_stop(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError

    running = engine.start(HASTY)
    with ThreadPoolExecutor(1) as threads:
        began = threading.Event()

        async def hangs() -> None:
            began.set()
            await trio.sleep_forever()

        waiting = threads.submit(running.call, hangs)
        assert began.wait(GENEROUS)
        running.call(running.node.hub._spawn, breaks)
        with pytest.raises(RoomcastError, match="ended") as gone:
            waiting.result(GENEROUS)
        assert isinstance(gone.value.__cause__, ExceptionGroup)
        assert gone.value.__cause__.subgroup(ZeroDivisionError)
    with pytest.raises(RoomcastError, match="ended"):
        running.call(running.node.rooms)
    with pytest.raises(ExceptionGroup) as crash:
        running.stop()
    assert crash.group_contains(ZeroDivisionError)
    assert "node_crashed" in [record.message for record in caplog.records]


def test_one_that_nobody_stops_is_stopped_when_the_program_ends() -> None:
    forgetful = program(
        """
import logging
import engine
from engine.settings import *
logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level="INFO")
running = engine.start(Settings(edge=EdgeSettings(port=0), ledger=LedgerSettings(url="")))
"""
    )
    _, errors = forgetful.communicate(timeout=GENEROUS)
    assert forgetful.returncode == 0
    told = [line.split()[2] for line in errors.splitlines() if " roomcast." in line]
    assert told.index("node_not_stopped") < told.index("draining")
    assert "Traceback" not in errors
