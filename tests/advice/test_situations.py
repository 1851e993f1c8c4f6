"""Advice that was needed, was followed to the letter, and helped: real nodes, brought into each situation twice."""

from __future__ import annotations

import random
import socket
import sqlite3
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from e2e.transports import Gone, HttpRefusal
from e2e.viewers import COMMENT, LIKE, PING, QUALITY, READ_STATE, open_viewer
from hooks.product import SECRET, Answer, Asked, open_product, verdicts

from bench.detour import Detours
from bench.redisproc import claimed_ports, redis_server
from engine.advice import advise, reading
from engine.brokers.base import Pending
from engine.errors import Code, Refused
from engine.hooks.values import Allow, Question, Verdict
from engine.schema import MSGPACK, Author, CommentEvent

from .situations import ROOM, Site, helped, until

FORWARDED = {"X-Forwarded-For": "203.0.113.7"}


def text(number: int, size: int = 2_000) -> str:
    """That does not compress well."""
    return random.Random(number).randbytes(size // 2).hex()


# -- who does not get in -----------------------------------------------------------------------------------------------


async def come(site: Site, count: int, **more: Any) -> None:
    """So many connect, one after the other, and go."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            try:
                await stack.enter_async_context(open_viewer("raw", site.node.url, **more))
            except HttpRefusal:
                continue
    await until(lambda: not site.node.vitals()["edge"]["connections"])


async def test_place_for_more_viewers(tmp_path: Path) -> None:
    async with Site(tmp_path, {"edge.viewers_max": 2}) as site:
        advice = await helped(site, "viewers_refused", partial(come, count=6))
        assert (advice.cause, advice.severity) == ("setting", "fault")
        assert advice.evidence[0] == "edge.refused.503: 4 in 10 s"
        assert [(change.setting, change.now, change.to) for change in advice.changes] == [("edge.viewers_max", "2", "10")]


async def test_place_for_more_viewers_of_an_address(tmp_path: Path) -> None:
    settings = {"edge.viewers_per_address": 2, "edge.trusted_proxies": ["127.0.0.0/8"]}
    async with Site(tmp_path, settings) as site:
        advice = await helped(site, "address_limit", partial(come, count=6, headers=FORWARDED))
        assert advice.watch == {"edge.refused.429": "stops"}


async def test_a_longer_queue_for_those_who_come_at_once(tmp_path: Path) -> None:
    async def rush(site: Site) -> None:
        # Nobody accepts meanwhile: a node in this loop waits for its turn, as one does that is busy.
        parts = urlsplit(site.node.url)
        with ExitStack() as stack:
            for _ in range(60):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex((parts.hostname, parts.port))
        await trio.testing.wait_all_tasks_blocked()
        await come(site, 1)

    async with Site(tmp_path, {"edge.backlog": 16}) as site:
        advice = await helped(site, "listen_queue", rush, attempts=5)
        assert advice.cause == "kernel"
        assert [change.setting for change in advice.changes] == ["edge.backlog"]


@pytest.mark.parametrize("limit", ["room.viewers_max", "room.rooms_max"])
async def test_place_for_more_viewers_of_a_room_and_for_more_rooms(tmp_path: Path, limit: str) -> None:
    async def join(site: Site) -> None:
        async with AsyncExitStack() as stack:
            for number in range(4):
                viewer = await stack.enter_async_context(open_viewer("raw", site.node.url))
                refusal = await viewer.knock(f"{ROOM}{number if limit == 'room.rooms_max' else ''}")
                assert refusal is None or refusal.code == Code.ROOM_FULL

    async with Site(tmp_path, {limit: 1}) as site:
        advice = await helped(site, "rooms_full", join)
        assert advice.watch == {f"edge.limited.{limit}": "stops"}


async def test_a_rate_that_clients_meant_well_exceed(tmp_path: Path) -> None:
    async def chatter(site: Site) -> None:
        for _ in range(3):
            async with open_viewer("raw", site.node.url) as viewer:
                await viewer.join(ROOM)
                with suppress(Gone):
                    for number in range(20):
                        await viewer.send(PING, number + 1)
                    await viewer.settle()

    async with Site(tmp_path, {"limits.messages_burst": 8, "limits.messages_per_second": 0.1}) as site:
        await helped(site, "flooding", chatter)


# -- what is not taken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["comments", "reads", "likes"])
async def test_rates_of_viewers(tmp_path: Path, kind: str) -> None:
    async def act(site: Site) -> None:
        async with open_viewer("raw", site.node.url) as viewer:
            await viewer.join(ROOM)
            for number in range(1, 21):
                if kind == "comments":
                    await viewer.ask(COMMENT, viewer.handle, f"{number}")
                elif kind == "reads":
                    viewer.refs += 1
                    await viewer.send(READ_STATE, viewer.refs, viewer.handle)
                else:
                    await viewer.send(LIKE, viewer.handle, number)
            await viewer.settle()

    async with Site(tmp_path, {f"limits.{kind}_burst": 6, f"limits.{kind}_per_second": 0.001}) as site:
        advice = await helped(site, "rate_limits", act)
        assert advice.severity == "hint"
        assert advice.watch == {f"edge.limited.limits.{kind}_per_second": "falls"}


@pytest.mark.parametrize("rule", ["slow", "duplicate"])
async def test_a_rule_of_rooms_that_refuses_most_of_what_is_said(tmp_path: Path, rule: str) -> None:
    async def chat(site: Site) -> None:
        async with open_viewer("raw", site.node.url) as viewer:
            await viewer.join(ROOM)
            for number in range(15):
                await viewer.ask(COMMENT, viewer.handle, "666" if rule == "duplicate" else f"{number}")

    async with Site(tmp_path, {f"limits.{rule}_seconds": 3_600.0}) as site:
        advice = await helped(site, "room_rules", chat)
        assert [change.to for change in advice.changes] == ["0.0"]


@pytest.mark.parametrize("budget", ["events", "bytes"])
async def test_a_budget_that_withholds_what_there_is_place_for(tmp_path: Path, budget: str) -> None:
    async def chat(site: Site) -> None:
        async with open_viewer("raw", site.node.url) as viewer:
            await viewer.join(ROOM)
            for number in range(20):
                await viewer.ask(COMMENT, viewer.handle, f"{number}")

    path = f"limits.room_{budget}_per_second"
    async with Site(tmp_path, {path: 1.0, "limits.withhold": "newest"}) as site:
        advice = await helped(site, "budget", chat)
        assert [change.setting for change in advice.changes] == [path]


async def test_a_burst_that_waits(tmp_path: Path) -> None:
    async def burst(site: Site) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(say, site, number)

    async def say(site: Site, number: int) -> None:
        with suppress(Refused):
            await site.node.comment(ROOM, f"{number}")

    async with Site(tmp_path, {"limits.pending_events": 5}) as site:
        advice = await helped(site, "overload", burst)
        assert (advice.cause, advice.severity) == ("setting", "fault")


# -- what does not arrive ----------------------------------------------------------------------------------------------


async def test_a_send_buffer_that_holds_a_frame(tmp_path: Path) -> None:
    async def lively(site: Site) -> None:
        async with AsyncExitStack() as stack:
            raw = partial(open_viewer, "raw", site.node.url, deflate=False, receive_buffer=4096)
            viewers = [await stack.enter_async_context(raw()) for _ in range(5)]
            for viewer in viewers:
                await viewer.join(ROOM)
                await viewer.settle()
            for number in range(6):
                outcomes = await site.node.publish_many([(ROOM, comment(number * 100 + each)) for each in range(20)])
                for viewer in viewers:
                    await viewer.until_offset(outcomes[-1].offset)

    async with Site(tmp_path, {"edge.send_buffer_bytes": 4096}) as site:
        advice = await helped(site, "send_buffers", lively)
        assert advice.watch == {"edge.stalls": "falls"}


def comment(number: int) -> Pending:
    return Pending(MSGPACK.encode(CommentEvent(Author("anna"), 0, text(number))))


@pytest.mark.parametrize("short", [{"room.log_bytes": 65_536, "room.batch_bytes": 16_384}, {"room.lag_seconds": 0.001}])
async def test_a_log_that_lasts_for_a_burst(tmp_path: Path, short: dict[str, Any]) -> None:
    async def burst(site: Site) -> None:
        async with open_viewer("raw", site.node.url, receive_buffer=4096, deflate=False) as slow:
            await slow.join(ROOM)
            await slow.settle()
            for number in range(60):
                outcomes = await site.node.publish_many([(ROOM, comment(number * 10 + each)) for each in range(10)])
                await trio.testing.wait_all_tasks_blocked()
            try:
                await slow.until_offset(outcomes[-1].offset)
            except Gone:
                # A frame that it had half of left the log.
                assert 4002 in site.node.vitals()["edge"]["closed"]

    async with Site(tmp_path, {"edge.send_buffer_bytes": 4096, **short}) as site:
        advice = await helped(site, "lag_policy", burst)
        assert (advice.cause, advice.severity) == ("setting", "fault")


async def test_a_past_that_lasts_until_viewers_are_back(tmp_path: Path) -> None:
    async def leave_and_return(site: Site) -> None:
        stays = await site.viewer()
        async with open_viewer("raw", site.node.url) as viewer:
            await viewer.join(ROOM)
            await viewer.settle()
            session, position = viewer.session, viewer.position
        assert position is not None
        for number in range(60):
            await site.node.publish_many([(ROOM, comment(number))])
        await stays.until_offset(position[1] + 60)
        async with open_viewer("raw", site.node.url) as viewer:
            await viewer.join(ROOM, position, session=session)
            await viewer.until_offset(position[1] + 60)

    settings = {"room.log_bytes": 65_536, "room.batch_bytes": 16_384, "broker.history_events": 5}
    async with Site(tmp_path, settings) as site:
        advice = await helped(site, "past_lost", leave_and_return)
        assert {change.setting for change in advice.changes} == {"room.log_bytes", "broker.history_events"}


# -- what the node depends on ------------------------------------------------------------------------------------------


async def test_patience_with_a_redis_that_is_far_away(tmp_path: Path) -> None:
    with ExitStack() as stack:
        near, far = stack.enter_context(claimed_ports(2))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(redis_server(directory, "--save", "", port=far))
        way = stack.enter_context(Detours([(near, far)]))

        async def say(site: Site) -> None:
            viewer = await site.viewer()
            await trio.to_thread.run_sync(way.slow, 0, 150.0)
            reply = await viewer.ask(COMMENT, viewer.handle, "远")
            assert reply.code in (Code.OK, Code.UNAVAILABLE)
            await trio.to_thread.run_sync(way.slow, 0, 0.0)

        settings = {"redis.url": f"redis://127.0.0.1:{near}", "redis.answer_seconds": 0.1}
        async with Site(tmp_path, settings) as site:
            advice = await helped(site, "broker_away", say)
            assert advice.cause == "broker"
            assert advice.changes[0].restart


def shop(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    return {"ledger.url": f"sqlite:///{tmp_path / 'ledger.db'}", "gifts.rose": {"name": "玫瑰", "price": 10}, **settings}


async def give(site: Site, count: int) -> None:
    """At once, in the room's own name."""
    keys = time.monotonic_ns()

    async def one(number: int) -> None:
        with suppress(Refused):
            await site.node.room(ROOM).gift("anna", "rose", 1, key=f"{keys}-{number}")

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)


