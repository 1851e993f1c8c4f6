"""How the interpreter is set for a process that is a node, or a part of one.

Owns what concerns the whole process, and so is called by the command line and by workers, not by a program that embeds the
engine; that does as much if it wants the same.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

from engine.settings import Settings

__all__ = ["settle"]

_SWITCH_SECONDS: Final = 0.001
"""How long a thread that wants the interpreter's lock waits before it asks for it. The ledger's writer gives it up at each step
of SQLite; with Python's 5 ms it would wait as long for it again while the room is busy."""


def settle(settings: Settings, *, hub: bool = True) -> None:
    """Load what is certain to be needed, and let the garbage collector look at none of what is there now: a full collection
    would stop all viewers for tens of milliseconds, now and then."""
    if hub and settings.gifts:
        import engine.ledger.store  # noqa: F401
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
