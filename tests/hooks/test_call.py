"""Questions over HTTP, to a real server on loopback that is slow, wrong, down, or lies."""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from engine.hooks.asking import UNANSWERED, Asking
from engine.hooks.call import NoAnswer
from engine.hooks.posting import shown
from engine.hooks.signing import make_secret
from engine.hooks.values import ALLOW, Change, Hold, Question, Refuse, Verdict
from engine.settings import HookSettings

from .product import ALLOW as ALLOWED
from .product import SECRET, Answer, Asked, Product, of, open_product, verdicts

PATIENCE = 30
LONG = 20.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def question(number: int = 1, **more: Any) -> Question:
    return Question(
        id=f"问{number}", kind=more.pop("kind", "comment"), room="大厅🎬", user="小明", body=f"第{number}句", **more
    )


@asynccontextmanager
async def asking_of(product: Product, **settings: Any) -> AsyncIterator[Asking]:
    """Asks this product about comments, with much patience and few connections unless told otherwise."""
    defaults = {"comment_url": product.url(), "secret": SECRET, "answer_seconds": LONG, "fallback": "refuse"}
    asking = Asking(HookSettings(**{**defaults, **settings}), now_ms)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(asking.run)
            yield asking
            nursery.cancel_scope.cancel()


class Asker:
    """Asks in tasks of its own, and keeps the verdicts."""

    def __init__(self, asking: Asking, nursery: trio.Nursery) -> None:
        self._asking = asking
        self._nursery = nursery
        self.verdicts: dict[int, Verdict] = {}

    def ask(self, *numbers: int) -> None:
        for number in numbers:
            self._nursery.start_soon(self._ask, number)

    async def _ask(self, number: int) -> None:
        self.verdicts[number] = await self._asking.ask(question(number))


async def test_what_is_asked_and_what_is_answered() -> None:
    def judge(question: dict[str, Any]) -> dict[str, Any]:
        known: dict[str, dict[str, Any]] = {
            "第1句": {"verdict": "allow", "more": [1, 2]},
            "第2句": {"verdict": "change", "body": "改过的话🌹"},
            "第3句": {"verdict": "hold", "reason": "看看"},
            "第4句": {"reason": "不可以", "verdict": "refuse"},
        }
        return known[question["body"]]

    async with open_product() as product, asking_of(product) as asking:
        product.judge(judge)
        asked = question(1, key="k/1", time=5, name="明", level=3, attributes={"徽章": "金"}, details={"reply_to": 7})
        assert await asking.ask(asked) == ALLOW
        assert await asking.ask(question(2)) == Change("改过的话🌹")
        assert await asking.ask(question(3)) == Hold("看看")
        assert await asking.ask(question(4)) == Refuse("不可以")
        (sent,) = product.asked[0].questions
        assert sent == {
            "id": "问1",
            "kind": "comment",
            "room": "大厅🎬",
            "user": "小明",
            "key": "k/1",
            "time": 5,
            "name": "明",
            "role": "viewer",
            "level": 3,
            "attributes": {"徽章": "金"},
            "body": "第1句",
            "details": {"reply_to": 7},
        }
        assert all(each.genuine for each in product.asked)
        assert len({each.headers["webhook-id"] for each in product.asked}) == 4
        assert product.asked[0].headers["content-type"] == "application/json"
        assert asking.statistics().requests == 4


async def test_both_secrets_sign_while_one_replaces_the_other() -> None:
    async with open_product() as product, asking_of(product, secret=f"{make_secret()} {SECRET}") as asking:
        await asking.ask(question())
        assert product.asked[0].genuine
        assert len(product.asked[0].headers["webhook-signature"].split()) == 2


async def test_questions_that_come_while_a_request_is_under_way_leave_together() -> None:
    held = trio.Event()

    async def behave(asked: Asked) -> Answer:
        if len(product.asked) == 1:
            await held.wait()
        return verdicts(asked)

    async with open_product() as product, asking_of(product, in_flight=1, batch=4) as asking, trio.open_nursery() as nursery:
        product.behave = behave
        asker = Asker(asking, nursery)
        asker.ask(0)
        await product.until(1)
        asker.ask(*range(1, 10))
        await trio.testing.wait_all_tasks_blocked()
        assert asking.statistics().waiting == 9
        assert len(product.asked) == 1
        held.set()
        await product.until(4)
        assert [len(asked.questions) for asked in product.asked] == [1, 4, 4, 1]
    assert asker.verdicts == dict.fromkeys(range(10), ALLOW)


