"""A node in an asyncio program: `engine.embed`, and the node as that program has it.

Owns the way between an asyncio task and the hub, in both directions: calls, their cancellation, and hooks. Must not know how
trio comes to run there (`engine.embedding.guest`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar

import trio

from engine.backend import Backend
from engine.embedding.guest import Guest, guest_run, patiently
from engine.embedding.inside import Inside, Source
from engine.errors import RoomcastError
from engine.hooks.values import Hook, Kind
from engine.hub.notices import Hook as UnreadHook
from engine.hub.spending import SpendHook
from engine.node import Node, NodeStatistics

__all__ = ["EmbeddedNode", "embed"]

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("roomcast.embedding")


class EmbeddedNode(Backend):
    """A running node for asyncio: all that `engine.node.Node` can do, awaitable in the loop in which `embed` was entered, and
    only there. Hooks are called in that loop, too, whether they are coroutine functions or not.

    What waits raises, beside what the call itself does, `engine.errors.RoomcastError` when the node has ended meanwhile.

    :ivar url: where viewers connect; ``addresses`` host and port of each socket on which it listens for them.
    :ivar api_url: of its HTTP API; empty if it has none.
    """

    def __init__(self, guest: Guest, inside: Inside, node: Node) -> None:
        super().__init__(
            node.hub,
            lambda: node.settings,
            node.vitals_parts,
            node.reload,
            carry=self._cross,
            listening=lambda: node.edge.addresses[0],
            watch=node.watch,
        )
        self._guest = guest
        self._inside = inside
        self._node = node
        self.url = node.url
        self.addresses = node.edge.addresses
        self.api_url = "" if node.api is None else node.api.url
        self._asked: set[asyncio.Future[Any]] = set()
        self._on_unread: UnreadHook | None = None
        self._on_spend: SpendHook | None = None

    @property
    def viewers_max(self) -> int:
        """Connections it serves at once."""
        return self._node.edge.admission.viewers_max

    def statistics(self) -> NodeStatistics:
        """A frozen picture of the node; when it has ended, the last one."""
        return self._inside.last or self._node.statistics()

    def hurry(self) -> None:
        """Cut its farewell short: whoever is still connected is dropped."""
        self._node.hurry()

    # -- hooks ----------------------------------------------------------------------------------------------------------

    def before(self, kind: Kind, hook: Hook | None) -> None:
        super().before(kind, None if hook is None else self._hosted(hook))

    @property
    def on_unread(self) -> UnreadHook | None:
        return self._on_unread

    @on_unread.setter
    def on_unread(self, hook: UnreadHook | None) -> None:
        self._on_unread = hook
        self._node.on_unread = None if hook is None else self._hosted(hook)

    @property
    def on_spend(self) -> SpendHook | None:
        return self._on_spend

    @on_spend.setter
    def on_spend(self, hook: SpendHook | None) -> None:
        self._on_spend = hook
        self._node.on_spend = None if hook is None else self._hosted(hook)

    def _hosted(self, hook: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
        """A hook of the host's, for the hub."""

        async def ask(question: Any) -> Any:
            answer = hook(question)
            return await self._awaited(answer) if isawaitable(answer) else answer

        return ask

    async def _awaited(self, answer: Awaitable[T]) -> T:
        """Wait in trio for something of asyncio's. Cancelled when this is; the hub does not wait to see how it takes that."""
        task = asyncio.ensure_future(answer)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        done = trio.Event()
        task.add_done_callback(lambda _: done.set())
        try:
            await done.wait()
        finally:
            task.cancel()
        if task.cancelled():
            raise RoomcastError("the hook was cancelled")
        return task.result()

    # -- calls ----------------------------------------------------------------------------------------------------------

    async def _cross(self, do: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The `engine.backend.Carry` from asyncio to trio."""
        if asyncio.get_running_loop() is not self._guest.loop:
            raise RuntimeError("the node belongs to another loop: use it where engine.embed was entered")
        future = self._guest.future()
        scope = trio.CancelScope()
        self._inside.begin(future, scope, partial(do, *args, **kwargs))
        try:
            await patiently(future, scope.cancel)
        except asyncio.CancelledError:
            # Nobody asks any more what came of it.
            future.exception()
            raise
        result: T = future.result()
        return result

    async def _settle(self) -> None:
        """Wait, but not forever, for hooks that were cancelled."""
        if self._asked:
            await asyncio.wait(self._asked, timeout=self.settings.node.shutdown_seconds)


class _Watch:
    """While the block runs, its task is cancelled when the node ends without having been told to; not so outside of it.

    :ivar cut: whether that has happened.
    """

    def __init__(self, ended: asyncio.Future[None], told: trio.Event) -> None:
        task = asyncio.current_task()
        assert task is not None  # it awaits
        self._task = task
        self._ended = ended
        self._told = told
        self._cancelled_before = task.cancelling()
        self.cut = False

    def _end(self, _: object) -> None:
        if not self._told.is_set():
            self.cut = True
            self._task.cancel("the node has ended")

    def __enter__(self) -> _Watch:
        self._ended.add_done_callback(self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        self._told.set()
        if isinstance(error, GeneratorExit):
            # The loop closes its generators as it ends: the block was entered by a task that is gone.
            log.error("node_left_behind", extra={"hint": "the loop ends; leave engine.embed before"})
        # As asyncio.timeout does: a cancellation that is not ours goes on.
        return self.cut and isinstance(error, asyncio.CancelledError) and self._task.uncancel() <= self._cancelled_before


async def _enter(guest: Guest, inside: Inside) -> tuple[EmbeddedNode, asyncio.Future[None]]:
    """Start a node; the future tells what ends it. Raises what keeps it from starting; it does not run then."""
    opened = guest.future()
    scope = trio.CancelScope()

    async def run() -> None:
        with scope:
            await inside.run(opened.set_result)

    def failed(_: object) -> None:
        error = ended.exception() or inside.gone()
        if not opened.done():
            opened.set_exception(error)
            opened.exception()  # lest asyncio complains that nobody has looked at it: who was cancelled meanwhile does not

    ended = guest.host(run)
    ended.add_done_callback(failed)
    try:
        await patiently(opened, scope.cancel)
        return EmbeddedNode(guest, inside, opened.result()), ended
    except BaseException:
        scope.cancel()
        await patiently(ended)
        raise


@asynccontextmanager
async def embed(settings: Source = None) -> AsyncIterator[EmbeddedNode]:
    """Run a node in an asyncio program while the block runs, on any loop; viewers can connect when it is entered, and are told
    to leave when it ends. Several may run in one loop.

    Cancelled while it says farewell, it cuts that short. If the node itself ends, by a fault in it, the task that has entered
    the block is cancelled in it, and what ended the node is raised. The loop must not end before the block: it is logged as an
    error when it does.

    :param settings: or the path of a file with them, which `engine.backend.Backend.reload` reads again; None: the defaults.
    :raises RoomcastError: the settings contradict each other, the address cannot be bound, or the thread runs trio already.
    """
    inside = Inside(settings)
    async with guest_run() as guest:
        node, ended = await _enter(guest, inside)
        watch = _Watch(ended, inside.stop)
        try:
            with watch:
                yield node
        finally:
            await patiently(ended, node.hurry)
            await node._settle()
        ended.result()
        if watch.cut:
            raise inside.gone()
