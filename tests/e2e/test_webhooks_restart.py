"""A node that is killed while it tells what was given: nothing is lost, and nothing overtakes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import trio
from receiver import SECRET, Happening, Reply, receiver

from .people import token
from .processes import serve
from .shop import CAR, environment, sqlite
from .viewers import GIVE, Viewer, open_viewer

ROOMS = ("一号", "二号", "三号")


async def press(viewer: Viewer, flowing: trio.Event) -> None:
    """Give until the node is gone, as fast as it takes it."""
    try:
        for ref in range(1, 100_000):
            await viewer.send(GIVE, ref, viewer.handle, CAR)
            await viewer.until(lambda ref=ref: ref - len(viewer.paid) < 20)  # type: ignore[misc]
            if len(viewer.paid) > 60:
                flowing.set()
    except Exception:
        flowing.set()


async def test_what_was_given_is_told_after_the_node_was_killed(tmp_path: Path) -> None:
    chance = random.Random(7)
    sent: dict[str, str] = {}
    last: dict[str, int] = {}
    async with receiver() as told:

        def answer(happenings: list[Happening]) -> Reply:
            for each in happenings:
                assert sent.setdefault(each["id"], json.dumps(each)) == json.dumps(each)
                assert each["number"] <= last.get(each["room"], 0) + 1 or any(
                    (other["room"], other["number"]) == (each["room"], each["number"] - 1) for other in happenings
                )
            if chance.random() < 0.2:
                return 500, b""
            for each in happenings:
                last[each["room"]] = max(last.get(each["room"], 0), each["number"])
            if chance.random() < 0.2:
                # It was taken, but nobody learns of it.
                told.take(happenings)
                return None
            return 200, b""

        told.answer = answer
        environ = environment(
            sqlite(tmp_path),
            ROOMCAST_HOOKS__EVENTS_URL=told.url,
            ROOMCAST_HOOKS__SECRET=SECRET,
            ROOMCAST_HOOKS__EVENTS_BATCH="20",
            ROOMCAST_HOOKS__EVENTS_SECONDS="0.2",
            ROOMCAST_HOOKS__RETRY_SECONDS="0.01",
            ROOMCAST_HOOKS__RETRY_MOST_SECONDS="0.02",
        )
        acknowledged: dict[str, set[int]] = {}
        async with serve(environment=environ) as served, trio.open_nursery() as nursery:
            viewers: dict[str, Viewer] = {}

            async def be_in(room: str, *, task_status: trio.TaskStatus[None]) -> None:
                async with open_viewer("websockets", served.url) as viewer:
                    await viewer.join(room, token=token("小明"))
                    viewers[room] = viewer
                    flowing = trio.Event()
                    async with trio.open_nursery() as pressing:
                        pressing.start_soon(press, viewer, flowing)
                        await flowing.wait()
                        task_status.started()

            for room in ROOMS:
                await nursery.start(be_in, room)
            await told.until(lambda: len(told.ids()) > 20)
            served.process.kill()
            await served.ended()
        for room, viewer in viewers.items():
            acknowledged[room] = {paid.entry for paid in viewer.paid.values()}
            assert len(acknowledged[room]) > 60
        async with serve(environment=environ) as served, open_viewer("websockets", served.url) as witness:
            await witness.join(ROOMS[0], token=token("小红"))
            paid = await witness.spend(GIVE, CAR)
            acknowledged[ROOMS[0]].add(paid.entry)
            for room in ROOMS:
                wanted = acknowledged[room]
                await told.until(
                    lambda room=room, wanted=wanted: (  # type: ignore[misc]
                        wanted <= {each["data"]["entry"] for each in told.firsts().get(room, [])}
                    )
                )
    assert told.genuine
    for room in ROOMS:
        found = told.firsts()[room]
        assert [each["number"] for each in found] == list(range(1, len(found) + 1))
        assert [each["data"]["entry"] for each in found] == list(range(1, len(found) + 1))
