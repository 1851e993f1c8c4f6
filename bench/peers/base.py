"""What a peer is to this benchmark: the contract of an adapter.

Owns the contract. Must not know any peer, nor how it is measured. An adapter says whether its server is installed, how to
start it on a given port, and which dialect (`bench.peers.dialects`) its viewers speak. It is to start the server as its
own documentation advises for broadcasting to many, with options fit for production: no compression, no access log, one
process with one thread of work, as the engine has.
"""

from __future__ import annotations

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

__all__ = ["Adapter", "Launch", "Script", "output_of"]

SERVERS = Path(__file__).with_name("servers")
ASK_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a server that listens on the port it was given, on loopback only, and ends on SIGTERM.

    :ivar environment: in addition to the benchmark's own.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Adapter(ABC):
    """One peer.

    :cvar name: by which it is chosen.
    :cvar what: what it is, and how it is used here, one line.
    :cvar link: where its own documentation says how to broadcast.
    :cvar dialect: key of `bench.peers.dialects.DIALECTS`.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    link: ClassVar[str]
    dialect: ClassVar[str] = "plain"

    @abstractmethod
    def available(self) -> str | None:
        """None when it is installed; otherwise how to get it."""

    @abstractmethod
    def version(self) -> str:
        """Which version would be started. Only called when it is installed."""

    @abstractmethod
    def start(self, directory: Path, port: int) -> Launch:
        """Write what configuration it needs into the directory and say how to start it."""


class Script(Adapter):
    """A peer whose server is one of the programs in ``servers``.

    :cvar script: its file name.
    """

    script: ClassVar[str]

    def start(self, directory: Path, port: int) -> Launch:
        """Python runs the program."""
        return Launch(command=(sys.executable, str(SERVERS / self.script), str(port)))


def output_of(*command: str, environment: Mapping[str, str] | None = None) -> str | None:
    """What a command prints, standard error included; None when it cannot be run or fails."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=ASK_SECONDS,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