async def test_no_more_requests_than_allowed_are_under_way() -> None:
    under_way, most = 0, 0

    async def behave(asked: Asked) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(0.01)
        under_way -= 1
        return verdicts(asked)

    async with open_product() as product, asking_of(product, in_flight=3, batch=2) as asking:
        product.behave = behave
        async with trio.open_nursery() as nursery:
            Asker(asking, nursery).ask(*range(40))
        assert most == 3
        assert max(len(asked.questions) for asked in product.asked) == 2
        assert len({question["id"] for question in product.questions}) == len(product.questions) == 40


async def test_kinds_with_one_address_share_their_requests() -> None:
    async with open_product() as product, asking_of(product, gift_url=product.url()) as asking:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking.ask, question(1))
            nursery.start_soon(asking.ask, question(2, kind="gift"))
        assert sorted(each["kind"] for each in product.questions) == ["comment", "gift"]
        assert asking.statistics().breakers == 1
        assert asking.statistics().asked == {"comment": 1, "gift": 1}


HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"
BOMB = b"[" * 60_000
GOOD = json.dumps({"verdicts": {"问1": ALLOWED}}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(status=500), id="500"),
        pytest.param(Answer(GOOD, status=201), id="201"),
        pytest.param(Answer(status=302, headers=(("location", "/elsewhere"),)), id="redirect"),
        pytest.param(Answer(status=204), id="204"),
        pytest.param(Answer(b""), id="nothing"),
        pytest.param(Answer(b"ok"), id="no JSON"),
        pytest.param(Answer(b"\xff\xfe"), id="no UTF-8"),
        pytest.param(Answer(BOMB), id="nested"),
        pytest.param(Answer(b'{"verdicts":{"x":' + BOMB), id="nested inside"),
        pytest.param(of([]), id="a list"),
        pytest.param(of({"verdicts": [ALLOWED]}), id="a list of verdicts"),
        pytest.param(of({"verdicts": {}}), id="no verdict"),
        pytest.param(of({"verdicts": {"问2": ALLOWED, "": ALLOWED}}), id="of others"),
        pytest.param(of({"verdicts": {"问1": {"verdict": "maybe"}}}), id="unknown"),
        pytest.param(of({"verdicts": {"问1": {"verdict": "change"}}}), id="without a text"),
        pytest.param(of({"verdicts": {"问1": {"verdict": "change", "body": 5}}}), id="with a number"),
        pytest.param(of({"verdicts": {"问1": None}}), id="null"),
        pytest.param(of({"verdicts": {"问1": True}}), id="true"),
        pytest.param(Answer(b'{"verdicts": {"\xe9\x97\xae1": {"verdict": "change", "body": "\\ud800"}}}'), id="surrogate"),
        pytest.param(Answer(raw=HALF), id="half"),
        pytest.param(Answer(raw=b""), id="hung up"),
        pytest.param(Answer(raw=b"220 smtp.example.com ESMTP\r\n"), id="no HTTP"),
        pytest.param(Answer(raw=b"HTTP/1.1 200 OK\r\nx: " + b"x" * 300_000), id="huge head"),
        pytest.param(Answer(endless=True), id="endless"),
        pytest.param(Answer(gzip.compress(GOOD), headers=(("content-encoding", "gzip"),)), id="compressed"),
    ],
)
async def test_the_fallback_holds_for_an_answer_that_is_none(answer: Answer) -> None:
    async with open_product() as product, asking_of(product) as asking:
        product.answer(answer)
        assert await asking.ask(question(1)) is UNANSWERED
        statistics = asking.statistics()
        assert (statistics.fallbacks, statistics.requests, statistics.requests_failed) == (1, 1, 1)
        assert {asked.path for asked in product.asked} == {"/ask"}, "redirects are not followed"
        # And it goes on.
        product.judge(lambda question: ALLOWED)
        assert await asking.ask(question(2)) is not UNANSWERED


async def test_of_several_only_those_without_a_verdict_fall_back() -> None:
    held = trio.Event()

    async def behave(asked: Asked) -> Answer:
        if len(product.asked) == 1:
            await held.wait()
            return verdicts(asked)
        given = verdicts(asked, lambda question: {"verdict": "refuse", "reason": question["id"]})
        table = json.loads(given.body)["verdicts"]
        del table["问2"]
        table["问3"] = {"verdict": "perhaps"}
        return of({"verdicts": dict(reversed(table.items()))})

    async with open_product() as product, asking_of(product, in_flight=1) as asking, trio.open_nursery() as nursery:
        product.behave = behave
        asker = Asker(asking, nursery)
        asker.ask(0)
        await product.until(1)
        asker.ask(1, 2, 3, 4)
        await trio.testing.wait_all_tasks_blocked()
        held.set()
    assert {number: asker.verdicts[number] for number in (1, 2, 3, 4)} == {
        1: Refuse("问1"),
        2: UNANSWERED,
        3: UNANSWERED,
        4: Refuse("问4"),
    }
    assert asking.statistics().requests_failed == 0, "the product has answered"


