"""A hub without edges and without time: ends of links that collect, brokers that are told what to do, a clock that jumps.

Owns the fakes of the hub's tests. Asserts nothing about the hub.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgpack
import trio
from ledger.fake_store import FakeStore, inline
from trio.testing import wait_all_tasks_blocked

from engine.brokers.base import Ballot, Broker, Deliver, Events, History, Pending, Position, Receipt, Report
from engine.brokers.memory import MemoryBroker
from engine.hub import Hub
from engine.ledger.lane import Lane
from engine.link import End, memory_link
from engine.link.messages import Down, Frames, OpenRoom, Presence, ReplyTo, Request, Restart, Say, Standing, Up
from engine.schema import MSGPACK, Act, Author, CommentEvent
from engine.settings import BrokerSettings, LimitSettings, RoomSettings, Settings

__all__ = ["FakeEdge", "ScriptedBroker", "batches", "comment", "decode", "open_hub", "settle"]

T = TypeVar("T")
START_MS = 1_700_000_000_000


def now_ms() -> int:
    """Unix milliseconds that go with trio's clock."""
    return START_MS + round(trio.current_time() * 1000)


async def settle() -> None:
    """Let everybody do what can be done without time passing."""
    await wait_all_tasks_blocked()


def comment(body: str, user: str = "guest-1") -> bytes:
    """An event as the broker keeps it."""
    return MSGPACK.encode(CommentEvent(Author(user), 0, body))


def decode(frames: bytes) -> list[list[Any]]:
    """The messages in uncompressed MessagePack frames."""
    messages = []
    at = 0
    while at < len(frames):
        assert frames[at] == 0x82, "a whole binary frame, not compressed"
        size, head = frames[at + 1], 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size, head = int.from_bytes(frames[at + 2 : at + 2 + wide], "big"), 2 + wide
        messages.append(msgpack.unpackb(frames[at + head : at + head + size]))
        at += head + size
    return messages


class FakeEdge:
    """The edge's end of a link: sends what the test says, and keeps what comes with the time it came at."""

    def __init__(self, end: End[Up, Down]) -> None:
        self.end = end
        self.got: list[tuple[float, Down]] = []
        self.ended = False

    async def run(self) -> None:
        while messages := await self.end.receive():
            self.got += [(trio.current_time(), message) for message in messages]
        self.ended = True

    def send(self, *messages: Up) -> None:
        self.end.send(messages)

    async def open(self, room: str, viewers: int = 1, variants: Sequence[int] = (0,)) -> None:
        self.send(OpenRoom(room, 1, list(variants)), Presence(room, viewers))
        await settle()

    def say(self, room: str, body: str, *, viewer: int = 1, session: str = "", ref: int = 1, name: str = "") -> None:
        self.send(Say(room, viewer, session, ref, Author("guest-1"), body, name))

    def comment(
        self, room: str, user: str, body: str, ref: int = 1, *, role: str = "viewer", level: int = 0, **more: Any
    ) -> None:
        """A comment of this user, whose session is named like it."""
        standing = Standing(role, level, more.pop("follower", False))
        self.send(Say(room, ref, f"session-{user}", ref, Author(user), body, standing=standing, **more))

    def request(self, room: str, user: str, act: Act, *, role: str = "viewer", viewer: int = 1, codec: int = 0) -> None:
        """Another request of this user."""
        self.send(Request(room, viewer, f"session-{user}", Author(user), Standing(role), codec, act))

    def reply(self, ref: int) -> ReplyTo:
        """The last answer to a request."""
        return [reply for reply in self.of(ReplyTo) if reply.ref == ref][-1]

    def codes(self) -> dict[int, int]:
        """Code of the last answer to each request."""
        return {reply.ref: reply.code for reply in self.of(ReplyTo)}

    def events(self, variant: int = 0) -> list[list[Any]]:
        """All events that a viewer of the edge would read, in order."""
        return [event for message in self.messages(variant) if message[0] == 34 for event in message[6]]

    def totals(self) -> dict[str, Any]:
        """What a viewer of the edge knows of the totals."""
        return {name: value for message in self.messages() if message[0] == 34 for name, value in message[9].items()}

    def of(self, kind: type[T]) -> list[T]:
        return [message for _, message in self.got if isinstance(message, kind)]

    def at(self, kind: type[Down]) -> list[float]:
        return [time for time, message in self.got if isinstance(message, kind)]

    def messages(self, variant: int = 0) -> list[list[Any]]:
        """What a viewer of the edge would read, in order, snapshots for newcomers left out."""
        return [
            message for _, down in self.got if isinstance(down, (Frames, Restart)) for message in decode(down.frames[variant])
        ]

    def forget(self) -> None:
        self.got.clear()


def batches(messages: Sequence[list[Any]]) -> list[tuple[int, int, list[str]]]:
    """First, last and bodies of each batch."""
    return [(message[3], message[4], [event[3] for event in message[6]]) for message in messages if message[0] == 34]


