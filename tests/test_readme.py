"""What README shows of a room is true: its program runs, its requests are requests, its calls exist."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.backend import Room
from engine.client import Client
from engine.config import load
from engine.node import Node
from engine.schema import JSON
from engine.settings import WordList

sys.path.insert(0, str(Path(__file__).parent))
from readme import ROOT, block

README = (ROOT / "README.md").read_text("utf-8")
ROOM = README[README.index("## What a room can do") : README.index("## Tuning")]


def test_the_configuration_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("加微信\n", encoding="utf-8")
    Path("live.toml").write_text(block("live.toml"), encoding="utf-8")
    settings = load(Path("live.toml"))
    assert list(settings.feeds) == ["readable", "host"]
    assert settings.moderation.lists == (WordList(file="words.txt", action="hold"),)


def run(name: str, directory: Path) -> str:
    program = [sys.executable, "-c", block(name)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, cwd=directory, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_runs(tmp_path: Path) -> None:
    assert "Moderated(" in run("room.py", tmp_path)


def test_the_program_about_money_runs(tmp_path: Path) -> None:
    (tmp_path / "money.toml").write_text(block("money.toml"), encoding="utf-8")
    *shares, givers = run("money.py", tmp_path).splitlines()
    assert sum(int(share.split()[1]) for share in shares) == 100
    assert "user='anna'" in givers
    assert "given=70" in givers
    assert (tmp_path / "evening.db").exists()


REQUESTS = re.findall(r"`(\[\d+, .*?\])`", ROOM) + re.findall(r"^→ (\[.*?\]) ", ROOM, re.MULTILINE)


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_requests_are_requests(request_: str) -> None:
    message = json.loads(re.sub(r"\bh\b", "15320498277187", request_.replace("g-mZ0u…", "g-mZ0u" + "x" * 16)))
    JSON.decode(json.dumps(message).encode())


def test_there_are_as_many_as_there_should_be() -> None:
    assert len(REQUESTS) > 20


@pytest.mark.parametrize(("name", "kind"), [("room", Room), ("viewer", Client), ("node", Node)])
def test_the_calls_exist(name: str, kind: type) -> None:
    called = set(re.findall(rf"\b{name}\.(\w+)\(", ROOM))
    assert called
    assert called <= {each for each, _ in inspect.getmembers(kind)}, called
