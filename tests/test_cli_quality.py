"""The delivery certificate on the command line: for people and for programs, of one node and of several."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from api.calling import KEY, settings
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.commands.quality import rate, shown, word_of
from engine.link import End, memory_link
from engine.link.messages import Down, OpenRoom, Presence, Qualities, Up
from engine.node import Node, open_node
from engine.quality import Account, Measured, RoomQuality, Sent, certificate, combined

ROOM = "大厅/一号 🎤"
REPORTS = 10


def told(received: int = 999, network: str = "甲", **reconnects: int) -> Qualities:
    causes = {cause.lstrip("c"): count for cause, count in reconnects.items()}
    measured = Measured(REPORTS, 1000, received, 1000 - received, {17: 900, 20: 99}, causes)
    return Qualities([RoomQuality(ROOM, Sent(5000, 5, 3, 1, {1001: 4}, 2, 1.5), {network: measured})])


async def opened(node: Node, viewers: int = 1) -> End[Up, Down]:
    """An edge's end of a link, which shows the room."""
    ours, theirs = memory_link()
    node.hub.attach(theirs)
    ours.send([OpenRoom(ROOM, 1, [0]), Presence(ROOM, viewers)])
    while node.quality(ROOM) is None:
        await trio.lowlevel.checkpoint()
    return ours


@asynccontextmanager
async def showing(*messages: Qualities, viewers: int = 1) -> AsyncIterator[str]:
    """A node with a room that an edge shows, which has told this; where its API is."""
    async with open_node(settings(enabled=True)) as node:
        link = await opened(node, viewers)
        link.send(messages)
        while node.hub.statistics().quality.reports < REPORTS * len(messages):
            await trio.lowlevel.checkpoint()
        assert node.api is not None
        yield node.api.url


async def run(*arguments: str, key: str = KEY) -> Result:
    def invoke() -> Result:
        return CliRunner().invoke(app, ["quality", *arguments], env={"ROOMCAST_KEY": key})

    return await trio.to_thread.run_sync(invoke)


async def test_it_is_shown_to_people() -> None:
    async with showing(told(c4001=1, c1006=3), told(1000, "乙\x1b[31m", c3=2), viewers=7) as url:
        done = await run(ROOM, "--api", url)
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == ROOM
    words = " ".join(done.stdout.split())
    assert "viewers 7, at most 7" in words
    assert "arrival rate 0.9995 (1,999 of 2,000 events, in 20 reports)" in words
    assert "sent 0.999 (9,990 of 10,000 deliveries, to all viewers)" in words
    assert "behind 2 viewers now, the longest for 1.5 s" in words
    (row,) = [line.split() for line in lines if line.strip().startswith("甲")]
    assert row[:3] == ["甲", "0.999", "10"]
    assert row[-2:] == ["1", "4"]
    for cause in ("1006 connection broke 3", "3 unavailable 2", "4001 lag 1", "1001 going away 8"):
        assert cause in words
    assert "\x1b" not in done.stdout


async def test_it_is_told_to_programs_as_the_node_has_it() -> None:
    async with showing(told()) as url:
        done = await run(ROOM, "--api", f"{url}/", "--json")
    found = json.loads(done.stdout)
    assert (found["room"], found["node"], found["measured"]["received"]) == (ROOM, "test", 999)


async def test_several_nodes_are_added_up_and_those_without_the_room_left_out() -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(showing(told(c1006=1), viewers=3))
        two = await stack.enter_async_context(showing(told(990, c1006=2), told(network="乙"), viewers=4))
        async with open_node(settings(enabled=True)) as node:
            assert node.api is not None
            done = await run(ROOM, "--api", one, "--api", two, "--api", node.api.url, "--json")
            alone = await run(ROOM, "--api", node.api.url)
        twice = await run(ROOM, "--api", one, "--api", f"{one}/", "--json")
    found = json.loads(done.stdout)
    assert (found["node"], found["viewers"], found["viewers_max"]) == ("test, test", 7, 7)
    assert (found["measured"]["received"], found["measured"]["entitled"]) == (2988, 3000)
    assert found["measured"]["arrival_rate"] == 2988 / 3000
    assert found["networks"]["甲"]["reconnects"] == {"1006": 3}
    assert (found["sent"]["closed"], found["sent"]["laggards"]) == ({"1001": 12}, 4)
    assert "no viewers at this node" in str(alone.exception)
    assert (json.loads(twice.stdout)["node"], json.loads(twice.stdout)["viewers"]) == ("test", 3)


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_it_is_shown_again_and_again(options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node(settings(enabled=True)) as node:
        assert node.api is not None
        await opened(node)
        found = node.quality(ROOM)
        answers = iter([found, found, found])
        # Then the room is gone, which ends it.
        monkeypatch.setattr(node, "quality", lambda _: next(answers, None))
        done = await run(ROOM, "--api", node.api.url, "--watch", "--every", "0.01", *options)
    assert "no viewers" in str(done.exception)
    assert done.stdout.count(ROOM) == (3 if options else 1)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1", "cannot be asked"),
        ("nonsense", "cannot be asked"),
        ("http://[::1", "cannot be asked"),
        ("http://\udcff", "cannot be asked"),
    ],
)
async def test_a_node_that_cannot_be_asked_is_named(url: str, why: str) -> None:
    assert str((await run(ROOM, "--api", url)).exception).startswith(f"{url} {why}")


