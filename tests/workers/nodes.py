"""Nodes of several processes as an operator starts them, and clients that come back.

Owns starting, finding and awaiting the processes. Asserts only that a viewer's stream is what it must be; the client checks the
order and that nothing is missing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from e2e.processes import Served, clean_environment, serve
from e2e.viewers import Viewer

from engine.client import Client, Options, open_client
from engine.client import items as kinds

__all__ = ["PATIENCE", "Follower", "Lines", "environment", "gone", "open_follower", "pids", "serve_workers", "until_new_epoch"]

PATIENCE = 60.0


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
    """

    def __init__(self, client: Client) -> None:
        self.client = client
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
            self._changed.set()
            self._changed = trio.Event()

    async def until(self, body: str) -> None:
        """Wait until it has heard this."""
        with trio.fail_after(PATIENCE):
            while body not in self.bodies:
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


async def until_new_epoch(viewer: Viewer, old: int, offset: int) -> None:
    """Wait until a viewer is at an offset of another epoch."""
    await viewer.until(lambda: viewer.position is not None and viewer.position[0] != old and viewer.position[1] == offset)
