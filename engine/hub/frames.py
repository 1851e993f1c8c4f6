"""What a room's edges are shown, as finished frames in every variant that one of them needs.

Owns the variants, and how each feed shows the room at present. Must not know which edge gets what, nor when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from engine.brokers.base import Events, Position
from engine.hub.backfill import cut, expired
from engine.link.messages import Frames, Restart
from engine.room.batcher import Collected
from engine.room.encoder import encode_batch, feed_of
from engine.room.feeds import Feeds, FeedView
from engine.room.state import RoomState

__all__ = ["RoomFrames"]


class RoomFrames:
    """See the module's docstring.

    :ivar variants: those that are made; empty: nobody is shown anything.
    """

    __slots__ = ("_feeds", "_name", "_state", "_views", "variants")

    def __init__(self, name: str, state: RoomState, feeds: Feeds) -> None:
        self._name = name
        self._state = state
        self._feeds = feeds
        self._views: dict[int, FeedView] = {}
        self.variants: frozenset[int] = frozenset()

    def want(self, wanted: Iterable[Collection[int]]) -> None:
        """Make these variants from now on."""
        self.variants = frozenset().union(*wanted)

    def begin(self) -> None:
        """The room begins, or goes on in another epoch."""
        self._views.clear()

    def batch(self, epoch: int, batch: Collected, heartbeat: bool, now_ms: int, shown_ms: int) -> Frames:
        """The next batch, with the counters and totals that are to be told now.

        :param now_ms: the room's time; ``shown_ms`` that of a batch without events.
        """
        state = self._state
        totals = state.announce(now_ms, heartbeat=heartbeat)
        frames: dict[int, bytes] = {}
        if self.variants:
            views = {feed: self._view(feed, batch) for feed in _feeds_of(self.variants)}
            frames = encode_batch(state.handle, epoch, views, state.counters, totals, shown_ms, self.variants)
        return Frames(self._name, epoch, batch.first, batch.last, frames)

    def _view(self, feed: int, batch: Collected) -> Collected:
        if not feed or not batch.events:
            return batch
        view = self._views.get(feed)
        if view is None:
            view = self._views[feed] = self._feeds.view(feed)
        return view.show(batch)

    def past(self, events: Events, variants: Collection[int], size: int, now_ms: int) -> Iterator[Frames]:
        """Events of the history, as batches of about ``size`` bytes, in these variants."""
        state = self._state
        views = {feed: self._feeds.view(feed) for feed in _feeds_of(variants)}
        for batch in cut(events, size):
            batch = replace(batch, events=expired(batch.events, now_ms))
            shown = {feed: view.show(batch) for feed, view in views.items()}
            frames = encode_batch(state.handle, events.epoch, shown, state.counters, {}, 0, variants)
            yield Frames(self._name, events.epoch, batch.first, batch.last, frames)

    def gap(self, epoch: int, first: int, last: int, reason: str) -> Frames:
        """Offsets that nobody will get (`engine.schema.Gap`)."""
        return Frames(self._name, epoch, first, last, self._state.gap(epoch, first, last, reason, self.variants))

    def snapshot(self, position: Position, now_ms: int, revision: tuple[int, int]) -> dict[int, bytes]:
        """The room's state after ``position``; the same objects while neither that nor anything in it has changed."""
        return self._state.snapshot(position, now_ms, revision, self.variants)

    def restart(self, old: Position, new: Position, now_ms: int, revision: tuple[int, int]) -> Restart:
        """For who has everything up to ``old``: the room goes on in another epoch, after ``new``."""
        gap = self._state.gap(old.epoch, old.offset + 1, 0, "epoch", self.variants)
        snapshot = self.snapshot(new, now_ms, revision)
        frames = {variant: gap[variant] + snapshot[variant] for variant in self.variants}
        return Restart(self._name, new.epoch, new.offset, frames)


def _feeds_of(variants: Collection[int]) -> set[int]:
    return {feed_of(variant) for variant in variants}
