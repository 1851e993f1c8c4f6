"""Nodes of several processes as an operator starts them, and clients that come back.

Owns starting, finding and awaiting the processes. Asserts only that a viewer's stream is what it must be; the client checks the
order and that nothing is missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import trio
from e2e.processes import ROOMCAST, Served, clean_environment, serve
from e2e.viewers import Viewer

from bench.redisproc import RedisProcess, redis_server
from engine.client import Client, Options, open_client
from engine.client import items as kinds
from engine.errors import Refused

__all__ = [
    "PATIENCE",
    "ROOM",
    "Follower",
    "Lines",
    "Talk",
    "audience",
    "broken",
    "environment",
    "gone",
    "members",
    "open_follower",
    "pids",
    "redis",
    "a_server",
    "restart",
    "serve_workers",
    "until_new_epoch",
]

PATIENCE = 60.0
ROOM = "多进程"
_versions = count(1)


def environment(tmp_path: Path, workers: int, **more: str) -> dict[str, str]:
    """Of a node whose limits do not get in the way."""
    base = {
        "ROOMCAST_NODE__WORKERS": str(workers),
        "ROOMCAST_NODE__RUN_DIRECTORY": str(tmp_path / "run"),
        "ROOMCAST_NODE__RETURN_WINDOW_SECONDS": "0.1",
        "ROOMCAST_NODE__SHUTDOWN_SECONDS": "20",
        "ROOMCAST_ROOM__TICK_GRID_SECONDS": "0.002",
        "ROOMCAST_LIMITS__COMMENTS_PER_SECOND": "100000",
        "ROOMCAST_LIMITS__COMMENTS_BURST": "100000",
        "ROOMCAST_LIMITS__LIKES_PER_SECOND": "1000000",
        "ROOMCAST_LIMITS__LIKES_BURST": "1000000",
        "ROOMCAST_LIMITS__MESSAGES_PER_SECOND": "100000",
        "ROOMCAST_LIMITS__MESSAGES_BURST": "100000",
    }
    return clean_environment(**base | more)


def serve_workers(tmp_path: Path, workers: int = 2, **more: str) -> AbstractAsyncContextManager[Served]:
    """Start a node and wait until all its processes are ready."""
    return serve(environment=environment(tmp_path, workers, **more))


def pids(node: Served, role: str) -> list[int]:
    """Processes with this role, as the node told when it began."""
    return [process["pid"] for process in node.listening["processes"] if process["role"] == role]


def members(node: Served, role: str) -> list[int]:
    """Processes with this role now."""
    tasks = Path(f"/proc/{node.process.pid}/task").glob("*/children")
    children = [pid for task in tasks for pid in task.read_text().split()]
    found = []
    for pid in children:
        # One that has just ended has no command line any more, or is not there.
        with suppress(FileNotFoundError, ProcessLookupError):
            if f"engine.workers.{role}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return sorted(found)


async def gone(pid: int) -> None:
    """Wait until a process has ended, whoever's child it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


class Lines:
    """The lines of JSON that a node prints after the first."""

    def __init__(self, node: Served) -> None:
        self._node = node
        self._data = node.stdout.partition(b"\n")[2]

    async def until(self, event: str) -> dict[str, Any]:
        """The next line about this event."""
        stdout = self._node.process.stdout
        assert stdout is not None
        with trio.fail_after(PATIENCE):
            while True:
                while b"\n" not in self._data:
                    data = await stdout.receive_some(1 << 16)
                    assert data, f"the node ended without {event}"
                    self._data += data
                line, _, self._data = self._data.partition(b"\n")
                fields: dict[str, Any] = json.loads(line)
                if fields["event"] == event:
                    return fields


