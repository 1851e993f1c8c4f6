"""The broker's own measurement: every event comes back, and its figures are of both sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.broker import BATCHES
from bench.cli import app


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_each_size_of_batch_is_published_and_measured(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rounds.json"
    arguments = ["broker", "--broker", kind, "--events", "500", "--text", "chinese", "--json", str(path)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    rounds = json.loads(path.read_text())
    assert [each["batch"] for each in rounds] == list(BATCHES)
    assert [each["events"] for each in rounds] == [50, 500, 500, 1_000]
    for each in rounds:
        assert each["events_per_second"] > 0
        assert each["cpu_us"] > 0
        assert (each["bytes_in"] > 10, each["bytes_out"] > 10) == (kind == "redis",) * 2
    assert "events/s" in result.output
