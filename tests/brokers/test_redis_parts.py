"""The parts of the Redis broker that need no server: URLs, joining of deliveries, the connection's parser."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from engine.brokers.base import Events, History, Position, Totals
from engine.brokers.redis.address import Address, Place, parse
from engine.brokers.redis.functions import _FUNCTIONS, Functions, library
from engine.brokers.redis.spread import Told, read_message
from engine.brokers.redis.subscription import Subscription
from engine.brokers.redis.wire import Lost, Wire

# -- URLs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://cache", Place("single", (Address("cache", 6379),))),
        ("redis://[::1]:7000/3", Place("single", (Address("::1", 7000),), database=3)),
        ("rediss://me:s%40cret@cache:7000", Place("single", (Address("cache", 7000),), "me", "s@cret", True)),
        ("unix:///run/redis.sock", Place("single", (Address(path="/run/redis.sock"),))),
        (
            "redis+sentinel://:pw@a,b:7/main",
            Place("sentinel", (Address("a", 26379), Address("b", 7)), password="pw", primary="main"),
        ),
        ("rediss+cluster://a:1,b:2", Place("cluster", (Address("a", 1), Address("b", 2)), tls=True)),
    ],
)
def test_urls_name_places(url: str, place: Place) -> None:
    assert parse(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a",
        "redis://",
        "redis://a,b",
        "redis://a:port",
        "redis://a:99999",
        "redis://a/name",
        "redis+cluster://a/1",
        "redis+sentinel://a",
        "redis+other://a",
        "unix://run/redis.sock",
        "unix+cluster:///run",
    ],
)
def test_other_urls_are_refused_with_a_reason_and_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis\.url"):
        parse(url)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # what it says is asserted below
        parse("redis://me:secret@a:port")
    assert "secret" not in str(caught.value)


# -- joining -------------------------------------------------------------------------------------------------------------


class Truth:
    """A room as the server has it: for each epoch its events."""

    def __init__(self) -> None:
        self.epoch = 1
        self.begin = 0
        self.events: dict[int, list[bytes]] = {1: []}

    def publish(self, count: int) -> Events:
        own = self.events[self.epoch]
        first = len(own) + 1
        own += [b"%d.%d" % (self.epoch, first + index) for index in range(count)]
        return self.range(self.epoch, first, first + count - 1)

    def range(self, epoch: int, first: int, last: int) -> Events:
        part = self.events[epoch][first - 1 : last]
        return Events("room", epoch, first, part, [0] * len(part))

    def lose(self, count: int) -> Events:
        """The last events, or all of them."""
        kept = self.events[self.epoch][:-count] if count < 4 else []
        self.epoch += 1
        self.begin = len(kept)
        self.events[self.epoch] = kept
        return self.range(self.epoch, self.begin + 1, self.begin)

    def history(self, after: int, limit: int) -> History:
        head = len(self.events[self.epoch])
        after = min(after, head) if after >= 0 else self.begin
        return History(Position(self.epoch, head), self.range(self.epoch, after + 1, min(after + limit, head)))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("publish", "publish", "publish", "lose", "mend", "stale mend")),
            st.integers(1, 4),
            st.sampled_from(("arrives", "lost", "twice", "late")),
        ),
        max_size=40,
    ),
    st.integers(1, 5),
)
def test_whatever_is_lost_late_or_doubled_deliveries_join(steps: list[tuple[str, int, str]], page: int) -> None:
    truth, seen, late = Truth(), list[Events](), list[Events]()
    subscription = Subscription("room", "s", lambda delivery: seen.append(delivery) if isinstance(delivery, Events) else None)
    subscription.begin(Position(1, 0))

    def mend() -> None:
        while subscription.behind:
            asked = subscription.asking
            if not subscription.take_past(truth.history(asked.offset, page), asked):
                return

    for step, count, fate in steps:
        if step == "mend":
            mend()
            continue
        if step == "stale mend":
            asked = subscription.asking
            answer = truth.history(asked.offset, page)
            subscription.take(truth.publish(1))
            subscription.take_past(answer, asked)
            continue
        events = truth.publish(count) if step == "publish" else truth.lose(count)
        if fate == "late":
            late.append(events)
        elif fate != "lost":
            for _ in range(2 if fate == "twice" else 1):
                subscription.take(events)
    for events in late:
        subscription.take(events)
    subscription.learn(Position(truth.epoch, len(truth.events[truth.epoch])))
    mend()
    assert not subscription.behind
    for before, after in pairwise(seen):
        joins = (after.epoch, after.first) == (before.epoch, before.last + 1)
        assert joins or after.epoch > before.epoch
    final = [body for events in seen if events.epoch == truth.epoch for body in events.events]
    assert final == truth.events[truth.epoch][truth.begin :]


def test_what_came_while_joining_is_delivered_from_the_position_on() -> None:
    seen: list[Any] = []
    truth, subscription = Truth(), Subscription("room", "s", seen.append)
    for _ in range(4):
        subscription.take(truth.publish(2))
    assert not seen
    subscription.begin(Position(1, 5))
    assert [events.events for events in seen] == [[b"1.6"], [b"1.7", b"1.8"]]
    assert subscription.position() == Position(1, 5)
    assert subscription.position() == Position(1, 8)


def test_what_is_held_before_a_hole_is_bounded_and_comes_from_history() -> None:
    seen: list[Any] = []
    truth, subscription = Truth(), Subscription("room", "s", seen.append)
    subscription.begin(Position(1, 0))
    truth.publish(1)
    for _ in range(30):
        subscription.take(truth.publish(1_000))
    assert len(subscription._early) == 10
    while subscription.behind:
        asked = subscription.asking
        assert subscription.take_past(truth.history(asked.offset, 1_000), asked)
    assert sum(len(events.events) for events in seen) == 30_001
    assert not subscription.hole


def test_older_totals_do_not_replace_newer_ones() -> None:
    seen: list[Any] = []
    subscription = Subscription("room", "s", seen.append)
    subscription.begin(Position(5, 0))
    for epoch, version, likes, viewers in ((5, 2, 10, 1), (5, 1, 9, 1), (5, 3, 10, 1), (4, 9, 3, 3), (6, 1, 0, 0)):
        subscription.take_totals(Told(epoch, version, Totals("room", likes, viewers)))
    assert seen == [Totals("room", 10, 1), Totals("room", 0, 0)]


# -- records -------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=60))
def test_no_record_however_broken_does_harm(data: bytes) -> None:
    events = (b"1 ", b"1 5 1 1 0 ", b"2 5 1 1 0 ", b"1 5 1 ")
    for begin in (b"", *events, b"t2 ", b"t2 5 1 2 3 0 0 3 1 ", b"y1 ", b"y1 5 1 2 ", b"a1 ", b"a1 5 1 1 3 "):
        try:
            read_message("room", begin + data)
        except Exception as error:
            assert type(error).__name__ == "UnknownRecord"  # noqa: PT017  # any other is the fault looked for


def test_history_begins_after_a_record_that_cannot_be_read() -> None:
    good = [b"1 7 %d 1 0 \xc4\x01%d" % (offset, offset) for offset in (1, 2, 3)]
    history = Functions.past("room", [b"7", b"3", b"99", b"5", b"1", b"", good[0], b"9 7 2 1 0 ?", good[2]], 10)
    assert history == (History(Position(7, 3), Events("room", 7, 3, [b"3"], [0])), 99, 5)
    assert Functions.past("room", [b"7", b"3", b"99", b"0", b"1", b"", b"9 7 3"], 10)[0].events == Events("room", 7, 4, [], [])


def test_the_librarys_name_is_in_all_of_its_functions() -> None:
    name, source = library()
    assert source.startswith(f"#!lua name={name}\n")
    assert "@" not in source
    assert source.count(f'"{name}_') == len(_FUNCTIONS)


# -- connection ----------------------------------------------------------------------------------------------------------


async def test_pushes_and_replies_of_any_size_are_read_in_any_pieces() -> None:
    random_ = random.Random(7)
    near, far = memory_stream_pair()
    pushes: list[Any] = []
    wire = Wire(near, pushes.append, trio.Event())
    bodies = [random_.randbytes(random_.choice((0, 3, 200, 70_000))) for _ in range(200)]
    data = b"".join(b">2\r\n$1\r\nx\r\n$%d\r\n%b\r\n" % (len(body), body) for body in bodies) + b":5\r\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run)
        reply = wire.request(b"GET", 1)
        while data:
            size = random_.choice((1, 10, 40_000, 100_000))
            await far.send_all(data[:size])
            data = data[size:]
        assert await reply.wait() == 5
        assert pushes == [[b"x", body] for body in bodies]
        assert wire._parser.bytes_written < 3_000_000
        nursery.cancel_scope.cancel()


async def test_a_barrier_is_passed_after_all_of_it_and_tells_of_what_was_refused() -> None:
    near, far = memory_stream_pair()
    wire = Wire(near, lambda _: None, trio.Event())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run)
        refused, fine = wire.barrier([(b"SSUBSCRIBE", "a"), (b"SSUBSCRIBE", "b")]), wire.barrier()
        await far.send_all(b"-MOVED 1 a:1\r\n>3\r\n+ssubscribe\r\n+b\r\n:1\r\n+PONG\r\n+PONG\r\n")
        with pytest.raises(Exception, match="1 a:1"):
            await refused.wait()
        assert await fine.wait() == b"PONG"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rubbish", [b"", b"HTTP/1.1 400 Bad\r\n", b"$x\r\n", b":1\r\n:2\r\n"])
async def test_a_connection_that_ends_or_speaks_something_else_loses_what_waits(rubbish: bytes) -> None:
    near, far = memory_stream_pair()
    ended = trio.Event()
    wire = Wire(near, lambda _: None, ended)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run)
        first, second, third = wire.request(b"A"), wire.request(b"B"), None
        await far.send_all(rubbish)
        await far.send_eof()
        if rubbish.startswith(b":"):
            assert (await first.wait(), await second.wait()) == (1, 2)
        else:
            with pytest.raises(Lost):
                await first.wait()
            with pytest.raises(Lost):
                await second.wait()
        await ended.wait()
        with pytest.raises(Lost):
            third = wire.request(b"C")
        assert third is None
