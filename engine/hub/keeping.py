"""A task without which rooms live: when something in it fails that nobody has foreseen, it begins again and the hub goes on.

Owns that, and the pauses. For what talks to the product's servers. What rooms need is not kept so: a hub without it must end,
and be replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from engine.timing import Pause

__all__ = ["keep"]

_PAUSES: Final = (0.2, 30.0)
"""First and longest, in seconds."""

log = logging.getLogger("roomcast.hub")


class _Once:
    """Tells that it has started, the first time."""

    def __init__(self, status: trio.TaskStatus[None]) -> None:
        self._status: trio.TaskStatus[None] | None = status

    def started(self, value: Any = None) -> None:
        if self._status is not None:
            self._status.started()
            self._status = None


async def keep(run: Callable[..., Awaitable[None]], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run it until it returns or this is cancelled.

    :param run: takes ``task_status``.
    """
    pause, once = Pause(*_PAUSES), _Once(task_status)
    while True:
        try:
            await run(task_status=once)
            return
        except Exception:
            log.exception("task_failed", extra={"task": run.__qualname__})
        await pause.wait()
