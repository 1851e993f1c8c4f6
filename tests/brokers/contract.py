"""The broker contract as a suite: whatever implements `engine.brokers.base` runs the same tests.

Owns the promises, not the broker: an implementation's test module derives from `BrokerContract` and says how a broker is
opened, how its clock is set and how a room's history gets lost. What is counted, tallies, a room's budget and record, and
redaction are in files beside this.
"""

from __future__ import annotations

import trio

from engine.brokers.base import Pending, Position, Report
from engine.settings import BrokerSettings

from .contract_budget import BudgetContract
from .contract_record import RecordContract
from .contract_redact import RedactContract
from .contract_tallies import TalliesContract
from .contract_totals import TotalsContract
from .opening import PATIENCE, Clock, Deliveries, comments

__all__ = ["PATIENCE", "BrokerContract", "Clock", "Deliveries", "comments"]


class BrokerContract(TotalsContract, TalliesContract, BudgetContract, RecordContract, RedactContract):
    """Derive, say how, and pytest runs what every broker promises."""

    # -- order --------------------------------------------------------------------------------------------------------

    async def test_offsets_count_from_one_and_deliveries_join(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            position = await broker.subscribe("room")
            assert position.offset == 0
            offsets = []
            for size in (1, 3, 1, 7):
                receipt = await broker.publish("room", comments(*(f"{size}.{number}" for number in range(size))))
                assert receipt.epoch == position.epoch
                offsets += receipt.offsets
            assert offsets == list(range(1, 13))
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 12)
            following = 1
            for events in deliveries.events("room"):
                assert (events.epoch, events.first) == (position.epoch, following)
                assert len(events.events) == len(events.times)
                following = events.last + 1
            assert deliveries.bodies("room") == [b"%d.%d" % (size, n) for size in (1, 3, 1, 7) for n in range(size)]

    async def test_rooms_do_not_share_offsets_or_deliveries(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("观众")
            await broker.subscribe("other")
            assert (await broker.publish("观众", comments("a"))).offsets == [1]
            assert (await broker.publish("other", comments("b"))).offsets == [1]
            assert (await broker.publish("观众", comments("c"))).offsets == [2]
            await deliveries.until(lambda: len(deliveries.bodies("观众")) == 2 and deliveries.bodies("other") == [b"b"])
            assert deliveries.bodies("观众") == [b"a", b"c"]

    async def test_publishers_at_the_same_time_get_consecutive_offsets_each(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        receipts: list[list[int]] = []
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")

            async def publish(name: int) -> None:
                receipts.append((await broker.publish("room", comments(*(f"{name}.{n}" for n in range(5))))).offsets)

            async with trio.open_nursery() as nursery:
                for name in range(8):
                    nursery.start_soon(publish, name)
            assert all(offsets == list(range(offsets[0], offsets[0] + 5)) for offsets in receipts)
            assert sorted(offset for offsets in receipts for offset in offsets) == list(range(1, 41))
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 40)
            bodies = deliveries.bodies("room")
            for start in range(0, 40, 5):
                source = bodies[start].split(b".")[0]
                assert bodies[start : start + 5] == [b"%b.%d" % (source, number) for number in range(5)]

    async def test_a_subscription_begins_after_its_position(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            before = await broker.publish("room", comments("a", "b"))
            position = await broker.subscribe("room")
            assert position == Position(before.epoch, 2)
            await broker.publish("room", comments("c"))
            await deliveries.until(lambda: deliveries.bodies("room") == [b"c"])
            assert deliveries.events("room")[0].first == 3

    async def test_nothing_comes_after_unsubscribing_and_a_new_subscription_goes_on(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            first = await broker.subscribe("room")
            await broker.publish("room", comments("a"))
            await deliveries.until(lambda: deliveries.bodies("room") == [b"a"])
            await broker.unsubscribe("room")
            await broker.publish("room", comments("b"))
            second = await broker.subscribe("room")
            assert second == Position(first.epoch, 2)
            await broker.publish("room", comments("c"))
            await deliveries.until(lambda: len(deliveries.bodies("room")) >= 2)
            assert deliveries.bodies("room") == [b"a", b"c"]

    async def test_subscribing_twice_delivers_once(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            first = await broker.subscribe("room")
            assert await broker.subscribe("room") == first
            await broker.publish("room", comments("a"))
            await broker.publish("room", comments("b"))
            await deliveries.until(lambda: len(deliveries.bodies("room")) >= 2)
            assert deliveries.bodies("room") == [b"a", b"b"]

    # -- idempotency --------------------------------------------------------------------------------------------------

    async def test_a_retry_gets_its_first_offset_and_is_not_stored_again(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            assert (await broker.publish("room", comments("a", "b", session="s", ref=1))).offsets == [1, 2]
            retried = [
                *comments("a", session="s", ref=1),
                *comments("c", session="s", ref=3),
                *comments("b", session="s", ref=2),
            ]
            assert (await broker.publish("room", retried)).offsets == [1, 3, 2]
            assert (await broker.publish("room", comments("a", session="s", ref=1))).offsets == [1]
            assert (await broker.publish("room", comments("d"))).offsets == [4]
            await deliveries.until(lambda: len(deliveries.bodies("room")) >= 4)
            assert deliveries.bodies("room") == [b"a", b"b", b"c", b"d"]
            assert [events.first for events in deliveries.events("room")] == [1, 3, 4]

    async def test_a_retry_within_one_publish_is_recognised(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            twice = [*comments("a", session="s", ref=1), *comments("b"), *comments("a", session="s", ref=1), *comments("c")]
            assert (await broker.publish("room", twice)).offsets == [1, 2, 1, 3]
            await deliveries.until(lambda: len(deliveries.bodies("room")) >= 3)
            assert deliveries.bodies("room") == [b"a", b"b", b"c"]

    async def test_keys_are_of_a_session_and_of_a_room(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock()) as broker:
            assert (await broker.publish("room", comments("a", session="s", ref=1))).offsets == [1]
            assert (await broker.publish("room", comments("a", session="t", ref=1))).offsets == [2]
            assert (await broker.publish("room", comments("a", session="s", ref=2))).offsets == [3]
            assert (await broker.publish("other", comments("z"))).offsets == [1]
            assert (await broker.publish("other", comments("a", session="s", ref=1))).offsets == [2]

    async def test_events_without_a_key_are_never_retries(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock()) as broker:
            assert (await broker.publish("room", comments("a", "a"))).offsets == [1, 2]
            assert (await broker.publish("room", comments("a"))).offsets == [3]

    async def test_keys_are_forgotten_by_count_oldest_first(self) -> None:
        async with self.open(BrokerSettings(retry_keys=3), Deliveries(), Clock()) as broker:
            for ref in range(1, 5):
                await broker.publish("room", comments("a", session="s", ref=ref))
            for ref in (2, 3, 4):
                assert (await broker.publish("room", comments("a", session="s", ref=ref))).offsets == [ref]
            assert (await broker.publish("room", comments("a", session="s", ref=1))).offsets == [5]
            assert (await broker.publish("room", comments("a", session="s", ref=2))).offsets == [6]
            assert (await broker.publish("room", comments("a", session="s", ref=4))).offsets == [4]

    async def test_a_publish_larger_than_the_bound_of_keys_keeps_the_newest(self) -> None:
        async with self.open(BrokerSettings(retry_keys=3), Deliveries(), Clock()) as broker:
            assert (await broker.publish("room", comments(*"abcde", session="s", ref=1))).offsets == [1, 2, 3, 4, 5]
            assert (await broker.publish("room", comments("d", "e", session="s", ref=4))).offsets == [4, 5]
            assert (await broker.publish("room", comments("a", session="s", ref=1))).offsets == [6]

    async def test_without_keys_everything_is_new(self) -> None:
        async with self.open(BrokerSettings(retry_keys=0), Deliveries(), Clock()) as broker:
            assert (await broker.publish("room", comments("a", session="s", ref=1))).offsets == [1]
            assert (await broker.publish("room", comments("a", session="s", ref=1))).offsets == [2]

    # -- epochs and time ----------------------------------------------------------------------------------------------

    async def test_a_lost_history_begins_a_new_epoch_from_one(self) -> None:
        settings, clock = BrokerSettings(history_seconds=10), Clock()
        async with self.open(settings, Deliveries(), clock) as broker:
            old = await broker.publish("room", comments("a", "b"))
            await self.lose(broker, "room", settings, clock)
            new = await broker.subscribe("room")
            assert new.epoch != old.epoch
            assert new.offset == 0
            receipt = await broker.publish("room", comments("c"))
            assert (receipt.epoch, receipt.offsets) == (new.epoch, [1])
            history = await broker.history("room", 0, 10)
            assert history.head == Position(new.epoch, 1)
            assert history.events.events == [b"c"]

    async def test_a_room_that_is_watched_keeps_its_epoch_however_old(self) -> None:
        settings, clock = BrokerSettings(history_seconds=10), Clock()
        async with self.open(settings, Deliveries(), clock) as broker:
            position = await broker.subscribe("room")
            await broker.publish("room", comments("a", "b"))
            await self.lose(broker, "room", settings, clock)
            receipt = await broker.publish("room", comments("c"))
            assert (receipt.epoch, receipt.offsets) == (position.epoch, [3])

    async def test_time_is_the_clocks_and_never_decreases_within_a_room(self) -> None:
        deliveries, clock = Deliveries(), Clock(5_000_000)
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            for moment in (5_000_000, 5_000_010, 4_000_000, 5_000_005, 5_000_020):
                clock.ms = moment
                await broker.publish("room", comments("a", "b"))
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 10)
            times = [time for events in deliveries.events("room") for time in events.times]
            assert times == sorted(times)
            assert times[::2] == [5_000_000, 5_000_010, 5_000_010, 5_000_010, 5_000_020]
            history = await broker.history("room", 0, 100)
            assert history.events.times == times

    async def test_the_time_is_told_and_never_goes_back_whatever_the_clock_does(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        hour, before = 3_600_000, clock.ms
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            assert broker.now_ms("room") == 0
            await broker.subscribe("room")
            assert before <= broker.now_ms("room") < before + hour
            for jump in (hour, -2 * hour, 3 * hour):
                clock.ms += jump
                seen = broker.now_ms("room")
                await broker.history("room", 0, 1)
                assert broker.now_ms("room") >= max(seen, clock.ms)
                receipt = await broker.publish("room", comments("a"))
                await broker.report("room", Report({"s": receipt.offsets[0]}, 0))
                assert broker.now_ms("room") >= seen
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 3)
            times = [time for events in deliveries.events("room") for time in events.times]
            assert times == [before + hour, before + hour, before + 2 * hour]

    # -- history ------------------------------------------------------------------------------------------------------

    async def test_history_is_read_in_pages(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(), Deliveries(), clock) as broker:
            receipt = await broker.publish("room", comments(*(str(number) for number in range(1, 24))))
            after, bodies = 0, []
            while True:
                history = await broker.history("room", after, 10)
                assert history.head == Position(receipt.epoch, 23)
                assert history.events.epoch == receipt.epoch
                assert history.events.first == after + 1
                assert len(history.events.events) == len(history.events.times) <= 10
                if not history.events.events:
                    break
                bodies += history.events.events
                after = history.events.last
            assert bodies == [b"%d" % number for number in range(1, 24)]
            assert after == 23

    async def test_history_of_nothing_newer_is_empty_and_one_past_the_head(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock()) as broker:
            await broker.publish("room", comments("a", "b"))
            for after in (2, 3, 100):
                history = await broker.history("room", after, 10)
                assert history.head.offset == 2
                assert (history.events.first, history.events.events) == (3, [])
            history = await broker.history("new", 0, 10)
            assert (history.head.offset, history.events.first, history.events.events) == (0, 1, [])

    async def test_history_is_bounded_by_count(self) -> None:
        async with self.open(BrokerSettings(history_events=4), Deliveries(), Clock()) as broker:
            for number in range(1, 11):
                await broker.publish("room", comments(str(number)))
            history = await broker.history("room", 0, 100)
            assert history.head.offset == 10
            assert (history.events.first, history.events.last) == (7, 10)
            assert history.events.events == [b"7", b"8", b"9", b"10"]
            assert (await broker.history("room", 8, 100)).events.events == [b"9", b"10"]

    async def test_history_is_bounded_by_bytes(self) -> None:
        async with self.open(BrokerSettings(history_bytes=100), Deliveries(), Clock()) as broker:
            for number in range(10):
                await broker.publish("room", [Pending(bytes([number]) * 30)])
            history = await broker.history("room", 0, 100)
            assert history.events.last == 10
            assert 1 <= len(history.events.events) <= 3
            await broker.publish("room", [Pending(bytes(200))])
            history = await broker.history("room", 0, 100)
            assert history.head.offset == 11
            assert len(history.events.events) <= 1

    async def test_history_is_bounded_by_age_without_a_new_event(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(history_seconds=10), Deliveries(), clock) as broker:
            await broker.publish("room", comments("a"))
            clock.ms += 6_000
            await broker.publish("room", comments("b"))
            clock.ms += 6_000
            history = await broker.history("room", 0, 100)
            assert (history.head.offset, history.events.first, history.events.events) == (2, 2, [b"b"])
            clock.ms += 6_000
            history = await broker.history("room", 0, 100)
            assert (history.head.offset, history.events.first, history.events.events) == (2, 3, [])

    async def test_without_history_events_are_still_ordered_and_delivered(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(history_events=0), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            assert (await broker.publish("room", comments("a", "b"))).offsets == [1, 2]
            assert (await broker.publish("room", comments("c"))).offsets == [3]
            await deliveries.until(lambda: deliveries.bodies("room") == [b"a", b"b", b"c"])
            history = await broker.history("room", 0, 10)
            assert (history.head.offset, history.events.first, history.events.events) == (3, 4, [])

    async def test_it_can_be_asked_whether_a_request_was_carried_out(self) -> None:
        async with self.open(BrokerSettings(retry_keys=3), Deliveries(), Clock()) as broker:
            assert await broker.published("room", "s", 1) == 0
            await broker.publish("room", comments("a", "b", "c", session="s", ref=1))
            assert [await broker.published("room", "s", ref) for ref in (1, 2, 3, 4)] == [1, 2, 3, 0]
            assert await broker.published("other", "s", 1) == await broker.published("room", "t", 1) == 0
            await broker.amend("room", "a", b"1", event=Pending(b"x", "s", 9))
            assert [await broker.published("room", "s", ref) for ref in (9, 1)] == [4, 0]
