"""A node that is brought into a situation, asked for advice, changed exactly as it says, and brought into the same again.

Owns the config file that advice is applied to, and what it means that advice has helped: the counters it names have moved as it
promised, and its rule is silent. Must not know which situations there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import trio
from e2e.viewers import MSGPACK, PATIENCE, Viewer, open_viewer

from engine.advice import Advice, Change, Observation, advise, growth, plain
from engine.config import load
from engine.configfile import toml_value
from engine.machine import machine
from engine.node import Node, open_node

__all__ = ["ROOM", "Provoke", "Site", "helped", "until"]

ROOM = "大厅"
_LIVELY: dict[str, Any] = {
    "edge.port": 0,
    "node.shutdown_seconds": 2.0,
    "node.return_window_seconds": 0.0,
    "room.counters_seconds": 0.05,
    "room.tick_grid_seconds": 0.002,
    "quality.seconds": 0.05,
    **{f"limits.{name}_per_second": 10_000.0 for name in ("comments", "reads", "likes", "gifts")},
    **{f"limits.{name}_burst": 10_000 for name in ("comments", "reads", "likes", "gifts")},
    "limits.messages_per_second": 100_000.0,
    "limits.messages_burst": 100_000,
}


class Site:
    """A node that runs from a config file, and who is connected to it. A context manager.

    :param directory: where the file is.
    :param apart: seconds that observations say to be between them: nothing in a test takes a time that it could rely on.
    :param settings: by path, in Python.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], *, apart: float = 10.0) -> None:
        self._file = directory / "roomcast.toml"
        self._lines = {path: toml_value(value) for path, value in (_LIVELY | settings).items()}
        self._moments = count(1)
        self._apart = apart
        self._write()
        self._stack = AsyncExitStack()
        self.node: Node

    def _write(self) -> None:
        self._file.write_text("".join(f"{path} = {value}\n" for path, value in self._lines.items()), encoding="utf-8")

    async def __aenter__(self) -> Site:
        self.node = await self._stack.enter_async_context(
            open_node(load(self._file, environ={}), reread=lambda: load(self._file, environ={}))
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def viewer(self, **more: Any) -> Viewer:
        """Who has joined, and stays as long as the node is not restarted."""
        viewer = await self._stack.enter_async_context(open_viewer("raw", self.node.url, MSGPACK, **more))
        await viewer.join(ROOM)
        await viewer.settle()
        return viewer

    def observe(self) -> Observation:
        """As `engine.watching` does."""
        node = self.node
        rooms = node.qualities()
        return Observation(next(self._moments) * self._apart, node.vitals(), rooms, machine(), plain(node.settings))

    async def restart(self) -> None:
        """Stop the node, and start it from its file, elsewhere."""
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()
        await self.__aenter__()

    async def apply(self, changes: list[Change]) -> None:
        """Write what is advised for the config file into it, as it stands there, and have the node read it, or restart."""
        changes = [change for change in changes if change.where == "config"]
        for change in changes:
            if change.now:
                assert msgspec.json.decode(change.now) == plain(self.node.settings)[change.setting]
            self._lines[change.setting] = change.to
        self._write()
        if any(change.restart for change in changes):
            await self.restart()
        else:
            reloaded = await self.node.reload()
            assert set(reloaded.changed) == {change.setting for change in changes}
            assert not reloaded.restart


Provoke = Callable[[Site], Awaitable[None]]


async def helped(
    site: Site,
    rule: str,
    provoke: Provoke,
    *,
    product: Callable[[], None] = lambda: None,
    room: str = "",
    attempts: int = 1,
) -> Advice:
    """Provoke, ask, apply, provoke again: the counters must move as promised, and the rule must be silent.

    :param provoke: what happens; the same both times. Who watches is connected by it: a restart ends connections.
    :param product: does what advice says to somebody else than the config file.
    :param attempts: how often it is provoked again at most, where others on the machine move the counters, too.
    :returns: the advice, to be looked at.
    """
    first = site.observe()
    await provoke(site)
    second = site.observe()
    given = advise(first, second, room)
    found = [advice for advice in given if advice.rule == rule]
    assert found, f"silent about {rule}: {[advice.rule for advice in given]}"
    advice = found[0]
    assert advice.changes
    assert advice.evidence
    assert advice.watch
    msgspec.json.encode(asdict(advice))
    product()
    await site.apply(advice.changes)
    for attempt in reversed(range(attempts)):
        third = site.observe()
        await provoke(site)
        fourth = site.observe()
        moved = {path: (growth(first, second, path, room), growth(third, fourth, path, room)) for path in advice.watch}
        broken = [path for path, promise in advice.watch.items() if not _kept(promise, *moved[path])]
        speaks = rule in [each.rule for each in advise(third, fourth, room)]
        if not attempt or not (broken or speaks):
            assert not broken, f"{advice.watch}: {moved} after {advice.changes}"
            assert any(before for before, _ in moved.values()) or "rises" in advice.watch.values()
            assert not speaks
            break
    return advice


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what a node tells nobody."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  # there is no event
            await trio.sleep(0.002)


def _kept(promise: str, before: float, after: float) -> bool:
    match promise:
        case "stops":
            return after == 0
        case "falls":
            return after < before or before == after == 0
    return after > before
