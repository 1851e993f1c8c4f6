"""Dead letters on the command line: listed, shown, sent again, forgotten, whether a node runs or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from receiver import SECRET, receiver
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.hooks.letters import News, Settled, packed
from engine.ledger.store import Store
from engine.node import open_node
from engine.settings import EdgeSettings, HookSettings, LedgerSettings, NodeSettings, Settings


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / '账.db'}"
    monkeypatch.setenv("ROOMCAST_LEDGER__URL", url)
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["webhooks", *arguments])


def fill(url: str, count: int) -> list[str]:
    """Put happenings aside, and return their ids."""
    store = Store(url)
    store.open()
    table = {"action": "mute", "user": "anna\x1b[31m", "reason": "刷屏"}
    store.webhooks.tell([News("大厅", "moderation.mute", 1_000, packed(table)) for _ in range(count)])
    store.webhooks.lease("me", 60_000, 1_000)
    for number in range(1, count + 1):
        done = Settled(1, number, number - 1, dead=number, tries=20, reason="status 500")
        assert store.webhooks.settle("me", [done], 1_000)
    store.webhooks.release("me")
    letters = store.webhooks.dead((0, 0), count)
    store.close()
    return [each.happening.id for each in letters]


def test_where_nothing_was_put_aside_there_is_none(url: str, tmp_path: Path) -> None:
    assert run("list").stdout == "none\n"
    assert run("list", "--json").stdout == ""
    assert run("replay", "--all").stdout == "to be sent again: 0\n"
    assert not list(tmp_path.iterdir())
    assert str(run("show", "ab-1-1").exception) == "there is no such happening among those that were put aside"


def test_dead_letters_are_listed_for_people_and_for_programs(url: str) -> None:
    ids = fill(url, 3)
    listed = run("list").stdout.splitlines()
    assert listed[0] == f"{ids[0]}  1970-01-01T00:00:01Z  moderation.mute  大厅 #1  tried 20 times: status 500"
    assert [line.split()[0] for line in listed] == ids
    read = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [each["happening"]["id"] for each in read] == ids
    assert read[0]["happening"]["data"]["reason"] == "刷屏"
    assert (read[0]["attempts"], read[0]["reason"], read[0]["again"]) == (20, "status 500", False)
    assert [line.split()[0] for line in run("list", "--limit", "2").stdout.splitlines()] == ids[:2]
    assert [line.split()[0] for line in run("list", "--after", ids[1]).stdout.splitlines()] == ids[2:]


def test_one_is_shown_with_all_that_the_product_would_be_told(url: str) -> None:
    ids = fill(url, 2)
    shown = run("show", ids[1]).stdout
    assert shown.startswith(f"{ids[1]}  ")
    # What somebody has chosen does nothing to the terminal.
    assert "\x1b" not in shown
    assert json.loads(shown.partition("\n")[2]) == {"action": "mute", "user": "anna\x1b[31m", "reason": "刷屏"}
    assert json.loads(run("show", ids[1], "--json").stdout)["happening"]["number"] == 2


def test_some_are_sent_again_and_others_forgotten(url: str) -> None:
    ids = fill(url, 3)
    assert run("replay", ids[0]).stdout == "to be sent again: 1\n"
    assert "is to be sent again" in run("list").stdout.splitlines()[0]
    assert run("drop", ids[1], "--json").stdout == '{"count":1}\n'
    assert run("replay", "--all", "--json").stdout == '{"count":2}\n'
    assert run("drop", "--all").stdout == "forgotten: 2\n"
    assert str(run("drop", ids[0]).exception) == "there is no such happening among those that were put aside"


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_it_is_one_or_all(url: str, command: str) -> None:
    for arguments in ((command,), (command, "ab-1-1", "--all")):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "ID or --all is needed" in done.stderr
    assert str(run(command, "nonsense").exception) == "'nonsense' is none of a happening"


def test_without_a_ledger_there_are_no_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMCAST_LEDGER__URL", "")
    assert "ledger.url is empty" in str(run("list").exception)


async def test_a_node_that_runs_sends_again_what_was_asked_for_elsewhere(url: str) -> None:
    ids = fill(url, 2)
    async with receiver() as told:
        settings = Settings(
            edge=EdgeSettings(port=0),
            ledger=LedgerSettings(url=url),
            hooks=HookSettings(secret=SECRET, events_url=told.url),
            node=NodeSettings(shutdown_seconds=2),
        )
        async with open_node(settings):
            assert run("replay", ids[1]).exit_code == 0
            await told.has(1)
    assert told.ids() == ids[1:]
    assert [line.split()[0] for line in run("list").stdout.splitlines()] == ids[:1]
