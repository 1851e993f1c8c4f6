"""Moderation of a live room: whatever moderators do holds at all nodes, for those who are there and those who come later."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import Close, Code
from engine.node import open_node

from .conftest import Running
from .people import ROOM, SECRET, Foreign, live, token
from .viewers import COMMENT, JOIN, MODERATE, VOTE, Viewer, open_viewer

EVERY_ACTION = (
    *("mute", "unmute", "shadow", "unshadow", "ban", "unban", "ban_address", "unban_address", "kick", "delete"),
    *("delete_user", "clear", "approve", "reject"),
)


async def say(viewer: Viewer, body: str) -> Code:
    return Code((await viewer.ask(COMMENT, viewer.handle, body)).code)


async def heard(viewer: Viewer, action: str, user: str) -> None:
    """Wait until a viewer has been told of it: then it holds where the viewer is."""
    await viewer.until(lambda: any(event[2:4] == [action, user] for event in viewer.of_kind(5)))


async def test_a_mute_holds_at_every_node_and_in_every_room_if_it_is_to(
    running: Running, foreign: Foreign, redis: dict[str, Any]
) -> None:
    settings = live(redis=redis)
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("mod", "moderator", name="管理员"), token("eve")) as (mod, here),
        foreign(two.url, token("eve"), token("anna")) as (there, anna),
        foreign(two.url, token("eve"), room="另一个房间") as (elsewhere,),
    ):
        assert await say(there, "你好") == Code.OK
        await mod.act(MODERATE, "mute", "eve", 0, 3_600, "刷屏 🚫")
        await heard(there, "mute", "eve")
        for viewer in (here, there):
            reply = await viewer.ask(COMMENT, viewer.handle, "我还在")
            assert reply.code == Code.MUTED
            assert 3_500_000 < reply.retry_after_ms <= 3_600_000
            assert (await viewer.ask(VOTE, viewer.handle, "poll", "x", 0)).code == Code.MUTED
        # The reason is not for everybody.
        assert all(event[6] == "" for event in there.of_kind(5))
        assert await say(anna, "安静了") == Code.OK
        assert await say(elsewhere, "这里可以") == Code.OK
        await mod.act(MODERATE, "unmute", "eve")
        await heard(there, "unmute", "eve")
        assert await say(there, "谢谢") == Code.OK
        await mod.act(MODERATE, "mute", "eve", 0, 0, "", True)
        while (code := await say(elsewhere, "一次")) == Code.OK:
            pass
        assert code == Code.MUTED
        await mod.act(MODERATE, "unmute", "eve", 0, 0, "", True)
        while (code := await say(elsewhere, "又一次")) == Code.MUTED:
            pass
        assert code == Code.OK


async def test_nobody_hears_who_is_shadowed_and_it_is_not_told(
    running: Running, foreign: Foreign, redis: dict[str, Any]
) -> None:
    settings = live(redis=redis)
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("mod", "moderator"), None) as (mod, witness),
        foreign(two.url, token("eve"), token("mod2", "moderator")) as (eve, other),
    ):
        await mod.act(MODERATE, "shadow", "eve", 0, 0, "骚扰")
        # What nobody is told holds at the other node as soon as what came after it is there.
        await other.until_offset((await mod.act(COMMENT, "之后")).offset)
        assert (await eve.ask(COMMENT, eve.handle, "有人吗 👻")).offset == 0
        assert await say(eve, "喂") == Code.OK
        await mod.act(MODERATE, "unshadow", "eve")
        last = await mod.comment("最后")
        await witness.until_offset(last)
        assert witness.bodies == ["之后", "最后"]
        assert not witness.of_kind(5)
        assert [event[0] for event in (await witness.past()).values()].count(1) == 2


async def test_a_kick_and_a_ban_send_away_at_every_node(running: Running, foreign: Foreign, redis: dict[str, Any]) -> None:
    settings = live(redis=redis)
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("mod", "moderator"), token("eve")) as (mod, here),
        foreign(two.url, token("eve"), token("anna")) as (there, anna),
    ):
        await mod.act(MODERATE, "kick", "eve", 0, 0, "冷静一下")
        for viewer in (here, there):
            gone = await viewer.until_gone()
            assert gone.code == Close.KICKED
            assert gone.reason
        async with foreign(two.url, token("eve"), token("eve")) as again:
            assert await say(again[0], "我回来了") == Code.OK
            await mod.act(MODERATE, "ban", "eve", 0, 3_600)
            for viewer in again:
                assert (await viewer.until_gone()).code == Close.BANNED
        await heard(anna, "ban", "eve")
        for url in (one.url, two.url):
            async with open_viewer("websockets", url) as viewer:
                reply = await viewer.knock(ROOM, token=token("eve"))
                assert reply is not None
                assert reply.code == Code.BANNED
                assert 3_500_000 < reply.retry_after_ms <= 3_600_000
                # Of this room only, and of nobody else.
                await viewer.join("另一个房间", token=token("eve"))
        await mod.act(MODERATE, "unban", "eve")
        await heard(anna, "unban", "eve")
        async with foreign(two.url, token("eve")) as (eve,):
            assert await say(eve, "谢谢") == Code.OK


@pytest.mark.parametrize("everywhere", [False, True])
async def test_an_address_is_banned_with_who_is_at_it(
    running: Running, redis: dict[str, Any], ws_home: Any, everywhere: bool
) -> None:
    settings = live(redis=redis, edge={"trusted_proxies": ("127.0.0.0/8",)})
    at, safe = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "203.0.113.8"}
    async with (
        running(settings) as one,
        open_node(settings) as two,
        open_viewer("ws", one.url, home=ws_home, headers=safe) as mod,
        open_viewer("ws", two.url, home=ws_home, headers=at) as eve,
        open_viewer("websockets", one.url, headers=at) as neighbour,
        open_viewer("websockets", two.url, headers=safe) as anna,
    ):
        await mod.join(ROOM, token=token("mod", "host"))
        await eve.join(ROOM, token=token("eve"))
        await neighbour.join(ROOM)
        await anna.join(ROOM)
        await mod.act(MODERATE, "ban_address", "eve", 0, 3_600, "", everywhere)
        for viewer in (eve, neighbour):
            assert (await viewer.until_gone()).code == Close.BANNED
        assert await say(anna, "我没事") == Code.OK
        for url in (one.url, two.url):
            async with open_viewer("websockets", url, headers=at) as viewer:
                assert (await viewer.ask(JOIN, ROOM)).code == Code.BANNED
        await mod.act(MODERATE, "unban", "eve", 0, 0, "", everywhere)
        async with open_viewer("websockets", two.url, headers=at) as viewer:
            # Until every node has done with looking for who is banned.
            await mod.act(MODERATE, "unban_address", "::ffff:203.0.113.7", 0, 0, "", everywhere)
            while (refusal := await viewer.knock(ROOM, token=token("eve"))) is not None:
                assert refusal.code == Code.BANNED
                await mod.act(MODERATE, "unban_address", "203.0.113.7", 0, 0, "", everywhere)
            assert await say(viewer, "我们回来了") == Code.OK
            await anna.until(lambda: "我们回来了" in anna.bodies)
            await viewer.settle()
            for network, code in (("203.0.113.0/24", Code.INVALID), ("2001:db8::5", Code.OK)):
                assert (await mod.ask(MODERATE, mod.handle, "ban_address", network)).code == code


async def test_what_is_deleted_is_delivered_to_nobody_afterwards(
    running: Running, foreign: Foreign, redis: dict[str, Any]
) -> None:
    settings = live(redis=redis)
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("host", "host"), token("eve")) as (host, eve),
        foreign(two.url, token("anna"), None) as (anna, guest),
    ):
        start = guest.position
        offsets = {body: await viewer.comment(body) for viewer, body in ((eve, "脏话1"), (anna, "你好 🌸"), (eve, "脏话2"))}
        for viewer in (anna, guest):
            await viewer.until_offset(offsets["脏话2"])
        told = (await host.act(MODERATE, "delete", "", offsets["脏话1"], 0, "骂人")).offset
        for viewer in (host, eve, anna, guest):
            await viewer.until_offset(told)
            assert list(viewer.shown.values()) == ["你好 🌸", "脏话2"]
        told = (await host.act(MODERATE, "delete_user", "eve")).offset
        await guest.until_offset(told)
        assert list(guest.shown.values()) == ["你好 🌸"]
        # Whoever comes back, reads back or comes late, at whichever node.
        for url in (one.url, two.url):
            async with open_viewer("websockets", url) as back, foreign(url, None, None) as late:
                back.gone |= guest.gone
                await back.join(ROOM, start, session=guest.session)
                await back.until_offset(told)
                assert list(back.shown.values()) == ["你好 🌸"]
                assert back.omitted == {offsets["脏话1"]: 1, offsets["脏话2"]: 1}
                for viewer in (back, *late):
                    past = await viewer.past(2)
                    assert list(past) == list(range(1, told + 1))
                    assert [past[offset][0] for offset in offsets.values()] == [0, 1, 0]
                    assert list(viewer.shown.values()) == ["你好 🌸"]
        notice = (await host.act(11, "公告")).offset
        told = (await host.act(MODERATE, "clear")).offset
        await anna.until_offset(told)
        assert anna.shown == {notice: "公告"}
        # Deleting a second time does no harm; what nobody said cannot be deleted.
        await host.act(MODERATE, "delete", "", offsets["脏话1"])
        assert (await host.ask(MODERATE, host.handle, "delete", "", told)).code == Code.INVALID
        assert (await host.ask(MODERATE, host.handle, "delete", "", 2**53 - 1)).code == Code.NOT_FOUND


async def test_everything_is_written_down_backstage_and_only_moderators_read_it(running: Running, foreign: Foreign) -> None:
    async with (
        running(live()) as node,
        foreign(node.url, token("host", "host", name="主播"), None) as (host, guest),
        foreign(node.url, token("mod", "moderator"), token("host", "host"), room=f"{ROOM}#backstage") as (stage, other),
    ):
        offset = await guest.comment("删我")
        await host.act(MODERATE, "mute", "eve", 0, 60, "刷屏 🚫")
        await host.act(MODERATE, "delete", guest.user, offset, 0, "骂人")
        await node.room(ROOM).ban("bob", reason="产品决定")
        for viewer in (stage, other):
            await viewer.until(lambda viewer=viewer: len(viewer.of_kind(5)) == 3)  # type: ignore[misc]
            mute, delete, ban = viewer.of_kind(5)
            assert mute[1] == ["host", "主播", {}, "host", 0]
            assert (mute[2:5], mute[6]) == (["mute", "eve", []], "刷屏 🚫")
            assert (delete[2:5], delete[6]) == (["delete", guest.user, [offset, offset]], "骂人")
            assert (ban[1][0], ban[2:4], ban[6]) == ("server", ["ban", "bob"], "产品决定")
        # They may talk there, too.
        await stage.until_offset(await stage.comment("幕后 🎭"))
        for who in (None, token("anna"), token("fan", level=99, follower=True)):
            async with open_viewer("websockets", node.url) as viewer:
                assert (await viewer.ask(JOIN, f"{ROOM}#backstage", 0, 0, None, None, {}, who)).code == Code.FORBIDDEN


async def test_viewers_may_do_nothing_of_it(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, None, token("anna", level=50)) as people:
        for viewer in people:
            for action in EVERY_ACTION:
                assert (await viewer.ask(MODERATE, viewer.handle, action, "eve", 1)).code == Code.FORBIDDEN
        assert not await people[0].past()
        assert SECRET not in str(node.settings)
