"""The directory where a node's processes find each other, and where its operator finds them.

Owns the names in it: ``PORT.pid``, locked as long as the node runs, holds the supervisor's process id; ``PID/hub.sock`` is the
hub's socket. So any number of nodes, each with a port of its own, share a directory. Only this user may enter. What a killed
supervisor left behind is removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from engine.errors import RoomcastError

__all__ = ["RunDirectory", "ask_to_reload", "ask_to_restart", "directory_of", "find_supervisor"]

_PATH_BYTES: Final = 107
"""Longest path of a Unix socket (unix(7))."""
_BACKLOG: Final = 1024


def directory_of(setting: str) -> Path:
    """The run directory for ``node.run_directory``."""
    if setting:
        return Path(setting).absolute()
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "roomcast" if base else Path(tempfile.gettempdir()) / f"roomcast-{os.getuid()}"


class RunDirectory:
    """A node's part of the run directory.

    :ivar socket_path: of the hub's socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._private = path / str(os.getpid())
        self.socket_path = str(self._private / "hub.sock")

    @contextmanager
    def entered(self) -> Iterator[socket.socket]:
        """Make it ready and yield the hub's listening socket. Raises `RoomcastError`."""
        if len(os.fsencode(self.socket_path)) > _PATH_BYTES:
            raise RoomcastError(
                f"node.run_directory: {self.socket_path} is longer than a socket's path may be, {_PATH_BYTES} bytes"
            )
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check(self._path)
            self._sweep()
            self._private.mkdir(mode=0o700)
        except OSError as error:
            raise RoomcastError(f"node.run_directory: cannot use {self._path}: {error.strerror}") from error
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(self.socket_path)
                listener.listen(_BACKLOG)
                yield listener
        finally:
            shutil.rmtree(self._private, ignore_errors=True)

    def _sweep(self) -> None:
        for entry in self._path.iterdir():
            # A directory with our own number is of a process that had it before.
            if entry.name.isdecimal() and (entry == self._private or not Path("/proc", entry.name).exists()):
                shutil.rmtree(entry, ignore_errors=True)

    def left_by_a_killed_one(self, port: int) -> bool:
        """Whether a supervisor of this port ended without a goodbye, so that its processes may be about to end."""
        path = self._path / f"{port}.pid"
        descriptor = _locked(path) if path.exists() else None
        if descriptor is None:
            return False
        os.close(descriptor)
        return True

    @contextmanager
    def announced(self, port: int) -> Iterator[None]:
        """Let `find_supervisor` find this process by the node's port while the block runs. Raises `RoomcastError`."""
        path = self._path / f"{port}.pid"
        descriptor = _locked(path)
        if descriptor is None:
            raise RoomcastError(f"another node of this user serves port {port}: {path} is locked")
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """Create, open and lock a file; None if somebody else has locked it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Whoever had it before removed it between our two steps.
        os.close(descriptor)


def _check(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise RoomcastError(
            f"node.run_directory: {path} must be a directory of this user that nobody else may enter (chmod 700 {path})"
        )


def find_supervisor(path: Path, port: int) -> int:
    """Process id of the supervisor that serves ``port``; 0: of the only one there is. Raises `RoomcastError`."""
    running = {}
    for file in sorted(path.glob("*.pid")) if path.is_dir() else ():
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            # Whoever wrote it is alive: the lock ends with the process.
            running[int(file.stem)] = int(os.pread(descriptor, 32, 0) or b"0")
        finally:
            os.close(descriptor)
    if port in running:
        return running[port]
    if not port and len(running) == 1:
        return next(iter(running.values()))
    what = f"serves port {port}" if port else "can be told from its port"
    known = ", ".join(f"{pid} (port {each})" for each, pid in running.items()) or "none"
    raise RoomcastError(f"no node with workers {what} according to {path}; running: {known}; --pid names one")


def ask_to_restart(pid: int) -> None:
    """Ask a supervisor to replace its processes. Raises `RoomcastError` if the process is none."""
    if not _supervises(pid):
        raise RoomcastError(f"process {pid} is no supervisor of a node with workers")
    # One of release 0.1 takes the other signal for this.
    _signal(pid, signal.SIGUSR2 if _catches(pid, signal.SIGUSR2) else signal.SIGHUP)


def ask_to_reload(pid: int) -> None:
    """Ask a node, or its supervisor, to read its settings again. Raises `RoomcastError` if the process is none, or cannot."""
    # A supervisor of release 0.1 would replace its processes.
    if not (_catches(pid, signal.SIGUSR2) if _supervises(pid) else _serves(pid)):
        raise RoomcastError(f"process {pid} is no node that reads its settings again")
    _signal(pid, signal.SIGHUP)


def _signal(pid: int, number: signal.Signals) -> None:
    # To a process that is not prepared for it the signal would be its end.
    if not _catches(pid, number):
        raise RoomcastError(f"process {pid} has just begun or is about to end; try again")
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise RoomcastError(f"process {pid} has ended") from None
    except PermissionError:
        raise RoomcastError(f"process {pid} belongs to another user") from None


def _supervises(pid: int) -> bool:
    return b"engine.workers.supervisor" in _read(pid, "cmdline").split(b"\0")


def _serves(pid: int) -> bool:
    names = {argument.rpartition(b"/")[2] for argument in _read(pid, "cmdline").split(b"\0")}
    return b"serve" in names and bool(names & {b"roomcast", b"engine"})


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal (proc_pid_status(5), SigCgt)."""
    for line in _read(pid, "status").splitlines():
        name, _, mask = line.partition(b":")
        if name == b"SigCgt":
            return bool(int(mask, 16) >> (number - 1) & 1)
    return False


def _read(pid: int, name: str) -> bytes:
    """A file about a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
