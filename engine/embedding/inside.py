"""A node in a trio run, and the calls that come to it from outside.

Owns what a call becomes when its node ends: an error, never silence. Must not know where calls come from, nor how they cross.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import trio

from engine.errors import RoomcastError
from engine.node import Node, NodeStatistics, open_node
from engine.settings import Settings

__all__ = ["Inside", "Result", "Source"]

Source = Settings | str | Path | None
"""Settings, or a file with them; None: the defaults."""


class Result(Protocol):
    """Where what comes of a call is put: a future of asyncio or of concurrent.futures."""

    def done(self) -> bool:
        """Whether it has been."""

    def set_result(self, result: Any, /) -> None:
        """It returned."""

    def set_exception(self, exception: Any, /) -> None:
        """It raised."""


class Inside:
    """See the module's docstring. All of it is for the thread in which trio runs.

    :param source: a file is read again when the node is told to (`engine.backend.Backend.reload`).
    :raises RoomcastError: the file cannot be used.
    :ivar last: statistics of the node when it ended.
    :ivar stop: set to stop the node in order.
    """

    def __init__(self, source: Source) -> None:
        self._reread: Callable[[], Settings] | None = None
        if isinstance(source, str | Path):
            # Here, because it takes a library that settings made in Python do not need.
            from engine.config import load

            path = Path(source)
            self._reread = lambda: load(path)
            source = self._reread()
        self._settings = source
        self._calls: trio.Nursery | None = None
        self._ended: Exception | None = None
        self.last: NodeStatistics | None = None
        self.stop = trio.Event()

    async def run(self, opened: Callable[[Node], None]) -> None:
        """Run the node until it is told to stop. Raises what ends it, as it is.

        :param opened: called when viewers can connect.
        """
        async with trio.open_nursery() as self._calls:
            # Calls outlive the node a little: what was accepted is published while it stops.
            try:
                async with open_node(self._settings, reread=self._reread) as node:
                    opened(node)
                    await self.stop.wait()
                self.last = node.statistics()
            except Exception as error:
                # Taken out of the nursery, which would wrap it.
                self._ended = error
            self._calls.cancel_scope.cancel()
            self._calls = None
        if self._ended is not None:
            raise self._ended

    def begin(self, result: Result, scope: trio.CancelScope, do: Callable[[], Awaitable[Any]]) -> None:
        """Start a call.

        :param scope: cancels it; its result is None then.
        """
        if self._calls is None:
            result.set_exception(self.gone())
        else:
            self._calls.start_soon(self._do, result, scope, do)

    async def _do(self, result: Result, scope: trio.CancelScope, do: Callable[[], Awaitable[Any]]) -> None:
        value: Any = None
        try:
            with scope:
                value = await do()
        except Exception as error:
            # Whatever it is, it belongs to the caller.
            result.set_exception(error)
        else:
            result.set_result(value)
        finally:
            if not result.done():
                result.set_exception(self.gone())

    def gone(self) -> RoomcastError:
        """For calls to a node that has ended; its cause is what ended it."""
        gone = RoomcastError("the node has ended")
        gone.__cause__ = self._ended
        return gone
