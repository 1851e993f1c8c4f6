"""Money on the command line, as a user types it: given and claimed, proved, added up, written out, and a person forgotten."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import Running, serving, typed
from typer.testing import CliRunner

from engine.access import mint
from engine.cli import app

COMMANDS = (
    ("gift",),
    ("redpacket",),
    ("givers",),
    ("erase",),
    ("ledger", "verify"),
    ("ledger", "totals"),
    ("ledger", "export"),
)
SECRET = "0123456789abcdef0123456789abcdef"
GIFTS = '{rose = {name = "玫瑰", price = 52, combo_seconds = 0}, rocket = {name = "火箭", price = 100000}}'


class Shop:
    """A node where everything can be given, and its ledger."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / "账.db"
        self.environment = {
            "ROOMCAST_LEDGER__URL": f"sqlite:///{self.database}",
            "ROOMCAST_LEDGER__SPEND": "free",
            "ROOMCAST_GIFTS": GIFTS,
            "ROOMCAST_ACCESS__SECRET": SECRET,
            "ROOMCAST_ACCESS__ANONYMOUS": "write",
        }
        self.url = ""

    def run(self, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        token = {"ROOMCAST_TOKEN": self.token(user)} if user else {}
        return typed(*arguments, **self.environment, **token)

    def live(self, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(*arguments, "--url", self.url, user=user)

    def paid(self, *arguments: str, user: str) -> dict[str, int]:
        done = self.live(*arguments, "--json", user=user)
        assert done.returncode == 0, done.stderr
        read: dict[str, int] = json.loads(done.stdout)
        return read

    def token(self, user: str) -> str:
        return mint(SECRET, user, role="moderator" if user == "mod" else "viewer", name=f"名{user}")

    def exported(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.run("ledger", "export", *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    with serving(**shop.environment) as shop.url:
        yield shop


def test_help_names_every_command() -> None:
    for command in COMMANDS:
        detail = CliRunner().invoke(app, [*command, "--help"])
        assert detail.exit_code == 0
        assert "Usage" in detail.output
    assert re.search(r"\bledger\b", typed("--help").stdout)


def test_what_is_given_is_shown_and_proved(shop: Shop, tmp_path: Path) -> None:
    catalogue = shop.live("gift", "大厅").stdout.splitlines()
    assert [line.split() for line in catalogue] == [["52", "rose", "玫瑰"], ["100,000", "rocket", "火箭"]]
    tail = Running("tail", "大厅", ROOMCAST_URL=shop.url)
    try:
        tail.until("1 viewers")
        assert shop.paid("gift", "大厅", "rose", "--count", "9", user="anna") == {"entry": 1, "offset": 1, "amount": 468}
        assert "名anna gives rose ×9 = 468  (entry 1)" in tail.until("$$")
        told = shop.live("redpacket", "大厅", "8888", "3", "--text", "恭喜发财", "--split", "equal", user="ben")
        assert (told.returncode, told.stdout) == (0, "entry 2, offset 2, amount 8888\n")
        assert "名ben gives a red packet, 8,888 in 3 shares, alike  (entry 2): 恭喜发财" in tail.until("$$")
        claimed = shop.paid("redpacket", "大厅", "--claim", "2", user="anna")
        assert claimed == {"entry": 3, "offset": 3, "amount": 2963}
        assert shop.paid("redpacket", "大厅", "--claim", "2", user="anna") == claimed
        assert "名anna gets 2,963, share 1 of red packet 2  (entry 3)" in tail.until("$$")
    finally:
        tail.stop()
    assert shop.live("givers", "大厅").stdout.split() == ["1", "468", "名anna", "(anna)"]
    giver = json.loads(shop.live("givers", "大厅", "--all-time", "--json").stdout)
    assert giver == {"place": 1, "user": "anna", "name": "名anna", "given": 468}

    # While the node runs, against what it has kept.
    assert shop.live("say", "大厅", "谢谢", user="ben").returncode == 0
    done = shop.live("ledger", "verify", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert (report["entries"], report["streams"], report["matched"], report["unpublished"]) == (3, 1, 3, 0)
    # Against a recording of it, with a gift that was never there.
    recording = tmp_path / "录.ndjson"
    assert shop.live("export", "大厅", "--output", str(recording)).returncode == 0
    assert "no fault" in shop.run("ledger", "verify", "--stream", str(recording)).stdout
    changed, times = re.subn(r"\b468\b", "469", recording.read_text(encoding="utf-8"), count=1)
    assert times == 1
    recording.write_text(changed, encoding="utf-8")
    done = shop.run("ledger", "verify", "--stream", str(recording))
    assert done.returncode == 1
    assert "大厅, entry 1: is another event at offset 1" in done.stdout
    assert "faults: 1" in done.stdout
    recording.write_text("{}")
    done = shop.run("ledger", "verify", "--stream", str(recording))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)


def test_totals_and_export(shop: Shop, tmp_path: Path) -> None:
    shop.paid("gift", "账", "rose", "--to", "guest7", user="anna")
    assert shop.run("ledger", "totals", "--room", "账").stdout == "账: gifts: 1 (things: 1) of 52\n"
    of_gift = json.loads(shop.run("ledger", "totals", "--room", "账", "--by-gift", "--json").stdout.splitlines()[1])
    assert (of_gift["gift"], of_gift["gifts"], of_gift["amount"]) == ("rose", 1, 52)
    line = shop.exported("--room", "账")[0]
    assert (line["entry"], line["kind"], line["user"], line["receiver"], line["amount"]) == (1, "gift", "anna", "guest7", 52)
    assert shop.exported("--room", "账", "--from", "2") == []

    file = tmp_path / "账.ndjson"
    file.write_text("mine")
    done = shop.run("ledger", "export", "--output", str(file))
    assert (done.returncode, file.read_text()) == (1, "mine")
    assert "--force" in done.stderr
    assert shop.run("ledger", "export", "--output", str(file), "--force").returncode == 0
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[0]).keys() == line.keys()
    assert [each.name for each in tmp_path.iterdir()] == [file.name]
    done = shop.run("ledger", "export", "--room", "none", "--output", str(tmp_path / "new"))
    assert done.returncode == 1
    assert "nothing was ever booked in the room none" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_who_is_forgotten_is_nowhere(shop: Shop) -> None:
    shop.paid("gift", "忘", "rose", user="carl")
    assert shop.live("say", "忘", "我是carl", user="carl").returncode == 0
    done = shop.live("erase", "carl", "--room", "忘", user="mod")
    assert done.returncode == 0, done.stderr
    pseudonym = done.stdout.strip()
    assert pseudonym.startswith("erased-")
    assert shop.exported("--room", "忘")[0]["user"] == pseudonym
    assert "carl" not in json.dumps(shop.exported())
    assert "我是carl" not in shop.live("export", "忘").stdout
    assert shop.live("ledger", "verify").returncode == 0
    again = shop.live("erase", "carl")
    assert (again.returncode, len(again.stderr.strip().splitlines())) == (1, 1)
    # Who may not moderate the room forgets nobody in the ledger either.
    shop.paid("gift", "忘", "rose", user="dave")
    assert shop.live("erase", "dave", "--room", "忘", user="ben").returncode == 1
    assert shop.exported("--room", "忘", "--from", "2")[0]["user"] == "dave"


def test_refusals_are_said_in_one_line(shop: Shop) -> None:
    for arguments, part in (
        (("gift", "r", "unicorn"), "not_found"),
        (("redpacket", "r", "--claim", "77"), "packet_over"),
        (("gift", "a\nb", "rose"), "bad_room"),
    ):
        done = shop.live(*arguments, user="dora")
        assert done.returncode == 1, arguments
        assert part in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("gift", "r", "rose", "--count", "0"),
        ("redpacket", "r"),
        ("redpacket", "r", "5"),
        ("redpacket", "r", "5", "6"),
        ("redpacket", "r", "5", "5", "--claim", "1"),
        ("redpacket", "r", "5", "5", "--split", "fair"),
        ("redpacket", "r", "5", "5", "--opens", "-1"),
        ("givers", "r", "--all-time", "--stream", "s"),
        ("ledger", "export", "--from", "0"),
        ("ledger", "burn"),
        ("erase",),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[str, ...]) -> None:
    done = typed(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_a_ledger_it_is_said_in_one_line_and_none_is_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    for arguments in (("ledger", "verify"), ("ledger", "totals"), ("ledger", "export"), ("erase", "anna")):
        for url in (f"sqlite:///{path}", ""):
            done = typed(*arguments, ROOMCAST_LEDGER__URL=url)
            assert done.returncode == 1
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
            assert done.stderr.startswith("roomcast: ")
    assert not path.exists()


def test_a_damaged_ledger_is_told_with_its_place(shop: Shop, tmp_path: Path) -> None:
    shop.paid("gift", "坏", "rose", user="eve")
    path = tmp_path / "copy.db"
    with sqlite3.connect(shop.database) as source, sqlite3.connect(path) as copy:
        source.backup(copy)
        copy.execute("UPDATE boards SET given = given + 1 WHERE room = (SELECT number FROM rooms WHERE name = '坏')")
    source.close()
    copy.close()
    done = typed("ledger", "verify", ROOMCAST_LEDGER__URL=f"sqlite:///{path}")
    assert done.returncode == 1
    assert "坏, entry 1: the leaderboard of all time has 53" in done.stdout
    path.write_bytes(b"no database, whatever it says" * 500)
    done = typed("ledger", "verify", ROOMCAST_LEDGER__URL=f"sqlite:///{path}")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
