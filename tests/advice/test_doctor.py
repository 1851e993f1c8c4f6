"""`roomcast doctor`: what it asks, what it prints, and how it ends."""

from __future__ import annotations

import json
import tomllib
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trio
from api.calling import KEY, settings
from e2e.processes import Served, clean_environment, serve
from e2e.transports import HttpRefusal
from e2e.viewers import open_viewer
from typer.testing import CliRunner, Result

from engine.advice import Language
from engine.cli import app
from engine.commands.advising import show
from engine.configfile import toml_value
from engine.machine import machine
from engine.node import open_node

from .situations import Site


def invoke(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments], env={"ROOMCAST_KEY": KEY, "LC_ALL": "C", **environment})


async def run(*arguments: str, **environment: str) -> Result:
    return await trio.to_thread.run_sync(lambda: invoke(*arguments, **environment))


async def test_it_asks_a_node_and_what_it_says_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What has happened since the node began is looked at, however long that takes here.
    monkeypatch.setattr("engine.watching.OBSERVED_SECONDS", 900.0)
    api: dict[str, Any] = {
        f"api.{name}": getattr(settings(enabled=True).api, name) for name in ("enabled", "host", "port", "keys")
    }
    async with Site(tmp_path, api | {"edge.viewers_max": 1}) as site:
        node = site.node
        assert node.api is not None
        ask = ("--api", node.api.url, "--seconds", "1")
        # It waits until the node has looked at itself for so long.
        calm = await run(*ask)
        assert calm.exit_code == 0, calm.output
        assert "viewers_refused" not in calm.stdout
        async with open_viewer("raw", node.url):
            for _ in range(3):
                with pytest.raises(HttpRefusal):
                    async with open_viewer("raw", node.url):
                        pass
        found = await run(*ask, "--json")
        told = json.loads(found.stdout)
        assert found.exit_code == 1
        assert told["node"] == node.api.url
        assert told["since_seconds"] >= 1
        (advice,) = [each for each in told["advice"] if each["rule"] == "viewers_refused"]
        people = await run(*ask)
        assert people.exit_code == 1
        words = " ".join(people.stdout.split())
        parts = "fault setting (viewers_refused)", advice["what"], "edge.refused.503: 3 in", advice["effect"]
        for part in (*parts, "with `roomcast reload`", "edge.refused.503 stops"):
            assert part in words
        at = people.stdout.index("[edge]")
        pasted = tomllib.loads("\n".join(line.strip() for line in people.stdout[at:].splitlines()[:2]))
        assert pasted == {"edge": {"viewers_max": int(advice["changes"][0]["to"])}}
        chinese = await run(*ask, "--language", "zh")
        words = " ".join(chinese.stdout.split())
        for part in ("故障 设置 (viewers_refused)", "节点已满，", "依据 edge.refused.503：", "改动 写入 配置文件；执行"):
            assert part in words
        (again,) = [line for line in chinese.stdout.splitlines() if "viewers_max = " in line]
        assert tomllib.loads(again.strip())["viewers_max"] == pasted["edge"]["viewers_max"]


async def test_a_node_that_does_not_let_it_is_no_reason_to_guess() -> None:
    async with open_node(settings(enabled=True)) as node:
        assert node.api is not None
        refused = await run("--api", node.api.url, ROOMCAST_KEY="rc_wrong")
        assert refused.exit_code == 1
        assert "seen by" not in refused.output


def test_without_a_node_the_file_and_the_machine_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "roomcast.toml"
    file.write_text(
        "[node]\nworkers = 250\n[edge]\nviewers_max = 10_000_000\n[api]\nenabled = true\nport = 1\n", encoding="utf-8"
    )
    done = invoke("--config", str(file))
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "http://127.0.0.1:1 cannot be asked" in words
    assert "only settings and machine were looked at" in words
    assert f'in {file}; holds after a restart [node] workers = "auto" # now 250' in words
    assert f"LimitNOFILE=16777216 # now {machine()['descriptors_hard']}" in words
    told = json.loads(invoke("--config", str(file), "--json").stdout)
    assert (told["node"], told["since_seconds"]) == ("", 0.0)
    assert {each["severity"] for each in told["advice"]} == {"limit", "hint"}
    file.write_text("", encoding="utf-8")
    done = invoke("--config", str(file))
    assert "it has no HTTP API (api.enabled)" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("environment", "arguments", "chinese"),
    [
        ({"LANG": "zh_CN.UTF-8"}, (), True),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, (), False),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "zh_TW"}, (), True),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "en_GB.UTF-8", "LC_ALL": "zh_CN.UTF-8"}, (), True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, (), False),
        ({}, (), False),
        ({"LC_ALL": "zh_CN.UTF-8"}, ("--language", "en"), False),
        ({"LC_ALL": "C"}, ("--language", "zh"), True),
    ],
)
def test_it_speaks_the_language_of_who_asks(
    tmp_path: Path, environment: dict[str, str], arguments: tuple[str, ...], chinese: bool
) -> None:
    file = tmp_path / "roomcast.toml"
    file.write_text("[node]\nworkers = 250\n", encoding="utf-8")
    ask = ("--config", str(file), *arguments)
    given = {"LC_ALL": "", "LC_MESSAGES": "", "LANG": "", **environment}
    words = " ".join(invoke(*ask, **given).stdout.split())
    if chinese:
        parts = "未询问任何节点：它没有 HTTP API（api.enabled）；只查看了设置和这台机器", "提示 设置 (workers_beyond_cores)"
        parts += "重启后生效 [node]", 'workers = "auto" # 现为 250', "效果 每个核一个边缘进程"
    else:
        parts = "no node was asked: it has no HTTP API (api.enabled); only", "hint setting (workers_beyond_cores)"
        parts += "holds after a restart [node]", 'workers = "auto" # now 250', "effect One edge process"
    assert not [part for part in parts if part not in words], words
    told = json.loads(invoke(*ask, "--json", **given).stdout)
    (advice,) = [each for each in told["advice"] if each["rule"] == "workers_beyond_cores"]
    assert advice["changes"] == [{"setting": "node.workers", "now": "250", "to": '"auto"', "where": "config", "restart": True}]
    assert advice["what"].startswith("边缘进程") == chinese


