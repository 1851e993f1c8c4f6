"""What moderators do, seen from an edge of the hub: who is refused, what viewers are told, what is written down backstage."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio
from trio.testing import MockClock

from engine.brokers.base import Pending
from engine.errors import Code
from engine.hub.moderation import stretches
from engine.hub.sanctions import encode, field
from engine.link.messages import Barred, Expel, Located, Redact, Request, SharedSnapshot, Standing
from engine.schema import (
    EVERYWHERE,
    MSGPACK,
    Author,
    Change,
    ComboEvent,
    CorrectionEvent,
    EventKind,
    GiftEvent,
    Moderate,
    ModeratedEvent,
    OmittedReason,
    PacketEndEvent,
    PacketEvent,
    ShareEvent,
    backstage_of,
)
from engine.settings import BrokerSettings, ModerationSettings, RoomSettings, WordList

from .harness import FakeEdge, Harness, decode, open_hub, settle

ROOM = "大厅"
STAGE = backstage_of(ROOM)


async def opened(harness: Harness, *rooms: str) -> FakeEdge:
    edge = harness.edge()
    for room in rooms or (ROOM, STAGE):
        await edge.open(room)
    return edge


def moderate(edge: FakeEdge, ref: int, action: str, user: str = "", **more: Any) -> None:
    edge.request(ROOM, "mod", Moderate(ref, 0, action, user, **more), role="moderator")


def backstage(edge: FakeEdge) -> list[list[Any]]:
    """What was written down: actor, action, user, offsets and reason."""
    events = [event for event in edge.events() if event[0] == EventKind.MODERATED and event[6]]
    return [[event[1][0], event[2], event[3], event[4], event[6]] for event in events]


async def past(harness: Harness, room: str = ROOM) -> list[Any]:
    history = await harness.hub.broker.history(room, 0, 100)
    return [msgpack.unpackb(event) for event in history.events.events]


async def test_a_muted_user_may_not_speak_until_the_time_is_over(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        moderate(edge, 1, "mute", "anna", seconds=60, reason="刷屏")
        await trio.sleep(1)
        edge.comment(ROOM, "anna", "hello", 2)
        edge.comment(ROOM, "bob", "hello", 3)
        await trio.sleep(1)
        assert edge.codes() == {1: Code.OK, 2: Code.MUTED, 3: Code.OK}
        assert 57_000 < edge.reply(2).retry_after_ms <= 59_000
        assert backstage(edge) == [["mod", "mute", "anna", [], "刷屏"]]
        # In the room without the reason.
        assert [event[2:4] + event[6:] for event in edge.events() if event[0] == EventKind.MODERATED][1:] == [
            ["mute", "anna", ""]
        ]
        await trio.sleep(60)
        edge.comment(ROOM, "anna", "again", 4)
        await settle()
        assert edge.reply(4).code == Code.OK


async def test_a_mute_can_be_taken_back(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        moderate(edge, 1, "mute", "anna")
        await settle()
        edge.comment(ROOM, "anna", "hello", 2)
        await settle()
        assert (edge.reply(2).code, edge.reply(2).retry_after_ms) == (Code.MUTED, 0)
        moderate(edge, 3, "unmute", "anna")
        await settle()
        edge.comment(ROOM, "anna", "hello", 4)
        await settle()
        assert edge.reply(4).code == Code.OK


async def test_what_is_decided_everywhere_holds_in_every_room(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM, "other")
        moderate(edge, 1, "mute", "anna", everywhere=True)
        moderate(edge, 2, "ban", "eve", everywhere=True, seconds=100)
        await settle()
        for ref, room in enumerate((ROOM, "other"), 3):
            edge.comment(room, "anna", "hello", ref)
        await settle()
        assert edge.codes() == {1: Code.OK, 2: Code.OK, 3: Code.MUTED, 4: Code.MUTED}
        barred = {message.room: list(message.users) for message in edge.of(Barred)}
        assert barred == {ROOM: ["eve"], "other": ["eve"]}
        # Who opens a room later learns of it, too.
        late = harness.edge()
        await late.open("third")
        assert [list(message.users) for message in late.of(Barred)] == [["eve"]]
        moderate(edge, 5, "kick", "anna", everywhere=True)
        await settle()
        assert edge.reply(5).code == Code.INVALID


async def test_a_shadowed_user_is_told_that_all_is_well(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness)
        moderate(edge, 1, "shadow", "anna", reason="troll")
        await settle()
        edge.comment(ROOM, "anna", "hello", 2)
        edge.comment(ROOM, "bob", "hi", 3)
        await trio.sleep(1)
        assert (edge.reply(2).code, edge.reply(2).offset) == (Code.OK, 0)
        assert [event[3] for event in edge.events() if event[0] == EventKind.COMMENT] == ["hi"]
        # Nobody but the moderators learns that it was done.
        assert [event[2] for event in await past(harness)] == [3]
        assert backstage(edge) == [["mod", "shadow", "anna", [], "troll"]]


async def test_a_banned_user_and_its_address_are_kept_out(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        moderate(edge, 1, "ban_address", "eve", seconds=3_600)
        await settle()
        assert edge.reply(1).code == Code.OK
        # Looked for first, then sent away: whoever is gone cannot be found.
        assert [(message.locate, list(message.users)) for message in edge.of(Barred)] == [(["eve"], []), (["eve"], ["eve"])]
        edge.send(Located(ROOM, "eve", "203.0.113.7"))
        await settle()
        last = edge.of(Barred)[-1]
        assert list(last.addresses) == ["203.0.113.7"]
        assert last.addresses["203.0.113.7"] == last.users["eve"] > 0
        moderate(edge, 2, "unban", "eve")
        moderate(edge, 3, "unban_address", "203.0.113.7")
        await settle()
        assert (edge.of(Barred)[-1].users, edge.of(Barred)[-1].addresses) == ({}, {})


async def test_an_address_can_be_banned_without_a_user(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        moderate(edge, 1, "ban_address", "2001:db8::/64")
        await settle()
        assert edge.of(Barred)[-1].addresses == {"2001:db8::/64": 0}
        edge.send(Located(ROOM, "nobody", "203.0.113.9"))
        await settle()
        assert edge.of(Barred)[-1].addresses == {"2001:db8::/64": 0}


async def test_who_is_barred_elsewhere_is_told_though_nothing_else_happens(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        edge.forget()
        for name in (ROOM, EVERYWHERE):
            # As another node of the broker would.
            await harness.hub.broker.amend(name, field("ban", "eve"), encode(0, "mod", ""))
            await settle()
        assert [list(message.users) for message in edge.of(Barred)] == [["eve"], ["eve"]]


async def test_a_kick_reaches_every_edge(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        one, other = await opened(harness, ROOM), await opened(harness, ROOM)
        moderate(one, 1, "kick", "eve")
        await settle()
        assert one.of(Expel) == other.of(Expel) == [Expel(ROOM, "eve")]


async def test_a_deleted_comment_is_gone_everywhere(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(recent_events=10)) as harness:
        edge = await opened(harness)
        for ref, body in enumerate("abc", 1):
            edge.comment(ROOM, "anna", body, ref)
        await trio.sleep(1)
        edge.forget()
        moderate(edge, 9, "delete", offset=2, reason="no")
        await trio.sleep(1)
        assert (edge.reply(9).code, edge.reply(9).offset) == (Code.OK, 4)
        assert [(message.offsets, message.reason) for message in edge.of(Redact)] == [([2, 2], OmittedReason.DELETED)]
        assert (await past(harness))[:3] == [[1, ["anna", "", {}], 1, "a"], [0, 1, 1], [1, ["anna", "", {}], 3, "c"]]
        snapshot = edge.of(SharedSnapshot)[-1]
        assert [event[3] for _, _, event in decode(snapshot.frames[0])[0][10]] == ["a", "c"]
        assert [event[2:5] for event in edge.events()][-1] == ["delete", "", [2, 2]]
        assert backstage(edge) == [["mod", "delete", "", [2, 2], "no"]]
        # Again, and what cannot be.
        moderate(edge, 10, "delete", offset=2)
        moderate(edge, 11, "delete", offset=4)
        moderate(edge, 12, "delete", offset=99)
        await trio.sleep(1)
        assert [edge.reply(ref).code for ref in (10, 11, 12)] == [Code.OK, Code.INVALID, Code.NOT_FOUND]


async def test_what_waits_for_its_tick_is_deleted_before_anybody_sees_it(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(tick_grid_seconds=0.5)) as harness:
        edge = await opened(harness, ROOM)
        await trio.sleep(1.01)
        edge.comment(ROOM, "anna", "secret", 1)
        await settle()
        await harness.hub.broker.redact(ROOM, [1], _pending(1))
        await trio.sleep(1)
        assert [event[0] for event in edge.events()] == [EventKind.OMITTED, EventKind.MODERATED]


def _pending(offset: int) -> Pending:
    return Pending(MSGPACK.encode(ModeratedEvent(Author("mod"), "delete", "", [offset, offset])))


MONEY_EVENTS = [
    GiftEvent(Author("anna"), 1, 9, "rose", 1, 10, "", 1, 1, 5_000, 10),
    ComboEvent(Author("anna"), 2, 1, "rose", "", 2, 20),
    CorrectionEvent(Author("mod"), 3, 1, "anna", -10, 0, ""),
    PacketEvent(Author("anna"), 4, 9, 100, 5, "random", 0, 1, False, "", "", "c0ffee"),
    ShareEvent(Author("anna"), 5, 4, 1, 20),
    PacketEndEvent(Author("anna"), 6, 4, "expired", 1, 80, "5eed"),
]


async def test_money_cannot_be_deleted(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        edge.comment(ROOM, "anna", "look", 1)
        await settle()
        await harness.hub.broker.publish(ROOM, [Pending(MSGPACK.encode(event)) for event in MONEY_EVENTS])
        for offset in range(2, 8):
            moderate(edge, 10 + offset, "delete", offset=offset)
        await trio.sleep(1)
        assert {edge.reply(10 + offset).code for offset in range(2, 8)} == {Code.INVALID}
        assert "comments, custom events and notices" in edge.reply(12).text
        for ref, action, user in ((20, "delete_user", "anna"), (21, "clear", "")):
            moderate(edge, ref, action, user)
        await trio.sleep(1)
        assert edge.of(Redact)[0].offsets == [1, 1]
        assert [event[0] for event in await past(harness)] == [0, 8, 9, 10, 11, 12, 13, 5, 5]


async def test_whoever_tells_of_it_money_that_waits_for_its_tick_is_shown(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(tick_grid_seconds=0.5)) as harness:
        edge = await opened(harness, ROOM)
        await trio.sleep(1.01)
        events: list[Any] = [*MONEY_EVENTS, ModeratedEvent(Author("mod"), "clear", "", [1, 6])]
        await harness.hub.broker.publish(ROOM, [Pending(MSGPACK.encode(event)) for event in events])
        await trio.sleep(1)
        assert [event[0] for event in edge.events()] == [8, 9, 10, 11, 12, 13, 5]
        late = await opened(harness, ROOM)
        recent = decode(late.of(SharedSnapshot)[0].frames[0])[0][10]
        assert [event[0] for _, _, event in recent] == [8, 9, 10, 11, 12, 13, 5]


async def test_all_of_a_user_or_of_everybody_can_be_deleted(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        for ref, user in enumerate(("anna", "bob", "anna", "anna", "bob"), 1):
            edge.comment(ROOM, user, str(ref), ref)
        await settle()
        moderate(edge, 9, "delete_user", "anna")
        await trio.sleep(1)
        assert [message.offsets for message in edge.of(Redact)] == [[1, 1, 3, 4]]
        assert [event[0] for event in await past(harness)] == [0, 1, 0, 0, 1, 5]
        moderate(edge, 10, "clear")
        await trio.sleep(1)
        assert [event[0] for event in await past(harness)] == [0, 0, 0, 0, 0, 5, 5]
        assert edge.of(Redact)[-1].offsets == [2, 2, 5, 5]


@pytest.mark.parametrize("action", ["mute", "ban", "kick", "delete_user", "shadow"])
async def test_an_action_on_a_user_needs_one(action: str, autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        moderate(edge, 1, action)
        moderate(edge, 2, "dance", "anna")
        await settle()
        assert edge.codes() == {1: Code.INVALID, 2: Code.INVALID}


async def test_a_held_comment_is_published_once_however_often_it_is_approved(tmp_path: Any, autojump_clock: MockClock) -> None:
    file = tmp_path / "words.txt"
    file.write_text("加微信\n", encoding="utf-8")
    moderation = ModerationSettings(lists=(WordList(file=str(file), action="hold"),))
    async with open_hub(moderation=moderation) as harness:
        edge = await opened(harness)
        edge.comment(ROOM, "anna", "加微信 123", 1)
        edge.comment(ROOM, "bob", "你好", 2)
        await trio.sleep(1)
        assert (edge.reply(1).code, edge.reply(1).offset) == (Code.HELD, 0)
        held = [event for event in edge.events() if event[0] == EventKind.HELD]
        assert [(event[1][0], event[4][3], event[5]) for event in held] == [("anna", "加微信 123", "加微信")]
        for ref in (3, 4):
            moderate(edge, ref, "approve", offset=1)
        await trio.sleep(1)
        assert edge.reply(3).offset == edge.reply(4).offset == 2
        assert [event[3] for event in await past(harness)] == ["你好", "加微信 123"]
        for ref, action, offset in ((5, "reject", 1), (6, "approve", 77), (7, "approve", 2)):
            moderate(edge, ref, action, offset=offset)
            await trio.sleep(1)
        assert [edge.reply(ref).code for ref in (5, 6, 7)] == [Code.OK, Code.NOT_FOUND, Code.NOT_FOUND]
        assert [event[2] for event in await past(harness, STAGE) if event[0] == EventKind.MODERATED] == [
            *["approve"] * 2, "reject", "approve", "approve"
        ]  # fmt: skip


def test_offsets_are_told_as_stretches() -> None:
    assert list(stretches([])) == []
    assert list(stretches([7])) == [7, 7]
    assert list(stretches([1, 2, 3, 7, 9, 10])) == [1, 3, 7, 7, 9, 10]


async def test_what_is_deleted_is_not_pinned_any_more(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        for ref in (1, 2):
            edge.comment(ROOM, "anna", str(ref), ref)
        await settle()
        for ref in (1, 2):
            edge.request(ROOM, "host", Change(10 + ref, 0, "pin", str(ref), {"offset": ref}), role="host")
        await settle()
        moderate(edge, 20, "delete", offset=1)
        await trio.sleep(1)
        assert edge.reply(20).code == Code.OK
        assert [event[3:6] for event in edge.events() if event[0] == EventKind.STATE][-1] == ["pin", "1", None]
        late = await opened(harness, ROOM)
        assert [entry[1] for entry in decode(late.of(SharedSnapshot)[0].frames[0])[0][9]] == ["2"]


async def test_who_answers_for_some_rooms_decides_nothing_about_others(autojump_clock: MockClock) -> None:
    async with open_hub() as harness:
        edge = await opened(harness, ROOM)
        standing = Standing("moderator", confined=True)
        for ref, everywhere in ((1, True), (2, False)):
            act = Moderate(ref, 0, "mute", "anna", everywhere=everywhere)
            edge.send(Request(ROOM, 1, "session-mod", Author("mod"), standing, 0, act))
            await settle()
        assert edge.codes() == {1: Code.FORBIDDEN, 2: Code.OK}


async def test_however_many_are_banned_the_room_can_be_closed(autojump_clock: MockClock) -> None:
    async with open_hub(broker_settings=BrokerSettings(record_fields=80)) as harness:
        edge = await opened(harness, ROOM)
        for ref in range(1, 31):
            moderate(edge, ref, "ban", f"user{ref}")
            await settle()
        assert [edge.reply(ref).code for ref in (1, 16, 17, 30)] == [Code.OK, Code.OK, Code.STATE_FULL, Code.STATE_FULL]
        moderate(edge, 40, "ban", "user1", seconds=60)
        edge.request(ROOM, "host", Change(41, 0, "life", "", {"state": "closed"}), role="host")
        await settle()
        assert (edge.reply(40).code, edge.reply(41).code) == (Code.OK, Code.OK)
