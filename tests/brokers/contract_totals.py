"""The contract's part about what is counted: totals, and the budget that withholds.

Owns these promises, not the broker.
"""

from __future__ import annotations

import trio

from engine.brokers.base import Broker, Totals
from engine.settings import BrokerSettings

from .opening import Clock, Deliveries, Opening, comments

__all__ = ["TotalsContract"]


class TotalsContract(Opening):
    """See `brokers.contract`."""

    # -- totals -------------------------------------------------------------------------------------------------------

    async def test_totals_follow_a_subscription_and_every_change_of_a_report(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await deliveries.until(lambda: deliveries.totals("room") == [Totals("room", 0, 0)])
            await broker.report("room", {"s": 5}, 2)
            await broker.report("room", {"s": 5}, 2)
            await broker.report("room", {"s": 9}, 1)
            await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 9, 1))
            assert deliveries.totals("room")[0] == Totals("room", 0, 0)
            assert set(deliveries.totals("room")) == {Totals("room", 0, 0), Totals("room", 5, 2), Totals("room", 9, 1)}

    async def test_likes_are_the_sum_of_the_most_that_each_source_has_told(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            for likes, total in (
                ({"one": 3, "二": 4}, 7),
                ({"one": 3, "二": 4}, 7),
                ({"one": 2, "二": 5}, 8),
                ({"two words": 1, "二": 5}, 9),
                ({"one": 4}, 10),
                ({}, 10),
                ({"one": 1, "two words": 0, "二": 6}, 11),
                ({"one": 4, "二": 6, "zero": 0}, 11),
            ):
                await broker.report("room", likes, 1)
                await deliveries.until(lambda total=total: deliveries.totals("room")[-1] == Totals("room", total, 1))  # type: ignore[misc]  # a bound default

    async def test_rooms_do_not_share_sources(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            for room in ("room", "other"):
                await broker.subscribe(room)
            await broker.report_all({"room": ({"s": 5}, 1), "other": ({"s": 3, "t": 1}, 2)})
            await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 5, 1))
            await deliveries.until(lambda: deliveries.totals("other")[-1] == Totals("other", 4, 2))

    async def test_who_leaves_keeps_its_likes_and_loses_its_viewers(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.report("room", {"s": 5}, 2)
            await broker.unsubscribe("room")
            count = len(deliveries.totals("room"))
            await broker.subscribe("room")
            await deliveries.until(lambda: len(deliveries.totals("room")) > count)
            assert deliveries.totals("room")[-1] == Totals("room", 5, 0)
            await broker.report("room", {"s": 6, "new": 3}, 1)
            await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 9, 1))

    async def test_a_source_told_through_another_node_is_counted_once(self) -> None:
        deliveries, others, clock = Deliveries(), Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            await broker.report("room", {"s": 5, "t": 2}, 0)
            async with self.another(broker, BrokerSettings(), others, clock) as other:
                await other.subscribe("room")
                await other.report("room", {"s": 5}, 0)
                await other.report("room", {"s": 7}, 0)
                # The first one does not know yet that the source has moved.
                await broker.report("room", {"s": 6, "t": 3}, 0)
                await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 10, 0))
                await broker.report("room", {"t": 3}, 0)
                await other.report("room", {"s": 7, "t": 3}, 0)
                await other.report("room", {"s": 8, "t": 3}, 0)
                await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 11, 0))

    async def test_sources_that_count_are_remembered_however_many_have_ended(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.report("room", {"first": 1}, 0)
            for turn in range(15):
                await broker.report("room", {"first": 1} | {f"{turn}.{number}": 1 for number in range(100)}, 0)
            await broker.report("room", {"first": 1}, 0)
            await broker.report("room", {"first": 2}, 0)
            await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 1502, 0))
            await broker.report("room", {"first": 2} | {f"14.{number}": 1 for number in range(100)}, 0)
            await broker.report("room", {"first": 3}, 0)
            await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 1503, 0))
            assert max(totals.likes for totals in deliveries.totals("room")) == 1503

    # -- budget -------------------------------------------------------------------------------------------------------

    async def test_what_does_not_fit_the_budget_gets_no_offset_and_no_place(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock, 3.0) as broker:
            await broker.subscribe("room")
            assert (await broker.publish("room", comments(*"abcde", lane=1))).offsets == [1, 2, 3, 0, 0]
            assert (await broker.publish("room", comments("f", lane=1))).offsets == [0]
            assert (await broker.publish("room", comments("g"))).offsets == [4]
            mixed = [*comments("h", lane=1), *comments("i"), *comments("j", lane=1), *comments("k")]
            assert (await broker.publish("room", mixed)).offsets == [0, 5, 0, 6]
            clock.ms += 334
            assert (await broker.publish("room", comments("l", "m", lane=1))).offsets == [7, 0]
            clock.ms += 60_000
            assert (await broker.publish("room", comments(*"nopq", lane=1))).offsets == [8, 9, 10, 0]
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 10)
            assert b"".join(deliveries.bodies("room")) == b"abcgiklnop"
            assert (await broker.history("room", 0, 100)).events.events == deliveries.bodies("room")
            await deliveries.until(lambda: deliveries.totals("room")[-1] == Totals("room", 0, 0, 7))
            # Other rooms have one of their own.
            assert (await broker.publish("other", comments("a", "b", lane=1))).offsets == [1, 2]

    async def test_a_retry_of_what_was_withheld_is_a_new_attempt_and_other_retries_cost_nothing(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(), Deliveries(), clock, 2.0) as broker:
            events = comments("a", "b", "c", session="s", ref=1, lane=1)
            assert (await broker.publish("room", events)).offsets == [1, 2, 0]
            assert (await broker.publish("room", [events[1], events[0], events[2], events[1]])).offsets == [2, 1, 0, 2]
            clock.ms += 500
            assert (await broker.publish("room", events)).offsets == [1, 2, 3]
            assert (await broker.publish("room", events)).offsets == [1, 2, 3]
            assert (await broker.history("room", 0, 10)).events.events == [b"a", b"b", b"c"]

    async def test_two_nodes_share_one_budget_and_both_learn_what_was_withheld(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with (
            self.open(BrokerSettings(), here, clock, 5.0) as one,
            self.another(one, BrokerSettings(), there, clock, 5.0) as two,
        ):
            await one.subscribe("room")
            await two.subscribe("room")
            offsets: list[int] = []

            async def speak(broker: Broker) -> None:
                for number in range(6):
                    offsets.extend((await broker.publish("room", comments(str(number), lane=1))).offsets)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(speak, one)
                nursery.start_soon(speak, two)
            assert sorted(offsets) == [0] * 7 + [1, 2, 3, 4, 5]
            clock.ms += 1_000
            watching = [here] if one is two else [here, there]
            for deliveries in watching:
                await deliveries.until(lambda deliveries=deliveries: deliveries.totals("room")[-1].withheld == 7)  # type: ignore[misc]  # a bound default

    async def test_a_clock_that_jumps_neither_stops_the_budget_nor_lifts_it(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(), Deliveries(), clock, 2.0) as broker:
            for jump in (0, -3_600_000, 7_200_000):
                clock.ms += jump
                offsets = (await broker.publish("room", comments(*"abc", lane=1))).offsets
                assert [bool(offset) for offset in offsets] == ([True, True, False] if jump >= 0 else [False, False, False])
            clock.ms -= 3_600_000
            for _ in range(4):
                assert (await broker.publish("room", comments("x", lane=1))).offsets == [0]
                clock.ms += 500
                assert (await broker.publish("room", comments("y", lane=1))).offsets != [0]

    async def test_without_a_budget_nothing_is_withheld(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock()) as broker:
            assert (await broker.publish("room", comments(*map(str, range(300)), lane=1))).offsets == list(range(1, 301))
