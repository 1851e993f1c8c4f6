"""Settings that are read again for a node with workers, in a process of its own, which ends with its answer.

Owns what that process is asked and what it answers, over its standard streams. Whoever asks must hold none of the libraries
that read and judge settings: that is why there is such a process, `engine.commands.reread`. It finds the same files and the
same environment as the command line did.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import trio

from engine.errors import RoomcastError
from engine.reload import Reloaded, ReloadRefused
from engine.settings import Settings
from engine.workers.child import environment, interpreter

__all__ = ["Answer", "Question", "Source", "reread"]

_SECONDS: Final = 60.0
"""For an answer, on a machine that has a lot to do."""


class Source(msgspec.Struct, frozen=True):
    """Where settings come from, beside the environment.

    :ivar config: path of the file; empty: none.
    :ivar overrides: see `engine.config.load`.
    """

    config: str = ""
    overrides: Mapping[str, Mapping[str, Any]] = {}


class Question(msgspec.Struct, frozen=True):
    """What would be in force if the settings were read again."""

    source: Source
    in_force: Settings


class Answer(msgspec.Struct, frozen=True):
    """These, and what that changes (`engine.reload.Reloaded`); without settings: why there are none."""

    settings: Settings | None
    changed: list[str] = []
    restart: list[str] = []
    faults: list[tuple[str, str]] = []


async def reread(source: Source, in_force: Settings) -> tuple[Settings, Reloaded]:
    """As `engine.rereading.renew`.

    :raises ReloadRefused: the settings cannot be used.
    :raises RoomcastError: there was no answer.
    """
    command = [*interpreter(), "-m", "engine.commands.reread"]
    question = msgspec.msgpack.encode(Question(source, in_force))
    with trio.move_on_after(_SECONDS):
        try:
            ended = await trio.run_process(
                command, stdin=question, capture_stdout=True, check=False, env=environment(dict(os.environ))
            )
            if status := ended.returncode:
                raise RoomcastError(f"the process that reads the settings ended with status {status}; the log says why")
            answer = msgspec.msgpack.decode(ended.stdout, type=Answer)
        except (OSError, msgspec.MsgspecError) as error:
            # There may be no memory for a process, or another release where the program was. The node goes on.
            raise RoomcastError(f"the settings could not be read again: {error}") from error
        if answer.settings is None:
            raise ReloadRefused(answer.faults)
        return answer.settings, Reloaded(answer.changed, answer.restart)
    raise RoomcastError(f"the settings were not read within {_SECONDS:g} s")
