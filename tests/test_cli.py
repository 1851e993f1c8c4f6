"""The command line, as a user types it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import PATIENCE, ROOMCAST, Running, assert_calm, environment, roomcast, serving, typed
from tokenmaking import private, private_pem, token_key
from typer.testing import CliRunner

from engine.cli import app
from engine.settings import AccessSettings
from engine.tokens import Keyring

COMMANDS = (
    *("demo", "serve", "restart", "check", "init", "token", "tail", "say", "like", "react", "vote", "ask"),
    *("notice", "moderate", "state", "export", "replay"),
)
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A running node."""
    with serving() as url:
        yield url


# -- help -------------------------------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    done = roomcast("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", done.stdout)
        # In this process: a process each would take half a second.
        detail = CliRunner().invoke(app, [command, "--help"])
        assert detail.exit_code == 0
        assert "Usage" in detail.output


def test_without_a_command_it_helps() -> None:
    done = roomcast()
    assert "Usage" in done.stdout + done.stderr


def test_an_unknown_command_is_an_error() -> None:
    done = typed("sing")
    assert done.returncode == 2
    assert "sing" in done.stderr


def test_the_console_script_is_the_same() -> None:
    script = Path(sys.executable).with_name("roomcast")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "serve" in done.stdout


# -- init and check ---------------------------------------------------------------------------------------------------


def test_what_init_writes_check_accepts(tmp_path: Path) -> None:
    file = tmp_path / "roomcast.toml"
    assert typed("init", str(file)).returncode == 0
    assert tomllib.loads(file.read_text(encoding="utf-8")) is not None
    done = typed("check", str(file))
    assert done.returncode == 0
    assert "every setting has its default" in done.stdout


def test_init_does_not_overwrite_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "roomcast.toml"
    file.write_text("mine")
    done = typed("init", str(file))
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert file.read_text() == "mine"
    assert typed("init", str(file), "--force").returncode == 0
    assert "[edge]" in file.read_text(encoding="utf-8")


def test_init_writes_to_standard_output_and_a_schema() -> None:
    done = typed("init", "-")
    assert done.returncode == 0
    assert "[room]" in done.stdout
    schema = typed("init", "-", "--schema")
    assert json.loads(schema.stdout)["properties"].keys() >= {"edge", "room"}


