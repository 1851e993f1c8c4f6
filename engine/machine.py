"""What the machine grants a process and what its kernel counts, as far as it tells: in a container much is missing.

Owns where that is found (proc(5), cgroups(7)). Must not know what is made of it. What cannot be read is left out.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

__all__ = ["cores", "machine"]

_NETWORK: Final = "proc/self/net"
_COUNTERS: Final = {
    ("netstat", "TcpExt", "ListenOverflows"): "listen_overflows",
    ("netstat", "TcpExt", "ListenDrops"): "listen_drops",
    ("snmp", "Tcp", "RetransSegs"): "retrans_segs",
    ("snmp", "Tcp", "OutSegs"): "out_segs",
}
_PARAMETERS: Final = {
    "net/core/somaxconn": "somaxconn",
    "net/core/wmem_max": "wmem_max",
    "net/ipv4/tcp_wmem": "tcp_wmem",
    "net/ipv4/tcp_congestion_control": "congestion_control",
}
_GROUPS: Final = "sys/fs/cgroup"
_OF: Final = {"quota_cores": ("quota_cores", "periods", "throttled_periods"), "memory_bytes": ("memory_bytes",)}
"""What a control group says with each limit."""
_UNLIMITED: Final = 1 << 60
"""Bytes; what a limit that is none looks like in the first version of cgroups."""


def cores(root: Path = Path("/")) -> int:
    """How many cores this process can keep busy: those it may run on, or as many as its control group's quota comes to if that
    is less; at least one.

    :param root: of the file system.
    """
    return _within(len(os.sched_getaffinity(0)), _group(root).get("quota_cores"))


def machine(root: Path = Path("/")) -> dict[str, Any]:
    """Each if it can be told: ``cores`` that this process or its parent may use, ``quota_cores`` that its control group may on
    average, ``descriptors_soft``, ``descriptors_hard``, ``memory_bytes`` of machine or control group; kernel parameters
    ``somaxconn``, ``wmem_max``, ``tcp_wmem`` (least, default, most), ``congestion_control``; and counters since the machine,
    or its network namespace, began: ``listen_overflows``, ``listen_drops``, ``retrans_segs``, ``out_segs``, ``sent_bytes`` and
    ``received_bytes`` of interfaces other than loopback, ``cpu_ticks`` of all cores and of these ``idle_ticks``, ``periods``
    and ``throttled_periods`` of the control group.

    :param root: of the file system.
    """
    told: dict[str, Any] = {}
    told["descriptors_soft"], told["descriptors_hard"] = (
        limit if limit != resource.RLIM_INFINITY else 1 << 30 for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    told |= dict(_parameters(root / "proc/sys"))
    told |= dict(_counters(root / _NETWORK))
    told |= _bytes(root / _NETWORK / "dev")
    told |= _ticks(root / "proc/stat")
    told |= _group(root)
    told["cores"] = _cores(told.get("quota_cores"))
    if (memory := _memory(root)) is not None:
        told["memory_bytes"] = min(memory, told.get("memory_bytes", memory))
    return told


def _cores(quota: float | None) -> int:
    """A process that is kept on one core (``node.pin_cpus``) has a supervisor that is not."""
    found = len(os.sched_getaffinity(0))
    parent = os.getppid()
    if found == 1 and parent > 1:
        with suppress(OSError):
            found = len(os.sched_getaffinity(parent))
    return _within(found, quota)


def _within(found: int, quota: float | None) -> int:
    return max(min(found, round(quota)), 1) if quota is not None else found


def _parameters(directory: Path) -> Iterator[tuple[str, Any]]:
    for path, name in _PARAMETERS.items():
        words = _read(directory / path).split()
        values = [int(word) if word.isdecimal() else word for word in words]
        if values:
            yield name, values[0] if len(values) == 1 else values


def _counters(directory: Path) -> Iterator[tuple[str, int]]:
    for file in ("netstat", "snmp"):
        lines = _read(directory / file).splitlines()
        for heads, numbers in zip(lines[::2], lines[1::2], strict=False):
            group = heads.partition(":")[0]
            for head, number in zip(heads.split()[1:], numbers.split()[1:], strict=False):
                if (name := _COUNTERS.get((file, group, head))) is not None:
                    yield name, int(number)


def _bytes(file: Path) -> dict[str, int]:
    """Of all interfaces but loopback; see proc(5), net/dev."""
    lines = [line.partition(":") for line in _read(file).splitlines() if ":" in line]
    rows = [row.split() for name, _, row in lines if name.strip() != "lo"]
    rows = [row for row in rows if len(row) > 8]
    return {"received_bytes": sum(int(row[0]) for row in rows), "sent_bytes": sum(int(row[8]) for row in rows)} if rows else {}


def _ticks(file: Path) -> dict[str, int]:
    """Of all cores together; see proc(5), stat. What guests take is in what users take."""
    heads, *_ = [*_read(file).splitlines(), ""]
    ticks = [int(each) for each in heads.split()[1:9] if each.isdecimal()]
    # Idle, or waiting for a disk.
    return {"cpu_ticks": sum(ticks), "idle_ticks": ticks[3] + ticks[4]} if heads.startswith("cpu ") and len(ticks) > 4 else {}


def _group(root: Path) -> dict[str, Any]:
    """Of this process's control group and of those above it: of each kind of limit the strictest, which is the one that holds,
    and how often that quota has stopped them; both versions of cgroups."""
    groups = [
        dict(_limits(directory))
        for controllers, path in _groups(root)
        for directory in _upwards(root / _GROUPS / controllers, path)
    ]
    told: dict[str, Any] = {}
    for limit in ("quota_cores", "memory_bytes"):
        limited = [group for group in groups if limit in group]
        if limited:
            strictest = min(limited, key=itemgetter(limit))
            told |= {name: strictest[name] for name in _OF[limit] if name in strictest}
    return told


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        yield controllers, path


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    directory = mount / path.strip("/")
    while True:
        yield directory
        if directory == mount or mount not in directory.parents:
            return
        directory = directory.parent


def _limits(directory: Path) -> Iterator[tuple[str, Any]]:
    quota = _read(directory / "cpu.max").split() or [
        _read(directory / "cpu.cfs_quota_us").strip(),
        _read(directory / "cpu.cfs_period_us").strip(),
    ]
    if len(quota) == 2 and quota[0].isdecimal() and quota[1].isdecimal() and int(quota[1]):
        yield "quota_cores", int(quota[0]) / int(quota[1])
    for line in _read(directory / "cpu.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("nr_periods", "nr_throttled") and value.strip().isdecimal():
            yield {"nr_periods": "periods", "nr_throttled": "throttled_periods"}[name], int(value)
    limit = (_read(directory / "memory.max") or _read(directory / "memory.limit_in_bytes")).strip()
    if limit.isdecimal() and int(limit) < _UNLIMITED:
        yield "memory_bytes", int(limit)


def _memory(root: Path) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
