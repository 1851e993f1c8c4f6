"""``roomcast reload`` and SIGHUP with real processes: one of them, or a supervisor with a hub and edges.

Every client checks that offsets join; who talks does so before, during and after the settings change.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import trio
from workers.nodes import PATIENCE, ROOM, Lines, Talk, audience, gone, members

from engine.errors import Code

from .processes import ROOMCAST, Served, clean_environment
from .viewers import COMMENT, open_viewer

CONFIG = """
[edge]
port = 0
[node]
workers = {workers}
run_directory = "{run}"
return_window_seconds = 0.1
shutdown_seconds = 20
[limits]
comments_per_second = 100000
comments_burst = 100000
messages_per_second = 100000
messages_burst = 100000
"""


class Node(Served):
    """A node with a config file and a log.

    :ivar file: the config file; ``lines`` what the node prints.
    """

    file: Path
    log: Path
    lines: Lines

    def write(self, text: str) -> None:
        """Put more into the config file than was there at first."""
        self.file.write_text(self.first + text, encoding="utf-8")

    first: str

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of the log about an event."""
        lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["event"] == event]

    async def reload(self, *arguments: str) -> dict[str, Any]:
        """Run ``roomcast reload`` and return what the node prints about it."""
        done = await run("reload", *(arguments or ("--pid", str(self.process.pid))))
        assert done.returncode == 0, done.stderr
        return await self.lines.until("reloaded")


async def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        [*ROOMCAST, *arguments], env=clean_environment(), capture_stdout=True, capture_stderr=True, check=False
    )


@asynccontextmanager
async def serving(tmp_path: Path, workers: int, *, before: str = "") -> AsyncIterator[Node]:
    file, log = tmp_path / "config.toml", tmp_path / "log"
    first = before + CONFIG.format(workers=workers, run=tmp_path / "run")
    file.write_text(first, encoding="utf-8")
    with log.open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            [*ROOMCAST, "serve", "--config", str(file), "--json"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=clean_environment(),
        )
    assert process.stdout is not None
    try:
        data = b""
        with trio.fail_after(PATIENCE):
            while b"\n" not in data:
                chunk = await process.stdout.receive_some(1 << 16)
                assert chunk, log.read_text(encoding="utf-8")
                data += chunk
        node = Node(process, json.loads(data.partition(b"\n")[0]), data)
        node.file, node.log, node.first, node.lines = file, log, first, Lines(node)
        yield node
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
                await process.wait()
            await process.stdout.aclose()


async def test_settings_change_under_load_and_nobody_misses_anything(tmp_path: Path) -> None:
    async with serving(tmp_path, 2) as node, AsyncExitStack() as stack:
        crowd = await audience(stack, node.url, 6)
        processes = {role: members(node, role) for role in ("hub", "edge")}
        talk = Talk(*crowd[:2])
        async with talk.going_on():
            for number in range(2):
                odd = bool(number % 2)
                node.write(
                    f"likes_burst = {300 + number}\n"
                    f"[room]\ntick_grid_seconds = {0.01 if odd else 0.002}\nbatch_bytes = {2048 if odd else 262144}\n"
                    f"recent_events = {number}\nlag_policy = '{'close' if odd else 'skip'}'\n"
                    f"[log]\nlevel = '{'info' if odd else 'error'}'\n"
                    "[redis]\nprefix = 'elsewhere'\n"
                )
                told = await node.reload()
                assert {"limits.likes_burst", "room.tick_grid_seconds"} <= set(told["changed"])
                assert told["restart"] == ["redis.prefix"]
                await talk.goes_on(5)
        await talk.everybody_heard_it(crowd)
        assert {role: members(node, role) for role in ("hub", "edge")} == processes, "nobody was replaced"
        assert all(follower.client.reconnects == 0 for follower in crowd)
        # Of the two, that which left it to the log.
        assert len(node.logged("settings_reloaded")) == 1
        node.process.send_signal(signal.SIGTERM)
        await node.lines.until("stopped")


