"""The contract's part about a room's record.

Owns these promises, not the broker.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import trio

from engine.brokers.base import LIMITED, Amended, Broker, Conflict, Events, Pending, Record, RecordFull, Report
from engine.brokers.budget import Budget
from engine.settings import BrokerSettings

from .opening import Clock, Deliveries, Opening, comments

__all__ = ["RecordContract"]


class RecordContract(Opening):
    """See `brokers.contract`."""

    async def test_a_record_follows_a_subscription_and_every_change_of_it(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            assert deliveries.records("room") == [Record("room", 0, {})]
            assert await broker.amend("room", "标题", "你好".encode()) == 1
            assert await broker.amend("room", "a b", b"\x00 1 \xff") == 2
            assert await broker.amend("room", "标题", b"") == 3
            assert await broker.amend("room", "a b", None) == 4
            assert await broker.amend("room", "never was", None) == 4
            assert await broker.amend("other", "a", b"1") == 1
            await deliveries.until(lambda: len(deliveries.records("room")) == 5)
            assert deliveries.records("room")[1:] == [
                Amended("room", 1, "标题", "你好".encode()),
                Amended("room", 2, "a b", b"\x00 1 \xff"),
                Amended("room", 3, "标题", b""),
                Amended("room", 4, "a b", None),
            ]
            await broker.subscribe("room")
            await deliveries.until(lambda: deliveries.records("room")[-1] == Record("room", 4, {"标题": b""}))

    async def test_a_record_is_there_for_who_comes_later_and_at_another_node(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with self.open(BrokerSettings(), here, clock) as broker:
            for number in range(20):
                await broker.amend("room", f"field {number % 7}", str(number).encode())
            expected = {f"field {number % 7}": str(number).encode() for number in range(20)}
            async with self.another(broker, BrokerSettings(), there, clock) as other:
                await other.subscribe("room")
                deliveries = here if other is broker else there
                assert deliveries.records("room") == [Record("room", 20, expected)]
                await broker.amend("room", "field 0", None)
                await deliveries.until(lambda: deliveries.records("room")[-1] == Amended("room", 21, "field 0", None))

    async def test_nothing_of_a_record_comes_after_unsubscribing(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.unsubscribe("room")
            await broker.amend("room", "a", b"1")
            await broker.subscribe("room")
            await deliveries.until(lambda: len(deliveries.records("room")) >= 2)
            assert deliveries.records("room") == [Record("room", 0, {}), Record("room", 1, {"a": b"1"})]

    async def test_an_amendment_that_builds_on_another_revision_is_refused(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            assert await broker.amend("room", "a", b"1", expect=0) == 1
            for field, value in (("a", b"2"), ("b", b"2"), ("a", None), ("b", None)):
                with pytest.raises(Conflict, match="revision 1, not 0") as caught:
                    await broker.amend("room", field, value, expect=0)
                assert caught.value.revision == 1
            assert await broker.amend("room", "a", b"2", expect=1) == 2
            assert await broker.amend("room", "b", None, expect=2) == 2
            await deliveries.until(lambda: deliveries.record("room") == {"a": b"2"})

    async def test_of_those_who_build_on_the_same_revision_one_wins(self) -> None:
        clock, outcomes = Clock(), list[int]()
        async with (
            self.open(BrokerSettings(), Deliveries(), clock) as one,
            self.another(one, BrokerSettings(), Deliveries(), clock) as two,
        ):

            async def amend(broker: Broker, name: str) -> None:
                with suppress(Conflict):
                    outcomes.append(await broker.amend("room", name, b"x", expect=0))

            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(amend, (one, two)[number % 2], str(number))
            assert outcomes == [1]

    async def test_a_record_is_bounded_and_says_by_what(self) -> None:
        settings = BrokerSettings(record_fields=3, record_bytes=20)
        deliveries = Deliveries()
        async with self.open(settings, deliveries, Clock()) as broker:
            await broker.subscribe("room")
            for field in "abc":
                await broker.amend("room", field, b"1")
            with pytest.raises(RecordFull, match=r"broker\.record_fields"):
                await broker.amend("room", "d", b"")
            # Those that are there may change, within the bytes: 6 are names and values so far.
            assert await broker.amend("room", "a", b"x" * 15) == 4
            with pytest.raises(RecordFull, match=r"broker\.record_bytes"):
                await broker.amend("room", "b", b"12")
            assert await broker.amend("room", "a", None) == 5
            assert await broker.amend("room", "d", b"x" * 15) == 6
            await deliveries.until(lambda: deliveries.record("room") == {"b": b"1", "c": b"1", "d": b"x" * 15})

    async def test_a_field_expires_and_everybody_is_told(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with (
            self.open(BrokerSettings(), here, clock) as broker,
            self.another(broker, BrokerSettings(), there, clock) as other,
        ):
            watching = [here] if other is broker else [here, there]
            await broker.subscribe("room")
            await other.subscribe("room")
            await broker.amend("room", "later", b"1", 20_000)
            await broker.amend("room", "soon", b"1", 10_000)
            await broker.amend("room", "stays", b"1")
            await broker.amend("room", "longer", b"1", 10_000)
            await broker.amend("room", "longer", b"2", 60_000)
            await broker.amend("room", "for good", b"1", 10_000)
            await broker.amend("room", "for good", b"2")
            for moment, expected in (
                (9_000, {"later", "soon", "stays", "longer", "for good"}),
                (1_000, {"later", "stays", "longer", "for good"}),
                (10_000, {"stays", "longer", "for good"}),
                (-5_000, {"stays", "longer", "for good"}),
                (60_000, {"stays", "for good"}),
            ):
                clock.ms += moment
                await other.report("room", Report({"s": clock.ms - Clock().ms + 10_000}, 1))
                for deliveries in watching:
                    shown = partial(deliveries.record, "room")
                    await deliveries.until(lambda shown=shown, expected=expected: set(shown()) == expected)  # type: ignore[misc]
            # Seven amendments and three that time has made.
            assert await broker.amend("room", "nothing", None) == 10

    async def test_an_amendment_builds_on_what_has_expired(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(record_fields=1), Deliveries(), clock) as broker:
            assert await broker.amend("room", "a", b"1", 10_000) == 1
            clock.ms += 10_000
            with pytest.raises(Conflict):
                await broker.amend("room", "b", b"1", expect=1)
            assert await broker.amend("room", "b", b"1", expect=2) == 3

    async def test_what_expires_late_is_remembered_longer_than_the_room(self) -> None:
        settings, clock, deliveries = BrokerSettings(history_seconds=10), Clock(), Deliveries()
        async with self.open(settings, deliveries, clock) as broker:
            old = await broker.publish("room", comments("a"))
            assert await broker.amend("room", "ban", b"x", 10_000_000_000) == 1
            await self.lose(broker, "room", settings, clock)
            new = await broker.subscribe("room")
            assert new.epoch != old.epoch
            await deliveries.until(lambda: deliveries.record("room") == {"ban": b"x"})
            assert await broker.amend("room", "ban", None) == 2

    # -- with an event ------------------------------------------------------------------------------------------------

    async def test_a_change_and_its_event_are_one_step_and_the_change_is_delivered_first(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with (
            self.open(BrokerSettings(), here, clock) as broker,
            self.another(broker, BrokerSettings(), there, clock) as other,
        ):
            watching = [here] if other is broker else [here, there]
            await broker.subscribe("room")
            await other.subscribe("room")
            await broker.publish("room", comments("before"))
            long = b"state " * 1_000
            assert await broker.amend("room", "a", b"1", event=Pending(b"state 1")) == 1
            assert await other.amend("room", "a", b"2", expect=1, event=Pending(long)) == 2
            assert await broker.amend("room", "a", None, event=Pending(b"state 3")) == 3
            assert (await broker.publish("room", comments("after"))).offsets == [5]
            bodies = [b"before", b"state 1", long, b"state 3", b"after"]
            for deliveries in watching:
                await deliveries.until(lambda deliveries=deliveries: len(deliveries.bodies("room")) == 5)  # type: ignore[misc]
                assert deliveries.bodies("room") == bodies
                told = [item for item in deliveries.all if isinstance(item, Amended | Events)]
                assert [type(item) for item in told] == [Events, *[Amended, Events] * 3, Events]
            assert (await other.history("room", 0, 10)).events.events == bodies

    async def test_what_is_no_change_publishes_nothing(self) -> None:
        settings, event = BrokerSettings(record_fields=1, record_bytes=10), Pending(b"state", "s", 1)
        async with self.open(settings, Deliveries(), Clock()) as broker:
            assert await broker.amend("room", "a", None, event=event) == 0
            assert await broker.amend("room", "a", b"1") == 1
            assert await broker.amend("room", "b", None, event=event) == 1
            for field, value, expect in (("a", b"2", 0), ("b", b"2", None), ("a", b"x" * 10, None)):
                with pytest.raises((Conflict, RecordFull)):
                    await broker.amend("room", field, value, expect=expect, event=event)
            assert (await broker.history("room", 0, 10)).head.offset == 0
            # Its key is still new.
            assert await broker.amend("room", "a", b"2", event=event) == 2
            assert (await broker.history("room", 0, 10)).events.events == [b"state"]

    async def test_an_amendment_whose_event_was_published_before_does_nothing_whatever_is_expected(self) -> None:
        deliveries, event = Deliveries(), Pending(b"state", "s", 1)
        async with self.open(BrokerSettings(record_bytes=10), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            assert await broker.amend("room", "a", b"1", expect=0, event=event) == 1
            assert await broker.amend("room", "a", b"1", expect=0, event=event) == 1
            assert await broker.amend("room", "a", b"2") == 2
            for value in (b"1", None, b"x" * 100):
                assert await broker.amend("room", "a", value, expect=0, event=event) == 2
            assert (await broker.publish("room", [event])).offsets == [1]
            assert (await broker.publish("room", comments("b", session="s", ref=2))).offsets == [2]
            assert await broker.amend("room", "a", b"3", event=Pending(b"state", "s", 2)) == 2
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 2)
            assert deliveries.record("room") == {"a": b"2"}

    async def test_the_event_of_an_amendment_fits_any_budget_and_leaves_less(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock(), Budget(3.0, 1_000.0)) as broker:
            assert (await broker.publish("room", comments("a", "b", lane=1))).offsets == [1, 2]
            assert await broker.amend("room", "a", b"1", event=Pending(b"state", lane=LIMITED, reserve=63)) == 1
            assert max((await broker.publish("room", comments("c", lane=1))).offsets) < 0
            assert await broker.amend("room", "a", b"2", event=Pending(b"state", lane=LIMITED)) == 2
            assert (await broker.history("room", 0, 10)).head.offset == 4
