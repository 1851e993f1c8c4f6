"""A node in a process of its own, as an operator starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from .viewers import PATIENCE

__all__ = ["ROOMCAST", "Served", "clean_environment", "serve"]

ROOMCAST = (sys.executable, "-W", "error", "-m", "engine")


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without settings that somebody left in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROOMCAST_")} | more


class Served:
    """A running ``roomcast serve``."""

    def __init__(self, process: trio.Process, listening: dict[str, Any], stdout: bytes) -> None:
        self.process = process
        self.listening = listening
        self.url: str = listening["url"]
        self.stdout = stdout

    async def ended(self) -> int:
        """Its exit status."""
        with trio.fail_after(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def serve(
    *arguments: str, environment: dict[str, str] | None = None, before: Sequence[str] = ()
) -> AsyncIterator[Served]:
    """Start a node on a free port and wait until it listens. It is killed at the end if it still runs.

    :param before: a command that runs the node, such as ``prlimit``.
    """
    command = [*before, *ROOMCAST, "serve", "--port", "0", "--json", *arguments]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=environment or clean_environment())
    assert process.stdout is not None
    try:
        data = b""
        with trio.fail_after(PATIENCE):
            while b"\n" not in data:
                chunk = await process.stdout.receive_some(1 << 16)
                assert chunk, "the node ended before it listened"
                data += chunk
        yield Served(process, json.loads(data.partition(b"\n")[0]), data)
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
                await process.wait()
            await process.stdout.aclose()
