"""Whatever ends a process of a node: the node goes on, and viewers lose nothing that they are not told of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from e2e.processes import ROOMCAST, Served, serve
from e2e.test_process import chatter, gone_with_shutdown
from e2e.transports import Gone
from e2e.viewers import COMMENT, Viewer, open_viewer

from engine.errors import Close, Code, Refused

from .nodes import (
    PATIENCE,
    ROOM,
    Follower,
    Lines,
    audience,
    broken,
    environment,
    gone,
    pids,
    restart,
    serve_workers,
    until_new_epoch,
)


async def speak(follower: Follower, name: str, count: int, said: dict[str, int], flowing: trio.Event) -> None:
    """Say so many things, one after the other, each until it is accepted; note their offsets."""
    for number in range(count):
        body = f"{name} {number}"
        while body not in said:
            try:
                said[body] = await follower.client.comment(body)
            except Refused as refused:
                if refused.code is not Code.UNAVAILABLE:
                    raise
        if number == count // 10:
            flowing.set()


async def ended(node: Served, *viewers: Viewer) -> dict[str, Any]:
    """Stop a node and return its statistics."""
    lines = Lines(node)
    node.process.send_signal(signal.SIGTERM)
    async with trio.open_nursery() as nursery:
        for viewer in viewers:
            nursery.start_soon(gone_with_shutdown, viewer)
    stopped = await lines.until("stopped")
    assert await node.ended() == 0
    statistics: dict[str, Any] = stopped["statistics"]
    return statistics


async def until_answered(viewer: Viewer, refs: Sequence[int]) -> None:
    await viewer.until(lambda: all(ref in viewer.replies for ref in refs))


async def until_viewers(viewer: Viewer, count: int) -> None:
    await viewer.until(lambda: viewer.counters[1] == count)


async def test_killed_edges_are_replaced_and_their_viewers_miss_nothing(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 3) as node, AsyncExitStack() as stack:
        crowd = await audience(stack, node.url, 9)
        said: dict[str, int] = {}
        victims = pids(node, "edge")
        async with trio.open_nursery() as nursery:
            for index, speaker in enumerate(crowd[:4]):
                flowing = trio.Event()
                nursery.start_soon(speak, speaker, f"{index}", 100, said, flowing)
                await flowing.wait()
                if index % 2:
                    os.kill(victims.pop(), signal.SIGKILL)
        assert len(said) == 400
        assert sorted(said.values()) == list(range(1, 401))
        for follower in crowd:
            await follower.until("the end") if follower is not crowd[0] else await follower.client.comment("the end")
        await crowd[0].until("the end")
        order = sorted(said, key=said.__getitem__)
        for follower in crowd:
            # The client has checked that offsets join; it came in before anything was said.
            assert follower.bodies == [*order, "the end"]
            assert not follower.gaps
        assert any(follower.client.reconnects for follower in crowd)
        statistics = await ended(node)
        assert statistics["hub"]["events_published"] >= 401


async def test_a_killed_hub_is_replaced_the_gap_is_told_and_unanswered_comments_are_there_once(tmp_path: Path) -> None:
    async with serve_workers(tmp_path) as node, AsyncExitStack() as stack:
        viewers: list[Viewer] = []
        for _ in range(8):
            viewers.append(await stack.enter_async_context(open_viewer("raw", node.url)))
            await viewers[-1].join(ROOM)
        offset = max([await viewer.comment(f"before {viewer.user}") for viewer in viewers])
        for viewer in viewers:
            await viewer.until_offset(offset)
        epoch = viewers[0].position[0] if viewers[0].position else 0
        (hub,) = pids(node, "hub")
        # It takes what edges send no more, but is there: nothing of this will be answered.
        os.kill(hub, signal.SIGSTOP)
        for viewer in viewers:
            for ref in range(1, 11):
                await viewer.send(COMMENT, ref, viewer.handle, f"{viewer.user} {ref}")
            await viewer.settle()
            assert not any(ref in viewer.replies for ref in range(1, 11))
        os.kill(hub, signal.SIGKILL)
        for viewer in viewers:
            await until_answered(viewer, range(1, 11))
            assert all(viewer.replies[ref].code == 0 for ref in range(1, 11))
        said = {f"{viewer.user} {ref}": viewer.replies[ref].offset for viewer in viewers for ref in range(1, 11)}
        assert sorted(said.values()) == list(range(1, 81))
        assert await viewers[0].comment("goes on") == 81
        for viewer in viewers:
            await until_new_epoch(viewer, epoch, 81)
            assert viewer.position is not None
            assert viewer.position[0] != epoch
            assert viewer.gaps == [(epoch, offset + 1, 0, "epoch")]
            assert {viewer.events[at][-1]: at for at in range(1, 81)} == said
            await until_viewers(viewer, 8)
        statistics = await ended(node, *viewers)
        assert statistics["edge"]["handshakes"] == 8, "the viewers kept their connections"


async def test_who_connects_while_there_is_no_edge_waits_for_the_next(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 1) as node:
        (edge,) = pids(node, "edge")
        os.kill(edge, signal.SIGKILL)
        await gone(edge)
        async with open_viewer("raw", node.url) as viewer:
            await viewer.join(ROOM)
            assert await viewer.comment("here") == 1


async def test_a_hub_killed_under_load_doubles_nothing(tmp_path: Path) -> None:
    async with serve_workers(tmp_path) as node, AsyncExitStack() as stack:
        crowd = await audience(stack, node.url, 6)
        said: dict[str, int] = {}
        async with trio.open_nursery() as nursery:
            for index, speaker in enumerate(crowd[:4]):
                flowing = trio.Event()
                nursery.start_soon(speak, speaker, f"{index}", 100, said, flowing)
                await flowing.wait()
            os.kill(pids(node, "hub")[0], signal.SIGKILL)
        assert len(said) == 400
        await crowd[0].client.comment("the end")
        for follower in crowd:
            await follower.until("the end")
            assert follower.twice == []
            assert [gap.reason for gap in follower.gaps] == ["epoch"]
            assert follower.client.reconnects == 0
        # What one heard of the new epoch, everybody heard; of the old one, those the hub had reached.
        new = [set(follower.bodies[-50:]) for follower in crowd]
        assert all(each == new[0] for each in new)


async def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 3) as node, open_viewer("raw", node.url) as viewer:
        await viewer.join(ROOM)
        children = [*pids(node, "hub"), *pids(node, "edge")]
        assert len(children) == 4
        node.process.kill()
        for pid in children:
            await gone(pid)
        await viewer.until_gone()
    # What it left behind is in nobody's way.
    assert list((tmp_path / "run").glob("*/hub.sock"))
    async with serve_workers(tmp_path, 1):
        assert len(list((tmp_path / "run").glob("*/hub.sock"))) == 1


async def test_a_killed_node_can_be_started_again_on_its_port(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 2) as node, AsyncExitStack() as stack:
        for _ in range(20):
            viewer = await stack.enter_async_context(open_viewer("raw", node.url))
            await viewer.join(ROOM)
        # One edge takes its time to notice.
        edge = pids(node, "edge")[0]
        os.kill(edge, signal.SIGSTOP)
        node.process.kill()
        await node.process.wait()
        async with trio.open_nursery() as nursery:

            async def let_go() -> None:
                await gone(pids(node, "edge")[1])
                os.kill(edge, signal.SIGCONT)

            nursery.start_soon(let_go)
            arguments = ("--port", str(node.listening["port"]))
            async with (
                serve(*arguments, environment=environment(tmp_path, 1)) as again,
                open_viewer("raw", again.url) as viewer,
            ):
                assert again.listening["port"] == node.listening["port"]
                await viewer.join(ROOM)
                assert await viewer.comment("back") == 1


async def test_a_rolling_restart_refuses_nobody_and_loses_nothing(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 2) as node, AsyncExitStack() as stack:
        crowd = await audience(stack, node.url, 6)
        said: dict[str, int] = {}
        connected = 0
        enough = trio.Event()

        async def newcomers() -> None:
            """Each must be let in at the first attempt, or be told at once to come back."""
            nonlocal connected
            while True:
                async with open_viewer("raw", node.url) as viewer:
                    with suppress(Gone):
                        await viewer.join(ROOM)
                    assert viewer.joined or viewer.bye is not None
                    connected += 1
                    if connected > 20:
                        enough.set()

        lines = Lines(node)
        async with trio.open_nursery() as talking, trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(newcomers)
            for index, speaker in enumerate(crowd[:3]):
                talking.start_soon(speak, speaker, f"{index}", 150, said, trio.Event())
            await enough.wait()
            asked = await restart(environ=environment(tmp_path, 2, ROOMCAST_EDGE__PORT=str(node.listening["port"])))
            assert asked.returncode == 0, asked.stderr
            assert str(node.process.pid).encode() in asked.stdout
            restarted = await lines.until("restarted")
            nursery.cancel_scope.cancel()
        successors = [process["pid"] for process in restarted["processes"]]
        assert len(successors) == 2
        assert not set(successors) & set(pids(node, "edge"))
        for pid in pids(node, "edge"):
            await gone(pid)
        assert len(said) == 450
        await crowd[0].client.comment("the end")
        for follower in crowd:
            await follower.until("the end")
            assert follower.bodies == [*sorted(said, key=said.__getitem__), "the end"]
            assert not follower.gaps
            assert follower.client.reconnects >= 1
        node.process.send_signal(signal.SIGTERM)
        statistics = (await lines.until("stopped"))["statistics"]
        assert await node.ended() == 0
        # Those of the processes that were replaced count, too.
        assert statistics["edge"]["handshakes"] >= connected + 6 + 6
        assert statistics["hub"]["events_published"] >= 451


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_every_acknowledged_comment_is_delivered_before_goodbye(tmp_path: Path, number: signal.Signals) -> None:
    async with serve_workers(tmp_path, 3, ROOMCAST_NODE__RETURN_WINDOW_SECONDS="2.5") as node, AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(open_viewer("raw", node.url)) for _ in range(12)]
        for viewer in viewers:
            await viewer.join(ROOM)
        acknowledged: dict[int, str] = {}
        async with trio.open_nursery() as nursery:
            for viewer in viewers[:5]:
                flowing = trio.Event()
                nursery.start_soon(chatter, viewer, acknowledged, flowing)
                await flowing.wait()
            for viewer in viewers[5:]:
                nursery.start_soon(gone_with_shutdown, viewer)
            node.process.send_signal(number)
        assert len(acknowledged) > 400
        for viewer in viewers:
            assert viewer.bye is not None
            assert viewer.bye[4] == 2500
            assert viewer.told[-1] == 37
            assert not viewer.gaps
            for offset, body in acknowledged.items():
                if offset > viewer.snapshots[0][4]:
                    assert viewer.events[offset][-1] == body
        stopped = await Lines(node).until("stopped")
        assert await node.ended() == 0
        statistics = stopped["statistics"]
        assert statistics["edge"]["handshakes"] == 12
        assert statistics["edge"]["closed"] == {str(int(Close.SHUTDOWN)): 12}
        assert statistics["hub"]["events_published"] >= len(acknowledged)
        assert not list((tmp_path / "run").iterdir())


async def test_a_second_signal_hurries_and_the_deadline_ends_who_does_not_go(tmp_path: Path) -> None:
    for seconds, signals in (("600", 2), ("0.5", 1)):
        async with (
            serve_workers(tmp_path, 2, ROOMCAST_NODE__SHUTDOWN_SECONDS=seconds) as node,
            open_viewer("raw", node.url) as deaf,
            open_viewer("raw", node.url) as viewer,
        ):
            await deaf.join(ROOM)
            await viewer.join(ROOM)
            node.process.send_signal(signal.SIGTERM)
            await viewer.until_gone()
            for _ in range(1, signals):
                node.process.send_signal(signal.SIGTERM)
            assert await node.ended() == 0


@pytest.mark.parametrize("role", ["edge", "hub"])
async def test_a_process_that_cannot_start_is_given_up_loudly(tmp_path: Path, role: str) -> None:
    environ = environment(tmp_path, 1, PYTHONPATH=broken(tmp_path, role))
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [*ROOMCAST, "serve", "--port", "0", "--json"], env=environ, capture_stdout=True, capture_stderr=True, check=False
        )
    assert done.returncode == 1
    *log, last = done.stderr.decode().splitlines()
    assert last == f"roomcast: given up: the {role} process does not start; the log says why"
    lines = [json.loads(line) for line in log]
    assert [line["status"] for line in lines if line["event"] == "process_died"] == [7] * 5
    assert [line["level"] for line in lines if line["event"] == "giving_up"] == ["error"]
    assert b"listening" not in done.stdout


async def test_a_restart_whose_successor_does_not_start_leaves_the_old_process_alone(tmp_path: Path) -> None:
    path = broken(tmp_path, "nobody")
    async with serve_workers(tmp_path, 1, PYTHONPATH=path) as node:
        lines = Lines(node)
        async with open_viewer("raw", node.url) as viewer:
            await viewer.join(ROOM)
            broken(tmp_path, "edge")
            node.process.send_signal(signal.SIGUSR2)
            failed = await lines.until("restart_failed")
            assert [process["pid"] for process in failed["processes"]] == pids(node, "edge")
            assert await viewer.comment("still here") == 1
            broken(tmp_path, "nobody")
            asked = await restart("--pid", str(node.process.pid), environ=environment(tmp_path, 1))
            assert asked.returncode == 0, asked.stderr
            assert (await viewer.until_gone()).code == Close.SHUTDOWN
        restarted = await lines.until("restarted")
        assert [process["pid"] for process in restarted["processes"]] != pids(node, "edge")


async def test_processes_are_pinned_if_that_is_wanted(tmp_path: Path) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    async with serve_workers(tmp_path, 2, ROOMCAST_NODE__PIN_CPUS="true") as node:
        cores = [os.sched_getaffinity(process["pid"]) for process in node.listening["processes"]]
        assert cores == [{allowed[index % len(allowed)]} for index in range(3)]


async def test_auto_means_one_per_core_and_an_idle_node_ends_at_once(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 0, ROOMCAST_NODE__WORKERS="auto") as node:
        assert len(pids(node, "edge")) == len(os.sched_getaffinity(0))
        assert node.listening["pid"] == node.process.pid
        statistics = await ended(node)
        assert statistics["edge"]["viewers_max"] == node.listening["viewers_max"]


async def test_a_port_that_another_node_serves_is_said_in_one_line(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 1) as node:
        port = str(node.listening["port"])
        done = await trio.run_process(
            [*ROOMCAST, "serve", "--port", port], env=environment(tmp_path, 1), capture_stderr=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.decode().count("\n") == 1
        assert f"127.0.0.1:{port}" in done.stderr.decode()
        assert "edge.port" in done.stderr.decode()


async def test_nodes_of_one_user_share_a_directory_and_each_is_found_by_its_port(tmp_path: Path) -> None:
    usual = environment(tmp_path, 1, ROOMCAST_NODE__RUN_DIRECTORY="", XDG_RUNTIME_DIR=str(tmp_path))
    async with serve(environment=usual) as first, serve(environment=usual) as second, AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(open_viewer("raw", node.url)) for node in (first, second)]
        for viewer in viewers:
            await viewer.join(ROOM)
        assert len(list((tmp_path / "roomcast").glob("*/hub.sock"))) == 2
        config = tmp_path / "second.toml"
        config.write_text(f"[edge]\nport = {second.listening['port']}\n", encoding="utf-8")
        asked = await restart("--config", str(config), environ=usual)
        assert asked.returncode == 0, asked.stderr
        await Lines(second).until("restarted")
        assert (await viewers[1].until_gone()).code == Close.SHUTDOWN
        assert await viewers[0].comment("nobody asked us") == 1
        asked = await restart("--port", str(first.listening["port"]), environ=usual)
        assert asked.returncode == 0, asked.stderr
        assert (await viewers[0].until_gone()).code == Close.SHUTDOWN
        await Lines(first).until("restarted")
        for node in (first, second):
            # Each finds its own hub again.
            async with open_viewer("raw", node.url) as viewer:
                await viewer.join(ROOM)
                assert await viewer.comment("here") == (2 if node is first else 1)


async def test_nobody_to_restart_is_said_in_one_line(tmp_path: Path) -> None:
    environ = environment(tmp_path, 1)
    for arguments, text in (((), "no node with workers serves port 8765"), (("--pid", str(os.getpid())), "no supervisor")):
        done = await restart(*arguments, environ=environ)
        assert done.returncode == 1
        assert text in done.stderr.decode()
        assert done.stderr.decode().count("\n") == 1


async def test_a_node_tells_people_what_it_does(tmp_path: Path) -> None:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "engine", "serve", "--port", "0"],
        env=environment(tmp_path, 1),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with process.stdout:
        text = b""
        with trio.fail_after(PATIENCE):
            while b"Ctrl-C" not in text:
                text += await process.stdout.receive_some()
            process.send_signal(signal.SIGINT)
            while data := await process.stdout.receive_some():
                text += data
            assert await process.wait() == 0
    assert "shared by 1 edge processes" in text.decode()
    assert "stopping" in text.decode()


async def test_a_stop_during_a_restart_stops_everybody(tmp_path: Path) -> None:
    async with serve_workers(tmp_path, 3) as node:
        async with open_viewer("raw", node.url) as viewer:
            await viewer.join(ROOM)
            node.process.send_signal(signal.SIGUSR2)
            node.process.send_signal(signal.SIGUSR2)
            node.process.send_signal(signal.SIGTERM)
            assert (await viewer.until_gone()).code == Close.SHUTDOWN
        stopped = await Lines(node).until("stopped")
        assert stopped["statistics"]["edge"]["handshakes"] == 1
        assert await node.ended() == 0
        for pid in pids(node, "edge"):
            await gone(pid)
