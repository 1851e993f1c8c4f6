"""Feeds: a choice of what happens, with the same offsets; what is left out is counted, and changing it loses nothing."""

from __future__ import annotations

from typing import Any

from engine.errors import Code
from engine.node import open_node
from engine.settings import FeedSettings

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .viewers import CHOOSE, COMMENT, MODERATE, Viewer, open_viewer

FEEDS = {
    "readable": FeedSettings(comments_per_second=1.0),
    "主播": FeedSettings(kinds=("comment", "notice"), roles=("host", "server"), users=("安娜",)),
    "quiet": FeedSettings(kinds=("notice",)),
}


def accounted(viewer: Viewer) -> set[int]:
    return {*viewer.events, *viewer.omitted}


async def test_each_feed_has_its_choice_and_every_offset(running: Running, foreign: Foreign, redis: dict[str, Any]) -> None:
    settings = live(redis=redis, feeds=FEEDS)
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("h", "host"), None) as (host, everything),
        foreign(two.url, None, feed="readable") as (readable,),
        foreign(two.url, None, token("bob"), feed="主播") as stars,
        foreign(one.url, None, token("eve"), feed="quiet") as quiet,
        foreign(two.url, token("安娜")) as (anna,),
    ):
        first = everything.position
        assert first is not None
        for number in range(30):
            await everything.send(COMMENT, 1 + number, everything.handle, f"弹幕 {number} 🌊")
        await anna.comment("我是安娜")
        await host.comment("主播说话 🎤")
        await host.change("card", "茶", {"title": "龙井"})
        last = (await host.act(11, "公告 📢")).offset
        for viewer in (host, everything, readable, *stars, *quiet):
            await viewer.until_offset(last)
            assert accounted(viewer) >= set(range(first[1] + 2, last + 1))
            assert set(viewer.omitted.values()) <= {3}
            # What the room is, is in all of them.
            assert viewer.value("card", "茶")["title"] == "龙井"
        assert len(everything.bodies) == 33
        assert not everything.omitted
        assert 1 <= len(readable.of_kind(1)) < 15
        for viewer in stars:
            assert viewer.bodies == ["我是安娜", "主播说话 🎤", "公告 📢"]
        for viewer in quiet:
            assert viewer.bodies == ["公告 📢"]
        # Coming back to a feed, and coming to it anew.
        viewer = stars[0]
        async with open_viewer("websockets", one.url) as back, foreign(one.url, None, feed="主播") as (late,):
            await back.join(ROOM, first, session=viewer.session, feed="主播")
            await back.until_offset(last)
            assert back.bodies == viewer.bodies
            assert accounted(back) == set(range(first[1] + 1, last + 1))
            assert set(late.shown.values()) <= set(viewer.bodies)
        # What is deleted is gone from each.
        said = next(offset for offset, body in host.shown.items() if body == "我是安娜")
        told = (await host.act(MODERATE, "delete", "", said)).offset
        for viewer in (*stars, *quiet):
            await viewer.until_offset(told)
            assert "我是安娜" not in viewer.shown.values()


async def test_a_viewer_changes_its_feed_while_everybody_talks(running: Running, foreign: Foreign) -> None:
    async with running(live(feeds=FEEDS)) as node, foreign(node.url, None, None, token("安娜")) as (one, two, anna):
        names = ("主播", "", "quiet", "readable", "", "主播")
        refs: dict[Viewer, list[int]] = {one: [], two: []}
        for number in range(60):
            await anna.send(COMMENT, 1 + number, anna.handle, f"第{number}条")
            if number % 10 == 0:
                for viewer in (one, two):
                    await viewer.send(CHOOSE, 500 + number, viewer.handle, names[number // 10])
                    refs[viewer].append(500 + number)
        await anna.until(lambda: 60 in anna.replies)
        last = anna.replies[60].offset
        for viewer in (one, two):
            await viewer.until(lambda viewer=viewer: all(ref in viewer.replies for ref in refs[viewer]))  # type: ignore[misc]
            # A choice that another one overtook is told so; the last one holds.
            assert {viewer.replies[ref].code for ref in refs[viewer]} <= {Code.OK, Code.CONFLICT}
            assert viewer.replies[refs[viewer][-1]].code == Code.OK
            await viewer.until_offset(last)
            assert accounted(viewer) == set(range(1, last + 1))
            assert (await viewer.ask(CHOOSE, viewer.handle, "没有")).code == Code.NOT_FOUND
            await viewer.act(CHOOSE, "quiet")
        told = await anna.comment("听得到吗？")
        for viewer in (one, two):
            await viewer.until_offset(told)
            assert viewer.omitted[told] == 3
        async with open_viewer("websockets", node.url) as stranger:
            refusal = await stranger.knock(ROOM, feed="没有")
            assert refusal is not None
            assert refusal.code == Code.NOT_FOUND
