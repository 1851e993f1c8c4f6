"""A part of the machine for one situation: a network with parameters and interfaces of its own, or a share of CPU.

Owns namespaces and control groups (namespaces(7), cgroups(7)), how a situation of `advice.secluded` is run inside, in a process
of its own, and whether this machine lets us: it must be Linux, and we must be root. Where it does not, the test that asks is
skipped. Must not know what a node is.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["NEAR", "Quota", "Wire", "network", "quota", "secluded", "wire"]

NEAR, FAR = "192.0.2.1", "192.0.2.2"
"""Addresses at the ends of a wire: of those for documentation (RFC 5737), so that they are nobody's."""
PATIENCE = 60
_PERIOD_US = 20_000
"""Short, so that pauses are."""
_CLONE_NEWNET = 0x40000000
_TESTS = Path(__file__).parents[1]


def secluded(situation: str, directory: Path, *arguments: str, before: Sequence[str] = ()) -> dict[str, Any]:
    """Run a situation of `advice.secluded` in a process of its own and return what it reports. Fails the test when it fails.

    :param before: a command that runs it, such as ``network()``.
    """
    command = [*before, sys.executable, "-W", "error", "-m", "advice.secluded", situation, str(directory), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROOMCAST_")}
    environment["PYTHONPATH"] = os.pathsep.join((str(_TESTS), str(_TESTS.parent)))
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)
    if done.returncode:
        pytest.fail(f"{situation}\n{done.stderr}", pytrace=False)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _skip_without(what: str, *command: str) -> None:
    """Skip the test unless this can be done."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no {what} here: {error.filename} is missing")
    if done.returncode:
        pytest.skip(f"no {what} here: {done.stderr.strip() or ' '.join(command)}")


# -- networks ----------------------------------------------------------------------------------------------------------

_UP = 'ip link set lo up && exec "$@"'


def network() -> list[str]:
    """What runs a command in a network that has nothing but loopback. Skips the test where there can be none."""
    command = ["unshare", "--net", "sh", "-c", _UP, "sh"]
    _skip_without("network namespaces", *command, "test", "-w", "/proc/sys/net/core/somaxconn")
    return command


def wire() -> list[str]:
    """As `network`, for a command that makes a `Wire`."""
    command = network()
    _skip_without("pairs of interfaces", *command, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
    return command


class Wire:
    """Another network, and a wire from this one to there: what passes leaves by an interface that is not loopback. A context
    manager, for one thread, which must be the main one, in a process in a network of its own."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Wire:
        self._here = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._check(self._libc.unshare(_CLONE_NEWNET))
        self._there = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._enter(self._here)
        _ip("link add near type veth peer name far")
        _ip(f"link set far netns /proc/{os.getpid()}/fd/{self._there}")
        _ip(f"address add {NEAR}/24 dev near")
        _ip("link set near up")
        self._enter(self._there)
        _ip(f"address add {FAR}/24 dev far")
        _ip("link set far up")
        self._enter(self._here)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._here)
        os.close(self._there)

    def socket(self) -> socket.socket:
        """One at the far end: a socket stays in the network in which it was made."""
        self._enter(self._there)
        try:
            return socket.socket()
        finally:
            self._enter(self._here)

    def _enter(self, descriptor: int) -> None:
        self._check(self._libc.setns(descriptor, _CLONE_NEWNET))

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


# -- shares of CPU -----------------------------------------------------------------------------------------------------


class Quota:
    """A control group that gets a share of CPU, or as much as there is; of either version.

    :param directory: of the group.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._second = (directory / "cpu.max").exists()

    def enter(self) -> None:
        """This process, and what it will start."""
        self._write("cgroup.procs", f"{os.getpid()}")

    def entering(self) -> list[str]:
        """What runs a command in it."""
        return ["sh", "-c", f'echo $$ > {shlex.quote(f"{self.directory}/cgroup.procs")} && exec "$@"', "sh"]

    def limit(self, cores: float) -> None:
        """From now on it gets so much."""
        granted = round(cores * _PERIOD_US)
        if self._second:
            self._write("cpu.max", f"{granted} {_PERIOD_US}")
        else:
            self._write("cpu.cfs_period_us", f"{_PERIOD_US}")
            self._write("cpu.cfs_quota_us", f"{granted}")

    @contextmanager
    def limited(self, cores: float) -> Iterator[None]:
        """As `limit`, while the block runs."""
        self.limit(cores)
        try:
            yield
        finally:
            self.lift()

    def lift(self) -> None:
        """No quota any more."""
        self._write("cpu.max", "max") if self._second else self._write("cpu.cfs_quota_us", "-1")

    def _write(self, name: str, value: str) -> None:
        (self.directory / name).write_text(value)


@contextmanager
def quota() -> Iterator[Quota]:
    """A group that is removed afterwards. Skips the test where there can be none."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="roomcast-", dir=_own()))
    except (OSError, LookupError) as error:
        pytest.skip(f"no control groups here: {error}")
    try:
        group = Quota(directory)
        try:
            group.limit(1.0)
            group.lift()
            counts = "nr_throttled" in (directory / "cpu.stat").read_text()
        except OSError as error:
            pytest.skip(f"no quotas of CPU here: {error}")
        if not counts:
            pytest.skip("no quotas of CPU here: nothing counts who is throttled")
        yield group
    finally:
        for _ in range(100):
            # A node that was killed leaves processes that have yet to notice.
            if not (directory / "cgroup.procs").read_text():
                break
            time.sleep(0.05)
        directory.rmdir()


def _own() -> Path:
    """The control group of this process that has to do with CPU."""
    root = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        directory = root / controllers / path.strip("/")
        if "cpu" in controllers.split(",") or (not controllers and (root / "cgroup.controllers").exists()):
            return directory
    raise LookupError("this process is in none that has to do with CPU")
