"""What README shows of a room is true: its program runs, its requests are requests, its calls exist."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trio

from engine import Refused, open_client
from engine.backend import Room
from engine.client import Client, State
from engine.config import load
from engine.node import Node
from engine.schema import JSON
from engine.settings import WordList

sys.path.insert(0, str(Path(__file__).parent))
from readme import ROOT, block, replaced

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


@pytest.mark.parametrize("name", ["room.py", "shop.py"])
def test_a_backend_takes_few_lines(name: str) -> None:
    assert len(block(name).splitlines()) <= 25


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def test_a_shop_calls_the_api(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    script = replaced(
        block("shop.sh"),
        {
            ".venv/bin/": f"{Path(sys.executable).parent}/",
            "key --name shop >> shop.toml ": "key --name shop 2> key.txt >> shop.toml ",
            "export KEY=rc_…": "export KEY=$(grep -o 'rc_.*' key.txt)",
            "serve --config shop.toml &": (
                "serve --config shop.toml >&2 &\ntrap 'kill $!; wait' EXIT\n"
                f"curl -sf --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:{port}/health/ready >&2"
            ),
            ":8780": f":{port}",
        },
    )
    environ = {**os.environ, "ROOMCAST_API__PORT": str(port), "ROOMCAST_EDGE__PORT": "0"}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    decoder, answers, rest = json.JSONDecoder(), [], done.stdout.strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].strip()
    _, comment, token, history = answers
    assert comment["offset"] > 0
    assert token["token"].count(".") == 2
    assert "大家好 👋" in [each["event"].get("body") for each in history["events"]]


async def test_a_shop_embeds_the_node(tmp_path: Path) -> None:
    port, web = free_ports(2)
    (tmp_path / "shop.py").write_text(block("shop.py"), encoding="utf-8")
    (tmp_path / "shop.toml").write_text(f"[edge]\nport = {port}\n", encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(web)]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    process = await trio.lowlevel.open_process(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        told = b""
        while b"startup complete" not in told:
            told += (piece := await process.stderr.receive_some())
            assert piece, told.decode()
        async with open_client(f"ws://127.0.0.1:{port}/ws", room="大厅", name="小明") as viewer:
            with pytest.raises(Refused, match="请不要留联系方式"):
                await viewer.comment("加微信 tea")
            assert await viewer.comment("多少钱?") > 0
            async with httpx.AsyncClient(timeout=60) as browser:
                sale = await browser.post(f"http://127.0.0.1:{web}/sell/大厅", params={"title": "龙井"})
            assert sale.status_code == 200
            async for item in viewer:
                if isinstance(item, State):
                    assert (item.value or {})["title"] == "龙井"
                    break
        process.terminate()
        assert await process.wait() in (0, -signal.SIGTERM)
    finally:
        process.kill()


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
