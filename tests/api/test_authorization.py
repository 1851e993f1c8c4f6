"""Every call × every scope, role, and credential that is wrong: what the document says of a call is what lets somebody in.

The calls come from the application itself, so that a new one is in the matrix, and fails if it does not say what it needs.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, get_args

import jwt
import pytest
from fastapi import FastAPI

from engine.access import mint
from engine.api.callers import ROLE_SCOPES
from engine.api.context import Scope
from engine.api.openapi import METHODS
from engine.errors import Code

from .calling import KEY, SECRET, Called, calling, fault_of, key_of, settings

SCOPES: tuple[str, ...] = get_args(Scope)
_PAGES = ("/", "/console", "/entrance.json", "/sdk/{file}", "/web/{directory}/{file}")
_FILES = {"/sdk/{file}": "/sdk/roomcast.js", "/web/{directory}/{file}": "/web/shared/tokens.css"}
PUBLIC = {("GET", path) for path in (*_PAGES, "/docs", "/openapi.json", "/health/live", "/health/ready", "/metrics")}
"""What anybody may ask for; /metrics unless `api.public_metrics` is off."""
ROOM = "one"
OTHER = "another secret, that the node does not know and that is long enough for any"

Call = tuple[str, str, str]
"""Method, path with its parameters filled in, and the scope that it needs."""


def key_name(scope: str) -> str:
    return scope.replace(":", "-")


def paths_of(app: FastAPI) -> set[tuple[str, str]]:
    """Method and path of all that is routed, in the document or not."""
    from fastapi.routing import iter_route_contexts

    found = set()
    for context in iter_route_contexts(app.routes):
        found |= {(method, str(context.path)) for method in context.methods or ()}
    return found


def declared(app: FastAPI) -> dict[tuple[str, str], str]:
    """The scope of each call that declares one."""
    found = {}
    for path, item in app.state.about.document["paths"].items():
        for method in METHODS:
            security = item.get(method, {}).get("security", [])
            scopes = {scope for each in security for scope in each.get("key", ())}
            if len(security) == len(scopes) == 1:
                found[method.upper(), path] = scopes.pop()
    return found


def calls_of(app: FastAPI, room: str = ROOM) -> list[Call]:
    """Every call that needs a scope; what is not the room is number 1."""
    found = []
    for (method, path), scope in declared(app).items():
        filled = path.replace("{room}", room)
        while "{" in filled:
            head, _, tail = filled.partition("{")
            filled = f"{head}1{tail.partition('}')[2]}"
        found.append((method, filled, scope))
    return found


async def allowed(called: Called, call: Call, credential: str | None) -> bool:
    """Whether it passes authorisation. The body is none that any call takes, so that little is done."""
    method, path, _ = call
    answer = await called.call(method, path, key=credential, content=None if method == "GET" else b"[0]")
    assert answer.status_code < 500 or answer.status_code == 503, (call, answer.text)
    if answer.status_code == 401:
        assert fault_of(answer)["code"] == Code.BAD_TOKEN
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    if answer.status_code == 403:
        assert fault_of(answer)["code"] == Code.FORBIDDEN
    assert answer.status_code != 429
    return answer.status_code not in (401, 403)


@pytest.fixture
async def called() -> AsyncIterator[Called]:
    """A node with a key for each scope; failures are never too many, since an hour lies between two calls."""
    keys = [key_of(key_name(scope), scope) for scope in SCOPES]
    elsewhere = [key_of(f"elsewhere-{key_name(scope)}", scope, rooms=["elsewhere", "two*"]) for scope in SCOPES]
    hours = count(step=3600)
    async with calling(settings(*keys, *elsewhere), clock=lambda: float(next(hours))) as opened:
        yield opened


async def test_every_call_declares_what_it_needs(called: Called) -> None:
    assert paths_of(called.app) - set(declared(called.app)) == PUBLIC
    assert set(declared(called.app).values()) == set(SCOPES)


async def test_a_call_that_declares_nothing_is_found(called: Called) -> None:
    @called.app.get("/v1/new")
    async def new() -> None:
        """Anybody might call it."""

    called.app.state.about.__dict__.pop("document", None)
    assert paths_of(called.app) - set(declared(called.app)) - PUBLIC == {("GET", "/v1/new")}


async def test_one_scope_lets_in_and_no_other_does(called: Called) -> None:
    for call in calls_of(called.app):
        let_in = {scope for scope in SCOPES if await allowed(called, call, f"rc_{key_name(scope)}")}
        assert let_in == {call[2]}, call
        assert await allowed(called, call, KEY), call


async def test_a_key_for_other_rooms_is_for_no_call_in_this_one(called: Called) -> None:
    for room, wanted in ((ROOM, False), ("elsewhere", True), ("two-1", True), ("elsewhere2", False), ("tw", False)):
        for call in calls_of(called.app, room):
            if f"/{room}" in call[1]:
                assert await allowed(called, call, f"rc_elsewhere-{key_name(call[2])}") == wanted, call


def token(role: str = "server", secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token that everything is right with but for what is given."""
    now = time.time()
    return jwt.encode({"sub": "anna", "role": role, "iat": now, "exp": now + 600, **claims}, secret, algorithm)


