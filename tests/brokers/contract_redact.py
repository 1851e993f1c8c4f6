"""The contract's part about redaction: what is gone from the history, and what is not.

Owns these promises, not the broker.
"""

from __future__ import annotations

from engine.brokers.base import LIMITED, Pending
from engine.brokers.budget import Budget
from engine.settings import BrokerSettings

from .model import GONE
from .opening import Clock, Deliveries, Opening, comments

__all__ = ["RedactContract"]


class RedactContract(Opening):
    """See `brokers.contract`."""

    async def test_what_is_redacted_is_a_tombstone_in_every_history_from_then_on(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with (
            self.open(BrokerSettings(), here, clock) as broker,
            self.another(broker, BrokerSettings(), there, clock) as other,
        ):
            await broker.subscribe("room")
            for batch in ("ab", "c", "def" * 400, "g"):
                await broker.publish("room", comments(*batch))
            before = (await broker.history("room", 0, 2_000)).events
            assert await broker.redact("room", [2, 1_204, 4, 5, 700], Pending(b"deleted")) == 1_205
            expected = [*before.events, b"deleted"]
            for offset in (2, 4, 5, 700, 1_204):
                expected[offset - 1] = GONE
            for reader in (broker, other):
                history = (await reader.history("room", 0, 2_000)).events
                assert (history.first, history.events) == (1, expected)
                assert history.times[: len(before.times)] == before.times
                for after, limit in ((1, 3), (3, 1), (4, 2), (699, 2), (1_203, 5), (1_204, 5)):
                    page = (await reader.history("room", after, limit)).events
                    assert (page.first, page.events) == (after + 1, expected[after : after + limit])
            # The event that says so is one like any other.
            await here.until(lambda: here.bodies("room")[-1:] == [b"deleted"])
            assert (await other.publish("room", comments("h"))).offsets == [1_206]
            assert here.events("room")[0].events == [b"a", b"b"]

    async def test_a_redaction_that_is_repeated_is_done_once(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.publish("room", comments("a", "b", "c"))
            event = Pending(b"deleted", "s", 1)
            assert await broker.redact("room", [1], event) == 4
            assert await broker.redact("room", [1], event) == 4
            # Whatever it is asked with: the first one counts.
            assert await broker.redact("room", [2, 3], event) == 4
            assert (await broker.publish("room", [event])).offsets == [4]
            assert (await broker.history("room", 0, 10)).events.events == [GONE, b"b", b"c", b"deleted"]
            published = Pending(b"d", "s", 2)
            assert (await broker.publish("room", [published])).offsets == [5]
            assert await broker.redact("room", [2], published) == 5
            assert await broker.redact("room", [1, 2], Pending(b"deleted", "s", 3)) == 6
            assert (await broker.history("room", 0, 10)).events.events == [GONE, GONE, b"c", b"deleted", b"d", b"deleted"]
            await deliveries.until(lambda: len(deliveries.bodies("room")) == 6)

    async def test_offsets_that_are_not_kept_or_not_given_are_left_alone(self) -> None:
        async with self.open(BrokerSettings(history_events=3), Deliveries(), Clock()) as broker:
            assert await broker.redact("room", [1, 2], Pending(b"nothing")) == 1
            await broker.publish("room", comments("a"))
            await broker.publish("room", comments("b"))
            await broker.publish("room", comments("c"))
            assert await broker.redact("room", [-1, 0, 1, 3, 5, 6, 1 << 52], Pending(b"deleted")) == 5
            history = (await broker.history("room", 0, 10)).events
            assert (history.first, history.events) == (3, [GONE, b"c", b"deleted"])
            await broker.publish("room", comments("d"))
            await broker.publish("room", comments("e"))
            history = (await broker.history("room", 0, 10)).events
            assert (history.first, history.events) == (5, [b"deleted", b"d", b"e"])

    async def test_without_history_a_redaction_is_still_told(self) -> None:
        deliveries = Deliveries()
        async with self.open(BrokerSettings(history_events=0), deliveries, Clock()) as broker:
            await broker.subscribe("room")
            await broker.publish("room", comments("a"))
            assert await broker.redact("room", [1], Pending(b"deleted")) == 2
            await deliveries.until(lambda: deliveries.bodies("room") == [b"a", b"deleted"])
            assert (await broker.history("room", 0, 10)).events.events == []

    async def test_what_is_redacted_leaves_the_history_by_age_like_the_rest(self) -> None:
        clock = Clock()
        async with self.open(BrokerSettings(history_seconds=10), Deliveries(), clock) as broker:
            await broker.publish("room", comments("a"))
            clock.ms += 6_000
            assert await broker.redact("room", [1], Pending(b"deleted")) == 2
            assert (await broker.history("room", 0, 10)).events.events == [GONE, b"deleted"]
            clock.ms += 6_000
            history = (await broker.history("room", 0, 10)).events
            assert (history.first, history.events) == (2, [b"deleted"])

    async def test_the_event_of_a_redaction_fits_any_budget_and_leaves_less(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock(), Budget(3.0)) as broker:
            assert (await broker.publish("room", comments("a", "b", lane=1))).offsets == [1, 2]
            assert await broker.redact("room", [1], Pending(b"deleted", lane=LIMITED, reserve=63)) == 3
            assert max((await broker.publish("room", comments("c", lane=1))).offsets) < 0
            assert await broker.redact("room", [2], Pending(b"deleted", lane=LIMITED)) == 4

    async def test_a_new_epoch_begins_without_what_was_redacted_before(self) -> None:
        settings, clock = BrokerSettings(history_seconds=10), Clock()
        async with self.open(settings, Deliveries(), clock) as broker:
            await broker.publish("room", comments("a", "b", "c"))
            assert await broker.redact("room", [1, 2, 3], Pending(b"deleted")) == 4
            await self.lose(broker, "room", settings, clock)
            assert (await broker.publish("room", comments("d", "e", "f"))).offsets == [1, 2, 3]
            assert (await broker.history("room", 0, 10)).events.events == [b"d", b"e", b"f"]
