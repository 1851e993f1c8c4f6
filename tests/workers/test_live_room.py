"""A live room over several processes: what is decided at the hub holds at every edge, and survives the loss of one."""

from __future__ import annotations

import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from e2e.nodejs import install_ws
from e2e.people import SECRET, open_people, token
from e2e.processes import Served
from e2e.viewers import ASK, CHANGE, CHOOSE, MODERATE, NOTICE, RECEIPT, VOTE, Viewer, open_viewer

from engine.errors import Close, Code

from .nodes import ROOM, gone, pids, serve_workers

FEEDS = {"quiet": {"kinds": ["notice"]}}


def live_room(tmp_path: Path, workers: int = 2) -> Any:
    return serve_workers(
        tmp_path,
        workers,
        ROOMCAST_ACCESS__SECRET=SECRET,
        ROOMCAST_ACCESS__ANONYMOUS="write",
        ROOMCAST_FEEDS=json.dumps(FEEDS),
        ROOMCAST_EDGE__TRUSTED_PROXIES='["127.0.0.0/8"]',
        ROOMCAST_ROOM__COUNTERS_SECONDS="0.05",
        ROOMCAST_ROOM__VIEWER_ATTRIBUTES="2",
    )


async def connect(stack: AsyncExitStack, node: Served, who: str | None = None, at: str = "", **more: Any) -> Viewer:
    headers = {"X-Forwarded-For": at} if at else None
    viewer = await stack.enter_async_context(open_viewer("raw", node.url, headers=headers))
    await viewer.join(ROOM, token=who, **more)
    await viewer.settle()
    return viewer


async def test_what_is_decided_holds_at_every_edge(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    home = install_ws(pytestconfig)
    async with (
        live_room(tmp_path) as node,
        open_people(home, False, node.url, token("host", "host", name="主播"), None, room=ROOM) as (host, guest),
        AsyncExitStack() as stack,
    ):
        everybody = [host, guest, *[await connect(stack, node, token(f"用户{number}")) for number in range(6)]]
        # State, votes, questions.
        await host.change("card", "茶", {"title": "龙井 🍵"})
        await host.change("poll", "水果", {"question": "吃什么？", "options": ["🍎", "🍐"]})
        for number, viewer in enumerate(everybody):
            await viewer.until(lambda viewer=viewer: viewer.value("poll", "水果") is not None)
            await viewer.act(VOTE, "poll", "水果", number % 2)
        await guest.act(ASK, "什么时候？")
        notice = (await host.act(NOTICE, "公告 📢", True)).offset
        for viewer in everybody:
            await viewer.until(lambda viewer=viewer: viewer.totals.get("votes", {}).get("poll:水果") == [4, 4])
            await viewer.until_offset(notice)
            await viewer.send(RECEIPT, viewer.handle, notice, True)
        for viewer in everybody:
            await viewer.until(lambda viewer=viewer: viewer.totals.get("receipts", {}).get(str(notice)) == [8, 8])
        # Deleting, for those who are there, who come back and who read back.
        start = everybody[2].position
        said = await guest.comment("删我 🗑")
        await everybody[3].until_offset(said)
        told = (await host.act(MODERATE, "delete_user", guest.user)).offset
        for viewer in everybody:
            await viewer.until_offset(told)
            assert said not in viewer.shown
        for _ in range(4):
            back = await connect(stack, node, token("回来"), position=start)
            await back.until_offset(told)
            assert back.omitted[said] == 1
            assert (await back.past())[said][0] == 0
        # Feeds.
        quiet = [await connect(stack, node, None, feed="quiet") for _ in range(4)]
        await everybody[2].act(CHOOSE, "quiet")
        said = await host.comment("你好")
        for viewer in (*quiet, everybody[2]):
            await viewer.until_offset(said)
            assert viewer.omitted[said] == 3
        # Who is sent away is sent away wherever it is; so is who is at its address.
        eves = [await connect(stack, node, token("eve"), "203.0.113.9") for _ in range(4)]
        near = [await connect(stack, node, None, "203.0.113.9") for _ in range(4)]
        await host.act(MODERATE, "kick", "eve")
        for viewer in eves:
            assert (await viewer.until_gone()).code == Close.KICKED
        await connect(stack, node, token("eve"), "203.0.113.9")
        await host.act(MODERATE, "ban_address", "eve")
        for viewer in near:
            assert (await viewer.until_gone()).code == Close.BANNED
        for _ in range(4):
            async with open_viewer("raw", node.url, headers={"X-Forwarded-For": "203.0.113.9"}) as viewer:
                assert (refusal := await viewer.knock(ROOM)) is not None
                assert refusal.code == Code.BANNED
        for viewer in everybody:
            await viewer.until(lambda viewer=viewer: viewer.counters[1] == len(everybody) + len(quiet) + 4)


async def test_when_an_edge_dies_nothing_that_was_decided_is_lost(tmp_path: Path) -> None:
    async with live_room(tmp_path, 1) as node, AsyncExitStack() as stack:
        host = await connect(stack, node, token("host", "host"))
        anna = await connect(stack, node, token("安娜"))
        await anna.act(CHANGE, "attribute", "举手", {"value": True}, -1, True)
        await host.change("card", "茶", {"title": "龙井"})
        said = await anna.comment("删我")
        await host.act(MODERATE, "ban", "eve")
        told = (await host.act(MODERATE, "delete", "", said)).offset
        [edge] = pids(node, "edge")
        position, session = anna.position, anna.session
        os.kill(edge, signal.SIGKILL)
        await gone(edge)
        back = await connect(stack, node, token("安娜"), position=position, session=session)
        assert back.session == session
        await back.until_offset(told)
        assert back.omitted.get(said, 1) == 1
        assert said not in back.events
        async with open_viewer("raw", node.url) as eve:
            assert (refusal := await eve.knock(ROOM, token=token("eve"))) is not None
            assert refusal.code == Code.BANNED
        late = await connect(stack, node)
        assert late.value("card", "茶")["title"] == "龙井"
