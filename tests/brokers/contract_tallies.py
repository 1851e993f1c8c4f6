"""The contract's part about tallies: who chose what, and how many.

Owns these promises, not the broker.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio

from engine.brokers.base import Ballot, Broker, Keep, RecordFull, Tally
from engine.settings import BrokerSettings

from .opening import Clock, Deliveries, Opening

__all__ = ["TalliesContract"]


def first(tally: str, *choices: tuple[str, int]) -> list[Ballot]:
    return [Ballot(tally, voter, choice) for voter, choice in choices]


def largest(tally: str, *choices: tuple[str, int]) -> list[Ballot]:
    return [Ballot(tally, voter, choice, Keep.LARGEST) for voter, choice in choices]


class TalliesContract(Opening):
    """See `brokers.contract`."""

    async def test_a_voters_first_choice_stands(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            assert await broker.cast("room", first("poll", ("a", 1), ("b", 0), ("a", 2), ("a", 1))) == [True, True, False, True]
            assert await broker.cast("room", first("poll", ("b", 0), ("b", 1), ("c", 3))) == [True, False, True]
            clock.ms += 1_000
            await deliveries.until(lambda: deliveries.tallies("room") == {"poll": (1, 1, 0, 1)})
            assert await broker.voters("room", "poll", 3) == {"a": 1, "b": 0, "c": 3}

    async def test_a_larger_choice_replaces_a_smaller_one(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            assert await broker.cast("room", largest("read", ("a", 0), ("b", 1), ("a", 1), ("b", 0))) == [
                True,
                True,
                True,
                False,
            ]
            assert await broker.cast("room", largest("read", ("a", 63), ("c", 0))) == [True, True]
            # How to choose is each ballot's own.
            assert await broker.cast("room", first("read", ("c", 1), ("d", 2))) == [False, True]
            clock.ms += 1_000
            await deliveries.until(lambda: deliveries.tallies("room") == {"read": (1, 1, 1, *[0] * 60, 1)})

    async def test_tallies_do_not_share_voters_and_rooms_do_not_share_tallies(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            for room in ("room", "观众 {x}"):
                await broker.subscribe(room)
            ballots = [
                *first("a", ("u", 0)),
                *largest("字 b", ("u", 1)),
                *first("", ("u", 0), ("", 2), ("1 2", 2)),
                *first("a", ("v", 1)),
            ]
            assert await broker.cast("room", ballots) == [True] * 6
            assert await broker.cast("观众 {x}", first("a", ("u", 5))) == [True]
            clock.ms += 1_000
            await deliveries.until(lambda: deliveries.tallies("room") == {"a": (1, 1), "字 b": (0, 1), "": (1, 0, 2)})
            await deliveries.until(lambda: deliveries.tallies("观众 {x}") == {"a": (0, 0, 0, 0, 0, 1)})
            assert await broker.voters("room", "", 9) == {"u": 0, "": 2, "1 2": 2}

    async def test_a_subscription_begins_with_every_tally(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            assert await broker.cast("room", [*first("a", ("u", 0)), *first("b", ("u", 1), ("v", 0))]) == [True] * 3
            await broker.cast("room", first("b", ("w", 0)))
            for count in (1, 2):
                await broker.subscribe("room")
                seen = [item for item in deliveries.all if isinstance(item, Tally)]
                assert len(seen) >= 2 * count
                assert deliveries.tallies("room") == {"a": (1,), "b": (2, 1)}
                await broker.unsubscribe("room")
            before = len(deliveries.all)
            await broker.cast("room", first("b", ("x", 0)))
            assert len(deliveries.all) == before
            await broker.subscribe("room")
            assert deliveries.tallies("room") == {"a": (1,), "b": (3, 1)}
            # Whoever asks again is told again.
            before = len(deliveries.all)
            await broker.subscribe("room")
            assert Tally("room", "b", (3, 1)) in deliveries.all[before:]

    async def test_nodes_count_a_voter_once_and_never_deliver_an_older_count(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with (
            self.open(BrokerSettings(), here, clock) as one,
            self.another(one, BrokerSettings(), there, clock) as two,
        ):
            await one.subscribe("room")
            await two.subscribe("room")
            counted = 0

            async def vote(broker: Broker, choice: int) -> None:
                nonlocal counted
                for start in range(0, 40, 5):
                    clock.ms += 100
                    ballots = first("poll", *((str(number), choice) for number in range(start, start + 10)))
                    answers = await broker.cast("room", ballots)
                    counted += sum(answers)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(vote, one, 0)
                nursery.start_soon(vote, two, 1)
            voters = await one.voters("room", "poll", 45)
            final = tuple(list(voters.values()).count(choice) for choice in (0, 1))
            assert len(voters) == 45
            assert counted >= 45
            clock.ms += 1_000
            for deliveries in [here] if one is two else [here, there]:
                await deliveries.until(lambda deliveries=deliveries: (*deliveries.tallies("room")["poll"], 0)[:2] == final)  # type: ignore[misc]  # a bound default
                sums = [sum(item.counts) for item in deliveries.all if isinstance(item, Tally)]
                assert all(before < after for before, after in pairwise(sums))

    async def test_who_is_not_in_the_room_may_cast_and_others_learn_it(self) -> None:
        here, there, clock = Deliveries(), Deliveries(), Clock()
        async with (
            self.open(BrokerSettings(), here, clock) as one,
            self.another(one, BrokerSettings(), there, clock) as two,
        ):
            await one.subscribe("room")
            for voter in "abc":
                assert await two.cast("room", first("poll", (voter, 0))) == [True]
            await here.until(lambda: here.tallies("room") == {"poll": (3,)})

    async def test_voters_are_told_up_to_a_limit(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock()) as broker:
            expected = {f"user {number}": number % 64 for number in range(2_500)}
            assert await broker.cast("room", first("poll", *expected.items())) == [True] * 2_500
            assert await broker.voters("room", "poll", 2_500) == expected
            assert await broker.voters("room", "poll", 2_499) == {}
            assert await broker.voters("room", "other", 10) == {}
            assert await broker.voters("other", "poll", 10) == {}

    async def test_many_ballots_at_once_are_answered_one_by_one(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(), deliveries, clock) as broker:
            await broker.subscribe("room")
            ballots = [Ballot(f"t{number % 3}", str(number // 5), number % 7, Keep(number % 2)) for number in range(5_000)]
            choices: dict[tuple[str, str], int] = {}
            expected = []
            for ballot in ballots:
                key = ballot.tally, ballot.voter
                before = choices.setdefault(key, ballot.choice)
                if ballot.keep is Keep.LARGEST and ballot.choice > before:
                    choices[key] = ballot.choice
                expected.append(choices[key] == ballot.choice)
            assert await broker.cast("room", ballots) == expected
            clock.ms += 1_000
            counts = {
                name: tuple(
                    [choice for (tally, _), choice in choices.items() if tally == name].count(each) for each in range(7)
                )
                for name in ("t0", "t1", "t2")
            }
            await deliveries.until(lambda: deliveries.tallies("room") == counts)

    async def test_a_room_has_so_many_tallies_and_no_more(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(tallies=2), deliveries, clock) as broker:
            await broker.subscribe("room")
            await broker.cast("room", first("a", ("u", 0)))
            with pytest.raises(RecordFull, match=r"broker\.tallies"):
                await broker.cast("room", [*first("a", ("v", 0)), *first("b", ("v", 0)), *first("c", ("v", 0))])
            assert await broker.voters("room", "a", 9) == {"u": 0}
            assert await broker.cast("room", [*first("b", ("u", 0)), *first("a", ("w", 1))]) == [True, True]
            with pytest.raises(RecordFull):
                await broker.cast("room", first("c", ("u", 0)))
            assert await broker.cast("other", first("c", ("u", 0))) == [True]
            clock.ms += 1_000
            await deliveries.until(lambda: deliveries.tallies("room") == {"a": (1, 1), "b": (1,)})

    async def test_what_no_tally_can_take_is_refused(self) -> None:
        async with self.open(BrokerSettings(), Deliveries(), Clock()) as broker:
            assert await broker.cast("room", []) == []
            assert await broker.cast("room", first("字" * 96, ("u", 63))) == [True]
            for ballot in (Ballot("x" * 97, "u"), Ballot("x", "u", 64), Ballot("x", "u", -1)):
                with pytest.raises(ValueError, match="tally"):
                    await broker.cast("room", [ballot])
            assert await broker.voters("room", "x", 9) == {}

    async def test_tallies_end_with_their_room(self) -> None:
        settings, deliveries, clock = BrokerSettings(history_seconds=10), Deliveries(), Clock()
        async with self.open(settings, deliveries, clock) as broker:
            await broker.cast("room", [*first("poll", ("u", 0)), *first("other", ("u", 0))])
            await self.lose(broker, "room", settings, clock)
            assert await broker.voters("room", "poll", 9) == {}
            await broker.subscribe("room")
            assert deliveries.tallies("room") == {}
            assert await broker.cast("room", first("poll", ("u", 1))) == [True]

    async def test_a_tally_that_is_discarded_leaves_its_place_and_begins_anew(self) -> None:
        deliveries, clock = Deliveries(), Clock()
        async with self.open(BrokerSettings(tallies=2), deliveries, clock) as broker:
            await broker.subscribe("room")
            await broker.cast("room", [*first("one", ("a", 1), ("b", 0)), *first("two", ("a", 0))])
            with pytest.raises(RecordFull):
                await broker.cast("room", first("three", ("a", 0)))
            await broker.discard("room", "one")
            await broker.discard("room", "never was")
            await broker.discard("other", "one")
            assert await broker.voters("room", "one", 9) == {}
            assert await broker.cast("room", first("three", ("a", 0))) == [True]
            await broker.discard("room", "three")
            assert await broker.cast("room", first("one", ("a", 2))) == [True]
            clock.ms += 1_000
            await deliveries.until(lambda: deliveries.tallies("room").get("one") == (0, 0, 1))
            assert deliveries.tallies("room")["two"] == (1,)
