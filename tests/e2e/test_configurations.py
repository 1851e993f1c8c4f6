"""The three configurations of the README, as they stand there but for the ports: one process, many, many nodes."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from readme import block, replaced

from bench.redisproc import redis_server
from engine.client import Comment, Options, open_client

from .processes import Served, clean_environment, serve
from .viewers import PATIENCE

ROOM = "大厅"


async def heard(first: Served, last: Served) -> str:
    """What somebody at the last node hears of what is said at the first."""
    options = Options(attempts=20)
    async with open_client(last.url, room=ROOM, options=options) as listener:
        async with open_client(first.url, room=ROOM, options=options) as speaker:
            await speaker.comment("你好 👋")
        with trio.fail_after(PATIENCE):
            async for item in listener:
                if isinstance(item, Comment):
                    return item.body
    raise AssertionError("the room ended")


@pytest.mark.parametrize("name", ["one.toml", "machine.toml"])
async def test_a_configuration_for_one_machine_runs(tmp_path: Path, name: str) -> None:
    config = tmp_path / name
    config.write_text(block(name), encoding="utf-8")
    environment = clean_environment(ROOMCAST_NODE__RUN_DIRECTORY=str(tmp_path / "run"))
    async with serve("--config", str(config), environment=environment) as node:
        assert len(node.listening.get("processes", [])) == (0 if name == "one.toml" else len(os.sched_getaffinity(0)) + 1)
        assert await heard(node, node) == "你好 👋"


async def test_the_configuration_for_many_machines_runs(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        config.write_text(replaced(block("node.toml"), {'"redis://127.0.0.1:6379"': json.dumps(server.url)}), encoding="utf-8")
        environment = clean_environment(ROOMCAST_NODE__RUN_DIRECTORY=str(tmp_path / "run"))
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(serve("--config", str(config), environment=environment)) for _ in range(2)]
            assert await heard(*nodes) == "你好 👋"
