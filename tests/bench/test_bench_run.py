"""Whole runs of the command line: real generator processes against a server that keeps the protocol or breaks it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.engineproc import EngineError, merge, read_config, to_toml
from bench.fleet import split
from bench.generator.sender import sender_indexes

FAKE = Path(__file__).with_name("fake_server.py")
ROOT = FAKE.parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake server is a script and finds the packages by the path, wherever the tests run from."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def bench(tmp_path: Path, scenario: str, *options: str, **numbers: float) -> tuple[int, Any, str]:
    """Run a scenario and return the exit status, the record and the output."""
    record = tmp_path / "record.json"
    arguments = ["run", scenario, *options, "--json", str(record), "--stall-seconds", "0.3"]
    arguments += ["--engine", f"{sys.executable} {FAKE}"]
    for name, number in numbers.items():
        arguments += [f"--{name.replace('_', '-')}", str(number)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(record.read_text()), result.output


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_burst_is_delivered_and_verified(tmp_path: Path, codec: str) -> None:
    status, record, output = bench(tmp_path, "burst", "--codec", codec, viewers=40, senders=10, processes=2)
    assert status == 0, output
    assert record["verified"]
    assert (record["messages_sent"], record["deliveries"], record["deliveries_expected"]) == (10, 400, 400)
    assert (record["lost"], record["duplicated"], record["reordered"]) == (0, 0, 0)
    assert record["latency_ms"]["p50"] > 0
    assert record["engine_cpu_seconds"] > 0
    assert record["generator_cpu_seconds"] > 0


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
    "close": "closed",
    "refuse": "refused",
}


@pytest.fixture(scope="module")
def broken_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """One run for each fault, all at once: they mostly wait."""
    runs = {}
    for fault in CAUGHT:
        record = tmp_path_factory.mktemp(fault) / "record.json"
        command = [sys.executable, "-m", "bench.cli", "run", "steady", "--viewers", "6", "--senders", "4"]
        command += ["--rate", "400", "--seconds", "0.2", "--stall-seconds", "2", "--json", str(record)]
        command += ["--engine", f"{sys.executable} {FAKE} --break {fault}"]
        runs[fault] = (subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True), record)
    yield runs
    for process, _ in runs.values():
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("fault", CAUGHT)
def test_broken_server_is_caught(broken_runs: dict[str, tuple[subprocess.Popen[str], Path]], fault: str) -> None:
    process, path = broken_runs[fault]
    output, _ = process.communicate(timeout=60)
    record = json.loads(path.read_text())
    assert process.returncode == 1
    assert not record["verified"]
    assert CAUGHT[fault] in record["fault_counts"], output
    assert any(line.startswith(f"{CAUGHT[fault]}: viewer ") for line in record["faults"])
    assert "Verification failed" in output


def test_ingest_and_likes_reach_their_totals(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, "ingest", viewers=3, senders=3, messages=300)
    assert status == 0, output
    assert (record["messages_sent"], record["deliveries"]) == (300, 900)
    assert record["engine_cpu_us_per_message"] > 0
    status, record, output = bench(tmp_path, "ingest", "--likes", viewers=3, senders=3, messages=300)
    assert status == 0, output
    assert record["extra"]["likes_counted"] == 300


def test_many_rooms_subtracts_what_ingest_costs(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, "many-rooms", viewers=4, rooms=5, rate=50, seconds=0.2, processes=2)
    assert status == 0, output
    assert record["deliveries"] == 10 * 5 * 4
    assert record["engine_cpu_us_per_further_frame"] is not None


@pytest.mark.parametrize("scenario", ["join", "idle"])
def test_join_and_idle_measure_memory(tmp_path: Path, scenario: str) -> None:
    status, record, output = bench(tmp_path, scenario, viewers=20, seconds=0.2)
    assert status == 0, output
    assert record["handshake_cpu_us"] > 0
    assert record["rss_bytes_per_viewer"] is not None


def test_server_without_a_lag_policy_fails_the_slow_scenario(tmp_path: Path) -> None:
    config = tmp_path / "lag.toml"
    config.write_text("[room]\nlag_seconds = 0.1\n")
    options = ("--config", str(config), "--slow-share", "0.1")
    status, record, output = bench(tmp_path, "slow", *options, viewers=20, senders=2, rate=2000, seconds=0.2)
    assert status == 1
    assert record["fault_counts"] == {"lag": 1}, output
    assert record["extra"]["slow_viewers"] == 2


def test_ctrl_c_leaves_a_partial_report(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "bench.cli", "run", "steady", "--viewers", "5", "--senders", "2", "--seconds", "60"]
    command += ["--engine", f"{sys.executable} {FAKE}", "--json", str(record)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("joining: 5")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "partial" in output
    assert json.loads(record.read_text())["partial"]


def test_engine_that_does_not_start_is_told() -> None:
    result = CliRunner().invoke(app, ["run", "join", "--viewers", "1", "--engine", f"{sys.executable} -c pass"])
    assert result.exit_code == 1
    assert "ended with status" in result.output


def test_list_names_every_scenario() -> None:
    result = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for name in ("burst", "steady", "join", "ingest", "many-rooms", "slow", "idle"):
        assert name in result.output


def test_config_file_wins_and_survives_toml(tmp_path: Path) -> None:
    merged = merge({"edge": {"port": 0, "origins": ["a"]}, "room": {"x": 1.5}}, {"edge": {"port": 5}})
    path = tmp_path / "c.toml"
    path.write_text(to_toml(merged))
    assert read_config(path) == {"edge": {"port": 5, "origins": ["a"]}, "room": {"x": 1.5}}
    path.write_text("[")
    with pytest.raises(EngineError):
        read_config(path)


def test_viewers_and_senders_are_spread_evenly() -> None:
    assert split(10, 3) == [range(3), range(3, 6), range(6, 10)]
    assert split(2, 5) == [range(1), range(1, 2)]
    assert sender_indexes(2, 10, 1) == (0, 5)
    assert sender_indexes(2, 10, 2) == (0, 10, 5, 15)
