"""The lane when the database fails, others book beside it, and time passes: nothing stays behind."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from engine.errors import Code, Refused
from engine.ledger.values import Booked, Gift, Rejected
from engine.schema import EventKind

from .fake_store import FakeStore
from .lanes import UNKNOWN, Gate, Stream, Told, failing, gift, kinds, now_ms, open_lane, packet, settle

# -- failures ---------------------------------------------------------------------------------------------------------


async def test_a_call_that_fails_at_once_is_repeated_once(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        store.trouble = failing("commit", after=False)
        assert (await lane.book(gift("a"))).entry.number == 1
        # It was committed, and that was not known.
        store.trouble = failing("commit", after=True)
        booked = await lane.book(gift("b"))
        assert (booked.entry.number, booked.repeated) == (2, True)
        assert lane.statistics().failures == 2
        assert stream.rooms == {"room": [1, 2]}


async def test_who_waited_as_long_as_the_failed_call_is_told_and_the_lane_goes_on(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    async with open_lane(store, stream, group=2) as lane:
        await lane.book(gift("before"))
        store.trouble = failing("commit", after=False, times=2)
        for key in "abcde":
            lane.accept(gift(key), told(key))
        await settle()
        assert [told.outcomes[key] for key in "abcde"] == [UNKNOWN] * 5
        lane.accept(gift("f"), told("f"))
        await settle()
        assert lane.statistics().ledger == "disk full"
        await trio.sleep(2)
        assert isinstance(told.outcomes["f"], Booked)
        assert lane.statistics().ledger == "open"
        assert (lane.statistics().rejected, lane.statistics().waiting) == (5, 0)


async def test_what_was_booked_without_anybody_knowing_is_published_before_what_comes_later(
    autojump_clock: MockClock,
) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    async with open_lane(store, stream, group=2) as lane:
        await lane.book(gift("before"))
        store.trouble = failing("commit", after=True, times=2)
        lane.accept(gift("a"), told("a"))
        lane.accept(gift("b"), told("b"))
        await settle()
        assert told.outcomes == dict.fromkeys("ab", UNKNOWN)
        lane.accept(gift("c"), told("c"))
        await trio.sleep(2)
        assert stream.rooms == {"room": [1, 2, 3, 4]}
        # Who asks again learns that it was booked.
        again = await lane.book(gift("a"))
        assert (again.repeated, again.entry.number, again.entry.offset) == (True, 2, 2)


async def test_what_was_booked_is_published_though_nothing_follows(autojump_clock: MockClock) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    async with open_lane(store, stream) as lane:
        store.trouble = failing("commit", after=True, times=2)
        lane.accept(gift("a"), told("a"))
        await trio.sleep(3)
        assert isinstance(told.outcomes["a"], Rejected)
        assert stream.rooms == {"room": [1]}
        assert not store.outbox(10)


@pytest.mark.parametrize("group", [1, 2, 3, 100])
async def test_a_new_lane_publishes_what_the_old_one_left_behind(autojump_clock: MockClock, group: int) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    Gate(stream)
    async with open_lane(store, stream, group=50) as lane:
        for each in range(7):
            lane.accept(gift(f"k{each}", f"room-{each % 2}"), told(f"{each}"))
        await settle()
    # Whoever is not answered by then is told that it is not known.
    assert [outcome.code for outcome in told.outcomes.values() if isinstance(outcome, Rejected)] == [Code.LEDGER] * 7
    stream = Stream()
    async with open_lane(store, stream, group=group) as lane:
        again = await lane.book(gift("k6", "room-0"))
        assert (again.entry.number, again.repeated) == (4, True)
        await trio.sleep(2)
        assert stream.rooms == {"room-0": [1, 2, 3, 4], "room-1": [1, 2, 3]}
        assert not store.outbox(10)
        assert max(store.groups[1:]) <= group


# -- opening ----------------------------------------------------------------------------------------------------------


async def test_the_ledger_is_made_when_money_is_first_used(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        await trio.sleep(100)
        assert not store.calls
        made = lane.opened
        assert lane.statistics().ledger == "closed"
        with pytest.raises(Refused) as refused:
            await lane.read(lambda store: store.gifts())
        assert refused.value.code is Code.NOT_FOUND
        await lane.book(gift("a"))
        assert (made, lane.opened) == (False, True)
        assert [giver.given for giver in await lane.read(lambda store: store.givers("room", "", 0, 10))] == [10]
    assert store.calls[-1] == "close"


async def test_a_write_makes_the_ledger_too(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    rose = Gift("rose", "Rose", 10)
    async with open_lane(store, stream) as lane:
        await lane.write(lambda store: store.offer(rose))
        assert await lane.read(lambda store: store.gifts()) == [rose]
        store.down = True
        with pytest.raises(Refused) as refused:
            await lane.write(lambda store: store.withdraw("rose"))
        assert refused.value.code is Code.LEDGER


async def test_a_node_starts_though_its_ledger_cannot_be_opened(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store, stream, told = FakeStore(), Stream(), Told()
    store.made = store.down = True
    async with open_lane(store, stream) as lane:
        assert lane.opened
        await trio.sleep(5)
        # Once for all attempts.
        assert [record.message for record in caplog.records] == ["ledger_unavailable"]
        assert "ledger.url" in vars(caplog.records[0])["hint"]
        lane.accept(gift("a"), told("a"))
        await trio.sleep(2)
        assert told.outcomes["a"] == UNKNOWN
        with pytest.raises(Refused) as refused:
            await lane.read(lambda store: store.gifts())
        assert refused.value.code is Code.LEDGER
        attempts = store.calls.count("open")
        assert attempts <= 10
        store.down = False
        await trio.sleep(2)
        assert (await lane.book(gift("a"))).entry.number == 1


async def test_without_a_ledger_nothing_is_accepted(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream, url="") as lane:
        with pytest.raises(Refused, match=r"ledger\.url") as refused:
            await lane.book(gift("a"))
        assert refused.value.code is Code.FORBIDDEN
        await lane.drain()
    assert store.calls == ["close"] or not store.calls


# -- several nodes ----------------------------------------------------------------------------------------------------

SHARED = "postgresql://database"


async def test_what_another_node_left_behind_is_published_after_a_while(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    store.made = True
    async with open_lane(store, stream, url=SHARED):
        await trio.sleep(10)
        store.commit([gift("a"), gift("b")], [], now_ms())
        await trio.sleep(4)
        assert not stream.rooms
        await trio.sleep(4)
        assert stream.rooms == {"room": [1, 2]}
        assert not store.outbox(10)


async def test_what_others_booked_ends_in_time(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    store.made = True
    async with open_lane(store, stream, url=SHARED):
        await trio.sleep(10)
        store.commit([gift("a", combo_ms=500), gift("b", combo_ms=500)], [], now_ms())
        await trio.sleep(3)
        assert kinds(store) == [EventKind.GIFT, EventKind.GIFT, EventKind.COMBO]


# -- what is over -----------------------------------------------------------------------------------------------------


async def test_combos_and_packets_end_in_time(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        made = await lane.book(packet("p", lasts_ms=100_000))
        await lane.book(gift("a", combo_ms=3000))
        await trio.sleep(2)
        await lane.book(gift("b", combo_ms=3000))
        await trio.sleep(2.95)
        assert kinds(store) == [EventKind.PACKET, EventKind.GIFT, EventKind.GIFT]
        await trio.sleep(0.15)
        assert kinds(store)[3:] == [EventKind.COMBO]
        await trio.sleep(made.entry.booked_ms / 1000 + 99.9 - now_ms() / 1000)
        assert len(kinds(store)) == 4
        await trio.sleep(0.2)
        assert kinds(store)[4:] == [EventKind.PACKET_END]
        assert stream.rooms == {"room": [1, 2, 3, 4, 5]}


async def test_while_nothing_is_open_nothing_is_looked_at(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        await lane.book(gift("a"))
        await lane.book(packet("p", lasts_ms=10**6))
        await trio.sleep(5)
        calls = len(store.calls)
        await trio.sleep(900)
        assert len(store.calls) == calls
        await trio.sleep(200)
        assert kinds(store)[-1] == EventKind.PACKET_END


async def test_more_is_over_than_fits_a_group(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream, group=4) as lane:
        for user in range(20):
            for each in range(2):
                await lane.book(gift(f"{user}-{each}", user=f"u{user}", combo_ms=1000))
        await trio.sleep(2)
        assert kinds(store)[40:] == [EventKind.COMBO] * 20
        assert max(store.groups) <= 4


async def test_what_is_over_ends_when_the_database_is_back(autojump_clock: MockClock) -> None:
    store, stream = FakeStore(), Stream()
    async with open_lane(store, stream) as lane:
        await lane.book(packet("p", lasts_ms=5_000))
        await trio.sleep(4)
        store.down = True
        await trio.sleep(10)
        assert lane.statistics().ledger == "the database is down"
        store.down = False
        await trio.sleep(2)
        assert kinds(store) == [EventKind.PACKET, EventKind.PACKET_END]
