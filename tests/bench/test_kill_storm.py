"""The short form of the kill storm, against the real engine on both databases; and against one that is broken."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from runs import ROOT

PATIENCE = 110.0
SMALL = ("--viewers", "3", "--gifts-per-second", "40", "--seconds-between", "0.4")
FORGETS_KEYS = """
import secrets
from engine.hub import money
money._viewer_key = lambda actor: f"n/{secrets.token_hex(16)}"
from engine.cli import main
main()
"""


class Storms:
    """Storms at once: they mostly wait."""

    def __init__(self, directory: Path, storms: Mapping[str, Sequence[str]]) -> None:
        self._started = {}
        for name, options in storms.items():
            record = directory / f"{name}.json"
            command = [sys.executable, "-m", "bench.cli", "kill-storm", *SMALL, *options, "--json", str(record)]
            self._started[name] = (subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True), record)

    def end(self) -> None:
        """Stop what still runs: a first signal ends the kills, another one everything."""
        for process, _ in self._started.values():
            for _ in range(2):
                process.terminate()
            process.communicate()

    def interrupt(self, name: str) -> None:
        """Ctrl-C, after the first kill."""
        process, _ = self._started[name]
        assert process.stdout is not None
        for line in process.stdout:
            if line.split()[:1] == ["1"]:
                break
        process.send_signal(signal.SIGINT)

    def outcome(self, name: str, status: int = 0) -> dict[str, Any]:
        """The record of a storm, which must have ended with this status."""
        process, path = self._started[name]
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == status, output
        record: dict[str, Any] = json.loads(path.read_text())
        assert record["verified"] is (status == 0)
        return record


@contextmanager
def started(directory: Path, storms: Mapping[str, Sequence[str]]) -> Iterator[Storms]:
    made = Storms(directory, storms)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def storms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storms]:
    directory = tmp_path_factory.mktemp("storms")
    broken = directory / "broken.py"
    broken.write_text(FORGETS_KEYS, encoding="utf-8")
    chosen = {
        "one node": ("--kills", "6", "--rooms", "2", "--seed", "2"),
        "two nodes": ("--kills", "6", "--rooms", "2", "--ledger", "postgresql", "--redis", "--nodes", "2"),
        "without keys": ("--kills", "1", "--rooms", "1", "--engine", f"{sys.executable} {broken} serve"),
        "interrupted": ("--kills", "1000", "--rooms", "1"),
    }
    with started(directory, chosen) as made:
        yield made


def check(record: dict[str, Any]) -> None:
    """What holds of every storm that nothing was wrong with."""
    figures = record["figures"]
    assert not record["faults"]
    assert figures["shown"] == figures["entries"] >= figures["gifts"] + figures["packets"] + figures["shares"]
    assert figures["ledger_sum"] == figures["shown_sum"] == figures["board_sum"] > 0


def check_whole(record: dict[str, Any]) -> None:
    """The same, and what must have happened in one that was not cut short."""
    check(record)
    figures = record["figures"]
    assert len(record["kills"]) == figures["kills"] == 6
    assert all(figures[name] > 0 for name in ("gifts", "packets", "shares", "retried", "repeated"))
    assert figures["down_max_ms"] >= figures["down_p50_ms"] > 0
    assert figures["first_ack_max_ms"] >= figures["first_ack_p50_ms"] > 0


def test_a_ctrl_c_ends_the_kills_and_what_there_is_is_checked(storms: Storms) -> None:
    storms.interrupt("interrupted")
    record = storms.outcome("interrupted", 130)
    assert record["partial"]
    assert 1 <= len(record["kills"]) < 1000
    check(record)


def test_one_node_that_loses_its_streams_with_each_kill_loses_and_doubles_no_money(storms: Storms) -> None:
    record = storms.outcome("one node")
    check_whole(record)
    assert record["figures"]["epochs"] > 1
    assert record["figures"]["shown_again"] > 0


def test_of_two_nodes_on_one_ledger_one_is_killed_at_a_time_and_no_stream_ends(storms: Storms) -> None:
    record = storms.outcome("two nodes")
    check_whole(record)
    assert {kill["killed"] for kill in record["kills"]} == {"node0", "node1"}
    assert record["figures"]["epochs"] == 1
    assert record["figures"]["shown_again"] == 0


def test_an_engine_that_does_not_know_a_retry_is_found_out(storms: Storms) -> None:
    record = storms.outcome("without keys", 1)
    assert {"doubled", "two answers"} <= {fault["kind"] for fault in record["faults"]}


def test_a_storm_that_cannot_be_is_told() -> None:
    command = [sys.executable, "-m", "bench.cli", "kill-storm", "--nodes", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--redis" in done.stderr