@pytest.mark.parametrize(
    ("language", "head", "nothing"),
    [
        ("en", "http://node, in the last 1,000 s", "nothing to advise"),
        ("zh", "http://node，最近 1,000 秒", "暂无建议"),
    ],
)
def test_what_a_newer_node_says_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str], language: Language, head: str, nothing: str
) -> None:
    node = {"node": "http://node", "since_seconds": 1_000.0}
    show(node | {"advice": []}, "", "", language)
    assert capsys.readouterr().out.splitlines() == [head, nothing]
    advice: dict[str, Any] = dict.fromkeys(("room", "rule", "what", "effect"), "")
    advice |= {"severity": "{new}", "cause": "none_such", "evidence": ["[bold]{x}"], "changes": []}
    show(node | {"advice": [advice | {"watch": {"edge.{x}": "{moves}"}}]}, "", "", language)
    words = " ".join(capsys.readouterr().out.split())
    assert not [part for part in ("{new} none_such", "[bold]{x}", "edge.{x} {moves}") if part not in words]


def test_what_a_node_says_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    advice: dict[str, Any] = dict.fromkeys(("room", "rule", "severity", "cause", "what", "effect"), "\x1b]0;x\x07")
    advice |= {"evidence": ["\x1b[2J"], "watch": {"\x1b[2J": "\x9b2J"}}
    changes = [{"setting": "a.\x1b[2J", "now": "\x1b[2J", "to": "\x9b2J", "where": where} for where in ("config", "kernel")]
    changes[0] |= {"restart": ""}
    show({"node": "http://node", "since_seconds": 1.0, "advice": [advice | {"changes": changes}]}, "", "", "en")
    assert not set("\x1b\x07\x9b") & set(capsys.readouterr().out)


def test_a_node_elsewhere_that_does_not_answer_is_not_judged_by_this_machine() -> None:
    for arguments, environment in ((("--api", "http://127.0.0.1:1"), {}), ((), {"ROOMCAST_API": "http://127.0.0.1:1"})):
        done = invoke(*arguments, "--json", **environment)
        assert done.exit_code == 1
        assert done.stdout == ""
        assert "http://127.0.0.1:1 cannot be asked" in str(done.exception)


def test_a_node_that_goes_while_it_is_watched_is_missed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    class Once(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"since_seconds": 0.0, "advice": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def answer() -> None:
        with server:
            server.handle_request()

    monkeypatch.setattr("engine.commands.doctor._ASKING", 0.1)
    server = HTTPServer(("127.0.0.1", 0), Once)
    thread = Thread(target=answer)
    thread.start()
    done = invoke("--api", f"http://127.0.0.1:{server.server_port}", "--seconds", "900")
    thread.join()
    assert done.exit_code == 1
    assert "went away while it was watched" in str(done.exception)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    assert invoke("--seconds", "0").exit_code == 2
    assert invoke("--seconds", "x").exit_code == 2
    assert invoke("--language", "fr").exit_code == 2
    assert invoke("here").exit_code == 2
    file = tmp_path / "roomcast.toml"
    file.write_text("[edge]\nport = -1\n", encoding="utf-8")
    assert invoke("--config", str(file)).exit_code == 1


def test_help_says_what_it_is_for() -> None:
    words = " ".join(invoke("--help").stdout.split())
    for part in ("what limits a node", "exit status", "--room", "--seconds", "--language", "ROOMCAST_KEY", "ROOMCAST_API"):
        assert part in words


async def test_a_process_with_too_few_descriptors_is_told_how_many_it_needs() -> None:
    environment = clean_environment(
        ROOMCAST_API__ENABLED="true",
        ROOMCAST_API__PORT="0",
        ROOMCAST_API__KEYS=toml_value(settings().api.keys),
        ROOMCAST_LEDGER__URL="",
    )

    async def refused(served: Served) -> int:
        """How many of ten who come are sent away."""
        count = 0
        async with AsyncExitStack() as stack:
            for _ in range(10):
                try:
                    await stack.enter_async_context(open_viewer("raw", served.url))
                except HttpRefusal:
                    count += 1
        return count

    def limited(limit: int) -> AbstractAsyncContextManager[Served]:
        return serve(before=("prlimit", f"--nofile={limit}:{limit}"), environment=environment)

    given: list[dict[str, Any]] = []
    async with limited(262) as served:
        api = "http://{}:{}".format(*served.listening["api"])
        # On a machine that is very busy it may look back to a moment after they came.
        for _ in range(5):
            assert await refused(served) >= 4
            told = json.loads((await run("--api", api, "--seconds", "1", "--json")).stdout)
            if given := [each for each in told["advice"] if each["rule"] == "viewers_refused"]:
                break
    (advice,) = given
    assert advice["cause"] == "descriptors"
    assert advice["evidence"][0].startswith("edge.refused.503: ")
    assert advice["watch"] == {"edge.refused.503": "stops"}
    ((setting, limit),) = [(change["setting"], int(change["to"])) for change in advice["changes"]]
    assert setting == "LimitNOFILE"
    async with limited(limit) as served:
        assert not await refused(served)
