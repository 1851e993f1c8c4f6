"""What a hub tells the product beside what is booked: a room's life, its peaks, moderation; and what if it cannot write.

The outbox is a real one; nobody listens at the address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from engine.errors import Code
from engine.hooks.values import Happening
from engine.hub.webhooks import STEPS
from engine.ledger.store import Store
from engine.link.messages import Presence
from engine.schema import Change, Moderate
from engine.settings import HookSettings

from .harness import FakeEdge, Harness, open_hub

ROOM = "大厅"
HOOKS = HookSettings(
    secret="whsec_" + "A" * 40, events_url="http://127.0.0.1:9/", retry_seconds=3_600, retry_most_seconds=3_600
)
LATER = 2**45


class Book:
    """A hub and the outbox that it writes to."""

    def __init__(self, harness: Harness, store: Store) -> None:
        self.harness = harness
        self.webhooks = harness.hub.webhooks
        self._store = store

    def told(self) -> list[Happening]:
        """Of all rooms that wait, each room's in order."""
        pages = self._store.webhooks.page(10_000, LATER).rooms if self._store.exists() else []
        return [letter.happening(page) for page in sorted(pages, key=lambda page: page.name) for letter in page.letters]

    async def has(self, count: int) -> list[Happening]:
        with trio.fail_after(20):
            while len(told := self.told()) < count:
                await wait_all_tasks_blocked(0.005)
        return told

    async def edge(self, *rooms: str, viewers: int = 1) -> FakeEdge:
        edge = self.harness.edge()
        for room in rooms or (ROOM,):
            await edge.open(room, viewers)
        return edge


@asynccontextmanager
async def booked(directory: Path, hooks: HookSettings = HOOKS) -> AsyncIterator[Book]:
    store = Store(f"sqlite:///{directory}/ledger.db", answer_seconds=20)
    own: Any = Store(f"sqlite:///{directory}/ledger.db", answer_seconds=20)
    async with open_hub(store=own, hooks=hooks) as harness:
        yield Book(harness, store)
    store.close()


async def moderate(edge: FakeEdge, ref: int, action: str, user: str = "anna", **more: Any) -> None:
    edge.request(ROOM, "mod", Moderate(ref, 0, action, user, **more), role="moderator")
    await answered(edge, ref)


async def live(edge: FakeEdge, ref: int, **life: Any) -> None:
    edge.request(ROOM, "host", Change(ref, 0, "life", "", life), role="host")
    await answered(edge, ref)


async def answered(edge: FakeEdge, ref: int) -> None:
    with trio.fail_after(20):
        while ref not in edge.codes():
            await wait_all_tasks_blocked(0.005)
    assert edge.codes()[ref] == Code.OK


# -- a room's life ----------------------------------------------------------------------------------------------------


async def test_a_room_that_is_opened_closed_and_archived_is_told(tmp_path: Path) -> None:
    async with booked(tmp_path) as book:
        edge = await book.edge()
        await live(edge, 1, state="open", stream="早安")
        await live(edge, 2, state="open", stream="早安", title="a title changes nothing")
        await live(edge, 3, state="closed", stream="早安")
        await live(edge, 4, state="open", stream="晚安")
        await live(edge, 5, state="archived", stream="晚安")
        told = await book.has(4)
        assert [(each.type, each.room, each.number) for each in told] == [
            ("room.opened", ROOM, 1),
            ("room.closed", ROOM, 2),
            ("room.opened", ROOM, 3),
            ("room.archived", ROOM, 4),
        ]
        assert [each.data["value"]["stream"] for each in told] == ["早安", "早安", "晚安", "晚安"]
        assert (told[0].data["type"], told[0].data["kind"]) == ("state", "life")


async def test_a_life_that_was_told_is_not_told_by_another_hub(tmp_path: Path) -> None:
    async with booked(tmp_path) as book:
        edge = await book.edge()
        await live(edge, 1, state="closed", stream="s")
        await book.has(1)
    async with booked(tmp_path) as book:
        edge = await book.edge()
        await live(edge, 1, state="closed", stream="s")
        await live(edge, 2, state="archived", stream="s")
        assert [each.type for each in await book.has(2)] == ["room.closed", "room.archived"]


async def test_a_room_without_a_life_is_not_told_and_one_that_loses_it_is_open(tmp_path: Path) -> None:
    async with booked(tmp_path) as book:
        edge = await book.edge(ROOM, "other")
        await live(edge, 1, state="closed")
        edge.request(ROOM, "host", Change(2, 0, "life", "", None), role="host")
        await answered(edge, 2)
        assert [(each.type, each.room) for each in await book.has(2)] == [("room.closed", ROOM), ("room.opened", ROOM)]


# -- peaks ------------------------------------------------------------------------------------------------------------


