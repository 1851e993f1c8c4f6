"""Before-hooks over edges in processes of their own, when the hub that asks is killed: all is asked again, and done once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import trio
from e2e.people import ROOM, token
from e2e.processes import serve
from e2e.shop import environment, sqlite
from e2e.viewers import COMMENT, JOIN, open_viewer
from workers.nodes import gone, members

from engine.errors import Code

from .product import SECRET, Answer, Asked, open_product, verdicts


async def test_what_a_killed_hub_had_asked_its_successor_asks_again(tmp_path: Path) -> None:
    silent = True

    async def behave(asked: Asked) -> Answer:
        if silent and any("现在" in (question["body"], question["user"]) for question in asked.questions):
            await trio.sleep_forever()
        return verdicts(asked)

    async with open_product() as product:
        product.behave = behave
        variables = environment(
            sqlite(tmp_path),
            ROOMCAST_NODE__WORKERS="2",
            ROOMCAST_NODE__RUN_DIRECTORY=str(tmp_path / "run"),
            ROOMCAST_HOOKS__SECRET=SECRET,
            ROOMCAST_HOOKS__COMMENT_URL=product.url(),
            ROOMCAST_HOOKS__JOIN_URL=product.url(),
            ROOMCAST_HOOKS__ANSWER_SECONDS="60",
            ROOMCAST_HOOKS__FALLBACK="refuse",
        )
        async with (
            serve(environment=variables) as served,
            open_viewer("websockets", served.url) as viewer,
            open_viewer("websockets", served.url) as late,
        ):
            await viewer.join(ROOM, token=token("小明"))
            await viewer.comment("以前")
            before = len(product.asked)
            await viewer.send(COMMENT, 77, viewer.handle, "现在")
            await product.until(before + 1)
            await late.send(JOIN, 1, ROOM, 0, 0, None, None, {}, token("现在"))
            await product.until(before + 2)
            (hub,) = members(served, "hub")
            silent = False
            os.kill(hub, signal.SIGKILL)
            await gone(hub)
            await viewer.until(lambda: 77 in viewer.replies and "现在" in viewer.bodies)
            assert viewer.replies[77].code == Code.OK
            assert viewer.bodies.count("现在") == 1
            await late.until(lambda: bool(late.joined))
            keys = [question["key"] for question in product.questions if question["body"] == "现在"]
            assert len(keys) > 1
            assert len(set(keys)) == 1
