"""Looks after processes that live but do nothing: an endless loop, a stopped process, a machine that swaps itself to death.

Owns the verdict. Must not know what a process does, nor what is done about its end. A supervisor that was itself stopped
cannot tell from a clock for how long it should have heard of somebody. So time is counted in looks: between two of them it
reads what waits in the channels, and however long it was away, that was one look.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

import trio

from engine.workers.child import Child

__all__ = ["watch"]

_LOOKS: Final = 8
"""Within the time after which silence means that a process hangs."""
_LOOK_SECONDS: Final = 0.05
"""Shortest time between two."""

log = logging.getLogger("roomcast.workers")


async def watch(living: Collection[Child], seconds: float) -> None:
    """Kill every watched process that was silent for so long, until cancelled.

    :param seconds: 0: never.
    """
    while seconds:
        await trio.sleep(max(seconds / _LOOKS, _LOOK_SECONDS))
        for child in living:
            if not child.watched:
                continue
            if child.silent < _LOOKS:
                child.silent += 1
                continue
            hint = "its event loop does not turn (node.hang_seconds)"
            log.error("process_hangs", extra={"child": child.role, "child_pid": child.pid, "seconds": seconds, "hint": hint})
            child.watched = False
            child.kill()
