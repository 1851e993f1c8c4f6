"""What viewers ask of a room beside speaking, seen from an edge of the hub: state, votes, notices, its past, who is there."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
import trio
from trio.testing import MockClock

from engine.errors import Code
from engine.hub.notices import Unread
from engine.link.messages import (
    Arrivals,
    AskRoll,
    Left,
    Likes,
    Notable,
    PrivateTo,
    Receipts,
    RefuseRoom,
    Roll,
    SharedSnapshot,
    Standing,
)
from engine.schema import Act, Ask, Author, Change, EventKind, Notice, ReadHistory, ReadState, Vote, backstage_of
from engine.settings import BrokerSettings, RoomSettings

from .harness import FakeEdge, decode, open_hub, settle

ROOM = "大厅"
QUIET = RoomSettings(recent_events=0)


async def opened(harness: Any, room: str = ROOM, **how: Any) -> FakeEdge:
    edge: FakeEdge = harness.edge(**how)
    await edge.open(room)
    return edge


def ask(edge: FakeEdge, act: Act, user: str = "host", role: str = "host", codec: int = 0) -> None:
    edge.request(ROOM, user, act, role=role, viewer=act.ref, codec=codec)


def states(edge: FakeEdge) -> list[list[Any]]:
    """Kind, key, value and version of each change that was told."""
    return [event[3:] for event in edge.events() if event[0] == EventKind.STATE]


async def test_a_change_of_the_state_is_told_and_part_of_the_snapshot(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        ask(edge, Change(1, 0, "card", "tea", {"title": "龙井", "price": "¥ 99", "stock": 5}))
        await trio.sleep(1)
        ask(edge, Change(2, 0, "card", "tea", {"stock": 4}))
        await trio.sleep(1)
        assert edge.codes() == {1: Code.OK, 2: Code.OK}
        assert [(kind, key, value["stock"], version) for kind, key, value, version in states(edge)] == [
            ("card", "tea", 5, 1), ("card", "tea", 4, 2)
        ]  # fmt: skip
        late = await opened(harness)
        (snapshot,) = decode(late.of(SharedSnapshot)[0].frames[0])
        assert [(kind, key, value["title"], version) for kind, key, value, version in snapshot[9]] == [
            ("card", "tea", "龙井", 2)
        ]
        ask(edge, Change(3, 0, "card", "tea", None))
        await trio.sleep(1)
        assert states(edge)[-1] == ["card", "tea", None, 3]


async def test_of_two_who_build_on_the_same_version_one_gets_it(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for ref in (1, 2):
            ask(edge, Change(ref, 0, "attribute", "topic", {"value": str(ref)}, expect=0))
        await trio.sleep(1)
        assert sorted(edge.codes().values()) == [Code.OK, Code.CONFLICT]
        assert len(states(edge)) == 1


async def test_many_changes_at_once_are_all_done_one_after_the_other(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for ref in range(1, 16):
            ask(edge, Change(ref, 0, "attribute", f"key{ref % 3}", {"value": ref}))
        await trio.sleep(1)
        assert set(edge.codes().values()) == {Code.OK}
        versions = [version for _, _, _, version in states(edge)]
        assert versions == sorted(set(versions))
        assert len(versions) == 15


async def test_a_retry_of_a_change_is_done_once(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        change = Change(1, 0, "attribute", "topic", {"value": "a"}, expect=0)
        ask(edge, change)
        await trio.sleep(1)
        ask(edge, Change(2, 0, "attribute", "topic", {"value": "b"}))
        await trio.sleep(1)
        ask(edge, Change(2, 0, "attribute", "topic", {"value": "b"}))
        await trio.sleep(1)
        ask(edge, change)
        await trio.sleep(1)
        assert [value for _, _, value, _ in states(edge)] == [{"value": "a"}, {"value": "b"}]
        assert edge.codes() == {1: Code.OK, 2: Code.OK}
        assert (edge.reply(1).offset, edge.reply(2).offset) == (1, 2)


@pytest.mark.parametrize("user", ["anna", "bob"])
async def test_a_viewer_may_not_lead(user: str, autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        for ref, kind in enumerate(("card", "poll", "mode", "life", "pin"), 1):
            key, value = ("", {}) if kind in ("mode", "life") else ("1", {"offset": 1})
            ask(edge, Change(ref, 0, kind, key, value), user, "viewer")
        await settle()
        assert {edge.reply(ref).code for ref in (1, 2, 3, 4)} == {Code.FORBIDDEN}
        assert edge.reply(5).code in (Code.FORBIDDEN, Code.NOT_FOUND)


async def test_a_pin_carries_the_comment(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        edge.comment(ROOM, "anna", "好问题", 1)
        await settle()
        ask(edge, Change(2, 0, "pin", "1", {"offset": 1}))
        ask(edge, Change(3, 0, "pin", "7", {"offset": 7}))
        await trio.sleep(1)
        assert edge.codes() == {1: Code.OK, 2: Code.OK, 3: Code.NOT_FOUND}
        assert states(edge)[-1][:3] == ["pin", "1", {"offset": 1, "event": [1, ["anna", "", {}], 1, "好问题"]}]


async def test_votes_are_one_for_each_user_and_their_totals_are_told(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        ask(edge, Change(1, 0, "poll", "tea", {"question": "哪一种?", "options": ["绿", "红"], "closes_ms": 60_000}))
        await trio.sleep(1)
        for ref, (user, choice) in enumerate((("a", 0), ("b", 1), ("c", 1), ("a", 1), ("b", 1), ("d", 2)), 2):
            ask(edge, Vote(ref, 0, "poll", "tea", choice), user, "viewer")
        ask(edge, Vote(9, 0, "poll", "coffee", 0), "a", "viewer")
        await trio.sleep(3)
        assert edge.codes() == {
            1: Code.OK, 2: Code.OK, 3: Code.OK, 4: Code.OK, 5: Code.ALREADY_VOTED, 6: Code.OK, 7: Code.INVALID,
            9: Code.NOT_FOUND,
        }  # fmt: skip
        assert edge.totals()["votes"] == {"poll:tea": [1, 2]}
        late = await opened(harness)
        assert decode(late.of(SharedSnapshot)[0].frames[0])[0][8]["votes"] == {"poll:tea": [1, 2]}
        await trio.sleep(60)
        ask(edge, Vote(10, 0, "poll", "tea", 0), "e", "viewer")
        await settle()
        assert edge.reply(10).code == Code.ROOM_MODE
        # A new poll under the old name begins from nothing.
        ask(edge, Change(11, 0, "poll", "tea", None))
        await trio.sleep(1)
        ask(edge, Change(12, 0, "poll", "tea", {"question": "?", "options": ["x", "y"]}))
        await trio.sleep(1)
        ask(edge, Vote(13, 0, "poll", "tea", 0), "a", "viewer")
        await trio.sleep(3)
        assert edge.totals()["votes"] == {"poll:tea": [1]}


async def test_a_question_is_asked_voted_for_and_answered(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for _ in range(2):
            ask(edge, Ask(1, 0, "多少钱?"), "anna", "viewer")
            await trio.sleep(1)
        ((kind, key, value, _),) = states(edge)
        assert (kind, value["body"], value["author"]["id"]) == ("question", "多少钱?", "anna")
        ask(edge, Vote(2, 0, "question", key), "bob", "viewer")
        await trio.sleep(3)
        assert edge.totals()["votes"] == {f"question:{key}": [1]}
        ask(edge, Change(3, 0, "question", key, {"answered": True}), "mod", "moderator")
        await settle()
        ask(edge, Vote(4, 0, "question", key), "eve", "viewer")
        await settle()
        assert edge.codes() == {1: Code.OK, 2: Code.OK, 3: Code.OK, 4: Code.ROOM_MODE}


async def test_what_goes_with_a_viewer_goes_when_it_leaves(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(recent_events=0, viewer_attributes=2)) as harness:
        edge = await opened(harness)
        ask(edge, Change(1, 0, "attribute", "hand", {"value": True}, on_leave=True), "anna", "viewer")
        ask(edge, Change(2, 0, "attribute", "mood", {"value": "😀"}), "anna", "viewer")
        await settle()
        edge.send(Left(ROOM, "session-anna"))
        await trio.sleep(1)
        assert states(edge)[-1][:3] == ["attribute", "hand", None]
        assert len(states(edge)) == 3


async def test_what_goes_with_a_viewer_goes_with_its_edge_unless_that_comes_back(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(recent_events=0, viewer_attributes=2)) as harness:
        watcher = await opened(harness)
        for number, (name, back) in enumerate((("one", True), ("two", False))):
            edge = harness.edge(name)
            await edge.open(ROOM)
            ask(edge, Change(number + 1, 0, "attribute", name, {"value": 1}, on_leave=True), name, "viewer")
            notable = Notable(ROOM, Author(name), Standing("host"), f"session-{name}", True)
            edge.send(notable)
            await settle()
            edge.end.close()
            await settle()
            if back:
                again = harness.edge(name)
                await again.open(ROOM)
                again.send(notable)
        await trio.sleep(30)
        assert [key for _, key, value, _ in states(watcher) if value is None] == ["two"]
        presence = [(event[1][0], event[2]) for event in watcher.events() if event[0] == EventKind.PRESENCE]
        assert presence == [("one", True), ("two", True), ("two", False)]


async def test_notable_viewers_come_and_go_once_wherever_they_are(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        one, other = await opened(harness), await opened(harness)
        host, standing = Author("anna", "安娜"), Standing("host", 3)
        for edge, present in ((one, True), (other, True), (one, True), (one, False), (other, False), (other, True)):
            edge.send(Notable(ROOM, host, standing, "session-anna", present))
            await trio.sleep(0.1)
        await trio.sleep(1)
        presence = [event[1:] for event in one.events() if event[0] == EventKind.PRESENCE]
        assert presence == [[["anna", "安娜", {}, "host", 3], present] for present in (True, False, True)]


async def test_who_came_is_counted(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        edge.send(Arrivals(ROOM, [f"user{number % 30}" for number in range(90)]))
        edge.send(Likes(ROOM, 7, {"🎉": 3, "🔥": 4}))
        await trio.sleep(3)
        totals = edge.totals()
        assert (totals["unique"], totals["peak"], totals["reactions"]) == (30, 1, {"🔥": 4, "🎉": 3})


async def test_a_notice_is_followed_until_everybody_has_read_it(autojump_clock: MockClock) -> None:
    unread: list[Unread] = []

    async def hook(each: Unread) -> None:
        unread.append(each)

    async with open_hub(room=QUIET) as harness:
        harness.hub.desk.notices.hook = hook
        edge = await opened(harness)
        stage = harness.edge()
        await stage.open(backstage_of(ROOM))
        ask(edge, Notice(1, 0, "请离场", receipts=True, deadline_ms=10_000))
        await trio.sleep(1)
        assert (edge.reply(1).code, edge.reply(1).offset) == (Code.OK, 1)
        assert [event[3:] for event in edge.events() if event[0] == EventKind.NOTICE] == [["请离场", True]]
        assert edge.of(AskRoll) == [AskRoll(ROOM, 1)]
        edge.send(Roll(ROOM, 1, ["a", "b", "c"]))
        edge.send(Receipts(ROOM, 1, False, ["a", "b"]), Receipts(ROOM, 1, True, ["a"]), Receipts(ROOM, 99, True, ["a"]))
        await trio.sleep(3)
        assert edge.totals()["receipts"] == {"1": [2, 1]}
        await trio.sleep(10)
        assert unread == [Unread(ROOM, 1, 2, 1, ["b", "c"])]
        (told,) = [json.loads(event[4]) for event in stage.events() if event[0] == EventKind.CUSTOM]
        assert told == {"offset": 1, "came": 2, "read": 1, "unread": ["b", "c"]}
        # Once.
        await trio.sleep(60)
        assert len(unread) == 1


async def test_a_hook_that_fails_is_logged_and_harms_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def hook(each: Unread) -> None:
        raise ValueError("broken")

    async with open_hub(room=QUIET) as harness:
        harness.hub.desk.notices.hook = hook
        edge = await opened(harness)
        ask(edge, Notice(1, 0, "hello", receipts=True, deadline_ms=1_000))
        await trio.sleep(5)
        assert "hook_failed" in caplog.text
        edge.comment(ROOM, "anna", "still here", 2)
        await settle()
        assert edge.reply(2).code == Code.OK


async def page(edge: FakeEdge, before: int, limit: int, ref: int) -> list[Any]:
    ask(edge, ReadHistory(ref, 0, before, limit), "anna", "viewer")
    await settle()
    (private,) = [message for message in edge.of(PrivateTo) if message.ref == ref]
    (message,) = decode(private.frame)
    return [*message[4:6], [event[3] if event[0] else event for event in message[7]]]


async def test_the_past_is_read_page_by_page_back_to_its_beginning(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for ref in range(1, 8):
            edge.comment(ROOM, "anna", str(ref), ref)
        await trio.sleep(1)
        assert await page(edge, 0, 3, 101) == [5, 7, ["5", "6", "7"]]
        assert await page(edge, 5, 3, 102) == [2, 4, ["2", "3", "4"]]
        assert await page(edge, 2, 3, 103) == [1, 1, ["1"]]
        assert await page(edge, 1, 3, 104) == [1, 0, []]
        assert await page(edge, 99, 2, 105) == [6, 7, ["6", "7"]]


async def test_a_page_has_at_most_so_many_bytes_and_at_least_one_event(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for ref in range(1, 6):
            edge.comment(ROOM, "anna", str(ref) * 3_000, ref)
        edge.comment(ROOM, "anna", "x" * 12_000, 6)
        await trio.sleep(1)
        assert (await page(edge, 6, 100, 101))[:2] == [4, 5]
        assert (await page(edge, 0, 100, 102))[:2] == [6, 6]


async def test_the_state_can_be_read_again(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        ask(edge, Change(1, 0, "attribute", "topic", {"value": "茶"}))
        await trio.sleep(1)
        ask(edge, ReadState(2, 0), "anna", "viewer", codec=1)
        await settle()
        (private,) = edge.of(PrivateTo)
        message = json.loads(private.frame[private.frame.index(b"[") :])
        assert (message[:2], message[4], message[6]) == ([41, 2], 1, [["attribute", "topic", {"value": "茶"}, 1]])
        assert msgpack.unpackb(msgpack.packb(message[5])) == message[5]


async def test_an_archived_room_sends_everybody_away_and_lets_nobody_in(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        ask(edge, Change(1, 0, "life", "", {"state": "archived"}))
        await settle()
        assert [(message.room, message.code) for message in edge.of(RefuseRoom)] == [(ROOM, Code.ROOM_MODE)]
        late = await opened(harness)
        assert [message.code for message in late.of(RefuseRoom)] == [Code.ROOM_MODE]


async def test_where_rooms_must_be_created_others_are_refused(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(created_only=True)) as harness:
        edge = await opened(harness)
        assert [message.code for message in edge.of(RefuseRoom)] == [Code.NOT_FOUND]
        stage = await opened(harness, backstage_of("other"))
        assert not stage.of(RefuseRoom)


async def test_cards_that_are_shown_at_once_end_with_one(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for ref in range(1, 5):
            ask(edge, Change(ref, 0, "card", str(ref), {"title": str(ref), "now": True}))
        await trio.sleep(1)
        assert set(edge.codes().values()) == {Code.OK}
        async with harness.hub.opened(ROOM) as room:
            assert sum(entry.value["now"] for entry in room.rules.entries.of_kind("card")) == 1
        versions: dict[str, list[int]] = {}
        for _, key, _, version in states(edge):
            versions.setdefault(key, []).append(version)
        assert all(each == sorted(set(each)) for each in versions.values())


async def test_notices_without_a_deadline_do_not_pile_up(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for ref in range(1, 41):
            ask(edge, Notice(ref, 0, str(ref), receipts=True))
            await settle()
        async with harness.hub.opened(ROOM) as room:
            assert len(room.rules.entries.of_kind("notice")) == 32


async def test_what_one_viewer_asks_for_is_done_in_its_order(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET) as harness:
        edge = await opened(harness)
        for ref in range(1, 31):
            match ref % 3:
                case 0:
                    act: Act = Notice(ref, 0, str(ref), receipts=ref % 2 == 0)
                case 1:
                    act = Change(ref, 0, "attribute", "number", {"value": ref})
                case _:
                    act = Change(ref, 0, "attribute", f"key{ref}", {"value": ref})
            edge.request(ROOM, "host", act, role="host")
        await trio.sleep(1)
        assert set(edge.codes().values()) == {Code.OK}
        notices = [int(event[3]) for event in edge.events() if event[0] == EventKind.NOTICE]
        changes = [value["value"] for kind, _, value, _ in states(edge) if kind == "attribute"]
        assert (len(notices), len(changes)) == (10, 20)
        assert (notices, changes) == (sorted(notices), sorted(changes))


async def test_what_is_over_leaves_its_place_to_the_next(autojump_clock: MockClock) -> None:
    async with open_hub(room=QUIET, broker_settings=BrokerSettings(tallies=2)) as harness:
        edge = await opened(harness)
        for ref in range(1, 40, 4):
            ask(edge, Change(ref, 0, "poll", str(ref), {"question": "?", "options": ["a", "b"]}))
            await trio.sleep(1)
            ask(edge, Vote(ref + 1, 0, "poll", str(ref)), "anna", "viewer")
            await trio.sleep(1)
            ask(edge, Change(ref + 2, 0, "poll", str(ref), None))
            ask(edge, Notice(ref + 3, 0, "read this", receipts=True, deadline_ms=500))
            await trio.sleep(0.1)
            edge.send(Receipts(ROOM, edge.reply(ref + 3).offset, True, ["anna"]))
            await trio.sleep(2)
        assert set(edge.codes().values()) == {Code.OK}
