"""What a machine says, read from files as they are in machines and containers, and where next to nothing is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.machine import cores, machine

NETSTAT = """\
TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits
TcpExt: 1 17 19 1000
IpExt: InNoRoutes InTruncatedPkts
IpExt: 0 0
"""
SNMP = """\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin InSegs OutSegs RetransSegs InErrs
Tcp: 1 200 900 1000 23 0
"""
DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0
  eth0: 100 1 0 0 0 0 0 0 4000 1 0 0 0 0 0 0
  eth1:20 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0
"""


def root(directory: Path, **files: str) -> Path:
    """A file system with these files; of their names ``__`` is a slash."""
    for name, text in files.items():
        file = directory / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return directory


def test_this_machine_tells_what_advice_rests_on() -> None:
    told = machine()
    assert 1 <= told["cores"] <= (os.cpu_count() or 1)
    assert 0 < told["descriptors_soft"] <= told["descriptors_hard"]
    assert told["memory_bytes"] > 1 << 20
    assert told["listen_overflows"] >= 0
    assert told["cpu_ticks"] >= told["idle_ticks"] >= 0
    assert told["out_segs"] >= told["retrans_segs"] >= 0


def test_kernel_parameters_and_counters(tmp_path: Path) -> None:
    told = machine(
        root(
            tmp_path,
            proc__self__net__netstat=NETSTAT,
            proc__self__net__snmp=SNMP,
            proc__self__net__dev=DEV,
            proc__stat="cpu  10 20 30 400 5 0 7 8 900 900\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n",
            proc__sys__net__core__somaxconn="4096\n",
            proc__sys__net__core__wmem_max="212992\n",
            proc__sys__net__ipv4__tcp_wmem="4096\t16384\t4194304\n",
            proc__sys__net__ipv4__tcp_congestion_control="cubic\n",
            proc__meminfo="MemTotal:       1024 kB\nMemFree: 1 kB\n",
        )
    )
    expected = {
        "listen_overflows": 17,
        "listen_drops": 19,
        "retrans_segs": 23,
        "out_segs": 1_000,
        "received_bytes": 120,
        "sent_bytes": 4_500,
        "cpu_ticks": 480,
        "idle_ticks": 405,
        "somaxconn": 4_096,
        "wmem_max": 212_992,
        "tcp_wmem": [4_096, 16_384, 4_194_304],
        "congestion_control": "cubic",
        "memory_bytes": 1 << 20,
    }
    assert {name: told[name] for name in expected} == expected


STAT = "usage_usec 5\nnr_periods 100\nnr_throttled 7\nthrottled_usec 9\n"


def test_limits_of_a_control_group_hold_for_those_in_it(tmp_path: Path) -> None:
    files = {
        "proc__self__cgroup": "0::/app/node\n",
        "proc__meminfo": "MemTotal: 4096 kB\n",
        "sys__fs__cgroup__cpu.stat": "usage_usec 99\n",
        "sys__fs__cgroup__app__cpu.max": "150000 100000\n",
        "sys__fs__cgroup__app__cpu.stat": STAT,
        "sys__fs__cgroup__app__memory.max": "1048576\n",
        "sys__fs__cgroup__app__node__cpu.max": "max 100000\n",
        "sys__fs__cgroup__app__node__memory.max": "max\n",
    }
    told = machine(root(tmp_path, **files))
    assert (told["quota_cores"], told["periods"], told["throttled_periods"]) == (1.5, 100, 7)
    assert told["memory_bytes"] == 1 << 20
    assert told["cores"] == cores(tmp_path) == min(2, len(os.sched_getaffinity(0)))


def test_of_limits_of_several_control_groups_the_strictest_holds(tmp_path: Path) -> None:
    files = {
        "proc__self__cgroup": "0::/app/node\n",
        "sys__fs__cgroup__app__cpu.max": "100000 100000\n",
        "sys__fs__cgroup__app__cpu.stat": STAT,
        "sys__fs__cgroup__app__memory.max": "1048576\n",
        "sys__fs__cgroup__app__node__cpu.max": "800000 100000\n",
        "sys__fs__cgroup__app__node__cpu.stat": "nr_periods 100\nnr_throttled 0\n",
        "sys__fs__cgroup__app__node__memory.max": "8388608\n",
    }
    told = machine(root(tmp_path, **files))
    assert (told["quota_cores"], told["periods"], told["throttled_periods"]) == (1.0, 100, 7)
    assert told["memory_bytes"] == 1 << 20
    assert told["cores"] == cores(tmp_path) == 1
    # Of equal ones it is the nearest that stops the process.
    root(tmp_path, **{"sys__fs__cgroup__app__node__cpu.max": "100000 100000\n"})
    assert machine(tmp_path)["throttled_periods"] == 0


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    files = {
        "proc__self__cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n1:name=systemd:/box\nrubbish\n",
        "sys__fs__cgroup__cpu,cpuacct__box__cpu.cfs_quota_us": "50000\n",
        "sys__fs__cgroup__cpu,cpuacct__box__cpu.cfs_period_us": "100000\n",
        "sys__fs__cgroup__cpu,cpuacct__box__cpu.stat": STAT,
        "sys__fs__cgroup__memory__box__memory.limit_in_bytes": "2097152\n",
    }
    told = machine(root(tmp_path, **files))
    assert (told["quota_cores"], told["cores"], told["throttled_periods"]) == (0.5, 1, 7)
    assert cores(tmp_path) == 1
    assert told["memory_bytes"] == 2 << 20
    # None is written as the largest number there is.
    root(tmp_path, **{"sys__fs__cgroup__memory__box__memory.limit_in_bytes": f"{2**63 - 4096}\n"})
    assert "memory_bytes" not in machine(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "\n", "TcpExt:\n", "a: b\nc\n", "x" * 100, "TcpExt: ListenOverflows\nTcpExt:\n", ":\n:\n"]
)
def test_what_cannot_be_read_or_understood_is_left_out(tmp_path: Path, text: str) -> None:
    told = machine(
        root(
            tmp_path,
            proc__self__net__netstat=text,
            proc__self__net__snmp=text,
            proc__self__net__dev=text,
            proc__stat=text,
            proc__self__cgroup=text,
            proc__meminfo=text,
            **{"sys__fs__cgroup__cpu.stat": text, "sys__fs__cgroup__cpu.max": text},
        )
    )
    assert told.keys() == {"descriptors_soft", "descriptors_hard", "cores"}
    assert machine(tmp_path / "nowhere").keys() == told.keys()
    assert cores(tmp_path / "nowhere") == len(os.sched_getaffinity(0))