async def test_a_new_peak_is_told_at_round_numbers(tmp_path: Path) -> None:
    async with booked(tmp_path) as book:
        edge = await book.edge(ROOM, viewers=99)
        for viewers, count in ((100, 1), (150, 1), (90, 1), (180, 1), (1_234, 2), (1_500, 2), (2_000, 3)):
            edge.send(Presence(ROOM, viewers))
            await book.has(count)
            await wait_all_tasks_blocked(0.005)
        told = await book.has(3)
        assert [(each.type, each.data["step"], each.data["viewers"]) for each in told] == [
            ("viewers.peak", 100, 100),
            ("viewers.peak", 1_000, 1_234),
            ("viewers.peak", 2_000, 2_000),
        ]


def test_the_steps_are_one_two_and_five() -> None:
    assert STEPS[:8] == (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)


# -- moderation -------------------------------------------------------------------------------------------------------


async def test_what_moderators_do_is_told_with_everything_that_is_written_backstage(tmp_path: Path) -> None:
    async with booked(tmp_path) as book:
        edge = await book.edge()
        await moderate(edge, 1, "mute", seconds=60, reason="刷屏")
        await moderate(edge, 2, "ban", "eve", everywhere=True)
        await moderate(edge, 3, "shadow", "bob")
        # It comes again, and was carried out.
        await moderate(edge, 1, "mute", seconds=60, reason="刷屏")
        await moderate(edge, 4, "unban", "eve", everywhere=True)
        told = await book.has(4)
        assert [each.type for each in told] == [
            "moderation.mute",
            "moderation.ban",
            "moderation.shadow",
            "moderation.unban",
        ]
        first = told[0].data
        assert (first["author"]["id"], first["author"]["role"], first["user"]) == ("mod", "moderator", "anna")
        assert (first["action"], first["reason"], first["everywhere"]) == ("mute", "刷屏", False)
        assert first["until"] > 0
        assert [each.data["everywhere"] for each in told] == [False, True, False, True]


async def test_it_is_written_down_before_it_is_done(tmp_path: Path) -> None:
    async with booked(tmp_path) as book:
        edge = await book.edge()
        edge.request(ROOM, "mod", Moderate(1, 0, "delete", "", 77), role="moderator")
        (told,) = await book.has(1)
        assert (told.type, told.data["offsets"]) == ("moderation.delete", [77, 77])
        with trio.fail_after(20):
            while 1 not in edge.codes():
                await wait_all_tasks_blocked(0.005)
        # In vain, as backstage says, too.
        assert edge.codes() == {1: Code.NOT_FOUND}


async def test_only_what_is_wanted_is_told(tmp_path: Path) -> None:
    hooks = HookSettings(secret=HOOKS.secret, events_url=HOOKS.events_url, events=("peak",))
    async with booked(tmp_path, hooks) as book:
        edge = await book.edge(ROOM, viewers=99)
        await live(edge, 1, state="closed")
        await moderate(edge, 2, "mute")
        edge.send(Presence(ROOM, 100))
        assert [each.type for each in await book.has(1)] == ["viewers.peak"]


async def test_without_an_address_no_ledger_is_made(tmp_path: Path) -> None:
    async with booked(tmp_path, HookSettings()) as book:
        edge = await book.edge(ROOM, viewers=500)
        await live(edge, 1, state="closed")
        await moderate(edge, 2, "mute")
        await book.webhooks.drain(5)
        assert not (tmp_path / "ledger.db").exists()
        assert await book.webhooks.dead() == []
        assert await book.webhooks.replay() == 0


# -- a database out of reach ------------------------------------------------------------------------------------------


async def test_rooms_go_on_while_the_database_is_out_of_reach_and_it_is_told_later(tmp_path: Path) -> None:
    directory = tmp_path / "not yet"
    async with booked(directory) as book:
        edge = await book.edge(ROOM, viewers=100)
        await moderate(edge, 1, "mute")
        edge.comment(ROOM, "bob", "still here", 2)
        await answered(edge, 2)
        assert book.webhooks.statistics().waiting == 2
        assert book.told() == []
        directory.mkdir()
        told = await book.has(2)
        assert sorted(each.type for each in told) == ["moderation.mute", "viewers.peak"]
        assert book.webhooks.statistics().lost == 0


async def test_what_is_not_written_down_yet_is_when_the_hub_stops(tmp_path: Path) -> None:
    async with booked(tmp_path) as book:
        edge = await book.edge(ROOM, viewers=99)
        edge.send(Presence(ROOM, 700))
        await wait_all_tasks_blocked()
        await book.harness.hub.drain()
        assert [each.data["viewers"] for each in book.told()] == [700]


async def test_what_waits_in_memory_is_bounded_and_what_is_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.hub.webhooks._KEPT", 3)
    directory = tmp_path / "not yet"
    async with booked(directory) as book:
        rooms = [f"room{number}" for number in range(8)]
        await book.edge(*rooms, viewers=100)
        with trio.fail_after(20):
            while book.webhooks.statistics().lost < 5:
                await wait_all_tasks_blocked(0.005)
        assert book.webhooks.statistics().waiting == 3
        assert [each.message for each in caplog.records].count("happenings_lost") == 1
        directory.mkdir()
        assert [each.room for each in await book.has(3)] == rooms[:3]