async def test_transactions_that_hold_more(tmp_path: Path) -> None:
    async with Site(tmp_path, shop(tmp_path, **{"ledger.group": 1})) as site:
        advice = await helped(site, "ledger_groups", partial(give, count=12))
        assert [(change.setting, change.to) for change in advice.changes] == [("ledger.group", "1000")]


async def test_a_ledger_that_somebody_else_holds(tmp_path: Path) -> None:
    async with Site(tmp_path, shop(tmp_path, **{"ledger.answer_seconds": 0.1})) as site:
        await give(site, 1)
        with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")

            def let_go() -> None:
                other.execute("ROLLBACK")

            advice = await helped(site, "ledger_away", partial(give, count=1), product=let_go)
        other.close()
        assert (advice.cause, advice.severity) == ("database", "fault")
        assert advice.changes[0].setting == "ledger.answer_seconds"


# -- the product -------------------------------------------------------------------------------------------------------


async def chat(site: Site, count: int = 3) -> None:
    viewer = await site.viewer()
    for number in range(count):
        await viewer.comment(f"{number}")


async def test_patience_with_a_product_that_thinks(tmp_path: Path) -> None:
    async def think(question: Question) -> Verdict:
        await trio.sleep(0.05)
        return Allow()

    async with Site(tmp_path, {"hooks.answer_seconds": 0.01}) as site:
        site.node.before("comment", think)
        advice = await helped(site, "hooks_unanswered", chat)
        assert [(change.setting, change.to) for change in advice.changes] == [("hooks.answer_seconds", "1.0")]


