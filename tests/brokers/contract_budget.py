"""The contract's part about a room's budget: what it withholds, and whom it spares.

Owns these promises, not the broker.
"""

from __future__ import annotations

import trio

from engine.brokers.base import FREE, LIMITED, NO_BYTES, NO_EVENTS, Broker, Pending
from engine.brokers.budget import Budget
from engine.settings import BrokerSettings

from .opening import Clock, Deliveries, Opening, comments

__all__ = ["BudgetContract"]

E, B = NO_EVENTS, NO_BYTES


def sized(*sizes: int, lane: int = LIMITED, reserve: int = 0) -> list[Pending]:
    """Events of so many bytes."""
    return [Pending(bytes(size), lane=lane, reserve=reserve) for size in sizes]


class BudgetContract(Opening):
    """See `brokers.contract`."""

    async def test_what_does_not_fit_the_budget_gets_no_offset_and_no_place(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock, Budget(3.0)) as broker:
            await broker.subscribe("room")
            assert (await broker.publish("room", comments(*"abcde", lane=1))).offsets == [1, 2, 3, E, E]
            assert (await broker.publish("room", comments("f", lane=1))).offsets == [E]
            clock.ms += 334
            assert (await broker.publish("room", comments("l", "m", lane=1))).offsets == [4, E]
            clock.ms += 60_000
            assert (await broker.publish("room", comments(*"nopq", lane=1))).offsets == [5, 6, 7, E]
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 7)
            assert b"".join(deliveries.bodies("room")) == b"abclnop"
            assert (await broker.history("room", 0, 100)).events.events == deliveries.bodies("room")
            await deliveries.until(lambda: deliveries.totals("room")[-1].withheld == (5, 0))
            # Other rooms have one of their own.
            assert (await broker.publish("other", comments("a", "b", lane=1))).offsets == [1, 2]

    async def test_events_of_the_free_lane_always_fit_and_leave_less_down_to_a_seconds_worth_of_debt(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock, Budget(3.0)) as broker:
            await broker.subscribe("room")
            mixed = [*comments("a"), *comments("b", lane=1), *comments("c"), *comments("d", lane=1), *comments("e")]
            assert (await broker.publish("room", mixed)).offsets == [1, 2, 3, E, 4]
            # One of debt is paid back first.
            clock.ms += 334
            assert (await broker.publish("room", comments("f", lane=1))).offsets == [E]
            clock.ms += 333
            assert (await broker.publish("room", comments("g", "h", lane=1))).offsets == [5, E]
            assert (await broker.publish("room", comments(*map(str, range(100))))).offsets == list(range(6, 106))
            clock.ms += 1_333
            assert (await broker.publish("room", comments("i", lane=1))).offsets == [E]
            clock.ms += 1
            assert (await broker.publish("room", comments("j", "k", lane=1))).offsets == [106, E]
            await deliveries.until(lambda: deliveries.totals("room")[-1].withheld == (5, 0))

    async def test_bytes_are_withheld_too_and_the_reason_is_told(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock, Budget(bytes=100.0)) as broker:
            await broker.subscribe("room")
            assert (await broker.publish("room", sized(60, 41, 40, 1, 0))).offsets == [1, B, 2, B, 3]
            clock.ms += 500
            assert (await broker.publish("room", sized(51, 50))).offsets == [B, 4]
            # Those that always fit leave less, and a second's worth of debt is the most.
            assert (await broker.publish("room", sized(1_000, lane=FREE))).offsets == [5]
            clock.ms += 1_000
            assert (await broker.publish("room", sized(1))).offsets == [B]
            clock.ms += 10
            assert (await broker.publish("room", sized(1))).offsets == [6]
            await deliveries.until(lambda: deliveries.totals("room")[-1].withheld == (0, 4))

    async def test_both_budgets_must_have_what_an_event_takes_and_neither_pays_for_what_is_withheld(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock, Budget(3.0, 100.0)) as broker:
            await broker.subscribe("room")
            assert (await broker.publish("room", sized(90, 20, 20, 10, 0, 20))).offsets == [1, B, B, 2, 3, E]
            await deliveries.until(lambda: deliveries.totals("room")[-1].withheld == (1, 2))
            clock.ms += 1_000
            assert (await broker.publish("room", sized(100, 0, 0, 0))).offsets == [4, 5, 6, E]
            await deliveries.until(lambda: deliveries.totals("room")[-1].withheld == (2, 2))

    async def test_an_event_fits_only_if_its_reserve_is_left_in_each_budget(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(), Deliveries(), clock, Budget(8.0, 800.0)) as broker:
            assert (await broker.publish("room", sized(*[1] * 7, reserve=32))).offsets == [1, 2, 3, 4, E, E, E]
            assert (await broker.publish("room", sized(1, reserve=24))).offsets == [5]
            assert (await broker.publish("room", sized(1, 1, reserve=16))).offsets == [6, E]
            assert (await broker.publish("room", sized(1, 1, 1))).offsets == [7, 8, E]
            clock.ms += 1_000
            assert (await broker.publish("room", sized(400, 1, reserve=32))).offsets == [9, B]
            assert (await broker.publish("room", sized(300, 50, reserve=8))).offsets == [10, B]
            assert (await broker.publish("room", sized(100, 1))).offsets == [11, B]

    async def test_what_needs_more_than_there_ever_is_fits_when_the_budget_is_untouched(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(), Deliveries(), clock, Budget(bytes=100.0)) as broker:
            assert (await broker.publish("room", sized(250))).offsets == [1]
            for ms, offset in ((1_990, B), (10, 2)):
                clock.ms += ms
                assert (await broker.publish("room", sized(101))).offsets == [offset]
        async with self.open(BrokerSettings(), Deliveries(), clock, Budget(0.5)) as broker:
            assert (await broker.publish("other", sized(1, 1, reserve=63))).offsets == [1, E]
            clock.ms += 2_000
            assert (await broker.publish("other", sized(1, 1, reserve=63))).offsets == [2, E]

    async def test_a_retry_of_what_was_withheld_is_a_new_attempt_and_other_retries_cost_nothing(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(), Deliveries(), clock, Budget(2.0)) as broker:
            events = comments("a", "b", "c", session="s", ref=1, lane=1)
            assert (await broker.publish("room", events)).offsets == [1, 2, E]
            assert (await broker.publish("room", [events[1], events[0], events[2], events[1]])).offsets == [2, 1, E, 2]
            clock.ms += 500
            assert (await broker.publish("room", events)).offsets == [1, 2, 3]
            assert (await broker.publish("room", events)).offsets == [1, 2, 3]
            assert (await broker.history("room", 0, 10)).events.events == [b"a", b"b", b"c"]

    async def test_two_nodes_share_one_budget_and_both_learn_what_was_withheld(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with (
            self.open(BrokerSettings(), here, clock, Budget(5.0, 1_000.0)) as one,
            self.another(one, BrokerSettings(), there, clock, Budget(5.0, 1_000.0)) as two,
        ):
            await one.subscribe("room")
            await two.subscribe("room")
            offsets: list[int] = []

            async def speak(broker: Broker) -> None:
                for _ in range(6):
                    offsets.extend((await broker.publish("room", sized(1))).offsets)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(speak, one)
                nursery.start_soon(speak, two)
            assert sorted(offsets) == [E] * 7 + [1, 2, 3, 4, 5]
            clock.ms += 1_000
            assert (await two.publish("room", sized(900, 900))).offsets == [6, B]
            clock.ms += 1_000
            watching = [here] if one is two else [here, there]
            for deliveries in watching:
                await deliveries.until(lambda deliveries=deliveries: deliveries.totals("room")[-1].withheld == (7, 1))  # type: ignore[misc]  # a bound default

    async def test_a_clock_that_jumps_neither_stops_the_budget_nor_lifts_it(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(), Deliveries(), clock, Budget(2.0)) as broker:
            for jump in (0, -3_600_000, 7_200_000):
                clock.ms += jump
                offsets = (await broker.publish("room", comments(*"abc", lane=1))).offsets
                assert [offset > 0 for offset in offsets] == ([True, True, False] if jump >= 0 else [False, False, False])
            clock.ms -= 3_600_000
            for _ in range(4):
                assert (await broker.publish("room", comments("x", lane=1))).offsets == [E]
                clock.ms += 500
                assert (await broker.publish("room", comments("y", lane=1))).offsets != [E]

    async def test_without_a_budget_nothing_is_withheld(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock()) as broker:
            assert (await broker.publish("room", sized(*range(300), reserve=63))).offsets == list(range(1, 301))