class ScriptedBroker(Broker):
    """A broker that does what the test says: nothing is delivered unless the test delivers it.

    :ivar epoch: of the room; ``past`` its events, offset by offset, None for those it has lost.
    :ivar watched: rooms subscribed to, as the broker sees it: in the order in which its methods return.
    :ivar gates: events that must be set before a method of that name returns.
    """

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.epoch = 1
        self.past: list[bytes | None] = []
        self.calls: list[tuple[Any, ...]] = []
        self.watched: set[str] = set()
        self.gates: dict[str, trio.Event] = {}

    async def _call(self, *call: Any) -> None:
        self.calls.append(call)
        await trio.lowlevel.checkpoint()
        gate = self.gates.get(call[0])
        if gate is not None:
            await gate.wait()

    async def publish(self, room: str, events: Sequence[Pending]) -> Receipt:
        await self._call("publish", room, len(events))
        first = len(self.past) + 1
        self.past += [pending.event for pending in events]
        return Receipt(self.epoch, list(range(first, len(self.past) + 1)))

    async def subscribe(self, room: str) -> Position:
        await self._call("subscribe", room)
        self.watched.add(room)
        return Position(self.epoch, len(self.past))

    def now_ms(self, room: str) -> int:
        return now_ms()

    async def amend(
        self,
        room: str,
        field: str,
        value: bytes | None,
        expires_ms: int = 0,
        expect: int | None = None,
        event: Pending | None = None,
    ) -> int:
        await self._call("amend", room, field, value, expires_ms, expect)
        return 1

    async def discard(self, room: str, tally: str) -> None:
        await self._call("discard", room, tally)

    async def published(self, room: str, session: str, ref: int) -> int:
        await self._call("published", room, session, ref)
        return 0

    async def redact(self, room: str, offsets: Sequence[int], event: Pending) -> int:
        await self._call("redact", room, list(offsets))
        return len(self.past)

    async def cast(self, room: str, ballots: Sequence[Ballot]) -> list[bool]:
        await self._call("cast", room, list(ballots))
        return [True] * len(ballots)

    async def voters(self, room: str, tally: str, limit: int) -> dict[str, int]:
        await self._call("voters", room, tally, limit)
        return {}

    async def unsubscribe(self, room: str) -> None:
        await self._call("unsubscribe", room)
        self.watched.discard(room)

    async def history(self, room: str, after: int, limit: int) -> History:
        await self._call("history", room, after, limit)
        head = Position(self.epoch, len(self.past))
        kept = [offset for offset in range(1, len(self.past) + 1) if self.past[offset - 1] is not None]
        # History ends at its oldest hole: what lies before is gone too.
        oldest = max((offset for offset in range(1, len(self.past) + 1) if self.past[offset - 1] is None), default=0) + 1
        offsets = [offset for offset in kept if offset > after and offset >= oldest][:limit]
        if not offsets:
            return History(head, Events(room, self.epoch, head.offset + 1, [], []))
        return History(head, self.piece(room, offsets[0], offsets[-1]))

    async def report(self, room: str, report: Report) -> None:
        await self._call("report", room, dict(report.likes), report.viewers)

    def add(self, *bodies: str) -> None:
        """Events that others have published."""
        self.past += [comment(body) for body in bodies]

    def piece(self, room: str, first: int, last: int) -> Events:
        events = [event or b"" for event in self.past[first - 1 : last]]
        return Events(room, self.epoch, first, events, [START_MS] * len(events))

    def restart(self, *bodies: str) -> None:
        """Lose everything."""
        self.epoch += 1
        self.past = []
        self.add(*bodies)


class Harness:
    """A running hub, its broker, and edges as many as the test opens."""

    def __init__(self, hub: Hub, nursery: trio.Nursery) -> None:
        self.hub = hub
        self._nursery = nursery

    @property
    def scripted(self) -> ScriptedBroker:
        assert isinstance(self.hub.broker, ScriptedBroker)
        return self.hub.broker

    def edge(self, name: str = "", *, encoded: bool = True) -> FakeEdge:
        ours, theirs = memory_link(encoded=encoded)
        self.hub.attach(theirs, name)
        edge = FakeEdge(ours)
        self._nursery.start_soon(edge.run)
        return edge


@asynccontextmanager
async def open_hub(
    *,
    room: RoomSettings | None = None,
    limits: LimitSettings | None = None,
    broker: Callable[[Deliver], Broker] | None = None,
    broker_settings: BrokerSettings | None = None,
    store: FakeStore | None = None,
    **sections: Any,
) -> AsyncIterator[Harness]:
    """Run a hub with the given settings, over a memory broker unless told otherwise."""
    settings = Settings(
        room=room or RoomSettings(), limits=limits or LimitSettings(), broker=broker_settings or BrokerSettings(), **sections
    )
    budget = settings.limits.room_events_per_second
    ledger = store or FakeStore()
    lane = partial(Lane, store=lambda: ledger, run_sync=inline)
    hub = Hub(
        settings, broker or (lambda deliver: MemoryBroker(settings.broker, deliver, now_ms, budget=budget)), now_ms, lane=lane
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        yield Harness(hub, nursery)
        nursery.cancel_scope.cancel()
