"""Settings that are read again while viewers stay: what changes at once, that nobody misses anything, and that nothing is left.

A viewer checks every batch against what came before, so that a hole or a repetition fails the test wherever it happens.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from engine.access import mint
from engine.errors import Close, Code, RoomcastError
from engine.node import Node, open_node
from engine.reload import Reloaded
from engine.settings import GiftSettings, Settings, WordList

from .nodes import lively
from .people import ROOM, SECRET, live, token
from .shop import ROSE, shop, sqlite
from .transports import HttpRefusal
from .viewers import CHANGE, COMMENT, GIVE, LIKE, MSGPACK, READ_GIFTS, Paid, Viewer, open_viewer


class Reloading:
    """A node, and the settings that it finds when it reads them again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.node: Node

    def read(self) -> Settings:
        return self.settings

    async def change(self, **sections: Any) -> Reloaded:
        """Change these of some sections, reload, and return what came of it."""
        for name, changes in sections.items():
            section = changes if name in ("gifts", "feeds") else replace(getattr(self.settings, name), **changes)
            self.settings = replace(self.settings, **{name: section})
        return await self.node.reload()


Open = Callable[[Settings], AbstractAsyncContextManager[Reloading]]


@pytest.fixture(params=[False, True], ids=["in-process", "encoded"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a node that reads its settings again, over each kind of link."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[Reloading]:
        reloading = Reloading(settings)
        async with open_node(settings, reread=reloading.read, encoded_link=request.param) as reloading.node:
            yield reloading

    return run


@asynccontextmanager
async def joined(reloading: Reloading, **more: Any) -> AsyncIterator[Viewer]:
    async with open_viewer("raw", reloading.node.url, MSGPACK) as viewer:
        await viewer.join(ROOM, **more)
        yield viewer


async def said(viewer: Viewer, body: str = "说") -> Code:
    return Code((await viewer.ask(COMMENT, viewer.handle, body)).code)


async def stays(viewer: Viewer) -> None:
    """It was sent all there is, in order, without a gap, and may go on."""
    offset = await viewer.comment("还在")
    await viewer.until_offset(offset)
    assert not viewer.gaps
    assert viewer.bye is None
    assert sorted(viewer.events) == list(range(1, offset + 1)) or viewer.snapshots[0][4]


# -- what a viewer may do ----------------------------------------------------------------------------------------------


async def test_what_viewers_may_say_changes_while_they_are_there(opened: Open, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("坏话\n", encoding="utf-8")
    plain = lively()
    async with opened(plain) as reloading, joined(reloading) as viewer:
        change = reloading.change
        assert await said(viewer, "a" * 300) == Code.OK
        assert (await change(limits={"comment_bytes": 100})).changed == ["limits.comment_bytes"]
        assert await said(viewer, "a" * 300) == Code.TOO_LONG
        await change(limits={"comment_bytes": 500, "comment_characters": 200})
        assert await said(viewer, "a" * 300) == Code.TOO_LONG
        await change(limits={"comment_characters": 2_000})
        assert await said(viewer, "a" * 300) == Code.OK

        # Who has used up a slow rate does not wait for it under a fast one.
        await change(limits={"comments_per_second": 0.001, "comments_burst": 2})
        assert [await said(viewer) for _ in range(3)] == [Code.OK, Code.OK, Code.RATE_LIMITED]
        await change(limits={"comments_per_second": 10_000.0, "comments_burst": 10_000})
        assert [await said(viewer) for _ in range(3)] == [Code.OK] * 3

        await change(limits={"slow_seconds": 3_600.0})
        assert [await said(viewer), await said(viewer)] == [Code.OK, Code.SLOW_MODE]
        await change(limits={"slow_seconds": 0.0, "duplicate_seconds": 3_600.0})
        assert [await said(viewer, "一"), await said(viewer, "一"), await said(viewer, "二")] == [
            Code.OK,
            Code.DUPLICATE,
            Code.OK,
        ]
        await change(limits={"duplicate_seconds": 0.0}, moderation={"lists": (WordList(file=str(words)),)})
        assert [await said(viewer, "二"), await said(viewer, "坏话")] == [Code.OK, Code.BLOCKED]
        # One that is not listed any more, and one that was changed and is looked at because of the reload.
        words.write_text("别的\n", encoding="utf-8")
        await change(limits={"exempt_users": ("somebody",)})
        assert [await said(viewer, "坏话"), await said(viewer, "别的")] == [Code.OK, Code.BLOCKED]
        await change(limits={"exempt_users": (viewer.user,)})
        assert await said(viewer, "别的") == Code.OK
        await change(limits={"exempt_users": ()}, moderation={"lists": ()})
        assert await said(viewer, "别的") == Code.OK

        await change(limits={"room_events_per_second": 0.001, "withhold": "newest"})
        assert [await said(viewer), await said(viewer)] == [Code.OK, Code.WITHHELD]
        await change(limits={"room_events_per_second": 0.0})
        assert await said(viewer) == Code.OK
        await stays(viewer)
        assert reloading.settings == replace(plain, limits=reloading.settings.limits)
        assert reloading.node.settings == reloading.settings


async def test_what_a_room_is_changes_while_viewers_are_there(opened: Open) -> None:
    async with opened(live()) as reloading, joined(reloading, token=token("a")) as viewer:
        change = reloading.change
        for _ in range(3):
            await viewer.comment("早")
        await viewer.until_offset(3)
        await change(room={"recent_events": 1})
        async with joined(reloading) as late:
            # A snapshot from before the comments serves, too; they follow then.
            await late.until_offset(3)
            assert list(late.shown) in ([3], [1, 2, 3])
        assert Code((await viewer.ask(CHANGE, viewer.handle, "attribute", "x", {"value": "1"})).code) == Code.FORBIDDEN
        await change(room={"viewer_attributes": 1})
        await viewer.change("attribute", "x", {"value": "1"})
        await change(room={"reactions": ("🚀",)})
        await viewer.send(LIKE, viewer.handle, 1, {"🚀": 2, "👍": 2})
        await viewer.until(lambda: viewer.totals.get("reactions") == {"🚀": 2})
        await change(room={"notable_level": 5})
        async with joined(reloading, token=token("star", level=5)):
            await viewer.until(lambda: any(event[0] == 7 and event[1][0] == "star" for event in viewer.events.values()))
        await change(room={"viewers_max": 1})
        async with open_viewer("raw", reloading.node.url) as another:
            refusal = await another.knock(ROOM)
            assert refusal is not None
            assert refusal.code == Code.ROOM_FULL
            await change(room={"viewers_max": 2})
            await another.join(ROOM)
        await stays(viewer)


async def test_who_may_come_changes_and_who_is_there_stays(opened: Open) -> None:
    async with opened(live()) as reloading, joined(reloading, token=token("a")) as viewer, joined(reloading) as guest:
        change = reloading.change
        another = "另一个只有产品和服务器知道的密钥-0123456789"
        assert (await change(access={"secret": another, "anonymous": "none"})).changed == [
            "access.anonymous",
            "access.secret",
        ]
        async with open_viewer("raw", reloading.node.url) as late:
            for given, code in ((None, Code.FORBIDDEN), (token("b"), Code.BAD_TOKEN)):
                refusal = await late.knock(ROOM, token=given)
                assert refusal is not None
                assert refusal.code == code
            await late.join(ROOM, token=mint(another, "b"))
        # A port that is full, and a path that is another one.
        await change(edge={"path": "/other"})
        with pytest.raises(HttpRefusal) as refused:
            async with open_viewer("raw", reloading.node.url.replace("/other", "/ws")):
                pass
        assert refused.value.status == 404
        assert reloading.node.url.endswith("/other")
        await change(edge={"viewers_max": 1})
        with pytest.raises(HttpRefusal) as refused:
            async with open_viewer("raw", reloading.node.url):
                pass
        assert refused.value.status == 503
        await change(access={"secret": SECRET}, edge={"viewers_max": 0, "message_bytes": 600})
        async with open_viewer("raw", reloading.node.url) as late:
            await late.join(ROOM, token=token("c"))
        # For those who are there, too.
        await guest.send(COMMENT, 1, guest.handle, "x" * 700)
        assert (await guest.until_gone()).code == 1009
        await stays(viewer)


async def test_what_can_be_given_changes(opened: Open, tmp_path: Path) -> None:
    async with opened(shop(sqlite(tmp_path))) as reloading, joined(reloading, token=token("a")) as viewer:
        first = await viewer.spend(GIVE, ROSE, 2)
        assert first.amount == 20
        gifts = {ROSE: GiftSettings(name="玫瑰", price=7), "boat": GiftSettings(name="船", price=1)}
        assert (await reloading.change(gifts=gifts)).changed == ["gifts"]
        assert (await viewer.spend(GIVE, ROSE, 2)).amount == 14
        assert (await viewer.spend(GIVE, "boat", 1)).amount == 1
        assert (await viewer.refused(GIVE, "car", 1)).code == Code.NOT_FOUND
        assert [gift[0] for gift in (await viewer.read(READ_GIFTS))[3]] == ["boat", ROSE]
        # Whether the product is asked, too; here it has nothing that could be asked.
        await reloading.change(ledger={"spend": "hook"})
        assert (await viewer.refused(GIVE, ROSE, 1)).code == Code.FORBIDDEN
        await reloading.change(ledger={"spend": "free"}, limits={"gifts_per_second": 0.001, "gifts_burst": 1})
        paid = [await viewer.pay(GIVE, ROSE, 1) for _ in range(2)]
        assert isinstance(paid[0], Paid)
        assert getattr(paid[1], "code", 0) == Code.RATE_LIMITED
        await stays(viewer)


# -- time and slowness -------------------------------------------------------------------------------------------------


async def test_who_does_not_read_is_judged_by_the_new_lag_policy(opened: Open) -> None:
    slow = {"lag_seconds": 3_600.0, "log_seconds": 3_600.0, "log_bytes": 64 << 20}
    tight: dict[str, Any] = {"send_buffer_bytes": 4096, "dead_peer_seconds": 3_600.0 * 0.9}
    settings = lively(room={**slow, "lag_seconds": 3_000.0}, edge=tight, ledger={"recent_seconds": 3_000.0})
    async with opened(settings) as reloading, joined(reloading) as viewer:
        async with open_viewer("raw", reloading.node.url, deflate=False, receive_buffer=4096) as deaf:
            await deaf.join(ROOM)
            while not reloading.node.edge.statistics().laggards:
                await viewer.comment("长" * 600)
            await reloading.change(room={"lag_policy": "close", "lag_seconds": 0.001})
            while not reloading.node.edge.statistics().closed.get(Close.LAG):
                await viewer.comment("长" * 600)
        await viewer.settle()
        await stays(viewer)


async def test_ticks_and_batches_change_under_load(opened: Open) -> None:
    async with opened(lively()) as reloading, joined(reloading) as viewer, joined(reloading) as speaker:
        for room in (
            {"tick_grid_seconds": 0.05, "tick_max_seconds": 0.5},
            {"batch_bytes": 1024, "fanout_share": 0.1},
            {"tick_grid_seconds": 0.0, "counters_seconds": 0.5},
            {"tick_grid_seconds": 0.002, "batch_bytes": 262_144, "log_bytes": 4 << 20, "linger_seconds": 1.0},
        ):
            reloaded = await reloading.change(room=room, edge={"slice_frames": 1 + len(room)})
            assert {f"room.{name}" for name in room} <= set(reloaded.changed)
            for _ in range(5):
                await speaker.comment("x" * 700)
        await viewer.until_offset(20)
        await stays(viewer)


async def test_a_room_that_is_empty_is_forgotten_when_it_lingers_no_longer(opened: Open) -> None:
    async with opened(lively(room={"linger_seconds": 3_600.0})) as reloading:
        async with joined(reloading):
            pass
        statistics = reloading.node.edge.statistics
        with trio.fail_after(30):
            while statistics().viewers:
                await trio.lowlevel.checkpoint()
            assert statistics().rooms == 1
            await reloading.change(room={"linger_seconds": 0.0})
            while statistics().rooms:
                await trio.lowlevel.checkpoint()


async def test_everybody_gets_everything_while_settings_change_again_and_again(opened: Open) -> None:
    async with opened(lively()) as reloading, AsyncExitStack() as stack:
        crowd = [
            await stack.enter_async_context(open_viewer("raw", reloading.node.url, deflate=number % 2 == 0))
            for number in range(6)
        ]
        for viewer in crowd:
            await viewer.join(ROOM)
        stop = False
        count = 0

        async def talk(viewer: Viewer) -> None:
            nonlocal count
            while not stop:
                await viewer.comment(f"{viewer.user} 👋")
                count += 1

        async with trio.open_nursery() as nursery:
            for viewer in crowd[:3]:
                nursery.start_soon(talk, viewer)
            for number in range(20):
                odd = bool(number % 2)
                before = count
                await reloading.change(
                    room={
                        "tick_grid_seconds": 0.01 if odd else 0.001,
                        "batch_bytes": 2_048 if odd else 262_144,
                        "log_bytes": 65_536 if odd and number > 30 else 8 << 20,
                        "lag_policy": "close" if odd else "skip",
                        "recent_events": number,
                        "counters_seconds": 0.05 if odd else 1.0,
                    },
                    edge={"slice_frames": 1 if odd else 512, "send_buffer_bytes": 16_384 if odd else 65_536},
                    limits={"likes_burst": 100 + number, "duplicate_seconds": 0.0, "pending_events": 1_000 + number},
                    broker={"history_events": 10_000 + number},
                    access={"anonymous": "write" if odd else "auto"},
                    log={"level": "warning" if odd else "info"},
                )
                while count < before + 5:
                    await trio.lowlevel.checkpoint()
            stop = True
        for viewer in crowd:
            await viewer.until_offset(count)
            assert list(viewer.events) == list(range(1, count + 1))
            assert not viewer.gaps
            assert viewer.events == crowd[0].events


# -- what does not change ----------------------------------------------------------------------------------------------


async def test_settings_that_cannot_be_used_change_nothing_and_all_faults_are_told(opened: Open, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes("好\n".encode() + b"\xff\xfe\n")
    settings = lively()
    async with opened(settings) as reloading, joined(reloading) as viewer:
        wrong = {"comments_burst": 0, "comment_bytes": 10}
        with pytest.raises(RoomcastError) as refused:
            await reloading.change(limits=wrong, room={"log_seconds": 1.0})
        assert [line.split(" ")[0] for line in str(refused.value).splitlines()] == [
            "limits.comments_burst",
            "room.log_seconds",
        ]
        assert reloading.node.settings is settings
        assert await said(viewer, "长一点的话" * 5) == Code.OK
        # A word list that is found to be none only when it is loaded, after all was judged.
        reloading.settings = settings
        with pytest.raises(RoomcastError, match="line 2: not UTF-8"):
            await reloading.change(limits={"comment_bytes": 10}, moderation={"lists": (WordList(file=str(words)),)})
        assert reloading.node.settings is settings
        assert await said(viewer, "长一点的话" * 5) == Code.OK
        await stays(viewer)


async def test_what_needs_a_restart_is_told_each_time_and_stays(opened: Open) -> None:
    async with opened(lively()) as reloading, joined(reloading) as viewer:
        url = reloading.node.url
        first = await reloading.change(edge={"port": 1}, room={"heartbeat_seconds": 100.0}, limits={"reads_burst": 3})
        assert (first.changed, first.restart) == (["limits.reads_burst"], ["edge.port", "room.heartbeat_seconds"])
        assert await reloading.change() == Reloaded([], first.restart)
        assert reloading.node.url == url
        async with joined(reloading) as late:
            assert late.joined[7] == viewer.joined[7]
        await stays(viewer)


async def test_who_asks_may_go_and_two_who_ask_take_turns(opened: Open) -> None:
    async with opened(lively()) as reloading, joined(reloading) as viewer:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                reloading.settings = replace(
                    reloading.settings, limits=replace(reloading.settings.limits, reads_burst=100 + number)
                )
                nursery.start_soon(reloading.node.reload)
        assert reloading.node.settings == reloading.settings
        with trio.CancelScope() as gone:
            gone.cancel()
            await reloading.change(limits={"reads_burst": 7})
        assert (await reloading.node.reload()).restart == []
        assert reloading.node.settings.limits.reads_burst == 7
        await stays(viewer)


def _tasks(task: trio.lowlevel.Task) -> int:
    return 1 + sum(_tasks(child) for nursery in task.child_nurseries for child in nursery.child_tasks)


async def test_fifty_reloads_leave_nothing_behind(opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Pytest keeps each record that is logged while a test runs.
    caplog.set_level(logging.WARNING)
    words = tmp_path / "words.txt"
    words.write_text("".join(f"词{number}\n" for number in range(50)), encoding="utf-8")
    lists = (WordList(file=str(words)),)
    root = trio.lowlevel.current_root_task()
    assert root is not None
    async with opened(lively()) as reloading, joined(reloading) as viewer:

        async def reload(times: int) -> tuple[int, int]:
            for number in range(times):
                await reloading.change(
                    limits={"comments_burst": 10_000 + number % 2, "slow_seconds": 0.0},
                    moderation={"lists": lists if number % 2 else ()},
                    room={"linger_seconds": 30.0 + number % 2},
                    access={"secret": SECRET if number % 2 else "", "anonymous": "write"},
                )
            await viewer.settle()
            gc.collect()
            objects = gc.get_objects()
            # Trio keeps a deadline that was not reached, and an entry for it, until it clears away many of them at once.
            deadlines = sum(1 for each in objects if type(each) is trio.CancelScope)
            return _tasks(root), len(objects) - 2 * deadlines

        await reload(10)
        tasks, objects = await reload(2)
        more_tasks, more_objects = await reload(50)
        assert more_tasks < tasks + 10
        # What one reload keeps would be there fifty times.
        assert more_objects < objects + 50
        await stays(viewer)
