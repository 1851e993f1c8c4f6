"""A restart of a node whose broker outlives the hub: all processes are replaced, and nobody misses anything."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from e2e.viewers import open_viewer

from engine.errors import Close
from engine.link.messages import Gate
from engine.link.unix import connect_hub, greet_hub
from engine.settings import RedisSettings, Settings
from engine.workers.channel import Admit, Channel, Halted, Leave, Order, Ready, Report, Start
from engine.workers.hub import serve_hub

from .nodes import (
    PATIENCE,
    ROOM,
    Lines,
    Talk,
    a_server,
    audience,
    broken,
    environment,
    gone,
    pids,
    redis,
    restart,
    serve_workers,
)


async def test_a_restart_replaces_the_hub_and_the_edges_and_nobody_misses_anything(tmp_path: Path) -> None:
    with redis() as url:
        async with serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url) as node, AsyncExitStack() as stack:
            crowd = await audience(stack, node.url, 6)
            lines = Lines(node)
            talk = Talk(*crowd[:3])
            async with talk.going_on():
                asked = await restart("--port", str(node.listening["port"]), environ=environment(tmp_path, 2))
                assert asked.returncode == 0, asked.stderr
                restarted = await lines.until("restarted")
            assert [process["role"] for process in restarted["processes"]] == ["hub", "edge", "edge"]
            assert not {each["pid"] for each in restarted["processes"]} & {each["pid"] for each in node.listening["processes"]}
            for process in node.listening["processes"]:
                await gone(process["pid"])
            await talk.everybody_heard_it(crowd)
            assert all(follower.client.reconnects for follower in crowd)
            node.process.send_signal(signal.SIGTERM)
            statistics = (await lines.until("stopped"))["statistics"]
            assert await node.ended() == 0
            # Of both hubs.
            assert statistics["hub"]["events_published"] >= len(talk.said) + 1


async def test_viewers_do_not_notice_that_the_hub_is_replaced(tmp_path: Path) -> None:
    # The edges cannot be replaced here, so that whoever comes back came back because of the hub.
    path = broken(tmp_path, "nobody")
    with redis() as url:
        async with serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url, PYTHONPATH=path) as node, AsyncExitStack() as stack:
            crowd = await audience(stack, node.url, 6)
            viewer = await stack.enter_async_context(open_viewer("raw", node.url))
            await viewer.join(ROOM)
            lines = Lines(node)
            broken(tmp_path, "edge")
            hubs = pids(node, "hub")
            talk = Talk(*crowd[:3])
            async with talk.going_on():
                for _ in range(2):
                    node.process.send_signal(signal.SIGUSR2)
                    hub, *edges = (await lines.until("restart_failed"))["processes"]
                    assert hub["role"] == "hub"
                    assert [each["pid"] for each in edges] == pids(node, "edge")
                    await gone(hubs[-1])
                    hubs.append(hub["pid"])
                    await talk.goes_on()
                    for follower in crowd:
                        follower.client.like(7)
            assert len(set(hubs)) == 3
            await talk.everybody_heard_it(crowd)
            assert not any(follower.client.reconnects for follower in crowd)
            assert not talk.refused
            await viewer.until(lambda: "the end" in viewer.bodies)
            assert viewer.bodies == crowd[0].bodies
            # None of the hubs that have left still counts the viewers, each like counts once.
            await viewer.until(lambda: viewer.counters == (2 * 6 * 7, 7))
            node.process.send_signal(signal.SIGTERM)
            statistics = (await lines.until("stopped"))["statistics"]
            assert statistics["edge"]["handshakes"] == 7


async def test_a_hub_that_does_not_leave_is_ended_and_the_successor_takes_over(tmp_path: Path) -> None:
    with redis() as url:
        async with (
            serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url, ROOMCAST_NODE__SHUTDOWN_SECONDS="0.5") as node,
            open_viewer("raw", node.url) as viewer,
        ):
            await viewer.join(ROOM)
            assert await viewer.comment("before") == 1
            (hub,) = pids(node, "hub")
            os.kill(hub, signal.SIGSTOP)
            node.process.send_signal(signal.SIGUSR2)
            assert (await viewer.until_gone()).code == Close.SHUTDOWN
            await gone(hub)
            restarted = await Lines(node).until("restarted")
            assert hub not in [process["pid"] for process in restarted["processes"]]
            async with open_viewer("raw", node.url) as again:
                await again.join(ROOM, viewer.position, session=viewer.session)
                assert await again.comment("after") == 2


async def test_a_restart_goes_through_while_the_broker_is_away(tmp_path: Path) -> None:
    impatient = {"ROOMCAST_REDIS__ANSWER_SECONDS": "0.5", "ROOMCAST_REDIS__CONNECT_SECONDS": "0.5"}
    with a_server() as server:
        async with (
            serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=server.url, **impatient) as node,
            AsyncExitStack() as stack,
        ):
            crowd = await audience(stack, node.url, 4)
            assert await crowd[0].client.comment("before") == 1
            server.pause()
            node.process.send_signal(signal.SIGUSR2)
            restarted = await Lines(node).until("restarted")
            assert [process["role"] for process in restarted["processes"]] == ["hub", "edge", "edge"]
            server.resume()
            assert await crowd[0].client.comment("after") == 2
            for follower in crowd:
                await follower.until("after")
                assert follower.bodies == ["before", "after"]
                assert not follower.gaps


@pytest.mark.parametrize(
    "what",
    ["import os; os._exit(7)", "import engine.link.messages; engine.link.messages.VERSION = 999"],
    ids=["dies", "other version"],
)
async def test_a_hub_that_will_not_do_replaces_nobody(tmp_path: Path, what: str) -> None:
    path = broken(tmp_path, "nobody")
    with redis() as url:
        async with (
            serve_workers(tmp_path, 1, ROOMCAST_REDIS__URL=url, PYTHONPATH=path) as node,
            open_viewer("raw", node.url) as viewer,
        ):
            await viewer.join(ROOM)
            broken(tmp_path, "hub", what)
            node.process.send_signal(signal.SIGUSR2)
            failed = await Lines(node).until("restart_failed")
            assert [each["pid"] for each in failed["processes"]] == [*pids(node, "hub"), *pids(node, "edge")]
            assert await viewer.comment("as if nothing had been") == 1


async def test_without_a_broker_that_outlives_it_the_hub_stays_and_the_log_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serve_workers(tmp_path, 1) as node:
        node.process.send_signal(signal.SIGUSR2)
        restarted = await Lines(node).until("restarted")
        assert [process["role"] for process in restarted["processes"]] == ["edge"]
    (line,) = [line for line in capfd.readouterr().err.splitlines() if '"restarting"' in line]
    assert "the memory broker's history" in line


@pytest.mark.parametrize("moment", ["asked", "beginning", "handed over"])
async def test_a_stop_while_the_hub_is_replaced_stops_everybody(tmp_path: Path, moment: str) -> None:
    path = broken(tmp_path, "nobody")
    with redis() as url:
        async with serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url, PYTHONPATH=path) as node:
            async with open_viewer("raw", node.url) as viewer:
                await viewer.join(ROOM)
                assert await viewer.comment("before") == 1
                if moment == "beginning":
                    broken(tmp_path, "hub", "import os, signal; os.kill(os.getppid(), signal.SIGTERM)")
                node.process.send_signal(signal.SIGUSR2)
                if moment == "handed over":
                    await gone(pids(node, "hub")[0])
                if moment != "beginning":
                    node.process.send_signal(signal.SIGTERM)
                assert (await viewer.until_gone()).code == Close.SHUTDOWN
            await Lines(node).until("stopped")
            assert await node.ended() == 0
            for process in node.listening["processes"]:
                await gone(process["pid"])


# -- one hub after the other at one socket ----------------------------------------------------------------------------


class Hub:
    """A hub as in a process of its own, here in a task."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.ended = trio.Event()

    async def told(self, kind: type) -> None:
        """Wait for a report."""
        with trio.fail_after(PATIENCE):
            while not isinstance(await self.channel.receive(), kind):
                pass


