"""What the product's verdict means for who asked: at a hub, with hooks in Python, seen from its edges. Time jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hub.harness import START_MS, FakeEdge, Harness, open_hub, settle
from ledger.fake_store import FakeStore
from trio.testing import MockClock

from engine.access import SERVER, Standing
from engine.errors import Code
from engine.hooks.values import Change, Hold, Kind, Question, Refuse, Verdict
from engine.hub.actor import Actor
from engine.hub.spending import Spend
from engine.link.messages import CloseRoom, Gate, Knock, PrivateTo, ReplyTo, Stop
from engine.schema import Author, EventKind, Give, Moderate, Pack, backstage_of
from engine.settings import (
    GiftSettings,
    HookSettings,
    LedgerSettings,
    LimitSettings,
    NodeSettings,
    RoomSettings,
)

ROOM = "大厅"
GIFTS = {"rose": GiftSettings(name="玫瑰", price=10)}
PLAIN = RoomSettings(tick_grid_seconds=0.0, counters_seconds=60.0)


class Thinking:
    """A hook that takes its time, and remembers.

    :ivar seconds: that it takes, by what is said; ``verdicts`` what it says then.
    """

    def __init__(self, **verdicts: Verdict) -> None:
        self.verdicts = verdicts
        self.seconds: dict[str, float] = {}
        self.asked: list[Question] = []
        self.answered: list[str] = []

    async def __call__(self, question: Question) -> Verdict | None:
        self.asked.append(question)
        await trio.sleep(self.seconds.get(question.body, 0.1))
        self.answered.append(question.body)
        return self.verdicts.get(question.body)


@asynccontextmanager
async def asked_about(kind: Kind, hook: Any, **more: Any) -> AsyncIterator[tuple[Harness, FakeEdge]]:
    """A hub with a hook, and an edge with the room."""
    more.setdefault("hooks", HookSettings(answer_seconds=10.0))
    async with open_hub(room=PLAIN, gifts=GIFTS, **more) as harness:
        harness.hub.asking.use(kind, hook)
        edge = harness.edge()
        await edge.open(ROOM)
        yield harness, edge


def bodies(edge: FakeEdge) -> list[str]:
    return [event[3] for event in edge.events() if event[0] == EventKind.COMMENT]


# -- comments -----------------------------------------------------------------------------------------------------------


async def test_each_verdict_on_a_comment(autojump_clock: MockClock) -> None:
    hook = Thinking(
        脏话=Change("**\u202e 和\u0007 \u0065\u0301"),
        广告=Hold("像\n广告"),
        骂人=Refuse("请\t文明"),
        刷屏=Refuse(),
        空=Change(" \u200b"),
    )
    async with asked_about("comment", hook) as (harness, edge):
        await edge.open(backstage_of(ROOM))
        edge.comment(ROOM, "小明", "你好", 1)
        for ref, body in enumerate(("脏话", "广告", "骂人", "刷屏", "空"), 2):
            edge.comment(ROOM, f"用户{ref}", body, ref)
        await trio.sleep(1)
        assert sorted(bodies(edge)) == ["** 和 é", "你好"]
        assert edge.codes() == {
            1: Code.OK,
            2: Code.OK,
            3: Code.HELD,
            4: Code.DECLINED,
            5: Code.DECLINED,
            6: Code.EMPTY,
        }
        assert (edge.reply(4).text, edge.reply(4).retry_after_ms) == ("请 文明", 0)
        assert edge.reply(5).text
        (held,) = [event for event in edge.events() if event[0] == EventKind.HELD]
        assert "像 广告" in held
        assert harness.hub.statistics().asking.verdicts == {"allow": 1, "change": 2, "hold": 1, "refuse": 2}


async def test_what_a_moderator_approves_is_published_as_the_product_would_have_it(autojump_clock: MockClock) -> None:
    async with asked_about("comment", Thinking(广告=Hold("广告"))) as (_, edge):
        edge.comment(ROOM, "小明", "广告", 1)
        await trio.sleep(1)
        edge.request(ROOM, "管理", Moderate(2, 0, "approve", offset=1), role="moderator", viewer=2)
        await trio.sleep(1)
        assert bodies(edge) == ["广告"]


async def test_a_text_of_the_product_is_as_long_as_a_viewers_may_be(autojump_clock: MockClock) -> None:
    limits = LimitSettings(comment_bytes=100, comment_characters=10)
    hook = Thinking(多=Change("字" * 11), 长=Change("字" * 34), 够=Change("👨‍👩‍👧‍👦" * 4))
    async with asked_about("comment", hook, limits=limits) as (_, edge):
        for ref, body in enumerate(("多", "长", "够"), 1):
            edge.comment(ROOM, f"用户{ref}", body, ref)
        await trio.sleep(1)
        assert edge.codes() == {1: Code.TOO_LONG, 2: Code.TOO_LONG, 3: Code.OK}


async def test_a_reason_is_shown_in_part(autojump_clock: MockClock) -> None:
    async with asked_about("comment", Thinking(坏=Refuse("很" * 10_000))) as (_, edge):
        edge.comment(ROOM, "小明", "坏", 1)
        await trio.sleep(1)
        assert 0 < len(edge.reply(1).text) <= 200


async def test_what_one_viewer_says_keeps_its_order_and_others_do_not_wait(autojump_clock: MockClock) -> None:
    hook = Thinking(二=Refuse("不"))
    hook.seconds = {"一": 3.0, "二": 0.5, "三": 0.0}
    async with asked_about("comment", hook) as (_, edge):
        for ref, body in enumerate(("一", "二", "三"), 1):
            # One connection.
            edge.say(ROOM, body, viewer=7, session="s" * 16, ref=ref)
        for ref in range(10, 30):
            edge.comment(ROOM, f"用户{ref}", f"别人{ref}", ref)
        await trio.sleep(1)
        assert sorted(bodies(edge)) == [f"别人{ref}" for ref in range(10, 30)]
        await trio.sleep(5)
        assert bodies(edge)[-2:] == ["一", "三"]
        assert hook.answered[-3:] == ["一", "二", "三"]
        assert edge.reply(2).code == Code.DECLINED


async def test_when_nobody_is_asked_any_more_the_order_holds_too(autojump_clock: MockClock) -> None:
    hook = Thinking()
    async with asked_about("comment", hook) as (harness, edge):
        edge.say(ROOM, "先", viewer=7, session="s" * 16, ref=1)
        await settle()
        harness.hub.asking.use("comment", None)
        edge.say(ROOM, "后", viewer=7, session="s" * 16, ref=2)
        edge.say(ROOM, "别人", viewer=8, ref=3)
        await trio.sleep(1)
        assert bodies(edge) == ["别人", "先", "后"]
        assert [question.body for question in hook.asked] == ["先"]


async def test_who_is_not_asked_about(autojump_clock: MockClock) -> None:
    hook = Thinking()
    async with asked_about("comment", hook) as (harness, edge):
        for ref, role in enumerate(("moderator", "host", "server"), 1):
            edge.comment(ROOM, role, role, ref, role=role)
        await harness.hub.say(ROOM, "产品自己")
        edge.comment(ROOM, "被禁言", "让我说", 9)
        await trio.sleep(1)
        await harness.hub.act(ROOM, Moderate(1, 0, "mute", "被禁言"), _server())
        edge.comment(ROOM, "被禁言", "让我说", 10)
        await trio.sleep(1)
        assert edge.reply(10).code == Code.MUTED
        assert [question.user for question in hook.asked] == ["被禁言"]
        assert set(bodies(edge)) == {"moderator", "host", "server", "产品自己", "让我说"}


def _server() -> Actor:
    return Actor(SERVER, Standing("server"))


async def test_what_the_question_says(autojump_clock: MockClock) -> None:
    hook = Thinking()
    async with asked_about("comment", hook) as (_, edge):
        edge.comment(ROOM, "小明", "你好", 1, level=7, reply_to=3, mentions=["小红"], lifetime_ms=5_000)
        edge.comment(ROOM, "小明", "你好", 1, level=7, reply_to=3, mentions=["小红"], lifetime_ms=5_000)
        edge.comment(ROOM, "小明", "再见", 2)
        await trio.sleep(1)
        first, again, other = sorted(hook.asked, key=lambda question: question.body)[:3]
        assert (first.kind, first.room, first.user, first.level, first.role) == ("comment", ROOM, "小明", 7, "viewer")
        assert first.details == {"reply_to": 3, "mentions": ["小红"], "lifetime_ms": 5_000}
        assert first.time == START_MS
        assert first.key == again.key
        assert first.key != other.key
        assert len({question.id for question in hook.asked}) == 3
        assert "session-小明" not in str(hook.asked)
        assert sorted(bodies(edge)) == ["你好", "再见"], "a retry is published once"


async def test_a_retry_of_what_was_published_is_answered_so_whatever_the_product_says_now(autojump_clock: MockClock) -> None:
    hook = Thinking()
    async with asked_about("comment", hook) as (_, edge):
        edge.comment(ROOM, "小明", "你好", 1)
        await trio.sleep(1)
        offset = edge.reply(1).offset
        hook.verdicts["你好"] = Refuse("不")
        edge.comment(ROOM, "小明", "你好", 1)
        await trio.sleep(1)
        assert (edge.reply(1).code, edge.reply(1).offset) == (Code.OK, offset)
        assert bodies(edge) == ["你好"]


@pytest.mark.parametrize(("fallback", "code"), [("allow", Code.OK), ("refuse", Code.UNAVAILABLE)])
async def test_a_hook_that_raises_costs_nobody_the_room(autojump_clock: MockClock, fallback: Any, code: Code) -> None:
    def hook(question: Question) -> None:
        raise RuntimeError("坏了")

    async with asked_about("comment", hook, hooks=HookSettings(fallback=fallback)) as (harness, edge):
        for ref in range(1, 6):
            edge.comment(ROOM, "小明", f"{ref}", ref)
        edge.comment(ROOM, "主播", "还在", 9, role="host")
        await trio.sleep(1)
        assert {edge.reply(ref).code for ref in range(1, 6)} == {code}
        assert edge.reply(9).code == Code.OK
        assert (edge.reply(1).retry_after_ms > 0) is (code is Code.UNAVAILABLE)
        assert harness.hub.statistics().asking.fallbacks == 5


async def test_only_so_much_is_asked_about_at_the_same_time(autojump_clock: MockClock) -> None:
    async with asked_about("comment", Thinking(), limits=LimitSettings(pending_events=100)) as (_, edge):
        for ref in range(1, 151):
            edge.comment(ROOM, f"用户{ref}", "一起", ref)
        await trio.sleep(1)
        codes = list(edge.codes().values())
        assert (codes.count(Code.OK), codes.count(Code.OVERLOADED)) == (100, 50)
        edge.comment(ROOM, "用户", "之后", 200)
        await trio.sleep(1)
        assert edge.reply(200).code == Code.OK


async def test_the_room_may_go_while_the_product_thinks(autojump_clock: MockClock) -> None:
    async with asked_about("comment", Thinking()) as (harness, edge):
        edge.comment(ROOM, "小明", "再见", 1)
        await settle()
        edge.send(CloseRoom(ROOM))
        await trio.sleep(1)
        assert edge.reply(1).code == Code.OK
        history = await harness.hub.broker.history(ROOM, 0, 10)
        assert len(history.events.events) == 1


# -- stopping -----------------------------------------------------------------------------------------------------------


async def test_what_was_asked_about_is_published_before_the_hub_stops(autojump_clock: MockClock) -> None:
    hook = Thinking(坏=Refuse("不"))
    async with asked_about("comment", hook) as (harness, edge):
        for ref, body in enumerate(("一", "坏", "二"), 1):
            edge.say(ROOM, body, viewer=7, session="s" * 16, ref=ref)
        await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(harness.hub.drain)
            await settle()
            edge.comment(ROOM, "小红", "太晚", 9)
        await settle()
        assert bodies(edge) == ["一", "二"]
        assert edge.codes() == {1: Code.OK, 2: Code.DECLINED, 3: Code.OK, 9: Code.UNAVAILABLE}
        assert isinstance(edge.got[-1][1], Stop)


async def test_a_product_that_does_not_answer_does_not_keep_the_hub(autojump_clock: MockClock) -> None:
    hook = Thinking()
    hook.seconds["永远"] = 1e6
    settings = {"hooks": HookSettings(answer_seconds=60.0), "node": NodeSettings(shutdown_seconds=8.0)}
    async with asked_about("comment", hook, **settings) as (harness, edge):
        edge.comment(ROOM, "小明", "永远", 1)
        edge.comment(ROOM, "小红", "你好", 2)
        await settle()
        began = trio.current_time()
        await harness.hub.drain()
        await settle()
        assert trio.current_time() - began <= 8.0
        assert bodies(edge) == ["你好"]
        assert edge.codes() == {2: Code.OK}, "what is not answered comes again"
        assert isinstance(edge.got[-1][1], Stop)


# -- money --------------------------------------------------------------------------------------------------------------


def shop(**more: Any) -> dict[str, Any]:
    return {"ledger": LedgerSettings(**more), "store": FakeStore()}


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(None, None), (Change("别的"), None), (Hold("等"), Code.DECLINED), (Refuse("未成年"), Code.DECLINED)],
)
@pytest.mark.parametrize("kind", ["gift", "red_packet"])
@pytest.mark.parametrize("spend", ["free", "hook"])
async def test_each_verdict_on_money(autojump_clock: MockClock, kind: Kind, spend: Any, verdict: Any, code: Any) -> None:
    asked: list[Question] = []
    charged: list[Spend] = []

    def hook(question: Question) -> Verdict | None:
        asked.append(question)
        assert not charged, "the product is asked before anybody is charged"
        return verdict  # type: ignore[no-any-return]

    async def charge(spend: Spend) -> None:
        charged.append(spend)

    async with asked_about(kind, hook, **shop(spend=spend)) as (harness, edge):
        harness.hub.money.spending.hook = charge
        act = Give(1, 0, "rose", 3, "小红") if kind == "gift" else Pack(1, 0, 100, 4, phrase="恭喜", text="发财")
        edge.request(ROOM, "小明", act)
        await trio.sleep(1)
        booked = [event for event in edge.events() if event[0] in (EventKind.GIFT, EventKind.PACKET)]
        assert len(booked) == (code is None)
        assert len(charged) == (code is None and spend == "hook")
        if code is not None:
            assert edge.reply(1).code == code
            assert edge.reply(1).text in ("等", "未成年")
        (question,) = asked
        assert (question.kind, question.user) == (kind, "小明")
        assert not charged or question.key == charged[0].key
        if kind == "gift":
            assert question.details == {"gift": "rose", "count": 3, "amount": 30, "to": "小红"}
        else:
            assert question.details == {"total": 100, "shares": 4, "phrase": "恭喜"}
            assert question.body == "发财"


async def test_what_is_booked_stays_so_whatever_the_product_says_of_a_retry(autojump_clock: MockClock) -> None:
    limit: list[str] = []

    def once(question: Question) -> Verdict | None:
        limit.append(question.key)
        return Refuse("一天一次") if len(limit) > 1 else None

    async with asked_about("gift", once, **shop(spend="free")) as (_, edge):
        for ref in (1, 1, 2):
            edge.request(ROOM, "小明", Give(ref, 0, "rose", 1), viewer=ref)
            await trio.sleep(1)
        assert len(edge.of(PrivateTo)) == 2, "the same answer again"
        assert limit[0] == limit[1]
        assert edge.codes() == {2: Code.DECLINED}
        assert [event[0] for event in edge.events()] == [EventKind.GIFT]


async def test_hosts_give_without_a_question_and_what_cannot_be_is_not_asked(autojump_clock: MockClock) -> None:
    asked: list[Question] = []
    async with asked_about("gift", asked.append, **shop(spend="free")) as (_, edge):
        edge.request(ROOM, "主播", Give(1, 0, "rose", 1), role="host")
        edge.request(ROOM, "小明", Give(2, 0, "unicorn", 1), viewer=2)
        await trio.sleep(1)
        assert edge.reply(2).code == Code.NOT_FOUND
        assert [event[0] for event in edge.events()] == [EventKind.GIFT]
        assert asked == []


async def test_a_gift_that_is_asked_about_is_booked_before_the_hub_stops(autojump_clock: MockClock) -> None:
    async def slow(question: Question) -> None:
        await trio.sleep(1)

    async with asked_about("gift", slow, **shop(spend="free")) as (harness, edge):
        edge.request(ROOM, "小明", Give(1, 0, "rose", 1))
        await settle()
        await harness.hub.drain()
        await settle()
        assert [event[0] for event in edge.events()] == [EventKind.GIFT]


# -- joining ------------------------------------------------------------------------------------------------------------


def knock(user: str, ref: int, *, role: str = "viewer", follower: bool = False) -> Knock:
    return Knock(ROOM, 1, ref, Author(user), Standing(role, 0, follower), "203.0.113.7")


async def test_each_verdict_on_a_join(autojump_clock: MockClock) -> None:
    verdicts: dict[str, Verdict] = {"改": Change("x"), "等": Hold("等等"), "不": Refuse("满了")}
    asked: list[Question] = []

    def hook(question: Question) -> Verdict | None:
        asked.append(question)
        return verdicts.get(question.user)

    async with asked_about("join", hook) as (harness, edge):
        for ref, user in enumerate(("好", *verdicts), 1):
            edge.send(knock(user, -ref, follower=user == "好"))
        edge.send(knock("主播", -9, role="host"))
        await settle()
        assert edge.codes() == {-1: Code.OK, -2: Code.OK, -3: Code.DECLINED, -4: Code.DECLINED, -9: Code.OK}
        assert edge.reply(-4).text == "满了"
        assert {question.user for question in asked} == {"好", *verdicts}
        assert next(question for question in asked if question.user == "好").details == {
            "address": "203.0.113.7",
            "follower": True,
        }
        # Something is asked about that keeps the hub.
        harness.hub.asking.use("comment", Thinking())
        edge.comment(ROOM, "小明", "再见", 11)
        await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(harness.hub.drain)
            await settle()
            edge.send(knock("太晚", -10))
        assert edge.reply(-10).code == Code.UNAVAILABLE


async def test_edges_are_told_whether_to_knock(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        first = harness.edge()
        await settle()
        assert first.of(Gate) == [Gate(False)]
        first.send(knock("小明", -1))
        await settle()
        assert first.of(ReplyTo)[-1].code == Code.OK, "nobody is asked"
        harness.hub.asking.use("join", lambda question: Refuse())
        await settle()
        assert first.of(Gate)[-1] == Gate(True)
        second = harness.edge()
        await settle()
        assert second.of(Gate) == [Gate(True)]
        harness.hub.asking.use("join", None)
        harness.hub.asking.adopt(HookSettings(join_url="http://127.0.0.1:1/"))
        harness.hub.asking.adopt(HookSettings())
        await settle()
        assert [gate.asked for gate in second.of(Gate)] == [True, False, True, False]


# -- what it costs ------------------------------------------------------------------------------------------------------


async def test_without_a_hook_nothing_is_asked(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open(ROOM)
        for ref in range(1, 10):
            edge.comment(ROOM, "小明", f"{ref}", ref)
        await trio.sleep(1)
        assert bodies(edge) == [f"{ref}" for ref in range(1, 10)]
        assert harness.hub.statistics().asking.asked == {}
