"""Runs in which servers fail, against the real engine and real Redis servers: nothing is lost without a word, and whoever was
asked to fail did."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from runs import ROOT, Runs, started

from bench.faults import possible
from bench.load import FAULT_KINDS, Load
from bench.redisproc import RedisProcess
from bench.site import Backing

SMALL = ("--viewers", "40", "--senders", "4", "--rate", "20")
RUNS = {
    "everything": ("faults", *SMALL, "--broker", "redis", "--faults", "8", "--seed", "2"),
    "failover": ("faults", *SMALL, "--workers", "0", "--faults", "1", "--fault-kinds", "failover"),
    "one node": ("faults", *SMALL, "--nodes", "1", "--broker", "memory", "--faults", "4"),
    "two nodes": ("two-nodes", "--viewers", "60", "--senders", "6", "--seconds", "2"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with started(tmp_path_factory.mktemp("runs"), RUNS) as made:
        yield made


def test_nothing_is_lost_or_begun_anew_when_processes_a_redis_that_keeps_all_or_ways_fail(
    runs: Runs,
) -> None:
    record = runs.outcome("everything")
    kinds = {told["kind"] for told in record["faults"]}
    assert kinds == set(possible(Load(**record["load"]))) == set(FAULT_KINDS) - {"failover"}
    assert record["figures"]["faults"] == 8
    assert record["figures"]["recovery_max_ms"] > 0
    assert record["figures"]["returned"] > 0
    assert record["certificate"]["gaps"] == 0
    assert record["certificate"]["covered"] == 0


def test_a_failover_begins_a_new_epoch_and_everybody_is_told(runs: Runs) -> None:
    record = runs.outcome("failover")
    assert [told["kind"] for told in record["faults"]] == ["failover"]
    assert record["certificate"]["gaps"] >= record["viewers"]


def test_one_node_by_itself_survives_the_loss_of_its_processes(
    runs: Runs,
) -> None:
    record = runs.outcome("one node")
    assert {told["kind"] for told in record["faults"]} == {"edge", "hub", "hang", "pause"}


def test_what_two_nodes_ask_of_redis_is_counted(runs: Runs) -> None:
    record = runs.outcome("two nodes")
    figures = record["figures"]
    assert 0 < figures["broker_operations_per_message"] < 3
    assert figures["broker_bytes_out_per_message"] > 48
    assert figures["broker_bytes_in_per_message"] > 48
    assert figures["broker_cpu_us_per_message"] > 0


def test_what_can_fail_follows_from_what_there_is() -> None:
    assert possible(Load()) == []
    assert set(possible(Load(workers=2))) == {"edge", "hub", "hang", "pause"}
    assert "failover" not in possible(Load(broker="redis"))
    assert set(possible(Load(workers=1, broker="sentinel"))) == set(FAULT_KINDS)


def test_faults_that_cannot_be_are_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.cli", "run", "faults", "--broker", "redis", "--fault-kinds", "failover"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "failover" in done.stderr


def test_a_way_can_be_cut_and_slowed() -> None:
    with Backing("redis", by_detours=True) as backing:
        assert backing.detours is not None
        port = int(backing.url.rpartition(":")[2])
        assert port != backing.primary.port
        by_detour = RedisProcess(Path(), port=port)
        assert by_detour.ask("PING") == b"PONG"
        backing.detours.slow(0, 50)
        began = time.monotonic()
        assert by_detour.ask("PING") == b"PONG"
        assert time.monotonic() - began >= 0.1
        backing.detours.slow(0, 0)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(10)
            connection.sendall(b"PING\r\n")
            assert connection.recv(100) == b"+PONG\r\n"
            backing.detours.cut(0)
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        assert by_detour.ask("PING") == b"PONG"


def test_a_load_with_faults_survives_being_written_down() -> None:
    load = Load(faults=3, fault_kinds={"edge": 1.0}, nodes=2, broker="redis", workers=1)
    assert Load(**json.loads(json.dumps(asdict(load)))) == load
