"""Tokens over HTTP: made by who may, for no more than it may; taken back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from engine.access import mint
from engine.api.callers import ROLE_SCOPES
from engine.errors import Code, Refused
from engine.settings import AccessSettings, Settings
from engine.tokens import Keyring

from .calling import KEY, SECRET, Called, calling, fault_of, key_of, settings


async def made(called: Called, key: str = KEY, **wanted: Any) -> tuple[int, dict[str, Any]]:
    answer = await called.call("POST", "/v1/tokens", key=key, json={"user": "anna"} | wanted)
    return answer.status_code, answer.json() if answer.status_code == 201 else fault_of(answer)


async def test_a_token_says_what_was_wanted_and_holds() -> None:
    async with calling() as called:
        wanted: dict[str, Any] = {
            "name": "安娜",
            "role": "host",
            "rooms": ["大厅"],
            "level": 3,
            "seconds": 60,
            "attributes": {"a": "b"},
            "jti": "t",
        }
        status, told = await made(called, **wanted)
        assert status == 201
        claims = Keyring(AccessSettings(secret=SECRET)).read(told["token"], time.time())
        assert (claims.sub, claims.name, claims.role, claims.rooms, claims.level) == ("anna", "安娜", "host", ["大厅"], 3)
        assert (claims.attributes, claims.jti) == ({"a": "b"}, "t")
        assert abs(told["expires"] / 1000 - claims.exp) <= 1


@pytest.mark.parametrize(
    "wanted",
    [
        {"user": ""},
        {"user": "x" * 129},
        {"role": "owner"},
        {"level": -1},
        {"seconds": 0},
        {"rooms": [""]},
        {"rooms": [" a"]},
        {"rooms": ["\x1f"]},
        {"attributes": {"a": 1}},
        {"more": 1},
        {"name": "x" * 65},
    ],
)
async def test_what_no_token_can_say_is_refused(wanted: dict[str, Any]) -> None:
    async with calling() as called:
        status, told = await made(called, **wanted)
        assert status == 422
        assert told["code"] in (Code.INVALID, Code.BAD_ROOM)


async def test_nobody_gives_what_it_has_not_got() -> None:
    keys = (key_of("tokens", "tokens"), key_of("there", *ROLE_SCOPES["host"], "tokens", rooms=["live-*"]))
    async with calling(settings(*keys)) as called:
        for role, scopes in ROLE_SCOPES.items():
            assert (await made(called, "rc_tokens", role=role))[0] == (403 if scopes else 201)
            wanted = {"role": role, "rooms": ["live-1"]}
            assert (await made(called, "rc_there", **wanted))[0] == (403 if role == "server" else 201)
        for rooms in ([], ["*"], ["live*"], ["live-1", "other"]):
            assert (await made(called, "rc_there", rooms=rooms))[0] == 403
        assert (await made(called, "rc_there", rooms=["live-*", "live-1"]))[0] == 201


@pytest.mark.parametrize("role", ROLE_SCOPES)
async def test_no_token_makes_others(role: str) -> None:
    async with calling() as called:
        assert (await made(called, mint(SECRET, "backend", role=role)))[0] == 403


async def test_whose_tokens_were_taken_back_gets_another_one_at_once() -> None:
    async with calling() as called:
        _, old = await made(called)
        assert await revoked(called, user="anna") == 204
        _, new = await made(called)
        news, keyring = called.node.hub.trust.news, Keyring(called.node.settings.access)
        assert news is not None
        keyring.trust(news.jwks, news.revoked)
        with pytest.raises(Refused):
            keyring.read(old["token"], time.time())
        assert keyring.read(new["token"], time.time()).sub == "anna"


async def test_without_a_secret_there_are_none() -> None:
    plain = settings()
    async with calling(Settings(node=plain.node, edge=plain.edge, api=plain.api)) as called:
        status, told = await made(called)
        assert (status, told["code"]) == (422, Code.INVALID)
        assert "access.secret" in told["detail"]


async def revoked(called: Called, key: str = KEY, **what: Any) -> int:
    return (await called.call("POST", "/v1/tokens/revocations", key=key, json=what)).status_code


async def test_tokens_are_taken_back() -> None:
    async with calling() as called:
        one, all_of_bob = mint(SECRET, "anna", role="host", jti="t1"), mint(SECRET, "bob", role="host")
        assert await revoked(called, token="t1") == 204
        assert await revoked(called, user="bob", seconds=60) == 204
        for gone in (one, all_of_bob):
            assert (await called.call("GET", "/v1/rooms", key=gone)).status_code == 401
        assert (await called.call("GET", "/v1/rooms", key=mint(SECRET, "anna", role="host", jti="t2"))).status_code == 200


async def test_what_is_taken_back_must_be_said_and_concerns_all_rooms() -> None:
    async with calling(settings(key_of("there", "tokens", rooms=["live-*"]))) as called:
        assert await revoked(called) == 422
        assert await revoked(called, token="t", user="u") == 422
        assert await revoked(called, "rc_there", user="u") == 403
