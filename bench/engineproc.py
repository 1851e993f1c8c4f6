"""The engine as a process of its own: started with a generated config file, measured from outside, stopped.

Owns the process and what the kernel tells about it. Knows of the engine its command line and its config file, nothing
else, so that another server which understands both can take its place.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.leash import leash

__all__ = [
    "ENGINE",
    "HOSTED",
    "EngineError",
    "EngineProcess",
    "Sample",
    "cpu_ns",
    "merge",
    "quiet",
    "read_config",
    "rss_bytes",
    "slab_bytes",
    "to_toml",
    "wait_ns",
]

ENGINE = (sys.executable, "-m", "engine", "serve")
HOSTED = (sys.executable, "-m", "bench.hosted")
"""The engine inside another program."""
START_SECONDS = 30.0
STOP_SECONDS = 30.0
SETTLE_SECONDS = 0.1
Sections = dict[str, dict[str, Any]]


class EngineError(Exception):
    """The engine did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The engine at one moment, all its processes together.

    :ivar cpu_ns: CPU time, user and system; of processes that have ended meanwhile what was last seen.
    :ivar wait_ns: time main threads were ready but waited for a core.
    :ivar rss_bytes: memory: resident of one process, proportional (PSS) of several, lest shared pages count repeatedly.
    :ivar cpu_by_role: CPU time by what a process is there for, where the engine tells it.
    """

    at_ns: int
    cpu_ns: int
    wait_ns: int
    rss_bytes: int
    cpu_by_role: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Sample) -> Sample:
        """Both together; the moment is this one's."""
        roles = {
            role: self.cpu_by_role.get(role, 0) + other.cpu_by_role.get(role, 0)
            for role in self.cpu_by_role | other.cpu_by_role
        }
        cpu, wait, rss = self.cpu_ns + other.cpu_ns, self.wait_ns + other.wait_ns, self.rss_bytes + other.rss_bytes
        return Sample(self.at_ns, cpu, wait, rss, roles)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, children.read_text().split())
    return found


def role_of(pid: int) -> str:
    """What a process of a node is there for, as its command line says; empty where it says nothing."""
    with suppress(OSError):
        found = re.search(rb"\.workers\.(\w+)", Path(f"/proc/{pid}/cmdline").read_bytes())
        return found[1].decode() if found else ""
    return ""


def pss_bytes(pid: int) -> int:
    """Proportional memory of a process: a page that several share counts in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def slab_bytes() -> int:
    """What kernel objects take on this machine: sockets, descriptors and all others."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_ns(pid: int) -> int:
    """CPU time of a process, nanoseconds. The clock's number is what ``clock_getcpuclockid(3)`` computes."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def wait_ns(pid: int) -> int:
    """Time the main thread of a process spent ready to run but not running; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    except FileNotFoundError:
        return 0


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> Sections:
    """Sections of settings laid over each other; the last one wins."""
    merged: Sections = {}
    for layer in layers:
        for section, settings in layer.items():
            merged.setdefault(section, {}).update(settings)
    return merged


