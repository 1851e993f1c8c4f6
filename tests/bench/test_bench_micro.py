"""The micro benchmarks' cases do what they say; how long they take is nobody's assertion."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.micro import CASES
from engine import ws
from engine.room.batcher import Collected
from engine.schema import Comment


@pytest.mark.parametrize("name", CASES)
def test_a_case_can_be_called_again_and_again(name: str) -> None:
    call = CASES[name].make(random.Random(1))
    for _ in range(2 if CASES[name].itself else 50):
        call()


def test_cases_do_the_work_that_they_time() -> None:
    made = {name: case.make(random.Random(1))() for name, case in CASES.items()}
    assert isinstance(made["decode"], Comment)
    assert isinstance(made["handshake"], ws.Accepted)
    assert isinstance(made["gather"], Collected)
    parsed = made["parse-10"]
    assert isinstance(parsed, list)
    assert len(parsed) == CASES["parse-10"].units == 10
    encoded = made["encode-100-deflate"]
    assert isinstance(encoded, dict)
    assert set(encoded) == {0, 2}
    assert len(encoded[2]) < len(encoded[0])
    found = made["find"]
    assert isinstance(found, list)
    assert None not in found
    for name, action in (("words-chinese", ""), ("words-english", ""), ("words-chinese-match", "mask")):
        verdicts = made[name]
        assert isinstance(verdicts, list)
        assert len(verdicts) == CASES[name].units
        assert {verdict.action for verdict in verdicts} == {action}
    assert made["words-add"] == (100,)
    assert isinstance(made["words-reload"], float)


def test_the_command_prints_and_writes_every_case_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "micro.json"
    result = CliRunner().invoke(app, ["micro", "decode", "append", "--rounds", "1", "--json", str(file)])
    assert result.exit_code == 0
    assert "decode" in result.output
    assert set(json.loads(file.read_text(encoding="utf-8"))) == {"decode", "append"}


def test_an_unknown_case_is_refused() -> None:
    assert CliRunner().invoke(app, ["micro", "nothing"]).exit_code == 2
