"""Nodes of a storm, with a plain program in the engine's place: killed, started again, and never lost sight of."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from bench.kills.nodes import Node
from bench.kills.plan import Kill, Moment, StormError

PATIENCE = 30
KILL = Kill(Moment.RUNNING, 0.0, 0, "node", 0)
SERVES = """
import json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("what it is up to", file=sys.stderr)
print(json.dumps({"level": "warning", "event": "so so"}), file=sys.stderr)
print(json.dumps({"level": "error", "event": "process_died", "status": -9}), file=sys.stderr)
print(json.dumps({"event": "listening", "pid": os.getpid()}), flush=True)
signal.pause()
"""
ENDS = """
import json, sys
print(json.dumps({"level": "error", "event": "no more"}), file=sys.stderr)
sys.exit(7)
"""


@asynccontextmanager
async def running(directory: Path, program: str) -> AsyncIterator[Node]:
    sections = {"edge": {"port": 12_345}}
    node = Node("node0", directory / "node0", sections, (sys.executable, "-c", program))
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            yield node
            nursery.cancel_scope.cancel()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_node_is_started_again_at_once_and_has_to_serve_anew(tmp_path: Path) -> None:
    async with running(tmp_path, SERVES) as node:
        await node.listening()
        before = node.pid
        assert node.life == 1
        node.acknowledged(1, trio.current_time())
        await node.serving()
        node.kill(KILL)
        assert not lives(before)
        assert node.life == 2
        # What its former self acknowledged may still be on its way.
        node.acknowledged(1, trio.current_time())
        node.acknowledged(2, node.killed_at)
        with trio.move_on_after(0) as limit:
            await node.serving()
        assert limit.cancelled_caught
        await node.listening()
        node.acknowledged(2, trio.current_time())
        await node.serving()
        assert node.killed_at <= node.started_at <= node.listened_at <= node.served_at
        assert await node.stop() == 0
        assert not node.died
        # Whatever no logger wrote is one; a warning is none, nor that a child was killed.
        assert node.errors() == ["what it is up to"] * 2
    assert not lives(node.pid)


async def test_a_node_that_is_killed_before_it_listens_is_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, SERVES) as node:
        for _ in range(3):
            node.kill(KILL)
        await node.listening()
        assert node.life == 4
        assert not node.died


async def test_a_node_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    async with running(tmp_path, ENDS) as node:
        with pytest.raises(StormError, match="did not listen"):
            await node.listening()
        (text,) = node.died
        assert "status 7" in text
        assert "no more" in text
        assert node.errors() == ['{"level": "error", "event": "no more"}']


async def test_nothing_is_left_of_a_node_when_its_storm_is_over(tmp_path: Path) -> None:
    async with running(tmp_path, SERVES) as node:
        await node.listening()
        pid = node.pid
    assert not lives(pid)