async def test_one_process_is_told_by_the_signal_and_the_command(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes(b"\xff\n")
    async with serving(tmp_path, 0) as node, open_viewer("raw", node.url) as viewer:
        await viewer.join(ROOM)
        for text, faults in (
            ("comment_bytes = 3\nlikes_burst = 0\n[room]\nlag_seconds = 1000\nlog_second = 5\n", 4),
            (f"comment_bytes = 3\n[[moderation.lists]]\nfile = '{words}'\n", 1),
        ):
            node.write(text)
            node.process.send_signal(signal.SIGHUP)
            refused = await node.lines.until("reload_refused")
            assert len(refused["faults"]) == faults, refused
            assert [line["faults"] for line in node.logged("reload_refused")][-1] == refused["faults"]
            await viewer.comment("比三个字节长")
        # One that is checked here first; the node is not bothered.
        told = await run("reload", "--config", str(node.file.with_name("missing.toml")), "--pid", str(node.process.pid))
        assert told.returncode == 1
        assert b"does not exist" in told.stderr
        node.write("comment_bytes = 3\n")
        assert (await node.reload())["changed"] == ["limits.comment_bytes"]
        assert (await viewer.ask(COMMENT, viewer.handle, "比三个字节长")).code == Code.TOO_LONG


async def test_processes_that_come_later_have_the_settings_in_force(tmp_path: Path) -> None:
    url = "redis://127.0.0.1:1"
    more = f"[redis]\nurl = '{url}'\n"
    async with serving(tmp_path, 1) as node:
        # Everything before more settings of [limits], which follow.
        node.first = node.first.replace("[limits]", f"{more}[limits]")
        node.write("comment_bytes = 4\n")
        told = await node.reload("--config", str(node.file), "--port", str(node.listening["port"]))
        assert (told["changed"], told["restart"]) == (["limits.comment_bytes"], ["redis.url"])
        for role in ("hub", "edge"):
            (old,) = members(node, role)
            os.kill(old, signal.SIGKILL)
            await gone(old)
            # Whoever connects waits for a new edge, and asks again as long as there is no new hub.
            async with open_viewer("raw", node.url) as viewer:
                while (await viewer.knock(ROOM)) is not None:
                    await trio.lowlevel.checkpoint()
                assert (await viewer.ask(COMMENT, viewer.handle, "太长了")).code == Code.TOO_LONG
        # And those that take the places of living ones.
        node.process.send_signal(signal.SIGUSR2)
        await node.lines.until("restarted")
        async with open_viewer("raw", node.url) as viewer:
            await viewer.join(ROOM)
            assert (await viewer.ask(COMMENT, viewer.handle, "太长了")).code == Code.TOO_LONG
            # Told twice at once it reads them twice, one after the other; and it stops when it is told to.
            node.write("")
            for _ in range(2):
                node.process.send_signal(signal.SIGHUP)
            assert (await node.lines.until("reloaded"))["changed"] == ["limits.comment_bytes"]
            await viewer.comment("够长了")
            node.process.send_signal(signal.SIGHUP)
            node.process.send_signal(signal.SIGTERM)
            await viewer.until_gone()
        assert await node.ended() == 0


async def test_whoever_calls_the_api_of_a_node_with_workers_is_told_the_same(tmp_path: Path) -> None:
    key = "rc_a-key-that-nobody-can-guess"
    api = f"[api]\nenabled = true\nport = 0\n[[api.keys]]\nname = 'us'\nsha256 = '{sha256(key.encode()).hexdigest()}'\n"
    async with serving(tmp_path, 1, before=api) as node:
        host, port = node.listening["api"]
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=headers, timeout=PATIENCE, trust_env=False) as client,
            open_viewer("raw", node.url) as viewer,
        ):
            await viewer.join(ROOM)
            words = tmp_path / "words.txt"
            words.write_bytes(b"\xff\n")
            for text, paths in (
                ("comment_bytes = 3\nlikes_burst = 0\n[edges]\n", ["limits.likes_burst", "edges"]),
                (f"comment_bytes = 3\n[[moderation.lists]]\nfile = '{words}'\n", ["moderation.lists"]),
            ):
                node.write(text)
                refused = await client.post("/v1/node/reload")
                assert refused.status_code == 422, refused.text
                assert [error["path"] for error in refused.json()["errors"]] == paths
                assert len((await node.lines.until("reload_refused"))["faults"]) == len(paths)
                await viewer.comment("比三个字节长")
            # Keys are among what changes.
            node.first = node.first.replace("'us'", "'them'")
            node.write("comment_bytes = 3\n")
            done = await client.post("/v1/node/reload")
            assert done.json() == {"changed": ["limits.comment_bytes", "api.keys"], "restart": []}
            assert (await viewer.ask(COMMENT, viewer.handle, "比三个字节长")).code == Code.TOO_LONG
