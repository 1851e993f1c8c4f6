"""Who calls: API keys and tokens, good and bad, and how often they may."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jwt
import pytest

from engine.access import mint
from engine.api.callers import FAILURES_BURST, ROLE_SCOPES, ApiCallers
from engine.api.context import Caller
from engine.api.problems import Problem
from engine.errors import Code
from engine.link.messages import Trust
from engine.schema import RankedAuthor
from engine.settings import AccessSettings, Settings

from .calling import KEY, SECRET, key_of, settings

OTHER = "another secret of at least 32 bytes!"
NOW = 1_800_000_000.0


class World:
    """Callers of a node whose settings and clock can be changed."""

    def __init__(self, given: Settings | None = None) -> None:
        self.settings = given or settings(key_of("reads", "rooms:read", rooms=["live-*", "one"]))
        self.time = 0.0
        self.trust: Trust | None = None
        self.callers = ApiCallers(lambda: self.settings, lambda: self.trust, clock=lambda: self.time, now=lambda: NOW)

    def identify(self, given: str | None, address: str = "192.0.2.1") -> Caller:
        return self.callers.identify(None if given is None else f"Bearer {given}", address)

    def refused(self, authorization: str | None, address: str = "192.0.2.1") -> Problem:
        with pytest.raises(Problem) as caught:
            self.callers.identify(authorization, address)
        return caught.value


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token of whatever product."""
    return jwt.encode({"sub": "anna", "exp": NOW + 60, **claims}, secret, algorithm)


def test_a_key_says_what_it_may_and_where() -> None:
    world = World()
    assert world.identify(KEY).may("node:write")
    reads = world.identify("rc_reads")
    assert (reads.name, reads.author.id) == ("reads", "server")
    assert reads.may("rooms:read")
    assert not reads.may("rooms:write")
    assert [reads.covers(room) for room in ("one", "live-1", "live-", "live", "on", "one1", "")] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("spelling", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_as_rfc_9110_has_it(spelling: str) -> None:
    assert World().callers.identify(f"{spelling}  {KEY}", "::1").name == "everything"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        KEY,
        f"Basic {KEY}",
        "Bearer rc_",
        "Bearer rc_everything2",
        "Bearer rc_everythin",
        "Bearer rc_\udcff",
        "Bearer rc_é",
        "Bearer é",
        "Bearer a.b.c",
        "Bearer " + "a" * 100_000,
        f"Bearer {KEY},Bearer {KEY}",
    ],
)
def test_what_is_no_key_of_this_node_is_refused(authorization: str | None) -> None:
    problem = World().refused(authorization)
    assert (problem.status, problem.code) == (401, Code.BAD_TOKEN)
    challenge = problem.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert ("invalid_token" in challenge) == (authorization is not None)
    given = (authorization or "").partition(" ")[2].strip()
    assert not given or given not in problem.detail


def test_all_keys_are_compared_wherever_the_right_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(settings(*(key_of(f"k{number}") for number in range(9))))
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("engine.api.callers.hmac.compare_digest", compare)
    for given in (KEY, "rc_k4", "rc_k8"):
        assert world.identify(given)
    world.refused("Bearer rc_none")
    assert len(compared) == 4 * 10


@pytest.mark.parametrize("role", ROLE_SCOPES)
def test_the_user_of_a_token_may_what_its_role_may_in_its_rooms(role: str) -> None:
    caller = World().identify(token(role=role, name="安娜", level=3, rooms=["live-*"], attributes={"badge": "★"}))
    assert caller.name == "user:anna"
    assert caller.scopes == ROLE_SCOPES[role]
    assert caller.covers("live-1")
    assert not caller.covers("other")
    assert caller.author == RankedAuthor("anna", "安娜", {"badge": "★"}, role, 3)


def test_a_token_for_all_rooms_is() -> None:
    assert World().identify(token(role="host")).covers("anywhere")


def test_nobody_gets_more_by_a_role_of_more() -> None:
    assert ROLE_SCOPES["viewer"] == ROLE_SCOPES["reader"] == frozenset()
    assert ROLE_SCOPES["moderator"] < ROLE_SCOPES["host"] < ROLE_SCOPES["server"]
    assert not any(scope.startswith("node:") for scopes in ROLE_SCOPES.values() for scope in scopes)


