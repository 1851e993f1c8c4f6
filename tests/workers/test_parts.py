"""The parts of a node of several processes that need no process: sums, places in the file system, log lines, the channel."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from engine.edge import EdgeStatistics
from engine.errors import RoomcastError
from engine.hub import HubStatistics
from engine.hub.money import MoneyStatistics
from engine.hub.quality import QualityStatistics
from engine.ledger.lane import LaneStatistics
from engine.settings import LogSettings, NodeSettings, Settings
from engine.timing import Pause
from engine.totals import summed
from engine.workers import lines
from engine.workers.channel import Admit, Beat, Channel, Ended, Halt, Halted, Leave, Order, Ready, Report, Start
from engine.workers.rundir import RunDirectory, ask_to_restart, directory_of, find_supervisor

# -- totals -----------------------------------------------------------------------------------------------------------


def test_numbers_are_added_and_tables_by_key() -> None:
    one = {"connections": 2, "handshakes": 10, "seconds": 0.5, "closed": {"1000": 3}}
    two = {"connections": 1, "handshakes": 5, "seconds": 0.25, "closed": {"1000": 1, "4000": 2}}
    total = {"connections": 3, "handshakes": 15, "seconds": 0.75, "closed": {"1000": 4, "4000": 2}}
    assert summed([one, two]) == total
    assert summed([one], [two]) == total | {"connections": 2}
    assert summed([], [summed([], [one]), two]) == total | {"connections": 0}
    assert summed([]) == {}


@pytest.mark.parametrize("kind", [EdgeStatistics, HubStatistics])
def test_statistics_can_be_added(kind: type[EdgeStatistics | HubStatistics]) -> None:
    types = {"int", "float", "dict[int, int]", "dict[str, int]", "dict[str, Any]"}
    parts = {"MoneyStatistics", "AskingStatistics", "WebhookStatistics", "QualityStatistics"}
    assert {field.type for field in dataclasses.fields(kind)} <= types | parts
    assert {field.type for field in dataclasses.fields(MoneyStatistics)} <= types | {"LaneStatistics"}
    assert {field.type for field in dataclasses.fields(QualityStatistics)} <= types
    assert {field.type for field in dataclasses.fields(LaneStatistics)} <= types | {"str"}


def test_of_what_cannot_be_added_the_largest_and_the_last_count() -> None:
    one = {"lane": {"booked": 3, "waiting": 2, "group_max": 7, "commit_p99_ms": 1.5, "ledger": "closed"}}
    two = {"lane": {"booked": 4, "waiting": 1, "group_max": 5, "commit_p99_ms": 2.5, "ledger": "open"}}
    total = {"lane": {"booked": 7, "waiting": 3, "group_max": 7, "commit_p99_ms": 2.5, "ledger": "open"}}
    assert summed([one, two]) == total
    assert summed([two], [one]) == {"lane": total["lane"] | {"waiting": 1}}


# -- run directory ----------------------------------------------------------------------------------------------------


def test_the_run_directory_is_private_and_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "a" / "run")
    with directory.entered() as listener, directory.announced(4711):
        assert listener.getsockname() == directory.socket_path
        for path in (tmp_path / "a" / "run", Path(directory.socket_path).parent):
            assert path.stat().st_mode & 0o777 == 0o700
        assert find_supervisor(tmp_path / "a" / "run", 4711) == os.getpid()
        assert find_supervisor(tmp_path / "a" / "run", 0) == os.getpid()
        with pytest.raises(RoomcastError, match=r"serves port 4712.*4711"):
            find_supervisor(tmp_path / "a" / "run", 4712)
        with pytest.raises(RoomcastError, match="another node"), directory.announced(4711):
            raise AssertionError("two nodes on a port")
    assert not list((tmp_path / "a" / "run").iterdir())


def test_what_a_killed_supervisor_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    for pid in (process.pid, os.getpid()):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "hub.sock").touch()
    (tmp_path / "8765.pid").write_text(f"{process.pid}\n")
    (tmp_path / "1").mkdir()
    tmp_path.chmod(0o700)
    with pytest.raises(RoomcastError, match="no node with workers serves port 8765"):
        find_supervisor(tmp_path, 8765)
    with RunDirectory(tmp_path).entered():
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["1", str(os.getpid()), "8765.pid"])


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(RoomcastError, match=r"node\.run_directory.*chmod 700"), RunDirectory(tmp_path).entered():
        raise AssertionError("it was used")


def test_a_directory_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for path in (tmp_path / "file" / "run", tmp_path / "file", link, tmp_path / ("x" * 120)):
        with pytest.raises(RoomcastError, match=r"node\.run_directory"), RunDirectory(path).entered():
            raise AssertionError("it was used")


def test_the_usual_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert directory_of(str(tmp_path)) == tmp_path
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert directory_of("") == tmp_path / "roomcast"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert directory_of("").name == f"roomcast-{os.getuid()}"


def test_nobody_but_a_supervisor_is_asked_to_restart() -> None:
    # The signal would end this process.
    for pid in (os.getpid(), 4_190_000):
        with pytest.raises(RoomcastError, match="no supervisor"):
            ask_to_restart(pid)


# -- log lines, channel, pauses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_line_holds_the_event_its_facts_and_the_process(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        lines.configure(LogSettings(level="warning", format=form), "edge")  # type: ignore[arg-type]  # one of the two
        logging.getLogger("roomcast.test").info("not_this")
        logging.getLogger("roomcast.test").warning("hub_lost", extra={"room": "大厅"})
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("roomcast.test").exception("failed")
    finally:
        root.handlers = handlers
        root.setLevel(level)
    written = stream.getvalue()
    assert "not_this" not in written
    if form == "console":
        assert "hub_lost" in written
        assert "room=大厅 role=edge" in written
        return
    first, second = map(json.loads, written.splitlines())
    assert first["timestamp"].endswith("Z")
    del first["timestamp"]
    assert first == {
        "room": "大厅",
        "role": "edge",
        "pid": os.getpid(),
        "event": "hub_lost",
        "level": "warning",
        "logger": "roomcast.test",
    }
    assert "ValueError: why" in second["exception"]


async def test_what_is_said_over_the_channel_comes_out_as_it_went_in() -> None:
    ours, theirs = socket.socketpair()
    up, down = Channel(ours, Report), Channel(theirs, Order)
    start = Start(Settings(node=NodeSettings(workers="auto")), "/run/hub.sock", [3, 4], "node", 1, waits=True)
    with trio.fail_after(30):
        for order in (start, Admit(), Leave(), Halt()):
            await up.send(order)
            assert await down.receive() == order
        for report in (Ready(5, 2), Beat(), Halted(), Ended({"edge": {"1000": 1}})):
            await down.send(report)
            assert await up.receive() == report
        down.close()
        assert await up.receive() is None
        await up.send(Halt())
        up.close()
        assert await up.receive() is None


async def test_nonsense_on_the_channel_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours, Report)
    with theirs:
        theirs.sendall(b'{"type": "sing"}\n')
        assert await channel.receive() is None
    channel.close()
    assert [record.message for record in caplog.records] == ["channel_broken"]


def test_pauses_grow_to_a_limit_and_begin_anew() -> None:
    pause = Pause(1.0, 8.0)
    for ceiling in (1, 2, 4, 8, 8, 8):
        assert ceiling / 2 <= pause.seconds() <= ceiling
    pause.reset()
    assert pause.seconds() <= 1
