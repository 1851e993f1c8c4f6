"""The nodes of a storm: processes that are started, killed and started again with the same command.

Owns the processes and what they say. Knows of the engine its command line and its config file, nothing else. Must not know
viewers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import trio

from bench.engineproc import ENGINE, family, role_of, to_toml
from bench.kills.plan import Kill, StormError
from bench.leash import leash

__all__ = ["Node"]

START_SECONDS: Final = 30.0
SERVE_SECONDS: Final = 60.0
"""After so long without anything acknowledged a restarted node has not come back."""
STOP_SECONDS: Final = 30.0
_LOG_LINES: Final = 12
_READ_BYTES: Final = 65_536


class Node:
    """One node.

    :param directory: its own; holds config file and log.
    :param sections: its settings, a port among them.
    :param command: program and first arguments; ``--config FILE --json`` is appended.
    :ivar life: counts how often it was started.
    :ivar died: how it ended, if it did so by itself.
    :ivar killed_at: in seconds of trio's clock, as are the other moments.
    :ivar listened_at: since it was started last; infinity: it does not listen yet. So ``served_at`` for what it acknowledged.
    """

    def __init__(
        self, name: str, directory: Path, sections: Mapping[str, Mapping[str, Any]], command: tuple[str, ...] = ENGINE
    ) -> None:
        self.name = name
        self._command = command
        self.config = directory / "node.toml"
        self.port: int = sections["edge"]["port"]
        self.life = 0
        self.died: list[str] = []
        self.pid = 0
        self.killed_at = self.started_at = 0.0
        self.listened_at = self.served_at = float("inf")
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._nursery: trio.Nursery
        self._stopping = False
        self._listening = trio.Event()
        self._serving = trio.Event()
        directory.mkdir(parents=True)
        self.config.write_text(to_toml(sections))

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Start it, and hear what its processes say, until cancelled; whatever runs then is killed."""
        async with trio.open_nursery() as self._nursery:
            try:
                self.start()
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._end()

    async def _read(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        data = b""
        async with trio.lowlevel.FdStream(descriptor) as stream:
            while piece := await stream.receive_some(_READ_BYTES):
                *lines, data = (data + piece).split(b"\n")
                for line in lines:
                    if process is self._process:
                        self._hear(line)
        if process is self._process and not self._stopping:
            self.died.append(f"{self.name} ended by itself with status {process.wait()}: {self._last_words()}")
            # Nobody is to wait for what cannot come.
            self._listening.set()
            self._serving.set()

    def _hear(self, line: bytes) -> None:
        with suppress(ValueError, AttributeError):
            if json.loads(line).get("event") == "listening":
                self.listened_at = trio.current_time()
                self._listening.set()

    # -- life and death -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, which takes a moment; `listening` and `serving` wait for more."""
        # Here and not in another thread: the leash is held by the thread that starts it.
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [*leash(os.getpid(), self._command), "--config", str(self.config), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        descriptor = os.dup(self._process.stdout.fileno())
        self._process.stdout.close()
        self._begin(process=True)
        self._nursery.start_soon(self._read, self._process, descriptor)

    def _begin(self, *, process: bool) -> None:
        self.started_at = trio.current_time()
        self.served_at = float("inf")
        self._serving = trio.Event()
        if process:
            self.life += 1
            self.listened_at = float("inf")
            self._listening = trio.Event()

    def kill(self, kill: Kill) -> None:
        """``kill -9``, and start again what nobody else does."""
        assert self._process is not None
        pids = [] if kill.role == "node" else sorted(pid for pid in family(self._process.pid) if role_of(pid) == kill.role)
        self.killed_at = trio.current_time()
        if pids:
            with suppress(ProcessLookupError):
                os.kill(pids[kill.index % len(pids)], signal.SIGKILL)
            self._begin(process=False)
            return
        self._end()
        self.start()

    def _end(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
            self._process = None

    async def stop(self) -> int | None:
        """As an operator stops it; its exit status, None if it did not end."""
        self._stopping = True
        assert self._process is not None
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            await trio.to_thread.run_sync(self._process.wait, STOP_SECONDS, abandon_on_cancel=True)
        return self._process.poll()

    # -- whether it serves --------------------------------------------------------------------------------------------

    def acknowledged(self, life: int, asked_at: float) -> None:
        """It has acknowledged, in this life, something that was asked for then."""
        # What was asked for before it was killed may have been answered then, and only read now.
        if life == self.life and asked_at >= self.started_at and not self._serving.is_set():
            self.served_at = trio.current_time()
            self._serving.set()

    async def listening(self) -> None:
        """Wait until it listens. Raises `StormError`."""
        await self._until(self._listening, START_SECONDS, "did not listen")

    async def serving(self) -> None:
        """Wait until it has acknowledged something since it was started. Raises `StormError`."""
        await self._until(self._serving, SERVE_SECONDS, "acknowledged nothing")

    async def _until(self, event: trio.Event, seconds: float, what: str) -> None:
        with trio.move_on_after(seconds):
            await event.wait()
        if self.died:
            raise StormError(f"{self.name} {what}: it has ended")
        if not event.is_set():
            raise StormError(f"{self.name} {what} within {seconds:g} s: {self._last_words()}")

    # -- what it wrote ------------------------------------------------------------------------------------------------

    def _last_words(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])

    def errors(self) -> list[str]:
        """Lines of its log that are errors. What no logger wrote, such as a traceback, is told by its end."""
        found: list[str] = []
        for level, lines in groupby(self._log.read_text(errors="replace").splitlines(), _level):
            if level is None:
                found.append(" | ".join(list(lines)[-_LOG_LINES:]))
            elif level in ("error", "critical"):
                found += (line for line in lines if not _was_killed(json.loads(line)))
        return found


def _was_killed(entry: dict[str, Any]) -> bool:
    """Whether it is a supervisor's word on a child of it that was killed."""
    return entry.get("event") == "process_died" and entry.get("status") == -signal.SIGKILL


def _level(line: str) -> str | None:
    """Of a line of the log; None if no logger wrote it."""
    try:
        return str(json.loads(line)["level"])
    except (ValueError, KeyError, TypeError):
        return None
