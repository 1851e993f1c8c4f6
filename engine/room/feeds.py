"""Feeds: what a viewer sees who does not want everything that happens in a room.

Owns the operator's feeds, their numbers, and which events each of them shows. Pure: decides by what is in the events and their
times, so that every node, and the history, shows about the same. What a room is (state), what moderators do, and money are in
every feed, and so is what a feed does not know; a feed chooses among comments, custom events, notices and presence.

A viewer of a feed has the same offsets as everybody else: where events are left out, one `engine.schema.OmittedEvent` says how
many. An event is looked at no further than its kind and, if the feed asks who speaks, its author.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw, Struct

from engine.room.batcher import Collected
from engine.room.encoder import plain_variants
from engine.schema import MSGPACK, EventKind, OmittedEvent, OmittedReason
from engine.settings import FeedSettings

__all__ = ["FeedView", "Feeds"]

_KINDS: Final = {
    "comment": EventKind.COMMENT,
    "custom": EventKind.CUSTOM,
    "notice": EventKind.NOTICE,
    "presence": EventKind.PRESENCE,
}
_CHOSEN: Final = frozenset(map(int, _KINDS.values()))
_SPOKEN: Final = frozenset(map(int, (EventKind.COMMENT, EventKind.CUSTOM)))
"""Kinds of which so many a second can be read."""
_VIEWER: Final = "viewer"
"""Role of an author that has none."""
_AGES_MS: Final = 2**53
"""Longest window: for a rate so small that it means none."""


class _Author(Struct, array_like=True, frozen=True, gc=False):
    id: str
    name: Raw
    attributes: Raw
    role: str = _VIEWER


class _Head(Struct, array_like=True, frozen=True, gc=False):
    kind: int
    author: _Author


_head = msgspec.msgpack.Decoder(_Head).decode


@lru_cache(maxsize=1024)
def _left_out(count: int) -> bytes:
    # Cached not for the time: equal runs of several feeds are one object.
    return MSGPACK.encode(OmittedEvent(OmittedReason.FEED, count))


class Feeds:
    """The operator's feeds, numbered from 1 in the order of the settings; 0 is everything.

    :ivar names: by number; that of 0 is empty.
    :ivar plain_variants: `engine.room.encoder.plain_variants` of all of them.
    """

    __slots__ = ("_numbers", "_settings", "names", "plain_variants")

    def __init__(self, settings: Mapping[str, FeedSettings]) -> None:
        self._settings = (FeedSettings(), *settings.values())
        self.names = ("", *settings)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self.plain_variants = plain_variants(range(len(self.names)))

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int | None:
        """Number of a feed, None if there is none of this name."""
        return self._numbers.get(name)

    def view(self, number: int) -> FeedView:
        """One room as this feed shows it from now on; everything if there is no such feed: it was taken out of the settings
        while somebody was watching it."""
        return FeedView(self._settings[number if number < len(self._settings) else 0])


class FeedView:
    """One room as one feed shows it.

    Who is among a feed's ``users`` is shown whatever the role, and however many speak, and takes no place from others; the
    feed's ``kinds`` hold for these users, too.

    Comments and custom events are counted in windows of one second by the events' own clock. Rates that are no whole numbers
    have windows that make them exact: 2.5 is 3 in 1.2 seconds, 0.1 is 1 in 10. A view that begins in the middle of a window
    shows a few more of it than one that saw it all.
    """

    __slots__ = ("_count", "_everything", "_hidden", "_limit", "_roles", "_users", "_window", "_window_ms")

    def __init__(self, settings: FeedSettings) -> None:
        self._hidden = frozenset(int(kind) for name, kind in _KINDS.items() if name not in settings.kinds)
        self._roles = frozenset(settings.roles)
        self._users = frozenset(settings.users)
        self._limit = math.ceil(settings.comments_per_second)
        rate = settings.comments_per_second
        self._window_ms = round(min(1000 * self._limit / rate, _AGES_MS)) if rate else 0
        self._window = -1
        self._count = 0
        self._everything = not (self._hidden or self._roles or self._limit)

    def shows(self, event: bytes, time: int) -> bool:
        """Whether the feed shows an event of this time, in Unix milliseconds. What it shows is counted; ask in order."""
        # Events are arrays of less than 16 elements with a small number first: a byte each.
        kind = event[1]
        if kind in self._hidden:
            return False
        if kind not in _CHOSEN or self._everything:
            return True
        if self._users or self._roles:
            author = _head(event).author
            if author.id in self._users:
                return True
            if self._roles and (author.role or _VIEWER) not in self._roles:
                return False
        if not self._limit or kind not in _SPOKEN:
            return True
        window = time // self._window_ms
        if window != self._window:
            self._window, self._count = window, 0
        self._count += 1
        return self._count <= self._limit

    def show(self, batch: Collected) -> Collected:
        """The batch with what the feed does not show left out; the very same one if it shows all of it. Give it all batches, in
        order."""
        if self._everything:
            return batch
        shown = list(map(self.shows, batch.events, batch.times))
        if all(shown):
            return batch
        events: list[bytes] = []
        times: list[int] = []
        run = 0
        for event, time, visible in zip(batch.events, batch.times, shown, strict=True):
            if visible:
                if run:
                    events.append(_left_out(run))
                    run = 0
                events.append(event)
                times.append(time)
            else:
                if not run:
                    times.append(time)
                run += 1
        if run:
            events.append(_left_out(run))
        return Collected(batch.first, batch.last, events, times)