async def test_a_role_lets_in_where_the_documentation_says(called: Called) -> None:
    for role, scopes in ROLE_SCOPES.items():
        for rooms in (None, [ROOM], ["on*"]):
            given: dict[str, Any] = {} if rooms is None else {"rooms": rooms}
            credential = token(role, **given)
            for call in calls_of(called.app):
                # What concerns all rooms is for those who may do it in all.
                if rooms is None or f"/{ROOM}" in call[1]:
                    assert await allowed(called, call, credential) == (call[2] in scopes), (role, rooms, call)


async def test_a_token_for_other_rooms_is_for_no_call_in_this_one(called: Called) -> None:
    credential = token(rooms=["two", "onetwo*"])
    for call in calls_of(called.app):
        if f"/{ROOM}" in call[1]:
            assert not await allowed(called, call, credential), call


async def test_backstage_is_for_who_may_moderate(called: Called) -> None:
    for call in calls_of(called.app, f"{ROOM}%23backstage"):
        if f"/{ROOM}" in call[1]:
            assert await allowed(called, call, f"rc_{key_name(call[2])}") == (call[2] == "moderate"), call
            assert await allowed(called, call, KEY), call
            assert await allowed(called, call, token("host", rooms=[ROOM])) == (call[2] in ROLE_SCOPES["host"]), call


async def test_credentials_that_are_wrong_let_nobody_in(called: Called) -> None:
    now = time.time()
    good = mint(SECRET, "anna", role="server")
    head, payload, signature = good.split(".")
    bad = {
        "missing": None,
        "empty": "",
        "malformed": "rc",
        "unknown key": "rc_unknown",
        "hash of a key": next(key.sha256 for key in called.node.settings.api.keys),
        "expired": token(exp=now - 60),
        "not yet valid": token(nbf=now + 60),
        "forged": token(secret=OTHER),
        "changed": f"{head}.{payload[:-4]}AAAA.{signature}",
        "unsigned": f"{head}.{payload}.",
        "no algorithm": token(secret="", algorithm="none"),
        "HS384": token(algorithm="HS384"),
        "another issuer's key": jwt.encode({"sub": "anna", "role": "server", "exp": now + 60}, SECRET, headers={"kid": "k"}),
        "a guest's name": token(sub="guest-1"),
    }
    for name, credential in bad.items():
        for call in calls_of(called.app):
            assert not await allowed(called, call, credential), (name, call)
    for call in calls_of(called.app):
        assert await allowed(called, call, good) == (call[2] in ROLE_SCOPES["server"])


async def test_nothing_is_said_before_it_is_known_who_asks(called: Called) -> None:
    for call in calls_of(called.app):
        answer = await called.call(call[0], call[1], key=None, json={})
        assert answer.status_code == 401, call


@pytest.mark.parametrize("credential", [None, KEY, "rc_wrong"])
async def test_what_is_public_is(called: Called, credential: str | None) -> None:
    for method, path in PUBLIC:
        answer = await called.call(method, _FILES.get(path, path), key=credential)
        assert answer.status_code in (200, 307), path


async def test_metrics_can_be_private() -> None:
    async with calling(settings(key_of("reads", "node:read"), key_of("other", "tokens"), public_metrics=False)) as called:
        statuses = [(await called.call("GET", "/metrics", key=key)).status_code for key in (None, "rc_other", "rc_reads")]
        assert statuses == [401, 403, 200]
