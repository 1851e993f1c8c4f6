"""A node in a thread of its own: `engine.start`, for programs that run neither trio nor asyncio.

Owns that thread. Must not know what it is used for.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from inspect import isawaitable
from typing import Any, Final, ParamSpec, TypeVar, overload

import trio

from engine.embedding.inside import Inside, Source
from engine.node import Node, NodeStatistics

__all__ = ["Running", "start"]

P = ParamSpec("P")
T = TypeVar("T")

_SPARE_SECONDS: Final = 5.0
"""At the program's end, how much longer than node.shutdown_seconds a node that nobody has stopped is waited for."""

log = logging.getLogger("roomcast.embedding")


class Running:
    """A node that runs in a thread; made by `start`. A context manager that stops it.

    :ivar node: all of it belongs to that thread: use it through `call`.
    """

    def __init__(self, source: Source) -> None:
        self._inside = Inside(source)
        self._scope = trio.CancelScope()
        self._began: Future[trio.lowlevel.TrioToken] = Future()
        self._opened: Future[Node] = Future()
        self._error: BaseException | None = None
        # A daemon, lest a program that forgets to stop it never ends.
        self._thread = threading.Thread(target=self._run, name="roomcast", daemon=True)
        self._thread.start()
        self._token = self._began.result()
        try:
            self.node = self._opened.result()
        except BaseException:
            self._soon(self._scope.cancel)
            self._thread.join()
            raise
        atexit.register(self._forgotten)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            # A thread has nobody to raise it to: `call` and `stop` do.
            self._error = error
            if self._opened.done():
                log.exception("node_crashed")
        finally:
            if not self._opened.done():
                self._opened.set_exception(self._error or self._inside.gone())

    async def _main(self) -> None:
        self._began.set_result(trio.lowlevel.current_trio_token())
        with self._scope:
            await self._inside.run(self._opened.set_result)

    def _soon(self, do: Callable[..., object], *args: Any) -> bool:
        """Have trio's thread do this, unless it has ended."""
        try:
            self._token.run_sync_soon(do, *args)
        except trio.RunFinishedError:
            return False
        return True

    @overload
    def call(self, do: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    def call(self, do: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def call(self, do: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``do(*args, **kwargs)`` in the node's thread, await what it returns, if that can be, and return it, or raise what
        it raises. From any other thread; one that is interrupted cancels what it waits for.

        :raises RoomcastError: the node has ended; the cause is why.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("this is the node's thread already: call it directly")

        async def run() -> Any:
            value = do(*args, **kwargs)
            return await value if isawaitable(value) else value

        result: Future[Any] = Future()
        scope = trio.CancelScope()
        if not self._soon(self._inside.begin, result, scope, run):
            raise self._inside.gone()
        try:
            return result.result()
        finally:
            if not result.done():
                self._soon(scope.cancel)

    def statistics(self) -> NodeStatistics:
        """A frozen picture of the node; when it has ended, the last one."""
        return self._inside.last or self.call(self.node.statistics)

    def stop(self) -> None:
        """Tell viewers to leave, and return when the node has ended. Interrupted, it cuts the farewell short.

        :raises BaseException: what ended the node before, if something did.
        """
        atexit.unregister(self._forgotten)
        self._soon(self._inside.stop.set)
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._soon(self.node.hurry)
            self._thread.join()
            raise
        if self._error is not None:
            raise self._error

    def _forgotten(self) -> None:
        """The program ends, and nobody has stopped it."""
        log.warning("node_not_stopped", extra={"node": self.node.name, "hint": "call stop() before the program ends"})
        self._soon(self._inside.stop.set)
        self._thread.join(self.node.settings.node.shutdown_seconds + _SPARE_SECONDS)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(settings: Source = None) -> Running:
    """Run a node in a thread of its own; viewers can connect when this returns. Several may run in one program. No signal is
    touched.

    :param settings: or the path of a file with them, which `engine.backend.Backend.reload` reads again; None: the defaults.
    :raises RoomcastError: the settings contradict each other, or the address cannot be bound.
    """
    return Running(settings)
