"""What viewers report of what they got: the browser SDK and the Python client say the same of a stream, and both are right.

The server is scripted. Its history is made up at random: batches with omitted stretches, gaps, connections that break, returns
that overlap.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed

from engine.client import Client, Options, open_client
from engine.quality import BUCKETS, bucket_of
from engine.schema import JSON, Quality

from .puppet import EPOCH, HANDLE, TIME, Puppet, Strings, batch, comment, open_puppet, snapshot
from .visitors import PATIENCE, Visitors, open_visitors

PING, QUALITY, GAP, PONG = 5, 6, 36, 38
FIRST = 1_000
CUTS = 12
"""Connections that break."""
HOUR = 3_600_000
"""Milliseconds by which the server's clock is ahead on each connection of what it was on the last one. What comes live is half
an hour from its future, so that it is not late on any machine; what is told after a return, from minutes before that."""

Messages = list[list[Any]]
Ping = Callable[[], Awaitable[Any]]


@pytest.fixture
async def visitors() -> AsyncIterator[Visitors]:
    async with open_visitors() as opened:
        yield opened


@pytest.fixture
async def puppet() -> AsyncIterator[Puppet]:
    async with open_puppet() as opened:
        yield opened


class History:
    """A stream, made up as it is told, and what it comes to.

    :ivar offset: the last one; of these, ``missing`` did not come.
    :ivar fresh: events that came live.
    :ivar causes: codes with which connections ended.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.offset = FIRST
        self.missing = self.gaps = self.fresh = 0
        self.causes: list[str] = []

    @property
    def clock(self) -> int:
        """The server's, on this connection."""
        return TIME + HOUR * len(self.causes)

    def live(self) -> Messages:
        """What is told next on a connection that lasts."""
        offset = self.offset
        match self._random.choice(("batch", "batch", "batch", "lag", "unknown")):
            case "batch":
                return [self._batch(offset + 1, HOUR // 2)]
            case "lag":
                self._skip()
                return [[GAP, HANDLE, EPOCH, offset + 1, self.offset, "lag"]]
        self._skip()
        return [[GAP, HANDLE, EPOCH, offset + 1, 0, "history"], snapshot(self.offset)]

    def returning(self) -> Messages:
        """What is told first after a return: what was missed, perhaps with something before it, perhaps not all of it."""
        offset = self.offset
        gap: Messages = []
        if self._random.random() < 0.4:
            self._skip()
            gap = [[GAP, HANDLE, EPOCH, offset + 1, self.offset, "history"]]
        return [*gap, self._batch(self.offset + 1 - self._random.randrange(6), -HOUR // 6)]

    def cut(self) -> int:
        """With which code the connection ends."""
        code = self._random.choice((4000, 4001, 1001, 1012))
        self.causes.append(f"{code}")
        return code

    def _skip(self) -> None:
        count = self._random.randrange(1, 9)
        self.offset += count
        self.missing += count
        self.gaps += 1

    def _batch(self, first: int, ahead: int) -> list[Any]:
        events: Messages = [comment("again")] * (self.offset + 1 - first)
        for _ in range(self._random.randrange(6)):
            count = self._random.choice((0, 0, 0, 1, 5))
            events.append([0, 3, count] if count else comment("new"))
            self.offset += count or 1
            self.fresh += ahead > 0 and not count
        message = batch(first, *events, last=self.offset)
        message[5] = self.clock + ahead
        return message


class Server:
    """Tells one viewer a history, and keeps its reports."""

    def __init__(self, puppet: Puppet, history: History) -> None:
        self._puppet = puppet
        self._history = history
        self._reported = trio.Event()
        self.reports: Messages = []

    async def play(self, cuts: int, ping: Ping, leave: Callable[[], Awaitable[None]]) -> None:
        """Over so many connections that break, and a last one. After a ``ping`` the viewer has taken what was told before."""
        for cut in range(cuts + 1):
            strings = await self._puppet.accept()
            self._reported = trio.Event()
            await strings.let_in(*([] if cut else [snapshot(FIRST)]), resumed=cut > 0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, strings)
                if cut:
                    with trio.fail_after(PATIENCE):
                        await self._reported.wait()
                await ping()
                if cut:
                    await strings.send(*self._history.returning())
                for _ in range(5):
                    await strings.send(*self._history.live())
                await ping()
                if cut == cuts:
                    await leave()
                else:
                    await strings.close(self._history.cut())

    async def _listen(self, strings: Strings) -> None:
        with suppress(ConnectionClosed):
            while True:
                message = await strings.receive(PING, QUALITY)
                if message[0] == PING:
                    await strings.send([PONG, message[1], self._history.clock])
                else:
                    assert isinstance(JSON.decode(JSON.encode(message)), Quality)
                    self.reports.append(message[2:])
                    self._reported.set()


async def by_the_sdk(visitors: Visitors, puppet: Puppet, server: Server, codec: str) -> Any:
    visitor = await visitors.join(puppet.url, "大厅", ready=False, codec=codec, quality=1, qualityMs=3_600_000)

    async def ping() -> None:
        await visitor.get("ready")
        await visitor.call("ping")

    async def leave() -> None:
        await visitor.call("leave")

    await server.play(CUTS, ping, leave)
    return await visitor.call("quality")


async def by_the_client(puppet: Puppet, server: Server) -> Any:
    options = Options(backoff_base_seconds=0.01, backoff_cap_seconds=0.05, quality=1.0, quality_seconds=3_600)
    clients: list[Client] = []
    entered, done = trio.Event(), trio.Event()

    async def view() -> None:
        async with open_client(puppet.url, room="大厅", options=options) as client:
            clients.append(client)
            entered.set()
            await done.wait()

    async def ping() -> None:
        await entered.wait()
        await clients[0].ping()

    async def leave() -> None:
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(view)
        await server.play(CUTS, ping, leave)
    return clients[0].quality()


@pytest.mark.parametrize("seed", range(3))
async def test_both_report_the_same_and_what_is_true(visitors: Visitors, puppet: Puppet, seed: int) -> None:
    histories = [History(seed), History(seed)]
    told = [(Server(puppet, history), history) for history in histories]
    shown = await by_the_sdk(visitors, puppet, told[0][0], "msgpack" if seed else "json")
    known = await by_the_client(puppet, told[1][0])
    assert told[0][0].reports == told[1][0].reports
    for server, history in told:
        sums = [sum(counts) for counts in zip(*(report[:3] for report in server.reports), strict=True)]
        entitled = history.offset - FIRST
        assert sums == [entitled, entitled - history.missing, history.gaps]
        assert [sum(report[3]) for report in server.reports] == [report[3][0] for report in server.reports]
        assert sum(report[3][0] for report in server.reports) == history.fresh
        assert [report[4] for report in server.reports[:-1]] == [{code: 1} for code in history.causes]
        assert server.reports[-1][4] == {}
        reconnects = {code: history.causes.count(code) for code in history.causes}
        assert [shown[name] for name in ("entitled", "received", "gaps", "reconnects")] == [*sums, reconnects]
        assert (known.entitled, known.received, known.gaps, known.reconnects) == (*sums, reconnects)


async def test_a_report_that_may_not_have_arrived_is_part_of_the_next(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False, quality=1, qualityMs=1)
    strings = await puppet.accept()
    await strings.let_in(snapshot(4), batch(5, comment("5"), comment("6")))
    first = await strings.receive(QUALITY)
    assert first[2:5] == [2, 2, 0]
    await strings.send(batch(7, comment("7")))
    assert (await strings.receive(QUALITY))[2:5] == [1, 1, 0], "on one connection what was sent before arrives before"
    await strings.close(4000)
    strings = await puppet.accept()
    await strings.let_in(resumed=True)
    assert (await strings.receive(QUALITY))[2:] == [3, 3, 0, [0] * BUCKETS, {"4000": 1}]
    await strings.send([PONG, (await strings.receive(PING))[1], TIME], batch(8, comment("8")))
    assert (await strings.receive(QUALITY))[2:5] == [1, 1, 0]
    await strings.close(4000)
    strings = await puppet.accept()
    await strings.let_in(resumed=True)
    assert (await strings.receive(QUALITY))[2:5] == [1, 1, 0], "the others have arrived, this one perhaps not"
    await visitor.call("leave")


async def test_how_late_events_come_is_counted_in_the_buckets_that_all_share(visitors: Visitors, puppet: Puppet) -> None:
    here, late = 1_800_000_000_000, [0, 1, 2, 3, 10, 250, 1_000, 4_095, 54_000, 60_000, 99_000]
    await visitors.ask({"clock": here})
    visitor = await visitors.join(puppet.url, "大厅", ready=False, quality=1, qualityMs=3_600_000)
    strings = await puppet.accept()
    await strings.let_in(snapshot(0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visitor.call, "ping")
        for _ in range(2):
            await strings.send([PONG, (await strings.receive(PING))[1], TIME])
    assert await visitor.call("now") == TIME
    assert (await visitor.call("quality"))["delayP50Ms"] is None
    await visitors.ask({"clock": here + 100_000})
    for offset, delay in enumerate([*late, 100_001], 1):
        message = batch(offset, comment("late"))
        message[5] = TIME + 100_000 - delay
        await strings.send(message)
    await visitor.reach(len(late) + 1)
    quality = await visitor.call("quality")
    assert bucket_of(quality["delayP50Ms"]) == bucket_of(250)
    assert quality["delayP99Ms"] > 50_000
    await visitor.call("leave")
    expected = [0] * BUCKETS
    for delay in late:
        expected[bucket_of(delay)] += 1
    assert (await strings.receive(QUALITY))[2:] == [12, 12, 0, expected, {}]


async def test_a_clock_that_is_put_back_is_measured_again(visitors: Visitors, puppet: Puppet) -> None:
    here = 1_800_000_000_000
    await visitors.ask({"clock": here})
    visitor = await visitors.join(puppet.url, "大厅", ready=False, quality=1, qualityMs=3_600_000)
    strings = await puppet.accept()
    await strings.let_in(snapshot(0))
    await strings.send([PONG, (await strings.receive(PING))[1], TIME])
    await visitors.ask({"clock": here - HOUR})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visitor.call, "ping")
        await strings.send([PONG, (await strings.receive(PING))[1], TIME + 1_000])
    assert await visitor.call("now") == TIME + 1_000
    message = batch(1, comment("late"))
    message[5] = TIME + 1_000
    await strings.send(message)
    await visitor.reach(1)
    await visitor.call("leave")
    assert (await strings.receive(QUALITY))[2:] == [1, 1, 0, [1] + [0] * (BUCKETS - 1), {}]


async def test_whoever_is_not_in_the_sample_reports_nothing(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False, quality=0, qualityMs=1)
    strings = await puppet.accept()
    await strings.let_in(snapshot(4), batch(5, comment("5")))
    await visitor.reach(5)
    await strings.close(4000)
    strings = await puppet.accept()
    await strings.let_in(batch(6, comment("6")), resumed=True)
    await visitor.reach(6)
    await visitor.call("leave")
    kinds = []
    with suppress(ConnectionClosed):
        while True:
            kinds.append((await strings.receive())[0])
    assert QUALITY not in kinds
    assert 2 in kinds
