"""Notices that must arrive: counted live, exactly, over all nodes; and after the deadline who has not read one."""

from __future__ import annotations

import json
from typing import Any

import trio

from engine.errors import Code
from engine.hub.notices import Unread
from engine.node import open_node

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .viewers import NOTICE, PATIENCE, RECEIPT, Viewer


async def until_receipts(viewer: Viewer, offset: int, came: int, read: int) -> None:
    await viewer.until(lambda: viewer.totals.get("receipts", {}).get(str(offset)) == [came, read])


async def test_receipts_are_counted_once_for_each_user_at_all_nodes(
    running: Running, foreign: Foreign, redis: dict[str, Any]
) -> None:
    settings = live(redis=redis)
    told: list[Unread] = []
    unread = trio.Event()

    async def hook(report: Unread) -> None:
        told.append(report)
        unread.set()

    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("host", "host"), token("anna")) as (host, anna),
        foreign(two.url, token("bob"), token("anna"), token("eve")) as (bob, anna2, eve),
        foreign(two.url, token("mod", "moderator"), room=f"{ROOM}#backstage") as (stage,),
    ):
        one.on_unread = two.on_unread = hook
        offset = (await host.act(NOTICE, "请看：明天 8 点 ⏰", True, 1_000)).offset
        for viewer in (anna, bob, anna2, eve):
            await viewer.until_offset(offset)
            [notice] = viewer.of_kind(4)
            assert notice[3:] == ["请看：明天 8 点 ⏰", True]
            for _ in range(2):
                await viewer.send(RECEIPT, viewer.handle, offset, False)
        await bob.send(RECEIPT, bob.handle, offset, True)
        await anna2.send(RECEIPT, anna2.handle, offset, True)
        # After it was read, that it came is no news.
        await anna.send(RECEIPT, anna.handle, offset, False)
        for viewer in (host, anna, bob, eve):
            await until_receipts(viewer, offset, 3, 2)
        async with foreign(one.url, None) as (late,):
            assert late.value("notice", str(offset))["receipts"] is True
            assert late.totals["receipts"] == {str(offset): [3, 2]}
        with trio.fail_after(PATIENCE):
            await unread.wait()
        assert told == [Unread(ROOM, offset, 3, 2, ["eve", "host"])]
        await stage.until(lambda: bool(stage.of_kind(2)))
        [event] = stage.of_kind(2)
        assert event[3] == "notice.unread"
        assert json.loads(event[4]) == {"offset": offset, "came": 3, "read": 2, "unread": ["eve", "host"]}
        # Nothing counts any more that is to be told.
        for viewer in (host, bob):
            await viewer.until(lambda viewer=viewer: viewer.value("notice", str(offset)) is None)  # type: ignore[misc]
        assert len(stage.of_kind(2)) == len(told) == 1


async def test_above_the_limit_only_how_many_is_told(running: Running, foreign: Foreign) -> None:
    told: list[Unread] = []
    unread = trio.Event()

    async def hook(report: Unread) -> None:
        told.append(report)
        unread.set()
        raise RuntimeError("a product's own fault")

    async with (
        running(live(room={"receipts_audience": 1})) as node,
        foreign(node.url, token("host", "host"), token("anna"), None) as (host, anna, guest),
    ):
        node.on_unread = hook
        offset = (await host.act(NOTICE, "大家好", True, 500)).offset
        for viewer in (anna, guest):
            await viewer.until_offset(offset)
            await viewer.send(RECEIPT, viewer.handle, offset, False)
        await anna.send(RECEIPT, anna.handle, offset, True)
        await until_receipts(host, offset, 2, 1)
        with trio.fail_after(PATIENCE):
            await unread.wait()
        assert told == [Unread(ROOM, offset, 2, 1, [])]
        # The node goes on.
        assert await guest.comment("没事") > offset


async def test_only_who_leads_gives_notice_and_receipts_for_nothing_do_nothing(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, token("host", "host"), None) as (host, guest):
        assert (await guest.ask(NOTICE, guest.handle, "假公告")).code == Code.FORBIDDEN
        plain = (await host.act(NOTICE, "不用回执 🙅")).offset
        said = await guest.comment("你好")
        for offset in (0, plain, said, said + 10, 2**53 - 1):
            await guest.send(RECEIPT, guest.handle, offset, True)
        offset = (await node.room(ROOM).notice("要回执", receipts=True),)[0]
        await guest.until_offset(offset)
        await guest.send(RECEIPT, guest.handle, offset, True)
        await until_receipts(host, offset, 1, 1)
        assert set(host.totals["receipts"]) == {str(offset)}
        await guest.settle()
        assert not guest.faults
