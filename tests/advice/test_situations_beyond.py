"""Advice about crowds, and about who is slow: viewers, databases, brokers, products. Followed to the letter, and of help."""

from __future__ import annotations

import socket
import sqlite3
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack
import trio
from e2e.transports import Gone, request
from e2e.viewers import JOIN, READ_HISTORY, Viewer, open_viewer
from hooks.product import SECRET, Answer, Asked, open_product

from bench.detour import Detours
from bench.redisproc import claimed_ports, redis_server
from engine.advice import Advice, advise, growth
from engine.brokers.base import Pending
from engine.schema import MSGPACK, Author, CommentEvent
from engine.ws import Opcode, client_frame

from .situations import ROOM, Site, helped, until


async def test_place_for_answers_to_viewers_who_ask_much_at_once(tmp_path: Path) -> None:
    # Nine pages are 45 kB: more than 16 kB and what sockets hold, and less than 64 kB.
    page = [(ROOM, Pending(MSGPACK.encode(CommentEvent(Author("anna"), 0, "问" * 160)))) for _ in range(10)]
    pages, asking = 9, 4

    def edge(site: Site) -> tuple[int, int]:
        told = site.node.vitals()["edge"]
        return told["messages_received"], told["closed"].get(4202, 0)

    async def ask_much(site: Site) -> None:
        await site.node.publish_many(page)
        async with AsyncExitStack() as stack:
            raw = partial(open_viewer, "raw", site.node.url, deflate=False, receive_buffer=4096)
            viewers: list[Viewer] = [await stack.enter_async_context(raw()) for _ in range(asking)]
            for viewer in viewers:
                await viewer.join(ROOM)
                await viewer.settle()
            received, closed = edge(site)
            for viewer in viewers:
                with suppress(Gone):
                    for ref in range(1, pages + 1):
                        await viewer.send(READ_HISTORY, viewer.refs + ref, viewer.handle, 0, 10)
            await until(lambda: edge(site)[0] - received == asking * pages or edge(site)[1] - closed == asking)
            await trio.testing.wait_all_tasks_blocked()
            # Only now they read.
            for viewer in viewers:
                with suppress(Gone):
                    while len(viewer.answers) < pages:
                        await viewer.take()

    async with Site(tmp_path, {"edge.send_buffer_bytes": 4096}) as site:
        advice = await helped(site, "answers_unread", ask_much)
        assert advice.evidence[0] == "edge.closed.4202: 4 in 10 s"
        assert [(change.setting, change.to) for change in advice.changes] == [("edge.private_bytes", "65536")]


async def test_a_viewer_who_is_slower_than_the_room_may_choose_a_feed(tmp_path: Path) -> None:
    async def burst(site: Site, feed: str) -> float:
        """More than the log holds. Returns how often somebody was overtaken by it."""
        before = site.observe()
        async with open_viewer("raw", site.node.url, receive_buffer=4096, deflate=False) as slow:
            await slow.join(ROOM, feed=feed)
            await slow.settle()
            said = Pending(MSGPACK.encode(CommentEvent(Author("anna"), 0, "弹" * 10_000)))
            for _ in range(40):
                await site.node.publish_many([(ROOM, said)] * 10)
                await trio.testing.wait_all_tasks_blocked()
            # It reads on, from behind a gap if it must.
            with suppress(Gone):
                await slow.settle()
        after = site.observe()
        given.extend(each for each in advise(before, after) if each.rule == "lag_policy")
        return growth(before, after, "edge.lag_policies") + growth(before, after, "edge.closed.4002")

    given: list[Advice] = []
    async with Site(tmp_path, {"edge.send_buffer_bytes": 4096}) as site:
        assert await burst(site, "")
        (advice,) = given
        assert (advice.cause, advice.severity, advice.watch) == ("last_mile", "hint", {})
        assert [(change.setting, change.restart) for change in advice.changes] == [("feeds.readable", True)]
        await site.apply(advice.changes)
        assert not await burst(site, "readable")
        assert given == [advice]


