"""Every reply code and every close code that a viewer can bring about, and that each costs only who brought it about.

What is behind the codes of a live room is tested with its features (``test_room_*``); here only that each can be reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from bench.redisproc import redis_server
from engine.errors import Close, Code, Refused
from engine.hooks.values import Refuse
from engine.hub.hubs import now_ms
from engine.hub.spending import Spend
from engine.node import Node, open_node
from engine.settings import Settings, WordList
from engine.ws import Opcode, client_frame

from .conftest import Connect, Running
from .nodes import lively
from .people import live, token
from .shop import CAR, shop, sqlite, until_entry
from .transports import Gone
from .viewers import (
    ASK,
    CHANGE,
    CLAIM,
    COMMENT,
    GIVE,
    JOIN,
    JSON,
    LEAVE,
    LIKE,
    MODERATE,
    MSGPACK,
    PACK,
    PATIENCE,
    PING,
    READ_HISTORY,
    VOTE,
    Paid,
    Reply,
    Viewer,
    open_viewer,
)

MASK = b"\x00\x00\x00\x00"


@pytest.fixture
def running() -> Running:
    """Over the encoded link only: what is refused here is refused before the link, or crosses it encoded."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[Node]:
        async with open_node(settings, encoded_link=True) as node:
            yield node

    return run


async def unharmed(viewer: Viewer) -> None:
    """The connection still works."""
    offset = await viewer.comment("still here")
    await viewer.until_offset(offset)
    assert viewer.events[offset][-1] == "still here"


# -- replies ----------------------------------------------------------------------------------------------------------


async def test_rate_limited(running: Running, connect: Connect, codec: str) -> None:
    limits = {"comments_per_second": 0.01, "comments_burst": 2}
    async with running(lively(limits=limits)) as node, connect(node.url, codec) as viewer, connect(node.url, codec) as other:
        await viewer.join("r")
        await other.join("r")
        assert await viewer.comment("1") == 1
        assert await viewer.comment("2") == 2
        reply = await viewer.ask(COMMENT, viewer.handle, "3")
        assert reply.code == Code.RATE_LIMITED
        assert 0 < reply.retry_after_ms <= 100_001
        await unharmed(other)


async def test_withheld(running: Running, codec: str) -> None:
    async with (
        running(lively(limits={"room_events_per_second": 0.5})) as node,
        open_viewer("raw", node.url, codec) as viewer,
        open_viewer("raw", node.url, codec) as other,
    ):
        await viewer.join("r")
        await other.join("s")
        assert await viewer.comment("1") == 1
        reply = await viewer.ask(COMMENT, viewer.handle, "2")
        assert reply.code == Code.WITHHELD
        assert "limits.room_events_per_second" in reply.text
        assert reply.retry_after_ms > 0
        await unharmed(other)


async def test_overloaded(running: Running, codec: str) -> None:
    async with (
        running(lively(limits={"pending_events": 1})) as node,
        open_viewer("raw", node.url, codec) as viewer,
    ):
        await viewer.join("r")
        both = b""
        for ref in (1, 2):
            message = viewer.encode(COMMENT, ref, viewer.handle, "at once")
            raw = message.encode() if isinstance(message, str) else message
            both += client_frame(Opcode.TEXT if codec == JSON else Opcode.BINARY, raw)
        await viewer.raw.stream.send_all(both)
        await viewer.until(lambda: {1, 2} <= viewer.replies.keys())
        assert viewer.replies[1].code == Code.OK
        assert viewer.replies[2].code == Code.OVERLOADED
        assert viewer.replies[2].retry_after_ms > 0
        # The refused one was not taken: the same ref succeeds now.
        assert await viewer.comment("at once", ref=2) == 2


