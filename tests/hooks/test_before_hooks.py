"""Before-hooks end to end: a node, a product over HTTP or in Python, and viewers whose client is not ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from e2e.people import ROOM, live, token
from e2e.shop import GIFT, ROSE, of_kind, shop, sqlite
from e2e.viewers import COMMENT, GIVE, PATIENCE, Viewer, open_viewer

from engine.errors import Close, Code
from engine.hooks.values import Change, Question, Refuse, Verdict
from engine.node import Node, open_node
from engine.settings import HookSettings, Settings

from .product import ALLOW, SECRET, Answer, Asked, Product, of, open_product, verdicts

Running = Callable[[Settings], AbstractAsyncContextManager[Node]]


@pytest.fixture(params=[False, True], ids=["in-process", "encoded"])
def running(request: pytest.FixtureRequest) -> Running:
    """Runs a node, over each kind of link."""

    def run(settings: Settings) -> AbstractAsyncContextManager[Node]:
        return open_node(settings, encoded_link=request.param)

    return run


def hooked(settings: Settings, **hooks: Any) -> Settings:
    return replace(settings, hooks=HookSettings(secret=SECRET, answer_seconds=PATIENCE, **hooks))


@asynccontextmanager
async def viewer_of(node: Node, user: str = "") -> AsyncIterator[Viewer]:
    """Who has joined, with `websockets`."""
    async with open_viewer("websockets", node.url) as viewer:
        await viewer.join(ROOM, token=token(user) if user else None)
        await viewer.settle()
        yield viewer


def moderate(question: dict[str, Any]) -> dict[str, Any]:
    if "傻瓜" in question["body"]:
        return {"verdict": "change", "body": question["body"].replace("傻瓜", "朋友🌹")}
    if "广告" in question["body"]:
        return {"verdict": "refuse", "reason": "这里不许打广告"}
    return ALLOW


async def test_viewers_see_what_the_product_makes_of_a_comment(running: Running) -> None:
    async with open_product() as product:
        product.judge(moderate)
        async with (
            running(hooked(live(), comment_url=product.url())) as node,
            viewer_of(node, "小明") as ming,
            viewer_of(node) as guest,
        ):
            assert await ming.comment("你好") == 1
            offset = await ming.comment("你这个傻瓜")
            reply = await guest.ask(COMMENT, guest.handle, "看广告")
            assert (reply.code, reply.text) == (Code.DECLINED, "这里不许打广告")
            for viewer in (ming, guest):
                await viewer.until_offset(offset)
                assert viewer.bodies == ["你好", "你这个朋友🌹"]
            assert all(asked.genuine for asked in product.asked)
            assert {question["user"] for question in product.questions} == {"小明", guest.user}
            assert node.statistics().hub.asking.verdicts == {"allow": 1, "change": 1, "refuse": 1}


async def test_one_viewers_comments_keep_their_order(running: Running) -> None:
    async def behave(asked: Asked) -> Answer:
        # The later, the faster.
        await trio.sleep(0.05 / len(product.asked))
        return verdicts(asked, moderate)

    said = [f"第{number}句" for number in range(12)]
    async with open_product() as product, running(hooked(live(), comment_url=product.url())) as node:
        product.behave = behave
        async with viewer_of(node, "小明") as ming, viewer_of(node, "小红") as hong:
            for ref, body in enumerate(said, 1):
                await ming.send(COMMENT, ref, ming.handle, body)
                await hong.send(COMMENT, ref, hong.handle, f"也说{body}")
            await ming.until(lambda: len(ming.bodies) == 2 * len(said))
            for user, own in (("小明", said), ("小红", [f"也说{body}" for body in said])):
                assert [event[3] for event in ming.of_kind(1) if event[1][0] == user] == own


async def test_viewers_are_let_in_or_not(running: Running) -> None:
    def judge(question: dict[str, Any]) -> dict[str, Any]:
        if question["user"] == "坏人":
            return {"verdict": "refuse", "reason": "您不能进来"}
        return ALLOW

    async with open_product() as product:
        product.judge(judge)
        async with (
            running(hooked(live(), join_url=product.url("/join"))) as node,
            viewer_of(node, "小明") as ming,
            open_viewer("websockets", node.url) as other,
        ):
            reply = await other.knock(ROOM, token=token("坏人"))
            assert reply is not None
            assert (reply.code, reply.text) == (Code.DECLINED, "您不能进来")
            assert await ming.comment("只有我") == 1
            await other.join(ROOM, token=token("好人"))
            await other.comment("还有我")
            async with open_viewer("websockets", node.url) as host:
                await host.join(ROOM, token=token("主播", "host"))
            assert [question["user"] for question in product.questions] == ["小明", "坏人", "好人"]
            assert product.questions[0]["kind"] == "join"
            assert product.questions[0]["details"] == {"address": "127.0.0.1", "follower": False}


async def test_who_is_not_answered_in_time_to_join_is_closed(running: Running) -> None:
    async def behave(asked: Asked) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    settings = hooked(live(edge={"join_seconds": 0.8}, node={"shutdown_seconds": 0.5}), join_url="")
    async with open_product() as product:
        product.behave = behave
        settings = replace(settings, hooks=replace(settings.hooks, join_url=product.url()))
        async with running(settings) as node, open_viewer("websockets", node.url) as viewer:
            await viewer.send(1, 1, ROOM, 0, 0)
            assert (await viewer.until_gone()).code == Close.TIMEOUT


async def test_hooks_in_python_take_the_place_of_the_address(running: Running) -> None:
    asked: list[Question] = []

    async def comment(question: Question) -> Verdict | None:
        asked.append(question)
        await trio.lowlevel.checkpoint()
        return Change("换成这句") if question.body == "那句" else None

    async with open_product() as product, running(hooked(live(), comment_url=product.url())) as node:
        node.before("comment", comment)
        node.before("join", lambda question: Refuse("不认识") if question.user.startswith("guest") else None)
        async with viewer_of(node, "小明") as ming, open_viewer("websockets", node.url) as guest:
            reply = await guest.knock(ROOM)
            assert reply is not None
            assert (reply.code, reply.text) == (Code.DECLINED, "不认识")
            await ming.comment("这句")
            await ming.until_offset(await ming.comment("那句"))
            assert ming.bodies == ["这句", "换成这句"]
            node.before("join", None)
            await guest.join(ROOM)
            assert not product.asked
            node.before("comment", None)
            await ming.comment("问产品")
            assert [question["body"] for question in product.questions] == ["问产品"]
    assert [question.body for question in asked] == ["这句", "那句"]


async def test_a_product_that_is_down_is_left_in_peace_and_heals(running: Running) -> None:
    settings = hooked(live(), fallback="refuse", breaker_failures=2, breaker_seconds=0.05)
    async with open_product() as product:
        settings = replace(settings, hooks=replace(settings.hooks, comment_url=product.url()))
        product.answer(Answer(status=503))
        async with running(settings) as node, viewer_of(node, "小明") as ming:
            for _ in range(3):
                reply = await ming.ask(COMMENT, ming.handle, "有人吗")
                assert reply.code == Code.UNAVAILABLE
                assert reply.retry_after_ms > 0
            product.judge(lambda question: ALLOW)
            with trio.fail_after(PATIENCE):
                while (await ming.ask(COMMENT, ming.handle, "有人吗")).code != Code.OK:
                    await trio.lowlevel.checkpoint()
            statistics = node.statistics().hub.asking
            assert statistics.fallbacks >= 3
            assert statistics.breakers_open == 0


async def test_what_was_said_before_the_node_stops_is_shown(running: Running) -> None:
    answering = trio.Event()

    async def behave(asked: Asked) -> Answer:
        await answering.wait()
        return verdicts(asked)

    async with open_product() as product, trio.open_nursery() as nursery:
        product.behave = behave
        stop, url = trio.Event(), ""

        async def serve(*, task_status: trio.TaskStatus[str]) -> None:
            async with running(hooked(live(node={"shutdown_seconds": 60.0}), comment_url=product.url())) as node:
                task_status.started(node.url)
                await stop.wait()

        url = await nursery.start(serve)
        async with open_viewer("websockets", url) as viewer:
            await viewer.join(ROOM, token=token("小明"))
            await viewer.send(COMMENT, 1, viewer.handle, "最后一句")
            await product.until(1)
            stop.set()
            await trio.testing.wait_all_tasks_blocked()
            answering.set()
            gone = await viewer.until_gone()
            assert gone.code == Close.SHUTDOWN
            assert viewer.replies[1].code == Code.OK
            assert viewer.bodies == ["最后一句"]


# -- paying over HTTP ---------------------------------------------------------------------------------------------------


class Bank:
    """Charges each key once."""

    def __init__(self, product: Product) -> None:
        self.charged: dict[str, int] = {}
        self.faults: list[Answer] = []
        product.behave = self.pay

    async def pay(self, asked: Asked) -> Answer:
        spend = asked.body["spend"]
        assert asked.genuine
        assert asked.headers["idempotency-key"] == spend["key"]
        if spend["user"] == "穷人":
            return of({"paid": False, "reason": "余额不足"})
        self.charged[spend["key"]] = spend["amount"]
        return self.faults.pop() if self.faults else of({"paid": True})


async def test_gifts_are_paid_over_http(running: Running, tmp_path: Path) -> None:
    async with open_product() as product:
        bank = Bank(product)
        settings = hooked(shop(sqlite(tmp_path), ledger={"spend": "hook"}), spend_url=product.url("/pay"))
        async with (
            running(settings) as node,
            viewer_of(node, "小明") as ming,
            viewer_of(node, "穷人") as poor,
        ):
            paid = await ming.spend(GIVE, ROSE, 3)
            reply = await poor.refused(GIVE, ROSE)
            assert (reply.code, reply.text) == (Code.UNPAID, "余额不足")
            # It was charged, and nobody knows: the same again charges nothing more.
            bank.faults = [Answer(status=500), Answer(raw=b"")]
            for _ in range(2):
                reply = await ming.refused(GIVE, ROSE, 2, ref=77)
                assert reply.code == Code.UNAVAILABLE
                assert reply.retry_after_ms > 0
            again = await ming.spend(GIVE, ROSE, 2, ref=77)
            await ming.until(lambda: {paid.entry, again.entry} <= ming.money.keys())
            assert sorted(bank.charged.values()) == [20, 30]
            assert sorted(gift["amount"] for gift in of_kind(ming, GIFT)) == [20, 30]


async def test_a_gift_is_asked_about_before_it_is_charged(running: Running, tmp_path: Path) -> None:
    async with open_product() as product, open_product() as guard:
        bank = Bank(product)
        guard.judge(lambda question: {"verdict": "refuse", "reason": "未成年人不能送礼"})
        settings = shop(sqlite(tmp_path), ledger={"spend": "hook"})
        async with (
            running(hooked(settings, spend_url=product.url(), gift_url=guard.url())) as node,
            viewer_of(node, "小明") as ming,
        ):
            reply = await ming.refused(GIVE, ROSE)
            assert (reply.code, reply.text) == (Code.DECLINED, "未成年人不能送礼")
            assert not bank.charged
            assert not ming.money
