"""Passes: a text that stands for claims for a minute, known to who has it, told to edges by its digest; not many at once."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.brokers.base import Broker, Unavailable
from engine.brokers.memory import MemoryBroker
from engine.errors import Code, Refused
from engine.hub.passes import EACH_MAX, OUT_MAX, passes_in
from engine.link.messages import Trust
from engine.schema import CONSOLE, EVERYWHERE
from engine.settings import AccessSettings, BrokerSettings
from engine.tokens import LEEWAY_SECONDS, Keyring
from engine.tokens.passes import PASS, PASS_SECONDS, digest_of, ends_of, text_of

from .harness import START_MS, FakeEdge, now_ms, open_hub, settle


def told(edge: FakeEdge) -> Trust:
    return edge.of(Trust)[-1]


def ring(trust: Trust) -> Keyring:
    """What an edge knows that was told this, and has no keys."""
    made = Keyring(AccessSettings())
    made.trust(trust.jwks, trust.revoked, trust.passes)
    return made


def refusal(keyring: Keyring, text: str, now: float) -> Refused:
    with pytest.raises(Refused) as caught:
        keyring.read(text, now)
    assert text not in caught.value.text
    return caught.value


# -- the text ----------------------------------------------------------------------------------------------------------


def test_a_pass_tells_until_when_it_lets_in_and_nothing_else() -> None:
    text = text_of(1_800_000_000, bytes(range(20)))
    assert text.startswith(PASS)
    assert len(text) == len(PASS) + 32
    assert ends_of(text) == 1_800_000_000
    assert digest_of(text) != digest_of(text_of(1_800_000_000, bytes(20)))
    with pytest.raises(ValueError, match="20"):
        text_of(1, b"short")


@pytest.mark.parametrize(
    "text", ["", PASS, f"{PASS}x", f"{PASS}{'A' * 33}", "A" * 36, f"{PASS}{'é' * 32}", f"{PASS}{'!' * 32}"]
)
def test_what_is_no_pass_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ends_of(text)


# -- at the hub --------------------------------------------------------------------------------------------------------


async def test_edges_are_told_of_a_pass_by_its_digest_before_it_is_given_out(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        edge = hub.edge()
        await settle()
        assert not edge.of(Trust)
        made = await hub.hub.passes.issue("key:ops", CONSOLE, "reader", name="ops", level=3, jti="j")
        await settle()
        (digest,) = told(edge).passes
        assert digest == digest_of(made.text)
        assert made.text not in str(told(edge))
        now = now_ms() / 1000
        claims = ring(told(edge)).read(made.text, now)
        assert (claims.sub, claims.role, claims.rooms) == ("key:ops", "reader", [CONSOLE])
        assert (claims.name, claims.level, claims.jti) == ("ops", 3, "j")
        assert made.expires_ms == ends_of(made.text) * 1000
        assert 0 <= made.expires_ms - START_MS - PASS_SECONDS * 1000 + 1000 <= 2000
        assert made.ends_ms == int(claims.exp * 1000)
        late = hub.edge()
        await settle()
        assert told(late) == told(edge)


async def test_a_pass_goes_when_its_minute_is_over(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        edge = hub.edge()
        made = await hub.hub.passes.issue("u", "room", "moderator")
        other = await hub.hub.passes.issue("u", "room", "moderator")
        assert other.text != made.text
        await settle()
        known = ring(told(edge))
        await trio.sleep(PASS_SECONDS + 1)
        assert isinstance(hub.hub.broker, MemoryBroker)
        hub.hub.broker.sweep()
        await settle()
        assert not told(edge).passes
        assert hub.hub.trust.news is None
        now = now_ms() / 1000
        # An edge that was not told yet goes by the time in the text.
        assert known.read(made.text, now).sub == "u"
        assert refusal(known, made.text, now + LEEWAY_SECONDS).code is Code.BAD_TOKEN


async def test_passes_are_bounded_in_number_and_there_is_room_again_after_a_minute(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        for number in range(OUT_MAX):
            await hub.hub.passes.issue(f"u{number % (OUT_MAX // EACH_MAX)}", "room", "moderator")
        with pytest.raises(Refused) as caught:
            await hub.hub.passes.issue("u", "room", "moderator")
        assert caught.value.code is Code.RATE_LIMITED
        assert caught.value.retry_after_ms
        record = hub.hub.record(EVERYWHERE)
        assert record is not None
        assert sum(len(name) + len(value) for name, value in record.fields.items()) < BrokerSettings().record_bytes / 2
        await trio.sleep(PASS_SECONDS + 1)
        assert isinstance(hub.hub.broker, MemoryBroker)
        hub.hub.broker.sweep()
        await hub.hub.passes.issue("u", "room", "moderator")


async def test_those_that_are_being_made_count_while_the_broker_takes_its_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub() as hub:
        amend = hub.hub.broker.amend
        codes: list[Code] = []

        async def slow(*given: Any) -> int:
            await trio.sleep(1)
            return await amend(*given)

        async def issue(user: str) -> None:
            try:
                await hub.hub.passes.issue(user, "room", "moderator")
                codes.append(Code.OK)
            except Refused as refused:
                codes.append(refused.code)

        monkeypatch.setattr(hub.hub.broker, "amend", slow)
        async with trio.open_nursery() as nursery:
            for number in range(2 * OUT_MAX):
                nursery.start_soon(issue, f"u{number % 8}")
        assert codes.count(Code.OK) == OUT_MAX
        assert codes.count(Code.RATE_LIMITED) == OUT_MAX
        record = hub.hub.record(EVERYWHERE)
        assert record is not None
        assert len(passes_in(record.fields)) == OUT_MAX


async def test_of_one_user_a_few_are_out_and_a_place_is_given_back(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub() as hub:
        for _ in range(EACH_MAX - 1):
            await hub.hub.passes.issue("u", "room", "moderator")
        with monkeypatch.context() as patch:
            patch.setattr(hub.hub.broker, "amend", away)
            with pytest.raises(Refused):
                await hub.hub.passes.issue("u", "room", "moderator")
        await hub.hub.passes.issue("u", "room", "moderator")
        with pytest.raises(Refused) as caught:
            await hub.hub.passes.issue("u", "room", "moderator")
        assert caught.value.code is Code.RATE_LIMITED
        await hub.hub.passes.issue("v", "room", "moderator")


@pytest.mark.parametrize(
    ("user", "room", "code"),
    [("", "room", Code.INVALID), ("u" * 65, "room", Code.INVALID), ("u", "*", Code.BAD_ROOM), ("u", "room*", Code.BAD_ROOM)],
)
async def test_a_pass_that_no_edge_would_take_or_that_is_for_many_rooms_is_not_made(
    autojump_clock: MockClock, user: str, room: str, code: Code
) -> None:
    async with open_hub() as hub:
        with pytest.raises(Refused) as caught:
            await hub.hub.passes.issue(user, room, "moderator")
        assert caught.value.code is code


async def away(*_: object) -> int:
    raise Unavailable("away")


async def test_a_record_that_is_full_and_a_broker_out_of_reach_are_said(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub(broker_settings=BrokerSettings(record_fields=1)) as hub:
        await hub.hub.passes.issue("u", "room", "moderator")
        with pytest.raises(Refused) as caught:
            await hub.hub.passes.issue("u", "room", "moderator")
        assert caught.value.code is Code.STATE_FULL

        monkeypatch.setattr(hub.hub.broker, "amend", away)
        with pytest.raises(Refused) as caught:
            await hub.hub.passes.issue("u", "room", "moderator")
        assert caught.value.code is Code.UNAVAILABLE


async def test_a_pass_that_does_not_come_back_from_the_broker_is_not_given_out(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub() as hub:
        broker: Broker = hub.hub.broker

        async def lost(*_: object) -> int:
            return 1_000

        monkeypatch.setattr(broker, "amend", lost)
        with pytest.raises(Refused) as caught:
            await hub.hub.passes.issue("u", "room", "moderator")
        assert caught.value.code is Code.UNAVAILABLE


async def test_a_pass_is_in_no_line_of_the_log(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_hub() as hub:
        made = await hub.hub.passes.issue("u", "room", "moderator")
    assert made.text not in caplog.text


def test_what_others_have_written_in_the_record_is_left_alone() -> None:
    assert passes_in({"x:ban:eve": b"1", "t:jti:a": b"2", "pass:ab": b"{}", "pass:cd": b"\xff"}) == {"ab": "{}", "cd": "\ufffd"}


# -- at an edge --------------------------------------------------------------------------------------------------------


NOW = 2_000_000_000.0
TEXT = text_of(int(NOW) + 60, bytes(20))
CLAIMS = f'{{"sub":"u","exp":{NOW + 3600},"iat":{NOW},"jti":"j","rooms":["room"]}}'


def knowing(passes: dict[str, str], revoked: dict[str, int] | None = None) -> Keyring:
    return ring(Trust(None, revoked or {}, passes))


def test_a_pass_is_known_whether_there_are_keys_or_not() -> None:
    for settings in (AccessSettings(), AccessSettings(secret="s" * 32), AccessSettings(jwks="/nowhere")):
        keyring = Keyring(settings)
        assert refusal(keyring, TEXT, NOW).code is Code.UNAVAILABLE
        keyring.trust(None, {}, {digest_of(TEXT): CLAIMS})
        assert keyring.read(TEXT, NOW).sub == "u"
        keyring.adopt(settings)
        assert keyring.read(TEXT, NOW).sub == "u"
        # The whole of it is told each time.
        keyring.trust(None, {}, {})
        assert refusal(keyring, TEXT, NOW).retry_after_ms == 1_000


def test_what_is_forged_is_no_pass_or_one_that_may_come_yet_until_its_own_time_is_over() -> None:
    keyring = knowing({digest_of(TEXT): CLAIMS})
    other = text_of(int(NOW) + 60, b"\x01" * 20)
    assert refusal(keyring, other, NOW).code is Code.UNAVAILABLE
    assert refusal(keyring, other, NOW + 60 + LEEWAY_SECONDS).code is Code.BAD_TOKEN
    # Who reads the record has the digest, which is no pass.
    refusal(keyring, f"{PASS}{digest_of(TEXT)}", NOW)
    for wrong in (f"{TEXT}=", TEXT[:-1], f"{TEXT} ", PASS):
        assert refusal(keyring, wrong, NOW).code is Code.BAD_TOKEN
    assert refusal(keyring, TEXT.swapcase(), NOW).code is Code.BAD_TOKEN


def test_a_pass_is_taken_back_with_the_user_or_the_token_it_was_made_with() -> None:
    for revoked in ({"sub:u": int(NOW * 1000)}, {"jti:j": 0}):
        assert refusal(knowing({digest_of(TEXT): CLAIMS}, revoked), TEXT, NOW).code is Code.BAD_TOKEN
    assert knowing({digest_of(TEXT): CLAIMS}, {"sub:u": int(NOW * 1000) - 1, "jti:k": 0}).read(TEXT, NOW).sub == "u"


def test_claims_that_cannot_be_read_are_not_known() -> None:
    keyring = knowing({digest_of(TEXT): '{"sub":1}', "x": "rubbish"})
    assert refusal(keyring, TEXT, NOW).code is Code.UNAVAILABLE