@pytest.mark.parametrize("setting", ["rooms_max", "viewers_max"])
async def test_room_full(running: Running, codec: str, setting: str) -> None:
    async with (
        running(lively(room={setting: 1})) as node,
        open_viewer("raw", node.url, codec) as viewer,
        open_viewer("raw", node.url, codec) as late,
    ):
        await viewer.join("r")
        reply = await late.ask(JOIN, "s" if setting == "rooms_max" else "r")
        assert reply.code == Code.ROOM_FULL
        assert setting in reply.text
        assert reply.retry_after_ms > 0
        await unharmed(viewer)
        if setting == "viewers_max":
            await viewer.ask(LEAVE, viewer.handle)
            await late.join("r")
            await unharmed(late)


async def test_room_full_counts_those_who_come_at_once(running: Running, codec: str) -> None:
    async with (
        running(lively(room={"viewers_max": 1})) as node,
        open_viewer("raw", node.url, codec) as one,
        open_viewer("raw", node.url, codec) as two,
    ):
        await one.send(JOIN, 1, "r")
        await two.send(JOIN, 1, "r")
        answers = []
        for viewer in (one, two):
            await viewer.until(lambda viewer=viewer: viewer.joined or 1 in viewer.replies)  # type: ignore[misc]
            answers.append(bool(viewer.joined))
        assert sorted(answers) == [False, True]


INVALID: list[list[Any]] = [
    [COMMENT, 0, 1, "ref 0 is none"],
    [COMMENT, -1, 1, "negative"],
    [COMMENT, 2**53, 1, "too large"],
    [COMMENT, "1", 1, "of the wrong type"],
    [COMMENT, 1, 1, 5],
    [COMMENT, 1, 1],
    [COMMENT, 1, 1, "x" * 16_385],
    [JOIN, 1, ""],
    [JOIN, 1, "r" * 129],
    [JOIN, 1, "r", 0, 0, "short"],
    [JOIN, 1, "r", 0, 0, "x" * 65],
    [JOIN, 1, "r", 0, 0, "sixteen chars or more, but spaces"],
    [JOIN, 1, "r", 0, 0, "sixteencharacters\n"],
    [JOIN, 1, "r", 0, 0, None, "n" * 65],
    [JOIN, 1, "r", 0, 0, None, None, {str(number): "" for number in range(9)}],
    [JOIN, 1, "r", 0, 0, None, None, {"key": "v" * 129}],
    [JOIN, 1, "r", 2**53, 0],
    [LIKE, 1, -1],
    [PING],
    [],
]


async def test_invalid(running: Running, codec: str) -> None:
    async with running(lively(edge={"message_bytes": 65_536})) as node:
        for message in INVALID:
            async with open_viewer("raw", node.url, codec) as viewer:
                await viewer.send(*message)
                await viewer.until(lambda viewer=viewer: bool(viewer.faults))  # type: ignore[misc]
                assert viewer.faults[0].code == Code.INVALID, message
                assert viewer.faults[0].text
                await viewer.join("r")
                await unharmed(viewer)


@pytest.mark.parametrize("kind", [0, 24, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 2**40, -1])
async def test_unknown_kind_and_forged_kinds_of_the_server(running: Running, codec: str, kind: int) -> None:
    async with (
        running(lively()) as node,
        open_viewer("raw", node.url, codec) as viewer,
        open_viewer("raw", node.url, codec) as witness,
    ):
        await viewer.join("r")
        await witness.join("r")
        epoch = viewer.position[0] if viewer.position else 0
        await viewer.send(kind, viewer.handle, epoch, 1, 1, 0, [[1, ["server"], 0, "forged"]], [], [])
        await viewer.until(lambda: bool(viewer.faults))
        assert viewer.faults[0].code == Code.UNKNOWN_KIND
        await unharmed(viewer)
        await witness.until_offset(1)
        assert witness.bodies == ["still here"]