@pytest.mark.parametrize("fallback", ["allow", "refuse"])
async def test_a_late_answer_is_none(fallback: str) -> None:
    async with open_product() as product, asking_of(product, answer_seconds=0.05, fallback=fallback) as asking:

        async def behave(asked: Asked) -> Answer:
            await trio.sleep_forever()
            raise AssertionError

        product.behave = behave
        assert await asking.ask(question()) is (ALLOW if fallback == "allow" else UNANSWERED)
        with trio.fail_after(PATIENCE):
            while not asking.statistics().requests_failed:
                await trio.lowlevel.checkpoint()


async def test_waiting_for_a_request_to_leave_with_is_part_of_the_time() -> None:
    async with open_product() as product, asking_of(product, answer_seconds=0.1, in_flight=1, batch=1) as asking:

        async def behave(asked: Asked) -> Answer:
            await trio.sleep_forever()
            raise AssertionError

        product.behave = behave
        async with trio.open_nursery() as nursery:
            asker = Asker(asking, nursery)
            asker.ask(*range(50))
        assert list(asker.verdicts.values()) == [UNANSWERED] * 50
        assert asking.statistics().waiting == 0
        assert asking.statistics().requests < 50, "most had no time left to be sent"


async def test_only_so_many_may_wait() -> None:
    held = trio.Event()

    async def behave(asked: Asked) -> Answer:
        await held.wait()
        return verdicts(asked)

    async with open_product() as product, asking_of(product, in_flight=1, pending=3) as asking:
        product.behave = behave
        async with trio.open_nursery() as nursery:
            asker = Asker(asking, nursery)
            asker.ask(0)
            await product.until(1)
            asker.ask(*range(1, 10))
            await trio.testing.wait_all_tasks_blocked()
            assert list(asker.verdicts.values()) == [UNANSWERED] * 6
            held.set()
        assert sorted(map(str, asker.verdicts.values())) == sorted(map(str, [UNANSWERED] * 6 + [ALLOW] * 4))


async def test_nobody_is_there() -> None:
    async with open_product() as product:
        pass
    async with asking_of(product) as asking:
        assert await asking.ask(question()) is UNANSWERED


async def test_certificates_that_cannot_be_read_cost_answers_over_tls_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    async with open_product() as product, asking_of(product) as asking:
        assert await asking.ask(question()) is not UNANSWERED
        assert "certificates_unreadable" in caplog.text


async def test_a_host_that_cannot_be_one_has_no_answer() -> None:
    async with open_product() as product:
        for url in ("http://product..example/", f"http://{'a' * 64}.example/"):
            async with asking_of(product, comment_url=url) as asking:
                assert await asking.ask(question()) is UNANSWERED


async def test_the_breaker_opens(caplog: pytest.LogCaptureFixture) -> None:
    settings = {"breaker_failures": 3, "breaker_seconds": 3600.0}
    async with open_product() as product, asking_of(product, **settings) as asking:
        product.answer(Answer(status=503))
        with caplog.at_level(logging.WARNING):
            for number in range(10):
                assert await asking.ask(question(number)) is UNANSWERED
        assert len(product.asked) == 3, "the rest were not sent"
        assert asking.statistics().breakers_open == 1
        assert [record.message for record in caplog.records if record.message == "hook_breaker"] == ["hook_breaker"]


async def test_the_breaker_heals() -> None:
    settings = {"breaker_failures": 1, "breaker_seconds": 0.01}
    async with open_product() as product, asking_of(product, **settings) as asking:
        product.answer(Answer(status=503))
        assert await asking.ask(question(0)) is UNANSWERED
        product.judge(lambda question: ALLOWED)
        with trio.fail_after(PATIENCE):
            while await asking.ask(question(1)) is UNANSWERED:
                await trio.lowlevel.checkpoint()
        assert asking.statistics().breakers_open == 0


