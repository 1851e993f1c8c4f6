"""Lanes without a database and without a hub: a stream that remembers, and requests that are easily made.

Owns the fakes of the lane's tests. Asserts what a broker would not do: give two offsets to one entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio
from trio.testing import wait_all_tasks_blocked

from engine.errors import Code
from engine.ledger.errors import LedgerError
from engine.ledger.lane import Lane
from engine.ledger.values import Claim, Entry, Give, Mark, Outcome, Pack, Rejected
from engine.schema import Author
from engine.settings import LedgerSettings

from .fake_store import FakeStore, inline

__all__ = [
    "START_MS",
    "UNKNOWN",
    "Gate",
    "Stream",
    "Told",
    "claim",
    "failing",
    "gift",
    "kinds",
    "now_ms",
    "open_lane",
    "packet",
    "settle",
]

START_MS = 1_700_000_000_000
UNKNOWN = Rejected(Code.LEDGER, "the ledger is out of reach at the moment", 1000)
"""Who asked is told that it is not known."""


def now_ms() -> int:
    """Unix milliseconds that go with trio's clock."""
    return START_MS + round(trio.current_time() * 1000)


async def settle() -> None:
    """Let everybody do what can be done without time passing."""
    await wait_all_tasks_blocked()


def gift(key: str, room: str = "room", *, user: str = "fan", price: int = 10, combo_ms: int = 0) -> Give:
    """A gift to the host."""
    return Give(
        room=room,
        key=key,
        stream="live",
        author=Author(user),
        ref=1,
        gift="rose",
        price=price,
        count=1,
        receiver="",
        combo_ms=combo_ms,
    )


def packet(key: str, room: str = "room", *, shares: int = 3, lasts_ms: int = 60_000) -> Pack:
    """A red packet that can be claimed at once."""
    return Pack(
        room=room,
        key=key,
        author=Author("rich"),
        ref=1,
        total=100,
        shares=shares,
        split="random",
        opens=0,
        expires=now_ms() + lasts_ms,
        followers=False,
        phrase="",
        text="",
        seed=bytes(32),
        most=20,
    )


def claim(number: int, user: str, room: str = "room") -> Claim:
    """A share of a red packet."""
    return Claim(room=room, packet=number, author=Author(user))


class Stream:
    """What a hub and a broker make of entries: each has one offset, in the order in which they came first.

    :ivar rooms: numbers by room, in the order of the stream.
    :ivar batches: what was published at once.
    :ivar pause: awaited before each entry: takes time, or is cancelled.
    """

    def __init__(self) -> None:
        self.epoch = 7
        self.rooms: dict[str, list[int]] = defaultdict(list)
        self.batches: list[list[tuple[str, int]]] = []
        self.pause: Callable[[Entry], Awaitable[None]] = _at_once
        self._publishing = False

    async def publish(self, entries: Sequence[Entry]) -> list[Mark]:
        """As the lane wants it."""
        assert entries
        assert not self._publishing, "one group after the other"
        self._publishing = True
        try:
            self.batches.append([(entry.room, entry.number) for entry in entries])
            marks = []
            for entry in entries:
                await self.pause(entry)
                assert entry.event
                room = self.rooms[entry.room]
                if entry.number not in room:
                    room.append(entry.number)
                marks.append(Mark(entry.room, entry.number, self.epoch, self.offset(entry.room, entry.number)))
            return marks
        finally:
            self._publishing = False

    def offset(self, room: str, number: int) -> int:
        """Where an entry is."""
        return self.rooms[room].index(number) + 1


async def _at_once(_: Entry) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_lane(
    store: FakeStore, stream: Stream, *, url: str = "sqlite:///ledger.db", group: int = 100, pending: int = 1000
) -> AsyncIterator[Lane]:
    """A lane that runs, without threads. Leaving is a crash; `Lane.drain` makes it a stop."""
    settings = LedgerSettings(url=url, group=group, pending=pending)
    lane = Lane(settings, stream.publish, now_ms, lambda: None, store=lambda: store, run_sync=inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(lane.run)
        yield lane
        nursery.cancel_scope.cancel()


class Told:
    """Who asked, and what each was told.

    :ivar outcomes: by name.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}

    def __call__(self, name: str) -> Callable[[Outcome], None]:
        def answer(outcome: Outcome) -> None:
            assert name not in self.outcomes, "each is told once"
            self.outcomes[name] = outcome

        return answer


def kinds(store: FakeStore, room: str = "room") -> list[int]:
    """Kinds of a room's entries."""
    found = [each for each in store.recent(room, 10**12, 0, 10**6) if each.room == room]
    return [msgspec.msgpack.decode(each.event)[0] for each in found]


def failing(method: str, *, after: bool, times: int = 1) -> Callable[[str, bool], None]:
    """Trouble that goes away."""
    left = times

    def trouble(called: str, done: bool) -> None:
        nonlocal left
        if called == method and done is after and left:
            left -= 1
            raise LedgerError("disk full")

    return trouble


class Gate:
    """Publications wait until it is opened."""

    def __init__(self, stream: Stream) -> None:
        self._open = trio.Event()
        stream.pause = self._wait

    async def _wait(self, _: Entry) -> None:
        await self._open.wait()

    def open(self) -> None:
        self._open.set()
