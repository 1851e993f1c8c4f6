"""Who is there: exact counts over all nodes, peaks, different users, and the coming and going of those who are notable."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from engine.node import open_node

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .viewers import JOIN, LEAVE, Viewer, open_viewer


def coming_and_going(viewer: Viewer) -> list[tuple[str, bool]]:
    return [(event[1][0], event[2]) for event in viewer.of_kind(7)]


async def test_counts_are_exact_over_two_nodes(running: Running, foreign: Foreign, redis: dict[str, Any]) -> None:
    settings = live(redis=redis)
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, None, None) as here,
        foreign(two.url, token("安娜")) as (anna,),
    ):
        everybody = [*here, anna]
        async with AsyncExitStack() as stack:
            for number in range(30):
                viewer = await stack.enter_async_context(open_viewer("raw", (one, two)[number % 2].url))
                # Each user from two places.
                await viewer.join(ROOM, token=token(f"用户{number // 2}"))
            for viewer in everybody:
                await viewer.until(lambda viewer=viewer: viewer.counters[1] == 33)  # type: ignore[misc]
                await viewer.until(lambda viewer=viewer: viewer.totals["unique"] == 18)  # type: ignore[misc]
        for viewer in everybody:
            await viewer.until(lambda viewer=viewer: viewer.counters[1] == 3)  # type: ignore[misc]
            assert viewer.totals["peak"] == 33
        await anna.ask(LEAVE, anna.handle)
        for viewer in here:
            await viewer.until(lambda viewer=viewer: viewer.counters[1] == 2)  # type: ignore[misc]
            assert viewer.totals["unique"] == 18
            assert not viewer.of_kind(7)
        statistics = await two.room(ROOM).statistics()
        assert (statistics.viewers, statistics.totals["peak"], statistics.totals["unique"]) == (2, 33, 18)


async def test_who_is_notable_comes_and_goes_once(running: Running, foreign: Foreign, redis: dict[str, Any]) -> None:
    settings = live(redis=redis, room={"notable_level": 50})
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, None) as (here,),
        foreign(two.url, token("普通", level=49)) as (there,),
    ):
        async with foreign(one.url, token("主播", "host", name="主播 🎤"), token("vip", level=50)) as (host, _):
            async with foreign(two.url, token("主播", "host", name="主播 🎤")):
                pass
            last = await host.comment("我还在")
            for viewer in (here, there):
                await viewer.until_offset(last)
                assert coming_and_going(viewer) == [("主播", True), ("vip", True)]
                assert viewer.of_kind(7)[0][1] == ["主播", "主播 🎤", {}, "host", 0]
        for viewer in (here, there):
            await viewer.until(lambda viewer=viewer: len(viewer.of_kind(7)) == 4)  # type: ignore[misc]
            assert sorted(coming_and_going(viewer)[2:]) == [("vip", False), ("主播", False)]


async def test_who_is_notable_at_a_node_that_stops_has_gone(running: Running, foreign: Foreign, redis: dict[str, Any]) -> None:
    settings = live(redis=redis)
    async with running(settings) as one, foreign(one.url, None, None) as (witness, _):
        async with open_node(settings) as two, open_viewer("raw", two.url) as host:
            await host.join(ROOM, token=token("主播", "host"))
            await witness.until(lambda: coming_and_going(witness) == [("主播", True)])
        await witness.until(lambda: len(witness.of_kind(7)) == 2)
        assert coming_and_going(witness)[1] == ("主播", False)


@pytest.mark.parametrize("times", [20])
async def test_whoever_comes_and_goes_at_once_has_gone(running: Running, foreign: Foreign, times: int) -> None:
    async with running(live()) as node, foreign(node.url, None, None) as people:
        async with AsyncExitStack() as stack:
            for number in range(times):
                viewer = await stack.enter_async_context(open_viewer("raw", node.url))
                await viewer.send(JOIN, 1, ROOM, 0, 0, None, None, {}, token(f"主播{number}", "host"))
                if number % 2:
                    await viewer.until(lambda viewer=viewer: bool(viewer.joined))  # type: ignore[misc]
        for viewer in people:
            await viewer.until(lambda viewer=viewer: viewer.counters[1] == 2)  # type: ignore[misc]
            await viewer.until(  # type: ignore[misc]
                lambda viewer=viewer: (
                    len({user for user, _ in coming_and_going(viewer)}) * 2 == len(coming_and_going(viewer)) >= times
                )
            )
        assert not [field for field in node.record(ROOM).fields if field.startswith("n:")]  # type: ignore[union-attr]
