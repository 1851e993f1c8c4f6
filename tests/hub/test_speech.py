"""What people say, seen from an edge of the hub: what the rules refuse, hold, mask or withhold, and what is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.errors import Code
from engine.link.messages import Redact, SharedSnapshot
from engine.schema import Change, EventKind, OmittedReason, backstage_of
from engine.settings import FeedSettings, LimitSettings, ModerationSettings, RoomSettings, WordList

from .harness import START_MS, FakeEdge, decode, open_hub, settle

ROOM = "大厅"


async def opened(harness: Any, *variants: int) -> FakeEdge:
    edge: FakeEdge = harness.edge()
    await edge.open(ROOM, variants=variants or (0,))
    return edge


def mode(edge: FakeEdge, ref: int, value: dict[str, Any] | None) -> None:
    edge.request(ROOM, "host", Change(ref, 0, "mode", "", value), role="host")


def bodies(edge: FakeEdge) -> list[str]:
    return [event[3] for event in edge.events() if event[0] == EventKind.COMMENT]


async def test_slow_mode_is_by_role_and_told_with_the_time_left(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        mode(edge, 1, {"slow": {"viewer": 30, "follower": 10}})
        await settle()
        for second in range(2):
            edge.comment(ROOM, "anna", f"a{second}", 10 + second)
            edge.comment(ROOM, "bob", f"b{second}", 20 + second, follower=True)
            edge.comment(ROOM, "mod", f"m{second}", 30 + second, role="moderator")
            await trio.sleep(12)
        assert edge.codes() == {
            1: Code.OK, 10: Code.OK, 20: Code.OK, 30: Code.OK, 11: Code.SLOW_MODE, 21: Code.OK, 31: Code.OK
        }  # fmt: skip
        assert 17_000 < edge.reply(11).retry_after_ms <= 18_001
        mode(edge, 2, {"slow": {}})
        await settle()
        edge.comment(ROOM, "anna", "a2", 12)
        await settle()
        assert edge.reply(12).code == Code.OK


async def test_slow_mode_holds_for_what_is_still_on_its_way_and_at_all_hubs(autojump_clock: MockClock) -> None:
    async with open_hub(limits=LimitSettings(slow_seconds=5)) as harness:
        one, other = await opened(harness), await opened(harness)
        one.comment(ROOM, "anna", "a", 1)
        one.comment(ROOM, "anna", "b", 2)
        await settle()
        other.comment(ROOM, "anna", "c", 3)
        await settle()
        assert (one.codes(), other.codes()) == ({1: Code.OK, 2: Code.SLOW_MODE}, {3: Code.SLOW_MODE})


async def test_a_retry_is_answered_with_its_offset_whatever_the_pace(autojump_clock: MockClock) -> None:
    async with open_hub(limits=LimitSettings(slow_seconds=60, duplicate_seconds=60)) as harness:
        edge = await opened(harness)
        edge.comment(ROOM, "anna", "a", 1)
        await trio.sleep(1)
        edge.forget()
        edge.comment(ROOM, "anna", "a", 1)
        edge.comment(ROOM, "anna", "b", 2)
        await trio.sleep(1)
        assert (edge.reply(1).code, edge.reply(1).offset) == (Code.OK, 1)
        assert edge.reply(2).code == Code.SLOW_MODE
        assert harness.hub.statistics().events_withheld == 0
        await trio.sleep(60)
        edge.comment(ROOM, "anna", "c", 3)
        await trio.sleep(1)
        # Neither the last one, nor said through this hub as far as it knows.
        edge.forget()
        edge.comment(ROOM, "anna", "a", 1)
        await trio.sleep(1)
        assert (edge.reply(1).code, edge.reply(1).offset) == (Code.OK, 1)


async def test_the_same_again_is_a_duplicate_for_a_while(autojump_clock: MockClock) -> None:
    async with open_hub(limits=LimitSettings(duplicate_seconds=10)) as harness:
        edge = await opened(harness)
        edge.comment(ROOM, "anna", "666", 1)
        edge.comment(ROOM, "bob", "666", 2)
        await trio.sleep(1)
        edge.comment(ROOM, "anna", "６６６ ", 3)
        await trio.sleep(10)
        edge.comment(ROOM, "anna", "666", 4)
        await settle()
        assert edge.codes() == {1: Code.OK, 2: Code.OK, 3: Code.DUPLICATE, 4: Code.OK}
        assert harness.hub.statistics().refused == {"duplicate": 1}


@pytest.mark.parametrize(
    ("mode_name", "allowed"),
    [
        ("open", {"viewer", "follower", "emote", "host"}),
        ("followers", {"follower", "host"}),
        ("staff", {"host"}),
        ("emotes", {"emote", "host"}),
        ("closed", set()),
    ],
)
async def test_a_rooms_mode_says_who_may_speak(mode_name: str, allowed: set[str], autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        mode(edge, 1, {"mode": mode_name})
        await settle()
        edge.comment(ROOM, "viewer", "hello", 2)
        edge.comment(ROOM, "follower", "hello", 3, follower=True)
        edge.comment(ROOM, "emote", "🎉🎉", 4)
        edge.comment(ROOM, "host", "hello", 5, role="host")
        await settle()
        names = {2: "viewer", 3: "follower", 4: "emote", 5: "host"}
        assert {name for ref, name in names.items() if edge.reply(ref).code == Code.OK} == allowed
        refused = [edge.reply(ref) for ref, name in names.items() if name not in allowed]
        assert all(reply.code == Code.ROOM_MODE and reply.text.startswith(mode_name) for reply in refused)


async def test_words_are_blocked_masked_and_their_comments_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    lists = []
    for action, word in (("block", "赌博"), ("mask", "damn")):
        file = tmp_path / f"{action}.txt"
        file.write_text(word, encoding="utf-8")
        lists.append(WordList(file=str(file), action=action))  # type: ignore[arg-type]  # a literal
    async with open_hub(moderation=ModerationSettings(lists=tuple(lists))) as harness:
        edge = await opened(harness)
        edge.comment(ROOM, "anna", "来赌 博吧", 1)
        edge.comment(ROOM, "anna", "oh DAMN it", 2)
        edge.comment(ROOM, "mod", "赌博 is forbidden", 3, role="moderator")
        await trio.sleep(1)
        assert edge.codes() == {1: Code.BLOCKED, 2: Code.OK, 3: Code.OK}
        assert bodies(edge) == ["oh **** it", "赌博 is forbidden"]


async def test_an_author_with_standing_is_shown_with_it(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        edge.comment(ROOM, "anna", "a", 1)
        edge.comment(ROOM, "bob", "b", 2, level=7)
        edge.comment(ROOM, "host", "c", 3, role="host")
        await trio.sleep(1)
        assert [event[1] for event in edge.events()] == [
            ["anna", "", {}], ["bob", "", {}, "viewer", 7], ["host", "", {}, "host", 0]
        ]  # fmt: skip


async def test_replies_mentions_and_lifetimes_travel_with_the_comment(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(recent_events=5)) as harness:
        edge = await opened(harness)
        edge.comment(ROOM, "anna", "a", 1)
        edge.comment(ROOM, "bob", "@anna hi", 2, reply_to=1, mentions=["anna"])
        edge.comment(ROOM, "eve", "gone soon", 3, lifetime_ms=5_000)
        await trio.sleep(1)
        assert [event[3:] for event in edge.events()] == [
            ["a"], ["@anna hi", 1, ["anna"], 0], ["gone soon", 0, [], START_MS + 5_000]
        ]  # fmt: skip
        await trio.sleep(5)
        (redact,) = edge.of(Redact)
        assert (redact.offsets, redact.reason) == ([3, 3], OmittedReason.EXPIRED)
        assert [event[3] for _, _, event in decode(edge.of(SharedSnapshot)[-1].frames[0])[0][10]] == ["a", "@anna hi"]


async def test_a_newcomer_is_shown_the_last_events_also_in_a_room_that_was_closed(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(recent_events=2)) as harness:
        edge = await opened(harness)
        for ref in range(1, 6):
            edge.comment(ROOM, "anna", str(ref), ref)
        await trio.sleep(1)
        edge.end.close()
        await settle()
        late = await opened(harness)
        (snapshot,) = decode(late.of(SharedSnapshot)[0].frames[0])
        assert [(offset, event[3]) for offset, _, event in snapshot[10]] == [(4, "4"), (5, "5")]


async def test_what_a_budget_withholds_is_told_counted_and_does_not_slow_its_author(autojump_clock: MockClock) -> None:
    limits = LimitSettings(room_events_per_second=2, withhold="newest", slow_seconds=0.5)
    async with open_hub(limits=limits) as harness:
        edge = await opened(harness)
        await trio.sleep(5)
        for ref, user in enumerate("abcde", 1):
            edge.comment(ROOM, user, "x", ref)
        edge.comment(ROOM, "host", "y", 6, role="host")
        await trio.sleep(0.01)
        assert edge.codes() == {1: Code.OK, 2: Code.OK, 3: Code.WITHHELD, 4: Code.WITHHELD, 5: Code.WITHHELD, 6: Code.OK}
        await trio.sleep(3)
        edge.comment(ROOM, "c", "x", 7)
        await trio.sleep(1)
        assert edge.reply(7).code == Code.OK
        assert edge.totals()["withheld"] == {"events": 3}


async def test_who_is_exempt_is_heard_whatever_the_pace(autojump_clock: MockClock) -> None:
    limits = LimitSettings(room_events_per_second=2, withhold="newest", slow_seconds=9, exempt_users=("anna",))
    async with open_hub(limits=limits) as harness:
        edge = await opened(harness)
        await trio.sleep(5)
        for ref in range(1, 9):
            edge.comment(ROOM, "anna" if ref % 2 else "bob", str(ref), ref)
        await trio.sleep(1)
        assert {edge.reply(ref).code for ref in (1, 3, 5, 7)} == {Code.OK}
        assert [edge.reply(ref).code for ref in (2, 4, 6, 8)] == [Code.OK, *[Code.SLOW_MODE] * 3]
        # It may not do what others may not.
        mode(edge, 9, {"mode": "staff"})
        await settle()
        edge.comment(ROOM, "anna", "hello", 10)
        await settle()
        assert edge.reply(10).code == Code.ROOM_MODE


async def test_a_feed_has_the_same_offsets_with_omissions_counted(autojump_clock: MockClock) -> None:
    feeds = {"host": FeedSettings(roles=("host",)), "slow": FeedSettings(comments_per_second=1)}
    async with open_hub(feeds=feeds) as harness:
        edge = await opened(harness, 0, 4, 8)
        for ref, role in enumerate(("viewer", "viewer", "host", "viewer"), 1):
            edge.comment(ROOM, role, str(ref), ref, role=role)
        await trio.sleep(1)
        assert len(edge.events(0)) == 4
        assert [event if event[0] == 0 else event[3] for event in edge.events(4)] == [[0, 3, 2], "3", [0, 3, 1]]
        assert [event if event[0] == 0 else event[3] for event in edge.events(8)] == ["1", [0, 3, 3]]
        assert {message[3:5][0] for message in edge.messages(4) if message[6]} == {1}


async def test_moderators_speak_backstage_without_the_rooms_rules(autojump_clock: MockClock) -> None:
    async with open_hub(limits=LimitSettings(slow_seconds=60)) as harness:
        edge = harness.edge()
        await edge.open(backstage_of(ROOM))
        for ref in (1, 2):
            edge.comment(backstage_of(ROOM), "mod", "psst", ref, role="moderator")
        await trio.sleep(1)
        assert edge.codes() == {1: Code.OK, 2: Code.OK}
        assert bodies(edge) == ["psst", "psst"]


async def test_who_speaks_while_a_room_opens_is_judged_when_it_is_open(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        mode(edge, 1, {"mode": "staff"})
        await settle()
        edge.end.close()
        await settle()
        late = harness.edge()
        late.send(*_open_and_say())
        await settle()
        assert late.codes() == {5: Code.ROOM_MODE}


def _open_and_say() -> list[Any]:
    from engine.link.messages import OpenRoom, Say
    from engine.schema import Author

    return [OpenRoom(ROOM, 1, [0]), Say(ROOM, 1, "session-anna", 5, Author("anna"), "hello")]