@pytest.mark.parametrize(
    "bad",
    [
        token(OTHER),
        token(exp=NOW - 60),
        token(nbf=NOW + 60),
        token(algorithm="HS384"),
        token(algorithm="HS512"),
        token("", "none"),
        token(sub="server", role="host"),
        token(sub="guest-1", role="server"),
        token(sub=" anna", role="server"),
        token(sub="", role="server"),
        token(role="owner"),
        token(rooms="all"),
        token()[:-2],
        token() + "A",
        mint(SECRET, "anna", kid="nobody"),
    ],
)
def test_a_bad_token_is_refused(bad: str) -> None:
    problem = World().refused(f"Bearer {bad}")
    assert (problem.status, problem.code) == (401, Code.BAD_TOKEN)
    assert bad not in problem.detail


def test_tokens_that_were_taken_back_hold_no_more() -> None:
    world = World()
    given = token(role="host", jti="t1", iat=NOW - 5)
    assert world.identify(given)
    world.trust = Trust(None, {"jti:t1": int(NOW * 1000)})
    assert "taken back" in world.refused(f"Bearer {given}").detail
    world.trust = Trust(None, {"sub:anna": int(NOW * 1000)})
    assert world.refused(f"Bearer {given}").status == 401
    world.trust = None
    assert world.identify(given)


def test_a_token_whose_key_may_come_yet_is_to_be_tried_again() -> None:
    world = World(replace(settings(), access=AccessSettings(secret=SECRET, jwks="https://product.example/keys")))
    problem = world.refused(f"Bearer {mint(SECRET, 'anna', kid='new')}")
    assert (problem.status, problem.code, problem.headers["Retry-After"]) == (503, Code.UNAVAILABLE, "1")


def test_new_settings_hold_from_the_next_call() -> None:
    world = World()
    assert world.identify("rc_reads")
    world.settings = replace(settings(key_of("new")), access=AccessSettings(secret=OTHER))
    assert world.identify("rc_new")
    assert world.refused("Bearer rc_reads").status == 401
    assert world.refused(f"Bearer {token(role='host')}").status == 401
    assert world.identify(token(OTHER, role="host"))


def test_a_caller_that_comes_too_often_is_told_when_to_come() -> None:
    world = World(settings(key_of("other"), requests_per_second=10.0, requests_burst=3))
    for _ in range(3):
        world.identify(KEY)
    problem = world.refused(f"Bearer {KEY}")
    assert (problem.status, problem.code) == (429, Code.RATE_LIMITED)
    assert 99 <= problem.retry_after_ms <= 101
    assert problem.headers["Retry-After"] == "1"
    assert world.identify("rc_other")
    world.time = 0.11
    assert world.identify(KEY)


def test_a_user_has_one_rate_for_all_its_tokens() -> None:
    world = World(settings(requests_per_second=10.0, requests_burst=2))
    world.identify(token(jti="a"))
    world.identify(token(jti="b"))
    assert world.refused(f"Bearer {token(jti='c')}").status == 429
    assert world.identify(token(sub="bob"))


def test_a_rate_that_grows_lets_nobody_wait_for_the_old_one() -> None:
    world = World(settings(requests_per_second=0.001, requests_burst=1))
    world.identify(KEY)
    assert world.refused(f"Bearer {KEY}").retry_after_ms > 900_000
    world.settings = settings(requests_per_second=10.0, requests_burst=1)
    assert world.refused(f"Bearer {KEY}").retry_after_ms <= 101
    world.time = 0.11
    assert world.identify(KEY)


def test_a_source_that_keeps_failing_is_slowed_and_good_keys_are_not() -> None:
    world = World()
    statuses = [world.refused("Bearer rc_wrong").status for _ in range(FAILURES_BURST + 2)]
    assert statuses == [401] * FAILURES_BURST + [429] * 2
    assert world.refused(None).status == 429
    assert world.refused("Bearer rc_wrong", "192.0.2.2").status == 401
    assert world.identify(KEY)
    world.time = 1.0
    assert world.refused("Bearer rc_wrong").status == 401


def test_a_subscriber_with_a_network_is_one_source() -> None:
    world = World()
    statuses = [world.refused(None, f"2001:db8::{number:x}").status for number in range(FAILURES_BURST + 1)]
    assert statuses[-2:] == [401, 429]
    assert world.refused(None, "2001:db8:0:1::1").status == 401
    assert world.refused(None, "").status == 401


def test_sources_and_users_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.api.callers._REMEMBERED", 10)
    world = World()
    for number in range(50):
        world.refused(None, f"192.0.2.{number}")
        world.identify(token(sub=f"u{number}"))
    assert len(world.callers._failed) == len(world.callers._used) == 10