def told(site: Site) -> dict[str, int]:
    webhooks: dict[str, int] = site.node.vitals()["hub"]["webhooks"]
    return webhooks


async def open_room(site: Site) -> None:
    lane = f"{time.monotonic_ns()}"
    await site.node.room(f"{ROOM}{lane}").life("open", stream=lane)


def written(file: Path) -> int:
    """Happenings that wait in the outbox, all of which are two minutes older from now on."""
    with closing(sqlite3.connect(file)) as other, other:
        return other.execute("UPDATE webhooks SET time_ms = time_ms - 120000 WHERE body <> ''").rowcount


async def test_a_product_that_does_not_take_webhooks_in_time(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    slow = True

    async def write_down(asked: Asked) -> Answer:
        if slow:
            await trio.sleep_forever()
        return Answer()

    def mend() -> None:
        nonlocal slow
        slow = False

    async def broadcast(site: Site) -> None:
        before = told(site)
        await open_room(site)
        await until(lambda: told(site)["failures"] > before["failures"] or told(site)["sent"] > before["sent"])
        if slow:
            assert written(file)
            # A request that is under way when the product is mended is one more that fails.
            await until(lambda: told(site)["oldest_ms"] > 60_000 and told(site)["failures"] >= before["failures"] + 2)
        else:
            await until(lambda: not told(site)["waiting"])

    async with open_product() as product:
        product.behave = write_down
        settings: dict[str, Any] = {
            "ledger.url": f"sqlite:///{file}",
            "hooks.events_url": product.url(),
            "hooks.secret": SECRET,
            "hooks.events_seconds": 0.2,
            "hooks.retry_seconds": 0.01,
            "hooks.retry_most_seconds": 0.01,
            "hooks.attempts": 1_000,
        }
        async with Site(tmp_path, settings) as site:
            advice = await helped(site, "webhooks_behind", broadcast, product=mend, attempts=3)
            assert (advice.cause, advice.severity) == ("product", "limit")


async def test_a_product_that_takes_webhooks_slower_than_they_come(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    thinks = [trio.Event(), trio.Event()]
    """About its first two requests; about the rest it does not."""

    async def write_down(asked: Asked) -> Answer:
        number = len(product.asked) - 1
        if number < len(thinks):
            await thinks[number].wait()
        return Answer()

    async def broadcast(site: Site) -> None:
        slow = not thinks[0].is_set()
        if not slow:
            await until(lambda: not told(site)["waiting"])
            assert not told(site)["oldest_ms"], "nothing waits, and it is old"
        await open_room(site)
        await product.until(1)
        await open_room(site)
        if slow:
            await until(lambda: written(file) == 2)
            thinks[0].set()
            await product.until(2)
        else:
            await until(lambda: not told(site)["waiting"] and told(site)["sent"] == 4)

    async with open_product() as product:
        product.behave = write_down
        settings: dict[str, Any] = {
            "ledger.url": f"sqlite:///{file}",
            "hooks.events_url": product.url(),
            "hooks.secret": SECRET,
        }
        async with Site(tmp_path, settings) as site:
            advice = await helped(site, "webhooks_behind", broadcast, product=thinks[1].set)
            assert advice.watch["hub.webhooks.oldest_ms"] == "falls"


async def test_a_ledger_whose_transactions_take_long(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    slow = True

    def mend() -> None:
        nonlocal slow
        slow = False

    async def give(site: Site) -> None:
        await site.node.room(ROOM).gift("anna", "rose", 1, key=f"{time.monotonic_ns()}")

    async def evening(site: Site) -> None:
        for number in range(10):
            if slow and number < 4:
                await wait_for_the_disk(site)
            else:
                await give(site)

    async def wait_for_the_disk(site: Site) -> None:
        # Who else writes stands for a disk that takes its time.
        async with trio.open_nursery() as nursery:
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                nursery.start_soon(give, site)
                await trio.testing.wait_all_tasks_blocked()
                # The transaction has begun, and takes longer than this.
                await trio.sleep(0.27)
                other.execute("ROLLBACK")

    settings = {"ledger.url": f"sqlite:///{file}", "gifts.rose": {"name": "玫瑰", "price": 10}}
    async with Site(tmp_path, settings) as site:
        await give(site)
        advice = await helped(site, "ledger_slow", evening, product=mend, attempts=3)
        assert (advice.cause, advice.severity) == ("database", "limit")
        assert [(change.setting, change.where) for change in advice.changes] == [("ledger.url", "product")]


async def test_a_redis_that_is_slow(tmp_path: Path) -> None:
    with ExitStack() as stack:
        near, far = stack.enter_context(claimed_ports(2))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(redis_server(directory, "--save", "", port=far))
        way = stack.enter_context(Detours([(near, far)]))
        away = 70.0

        def mend() -> None:
            nonlocal away
            away = 0.0

        async def chat(site: Site) -> None:
            viewer = await site.viewer()
            for number in range(10):
                if number in (0, 4):
                    # Both ways; four of ten say enough.
                    await trio.to_thread.run_sync(way.slow, 0, 0.0 if number else away)
                await viewer.comment(f"{number}")

        settings = {"redis.url": f"redis://127.0.0.1:{near}", "redis.answer_seconds": 20.0}
        async with Site(tmp_path, settings) as site:
            advice = await helped(site, "broker_slow", chat, product=mend, attempts=3)
            assert (advice.cause, advice.severity) == ("broker", "limit")
            assert [(change.setting, change.where) for change in advice.changes] == [("redis.url", "product")]


class Crowd:
    """Many viewers who cost little: they connect, join, and are silent."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stack = ExitStack()

    async def come(self, site: Site, window: float) -> None:
        """All of them, each at its moment of so many seconds; who is dropped comes again. Nobody looks at a clock: a node has
        a twentieth of a second for those who come in it, and gets through them."""
        lots = max(int(window / 0.05), 1)
        waiting = self._size
        lot = -(-waiting // lots)
        while waiting:
            waiting -= self._connect(site, min(lot, waiting))
            await until(lambda: site.node.vitals()["edge"]["viewers"] >= self._size - waiting)  # noqa: B023
            lot = min(lot, 50)

    def _connect(self, site: Site, count: int) -> int:
        """So many at once, before anybody is accepted. Returns how many of them are in the queue."""
        parts = urlsplit(site.node.url)
        hello = request(site.node.url, "roomcast.v1.msgpack")
        hello += client_frame(Opcode.BINARY, msgpack.packb([JOIN, 1, ROOM, 0, 0, None, None, {}]), b"\1\2\3\4")
        connected = 0
        for _ in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((parts.hostname, parts.port))
            try:
                sock.send(hello)
            except OSError:
                # Still on its way: dropped.
                sock.close()
                continue
            self._stack.callback(sock.close)
            connected += 1
        return connected

    def leave(self) -> None:
        """All at once."""
        self._stack.close()


async def test_time_for_a_crowd_to_come_back(tmp_path: Path) -> None:
    crowd = Crowd(1_000)
    windows: list[float] = []

    async def hear(site: Site, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_viewer("raw", site.node.url) as one:
            await one.join(ROOM)
            task_status.started()
            await one.until(lambda: one.bye is not None)
            assert one.bye is not None
            windows.append(one.bye[4] / 1000)
            crowd.leave()

    async def restart(site: Site) -> None:
        await nursery.start(hear, site)
        await site.restart()
        await crowd.come(site, windows[-1])

    async with trio.open_nursery() as nursery, Site(tmp_path, {"edge.backlog": 64, "room.counters_seconds": 5.0}) as site:
        try:
            await crowd.come(site, 1.0)
            advice = await helped(site, "return_window", restart)
        finally:
            crowd.leave()
        assert [(change.setting, change.to) for change in advice.changes] == [("node.return_window_seconds", "1.0")]
        assert windows == [0.0, 1.0]
