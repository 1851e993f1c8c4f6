"""Passes over HTTP: for who may look, or moderate; one room each; not repeated, not remembered. And advice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trio

from engine.advice import Advice, Change
from engine.client import Closed, Options, open_client
from engine.errors import Close, Code, Refused
from engine.hub.passes import EACH_MAX, OUT_MAX
from engine.schema import CONSOLE
from engine.settings import AccessSettings, RoomSettings
from engine.tokens.passes import PASS, PASS_SECONDS

from .calling import KEY, Called, calling, fault_of, key_of, settings
from .watching import ROOM, at, key, token

LOOKS = key_of("looks", "node:read")
MODERATES = key_of("moderates", "moderate", rooms=["大厅*"])
BOTH = key_of("both", "node:read", "moderate", rooms=["大厅*"])


@pytest.fixture
async def called() -> AsyncIterator[Called]:
    async with calling(settings(LOOKS, MODERATES, BOTH)) as opened:
        yield opened


async def passed(called: Called, path: str = "/v1/passes", credential: str = KEY, **more: Any) -> dict[str, Any]:
    more.setdefault("json", {"room": None})
    answer = await called.call("POST", path, key=credential, **more)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    assert told["url"] == called.node.viewers_url() == called.node.url
    assert told["token"].startswith(PASS)
    assert told["token"] not in answer.headers.values()
    return told


async def refused(called: Called, path: str = "/v1/passes", credential: str = KEY, **more: Any) -> Code:
    more.setdefault("json", {"room": None})
    answer = await called.call("POST", path, key=credential, **more)
    assert answer.status_code >= 400, answer.text
    return Code(fault_of(answer)["code"])


async def enters(told: dict[str, Any], room: str = "") -> str:
    """Whether and as what somebody gets in with a pass: the role, or why not."""
    try:
        async with open_client(told["url"], room=room or told["room"], token=told["token"]) as client:
            return client.role
    except Refused as refusal:
        return refusal.code.name


async def test_a_pass_leads_to_the_figures_as_a_reader_and_nowhere_else(called: Called) -> None:
    for credential in (KEY, "rc_looks"):
        told = await passed(called, credential=credential)
        assert told["room"] == CONSOLE
        now = time.time() * 1000
        assert 0 < told["expires"] - now <= PASS_SECONDS * 1000
        assert 3_500_000 < told["ends"] - now <= 3_600_000
        assert await enters(told) == "reader"
        assert await enters(told) == "reader", "it is good for its minute"
        for other in (ROOM, f"{CONSOLE}#backstage", "#consoles", "#everywhere"):
            assert await enters(told, other) in ("BAD_TOKEN", "FORBIDDEN", "BAD_ROOM"), other


async def test_a_pass_for_a_room_moderates_there_and_backstage(called: Called) -> None:
    for path, credential, room in (
        ("/v1/passes", KEY, ROOM),
        ("/v1/passes", "rc_both", f"{ROOM}#backstage"),
        (at("passes"), KEY, None),
        (at("passes"), "rc_moderates", None),
        (at("passes"), token("mod", "moderator", rooms=["大厅*"]), None),
    ):
        told = await passed(called, path, credential, json={"room": room} if room else None)
        assert told["room"] == ROOM
        assert await enters(told) == "moderator"
        assert await enters(told, f"{ROOM}#backstage") == "moderator"
        assert await enters(told, "elsewhere") == "BAD_TOKEN"
        assert await enters(told, CONSOLE) == "FORBIDDEN"


async def test_nobody_gets_a_pass_for_what_it_may_not_do(called: Called) -> None:
    for credential, body in (
        ("rc_moderates", {"room": None}),
        ("rc_moderates", {"room": ROOM}),
        ("rc_looks", {"room": ROOM}),
        ("rc_both", {"room": None}),
        ("rc_both", {"room": "elsewhere"}),
        (token("mod", "moderator"), {"room": ROOM}),
        (KEY, {"room": CONSOLE}),
        (KEY, {"room": f"{CONSOLE}#backstage"}),
    ):
        assert await refused(called, credential=credential, json=body) is Code.FORBIDDEN, (credential, body)
    for credential in ("rc_looks", token("u"), token("mod", "moderator", rooms=["elsewhere"])):
        assert await refused(called, at("passes"), credential) is Code.FORBIDDEN
    assert await refused(called, at("passes", room=CONSOLE)) is Code.FORBIDDEN
    wrongs: tuple[Any, ...] = ({"room": " x"}, {"room": "#everywhere"}, {"room": ""}, {"room": 1}, {"more": 1}, [])
    for wrong in wrongs:
        assert await refused(called, json=wrong) in (Code.BAD_ROOM, Code.INVALID), wrong


async def test_a_pass_is_no_key(called: Called) -> None:
    for room in (None, ROOM):
        told = await passed(called, json={"room": room})
        answer = await called.call("GET", "/v1/rooms", key=told["token"])
        assert answer.status_code == 401
        assert told["token"] not in answer.text


async def test_nobody_speaks_in_the_room_of_the_figures_over_http(called: Called) -> None:
    for method, path, body in (
        ("POST", at("comments", room=CONSOLE), {"body": "x"}),
        ("POST", at("events", room=CONSOLE), {"name": "figures", "body": "{}"}),
        ("GET", at("history", room=CONSOLE), None),
        ("POST", "/v1/batch", {"events": [{"room": CONSOLE, "type": "comment", "body": "x"}]}),
    ):
        answer = await called.call(method, path, json=body)
        assert fault_of(answer)["code"] == Code.FORBIDDEN, path


async def test_one_who_was_banned_gets_no_pass(called: Called) -> None:
    await called.node.room(ROOM).ban("mod")
    assert await refused(called, at("passes"), token("mod", "moderator")) is Code.BANNED


async def test_a_pass_is_taken_back_with_its_user_or_its_token(called: Called) -> None:
    by_key = await passed(called)
    by_token = await passed(called, at("passes"), token("mod", "moderator", jti="t-1"))
    async with open_client(by_key["url"], room=CONSOLE, token=by_key["token"]) as client:
        await called.node.revoke(user="key:everything")
        with trio.fail_after(20), pytest.raises(Closed) as caught:
            async for _ in client:
                pass
        assert caught.value.code == Close.TOKEN_REVOKED
    assert await enters(by_key) == "BAD_TOKEN"
    assert await enters(by_token) == "moderator"
    await called.node.revoke(token="t-1")
    assert await enters(by_token) == "BAD_TOKEN"


async def test_a_pass_does_not_outlive_the_token_it_was_asked_for_with(called: Called) -> None:
    told = await passed(called, at("passes"), token("mod", "moderator", seconds=120))
    assert told["ends"] <= (time.time() + 120) * 1000


async def test_a_pass_opens_where_no_token_could_be_signed_and_guests_write_as_before() -> None:
    given = replace(settings(), access=AccessSettings())
    async with calling(given) as called:
        assert await enters(await passed(called)) == "reader"
        assert await enters(await passed(called, json={"room": ROOM})) == "moderator"
        async with open_client(called.node.url, room=ROOM) as guest:
            assert guest.role == "viewer"
        async with open_client(called.node.url, room=ROOM) as guest:
            assert await guest.comment("你好") >= 1
    async with calling(replace(given, access=AccessSettings(anonymous="none"))) as called:
        assert await enters(await passed(called)) == "reader"


async def test_a_retry_is_given_another_pass_and_none_is_remembered(called: Called) -> None:
    first = await passed(called, headers=key("k"))
    answer = await called.call("POST", "/v1/passes", json={"room": None}, headers=key("k"))
    assert "idempotency-replayed" not in answer.headers
    assert answer.json()["token"] != first["token"]


async def test_too_many_passes_are_refused_for_a_while(called: Called) -> None:
    for number in range(OUT_MAX):
        await called.node.make_pass(f"u{number % (OUT_MAX // EACH_MAX)}")
    answer = await called.call("POST", "/v1/passes", json={"room": None})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


async def test_a_key_that_asks_again_and_again_keeps_nobody_else_out(called: Called) -> None:
    for _ in range(EACH_MAX):
        await called.node.make_pass("key:looks")
    assert await refused(called, credential="rc_looks") is Code.RATE_LIMITED
    assert await enters(await passed(called)) == "reader"


async def test_a_pass_is_for_one_room_whatever_its_name_is(called: Called) -> None:
    # In a token such a name stands for all that begin so, and users name their rooms themselves.
    for room in ("*", f"{ROOM}*", f"{ROOM}*#backstage"):
        assert await refused(called, json={"room": room}) is Code.BAD_ROOM
        with pytest.raises(Refused) as caught:
            await called.node.make_pass("owner", room)
        assert caught.value.code is Code.BAD_ROOM


async def test_who_may_look_comes_into_a_node_that_is_full() -> None:
    given = replace(settings(LOOKS), room=RoomSettings(rooms_max=1, viewers_max=1))
    async with calling(given) as called, open_client(called.node.url, room="lobby"):
        told = await passed(called, credential="rc_looks")
        async with open_client(told["url"], room=CONSOLE, token=told["token"]):
            assert await enters(told) == "reader"
        for room in ("lobby", "other"):
            with pytest.raises(Refused) as caught:
                async with open_client(called.node.url, room=room, options=Options(attempts=1)):
                    pass
            assert caught.value.code is Code.ROOM_FULL


async def test_where_viewers_connect_can_be_said() -> None:
    given = settings(viewers_url="wss://chat.example/ws")
    async with calling(given) as called:
        answer = await called.call("POST", "/v1/passes", json={"room": None})
        assert answer.json()["url"] == "wss://chat.example/ws"


# -- advice ------------------------------------------------------------------------------------------------------------

ADVICE = Advice(
    cause="setting",
    rule="viewers_refused",
    severity="fault",
    what="Viewers are turned away.",
    evidence=["edge.refused.503: 40 in 10 s"],
    changes=[Change("edge.viewers_max", "10", "100", restart=True)],
    effect="They stop.",
    watch={"edge.refused.503": "stops"},
)


async def test_advice_is_told_as_it_was_given(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def advise(earlier: Any, later: Any, room: str, language: str) -> list[Advice]:
        asked.append((room, language))
        return [ADVICE, replace(ADVICE, room=ROOM), replace(ADVICE, room="elsewhere")]

    monkeypatch.setattr("engine.advice.advise", advise)
    answer = await called.call("GET", "/v1/node/advice", params={"seconds": 10}, key="rc_looks")
    told = answer.json()
    assert answer.status_code == 200
    assert told["since_seconds"] == 0, "nothing was seen before"
    assert [each["room"] for each in told["advice"]] == ["", ROOM, "elsewhere"]
    assert told["advice"][0] == {
        "cause": "setting",
        "rule": "viewers_refused",
        "severity": "fault",
        "what": "Viewers are turned away.",
        "evidence": ["edge.refused.503: 40 in 10 s"],
        "changes": [{"setting": "edge.viewers_max", "now": "10", "to": "100", "where": "config", "restart": True}],
        "effect": "They stop.",
        "watch": {"edge.refused.503": "stops"},
        "room": "",
    }
    mine = await called.call("GET", "/v1/node/advice", params={"room": ROOM, "language": "zh"}, key="rc_both")
    assert [each["room"] for each in mine.json()["advice"]] == ["", ROOM]
    assert asked == [("", "en"), (ROOM, "zh")]


async def test_advice_that_cannot_be_asked_for_is_refused(called: Called) -> None:
    for wrong in ({"seconds": 0}, {"seconds": 901}, {"seconds": "nan"}, {"room": "x" * 129}, {"language": "fr"}):
        assert (await called.call("GET", "/v1/node/advice", params=wrong)).status_code == 422
    for room, credential in (("elsewhere", "rc_both"), (CONSOLE, KEY), (ROOM, "rc_moderates")):
        answer = await called.call("GET", "/v1/node/advice", params={"room": room}, key=credential)
        assert fault_of(answer)["code"] == Code.FORBIDDEN
