"""Small runs against the real engine: its certificate balances, bytes included, whatever befalls its viewers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUNS = {
    "burst": ("--viewers", "60", "--codec", "json"),
    "mixed-evening": ("--rooms", "8", "--viewers", "12", "--rate", "3", "--seconds", "3", "--storm-every-seconds", "1"),
    "reconnect-storm": ("--viewers", "60", "--senders", "5", "--seconds", "2", "--storm-every-seconds", "0"),
    "slow-viewers": ("--viewers", "40", "--slow-share", "0.1", "--senders", "4", "--rate", "150", "--seconds", "1"),
    "likes": ("--viewers", "20", "--senders", "20", "--messages", "4000"),
    "many-rooms": ("--rooms", "20", "--viewers", "3", "--rate", "2", "--seconds", "2", "--processes", "2"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """All at once: they mostly wait."""
    started = {}
    for name, options in RUNS.items():
        record = tmp_path_factory.mktemp(name) / "record.json"
        command = [sys.executable, "-m", "bench.cli", "run", name, *options, "--json", str(record)]
        started[name] = (subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True), record)
    yield started
    for process, _ in started.values():
        process.terminate()
        process.communicate()


def outcome(runs: dict[str, tuple[subprocess.Popen[str], Path]], name: str) -> dict[str, Any]:
    """The record of a run, which must be verified."""
    process, path = runs[name]
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    record: dict[str, Any] = json.loads(path.read_text())
    return record


@pytest.mark.parametrize("name", RUNS)
def test_the_certificate_balances_to_the_byte(runs: dict[str, tuple[subprocess.Popen[str], Path]], name: str) -> None:
    record = outcome(runs, name)
    certificate = record["certificate"]
    assert record["verified"]
    assert certificate["expected"] == certificate["delivered"] + certificate["in_gaps"] > 0
    assert (certificate["lost"], certificate["doubled"], certificate["reordered"]) == (0, 0, 0)
    assert certificate["connections_closed"] == certificate["connections"] == record["viewers"]
    assert certificate["bytes_read"] == certificate["bytes_written"] > 0


def test_those_cut_off_came_back(runs: dict[str, tuple[subprocess.Popen[str], Path]]) -> None:
    assert outcome(runs, "reconnect-storm")["figures"]["returned"] == 20


def test_those_who_stopped_met_a_gap(runs: dict[str, tuple[subprocess.Popen[str], Path]]) -> None:
    figures = outcome(runs, "slow-viewers")["figures"]
    assert figures["slow_viewers"] == figures["met_lag_policy"] == 4


def test_likes_arrive_to_the_last_one(runs: dict[str, tuple[subprocess.Popen[str], Path]]) -> None:
    assert outcome(runs, "likes")["certificate"]["likes"] > 3_800