@asynccontextmanager
async def hub_at(listener: socket.socket, url: str, *, waits: bool = False) -> AsyncIterator[Hub]:
    ours, theirs = socket.socketpair()
    start = Start(Settings(redis=RedisSettings(url=url)), "", [listener.dup().detach()], waits=waits)
    hub, its = Hub(Channel(ours, Report)), Channel(theirs, Order)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_hub(start, its)
            hub.ended.set()

        nursery.start_soon(serve)
        await hub.told(Ready)
        yield hub
        hub.channel.close()
    its.close()


async def test_no_edge_finds_a_hub_that_has_begun_to_leave(tmp_path: Path) -> None:
    with redis() as url, socket.socket(socket.AF_UNIX) as listener:
        path = f"{url.removeprefix('unix://')}.hub"
        listener.bind(path)
        listener.listen()
        async with (
            hub_at(listener, url) as old,
            hub_at(listener, url, waits=True) as new,
            greet_hub(connect_hub(path), "first") as link,
        ):
            first = link.peer
            # An edge that the old one has greeted, and that has said nothing yet.
            early = connect_hub(path)
            await trio.lowlevel.wait_readable(early)
            await old.channel.send(Leave())
            await old.told(Halted)
            while told := await link.receive():  # until the old one closed it
                assert all(isinstance(message, Gate) for message in told)
            async with trio.open_nursery() as nursery:
                found: list[str] = []

                async def look() -> None:
                    async with greet_hub(connect_hub(path), "second") as link:
                        found.append(link.peer)

                for _ in range(10):
                    nursery.start_soon(look)
                async with greet_hub(early, "early") as late:
                    assert not await late.receive(), "it was not served"
                await trio.testing.wait_all_tasks_blocked()
                assert not found, "nobody accepts until the old one has ceased to"
                await old.ended.wait()
                await new.channel.send(Admit())
            assert len(found) == 10
            assert first not in found
            assert len(set(found)) == 1
