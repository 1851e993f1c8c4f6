"""Who is asked, and what holds without an answer: hooks in Python. Time jumps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.hooks.asking import UNANSWERED, Asking
from engine.hooks.values import ALLOW, Allow, Change, Hold, Hook, Question, Refuse, Verdict
from engine.settings import HookSettings

SETTINGS = HookSettings(answer_seconds=0.2)
REFUSING = replace(SETTINGS, fallback="refuse")


def question(number: int = 1, **more: Any) -> Question:
    return Question(id=f"q{number}", kind=more.pop("kind", "comment"), room="大厅", user="小明", **more)


def asking(hook: Hook, settings: HookSettings = SETTINGS) -> Asking:
    asking = Asking(settings, lambda: 0)
    asking.use("comment", hook)
    return asking


async def sleepy(question: Question) -> Verdict:
    await trio.sleep(0.1)
    return Refuse("想了想，不行")


async def stuck(question: Question) -> None:
    await trio.sleep_forever()


def broken(question: Question) -> None:
    raise ZeroDivisionError("一个错误")


async def late_broken(question: Question) -> None:
    await trio.sleep(0.1)
    raise ZeroDivisionError("一个错误")


@pytest.mark.parametrize(
    ("hook", "verdict"),
    [
        (lambda question: None, ALLOW),
        (lambda question: Allow(), ALLOW),
        (lambda question: Change(question.body + "！"), Change("你好！")),
        (lambda question: Hold("看看"), Hold("看看")),
        (lambda question: Refuse("不"), Refuse("不")),
        (sleepy, Refuse("想了想，不行")),
    ],
)
async def test_a_hook_decides(autojump_clock: MockClock, hook: Hook, verdict: Verdict) -> None:
    asked = asking(hook)
    assert await asked.ask(question(body="你好")) == verdict
    statistics = asked.statistics()
    assert statistics.asked == {"comment": 1}
    assert statistics.verdicts == {type(verdict).__name__.lower(): 1}
    assert statistics.fallbacks == 0
    assert sum(statistics.delays["counts"].values()) == 1


@pytest.mark.parametrize(
    "hook",
    [
        broken,
        late_broken,
        stuck,
        lambda question: "allow",
        lambda question: Change(5),  # type: ignore[arg-type]
        lambda question: Change("\ud800"),
        lambda question: Refuse(None),  # type: ignore[arg-type]
        lambda question: Allow,
    ],
)
@pytest.mark.parametrize(("settings", "verdict"), [(SETTINGS, ALLOW), (REFUSING, UNANSWERED)])
async def test_the_fallback_holds_for_a_hook_that_does_not_decide(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, hook: Hook, settings: HookSettings, verdict: Verdict
) -> None:
    asked = asking(hook, settings)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            assert await asked.ask(question(number, body="私房话")) is verdict
    assert asked.statistics().fallbacks == 3
    assert asked.statistics().verdicts == {}
    lines = [record for record in caplog.records if record.message == "hook_failed"]
    assert len(lines) == 1, "one line in a second is enough"
    assert "私房话" not in caplog.text


async def test_whoever_waits_may_be_cancelled(autojump_clock: MockClock) -> None:
    asked = asking(stuck, replace(SETTINGS, answer_seconds=60.0))
    with trio.move_on_after(1) as scope:
        await asked.ask(question())
    assert scope.cancelled_caught


async def test_it_tells_when_something_is_asked_about_that_was_not() -> None:
    told: list[bool] = []
    asked = Asking(HookSettings(), lambda: 0, lambda: told.append(asked.asks("join")))
    asked.use("join", broken)
    asked.use("join", stuck)
    asked.use("comment", broken)
    asked.use("join", None)
    assert told == [True, True, False]
    asked.adopt(HookSettings(join_url="http://127.0.0.1:1/", secret=""))
    assert told[-1]
    asked.use("join", broken)
    asked.use("join", None)
    assert asked.asks("join"), "the address is asked again"
    asked.adopt(HookSettings())
    assert [asked.asks(kind) for kind in ("comment", "gift", "red_packet", "join")] == [True, False, False, False]
    with pytest.raises(ValueError, match="comment, gift, red_packet, join"):
        asked.use("like", broken)  # type: ignore[arg-type]


async def test_a_question_about_what_nobody_is_asked_any_more_is_allowed() -> None:
    assert await Asking(REFUSING, lambda: 0).ask(question()) is ALLOW


async def test_questions_are_asked_at_the_same_time(autojump_clock: MockClock) -> None:
    under_way: set[str] = set()
    most: list[int] = []

    def hook(question: Question) -> Awaitable[None]:
        async def think() -> None:
            under_way.add(question.id)
            await trio.sleep(0.1)
            most.append(len(under_way))
            under_way.remove(question.id)

        return think()

    asked = asking(hook)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(asked.ask, question(number))
    assert max(most) == 20