def to_toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of plain values, and of tables and lists of tables of these, as TOML; JSON writes strings, numbers, booleans and
    lists the way TOML reads them."""
    lines: list[str] = []
    for section, settings in sections.items():
        plain = {name: value for name, value in settings.items() if not isinstance(value, dict) and not _tables(value)}
        if plain or not settings:
            lines += [f"[{section}]", *(f"{_key(name)} = {_value(value)}" for name, value in plain.items()), ""]
        for name, value in settings.items():
            if _tables(value):
                lines += [f"[[{section}.{_key(name)}]]\n" + to_toml({"": each}).partition("\n")[2] for each in value]
        tables = {f"{section}.{_key(name)}": value for name, value in settings.items() if isinstance(value, dict)}
        if tables:
            lines.append(to_toml(tables))
    return "\n".join(lines)


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    # Not as escapes: TOML has none for half a surrogate pair.
    return json.dumps(value, ensure_ascii=False)


class EngineProcess:
    """A running engine; a context manager that stops it.

    :param sections: its settings.
    :param command: program and first arguments; ``--config FILE --json`` is appended.
    :raises EngineError: it ended, or said nothing within 30 s.
    """

    def __init__(self, sections: Mapping[str, Mapping[str, Any]], command: tuple[str, ...] = ENGINE) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="roomcast-bench-")
        config = Path(self._directory.name) / "bench.toml"
        config.write_text(to_toml(sections), encoding="utf-8")
        # A group of its own: Ctrl-C is for the benchmark, which then stops the engine in order. Its end ends the engine too.
        self._process = subprocess.Popen(
            [*leash(os.getpid(), command), "--config", str(config), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        try:
            listening = self._first_line()
            self.host: str = listening["host"]
            self.port: int = listening["port"]
        except BaseException:
            self.stop()
            raise
        self.pid: int = listening.get("pid", self._process.pid)
        self.viewers_max: int = listening.get("viewers_max", 0)
        self.api: tuple[str, int] = tuple(listening.get("api", ("", 0)))
        """Where its HTTP API is, if it has one: host and port."""
        self._seen: dict[int, tuple[str, int, int]] = {}
        self.statistics: dict[str, Any] | None = None
        """What the engine said about itself when it stopped; None if it said nothing."""

    def _first_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        data = b""
        while b"\n" not in data:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise EngineError(f"the engine did not listen within {START_SECONDS:.0f} s")
            piece = os.read(self._process.stdout.fileno(), 4096)
            if not piece:
                raise EngineError(f"the engine ended with status {self._process.wait()} before it listened")
            data += piece
        try:
            listening: dict[str, Any] = json.loads(data.partition(b"\n")[0])
        except ValueError:
            raise EngineError(f"the engine's first line is not JSON: {data[:80]!r}") from None
        if not {"host", "port"} <= listening.keys():
            raise EngineError(f"the engine's first line names no host and port: {data[:200]!r}")
        return listening

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL when that does not end it within 30 s; returns the exit status. Reads its last words."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        status = self._process.wait()
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            for line in self._process.stdout.read().splitlines():
                with suppress(ValueError, AttributeError):
                    self.statistics = json.loads(line).get("statistics", self.statistics)
            self._process.stdout.close()
        self._directory.cleanup()
        return status

    def sample(self, *, memory: bool = True) -> Sample:
        """CPU and memory now. Raises `EngineError` when the process is gone.

        :param memory: whether to look at memory too, which costs more the more there is.
        """
        if (status := self._process.poll()) is not None:
            raise EngineError(f"the engine ended by itself with status {status}")
        pids = family(self.pid)
        held = rss_bytes if len(pids) == 1 else pss_bytes
        rss = 0
        for pid in pids:
            with suppress(OSError):  # it may have ended meanwhile
                role = self._seen[pid][0] if pid in self._seen else role_of(pid)
                self._seen[pid] = role, cpu_ns(pid), wait_ns(pid)
                rss += held(pid) if memory else 0
        return self.past(rss)

    def past(self, rss: int = 0) -> Sample:
        """What has been seen of it so far, also when it is gone."""
        roles: dict[str, int] = {}
        for role, cpu, _ in self._seen.values():
            if role:
                roles[role] = roles.get(role, 0) + cpu
        seen = self._seen.values()
        return Sample(time.monotonic_ns(), sum(cpu for _, cpu, _ in seen), sum(wait for _, _, wait in seen), rss, roles)

    def processes(self, role: str) -> list[int]:
        """Its living processes with this role."""
        return [pid for pid in family(self.pid) if role_of(pid) == role]

    def kill(self) -> None:
        """SIGKILL to the process that was started; what it has started ends by itself."""
        self._process.kill()
        self._process.wait()


def quiet(sample: Callable[..., Sample]) -> Sample:
    """Wait until a tenth of a second costs the engine less than a tenth of it (at most 5 s), then look.

    :param sample: `EngineProcess.sample`, or one like it.
    """
    before = sample(memory=False)
    for _ in range(50):
        time.sleep(SETTLE_SECONDS)
        now = sample(memory=False)
        if now.cpu_ns - before.cpu_ns < SETTLE_SECONDS * 1e8:
            break
        before = now
    return sample()


def read_config(path: Path) -> Sections:
    """A TOML file as sections. Raises `EngineError` when it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise EngineError(f"config file {path}: {error}") from None