async def test_not_joined_and_already_joined(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node, connect(node.url, codec) as viewer:
        for kind, fields in ((COMMENT, ["x"]), (7, ["gift", "x"]), (8, ["user", "x"]), (LEAVE, [])):
            assert (await viewer.ask(kind, 12345, *fields)).code == Code.NOT_JOINED
        await viewer.send(LIKE, 12345, 3)
        await viewer.send(6, 12345, 3, 3)
        await viewer.until(lambda: len(viewer.faults) == 2)
        assert {fault.code for fault in viewer.faults} == {Code.NOT_JOINED}
        viewer.faults.clear()
        await viewer.join("r")
        assert (await viewer.ask(JOIN, "r")).code == Code.ALREADY_JOINED
        assert (await viewer.ask(JOIN, "s")).code == Code.ALREADY_JOINED
        await unharmed(viewer)


async def test_forbidden(running: Running, codec: str) -> None:
    async with running(lively(access={"anonymous": "none"})) as node, open_viewer("raw", node.url, codec) as viewer:
        reply = await viewer.ask(JOIN, "r")
        assert reply.code == Code.FORBIDDEN
        assert "access.anonymous" in reply.text


@pytest.mark.parametrize("body", ["a" * 2001, "界" * 667, "👍" * 501])
async def test_too_long(running: Running, codec: str, body: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join("r")
        reply = await viewer.ask(COMMENT, viewer.handle, body)
        assert reply.code == Code.TOO_LONG
        assert "limits.comment_bytes" in reply.text
        await unharmed(viewer)


async def test_too_many_characters_as_people_count_them(running: Running, codec: str) -> None:
    family = "👨\u200d👩\u200d👧\u200d👦"
    limits = {"comment_characters": 12, "comment_bytes": 1_000}
    async with running(lively(limits=limits)) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join("r")
        assert (await viewer.ask(COMMENT, viewer.handle, family * 12)).code == Code.OK
        reply = await viewer.ask(COMMENT, viewer.handle, family * 13)
        assert reply.code == Code.TOO_LONG
        assert "limits.comment_characters" in reply.text
        await unharmed(viewer)


async def test_a_comment_and_a_name_are_shown_without_what_may_do_harm(running: Running, codec: str) -> None:
    async with (
        running(lively()) as node,
        open_viewer("raw", node.url, codec) as viewer,
        open_viewer("raw", node.url, codec) as spoofer,
    ):
        await viewer.join("r")
        await spoofer.join("r", name=" 小\u202e 明\n", attributes={"badge": "a\x1b[31m"})
        assert (await spoofer.ask(COMMENT, spoofer.handle, "e\u0301\u202egnp.exe\r\n" + "o" + "\u0330" * 99)).code == Code.OK
        await viewer.until_offset(1)
        assert viewer.bodies == ["égnp.exe\no" + "\u0330" * 4]
        [event] = viewer.events.values()
        assert event[1][1:] == ["小 明", {"badge": "a[31m"}]


@pytest.mark.parametrize("body", ["", " ", "\n\t", "\u200b\u2060", "\u3000", "\x00", "\u202e\ufeff"])
async def test_empty(running: Running, codec: str, body: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        if body:
            assert (await viewer.ask(JOIN, "r", 0, 0, None, body)).code == Code.EMPTY
        await viewer.join("r")
        assert (await viewer.ask(COMMENT, viewer.handle, body)).code == Code.EMPTY
        await unharmed(viewer)


@pytest.mark.parametrize(
    "room", ["a\nb", "\x00", " a", "a ", "a\u200b", "\u202eabc", "\x7f", "界" * 86, "a\u2028b", "\ud83d\ude00 \x1b[2J"]
)
async def test_bad_room(running: Running, codec: str, room: str) -> None:
    room = room.encode("utf-16", "surrogatepass").decode("utf-16")
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        assert (await viewer.ask(JOIN, room)).code == Code.BAD_ROOM
        await viewer.join("r")
        await unharmed(viewer)


async def test_the_codes_of_a_live_room(running: Running, connect: Connect, codec: str, tmp_path: Path) -> None:
    words = {"block": "bad", "hold": "maybe"}
    for action, word in words.items():
        (tmp_path / action).write_text(f"{word}\n", encoding="utf-8")
    lists = tuple(WordList(file=str(tmp_path / action), action=action) for action in words)  # type: ignore[arg-type]
    settings = live(
        moderation={"lists": lists}, limits={"duplicate_seconds": 60.0}, room={"viewer_attributes": 1, "state_entries": 4}
    )
    async with (
        running(settings) as node,
        connect(node.url, codec) as host,
        connect(node.url, codec) as viewer,
        open_viewer("raw", node.url, codec) as witness,
    ):
        reached: dict[Code, Reply] = {}

        async def ask(who: Viewer, expected: Code, kind: int, *fields: Any) -> None:
            reached[expected] = reply = await who.ask(kind, who.handle, *fields)
            assert reply.code == expected, reply

        assert (refusal := await viewer.knock("r", token="forged")) is not None
        assert refusal.code == Code.BAD_TOKEN
        await host.join("r", token=token("host", "host"))
        await viewer.join("r", token=token("anna"))
        await witness.join("r")
        await ask(viewer, Code.OK, COMMENT, "hello")
        await ask(viewer, Code.DUPLICATE, COMMENT, "HELLO")
        await ask(viewer, Code.BLOCKED, COMMENT, "so bad")
        await ask(viewer, Code.HELD, COMMENT, "maybe")
        await ask(viewer, Code.NOT_FOUND, VOTE, "poll", "p")
        await ask(host, Code.OK, CHANGE, "poll", "p", {"question": "?", "options": ["a", "b"]})
        await ask(viewer, Code.OK, VOTE, "poll", "p", 0)
        await ask(viewer, Code.ALREADY_VOTED, VOTE, "poll", "p", 1)
        await ask(viewer, Code.OK, CHANGE, "attribute", "a", {"value": 1})
        await ask(viewer, Code.STATE_FULL, CHANGE, "attribute", "b", {"value": 1})
        await ask(host, Code.CONFLICT, CHANGE, "attribute", "a", {"value": 2}, 99)
        await ask(host, Code.OK, CHANGE, "mode", "", {"slow": {"viewer": 60}})
        await ask(viewer, Code.SLOW_MODE, COMMENT, "again")
        await ask(host, Code.OK, CHANGE, "mode", "", {"mode": "closed"})
        await ask(viewer, Code.ROOM_MODE, COMMENT, "again")
        await ask(host, Code.OK, CHANGE, "mode", "", None)
        await ask(host, Code.OK, MODERATE, "mute", "anna", 0, 60)
        await ask(viewer, Code.MUTED, COMMENT, "again")
        for code in (Code.SLOW_MODE, Code.MUTED):
            assert 0 < reached[code].retry_after_ms <= 60_000
        assert all(reply.text for code, reply in reached.items() if code is not Code.OK)
        assert all(Code(code).retriable is (code < 100) for code in reached if code)
        await unharmed(witness)
        await ask(host, Code.OK, MODERATE, "kick", "anna")
        assert (await viewer.until_gone()).code == Close.KICKED
        await ask(host, Code.OK, MODERATE, "ban", witness.user)
        assert (await witness.until_gone()).code == Close.BANNED
        async with open_viewer("raw", node.url, codec) as back:
            assert (refusal := await back.knock("r", session=witness.session)) is not None
            assert (refusal.code, refusal.retry_after_ms) == (Code.BANNED, 0)
            # Another room is open to it.
            await back.join("s", session=witness.session)
            await unharmed(back)


async def test_unavailable_while_the_broker_is_out_of_reach(running: Running, codec: str, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--save", "") as server:
        settings = lively(redis={"url": server.url, "answer_seconds": 0.2})
        async with running(settings) as node, open_viewer("raw", node.url, codec) as viewer:
            await viewer.join("r")
            await unharmed(viewer)
            server.pause()
            for kind, fields in ((COMMENT, ["x"]), (ASK, ["?"]), (READ_HISTORY, [])):
                reply = await viewer.ask(kind, viewer.handle, *fields)
                assert reply.code == Code.UNAVAILABLE
                assert reply.retry_after_ms > 0
            server.resume()
            while (await viewer.ask(COMMENT, viewer.handle, "back")).code == Code.UNAVAILABLE:
                pass
            await viewer.until(lambda: "back" in viewer.bodies)


async def test_the_codes_about_money(running: Running, connect: Connect, codec: str, tmp_path: Path) -> None:
    async def charge(spend: Spend) -> str | None:
        return "余额不足" if spend.user == "poor" else None

    async with (
        running(shop(sqlite(tmp_path), ledger={"spend": "hook"})) as node,
        connect(node.url, codec) as anna,
        connect(node.url, codec) as poor,
    ):
        await anna.join("r", token=token("anna"))
        await poor.join("r", token=token("poor"))
        assert (await anna.refused(GIVE, CAR)).code == Code.FORBIDDEN
        node.on_spend = charge
        reply = await poor.refused(GIVE, CAR)
        assert (reply.code, reply.text) == (Code.UNPAID, "余额不足")
        assert (await anna.refused(GIVE, "unicorn")).code == Code.NOT_FOUND
        await anna.spend(GIVE, CAR, ref=5)
        assert (await anna.refused(GIVE, CAR, 2, ref=5)).code == Code.CONFLICT
        early = await anna.spend(PACK, 10, 2, "equal", 60_000)
        asking = await anna.spend(PACK, 10, 2, "equal", 0, 0, False, "please")
        await until_entry(anna, poor, entries=[early.entry, asking.entry])
        reply = await poor.refused(CLAIM, early.entry)
        assert reply.code == Code.TOO_EARLY
        assert 0 < reply.retry_after_ms <= 60_000
        assert (await poor.refused(CLAIM, asking.entry)).code == Code.CONDITION
        async with open_viewer("raw", node.url, codec) as guest:
            await guest.join("r")
            assert (await guest.refused(CLAIM, asking.entry)).code == Code.FORBIDDEN
        await node.room("r").cancel_packet(asking.entry)
        # A viewer learns that from the event that everybody is shown; whoever claims for its users is told so.
        with pytest.raises(Refused) as refused:
            await node.room("r").claim("anna", asking.entry)
        assert refused.value.code == Code.PACKET_OVER
        await unharmed(anna)
        await unharmed(poor)


async def test_while_the_ledger_cannot_be_written(running: Running, connect: Connect, codec: str, tmp_path: Path) -> None:
    directory = trio.Path(tmp_path / "missing")
    async with (
        running(shop(sqlite(Path(directory)))) as node,
        connect(node.url, codec) as viewer,
        open_viewer("raw", node.url, codec) as other,
    ):
        await viewer.join("r")
        await other.join("r")
        reply = await viewer.refused(GIVE, CAR, ref=5)
        assert reply.code == Code.LEDGER
        assert reply.retry_after_ms > 0
        await unharmed(viewer)
        await unharmed(other)
        await directory.mkdir()
        while (answer := await viewer.pay(GIVE, CAR, ref=5)) != Paid(5, 1, 3, 5_000):
            assert isinstance(answer, Reply)
            assert answer.code == Code.LEDGER


async def test_declined_by_the_product(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node, connect(node.url, codec) as viewer, connect(node.url, codec) as late:
        node.before("comment", lambda question: Refuse("不可以") if question.body == "bad" else None)
        await viewer.join("r")
        reply = await viewer.ask(COMMENT, viewer.handle, "bad")
        assert (reply.code, reply.text, reply.retry_after_ms) == (Code.DECLINED, "不可以", 0)
        await unharmed(viewer)
        node.before("join", lambda question: Refuse("满了"))
        refusal = await late.ask(JOIN, "r")
        assert (refusal.code, refusal.text) == (Code.DECLINED, "满了")
        node.before("join", None)
        await late.join("r")
        await unharmed(late)


REACHED: dict[Code, Any] = {
    Code.RATE_LIMITED: test_rate_limited,
    Code.OVERLOADED: test_overloaded,
    Code.UNAVAILABLE: test_unavailable_while_the_broker_is_out_of_reach,
    Code.ROOM_FULL: test_room_full,
    Code.WITHHELD: test_withheld,
    Code.INVALID: test_invalid,
    Code.UNKNOWN_KIND: test_unknown_kind_and_forged_kinds_of_the_server,
    Code.NOT_JOINED: test_not_joined_and_already_joined,
    Code.ALREADY_JOINED: test_not_joined_and_already_joined,
    Code.FORBIDDEN: test_forbidden,
    Code.TOO_LONG: test_too_long,
    Code.EMPTY: test_empty,
    Code.BAD_ROOM: test_bad_room,
    Code.DECLINED: test_declined_by_the_product,
    Code.LEDGER: test_while_the_ledger_cannot_be_written,
    **dict.fromkeys((Code.TOO_EARLY, Code.UNPAID, Code.CONDITION, Code.PACKET_OVER), test_the_codes_about_money),
    **dict.fromkeys(
        (
            *(Code.OK, Code.SLOW_MODE, Code.CONFLICT, Code.STATE_FULL, Code.DUPLICATE, Code.MUTED, Code.BANNED),
            *(Code.BLOCKED, Code.ROOM_MODE, Code.NOT_FOUND, Code.ALREADY_VOTED, Code.BAD_TOKEN, Code.HELD),
        ),
        test_the_codes_of_a_live_room,
    ),
}


def test_every_reply_code_is_reached_by_a_test() -> None:
    assert set(REACHED) == set(Code)


# -- closes -----------------------------------------------------------------------------------------------------------


async def test_flood(running: Running, connect: Connect, codec: str) -> None:
    limits = {"messages_per_second": 0.01, "messages_burst": 20}
    async with running(lively(limits=limits)) as node, connect(node.url, codec) as viewer, connect(node.url, codec) as other:
        await viewer.join("r")
        await other.join("r")
        for ref in range(1, 20):
            await viewer.send(PING, ref)
        await viewer.until(lambda: len(viewer.pongs) == 19)
        with suppress(Gone):
            await viewer.send(PING, 20)
        gone = await viewer.until_gone()
        assert gone.code == Close.FLOOD
        assert "limits.messages_per_second" in gone.reason
        await unharmed(other)
        assert node.statistics().edge.closed[Close.FLOOD] == 1


async def test_a_token_that_has_expired_or_was_taken_back(
    running: Running, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead_ms = 0
    monkeypatch.setattr("engine.node.now_ms", lambda: now_ms() + ahead_ms)
    monkeypatch.setattr("engine.edge.bearers._LONGEST_SECONDS", 0.01)
    async with (
        running(live()) as node,
        open_viewer("raw", node.url, codec) as anna,
        open_viewer("raw", node.url, codec) as bob,
        open_viewer("raw", node.url, codec) as other,
    ):
        await other.join("r")
        await anna.join("r", token=token("anna", jti="t-1", seconds=60))
        await bob.join("r", token=token("bob", seconds=60))
        await node.revoke(token="t-1")
        assert (await anna.until_gone()).code == Close.TOKEN_REVOKED
        await unharmed(bob)
        ahead_ms = 80_000
        assert (await bob.until_gone()).code == Close.TOKEN_EXPIRED
        await unharmed(other)


async def test_bad_messages(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node, connect(node.url, codec) as viewer, connect(node.url, codec) as other:
        await viewer.join("r")
        await other.join("r")
        for _ in range(8):
            await viewer.transport.send("{" if codec == JSON else b"\xc1")
        await viewer.until(lambda: len(viewer.faults) == 8)
        assert {fault.code for fault in viewer.faults} == {Code.INVALID}
        await unharmed(viewer)
        await viewer.transport.send("{" if codec == JSON else b"\xc1")
        assert (await viewer.until_gone()).code == Close.BAD_MESSAGE
        await unharmed(other)


async def test_whoever_joins_no_room_is_timed_out(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively(edge={"join_seconds": 0.2})) as node, connect(node.url, codec) as viewer:
        assert (await viewer.until_gone()).code == Close.TIMEOUT
        assert node.statistics().edge.closed[Close.TIMEOUT] == 1


async def test_whoever_leaves_and_joins_no_other_is_timed_out(running: Running, codec: str) -> None:
    async with running(lively(edge={"join_seconds": 0.5})) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join("r")
        assert (await viewer.ask(LEAVE, viewer.handle)).code == Code.OK
        assert (await viewer.until_gone()).code == Close.TIMEOUT


async def test_whoever_leaves_long_after_joining_is_timed_out(running: Running, codec: str) -> None:
    async with (
        running(lively(edge={"join_seconds": 0.2}, room={"heartbeat_seconds": 1.0})) as node,
        open_viewer("raw", node.url, codec) as viewer,
    ):
        await viewer.join("r")
        # A heartbeat later the first deadline has passed for certain.
        await viewer.until(lambda: viewer.heartbeats > 1)
        assert (await viewer.ask(LEAVE, viewer.handle)).code == Code.OK
        assert (await viewer.until_gone()).code == Close.TIMEOUT


async def test_the_wrong_kind_of_frame(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively()) as node, connect(node.url, codec) as viewer:
        await viewer.join("r")
        await viewer.transport.send(b"[5,1]" if codec == JSON else "[5,1]")
        gone = await viewer.until_gone()
        assert gone.code == Close.UNSUPPORTED
        assert codec in gone.reason


async def test_too_big(running: Running, connect: Connect, codec: str) -> None:
    async with running(lively(edge={"message_bytes": 1024})) as node, connect(node.url, codec) as viewer:
        await viewer.join("r")
        message = viewer.encode(COMMENT, 1, viewer.handle, "x" * 2000)
        await viewer.transport.send(message)
        assert (await viewer.until_gone()).code == Close.TOO_BIG


async def test_invalid_text(running: Running) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, JSON) as viewer:
        await viewer.join("r")
        await viewer.raw.stream.send_all(client_frame(Opcode.TEXT, b'[5,1,"\xff"]', MASK))
        assert (await viewer.until_gone()).code == Close.INVALID_TEXT


async def test_protocol_error(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join("r")
        await viewer.raw.stream.send_all(b"\x82\x01x")
        assert (await viewer.until_gone()).code == Close.PROTOCOL_ERROR


async def test_replies_that_are_not_read(codec: str) -> None:
    edge = {"send_buffer_bytes": 4096, "private_bytes": 1024}
    async with (
        open_node(lively(edge=edge, limits={"messages_burst": 1_000_000, "messages_per_second": 1e6})) as node,
        open_viewer("raw", node.url, codec, receive_buffer=4096) as viewer,
        open_viewer("raw", node.url, codec) as other,
    ):
        await viewer.join("r")
        await other.join("r")
        pings = client_frame(Opcode.PING, b"p" * 125) * 16
        with trio.fail_after(PATIENCE):
            while Close.PRIVATE_FULL not in node.statistics().edge.closed:
                await viewer.raw.stream.send_all(pings)
        assert (await viewer.until_gone()).code == Close.PRIVATE_FULL
        await unharmed(other)


async def test_goodbye_when_the_node_stops(running: Running, connect: Connect, codec: str) -> None:
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        url: list[str] = []
        serving = trio.Event()

        async def serve() -> None:
            async with running(lively(node={"return_window_seconds": 3.5, "shutdown_seconds": 30.0})) as node:
                url.append(node.url)
                serving.set()
                await stop.wait()

        nursery.start_soon(serve)
        await serving.wait()
        async with connect(url[0], codec) as viewer, connect(url[0], MSGPACK) as loose:
            await viewer.join("r")
            offsets = [await viewer.comment(f"{number}") for number in range(20)]
            stop.set()
            for each in (viewer, loose):
                gone = await each.until_gone()
                assert gone.code == Close.SHUTDOWN
                assert each.bye is not None
                assert each.bye[1] == Close.SHUTDOWN
                assert each.bye[3:5] == [0, 3500]
            assert list(viewer.events) == offsets


async def test_a_polite_close_is_echoed(running: Running, codec: str) -> None:
    async with running(lively()) as node, open_viewer("raw", node.url, codec) as viewer:
        await viewer.join("r")
        await viewer.raw.stream.send_all(client_frame(Opcode.CLOSE, (1000).to_bytes(2, "big")))
        assert (await viewer.until_gone()).code == Close.NORMAL
        with trio.fail_after(PATIENCE):
            while node.statistics().edge.connections:
                await trio.lowlevel.checkpoint()
