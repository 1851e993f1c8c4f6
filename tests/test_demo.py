"""`roomcast demo`, as somebody types it who looks for the first time: a living room within seconds, and nothing left of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from shell import Running, roomcast, typed

from engine.client import items, open_client
from engine.errors import Refused
from engine.greeting import http_url

PATIENCE = 60
QUICK = ("--no-browser", "--json", "--audience", "20", "--rate", "20", "--pace", "20", "--seed", "1")
NOWHERE = Path("/proc")
"""A directory in which nobody can make a file."""


class Demo:
    """One that runs, begun where nothing can be written and while both of its usual ports are taken."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            self.taken = taken.getsockname()[1]
            ports = {f"ROOMCAST_{section}__PORT": str(self.taken) for section in ("EDGE", "API")}
            self.running = Running(*("demo", *QUICK), TMPDIR=str(directory), ROOMCAST_NODE__RETURN_WINDOW_SECONDS="0", **ports)
            self.first: dict[str, Any] = json.loads(self.running.until(""))
        self.told: dict[str, Any] = json.loads(self.running.until('"demo"'))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    before = Path.cwd()
    os.chdir(NOWHERE)
    try:
        demo = Demo(tmp_path_factory.mktemp("demo"))
    finally:
        os.chdir(before)
    try:
        yield demo
    finally:
        if demo.running.process.poll() is None:
            demo.running.stop()


def test_it_says_where_it_is(demo: Demo) -> None:
    assert demo.first["event"] == "listening"
    assert demo.told["page"] == f"{http_url(*demo.first['api'])}/"
    assert demo.told["console"] == f"{demo.told['page']}console#key={demo.told['key']}"


def test_ports_that_are_taken_are_passed_over(demo: Demo) -> None:
    ports = {demo.first["port"], demo.first["api"][1]}
    assert len(ports) == 2
    assert all(demo.taken < port <= demo.taken + 200 for port in ports)


def test_the_pages_and_the_console_s_key_are_good(demo: Demo) -> None:
    with httpx.Client(base_url=demo.told["page"]) as http:
        assert "<html" in http.get("/").text
        assert "<html" in http.get("/console").text
        assert http.get("/entrance.json").json()["url"] == demo.first["url"]
        assert http.get("/v1/node", headers={"Authorization": f"Bearer {demo.told['key']}"}).status_code == 200
        assert http.get("/v1/node").status_code == 401


async def test_a_visitor_finds_a_room_that_lives(demo: Demo) -> None:
    seen: set[str] = set()
    wanted = {"Comment", "Gift", "Combo", "Packet", "Share", "PacketEnd", "Notice", "poll", "card", "pin", "likes", "votes"}
    wanted |= {"answered", "claimed"}
    with trio.fail_after(PATIENCE):
        async with open_client(demo.first["url"], room="demo", name="Visitor") as viewer, trio.open_nursery() as nursery:

            async def take_part() -> None:
                await viewer.comment("good evening")
                await viewer.give((await viewer.gifts())[0].id)

            async def claim(packet: items.Packet) -> None:
                # Some shares are left for visitors; it opens in a moment.
                while packet.entry not in over and "claimed" not in seen:
                    with suppress(Refused):
                        await viewer.claim(packet.entry)
                        seen.add("claimed")
                    await trio.sleep(0.05)

            over: set[int] = set()
            nursery.start_soon(take_part)
            async for item in viewer:
                seen.add(type(item).__name__)
                match item:
                    case items.Snapshot():
                        seen |= {kind for kind, _ in item.state}
                    case items.State():
                        seen.add(item.kind)
                    case items.Comment() if viewer.user in item.mentions:
                        assert item.author.role == "host"
                        assert "Visitor" in item.body
                        seen.add("answered")
                    case items.Packet():
                        nursery.start_soon(claim, item)
                    case items.PacketEnd():
                        over.add(item.packet)
                    case items.Counters():
                        seen |= {"likes"} if item.likes else set()
                        seen |= {"votes"} if any(map(any, item.votes.values())) else set()
                if wanted <= seen:
                    break
            assert viewer.counters is not None
            assert 10 <= viewer.counters.viewers <= 21
            nursery.cancel_scope.cancel()


def test_it_ends_when_it_is_told_to_and_leaves_nothing(demo: Demo) -> None:
    assert len(list(demo.directory.iterdir())) == 1
    assert demo.running.stop() == 0
    assert list(demo.directory.iterdir()) == []
    # Nothing that a node would call a warning.
    assert all("is taken" in line for line in demo.running.errors.splitlines())


def test_who_ends_it_before_it_has_begun_finds_nothing_either(tmp_path: Path) -> None:
    running = Running("demo", "--no-browser", "--port", "0", "--viewers-port", "0", TMPDIR=str(tmp_path))
    try:
        while not list(tmp_path.glob("*/*")):
            assert running.process.poll() is None
            time.sleep(0.001)
    finally:
        running.process.terminate()
        # What is interrupted anywhere may leave warnings of things that were not closed.
        running.process.communicate(timeout=PATIENCE)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(NOWHERE))
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    try:
        done = typed("demo", "--no-browser", "--port", "0", "--viewers-port", "0")
    finally:
        for handler in handlers:
            signal.signal(*handler)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no temporary file" in done.stderr


def test_a_port_that_was_asked_for_is_taken_or_nothing_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = roomcast("demo", "--no-browser", "--port", port, "--viewers-port", "0")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_people_are_told_in_words_and_may_close_the_terminal() -> None:
    running = Running("demo", "--no-browser", "--port", "0", "--viewers-port", "0", "--audience", "0")
    try:
        page, console, key = (running.until(f"  {what} ").split() for what in ("room", "console", "API key"))
        running.until("Ctrl-C")
        assert console[-1] == f"{page[-1]}console#key={key[2]}"
        assert httpx.get(page[-1]).status_code == 200
    finally:
        status = running.stop(signal.SIGHUP)
    assert (status, running.errors) == (0, "")
