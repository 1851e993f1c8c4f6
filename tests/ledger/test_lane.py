"""The lane: what waits is booked together, published in order and answered once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from engine.errors import Code, Refused
from engine.ledger.lane import Lane
from engine.ledger.values import Booked, Correct, Mark
from engine.schema import Author, EventKind
from engine.settings import LedgerSettings

from .fake_store import FakeStore, inline
from .lanes import UNKNOWN, Gate, Stream, Told, claim, gift, kinds, now_ms, open_lane, packet, settle

# -- groups -----------------------------------------------------------------------------------------------------------


async def test_what_waits_is_one_transaction_and_no_more_than_a_group(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    async with open_lane(store, stream, group=10) as lane:
        for each in range(25):
            lane.accept(gift(f"k{each}"), told(f"k{each}"))
        await settle()
        assert store.groups == [10, 10, 5]
        assert stream.rooms == {"room": list(range(1, 26))}
        numbers = [outcome.entry.number for outcome in told.outcomes.values() if isinstance(outcome, Booked)]
        assert numbers == list(range(1, 26))
        statistics = lane.statistics()
        assert (statistics.booked, statistics.rejected, statistics.waiting, statistics.published) == (25, 0, 0, 25)
        assert (statistics.groups, statistics.group_max, statistics.ledger) == (3, 10, "open")
        assert statistics.group_mean == pytest.approx(25 / 3)


async def test_what_came_before_the_lane_runs_is_its_first_group(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    settings = LedgerSettings(url="sqlite:///x")
    lane = Lane(settings, stream.publish, now_ms, lambda: None, store=lambda: store, run_sync=inline)
    for key in "abc":
        lane.accept(gift(key), told(key))
    async with trio.open_nursery() as nursery:
        await nursery.start(lane.run)
        await settle()
        assert store.groups == [3]
        assert len(told.outcomes) == 3
        nursery.cancel_scope.cancel()


async def test_an_answer_tells_where_the_entry_is(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        booked = await lane.book(gift("a"))
        assert (booked.entry.number, booked.entry.epoch, booked.entry.offset, booked.amount) == (1, stream.epoch, 1, 10)
        with pytest.raises(Refused) as refused:
            await lane.book(gift("a", user="another"))
        assert refused.value.code is Code.CONFLICT


async def test_the_next_group_is_committed_while_one_is_published(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    gate = Gate(stream)
    async with open_lane(store, stream, group=2) as lane:
        for key in "ab":
            lane.accept(gift(key), told(key))
        await settle()
        assert stream.batches == [[("room", 1), ("room", 2)]]
        lane.accept(gift("c"), told("c"))
        lane.accept(gift("a", user="another"), told("conflict"))
        await settle()
        # Committed; and who was rejected needs not wait.
        assert store.groups == [2, 2]
        assert list(told.outcomes) == ["conflict"]
        for key in "defgh":
            lane.accept(gift(key), told(key))
        await settle()
        # One group's worth may be ahead; then publishing has to follow.
        assert store.groups == [2, 2, 2]
        assert len(stream.batches) == 1
        gate.open()
        await settle()
        assert stream.rooms == {"room": list(range(1, 9))}
        assert sorted(told.outcomes) == [*"abc", "conflict", *"defgh"]


async def test_a_request_that_asks_for_both_entries_gets_its_own(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        made = await lane.book(packet("p", shares=2))
        first = await lane.book(claim(made.entry.number, "a"))
        last = await lane.book(claim(made.entry.number, "b"))
        assert [first.entry.number, last.entry.number] == [2, 3]
        assert first.amount + last.amount == 100
        assert kinds(store) == [EventKind.PACKET, EventKind.SHARE, EventKind.SHARE, EventKind.PACKET_END]
        assert stream.rooms == {"room": [1, 2, 3, 4]}


async def test_no_more_wait_than_may(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    gate = Gate(stream)
    async with open_lane(store, stream, pending=3) as lane:
        for key in "abc":
            lane.accept(gift(key), told(key))
        await settle()
        with pytest.raises(Refused) as refused:
            lane.accept(gift("d"), told("d"))
        assert refused.value.code is Code.OVERLOADED
        assert refused.value.retry_after_ms
        gate.open()
        await settle()
        lane.accept(gift("d"), told("d"))
        await settle()
        assert sorted(told.outcomes) == list("abcd")


# -- positions --------------------------------------------------------------------------------------------------------


async def test_a_lone_gift_is_one_transaction_and_its_position_another_one_later(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        await lane.book(gift("a"))
        await settle()
        assert store.groups == [1]
        assert lane.statistics().marks_waiting == 1
        await trio.sleep(1)
        assert store.groups == [1, 0]
        assert lane.statistics().marks_waiting == 0
        assert not store.outbox(10)


async def test_positions_are_recorded_with_the_next_group(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        await lane.book(gift("a"))
        await lane.book(gift("b"))
        assert store.groups == [1, 1]
        assert [entry.number for entry in store.outbox(10)] == [2]


async def test_what_others_found_in_the_stream_is_recorded(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        await lane.book(gift("a"))
        await trio.sleep(1)
        lane.mark([Mark("room", 1, 8, 5)])
        await trio.sleep(1)
        (entry,) = store.recent("room", 10**9, 0, 10)
        assert (entry.epoch, entry.offset) == (8, 5)


async def test_a_retry_gets_the_first_answer_whenever_it_comes(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    gate = Gate(stream)
    async with open_lane(store, stream) as lane:
        lane.accept(gift("a"), told("first"))
        lane.accept(gift("a"), told("with it"))
        await settle()
        lane.accept(gift("a"), told("under way"))
        await settle()
        assert not told.outcomes
        gate.open()
        await settle()
        lane.accept(gift("a"), told("not recorded"))
        await trio.sleep(1)
        lane.accept(gift("a"), told("recorded"))
        await settle()
        places = {
            (outcome.entry.number, outcome.entry.epoch, outcome.entry.offset)
            for outcome in told.outcomes.values()
            if isinstance(outcome, Booked)
        }
        assert places == {(1, stream.epoch, 1)}
        assert len(told.outcomes) == 5
        assert [name for name, outcome in told.outcomes.items() if isinstance(outcome, Booked) and not outcome.repeated] == [
            "first"
        ]
        assert sum(map(len, stream.batches)) == 1


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_draining_waits_for_answers_and_positions(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    gate = Gate(stream)
    async with open_lane(store, stream, group=2) as lane:
        for key in "abcdefg":
            lane.accept(gift(key), told(key))
        await settle()
        with trio.move_on_after(5) as impatient:
            await lane.drain()
        assert impatient.cancelled_caught
        with pytest.raises(Refused) as refused:
            lane.accept(gift("h"), told("h"))
        assert refused.value.code is Code.UNAVAILABLE
        gate.open()
        await lane.drain()
        assert sorted(told.outcomes) == list("abcdefg")
        assert not store.outbox(10)
        statistics = lane.statistics()
        assert (statistics.waiting, statistics.outbox, statistics.marks_waiting) == (0, 0, 0)
    assert not store.is_open


async def test_a_drain_after_a_quiet_time_waits_too(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        await lane.book(gift("a"))
        await trio.sleep(5)
        with trio.fail_after(0.1):
            await lane.book(gift("b"))
            await lane.drain()
        assert not store.outbox(10)


async def test_a_transaction_that_has_begun_is_waited_for() -> None:
    """With real threads: no thread stays behind, and the store is closed after it."""
    store, stream, told = FakeStore(), Stream(), Told()
    store.made = True
    began, go = threading.Event(), threading.Event()

    def slow(method: str, after: bool) -> None:
        if method == "commit" and not after:
            began.set()
            assert go.wait(60)

    store.trouble = slow
    lane = Lane(LedgerSettings(url="sqlite:///x"), stream.publish, now_ms, lambda: None, store=lambda: store)
    async with trio.open_nursery() as nursery:
        await nursery.start(lane.run)
        lane.accept(gift("a"), told("a"))
        await trio.to_thread.run_sync(began.wait)
        nursery.cancel_scope.cancel()
        go.set()
    assert store.groups == [1]
    assert store.calls[-1] == "close"
    assert told.outcomes["a"] == UNKNOWN
    with pytest.raises(Refused):
        lane.accept(gift("b"), told("b"))


async def test_threads_do_the_same() -> None:
    store, stream = FakeStore(), Stream()
    lane = Lane(LedgerSettings(url="sqlite:///x"), stream.publish, now_ms, lambda: None, store=lambda: store)
    async with trio.open_nursery() as nursery:
        await nursery.start(lane.run)
        async with trio.open_nursery() as givers:
            for each in range(200):
                givers.start_soon(lane.book, gift(f"k{each}"))
        fixed = await lane.book(Correct(room="room", key="c", author=Author("host"), entry=1))
        assert fixed.amount == -10
        await lane.drain()
        nursery.cancel_scope.cancel()
    assert stream.rooms == {"room": list(range(1, 202))}
    assert not store.is_open


# -- the real store ---------------------------------------------------------------------------------------------------


def test_a_node_without_money_loads_no_database(tmp_path: Path) -> None:
    program = f"""
import sys, trio
from engine.ledger.lane import Lane
from engine.settings import LedgerSettings

async def publish(entries): ...

async def main():
    lane = Lane(LedgerSettings(url="sqlite:///{tmp_path}/ledger.db"), publish, lambda: 0, lambda: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(lane.run)
        await lane.drain()
        nursery.cancel_scope.cancel()

trio.run(main)
print("sqlalchemy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
    assert not list(tmp_path.iterdir())


async def test_the_real_store_is_opened_when_it_is_there(tmp_path: Path) -> None:
    stream, settings = Stream(), LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.db")
    for key in "ab":
        lane = Lane(settings, stream.publish, now_ms, lambda: None)
        async with trio.open_nursery() as nursery:
            await nursery.start(lane.run)
            assert lane.opened is (key == "b")
            booked = await lane.book(gift(key))
            assert booked.entry.offset == booked.entry.number
            await lane.drain()
            nursery.cancel_scope.cancel()
    assert stream.rooms == {"room": [1, 2]}
    assert (tmp_path / "ledger.db").is_file()
