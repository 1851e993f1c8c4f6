"""Processes that are killed while a broker outlives them: what was acknowledged is there, in one order, and nothing twice."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from e2e.processes import serve
from e2e.viewers import COMMENT, open_viewer

from .nodes import ROOM, Talk, audience, environment, gone, members, pids, redis, serve_workers


async def test_a_killed_hub_costs_nothing_where_the_broker_outlives_it(tmp_path: Path) -> None:
    with redis() as url:
        async with serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url) as node, AsyncExitStack() as stack:
            crowd = await audience(stack, node.url, 6)
            epochs = {follower.client.position for follower in crowd}
            assert len(epochs) == 1
            for follower in crowd:
                await follower.until_viewers(6)
                follower.viewers.clear()
            talk = Talk(*crowd[:4])
            async with talk.going_on():
                for _ in range(3):
                    (hub,) = members(node, "hub")
                    for follower in crowd:
                        follower.client.like(7)
                    os.kill(hub, signal.SIGKILL)
                    await gone(hub)
                    await talk.goes_on()
                    for follower in crowd:
                        follower.client.like()
            await talk.everybody_heard_it(crowd)
            for follower in crowd:
                assert not follower.client.reconnects
                assert follower.client.position is not None
                assert {follower.client.position.epoch} == {position.epoch for position in epochs if position is not None}
            assert not talk.refused
            # Counted once each, whichever hub heard of them, and how often.
            crowd[0].client.like()
            for follower in crowd:
                await follower.until_likes(3 * 6 * 8 + 1)
                # Nor was anybody counted twice, as a viewer of the hub that is gone and of its successor.
                await follower.until_viewers(6)
                assert max(follower.viewers, default=6) <= 6


async def test_what_a_killed_hub_did_not_answer_its_successor_does(tmp_path: Path) -> None:
    with redis() as url:
        async with serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url) as node, AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(open_viewer("raw", node.url)) for _ in range(8)]
            for viewer in viewers:
                await viewer.join(ROOM)
            assert viewers[0].position is not None
            epoch = viewers[0].position[0]
            before = [await viewer.comment(f"before {viewer.user}") for viewer in viewers]
            assert sorted(before) == list(range(1, 9))
            (hub,) = pids(node, "hub")
            # It takes what edges send no more, but is there.
            os.kill(hub, signal.SIGSTOP)
            for viewer in viewers:
                for ref in range(1, 11):
                    await viewer.send(COMMENT, ref, viewer.handle, f"{viewer.user} {ref}")
                await viewer.settle()
            os.kill(hub, signal.SIGKILL)
            for viewer in viewers:
                await viewer.until(lambda: all(ref in viewer.replies for ref in range(1, 11)))  # noqa: B023
            answers = [viewer.replies[ref] for viewer in viewers for ref in range(1, 11)]
            assert all(answer.code == 0 for answer in answers)
            assert sorted(answer.offset for answer in answers) == list(range(9, 89))
            for viewer in viewers:
                await viewer.until_offset(88)
                assert viewer.position == (epoch, 88)
                assert not viewer.gaps
                assert viewer.bodies[-80:] == viewers[0].bodies[-80:]


async def test_a_killed_node_takes_nothing_with_it_and_can_be_started_again(tmp_path: Path) -> None:
    with redis() as url:
        async with (
            serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url) as first,
            serve_workers(tmp_path, 2, ROOMCAST_REDIS__URL=url) as second,
            AsyncExitStack() as stack,
        ):
            theirs = await audience(stack, first.url, 4)
            ours = await audience(stack, second.url, 4)
            talk = Talk(*ours[:2], *theirs[:2])
            async with talk.going_on():
                first.process.kill()
                for process in first.listening["processes"]:
                    await gone(process["pid"])
                port = str(first.listening["port"])
                await stack.enter_async_context(
                    serve("--port", port, environment=environment(tmp_path, 2, ROOMCAST_REDIS__URL=url))
                )
                for follower in theirs:
                    await follower.until_back()
            await talk.everybody_heard_it([*ours, *theirs])
            assert all(follower.client.reconnects for follower in theirs)
            assert not any(follower.client.reconnects for follower in ours)
