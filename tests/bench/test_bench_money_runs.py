"""Whole runs with money: against the engine; and against a server whose ledger is real, and which tells the truth about it or
does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import ROOT, started

FAKE = Path(__file__).with_name("fake_server.py")
SCENARIOS = {
    "gifts.toml": """
        viewers = 6
        senders = 3
        speech = "gifts"
        rate = 150.0
        seconds = 0.4
        [engine.ledger]
        spend = "free"
        [engine.gifts.heart]
        name = "小心心"
        price = 1
        combo_seconds = 0.3
        [engine.gifts."玫瑰🌹"]
        name = "玫瑰"
        price = 9
        combo_seconds = 0.3
    """,
    "rush.toml": """
        viewers = 30
        senders = 3
        speech = "rush"
        rate = 20.0
        seconds = 0.6
        claims = 120
        claim_seconds = 0.3
        packet_shares = 10
        packet_total = 1000
        [engine.ledger]
        spend = "free"
        guests = true
    """,
}
CAUGHT = {
    "unbooked": ("gifts.toml", {"paid", "money"}),
    "unshown": ("gifts.toml", {"paid", "ledger", "entries"}),
    "untold": ("gifts.toml", {"missing", "unpaid", "money"}),
    "told-twice": ("gifts.toml", {"twice", "sum", "money"}),
    "other-amount": ("gifts.toml", {"altered", "ledger"}),
    "overcharged": ("gifts.toml", {"altered"}),
    "combo-total": ("gifts.toml", {"combo", "ledger"}),
    "share-sum": ("rush.toml", {"share", "packet", "paid", "ledger"}),
    "share-twice": ("rush.toml", {"share", "packet", "ledger"}),
}
"""What a server may do with somebody's money, and what it is called."""
Broken = dict[str, tuple[subprocess.Popen[str], Path]]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with both."""
    directory = tmp_path_factory.mktemp("scenarios")
    for name, text in SCENARIOS.items():
        (directory / name).write_text(text, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def broken_runs(tmp_path_factory: pytest.TempPathFactory, scenarios: Path) -> Iterator[Broken]:
    """One run for each fault, all at once: they mostly wait."""
    runs = {}
    for fault, (scenario, _) in CAUGHT.items():
        record = tmp_path_factory.mktemp(fault) / "record.json"
        command = [
            sys.executable,
            "-m",
            "bench.cli",
            "run",
            str(scenarios / scenario),
            "--stall-seconds",
            "3",
            "--json",
            str(record),
        ]
        command += ["--engine", f"{sys.executable} {FAKE} --break {fault}"]
        runs[fault] = (subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True), record)
    yield runs
    for process, _ in runs.values():
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_server_that_is_wrong_about_money_is_caught(broken_runs: Broken, fault: str) -> None:
    process, path = broken_runs[fault]
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 1, output
    certificate = json.loads(path.read_text())["certificate"]
    assert CAUGHT[fault][1] <= set(certificate["fault_counts"]), output
    assert "Verification failed" in output


@pytest.fixture(scope="module")
def good_runs(tmp_path_factory: pytest.TempPathFactory, scenarios: Path) -> Iterator[Any]:
    fake = ("--engine", f"{sys.executable} {FAKE}")
    nodes = ("--ledger", "postgresql", "--nodes", "2", "--broker", "redis")
    gifts, rush = str(scenarios / "gifts.toml"), str(scenarios / "rush.toml")
    storms = {
        "gifts": (gifts, *fake, "--processes", "2"),
        "rush": (rush, *fake),
        "engine, gifts": (gifts, "--workers", "1", "--codec", "json", "--rooms", "2"),
        "engine, rush": (rush, "--processes", "2"),
        "two engines, gifts": (gifts, *nodes),
        "two engines, rush": (rush, *nodes),
    }
    with started(tmp_path_factory.mktemp("runs"), storms) as runs:
        yield runs


@pytest.mark.parametrize("name", ["gifts", "engine, gifts", "two engines, gifts"])
def test_gifts_are_conserved_at_every_receiver(good_runs: Any, name: str) -> None:
    record = good_runs.outcome(name)
    rooms = record["load"]["rooms"]
    money, figures = record["certificate"]["money"], record["figures"]
    assert (money["offered"], money["acknowledged"], money["gifts"]) == (60 * rooms, 60 * rooms, 60 * rooms)
    assert money["received_amount"] == money["due_amount"] == 6 * money["gifts_amount"] > 0
    assert money["entries"] == money["gifts"] + money["combos"]
    assert (figures["gifts_offered"], figures["gifts_acknowledged"], figures["gifts_refused"]) == (60 * rooms, 60 * rooms, 0)
    assert figures["paid_p50_ms"] <= figures["paid_p99_ms"] <= figures["paid_max_ms"]
    assert figures["engine_cpu_us_per_gift"] > 0
    assert record["certificate"]["expected"] == 6 * money["entries"]
    assert ("ledger_group_mean" in figures) == ("engine" in name)


@pytest.mark.parametrize("name", ["rush", "engine, rush", "two engines, rush"])
def test_a_red_packet_is_divided_exactly_and_the_room_goes_on(good_runs: Any, name: str) -> None:
    record = good_runs.outcome(name)
    money, figures = record["certificate"]["money"], record["figures"]
    assert (money["packets"], money["shares"], money["winners"], money["shares_amount"]) == (1, 10, 10, 1000)
    assert money["claims"] == 120 == money["winners"] + money["repeated"] + money["claims_dropped"]
    assert money["received_amount"] == money["due_amount"] == 30 * 1000
    assert figures["emptied_ms"] > 0
    assert figures["rush_latency_to_before"] > 0
    assert record["certificate"]["expected"] == 30 * (3 * 12 + 12)
