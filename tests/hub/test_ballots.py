"""Votes and receipts on their way: who asked is told once, what nobody asked for is not lost, all of it is bounded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from engine.brokers.base import Ballot, RecordFull, Unavailable
from engine.errors import Code, Refused
from engine.hub.ballots import Ballots

from .harness import ScriptedBroker, settle


class Urn(ScriptedBroker):
    """A broker that counts first votes, or fails as it is told."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.failure: Exception | None = None
        self.chosen: dict[tuple[str, str], int] = {}

    async def cast(self, room: str, ballots: Sequence[Ballot]) -> list[bool]:
        await self._call("cast", room, len(ballots))
        if self.failure is not None:
            raise self.failure
        return [self.chosen.setdefault((each.tally, each.voter), each.choice) == each.choice for each in ballots]


async def running(nursery: trio.Nursery, limit: int = 100) -> tuple[Urn, Ballots]:
    urn = Urn()
    ballots = Ballots(urn, limit, lambda: None)
    nursery.start_soon(ballots.run)
    await settle()
    return urn, ballots


async def test_all_that_came_since_the_last_time_is_cast_at_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        urn, ballots = await running(nursery)
        told: list[Code] = []
        for voter, choice in (("a", 0), ("b", 1), ("a", 1), ("a", 0)):
            ballots.add("room", Ballot("t", voter, choice), lambda code, _: told.append(code))
        await settle()
        assert told == [Code.OK, Code.OK, Code.ALREADY_VOTED, Code.OK]
        assert urn.calls == [("cast", "room", 4)]
        nursery.cancel_scope.cancel()


async def test_while_the_broker_is_away_who_asks_is_told_and_the_rest_waits(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        urn, ballots = await running(nursery)
        urn.failure = Unavailable("away")
        told: list[tuple[Code, str]] = []
        ballots.add("room", Ballot("t", "a"), lambda code, text: told.append((code, text)))
        ballots.add("room", Ballot("notice:1", "b"))
        await settle()
        assert told == [(Code.UNAVAILABLE, "away")]
        assert not urn.chosen
        urn.failure = None
        await trio.sleep(5)
        assert urn.chosen == {("notice:1", "b"): 0}
        await ballots.drain()
        nursery.cancel_scope.cancel()


async def test_what_does_not_fit_the_room_is_told_and_not_tried_again(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        urn, ballots = await running(nursery, limit=2)
        urn.failure = RecordFull("tallies")
        told: list[Code] = []
        ballots.add("room", Ballot("t", "a"), lambda code, _: told.append(code))
        ballots.add("room", Ballot("notice:1", "b"))
        with pytest.raises(Refused) as refused:
            ballots.add("room", Ballot("t", "c"))
        assert refused.value.code is Code.OVERLOADED
        await trio.sleep(5)
        assert told == [Code.STATE_FULL]
        assert len(urn.calls) == 1
        # There is room again.
        urn.failure = None
        ballots.add("room", Ballot("t", "c"))
        ballots.add("room", Ballot("t", "d"))
        await ballots.drain()
        assert len(urn.chosen) == 2
        nursery.cancel_scope.cancel()
