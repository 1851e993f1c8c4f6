"""Whole runs of the command line against servers that break the protocol, each in a way of its own, which has a name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import OVERLOAD, ROOT, TAPS

FAKE = Path(__file__).with_name("fake_server.py")
CAUGHT = {
    "drop": "missing",
    "lose": "hole",
    "echo": "twice",
    "late": "hole",
    "tail": "behind",
    "double": "repeat",
    "swap": "disagree",
    "shuffle": "moved",
    "alter": "altered",
    "hole": "hole",
    "gap": "gap",
    "gaps": "gap",
    "bytes": "bytes",
    "likes": "likes",
    "close": "closed",
    "refuse": "refused",
}
MISTOLD = {
    "deaf": ("untold", TAPS),
    "reaction": ("reaction", TAPS),
    "miscount": ("withheld", OVERLOAD),
    "silence": ("withheld", OVERLOAD),
    "notice": ("refused", OVERLOAD),
}
"""What a server may tell wrong about taps and comments that it withholds, and what it is called."""


STEADY = ("steady", "--viewers", "6", "--senders", "4", "--rate", "400", "--seconds", "0.4", "--kinds", "comment=0.9,like=0.1")
Broken = dict[str, tuple[subprocess.Popen[str], Path]]


def broken(tmp_path_factory: pytest.TempPathFactory, options: dict[str, tuple[str, ...]]) -> Iterator[Broken]:
    """One run for each fault, all at once: they mostly wait."""
    runs = {}
    for fault, arguments in options.items():
        record = tmp_path_factory.mktemp(fault) / "record.json"
        command = [sys.executable, "-m", "bench.cli", "run", *arguments, "--stall-seconds", "2", "--json", str(record)]
        command += ["--engine", f"{sys.executable} {FAKE} --break {fault}"]
        runs[fault] = (subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True), record)
    yield runs
    for process, _ in runs.values():
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module")
def broken_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    yield from broken(tmp_path_factory, dict.fromkeys(CAUGHT, STEADY))


@pytest.fixture(scope="module")
def mistold_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    yield from broken(tmp_path_factory, {fault: options for fault, (_, options) in MISTOLD.items()})


@pytest.mark.parametrize("fault", CAUGHT)
def test_broken_server_is_caught(broken_runs: Broken, fault: str) -> None:
    process, path = broken_runs[fault]
    output, _ = process.communicate(timeout=60)
    record = json.loads(path.read_text())
    assert process.returncode == 1
    assert not record["verified"]
    certificate = record["certificate"]
    assert CAUGHT[fault] in certificate["fault_counts"], output
    told = next(line for line in certificate["faults"] if line.startswith(f"{CAUGHT[fault]}: "))
    assert fault in ("bytes", "likes") or "viewer " in told
    assert "Verification failed" in output


@pytest.mark.parametrize("fault", MISTOLD)
def test_a_server_that_tells_totals_wrong_is_caught(mistold_runs: Broken, fault: str) -> None:
    process, path = mistold_runs[fault]
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert MISTOLD[fault][0] in json.loads(path.read_text())["certificate"]["fault_counts"], output
