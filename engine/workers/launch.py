"""From the command line into the supervisor, in the same process.

Owns the way the settings take. The command line has loaded libraries that a supervisor needs no more once the settings are
known: it becomes another program, with the same process id, and hands them over through memory.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import msgspec

from engine.errors import RoomcastError
from engine.settings import Settings
from engine.workers.child import environment, interpreter

__all__ = ["Order", "launch", "read_order"]


class Order(msgspec.Struct, frozen=True):
    """What the supervisor is to do."""

    settings: Settings
    as_json: bool


def launch(settings: Settings, *, as_json: bool) -> NoReturn:
    """Become the supervisor. Raises `RoomcastError` where that cannot be."""
    if not sys.platform.startswith("linux"):
        raise RoomcastError(f"node.workers needs Linux, not {sys.platform}")
    descriptor = os.memfd_create("roomcast-settings", 0)
    os.set_inheritable(descriptor, True)
    os.write(descriptor, msgspec.msgpack.encode(Order(settings, as_json)))
    sys.stdout.flush()
    sys.stderr.flush()
    command = [*interpreter(), "-m", "engine.workers.supervisor", str(descriptor)]
    os.execve(sys.executable, command, environment(dict(os.environ)))


def read_order(descriptor: int) -> Order:
    """Read what `launch` has written."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        return msgspec.msgpack.decode(file.read(), type=Order)