async def test_what_a_node_refuses_is_said() -> None:
    async with showing() as url:
        for key, why in (("", "ROOMCAST_KEY"), ("rc_wrong", "ROOMCAST_KEY"), ("ключ", "keys are ASCII")):
            assert why in str((await run(ROOM, "--api", url, key=key)).exception)
        assert "room" in str((await run("x" * 200, "--api", url)).exception)


async def test_who_is_no_node_is_told_from_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.listen()

        async def answer() -> None:
            await trio.lowlevel.wait_readable(listener)
            with listener.accept()[0] as sock:
                await trio.lowlevel.wait_readable(sock)
                sock.recv(65_536)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            done = await run(ROOM, "--api", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert "does not answer as a node's HTTP API does (status 200)" in str(done.exception)


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (0, 0, "–"),
        (5, 5, "1"),
        (0, 5, "0"),
        (1, 2, "0.5"),
        (99_987, 100_000, "0.99987"),
        (999, 1000, "0.999"),
        (999_999_999, 1_000_000_000, "0.999999999"),
        (2, 3, "0.66"),
        (10**18 - 1, 10**18, "0." + "9" * 18),
    ],
)
def test_a_rate_has_as_many_nines_as_it_takes(part: int, whole: int, words: str) -> None:
    assert rate(part, whole) == words


@given(st.integers(1, 10**15), st.integers(0, 10**15))
def test_a_rate_is_never_rounded_up(whole: int, missing: int) -> None:
    part = max(whole - missing, 0)
    words = rate(part, whole)
    assert (words == "1") == (part == whole)
    assert float(words) <= part / whole + 1e-15


@pytest.mark.parametrize(
    ("cause", "word"),
    [("1006", "connection broke"), ("4000", "shutdown"), ("1", "rate limited"), ("4999", ""), ("other", ""), ("", "")],
)
def test_a_cause_has_a_name(cause: str, word: str) -> None:
    assert word_of(cause) == word


def test_a_certificate_of_nothing_is_shown() -> None:
    account = Account(room="[red]room", node="n", stream="周一", since=0, epoch=1, first=0, ended=True, withheld={"events": 3})
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(shown(certificate(account)))
    text = capture.get()
    assert text.startswith("[red]room  周一  ended")
    assert "3 events" in text


def test_a_terminal_of_the_usual_width_shows_every_number() -> None:
    found = Measured(12_345, 9_000_000, 8_999_999, 777, {30: 90}, {"1006": 555})
    account = Account(room="大厅", node="n", stream="", since=1, epoch=1, first=0, networks={"中国电信-上海-浦东": found})
    out = io.StringIO()
    Console(width=80, file=out).print(shown(certificate(account)))
    lines = out.getvalue().splitlines()
    (row,) = [line.split() for line in lines if "0.99999988" in line]
    assert row[0].startswith("中国")
    assert row[1:4] + row[-2:] == ["0.99999988", "12,345", "9,000,000", "777", "555"]
    assert not any("…" in line for line in lines)


def test_certificates_of_two_nodes_count_the_room_once() -> None:
    def of(node: str, epoch: int, **more: Any) -> dict[str, Any]:
        return certificate(Account(room="r", node=node, stream="s", since=10, epoch=epoch, first=5, **more))

    whole = combined(
        [
            of("a", 2, last=9, events=4, withheld={"events": 3}, refused={"muted": 1}, until=30, ended=True),
            of("b", 2, last=8, events=3, withheld={"events": 2, "bytes": 1}, refused={"muted": 2}, until=20),
            of("c", 1, last=99, events=2, until=20, sent=Sent(lag_max=3.0)),
        ]
    )
    assert (whole["epoch"], whole["first"], whole["last"], whole["events"]) == (2, 5, 9, 4)
    assert (whole["withheld"], whole["refused"]) == ({"events": 3, "bytes": 1}, {"muted": 3})
    assert (whole["since"], whole["until"], whole["ended"], whole["sent"]["lag_max"]) == (10, 30, False, 3.0)
    alone = of(
        "a",
        2,
        last=9,
        events=4,
        viewers=2,
        sent=Sent(10, 1, 2, 3, {1000: 1}, 1, 0.5),
        measured=Measured(1, 9, 8),
        networks={"x": Measured(1, 9, 8)},
    )
    assert combined([alone]) == alone