def test_init_into_nowhere_is_one_line(tmp_path: Path) -> None:
    done = typed("init", str(tmp_path / "no" / "such" / "file.toml"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_all_faults_of_a_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "错.toml"
    file.write_text('[edge]\nport = 70000\nprot = 1\n[room]\nlag_policy = "wait"\n[rooms]\n', encoding="utf-8")
    for command in (("check", str(file)), ("serve", "--config", str(file))):
        done = typed(*command)
        assert done.returncode == 1
        for part in ("edge.port", "edge.prot", "room.lag_policy", "rooms"):
            assert part in done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there() -> None:
    done = typed("serve", "--config", "/nonexistent/roomcast.toml")
    assert done.returncode == 1
    assert "/nonexistent/roomcast.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_what_deviates(tmp_path: Path) -> None:
    file = tmp_path / "roomcast.toml"
    file.write_text("[edge]\nport = 9000\n")
    done = typed("check", str(file), ROOMCAST_ROOM__LAG_POLICY="close")
    assert done.returncode == 0
    assert "edge.port = 9000" in done.stdout
    assert "room.lag_policy" in done.stdout
    assert "ROOMCAST_ROOM__LAG_POLICY" in done.stdout


# -- serve ------------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = typed("serve", "--port", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "edge.port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_public_address_with_anonymous_writing_is_refused() -> None:
    done = typed("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 1
    assert "access.public_anonymous_writing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_option_is_refused() -> None:
    done = typed("serve", "--port", "http")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_serve_tells_people_what_it_does() -> None:
    with subprocess.Popen(
        [*ROOMCAST, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert_calm(errors)
    assert re.search(r"ws://127\.0\.0\.1:\d+/ws", lines[0])
    assert "stopping" in rest


# -- token ------------------------------------------------------------------------------------------------------------


def test_a_token_says_what_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "roomcast.toml"
    file.write_text(f'[access]\nsecret = "{SECRET}"\n')
    options = ("--user", "anna", "--role", "host", "--room", "大厅", "--room", "班*", "--name", "安娜", "--level", "3")
    done = typed("token", *options, "--follower", "--attribute", "team=红=1", "--seconds", "60", "--config", str(file))
    assert done.returncode == 0, done.stderr
    claims = Keyring(AccessSettings(secret=SECRET)).read(done.stdout.strip(), time.time())
    assert (claims.sub, claims.role, claims.rooms, claims.name, claims.level) == ("anna", "host", ["大厅", "班*"], "安娜", 3)
    assert (claims.follower, claims.attributes) == (True, {"team": "红=1"})
    # It ends on a whole second, and says to the millisecond when it was made.
    assert 59 < claims.exp - claims.iat <= 60


def test_a_token_is_signed_with_the_key_that_is_asked_for(tmp_path: Path) -> None:
    file, private_file = tmp_path / "roomcast.toml", tmp_path / "private.pem"
    key = token_key("EdDSA", tmp_path)
    private_file.write_bytes(private_pem(private("EdDSA")))
    tables = f'[[access.keys]]\nkid = "{key.kid}"\nalgorithm = "EdDSA"\nfile = "{key.file}"\n'
    file.write_text(f'[access]\nissuer = "shop"\naudience = "chat"\n{tables}')
    options = ("--user", "anna", "--jti", "t-1", "--kid", key.kid, "--config", str(file))
    done = typed("token", *options, "--key-file", str(private_file))
    assert done.returncode == 0, done.stderr
    ring = Keyring(AccessSettings(keys=(key,), issuer="shop", audience="chat"))
    assert ring.read(done.stdout.strip(), time.time()).jti == "t-1"
    for name, part in (("", "private half"), (str(tmp_path / "none"), "cannot read"), (key.file, "no private")):
        wrong = ("--key-file", name) if name else ()
        done = typed("token", *options, *wrong)
        assert done.returncode == 1
        assert part in done.stderr
        assert "BEGIN" not in done.stderr


def test_a_token_that_cannot_be_is_said_in_one_line() -> None:
    for arguments, status, part in (
        (("--user", "anna"), 1, "access.secret"),
        (("--user", ""), 1, ""),
        (("--user", "anna", "--role", "king"), 2, "king"),
        (("--user", "anna", "--attribute", "x"), 2, "NAME=TEXT"),
    ):
        secret = {} if part == "access.secret" else {"ROOMCAST_ACCESS__SECRET": SECRET}
        done = typed("token", *arguments, **secret)
        assert done.returncode == status, arguments
        assert part in done.stderr
        assert "Traceback" not in done.stderr


# -- export and replay ------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path, url: str) -> None:
    file = tmp_path / "录.ndjson"
    file.write_text("mine")
    done = typed("export", "r", "--url", url, "--output", str(file))
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert file.read_text() == "mine"
    assert typed("export", "r", "--url", url, "--output", str(file), "--force").returncode == 0
    assert json.loads(file.read_text(encoding="utf-8"))["room"] == "r"


def test_an_export_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    file = tmp_path / "out.ndjson"
    done = typed("export", "r", "--url", "ws://127.0.0.1:1/ws", "--output", str(file))
    assert done.returncode == 1
    assert not file.exists()
    done = typed("export", "r", "--output", str(tmp_path / "no" / "such"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_no_recording_is_named_before_anybody_sees_it(tmp_path: Path) -> None:
    file = tmp_path / "录.ndjson"
    header = '{"roomcast": 1, "room": "r", "epoch": 7, "first": 1, "last": 1, "exported_at": 1}'
    for text, part in (
        ("", "line 1"),
        ("{}", "line 1"),
        (f'{header}\n{{"offset": 1, "time": 1, "event": [1, ["u"], 0]}}', "line 2"),
    ):
        file.write_text(text)
        done = typed("replay", str(file), "--port", "0")
        assert done.returncode == 1
        assert f"录.ndjson: {part}" in done.stderr
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1
    assert typed("replay", str(tmp_path / "none")).returncode == 1


# -- say, like, tail --------------------------------------------------------------------------------------------------


def test_say_and_tail(url: str) -> None:
    tail = Running("tail", "大厅", "--json", "--url", url)
    try:
        tail.until('"type": "snapshot"')
        first = typed("say", "大厅", "大家好 👋", "--name", "小明", "--url", url)
        assert first.returncode == 0, first.stderr
        assert first.stdout == "1\n"
        second = typed("say", "大厅", "second", ROOMCAST_URL=url)
        assert second.stdout == "2\n"
        comment = tail.json("大家好")
        assert comment["type"] == "comment"
        assert (comment["offset"], comment["body"], comment["author"]["name"]) == (1, "大家好 👋", "小明")
        assert json.loads(tail.until("second"))["offset"] == 2
    finally:
        status = tail.stop()
    assert status == 130


def test_tail_for_people(url: str) -> None:
    tail = Running("tail", "人", "--url", url)
    try:
        # Counters are told when somebody comes, so its own coming is the sign that it is in.
        tail.until("1 viewers")
        assert typed("say", "人", "你好", "--name", "阿强", "--url", url).returncode == 0
        assert "阿强: 你好" in tail.until("你好")
    finally:
        tail.stop()


def test_like(url: str) -> None:
    tail = Running("tail", "赞", "--json", ROOMCAST_URL=url)
    try:
        tail.until('"type": "counters"')
        assert typed("like", "赞", "7", "--url", url).returncode == 0
        assert json.loads(tail.until('"likes": 7'))["type"] == "counters"
    finally:
        tail.stop()
    assert typed("like", "赞", "0", "--url", url).returncode == 2


@pytest.mark.parametrize("command", [("say", "r", "x"), ("react", "r", "🔥"), ("tail", "r"), ("state", "r")])
def test_no_node_is_said_in_one_line(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = typed(*command, "--url", f"ws://127.0.0.1:{port}/ws")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_refusals_are_said_in_one_line(url: str) -> None:
    for arguments in (("say", "r", "   "), ("say", "r", "x" * 3000), ("say", "a\nb", "x")):
        done = typed(*arguments, "--url", url)
        assert done.returncode == 1, arguments
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stderr.startswith("roomcast: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("state", "r", "set", "card", "p"),
        ("state", "r", "set", "card", "p", "{"),
        ("state", "r", "set", "card", "p", "[1]"),
        ("state", "r", "delete", "card", "p", "{}"),
        ("state", "r", "delete"),
        ("state", "r", "show"),
        ("moderate", "r", "praise"),
        ("react", "r", ""),
        ("vote", "r", "poll", "p", "64"),
        ("export",),
        ("replay", "f", "--speed", "-1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[str, ...]) -> None:
    done = typed(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_url_that_is_none_is_said_in_one_line() -> None:
    done = typed("tail", "r", "--url", "http://127.0.0.1/")
    assert done.returncode == 1
    assert "ws://host:port/ws" in done.stderr


def test_a_reader_who_has_enough_is_no_error(url: str) -> None:
    tail = Running("tail", "管", "--json", "--url", url)
    tail.until('"type": "snapshot"')
    assert tail.process.stdout is not None
    tail.process.stdout.close()
    for text in ("one", "two"):
        assert typed("say", "管", text, "--url", url).returncode == 0
    assert tail.process.wait(PATIENCE) == 1
    assert tail.process.stderr is not None
    with tail.process.stderr as errors:
        assert errors.read() == ""