async def test_a_product_that_fails(tmp_path: Path) -> None:
    async with open_product() as product:
        settings = {"hooks.comment_url": product.url(), "hooks.secret": SECRET, "hooks.answer_seconds": 20.0}
        async with Site(tmp_path, settings | {"hooks.breaker_seconds": 0.001}) as site:
            product.answer(Answer(status=500))
            advice = await helped(site, "hooks_unanswered", chat, product=partial(setattr, product, "behave", allow))
            assert (advice.cause, [change.where for change in advice.changes]) == ("product", ["product"])


async def allow(asked: Asked) -> Answer:
    return verdicts(asked)


async def test_more_attempts_for_webhooks(tmp_path: Path) -> None:
    told: set[str] = set()

    async def takes_the_second(asked: Asked) -> Answer:
        body = str(asked.body)
        if body in told:
            return Answer()
        told.add(body)
        return Answer(status=503)

    def settled(site: Site) -> int:
        webhooks = site.node.vitals()["hub"]["webhooks"]
        return int(webhooks["sent"] + webhooks["dead"])

    async def broadcast(site: Site) -> None:
        lane = f"{time.monotonic_ns()}"
        before = settled(site)
        await site.node.room(f"{ROOM}{lane}").life("open", stream=lane)
        await until(lambda: settled(site) > before)

    async with open_product() as product:
        product.behave = takes_the_second
        settings = {"hooks.events_url": product.url(), "hooks.secret": SECRET, "hooks.attempts": 1, "hooks.retry_seconds": 0.01}
        async with Site(tmp_path, shop(tmp_path, **settings)) as site:
            advice = await helped(site, "webhooks_dead", broadcast)
            assert advice.watch == {"hub.webhooks.dead": "stops"}


