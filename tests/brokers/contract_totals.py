"""The contract's part about what is counted: totals.

Owns these promises, not the broker.
"""

from __future__ import annotations

from engine.brokers.base import Report, Totals
from engine.settings import BrokerSettings

from .opening import Clock, Deliveries, Opening

__all__ = ["TotalsContract"]


class TotalsContract(Opening):
    """See `brokers.contract`."""

    # -- totals -------------------------------------------------------------------------------------------------------

    async def test_totals_follow_a_subscription_and_every_change_of_a_report(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await deliveries.until(lambda: deliveries.totals("room") == [Totals("room", 0, 0)])
            await broker.report("room", Report({"s": 5}, 2))
            await broker.report("room", Report({"s": 5}, 2))
            await broker.report("room", Report({"s": 9}, 1))
            await deliveries.until(lambda: deliveries.counts("room")[-1] == (9, 1))
            assert set(deliveries.counts("room")) == {(0, 0), (5, 2), (9, 1)}

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
                await broker.report("room", Report(likes, 1))
                await deliveries.until(lambda total=total: deliveries.counts("room")[-1] == (total, 1))  # type: ignore[misc]  # a bound default

    async def test_rooms_do_not_share_sources(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            for room in ("room", "other"):
                await broker.subscribe(room)
            await broker.report_all({"room": Report({"s": 5}, 1), "other": Report({"s": 3, "t": 1}, 2)})
            await deliveries.until(lambda: deliveries.counts("room")[-1] == (5, 1))
            await deliveries.until(lambda: deliveries.counts("other")[-1] == (4, 2))

    async def test_who_leaves_keeps_its_likes_and_loses_its_viewers(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report({"s": 5}, 2))
            await broker.unsubscribe("room")
            count = len(deliveries.totals("room"))
            await broker.subscribe("room")
            await deliveries.until(lambda: len(deliveries.totals("room")) > count)
            assert deliveries.counts("room")[-1] == (5, 0)
            await broker.report("room", Report({"s": 6, "new": 3}, 1))
            await deliveries.until(lambda: deliveries.counts("room")[-1] == (9, 1))

    async def test_a_source_told_through_another_node_is_counted_once(self) -> None:
        deliveries, others, clock = Deliveries(), Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report({"s": 5, "t": 2}, 0))
            async with self.another(broker, BrokerSettings(), others, clock) as other:
                await other.subscribe("room")
                await other.report("room", Report({"s": 5}, 0))
                await other.report("room", Report({"s": 7}, 0))
                # The first one does not know yet that the source has moved.
                await broker.report("room", Report({"s": 6, "t": 3}, 0))
                await deliveries.until(lambda: deliveries.counts("room")[-1] == (10, 0))
                await broker.report("room", Report({"t": 3}, 0))
                await other.report("room", Report({"s": 7, "t": 3}, 0))
                await other.report("room", Report({"s": 8, "t": 3}, 0))
                await deliveries.until(lambda: deliveries.counts("room")[-1] == (11, 0))

    async def test_sources_that_count_are_remembered_however_many_have_ended(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report({"first": 1}, 0))
            for turn in range(15):
                await broker.report("room", Report({"first": 1} | {f"{turn}.{number}": 1 for number in range(100)}, 0))
            await broker.report("room", Report({"first": 1}, 0))
            await broker.report("room", Report({"first": 2}, 0))
            await deliveries.until(lambda: deliveries.counts("room")[-1] == (1502, 0))
            await broker.report("room", Report({"first": 2} | {f"14.{number}": 1 for number in range(100)}, 0))
            await broker.report("room", Report({"first": 3}, 0))
            await deliveries.until(lambda: deliveries.counts("room")[-1] == (1503, 0))
            assert max(totals.likes for totals in deliveries.totals("room")) == 1503

    # -- reactions ----------------------------------------------------------------------------------------------------

    async def test_reactions_are_the_sums_of_the_most_that_each_source_has_told_by_name(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            for reactions, sums in (
                ({"one": {"❤️": 3, "no such": 0}}, {"❤️": 3}),
                ({"one": {"❤️": 3}, "二": {"❤️": 4, "two words": 1}}, {"❤️": 7, "two words": 1}),
                ({"one": {"❤️": 2}, "二": {"two words": 9}}, {"❤️": 7, "two words": 9}),
                ({"one": {"❤️": 5, "1": 1}}, {"❤️": 9, "two words": 9, "1": 1}),
                ({}, {"❤️": 9, "two words": 9, "1": 1}),
                ({"二": {"❤️": 5}}, {"❤️": 10, "two words": 9, "1": 1}),
            ):
                await broker.report("room", Report(reactions=reactions))
                await deliveries.until(lambda sums=sums: deliveries.totals("room")[-1].reactions == sums)  # type: ignore[misc]  # a bound default
            assert deliveries.counts("room")[-1] == (0, 0)
            await broker.unsubscribe("room")
            count = len(deliveries.totals("room"))
            await broker.subscribe("room")
            await deliveries.until(lambda: len(deliveries.totals("room")) > count)
            assert deliveries.totals("room")[-1].reactions == {"❤️": 10, "two words": 9, "1": 1}

    async def test_a_source_has_likes_and_reactions_through_whatever_node(self) -> None:
        deliveries, others, clock = Deliveries(), Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report({"s": 5}, 0, {"s": {"a": 2, "b": 1}}))
            async with self.another(broker, BrokerSettings(), others, clock) as other:
                await other.subscribe("room")
                await other.report("room", Report({"s": 7}, 0, {"s": {"a": 1, "b": 4}, "t": {"a": 1}}))
                await broker.report("room", Report({"s": 6}, 0, {"s": {"a": 3, "b": 1}}))
                await broker.report("room", Report({"s": 6}, 1, {"s": {"a": 3, "b": 1}}))
                await deliveries.until(lambda: deliveries.totals("room")[-1].reactions == {"a": 4, "b": 4})
                assert deliveries.counts("room")[-1] == (7, 1)

    async def test_a_room_has_64_reactions_and_no_more(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report(reactions={"s": {f"{number}": 2 for number in range(60)}}))
            await broker.report("room", Report(reactions={"t": {f"{number}": 1 for number in range(50, 70)}}))
            await broker.report("room", Report(reactions={"t": {f"{number}": 3 for number in range(50, 70)}}))
            await deliveries.until(lambda: deliveries.totals("room")[-1].reactions.get("63") == 3)
            expected = {f"{number}": (2 if number < 60 else 0) + (3 if number >= 50 else 0) for number in range(64)}
            assert deliveries.totals("room")[-1].reactions == expected

    async def test_reactions_of_forgotten_sources_stay_in_the_sum(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            kept = {"first": {"a": 1}}
            for turn in range(15):
                await broker.report("room", Report(reactions=kept | {f"{turn}.{number}": {"a": 1} for number in range(100)}))
            await broker.report("room", Report(reactions=kept))
            await broker.report("room", Report(reactions={"first": {"a": 2}}))
            await deliveries.until(lambda: deliveries.totals("room")[-1].reactions == {"a": 1502})

    # -- who came -----------------------------------------------------------------------------------------------------

    async def test_the_peak_is_the_most_viewers_at_once_of_all_nodes(self) -> None:
        deliveries, others, clock = Deliveries(), Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report(viewers=5))
            await broker.report("room", Report(viewers=2))
            async with self.another(broker, BrokerSettings(), others, clock) as other:
                if other is broker:
                    await broker.report("room", Report(viewers=8))
                else:
                    await other.subscribe("room")
                    await other.report("room", Report(viewers=6))
                await broker.report("room", Report(viewers=1))
            await deliveries.until(lambda: deliveries.totals("room")[-1].peak == 8)
            await broker.report("room", Report(viewers=0))
            await broker.unsubscribe("room")
            count = len(deliveries.totals("room"))
            await broker.subscribe("room")
            await deliveries.until(lambda: len(deliveries.totals("room")) > count)
            assert deliveries.totals("room")[-1].peak == 8

    async def test_users_who_came_count_once_however_often_and_wherever(self) -> None:
        deliveries, others, clock = Deliveries(), Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report(arrivals=["a", "b", "用户 3", "a"]))
            await broker.report("room", Report(viewers=1))
            async with self.another(broker, BrokerSettings(), others, clock) as other:
                await other.subscribe("room")
                await other.report("room", Report(arrivals=["b", "c"]))
                await broker.report("room", Report(viewers=2, arrivals=("a",)))
                await deliveries.until(lambda: deliveries.totals("room")[-1].unique == 4)

    async def test_many_users_are_counted_within_a_few_percent(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.report("room", Report(arrivals=[f"user {number}" for number in range(25_000)]))
            await broker.report("room", Report(viewers=1, arrivals=[f"user {number}" for number in range(20_000, 40_000)]))
            await deliveries.until(lambda: abs(deliveries.totals("room")[-1].unique - 40_000) < 1_600)
