"""One process of a node as the supervisor sees it: started, ready, gone.

Owns the operating system's process and the supervisor's end of its channel. Must not know why it is there.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from engine.settings import Settings
from engine.workers.channel import (
    Admit,
    Adopt,
    Adopted,
    AskReload,
    Channel,
    Ended,
    Halted,
    Order,
    Outcome,
    Ready,
    Report,
    Start,
)

__all__ = ["Child", "environment", "interpreter", "spawn"]

_ROOT: Final = Path(__file__).parents[2]
_ADOPT_SECONDS: Final = 60.0
"""For a process to take other settings; a hub reads its word lists meanwhile."""
_LINGER_SECONDS: Final = 15.0
"""For a process that has closed its channel to end."""


log = logging.getLogger("roomcast.workers")


def interpreter() -> list[str]:
    """The command that runs this interpreter again: with its warnings, and without the working directory as a place for
    modules, where another ``engine`` may lie."""
    return [sys.executable, "-P", *(f"-W{option}" for option in sys.warnoptions)]


def environment(environ: dict[str, str]) -> dict[str, str]:
    """The environment in which it finds this package."""
    path = [str(_ROOT), *filter(None, [environ.get("PYTHONPATH")])]
    return {**environ, "PYTHONPATH": ":".join(path)}


class Child:
    """See the module's docstring.

    :ivar ready: set when it does its work.
    :ivar halted: set when it accepts nobody any more.
    :ivar ended: set when it is gone.
    :ivar statistics: its last words; None as long as it has said none.
    :ivar link: version of the link that it speaks.
    :ivar asked: called when it wants the settings to be read again, with the number of its question.
    :ivar watched: whether it is expected to be heard of: it was ready, and was not told to go.
    :ivar silent: how often `engine.workers.watchdog` has looked since it was heard of.
    """

    def __init__(self, role: str, process: trio.Process, channel: Channel) -> None:
        self.role = role
        self._process = process
        self._channel = channel
        self.ready, self.halted, self.ended = trio.Event(), trio.Event(), trio.Event()
        self.viewers_max = self.link = 0
        self.watched = False
        self.silent = 0
        self.statistics: dict[str, Any] | None = None
        self.asked: Callable[[Child, int], None] = _nobody
        self._adopted = trio.Event()
        self._objection = ""

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def send(self, order: Order) -> None:
        """Tell it something."""
        if not isinstance(order, Start | Admit | Adopt | Outcome):
            # It has a deadline of another kind from now on.
            self.watched = False
        await self._channel.send(order)

    async def adopt(self, settings: Settings) -> str:
        """Have it take these settings; returns why it does not, empty if it does, or is gone, or will as soon as it can."""
        self._adopted, self._objection = trio.Event(), ""
        await self.send(Adopt(settings))
        with trio.move_on_after(_ADOPT_SECONDS) as patience:
            await self._adopted.wait()
        if patience.cancelled_caught:
            log.warning("settings_not_taken_yet", extra={"child": self.role, "child_pid": self.pid, "seconds": _ADOPT_SECONDS})
        return self._objection

    async def follow(self) -> None:
        """Take in what it says, until it is gone."""
        try:
            while (report := await self._channel.receive()) is not None:
                self.silent = 0
                match report:
                    case Ready():
                        self.viewers_max, self.link = report.viewers_max, report.link
                        self.watched = True
                        self.ready.set()
                    case Adopted():
                        self._objection = report.fault
                        self._adopted.set()
                    case AskReload():
                        self.asked(self, report.number)
                    case Halted():
                        self.halted.set()
                    case Ended():
                        self.statistics = report.statistics
            with trio.move_on_after(_LINGER_SECONDS) as waited:
                await self._process.wait()
            if waited.cancelled_caught:
                self.kill()
                await self._process.wait()
        finally:
            self._channel.close()
            self._adopted.set()
            self.halted.set()
            self.ended.set()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()


def _nobody(child: Child, number: int) -> None:
    """For whom nobody reads the settings again."""


async def spawn(role: str, start: Start, environ: dict[str, str]) -> Child:
    """Start a process. `Child.follow` must run next."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await trio.lowlevel.open_process(
                [*interpreter(), "-m", f"engine.workers.{role}", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *start.listeners, *start.api],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env=environment(environ),
            )
        except BaseException:
            ours.close()
            raise
    child = Child(role, process, Channel(ours, Report))
    await child.send(start)
    return child
