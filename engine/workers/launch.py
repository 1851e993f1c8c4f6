"""From the command line into the supervisor, in the same process.

Owns the way the settings take. The command line has loaded libraries that a supervisor needs no more once the settings are
known: it becomes another program, with the same process id, and hands them over through memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from engine.errors import RoomcastError
from engine.settings import Settings
from engine.workers.child import environment, interpreter
from engine.workers.reread import Source

__all__ = ["Order", "launch", "read_order"]


class Order(msgspec.Struct, frozen=True):
    """What the supervisor is to do.

    :ivar source: where the settings come from.
    """

    settings: Settings
    as_json: bool
    source: Source = Source()


def launch(settings: Settings, *, as_json: bool, config: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> NoReturn:
    """Become the supervisor. Raises `RoomcastError` where that cannot be.

    :param config: as ``overrides`` in `engine.config.load`, for reading the settings again.
    """
    if not sys.platform.startswith("linux"):
        raise RoomcastError(f"node.workers needs Linux, not {sys.platform}")
    descriptor = os.memfd_create("roomcast-settings", 0)
    os.set_inheritable(descriptor, True)
    source = Source(str(config) if config is not None else "", overrides)
    os.write(descriptor, msgspec.msgpack.encode(Order(settings, as_json, source)))
    sys.stdout.flush()
    sys.stderr.flush()
    command = [*interpreter(), "-m", "engine.workers.supervisor", str(descriptor)]
    os.execve(sys.executable, command, environment(dict(os.environ)))


def read_order(descriptor: int) -> Order:
    """Read what `launch` has written."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        return msgspec.msgpack.decode(file.read(), type=Order)
