"""The lane against its promises: the database fails and the node is killed between any two steps, over and over.

Several lives of a node over one ledger and one stream; in the last one nothing fails. What was told in any of them must hold.
"""

from __future__ import annotations

import random
from collections import defaultdict

import msgspec
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.errors import Code, Refused
from engine.ledger.errors import LedgerError
from engine.ledger.lane import Lane
from engine.ledger.values import Book, Booked, Claim, Entry, Outcome, Pack

from .fake_store import FakeStore
from .lanes import Stream, claim, gift, open_lane, packet

ROOMS = ("a", "b", "c")
LIVES = 4


def name_of(book: Book) -> str:
    """What makes it the same request."""
    return f"{book.room} {book.packet} {book.author.id}" if isinstance(book, Claim) else getattr(book, "key", "")


class Storm:
    """One run.

    :param doubt: share of calls to the database that fail, half of them after they did what they were to do.
    """

    def __init__(self, seed: int, group: int, pending: int, doubt: float) -> None:
        self.chance = random.Random(seed)
        self.store, self.stream = FakeStore(), Stream()
        self.group, self.pending, self.doubt = group, pending, doubt
        self.asked: list[Book] = []
        self.acknowledged: dict[str, Booked] = {}
        self.rejected: list[tuple[Book, Code]] = []
        self.refused = 0
        self.stream.pause = self.pause

    async def pause(self, _: Entry) -> None:
        await trio.sleep(self.chance.choice((0, 0, 0, 0.001, 0.02)))

    def trouble(self, method: str, after: bool) -> None:
        if self.chance.random() < self.doubt / 2:
            raise LedgerError(f"{method} failed")

    async def run(self) -> None:
        for life in range(LIVES):
            calm = life == LIVES - 1
            self.store.trouble = (lambda method, after: None) if calm else self.trouble
            async with open_lane(self.store, self.stream, group=self.group, pending=self.pending) as lane:
                told: dict[int, list[Outcome]] = defaultdict(list)
                accepted: dict[int, Book] = {}
                with trio.move_on_after(self.chance.uniform(0, 4)) as rest_of_life:
                    if calm:
                        rest_of_life.deadline = float("inf")
                    await self.live(lane, accepted, told)
                    if calm:
                        await lane.drain()
            # Each once, the latest when the node is gone.
            assert {number: len(outcomes) for number, outcomes in told.items()} == dict.fromkeys(accepted, 1)
            statistics = lane.statistics()
            assert statistics.booked + statistics.rejected == len(accepted)
            assert (statistics.waiting, statistics.group_max <= self.group) == (0, True)
            for number, (outcome,) in told.items():
                self.settle(accepted[number], outcome)
        self.check()

    async def live(self, lane: Lane, accepted: dict[int, Book], told: dict[int, list[Outcome]]) -> None:
        for _ in range(self.chance.randrange(60)):
            for _ in range(self.chance.choice((1, 1, 2, 8))):
                number, book = len(accepted), self.any()
                try:
                    lane.accept(book, told[number].append)
                except Refused:
                    assert lane.statistics().waiting == self.pending
                    del told[number]
                    self.refused += 1
                else:
                    accepted[number] = book
                    self.asked.append(book)
            assert lane.statistics().waiting <= self.pending
            await trio.sleep(self.chance.choice((0, 0, 0.001, 0.01, 0.3)))

    def any(self) -> Book:
        """A request, new or repeated."""
        room = self.chance.choice(ROOMS)
        dice = self.chance.random()
        if self.asked and dice < 0.3:
            return self.chance.choice(self.asked[-20:])
        if dice < 0.4:
            shares, lasts_ms = self.chance.randint(1, 4), self.chance.choice((50, 3000))
            return packet(f"p{len(self.asked)}", room, shares=shares, lasts_ms=lasts_ms)
        packets = [each for each in self.asked if isinstance(each, Pack) and name_of(each) in self.acknowledged]
        if packets and dice < 0.6:
            chosen = self.acknowledged[name_of(self.chance.choice(packets))].entry
            return claim(chosen.number, f"u{self.chance.randrange(5)}", chosen.room)
        return gift(f"g{len(self.asked)}", room, user=f"u{self.chance.randrange(3)}", combo_ms=self.chance.choice((0, 200)))

    def settle(self, book: Book, outcome: Outcome) -> None:
        if isinstance(outcome, Booked):
            entry = outcome.entry
            assert (entry.epoch, entry.offset) == (self.stream.epoch, self.stream.offset(entry.room, entry.number))
            first = self.acknowledged.setdefault(name_of(book), outcome)
            assert (first.entry, first.amount) == (entry, outcome.amount)
        else:
            self.rejected.append((book, outcome.code))

    def check(self) -> None:
        store, stream = self.store, self.stream
        assert max(store.groups, default=0) <= self.group
        numbers: dict[str, int] = defaultdict(int)
        for room, number in store.committed:
            numbers[room] += 1
            assert number == numbers[room]
        # All that is in the ledger is in the stream, once, in order; and the ledger knows where.
        assert {room: entries for room, entries in stream.rooms.items() if entries} == {
            room: list(range(1, count + 1)) for room, count in numbers.items()
        }
        store.trouble = lambda method, after: None
        if store.made:
            store.open()
            assert not store.outbox(1)
            for room in numbers:
                for entry in store.recent(room, 10**12, 0, 10**6):
                    assert entry.offset == stream.offset(room, entry.number)
                    assert msgspec.msgpack.decode(entry.event)[2] == entry.number
        for book, code in self.rejected:
            # Who was told that it never will be has nothing in the ledger.
            if code is not Code.LEDGER:
                assert isinstance(book, Claim)
                assert code is Code.PACKET_OVER
                assert name_of(book) not in self.acknowledged


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    group=st.sampled_from((1, 2, 5, 100)),
    pending=st.sampled_from((3, 30, 1000)),
    doubt=st.sampled_from((0.0, 0.02, 0.2, 0.6)),
)
def test_whatever_fails_each_entry_is_published_once_and_in_order_and_each_request_answered_once(
    seed: int, group: int, pending: int, doubt: float
) -> None:
    trio.run(Storm(seed, group, pending, doubt).run, clock=MockClock(autojump_threshold=0))
