"""Several nodes over one server, as processes: what is said at one is shown at all, also when a node is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from bench.redisproc import redis_server
from engine.client import Client, Comment, Options, open_client

from .processes import Served, clean_environment, serve
from .viewers import PATIENCE

ROOM = "大厅"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server.url


async def node(stack: AsyncExitStack, url: str, **more: str) -> Served:
    environment = clean_environment(ROOMCAST_REDIS__URL=url, **more)
    return await stack.enter_async_context(serve(environment=environment))


async def client(stack: AsyncExitStack, node: Served) -> Client:
    return await stack.enter_async_context(open_client(node.url, room=ROOM, options=Options(attempts=20)))


async def bodies(client: Client, count: int) -> list[str]:
    found: list[str] = []
    with trio.fail_after(PATIENCE):
        async for item in client:
            if isinstance(item, Comment):
                found.append(item.body)
                if len(found) == count:
                    break
    return found


@pytest.mark.parametrize("workers", ["0", "2"])
async def test_what_is_said_at_one_node_is_shown_at_all_in_one_order(url: str, workers: str) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await node(stack, url, ROOMCAST_NODE__WORKERS=workers) for _ in range(2)]
        clients = [await client(stack, each) for each in nodes]
        said = [f"第{number}条😀" for number in range(20)]
        offsets = [await clients[number % 2].comment(body) for number, body in enumerate(said)]
        assert offsets == list(range(1, 21))
        for each in clients:
            assert await bodies(each, 20) == said


async def test_a_node_that_is_killed_takes_nothing_with_it(url: str) -> None:
    async with AsyncExitStack() as stack:
        first, second = [await node(stack, url) for _ in range(2)]
        speaker, watcher = await client(stack, first), await client(stack, second)
        assert await speaker.comment("before") == 1
        first.process.kill()
        await first.ended()
        assert await watcher.comment("after") == 2
        assert await bodies(watcher, 2) == ["before", "after"]
        late = await client(stack, second)
        assert await late.comment("late") == 3


def test_a_wrong_address_is_told_before_anything_starts_and_no_password_is_shown(tmp_path: Path) -> None:
    config = tmp_path / "roomcast.toml"
    for url, status, word in (
        ("http://somewhere", 1, "redis://"),
        ("redis://me:secret@127.0.0.1:1", 0, "redis://me:…@127.0.0.1:1"),
    ):
        config.write_text(f"[redis]\nurl = {json.dumps(url)}\n")
        command = [sys.executable, "-m", "engine", "check", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
        assert done.returncode == status
        assert word in done.stdout + done.stderr
        assert "secret" not in done.stdout + done.stderr