async def test_a_hook_that_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else it takes seconds until the pulse has noticed.
    monkeypatch.setattr("engine.pulse._PERIOD_SECONDS", 0.02)
    # Whatever else this machine does.
    monkeypatch.setattr("engine.advice.rules.resources._IDLE", 0.0)
    blocks = True

    async def check(question: Question) -> Verdict:
        if blocks:
            time.sleep(0.35)  # noqa: ASYNC251  # what is provoked
        else:
            await trio.to_thread.run_sync(time.sleep, 0.001)
        return Allow()

    def mend() -> None:
        nonlocal blocks
        blocks = False

    async def beat(site: Site) -> None:
        viewer = await site.viewer()
        for _ in range(2):
            await viewer.comment("慢")
            await another_beat(site)

    async def another_beat(site: Site) -> None:
        before = beats(site)
        await until(lambda: beats(site) > before)

    def beats(site: Site) -> int:
        return sum(site.node.vitals()["process"]["node"]["loop_delays"]["counts"].values())

    async with Site(tmp_path, {"hooks.answer_seconds": 20.0}) as site:
        site.node.before("comment", check)
        advice = await helped(site, "loop", beat, product=mend, attempts=5)
        assert advice.cause == "loop"
        assert [change.where for change in advice.changes] == ["product"]


# -- what is known -----------------------------------------------------------------------------------------------------


async def test_viewers_who_report(tmp_path: Path) -> None:
    reports = False

    async def watch(site: Site) -> None:
        viewers = [await site.viewer() for _ in range(10)]
        if reports:
            for viewer in viewers:
                await viewer.send(QUALITY, viewer.handle, 1, 1)
            await until(lambda: site.node.vitals()["hub"]["quality"]["reports"] >= 10)

    def teach() -> None:
        nonlocal reports
        reports = True

    async with Site(tmp_path, {}, apart=60.0) as site:
        for _ in range(90):
            await site.viewer()
        await helped(site, "quality_unknown", watch, product=teach)


async def test_a_network_that_cuts_its_viewers_off_is_named(tmp_path: Path) -> None:
    settings = {"edge.trusted_proxies": ["127.0.0.0/8"], "edge.proxy_protocol": False}
    networks = [{"name": name, "addresses": [f"203.0.{number}.0/24"]} for number, name in enumerate(("good", "bad"))]
    async with Site(tmp_path, settings | {"quality.networks": networks}) as site:
        first = site.observe()
        for number in range(6):
            for which in (0, 1):
                viewer = await site.viewer(headers={"X-Forwarded-For": f"203.0.{which}.{number + 1}"})
                await viewer.send(QUALITY, viewer.handle, 1, 1, 0, [], {"1006": 1} if which else {})
        await until(lambda: reading(site.observe(), "room.measured.reports", ROOM) >= 12)
        (advice,) = [each for each in advise(first, site.observe()) if each.rule == "cut_off"]
        assert (advice.cause, advice.room) == ("last_mile", ROOM)
        assert "bad" in advice.what
        assert [(change.setting, change.to, change.restart) for change in advice.changes] == [
            ("room.heartbeat_seconds", "10.0", True)
        ]


async def test_a_busy_node_on_which_nothing_is_wrong_is_left_alone(tmp_path: Path) -> None:
    async with Site(tmp_path, shop(tmp_path)) as site:
        viewers = [await site.viewer() for _ in range(12)]
        first = site.observe()
        for number in range(30):
            for viewer in viewers[:4]:
                await viewer.comment(f"{number}")
                await viewer.send(LIKE, viewer.handle, number)
        await give(site, 30)
        for viewer in viewers[6:9]:
            await viewer.send(QUALITY, viewer.handle, 100, 100, 0, [0] * 20 + [100], {"1001": 1})
        second = site.observe()
        # What the machine or its other users do is not this node's.
        assert [advice.rule for advice in advise(first, second) if advice.rule not in ("cpu", "retransmissions")] == []
