"""A part of a room's past as finished frames, for a viewer who comes back with an older position than an edge remembers.

Owns the way from the broker's history to batches like those of the log. Must not know who asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.brokers.base import Broker, Events
from engine.link.messages import Backfill, FetchBackfill
from engine.room.batcher import Collected
from engine.room.encoder import encode_batch, plain
from engine.schema import handle_of

__all__ = ["PAGE", "backfill", "cut"]

PAGE: Final = 1_000
"""Events read from the broker's history at a time."""


async def backfill(broker: Broker, wanted: FetchBackfill, counters: tuple[int, ...], limit: int) -> Backfill:
    """Read what is wanted. If it is more than ``limit`` bytes of frames, the newest part of it is the answer."""
    batches: list[tuple[int, int, bytes]] = []
    handle, variant = handle_of(wanted.room), plain(wanted.variant)
    after, size = wanted.after, 0
    while after < wanted.before - 1:
        history = await broker.history(wanted.room, after, min(PAGE, wanted.before - 1 - after))
        events = history.events
        if history.head.epoch != wanted.epoch or not events.events:
            break
        if events.first != after + 1:
            # What came before has left the history meanwhile.
            batches.clear()
            size = 0
        for batch in cut(events, limit // 4):
            frame = encode_batch(handle, wanted.epoch, batch, counters, 0, (variant,))[variant]
            batches.append((batch.first, batch.last, frame))
            size += len(frame)
            while size > limit:
                size -= len(batches.pop(0)[2])
        after = events.last
    if batches and batches[-1][1] != wanted.before - 1:
        batches.clear()
    return Backfill(wanted.room, wanted.epoch, variant, wanted.before, batches)


def cut(events: Events, size: int) -> Iterator[Collected]:
    """Batches of about ``size`` bytes, at least one event each."""
    start = held = 0
    for index, event in enumerate(events.events):
        if index > start and held + len(event) > size:
            yield Collected(
                events.first + start, events.first + index - 1, events.events[start:index], events.times[start:index]
            )
            start, held = index, 0
        held += len(event)
    yield Collected(events.first + start, events.last, events.events[start:], events.times[start:])