class Follower:
    """A client and what came to it.

    :ivar bodies: what was said, in order, over all epochs and connections.
    :ivar gaps: that it was told of.
    :ivar viewers: how many the room had, whenever that was told.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.viewers: list[int] = []
        self.bodies: list[str] = []
        self.gaps: list[kinds.Gap] = []
        self._changed = trio.Event()

    async def follow(self) -> None:
        async for item in self.client:
            match item:
                case kinds.Comment():
                    self.bodies.append(item.body)
                case kinds.Gap():
                    self.gaps.append(item)
                case kinds.Counters():
                    self.viewers.append(item.viewers)
            self._changed.set()
            self._changed = trio.Event()

    async def until(self, body: str) -> None:
        """Wait until it has heard this."""
        with trio.fail_after(PATIENCE):
            while body not in self.bodies:
                await self._changed.wait()

    async def until_likes(self, count: int) -> None:
        """Wait until the room has so many likes, no more."""
        with trio.fail_after(PATIENCE):
            while self.client.counters is None or self.client.counters.likes != count:
                await self._changed.wait()

    async def until_viewers(self, count: int) -> None:
        """Wait until the room has so many viewers."""
        with trio.fail_after(PATIENCE):
            while self.client.counters is None or self.client.counters.viewers != count:
                await self._changed.wait()

    async def until_back(self) -> None:
        """Wait until it has come back after it lost its connection."""
        with trio.fail_after(PATIENCE):
            while not self.client.reconnects:
                await self._changed.wait()

    @property
    def twice(self) -> list[str]:
        """What it heard more than once."""
        return [body for body, count in Counter(self.bodies).items() if count > 1]


@asynccontextmanager
async def open_follower(url: str, room: str) -> AsyncIterator[Follower]:
    """A client in a room that comes back at once whatever happens to its connection."""
    options = Options(backoff_base_seconds=0.05, backoff_cap_seconds=0.2, undelivered=1_000_000)
    async with open_client(url, room=room, options=options) as client:
        follower = Follower(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.follow)
            yield follower
            nursery.cancel_scope.cancel()


async def audience(stack: AsyncExitStack, url: str, count: int) -> list[Follower]:
    """Clients in the room."""
    return [await stack.enter_async_context(open_follower(url, ROOM)) for _ in range(count)]


class Talk:
    """People who say one thing after the other until they are told to stop, each until it is accepted.

    :ivar said: what was accepted, by offset.
    :ivar refused: how often somebody was told that the edge is about to close the connection.
    """

    def __init__(self, *speakers: Follower) -> None:
        self._speakers = speakers
        self._stop = False
        self._changed = trio.Event()
        self.said: dict[int, str] = {}
        self.refused = 0

    async def _speak(self, speaker: Follower, name: str) -> None:
        number = 0
        while not self._stop:
            number += 1
            body = f"{name} {number}"
            with trio.fail_after(PATIENCE):
                offset = await self._say(speaker, body)
            assert offset not in self.said
            self.said[offset] = body
            self._changed.set()
            self._changed = trio.Event()

    async def _say(self, speaker: Follower, body: str) -> int:
        while True:
            try:
                return await speaker.client.comment(body)
            except Refused as refused:
                # Any other refusal might mean that it was said nevertheless.
                if refused.text != "the node is stopping":
                    raise
                self.refused += 1

    async def goes_on(self, count: int = 50) -> None:
        """Wait until so many more things were said."""
        wanted = len(self.said) + count
        with trio.fail_after(PATIENCE):
            while len(self.said) < wanted:
                await self._changed.wait()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Everybody talks, before, during and after the block."""
        async with trio.open_nursery() as nursery:
            for index, speaker in enumerate(self._speakers):
                nursery.start_soon(self._speak, speaker, str(index))
            await self.goes_on()
            yield
            await self.goes_on()
            self._stop = True

    async def everybody_heard_it(self, crowd: list[Follower]) -> None:
        """All that was said is at everybody in the one order of its offsets, nothing is missing, nothing is there twice.

        :param crowd: who came in before anything was said.
        """
        last = await crowd[0].client.comment("the end")
        assert sorted(self.said) == list(range(1, last))
        said = [self.said[offset] for offset in range(1, last)]
        for follower in crowd:
            await follower.until("the end")
            # The client has checked that offsets join.
            assert follower.bodies == [*said, "the end"]
            assert not follower.gaps


@contextmanager
def a_server() -> Iterator[RedisProcess]:
    """A real server."""
    # Not in a test's own directory, whose name may be too long for a socket.
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server


@contextmanager
def redis() -> Iterator[str]:
    """The address of one."""
    with a_server() as server:
        yield server.url


async def restart(*arguments: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run ``roomcast restart``."""
    command = [*ROOMCAST, "restart", *arguments]
    return await trio.run_process(command, env=environ, capture_stdout=True, capture_stderr=True, check=False)


def broken(tmp_path: Path, role: str, what: str = "import os; os._exit(7)") -> str:
    """A place for modules that lets every process of a role do something before it begins; by default, end."""
    module = tmp_path / "sitecustomize.py"
    module.write_text(f"import sys\nif 'engine.workers.{role}' in sys.orig_argv:\n    {what}\n", encoding="utf-8")
    # Python knows what it has compiled by whole seconds; more than one is written in each.
    os.utime(module, (0, next(_versions)))
    return str(tmp_path)


async def until_new_epoch(viewer: Viewer, old: int, offset: int) -> None:
    """Wait until a viewer is at an offset of another epoch."""
    await viewer.until(lambda: viewer.position is not None and viewer.position[0] != old and viewer.position[1] == offset)
