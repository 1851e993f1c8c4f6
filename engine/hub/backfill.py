"""A part of a room's past as finished frames, for a viewer who comes back with an older position than an edge remembers.

Owns the way from the broker's history to batches like those of the log. Must not know who asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.brokers.base import Broker, Events
from engine.link.messages import Backfill, FetchBackfill
from engine.room.batcher import Collected
from engine.room.encoder import encode_batch, feed_of, plain
from engine.room.feeds import Feeds
from engine.room.tail import expiry_of, tombstone
from engine.schema import OmittedReason, handle_of

__all__ = ["PAGE", "backfill", "cut", "expired"]

PAGE: Final = 1_000
"""Events read from the broker's history at a time."""

_LINKED: Final = 0x97
"""First byte of an event that may vanish, an array of seven elements. Most others need no second look."""


async def backfill(broker: Broker, wanted: FetchBackfill, counters: tuple[int, ...], limit: int, feeds: Feeds) -> Backfill:
    """Read what is wanted, as the variant's feed shows it, without what has expired. If it is more than ``limit`` bytes of
    frames, the newest part of it is the answer."""
    batches: list[tuple[int, int, bytes]] = []
    handle, variant = handle_of(wanted.room), plain(wanted.variant)
    feed = feed_of(variant)
    view = feeds.view(feed)
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
        now_ms = broker.now_ms(wanted.room)
        for batch in cut(events, limit // 4):
            # First the feed: what has expired took its place when it was new.
            shown = view.show(batch)
            shown = Collected(shown.first, shown.last, expired(shown.events, now_ms), shown.times)
            frame = encode_batch(handle, wanted.epoch, {feed: shown}, counters, {}, 0, (variant,))[variant]
            batches.append((batch.first, batch.last, frame))
            size += len(frame)
            while size > limit:
                size -= len(batches.pop(0)[2])
        after = events.last
    if batches and batches[-1][1] != wanted.before - 1:
        batches.clear()
    return Backfill(wanted.room, wanted.epoch, variant, wanted.before, batches, wanted.after)


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


def expired(events: list[bytes], now_ms: int) -> list[bytes]:
    """The events with tombstones for those that were to vanish until now; the very same list if there are none.

    :param now_ms: the room's time, Unix milliseconds.
    """
    gone = [index for index, event in enumerate(events) if event[0] == _LINKED and 0 < expiry_of(event) <= now_ms]
    if not gone:
        return events
    left = events.copy()
    for index in gone:
        left[index] = tombstone(OmittedReason.EXPIRED)
    return left
