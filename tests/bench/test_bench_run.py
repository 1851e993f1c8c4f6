"""Whole runs of the command line: real generator processes against a server that keeps the protocol."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import OVERLOAD, ROOT, TAPS
from typer.testing import CliRunner

from bench.children import split
from bench.cli import app
from bench.engineproc import EngineError, merge, read_config, to_toml
from bench.scenario import shipped

FAKE = Path(__file__).with_name("fake_server.py")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake server is a script and finds the packages by the path, wherever the tests run from."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def bench(tmp_path: Path, scenario: str, *options: str, **numbers: float) -> tuple[int, Any, str]:
    """Run a scenario and return the exit status, the record and the output."""
    record = tmp_path / "record.json"
    arguments = ["run", scenario, *options, "--json", str(record), "--stall-seconds", "10"]
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
    figures, certificate = record["figures"], record["certificate"]
    assert (figures["messages_sent"], figures["deliveries"], figures["frames"]) == (10, 400, 40 * figures["frames_per_viewer"])
    assert (certificate["expected"], certificate["delivered"]) == (400, 400)
    assert (certificate["lost"], certificate["doubled"], certificate["reordered"]) == (0, 0, 0)
    assert certificate["connections_closed"] == certificate["connections"] == 40
    assert certificate["bytes_read"] == certificate["bytes_written"] > 0
    assert figures["latency_p50_ms"] > 0
    assert figures["engine_cpu_seconds"] > 0
    assert figures["generator_cpu_seconds"] > 0
    assert sum(window["deliveries"] for window in record["windows"]) == 400
    assert record["latency_curve"][-1][0] == 1.0


def test_taps_are_summed_and_told_exactly(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, TAPS[0], *TAPS[1:])
    assert status == 0, output
    assert (record["certificate"]["likes"], record["certificate"]["reactions"]) == (480, 120)
    assert record["figures"]["counter_batches"] >= 1


def test_what_is_withheld_adds_up_and_notices_arrive(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, OVERLOAD[0], *OVERLOAD[1:])
    assert status == 0, output
    certificate = record["certificate"]
    assert certificate["withheld_comments"] == {"events": 100}
    assert (certificate["offered"], certificate["accepted"], certificate["notices"]) == (220, 120, 20)
    assert certificate["delivered"] == 120 * 6
    assert record["figures"]["accepted_share"] == pytest.approx(0.5)


def test_visits_are_told_apart_from_bare_handshakes(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, "presence", viewers=2, rate=20, seconds=1, bursts=2)
    assert status == 0, output
    assert record["figures"]["visits"] == 40
    assert record["certificate"]["connections_closed"] == record["certificate"]["connections"] == 2 + 80


def test_a_server_without_a_fault_passes_and_its_likes_are_counted(tmp_path: Path) -> None:
    options = ("--kinds", "comment=0.8,like=0.2")
    status, record, output = bench(tmp_path, "steady", *options, viewers=6, senders=4, rate=400, seconds=0.2)
    assert status == 0, output
    assert record["certificate"]["likes"] == 80 - record["figures"]["deliveries"] / 6


def test_flood_and_likes_reach_their_totals(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, "ingest", viewers=3, senders=3, messages=300)
    assert status == 0, output
    assert (record["figures"]["messages_sent"], record["figures"]["deliveries"]) == (300, 900)
    assert record["figures"]["engine_cpu_us_per_message"] > 0
    status, record, output = bench(tmp_path, "likes", "--kinds", "like", viewers=3, senders=3, messages=300)
    assert status == 0, output
    assert record["certificate"]["likes"] == 300


def test_many_rooms_subtracts_what_one_viewer_costs(tmp_path: Path) -> None:
    options = {"viewers": 4, "rooms": 5, "rate": 50, "seconds": 0.2, "processes": 2}
    status, record, output = bench(tmp_path, "many-rooms", "--no-shrink", **options)
    assert status == 0, output
    assert record["figures"]["deliveries"] == 10 * 5 * 4
    assert "engine_cpu_us_per_further_frame" in record["figures"]


def test_a_load_shrinks_to_the_places_that_the_engine_has(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, "many-rooms", viewers=4, rooms=50, rate=50, seconds=0.1)
    assert status == 0, output
    assert record["load"]["rooms"] == 7
    assert "7 rooms of 4 instead of 50" in output


def test_rooms_of_all_sizes_and_realistic_texts(tmp_path: Path) -> None:
    options = ("--tail", "1.2", "--compression")
    status, record, output = bench(tmp_path, "steady", *options[:2], viewers=5, rooms=6, senders=2, rate=20, seconds=0.3)
    assert status == 0, output
    assert record["viewers"] == 30


@pytest.mark.parametrize("scenario", ["join-storm", "idle"])
def test_joining_and_silence_measure_memory(tmp_path: Path, scenario: str) -> None:
    status, record, output = bench(tmp_path, scenario, viewers=20, seconds=0.2)
    assert status == 0, output
    assert record["figures"]["engine_cpu_us_per_join"] > 0
    assert "engine_bytes_per_viewer" in record["figures"]


def test_rounds_give_medians_and_one_certificate(tmp_path: Path) -> None:
    status, record, output = bench(tmp_path, "steady", "--rounds", "3", viewers=4, senders=2, rate=100, seconds=0.1)
    assert status == 0, output
    cpu = sorted(each["engine_cpu_seconds"] for each in record["rounds"])
    assert record["figures"]["engine_cpu_seconds"] == cpu[1]
    assert record["certificate"]["expected"] == record["certificate"]["delivered"] == 3 * 10 * 4


def test_server_without_a_lag_policy_fails_the_slow_scenario(tmp_path: Path) -> None:
    config = tmp_path / "lag.toml"
    config.write_text("[room]\nlag_seconds = 0.1\n")
    options = ("--config", str(config), "--slow-share", "0.1")
    status, record, output = bench(tmp_path, "slow-viewers", *options, viewers=20, senders=2, rate=2000, seconds=0.2)
    assert status == 1
    assert record["certificate"]["fault_counts"] == {"lag": 1}, output
    assert record["figures"]["slow_viewers"] == 2


def test_a_scenario_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('text = "小房间"\nviewers = 3\nsenders = 3\nspeech = "burst"\n[engine.room]\nlag_seconds = 9.0\n')
    status, record, output = bench(tmp_path, str(path), bursts=2)
    assert status == 0, output
    assert (record["scenario"], record["text"], record["figures"]["messages_sent"]) == ("mine", "小房间", 6)
    assert record["config"]["room"] == {"lag_seconds": 9.0}


def test_ctrl_c_leaves_a_partial_report(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "bench.cli", "run", "steady", "--viewers", "5", "--senders", "2", "--seconds", "60"]
    command += ["--engine", f"{sys.executable} {FAKE}", "--json", str(record)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert next(line for line in lines if line.startswith("joining: 5"))
        assert next(line for line in lines if line.startswith("rate …"))
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "partial" in output
    left = json.loads(record.read_text())
    assert left["partial"]
    assert not left["verified"]
    assert "engine_cpu_us_per_join" in left["figures"]
    assert "seconds" in left["figures"]


def told(*arguments: str) -> tuple[int, str]:
    """Exit status and standard error of the command line as a process."""
    command = [sys.executable, "-m", "bench.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_engine_that_does_not_start_is_told() -> None:
    status, error = told("run", "join-storm", "--viewers", "1", "--engine", f"{sys.executable} -c pass")
    assert status == 1
    assert "ended with status" in error


def test_wrong_fields_are_all_told_at_once(tmp_path: Path) -> None:
    status, error = told("run", "burst", "--viewers", "x", "--rooms", "0", "--speech", "loud")
    assert status == 2
    assert all(f"--{name}: " in error for name in ("viewers", "rooms", "speech"))
    path = tmp_path / "s.toml"
    path.write_text("viewrs = 5")
    status, error = told("run", str(path))
    assert status == 2
    assert "did you mean viewers?" in error
    assert told("run", "no-such-scenario")[0] == 2


def test_list_names_every_scenario() -> None:
    result = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert {"burst", "steady", "join-storm", "reconnect-storm", "ingest", "likes", "soak"} <= set(shipped())
    for name in shipped():
        assert name in result.output


def test_config_file_wins_and_survives_toml(tmp_path: Path) -> None:
    merged = merge({"edge": {"port": 0, "origins": ["a"]}, "room": {"x": 1.5}}, {"edge": {"port": 5}})
    path = tmp_path / "c.toml"
    path.write_text(to_toml(merged))
    assert read_config(path) == {"edge": {"port": 5, "origins": ["a"]}, "room": {"x": 1.5}}
    path.write_text("[")
    with pytest.raises(EngineError):
        read_config(path)


def test_processes_share_the_viewers_evenly() -> None:
    assert split(10, 3) == [range(3), range(3, 6), range(6, 10)]
    assert split(2, 5) == [range(1), range(1, 2)]
