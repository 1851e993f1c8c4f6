"""Whole comparisons: real servers, real generator processes, few viewers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from bench.leash import leash
from bench.peers.base import Adapter, Launch
from bench.peers.catalogue import ADAPTERS, CentrifugoServer, Websockets
from bench.peers.command import peers
from bench.peers.match import compare, play, play_slow
from bench.peers.record import Burst, Comparison, Peer, Slow, Verdict
from bench.peers.stage import Load
from bench.peers.table import print_comparison
from bench.report.show import Show

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VIEWERS, MESSAGES = 20, 10
LOAD = Load(viewers=VIEWERS, messages=MESSAGES, rounds=1, stall_seconds=0.5, slow_rate=0)
app = typer.Typer()
app.command()(peers)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generator and servers are processes and find the packages by the path, wherever the tests run from."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def show() -> Show:
    """One that nobody sees."""
    return Show(Console(quiet=True))


class Scripted(Websockets):
    """A peer whose server is a script of the tests."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def start(self, directory: Path, port: int) -> Launch:
        return Launch(command=(sys.executable, *self._arguments, str(port)))


def test_the_engine_and_two_peers_are_compared_and_every_delivery_is_verified(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    options = ["--viewers", "20", "--messages", "10", "--rounds", "1", "--slow-rate", "0", "--json", str(record)]
    result = CliRunner().invoke(app, [*options, "--only", "websockets", "--only", "trio-websocket"])
    assert result.exit_code == 0, result.output
    found = json.loads(record.read_text())
    assert [peer["name"] for peer in found["peers"]] == ["roomcast", "websockets", "trio-websocket"]
    for peer in found["peers"]:
        assert (peer["status"], peer["note"]) == ("done", "")
        assert peer["version"]
        assert peer["join_cpu_us"] > 0
        for kind in ("unbatched", "batched"):
            burst = peer[kind]
            assert burst["verdict"]["status"] == "verified"
            assert (burst["rounds"], burst["deliveries"]) == (1, VIEWERS * MESSAGES)
            assert burst["bytes_per_delivery"] > 100
            assert burst["deliveries_per_core_second"] > 0
            assert burst["engine_factor"] > 0
        assert peer["slow"] is None
    engine, *others = found["peers"]
    assert engine["unbatched"]["engine_factor"] == 1
    for peer in others:
        assert peer["unbatched"]["frames"] == VIEWERS * MESSAGES
        assert peer["batched"]["frames"] == VIEWERS
        assert peer["unbatched"]["verdict"]["common_order"]
        assert peer["name"] in result.output


def test_what_a_viewer_loses_who_stopped_reading_is_told_apart_from_what_the_others_get() -> None:
    """The engine's log is shorter than what was sent: a gap, which it tells. The limit keeps everything in memory."""
    load = replace(LOAD, viewers=5, slow_rate=1500.0)
    engine = play_slow(ADAPTERS[0], load, show())
    assert (engine.verdict.status, engine.viewers, engine.slow, engine.closed) == ("verified", 5, 1, 0)
    assert engine.sent_bytes >= 4 * engine.kernel_bytes
    assert engine.lost == engine.admitted > 0
    assert engine.loses.endswith("is told")
    other = play_slow(ADAPTERS[1], replace(load, processes=2), show())
    assert (other.verdict.status, other.lost, other.closed, other.loses) == ("verified", 0, 0, "nothing")
    assert other.memory_growth_bytes > other.sent_bytes / 4


def test_a_server_that_drops_one_delivery_and_doubles_another_is_caught() -> None:
    peer = play(Scripted(str(HERE / "broken_peer.py")), LOAD, show())
    assert peer.status == "stalled"
    assert peer.unbatched is not None
    assert peer.batched is not None
    assert peer.batched.verdict.status == "verified"
    verdict = peer.unbatched.verdict
    assert (verdict.status, verdict.lost, verdict.doubled) == ("stalled", 1, 1)
    assert (verdict.reordered, verdict.altered, verdict.closed) == (0, 0, 0)
    assert not verdict.common_order


def test_peers_that_are_not_installed_or_do_not_start_are_listed_and_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    adapters: list[Adapter] = [CentrifugoServer(), Scripted("-c", "raise SystemExit('out of order')")]
    result = compare(adapters, LOAD, show())
    assert [peer.status for peer in result.peers] == ["not installed", "failed"]
    assert "https://" in result.peers[0].note
    assert "out of order" in result.peers[1].note
    printed = Console(record=True, width=200, quiet=True)
    print_comparison(result, printed)
    assert not result.partial


def test_the_tables_name_who_is_missing_and_who_failed(capsys: pytest.CaptureFixture[str]) -> None:
    lossy = Slow(slow=1, messages=9, lost=4)
    lossy.loses = lossy.words()
    faulty = Verdict(status="faulty", lost=3, common_order=False)
    result = Comparison(
        viewers=10,
        messages=5,
        rounds=1,
        body_bytes=100,
        seed=1,
        partial=True,
        peers=[
            Peer(name="gone", what="", link="", status="not installed", note="apt install gone"),
            Peer(name="hasty", what="", link="", unbatched=Burst(verdict=faulty), slow=lossy),
        ],
    )
    print_comparison(result, Console(width=120))
    output = capsys.readouterr().out
    assert "gone: not installed. apt install gone" in output
    assert "hasty, unbatched: faulty; 3 lost; viewers saw different orders" in output
    assert "4 of 9, silently" in output
    assert "Interrupted" in output


def test_names_differ_and_each_peer_says_where_its_advice_is_from() -> None:
    assert len({adapter.name for adapter in ADAPTERS}) == len(ADAPTERS)
    assert all(adapter.what and adapter.link for adapter in ADAPTERS)


def test_a_burst_too_large_for_one_message_is_refused() -> None:
    result = CliRunner().invoke(app, ["--messages", "1000", "--body-bytes", "16000"])
    assert result.exit_code == 2
    assert "--body-bytes" in result.output


class Interrupted(Websockets):
    """Somebody presses Ctrl-C while it plays."""

    def start(self, directory: Path, port: int) -> Launch:
        raise KeyboardInterrupt


def test_an_interrupt_leaves_the_peers_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    result = compare([CentrifugoServer(), Interrupted(), Websockets()], LOAD, show())
    assert result.partial
    assert [peer.name for peer in result.peers] == ["centrifugo"]


def test_ctrl_c_ends_the_command_with_a_record(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    code = "import typer; from bench.peers.command import peers; typer.run(peers)"
    options = ["--viewers", "5", "--messages", "5", "--rounds", "1000", "--only", "roomcast", "--json", str(record)]
    with subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        joined = next(line for line in process.stdout if "of" in line)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert "5 of 5" in joined
    assert "Interrupted" in rest
    assert process.returncode == 130
    assert json.loads(record.read_text())["partial"]


def test_a_server_ends_with_its_parent() -> None:
    code = (
        "import os, subprocess, sys; from bench.leash import leash\n"
        "child = subprocess.Popen(leash(os.getpid(), (sys.executable, '-c', 'import signal; print(1, flush=True);"
        " signal.pause()')), stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        descriptor = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            ended, _, _ = select.select([descriptor], [], [], 20)
        finally:
            os.close(descriptor)
    assert ended


def test_a_leash_does_not_start_what_has_no_parent_any_more() -> None:
    done = subprocess.run(leash(1, (sys.executable, "-c", "print('started')")), capture_output=True, check=False)
    assert done.returncode != 0
    assert not done.stdout
