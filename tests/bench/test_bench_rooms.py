"""The scenarios about what a room means, small, against the real engine: exact totals, what is withheld, who comes and goes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import PATIENCE, ROOT

OVERLOAD = ("overload", "--viewers", "20", "--senders", "10", "--rate", "1000", "--seconds", "2")
RUNS: dict[str, tuple[str, ...]] = {
    "reactions": ("reactions", "--viewers", "60", "--senders", "60", "--rate", "60000", "--seconds", "2", "--processes", "2"),
    "presence": ("presence", "--viewers", "5", "--rate", "50", "--seconds", "1", "--bursts", "3", "--notable-share", "0.1"),
    "quality": ("quality", "--viewers", "120", "--seconds", "1", "--bursts", "2", "--rate", "20", "--processes", "2"),
    "newest": (*OVERLOAD, "--withhold", "newest"),
    "sampled": (*OVERLOAD, "--withhold", "sampled", "--codec", "json"),
    "authors": (*OVERLOAD, "--withhold", "authors", "--processes", "2"),
    "two nodes": (*OVERLOAD, "--nodes", "2", "--broker", "redis"),
    "levels": (*OVERLOAD, "--withhold", "levels"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """All at once: they mostly wait."""
    started = {}
    for name, options in RUNS.items():
        record = tmp_path_factory.mktemp(name) / "record.json"
        command = [sys.executable, "-m", "bench.cli", "run", *options, "--json", str(record)]
        started[name] = (subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True), record)
    yield started
    for process, _ in started.values():
        process.terminate()
        process.communicate()


def outcome(outcomes: dict[str, tuple[subprocess.Popen[str], Path]], name: str) -> dict[str, Any]:
    process, path = outcomes[name]
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    record: dict[str, Any] = json.loads(path.read_text())
    assert record["verified"]
    assert record["certificate"]["bytes_read"] == record["certificate"]["bytes_written"] > 0
    return record


def test_taps_are_exact_at_every_viewer_and_cost_few_batches(outcomes: dict[str, Any]) -> None:
    record = outcome(outcomes, "reactions")
    assert (record["certificate"]["likes"], record["certificate"]["reactions"]) == (96_000, 24_000)
    assert record["figures"]["counter_batches"] <= record["figures"]["seconds"] + 3


def test_visitors_come_and_go_and_the_notable_ones_are_told(outcomes: dict[str, Any]) -> None:
    record = outcome(outcomes, "presence")
    assert record["figures"]["visits"] == 150
    # Fifteen moderators come and go before those who stay.
    assert record["certificate"]["delivered"] >= 15 * 2 * 5


def test_what_viewers_report_is_what_the_engine_adds_up(outcomes: dict[str, Any]) -> None:
    # The run itself compares both sides.
    figures = outcome(outcomes, "quality")["figures"]
    assert figures["reports"] == 2 * 120 / 30


@pytest.mark.parametrize("rule", ["newest", "sampled", "authors", "levels", "two nodes"])
def test_what_a_room_withholds_adds_up_at_every_viewer(outcomes: dict[str, Any], rule: str) -> None:
    record = outcome(outcomes, rule)
    certificate, figures = record["certificate"], record["figures"]
    assert certificate["offered"] == certificate["accepted"] + certificate["withheld_comments"]["events"] == 2_000 + 10
    assert certificate["notices"] == 10
    # A second's worth at first, then what comes anew; the host's notices are not limited.
    assert 200 <= certificate["accepted"] <= 1_500
    assert certificate["delivered"] >= certificate["accepted"] * 20
    assert figures["accepted_least"] <= figures["accepted_share"] <= figures["accepted_most"]
