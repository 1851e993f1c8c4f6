"""`roomcast key`: what it prints can be used as it stands."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.api.callers import KEY_PREFIX, ApiCallers
from engine.cli import app
from engine.config import load
from engine.hooks.signing import keys_of


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["key", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_lines_let_the_key_in(tmp_path: Path) -> None:
    arguments = ["--name", "网页", "--scope", "publish", "--scope", "rooms:read", "--room", 'a"b', "--room", "live-*"]
    done = CliRunner().invoke(app, ["key", *arguments])
    key = done.stderr.split()[-1]
    assert key.startswith(KEY_PREFIX)
    assert len(key) == len(KEY_PREFIX) + 43
    file = tmp_path / "roomcast.toml"
    file.write_text(done.stdout, encoding="utf-8")
    settings = load(file, environ={})
    caller = ApiCallers(lambda: settings).identify(f"Bearer {key}", "")
    assert (caller.name, sorted(caller.scopes), caller.rooms) == ("网页", ["publish", "rooms:read"], ('a"b', "live-*"))
    assert key not in file.read_text(encoding="utf-8")


def test_a_key_is_for_everything_unless_said_otherwise() -> None:
    told = json.loads(run("--json"))
    assert (told["scopes"], told["rooms"], told["name"]) == (["*"], ["*"], "backend")
    assert json.loads(run("--json"))["key"] != told["key"]


def test_a_secret_for_what_is_sent() -> None:
    assert keys_of(tomllib.loads(run("--webhooks"))["hooks"]["secret"])
    assert keys_of(json.loads(run("--webhooks", "--json"))["secret"])


@pytest.mark.parametrize("arguments", [["--scope", "all"], ["--name", ""], ["--name", "x" * 65], ["--name", "a\nb"]])
def test_what_no_key_can_have_is_refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["key", *arguments])
    assert done.exit_code == 2
    assert "rc_" not in done.output
