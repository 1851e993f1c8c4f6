"""A peer's server as processes: started, measured from outside with all its children, stopped.

Owns the processes and what the kernel tells of them. Must not know dialects or loads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.engineproc import cpu_ns, rss_bytes
from bench.leash import leash
from bench.peers.base import Adapter, Launch

__all__ = ["PeerError", "Sample", "Server", "free_port", "tree_of"]

START_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
SETTLE_SECONDS = 0.1
SETTLE_POLLS = 50
QUIET_SHARE = 0.02
"""A server that takes less of a core than this is at rest."""
LOG_BYTES = 400
"""So much of the end of a server's output goes into an error."""


class PeerError(Exception):
    """The peer did not start, ended by itself, or did not do what it is there for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A server at one moment, all its processes together: CPU user and system, resident memory."""

    cpu_ns: int
    rss_bytes: int


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def tree_of(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found


class Server:
    """A running peer; a context manager that stops it.

    :raises PeerError: it ended, or does not accept connections within 20 s.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._name = adapter.name
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="roomcast-peer-")
        directory = Path(self._directory.name)
        self._log = directory / "output"
        self.port = free_port()
        try:
            self._process = self._start(adapter.start(directory, self.port))
            self._wait()
            self._pids = tree_of(self._process.pid)
        except BaseException:
            self.stop()
            raise

    def _start(self, launch: Launch) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            # A group of its own: Ctrl-C is for the benchmark, which then stops the server in order.
            return subprocess.Popen(
                leash(os.getpid(), launch.command),
                env={**os.environ, **launch.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.check()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise PeerError(f"{self._name} did not listen within {START_SECONDS:.0f} s{self._said()}") from None
                time.sleep(POLL_SECONDS)
            else:
                return

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raises `PeerError` when the server has ended."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            raise PeerError(f"{self._name} ended by itself with status {status}{self._said()}")

    def _said(self) -> str:
        said = self._log.read_bytes()[-LOG_BYTES:].decode(errors="replace").strip()
        return f": {said}" if said else ""

    def sample(self) -> Sample:
        """CPU and memory now. Raises `PeerError` when a process of it has ended."""
        self.check()
        try:
            return Sample(sum(map(cpu_ns, self._pids)), sum(map(rss_bytes, self._pids)))
        except OSError:
            raise PeerError(f"a process of {self._name} has ended{self._said()}") from None

    def quiet(self) -> Sample:
        """Wait until the server is at rest (at most 5 s), then `sample`."""
        assert self._process is not None
        self._pids = tree_of(self._process.pid)
        before = self.sample()
        for _ in range(SETTLE_POLLS):
            time.sleep(SETTLE_SECONDS)
            now = self.sample()
            if now.cpu_ns - before.cpu_ns < SETTLE_SECONDS * QUIET_SHARE * 1e9:
                return now
            before = now
        return before

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left after 5 s."""
        if self._process is not None:
            pids = tree_of(self._process.pid)[1:]
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self._process.kill()
                self._process.wait()
        self._directory.cleanup()
