"""Whether this machine can hold a load: descriptors, ports, memory, and the kernel's bounds, with the command that raises each.

Owns the arithmetic and the words. `facts` reads the machine; `problems` is pure.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.generator.crowd import SOURCE_VIEWERS
from bench.load import Load

__all__ = ["Facts", "facts", "problems", "workers_for"]

RESERVE: Final = 300
"""Descriptors of a process that are not for viewers."""
PLACES: Final = 0.94
"""How full a worker's places may be on average: the kernel spreads connections by chance."""
KERNEL_BYTES: Final = 11_000
"""Of a viewer, both ends on this machine."""
GENERATOR_BYTES, ENGINE_BYTES = 2_500, 1_000
PROCESS_BYTES: Final = 45_000_000
TCP_PAGES: Final = 0.15
"""Pages of socket buffers for each idle viewer; they fill when a frame goes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the machine allows.

    :ivar descriptors: of one process, hard limit.
    :ivar files: open on the machine at most; ``files_open`` already are.
    :ivar ports: ephemeral ports of one address.
    :ivar memory: bytes available.
    :ivar tcp_pages: of socket buffers at most (``net.ipv4.tcp_mem``).
    """

    descriptors: int
    files: int
    files_open: int
    ports: int
    memory: int
    tcp_pages: int


def facts() -> Facts:
    """Of this machine."""
    low, high = _numbers("/proc/sys/net/ipv4/ip_local_port_range")
    opened, _, files = _numbers("/proc/sys/fs/file-nr")
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return Facts(
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        files=files,
        files_open=opened,
        ports=high - low + 1,
        memory=int(available.split()[1]) * 1024,
        tcp_pages=_numbers("/proc/sys/net/ipv4/tcp_mem")[2],
    )


def workers_for(viewers: int, machine: Facts) -> int:
    """Engine workers that have places for so many viewers; 0 where one process is enough."""
    places = machine.descriptors - RESERVE
    return 0 if viewers <= places else -(-viewers // int(places * PLACES))


def problems(load: Load, machine: Facts) -> list[str]:
    """What is in the way of a load, each with what to do about it; empty when nothing is."""
    viewers, found = load.everybody, []
    places = machine.descriptors - RESERVE
    processes = max(load.workers, 1) * load.nodes
    if viewers > places * processes and not load.shrink:
        found.append(
            f"{viewers:,} viewers need {viewers // processes + RESERVE:,} descriptors in each of {processes} engine processes, "
            f"allowed are {machine.descriptors:,}: add --workers {workers_for(-(-viewers // load.nodes), machine)}, "
            f"or as root: prlimit --pid $$ --nofile={viewers + RESERVE}"
        )
    files = viewers * 2 + machine.files_open
    if files > machine.files:
        found.append(f"{files:,} open files exceed fs.file-max = {machine.files:,}: sysctl -w fs.file-max={files * 2}")
    if machine.ports < SOURCE_VIEWERS and viewers > machine.ports:
        found.append(
            f"{machine.ports:,} ports for each loopback address, {SOURCE_VIEWERS:,} are used: "
            'sysctl -w net.ipv4.ip_local_port_range="1024 65535"'
        )
    pages = int(viewers * TCP_PAGES)
    if pages > machine.tcp_pages:
        found.append(
            f"socket buffers may take {pages:,} pages, net.ipv4.tcp_mem allows {machine.tcp_pages:,}: "
            f'sysctl -w net.ipv4.tcp_mem="{pages} {pages * 4 // 3} {pages * 2}"'
        )
    need = viewers * (KERNEL_BYTES + GENERATOR_BYTES + ENGINE_BYTES)
    need += PROCESS_BYTES * (processes + 1 + (load.processes or viewers // 18_000 + 1))
    if need > machine.memory:
        fits = int(viewers * machine.memory / need) // load.rooms
        found.append(f"about {need / 1e9:.1f} GB are needed, {machine.memory / 1e9:.1f} are free: --viewers {fits:,} would fit")
    return found


def _numbers(path: str) -> list[int]:
    return [int(word) for word in Path(path).read_text().split()]
