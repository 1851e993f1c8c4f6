"""A process that lives and does nothing is replaced, unless its supervisor was kept from running, too."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from e2e.processes import Served
from e2e.viewers import open_viewer

from engine.workers.watchdog import watch

from .nodes import ROOM, Talk, audience, gone, pids, redis, serve_workers

# -- the verdict ------------------------------------------------------------------------------------------------------


class Somebody:
    """What the watchdog sees of a child."""

    role, pid = "edge", 4711

    def __init__(self, *, watched: bool = True) -> None:
        self.watched = watched
        self.silent = 0
        self.killed_at = -1.0

    def kill(self) -> None:
        assert self.killed_at < 0, "once is enough"
        self.killed_at = trio.current_time()


async def watched(living: list[Any], seconds: float, *tasks: Any) -> None:
    """Time jumps to whatever is due next."""
    with trio.move_on_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, living, seconds)
            for task in tasks:
                nursery.start_soon(task)


async def test_who_is_silent_for_so_long_is_killed_once(autojump_clock: trio.testing.MockClock) -> None:
    begun = trio.current_time()
    silent, lively, leaving, starting = Somebody(), Somebody(), Somebody(), Somebody(watched=False)

    async def beat() -> None:
        while True:
            await trio.sleep(2.5)
            lively.silent = 0

    async def leave() -> None:
        leaving.watched = False

    await watched([silent, lively, leaving, starting], 10, beat, leave)
    assert 10 <= silent.killed_at - begun <= 12
    assert not silent.watched
    assert [each.killed_at for each in (lively, leaving, starting)] == [-1, -1, -1]


async def test_a_supervisor_that_was_away_blames_nobody(autojump_clock: trio.testing.MockClock) -> None:
    somebody = Somebody()

    async def suspended() -> None:
        await trio.sleep(5)
        # Nothing ran, here or there; when it goes on, the other one needs a moment.
        autojump_clock.jump(60)
        await trio.sleep(4)
        somebody.silent = 0
        await trio.sleep(80)
        assert somebody.killed_at > 0, "it was watched all the time"

    await watched([somebody], 10, suspended)


async def test_nobody_is_watched_if_that_is_not_wanted(autojump_clock: trio.testing.MockClock) -> None:
    somebody = Somebody()
    await watched([somebody], 0)
    assert somebody.killed_at < 0


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["hub", "edge"])
async def test_a_process_that_hangs_is_replaced_and_nothing_is_lost(
    tmp_path: Path, role: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with redis() as url:
        async with (
            serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url, ROOMCAST_NODE__HANG_SECONDS="1") as node,
            AsyncExitStack() as stack,
        ):
            crowd = await audience(stack, node.url, 6)
            talk = Talk(*crowd[:4])
            async with talk.going_on():
                victim = pids(node, role)[0]
                os.kill(victim, signal.SIGSTOP)
                await gone(victim)
                await talk.goes_on()
            await talk.everybody_heard_it(crowd)
            if role == "hub":
                assert not any(follower.client.reconnects for follower in crowd)
    lines = [line for line in capfd.readouterr().err.splitlines() if '"process_hangs"' in line]
    assert any(f'"child_pid": {victim}' in line for line in lines)


async def hang_time(node: Served, index: int) -> None:
    """Wait until a node has found out that one of its edges hangs: so long as that takes, whatever the machine does."""
    victim = pids(node, "edge")[index]
    os.kill(victim, signal.SIGSTOP)
    await gone(victim)


@pytest.mark.parametrize("who", ["all", "supervisor"])
async def test_nobody_is_punished_for_a_pause_of_the_supervisor(tmp_path: Path, who: str) -> None:
    long_enough = {"ROOMCAST_NODE__HANG_SECONDS": "2"}
    async with (
        serve_workers(tmp_path, 2, **long_enough) as node,
        serve_workers(tmp_path, 2, **long_enough) as other,
        open_viewer("raw", node.url) as viewer,
    ):
        await viewer.join(ROOM)
        stopped = [node.process.pid, *(pids(node, "hub") + pids(node, "edge") if who == "all" else ())]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        await hang_time(other, 0)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        await hang_time(other, 1)
        assert await viewer.comment("still here") == 1
        for pid in pids(node, "hub") + pids(node, "edge"):
            os.kill(pid, 0)