async def test_other_settings_hold_at_once_and_what_was_asked_is_answered() -> None:
    held = trio.Event()

    async def behave(asked: Asked) -> Answer:
        await held.wait()
        return verdicts(asked)

    async with open_product() as product, open_product() as other, asking_of(product) as asking:
        product.behave = behave
        other.judge(lambda question: {"verdict": "refuse"})
        async with trio.open_nursery() as nursery:
            asker = Asker(asking, nursery)
            asker.ask(1)
            await product.until(1)
            asking.adopt(HookSettings(comment_url=other.url("/新"), secret=SECRET, answer_seconds=LONG))
            assert await asking.ask(question(2)) == Refuse()
            held.set()
        assert asker.verdicts == {1: ALLOW}
        assert other.asked[0].path == "/%E6%96%B0"
        assert asking.statistics().requests == 2
        asking.adopt(HookSettings())
        assert not asking.asks("comment")
        assert await asking.ask(question(3)) is ALLOW


async def test_a_user_in_the_url_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with open_product() as product:
        url = product.url("/ask?key=秘密").replace("//", "//用户:%E5%AF%86%E7%A0%81@")
        async with asking_of(product, comment_url=url) as asking:
            product.answer(Answer(status=500))
            with caplog.at_level(logging.DEBUG):
                await asking.ask(question())
            assert product.asked[0].headers["authorization"] == "Basic 55So5oi3OuWvhueggQ=="
            assert product.asked[0].path == "/ask?key=%E7%A7%98%E5%AF%86"
    ours = "".join(str(vars(record)) for record in caplog.records if record.name.startswith("roomcast"))
    assert "hook_failed" in ours
    assert not any(secret in ours for secret in ("密码", "%E5%AF%86%E7%A0%81", "秘密", "%E7%A7%98%E5%AF%86", "用户"))
    assert shown("https://a:b@example.com:8443/ask?c=d#e") == "https://example.com:8443/ask"


async def test_the_trace_goes_on_at_the_product() -> None:
    from opentelemetry import trace

    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    async with open_product() as product, asking_of(product) as asking:
        with trace.use_span(trace.NonRecordingSpan(context)):
            await asking.ask(question())
        assert product.asked[0].headers["traceparent"].startswith(f"00-{0xABC:032x}-")


# -- payments -----------------------------------------------------------------------------------------------------------

SPEND = {"room": "大厅", "user": "小明", "key": "v/1/2", "gift": "玫瑰", "count": 2, "amount": 20, "receiver": ""}


async def charge(asking: Asking, seconds: float = LONG) -> str | None:
    return await asking.charge(SPEND, "v/1/2", seconds)


@asynccontextmanager
async def till_of(product: Product, **settings: Any) -> AsyncIterator[Asking]:
    async with asking_of(product, comment_url="", spend_url=product.url("/pay"), **settings) as asking:
        yield asking


async def test_a_payment_is_one_signed_request_with_its_key() -> None:
    async with open_product() as product, till_of(product) as asking:
        product.answer(of({"paid": True}))
        assert await charge(asking) is None
        product.answer(of({"paid": False, "reason": "余额不足"}))
        assert await charge(asking) == "余额不足"
        product.answer(of({"paid": False}))
        assert await charge(asking) == ""
        asked = product.asked[0]
        assert asked.genuine
        assert asked.path == "/pay"
        assert asked.body == {"spend": SPEND}
        assert asked.headers["idempotency-key"] == "v/1/2"
        assert asking.charges
        assert asking.statistics().asked == {}


@pytest.mark.parametrize(
    "answer",
    [Answer(status=500), Answer(b""), of({}), of({"paid": "yes"}), of({"paid": None}), Answer(raw=HALF), Answer(endless=True)],
)
async def test_whatever_else_is_answered_nobody_knows_whether_it_is_paid(answer: Answer) -> None:
    async with open_product() as product, till_of(product) as asking:
        product.answer(answer)
        with pytest.raises(NoAnswer):
            await charge(asking)


async def test_a_payment_may_take_its_own_time() -> None:
    async with open_product() as product, till_of(product, answer_seconds=0.01, in_flight=1) as asking:

        async def behave(asked: Asked) -> Answer:
            await trio.sleep(0.05)
            return of({"paid": True})

        product.behave = behave
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(charge, asking)
        assert len(product.asked) == 3

        async def never(asked: Asked) -> Answer:
            await trio.sleep_forever()
            raise AssertionError

        product.behave = never
        with pytest.raises(NoAnswer):
            await charge(asking, 0.05)
        asking.adopt(HookSettings())
        assert not asking.charges
        with pytest.raises(NoAnswer):
            await charge(asking)
