"""What a broker takes and costs, without viewers: events published to one room in batches, as a hub does.

Owns the rounds and their figures. It runs a broker in its own process, over a Redis started for it, or in memory. Must not know
hubs or edges.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final

import trio

from bench.generator.body import Bodies, Claim
from bench.site import Backing
from engine.brokers.base import Broker, Events, Pending
from engine.brokers.memory import MemoryBroker
from engine.schema import MSGPACK, Author, CommentEvent
from engine.settings import BrokerSettings, RedisSettings

__all__ = ["BATCHES", "Round", "measure", "to_json"]

BATCHES: Final = (1, 10, 100, 1_000)
ROOM: Final = "bench"
AUTHOR: Final = Author("guest-3eece0da5f23", "小明", {"level": "12"})
SESSION: Final = "bench-session-of-the-broker"
SHOWN_SECONDS: Final = 30.0
"""For what was published to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Publishes of one size, one after the other.

    :ivar cpu_us: of this process per event: encoded arguments, answer, and the event's way back.
    :ivar broker_cpu_us: of the Redis server per event; 0 in memory.
    :ivar bytes_in: to the server per event, with all that is around it; ``bytes_out`` from it, this node's copy included.
    :ivar answer_ms: from a publish to its answer, mean.
    """

    batch: int
    events: int
    events_per_second: float
    answer_ms: float
    cpu_us: float
    broker_cpu_us: float
    bytes_in: float
    bytes_out: float


async def measure(kind: str, events: int, text: str, seed: int, note: Callable[[int], None]) -> list[Round]:
    """Play a round for each size of batch.

    :param kind: ``memory``, ``redis`` or ``sentinel``.
    :param events: of each round, at least one batch; the smallest batches get a tenth.
    :param note: called with the number of rounds that are over.
    :raises bench.redisproc.RedisError: there is no server.
    """
    bodies = Bodies(seed, 0, text)
    rounds = []
    with ExitStack() as stack:
        backing = stack.enter_context(Backing(kind, by_detours=False)) if kind != "memory" else None
        shown = 0

        def deliver(delivery: object) -> None:
            nonlocal shown
            if isinstance(delivery, Events):
                shown += len(delivery.events)

        async with _open(backing, deliver) as broker:
            await broker.subscribe(ROOM)
            published = 0
            for number, batch in enumerate(BATCHES):
                count = max(1, (events if batch >= 10 else events // 10) // batch)
                pending = [
                    [_pending(bodies, published + at * batch + each + 1) for each in range(batch)] for at in range(count)
                ]
                published += count * batch
                before = backing.traffic() if backing is not None else {}
                began, cpu = time.perf_counter(), time.process_time()
                for each in pending:
                    await broker.publish(ROOM, each)
                with trio.fail_after(SHOWN_SECONDS):
                    while shown < published:
                        await trio.lowlevel.checkpoint()
                seconds, spent = time.perf_counter() - began, time.process_time() - cpu
                after = backing.traffic() if backing is not None else {}
                told = {name: (after[name] - value) / (count * batch) for name, value in before.items()}
                rounds.append(
                    Round(
                        batch=batch,
                        events=count * batch,
                        events_per_second=count * batch / seconds,
                        answer_ms=seconds * 1000 / count,
                        cpu_us=spent * 1e6 / (count * batch),
                        broker_cpu_us=told.get("cpu_ns", 0.0) / 1000,
                        bytes_in=told.get("bytes_in", 0.0),
                        bytes_out=told.get("bytes_out", 0.0),
                    )
                )
                note(number + 1)
    return rounds


def _pending(bodies: Bodies, sequence: int) -> Pending:
    body = bodies.write(Claim(1, sequence, 0), 0)
    return Pending(MSGPACK.encode(CommentEvent(AUTHOR, sequence, body)), SESSION, sequence)


@asynccontextmanager
async def _open(backing: Backing | None, deliver: Callable[[object], None]) -> AsyncIterator[Broker]:
    settings = BrokerSettings()
    if backing is None:
        yield MemoryBroker(settings, deliver, lambda: time.time_ns() // 1_000_000)
        return
    from engine.brokers.redis import RedisBroker

    broker = RedisBroker(settings, RedisSettings(url=backing.url, answer_seconds=30.0), deliver)
    async with trio.open_nursery() as nursery:
        await nursery.start(broker.run)
        yield broker
        nursery.cancel_scope.cancel()


def to_json(rounds: list[Round]) -> str:
    """For a file."""
    return json.dumps([asdict(each) for each in rounds], indent=1) + "\n"
