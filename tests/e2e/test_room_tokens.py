"""Tokens say who somebody is and what it may do; forged, stale or foreign ones open nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from engine.access import mint
from engine.errors import Code

from .conftest import Running
from .people import ROOM, SECRET, Foreign, live, token
from .viewers import CHANGE, COMMENT, CUSTOM, MODERATE, NOTICE, open_viewer

OTHER = "x" * 32
NEVER = 4_000_000_000


def signed(claims: Any, key: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode({"sub": "eve", "exp": NEVER, **claims}, key, algorithm)


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = [json.dumps(each).encode() for each in (header, {"sub": "eve", "exp": NEVER, **claims})]
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts) + "."


FORGED = [
    "",
    "no token",
    "a.b.c",
    "é.è.à",
    "." * 4_000,
    mint(OTHER, "eve", role="host"),
    signed({"role": "host"}, OTHER),
    signed({"role": "host"}, SECRET * 4, "HS512"),
    unsigned({"role": "host"}, {"alg": "none"}),
    unsigned({"role": "host"}, {"alg": "HS256", "crit": ["x"]}),
    signed({"exp": 1_000_000}),
    signed({"nbf": NEVER - 1}),
    signed({"role": "god"}),
    signed({"role": ["host"]}),
    signed({"level": -1}),
    signed({"sub": "guest-123456789abc"}),
    signed({"sub": "server"}),
    signed({"sub": " eve"}),
    signed({"sub": "e\u202eve"}),
    signed({"sub": ""}),
    signed({"rooms": ["别的房间"]}),
    signed({"rooms": []}),
    token("主播", "host")[:-2] + "AA",
]


async def test_what_is_forged_stale_or_foreign_opens_nothing(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, None, None) as witnesses, open_viewer("raw", node.url) as viewer:
        for each in FORGED:
            for room in (ROOM, f"{ROOM}#backstage"):
                refusal = await viewer.knock(room, token=each)
                assert refusal is not None, each
                assert refusal.code == Code.BAD_TOKEN, each
                assert not each or each not in refusal.text
        # The connection is as good as before.
        await viewer.join(ROOM)
        await viewer.comment("只是访客 👤")
        for witness in witnesses:
            await witness.until_offset(1)
            assert witness.events[1][1] == [viewer.user, "", {}]


async def test_who_a_token_names_speaks_as_it_says(running: Running, foreign: Foreign) -> None:
    vip = token("用户-9", name="小红 🌹", level=9, follower=True, rooms=["大厅*"], attributes={"徽章": "💎"})
    async with running(live()) as node, foreign(node.url, vip, token("mod", "moderator")) as (red, mod):
        assert red.joined[4:6] == ["用户-9", "viewer"]
        assert mod.joined[4:6] == ["mod", "moderator"]
        offset = await red.comment("我来了")
        await mod.until_offset(offset)
        assert mod.events[offset][1] == ["用户-9", "小红 🌹", {"徽章": "💎"}, "viewer", 9]
        # Its session is its own: who brings it without the token is somebody else, as with another one.
        stolen = red.session
        for who in (None, token("eve")):
            async with open_viewer("websockets", node.url) as thief:
                await thief.join(ROOM, session=stolen, token=who)
                assert thief.session != stolen
                assert thief.user != red.user
        async with foreign(node.url, vip, session=stolen) as (again,):
            assert (again.session, again.user) == (stolen, red.user)
        async with open_viewer("websockets", node.url) as viewer:
            refusal = await viewer.knock("别的房间", token=vip)
            assert refusal is not None
            assert refusal.code == Code.BAD_TOKEN


@pytest.mark.parametrize("role", ["reader", "viewer", "moderator", "host"])
async def test_each_role_may_do_what_it_may(running: Running, foreign: Foreign, role: str) -> None:
    async with running(live()) as node, foreign(node.url, token("u1", role), token("u2", role)) as people:
        for viewer in people:
            leads = role in ("moderator", "host")
            wanted = {
                COMMENT: (["你好"], role != "reader"),
                CUSTOM: (["礼物", "{}"], leads),
                NOTICE: (["公告"], leads),
                CHANGE: (["card", "茶", {"title": "龙井"}], leads),
                MODERATE: (["mute", "eve"], leads),
            }
            for kind, (fields, allowed) in wanted.items():
                reply = await viewer.ask(kind, viewer.handle, *fields)
                assert (reply.code == Code.OK) is allowed, (kind, reply)
                assert allowed or reply.code == Code.FORBIDDEN


async def test_without_a_secret_no_token_opens_anything(running: Running, foreign: Foreign) -> None:
    async with (
        running(live(access={"secret": ""})) as node,
        foreign(node.url, None, None),
        open_viewer("websockets", node.url) as viewer,
    ):
        refusal = await viewer.knock(ROOM, token=token("主播", "host"))
        assert refusal is not None
        assert refusal.code == Code.BAD_TOKEN
        assert "access.secret" in refusal.text
