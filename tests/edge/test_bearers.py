"""Tokens at the edge: with which one a viewer comes, until when it may stay, and what ends it earlier."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
import trio
from trio.testing import MockClock

from engine.access import Standing
from engine.edge.bearers import brought
from engine.edge.session import Stage
from engine.errors import Close, Code
from engine.link.messages import Notable, Say, Trust
from engine.schema import RankedAuthor, backstage_of
from engine.tokens import LEEWAY_SECONDS, mint
from engine.ws import HandshakeError, Request

from .desk import ROOM, SECRET, Guest, open_desk

COMMENT, RENEW, GIVE, HISTORY = 3, 23, 18, 15
NOBODY = Trust(None, {})


def request(target: str = "/ws", offered: str = "roomcast.v1.msgpack") -> Request:
    return Request("GET", target, target.partition("?")[0], {"sec-websocket-protocol": offered})


@pytest.mark.parametrize(
    ("target", "offered", "in_query", "token"),
    [
        ("/ws", "roomcast.v1.json", True, None),
        ("/ws", "roomcast.v1.json, roomcast.token.a.b.c", False, b"a.b.c"),
        ("/ws", "roomcast.token.a.b.c ,\troomcast.v1.json", False, b"a.b.c"),
        ("/ws", "roomcast.token.1,roomcast.token.2", False, b"1"),
        ("/ws", "Roomcast.token.a", False, None),
        ("/ws?token=a.b.c", "", False, None),
        ("/ws?token=a.b.c", "", True, b"a.b.c"),
        ("/ws?x=1&token=a%2Eb&token=c", "", True, b"a.b"),
        ("ws://host/ws?token=a", "", True, b"a"),
        ("/ws?token=%FF%00", "", True, "\ufffd\0".encode()),
        ("/ws?tokens=a", "", True, None),
        ("/ws?token=a", "roomcast.token.b", True, b"b"),
    ],
)
def test_a_token_that_comes_with_the_upgrade(target: str, offered: str, in_query: bool, token: bytes | None) -> None:
    assert brought(request(target, offered), in_query=in_query) == token


@pytest.mark.parametrize(("target", "offered"), [("/ws", "roomcast.token."), ("/ws?token=", ""), ("/ws?token", "")])
def test_one_without_a_character_is_a_mistake(target: str, offered: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        brought(request(target, offered), in_query=True)
    assert caught.value.status == 400


async def test_a_token_that_came_with_the_upgrade_is_for_the_first_join_that_brings_none() -> None:
    async with open_desk() as desk:
        await desk.enter()
        guest = desk.connect()
        guest.session.head = mint(SECRET, "anna", rooms=[ROOM]).encode()
        desk.join(guest, room="other")
        assert guest.replies() == [(1, Code.BAD_TOKEN)]
        assert guest.session.head, "nobody becomes a guest by trying again"
        desk.join(guest)
        assert guest.session.author is not None
        assert guest.session.author.id == "anna"
        assert not guest.session.head
        assert len(desk.bearers) == 1
        desk.ask(guest, 2)
        desk.join(guest)
        assert guest.session.author.id.startswith("guest-")
        assert not len(desk.bearers)
        other = desk.connect()
        other.session.head = b"forged"
        desk.join(other, user="bob")
        assert other.session.author is not None
        assert other.session.author.id == "bob"


async def test_a_connection_ends_with_its_token_unless_that_was_renewed(autojump_clock: MockClock) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        nursery.start_soon(desk.bearers.run)
        brief, renewed, long = [await desk.enter(user, seconds=seconds) for user, seconds in (("a", 60), ("b", 60), ("c", 9e9))]
        guest = await desk.enter()
        assert len(desk.bearers) == 3
        longer = mint(SECRET, "b", seconds=7200)
        for token, code in (("x", Code.BAD_TOKEN), (mint(SECRET, "a"), Code.FORBIDDEN), (longer, Code.OK)):
            desk.send(renewed, RENEW, 5, token)
            assert renewed.replies() == [(5, code)]
        desk.now_ms += int((60 + LEEWAY_SECONDS - 2) * 1000)
        await trio.sleep(120)
        assert not desk.wire.closed
        desk.now_ms += 3_000
        await trio.sleep(120)
        assert desk.wire.closed == {brief.session: Close.TOKEN_EXPIRED}
        desk.now_ms += 7_200_000
        await trio.sleep(120)
        assert desk.wire.closed == {brief.session: Close.TOKEN_EXPIRED, renewed.session: Close.TOKEN_EXPIRED}
        assert long.session.stage is guest.session.stage is Stage.OPEN
        assert len(desk.bearers) == 1
        nursery.cancel_scope.cancel()


async def test_very_many_tokens_expire_at_one_moment_and_the_next_one_in_time(autojump_clock: MockClock) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        nursery.start_soon(desk.bearers.run)
        token = mint(SECRET, "u", seconds=30)
        await desk.enter()
        crowd = [desk.connect() for _ in range(600)]
        for guest in crowd:
            desk.send(guest, 1, 1, ROOM, 0, 0, None, None, {}, token)
        late = await desk.enter("late", seconds=40)
        desk.now_ms += int((32 + LEEWAY_SECONDS) * 1000)
        await trio.sleep(60)
        assert set(desk.wire.closed) == {guest.session for guest in crowd}
        desk.now_ms += 15_000
        await trio.sleep(60)
        assert late.session in desk.wire.closed
        assert not len(desk.bearers)
        nursery.cancel_scope.cancel()


async def test_what_ends_a_connection_ends_what_is_known_of_its_token() -> None:
    async with open_desk() as desk:
        anna = await desk.enter("anna")
        assert len(desk.bearers) == 1
        desk.wire.drop(anna.session)
        assert not len(desk.bearers)
        # One that breaks while it comes in.
        await desk.enter()
        bob = desk.connect()
        bob.sock.room, bob.sock.broken = 0, True
        desk.join(bob, user="bob")
        assert bob.session.stage is Stage.CLOSED
        assert not len(desk.bearers)


async def test_a_renewed_token_says_what_a_viewer_is_from_then_on() -> None:
    async with open_desk(room={"notable_roles": ("host",)}) as desk:
        anna = await desk.enter("anna", level=3, name="安娜", attributes={"team": "red"})
        await desk.turn()
        desk.send(anna, RENEW, 7, mint(SECRET, "anna", role="host", level=9, rooms=[ROOM]))
        assert anna.replies() == [(7, Code.OK)]
        assert anna.session.author == RankedAuthor("anna", "安娜", {"team": "red"}, "host", 9)
        (notable,) = await desk.told(Notable)
        assert (notable.present, notable.author.name, notable.standing) == (True, "安娜", Standing("host", 9, False, True))
        desk.ask(anna, COMMENT, "hello")
        (say,) = await desk.told(Say)
        assert say.standing.role == "host"
        desk.send(anna, RENEW, 8, mint(SECRET, "anna", role="reader", name="A", attributes={}))
        (notable,) = await desk.told(Notable)
        assert not notable.present
        anna.read()
        ref = desk.ask(anna, COMMENT, "hello")
        assert anna.replies() == [(ref, Code.FORBIDDEN)]
        assert (anna.session.author.name, anna.session.author.attributes) == ("A", {})


async def test_a_renewal_that_is_refused_changes_nothing() -> None:
    async with open_desk() as desk:
        outside, guest = desk.connect(), await desk.enter()
        desk.send(outside, RENEW, 1, mint(SECRET, "anna"))
        assert outside.replies() == [(1, Code.NOT_JOINED)]
        desk.send(guest, RENEW, 1, mint(SECRET, "anna"))
        assert guest.replies() == [(1, Code.FORBIDDEN)]
        anna = await desk.enter("anna", role="host", rooms=[ROOM])
        before = anna.session.author, anna.session.standing
        wrong: list[tuple[str, Code]] = [
            (mint(SECRET, "bob", role="host"), Code.FORBIDDEN),
            (mint(SECRET, "anna", rooms=["other"]), Code.BAD_TOKEN),
            (mint("x" * 32, "anna"), Code.BAD_TOKEN),
            (jwt.encode({"sub": "anna", "exp": 1}, SECRET, "HS256"), Code.BAD_TOKEN),
            ("", Code.BAD_TOKEN),
        ]
        for token, code in wrong:
            desk.send(anna, RENEW, 9, token)
            assert anna.replies() == [(9, code)]
        assert (anna.session.author, anna.session.standing) == before
        desk.send(anna, RENEW, 9, "x" * 4097)
        assert anna.replies() == [(0, Code.INVALID)]


async def test_backstage_is_not_for_who_is_no_moderator_any_more() -> None:
    async with open_desk() as desk:
        room = backstage_of(ROOM)
        anna = desk.join(desk.connect(), room=room, user="anna", role="moderator")
        assert anna.session.room is not None
        desk.send(anna, RENEW, 9, mint(SECRET, "anna"))
        assert anna.replies() == [(9, Code.FORBIDDEN)]
        assert anna.session.standing.role == "moderator"


async def test_whose_token_is_taken_back_is_closed_and_comes_back_with_no_other() -> None:
    async with open_desk() as desk:
        people: dict[str, Guest] = {}
        for name, user, jti in (("one", "anna", "t-1"), ("two", "anna", "t-2"), ("three", "bob", "t-3"), ("four", "eve", "")):
            people[name] = await desk.enter(user, jti=jti)
        waiting = desk.join(desk.connect(), room="other", user="bob", jti="t-9")
        now = desk.now_ms // 1000
        await desk.tell(Trust(None, {"jti:t-1": desk.now_ms, "sub:bob": desk.now_ms + 1_000, "sub:eve": desk.now_ms - 60_000}))
        closed = {people["one"].session, people["three"].session, waiting.session}
        assert desk.wire.closed == dict.fromkeys(closed, Close.TOKEN_REVOKED)
        desk.send(people["four"], RENEW, 3, mint(SECRET, "eve", jti="t-1"))
        assert people["four"].replies() == [(3, Code.BAD_TOKEN)]
        for user, jti in (("anna", "t-1"), ("bob", "t-4")):
            again = desk.join(desk.connect(), user=user, jti=jti)
            assert again.replies() == [(1, Code.BAD_TOKEN)]
        desk.now_ms += 5_000
        later = jwt.encode({"sub": "bob", "iat": now + 5, "exp": now + 60}, SECRET, "HS256")
        bob = desk.connect()
        desk.send(bob, 1, 1, ROOM, 0, 0, None, None, {}, later)
        assert bob.session.author is not None
        await desk.tell(NOBODY)
        assert len(desk.wire.closed) == 3


async def test_until_the_hub_has_the_key_set_its_tokens_are_to_come_again() -> None:
    async with open_desk(access={"jwks": "keys.json"}) as desk:
        await desk.enter()
        guest = desk.connect()
        token = jwt.encode({"sub": "anna", "exp": 9e9}, SECRET, "HS256", {"kid": "k"})
        desk.send(guest, 1, 1, ROOM, 0, 0, None, None, {}, token)
        (reply,) = guest.read()
        assert (reply[2], reply[5] > 0) == (Code.UNAVAILABLE, True)
        await desk.tell(Trust([], {}))
        desk.send(guest, 1, 2, ROOM, 0, 0, None, None, {}, token)
        assert guest.replies() == [(2, Code.BAD_TOKEN)]


async def test_the_products_own_connection_is_bounded_by_what_waits_only() -> None:
    limits: dict[str, Any] = {
        "comments_burst": 1,
        "comments_per_second": 0.001,
        "messages_burst": 3,
        "messages_per_second": 0.001,
        "reads_burst": 1,
        "reads_per_second": 0.001,
        "gifts_burst": 1,
        "gifts_per_second": 0.001,
        "pending_events": 50,
    }
    async with open_desk(limits=limits) as desk:
        viewer, server = await desk.enter("anna"), await desk.enter("shop", role="server")
        for guest, expected in ((viewer, 3), (server, 0)):
            codes: list[Code] = []
            for kind, fields in ((COMMENT, ("hello",)), (HISTORY, (1, 1)), (GIVE, ("rose", 1))) * 2:
                desk.ask(guest, kind, *fields)
                codes += [code for _, code in guest.replies()]
            assert codes == [Code.RATE_LIMITED] * expected
        desk.requests.count(server.session, 1_000)
        for _ in range(50):
            desk.ask(server, COMMENT, "hello")
        codes = [code for _, code in server.replies()]
        assert set(codes) == {Code.OVERLOADED}
        assert len(codes) == 9
