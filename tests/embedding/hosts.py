"""Settings, loops and a foreign viewer for nodes that live in other programs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvloop
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from engine.settings import EdgeSettings, LedgerSettings, NodeSettings, RoomSettings, Settings

LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}
SETTINGS = Settings(
    node=NodeSettings(return_window_seconds=0.0),
    edge=EdgeSettings(port=0),
    room=RoomSettings(tick_grid_seconds=0.002),
    ledger=LedgerSettings(url=""),
)
HASTY = replace(SETTINGS, node=NodeSettings(shutdown_seconds=0.1))
"""For nodes that break, and so cannot stop in order."""
GENEROUS = 30.0


class Viewer:
    """Speaks the wire protocol's JSON, with a library that is not ours."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._ref = 0
        self.seen: list[list[Any]] = []

    async def ask(self, kind: int, *fields: Any) -> list[Any]:
        """A request; returns its reply."""
        self._ref += 1
        await self._socket.send(json.dumps([kind, self._ref, *fields]))
        return await self.until(lambda message: message[0] in (32, 35) and message[1] == self._ref)

    async def until(self, matches: Callable[[list[Any]], bool]) -> list[Any]:
        """Read up to the first message that matches, and return it."""
        async with asyncio.timeout(GENEROUS):
            while True:
                for message in self.seen:
                    if matches(message):
                        self.seen.remove(message)
                        return message
                self.seen.append(json.loads(await self._socket.recv()))

    async def comment(self, text: str) -> list[Any]:
        """Say something; returns the reply."""
        return await self.ask(3, self.handle, text)

    async def enter(self, room: str) -> None:
        self.handle = (await self.ask(1, room))[2]

    async def hear(self, text: str) -> None:
        """Return when somebody has said this."""
        await self.until(lambda message: message[0] == 34 and any(text in event for event in message[6]))

    async def closed(self) -> int:
        """The code with which the connection ends."""
        async with asyncio.timeout(GENEROUS):
            await self._socket.wait_closed()
        code: int = self._socket.close_code
        return code


@asynccontextmanager
async def viewing(url: str, room: str = "大厅") -> AsyncIterator[Viewer]:
    async with connect(url, subprotocols=[Subprotocol("roomcast.v1.json")], open_timeout=GENEROUS) as socket:
        viewer = Viewer(socket)
        await viewer.enter(room)
        yield viewer


def program(source: str) -> subprocess.Popen[str]:
    """A Python program of its own, warnings shown."""
    command = [sys.executable, "-W", "default", "-c", source]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
