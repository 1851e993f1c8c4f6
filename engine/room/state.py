"""What a room is right now, for those who come in and those who watch: counters, totals, a snapshot shared by all who join.

Owns the totals of a room (hub half), what of them viewers were told, and the encoded snapshot, built at most once for each
position and each change. Must not know what an entry of the room's state means, nor how long events are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Any, Final

from msgspec import Raw

from engine.brokers.base import Position, Totals
from engine.room.encoder import Translations, encode_shared, feed_of
from engine.room.feeds import Feeds
from engine.schema import Gap, ServerMessage, Snapshot, WithheldReason, handle_of
from engine.settings import RoomSettings

__all__ = ["NOTICES", "RECEIPTS", "Entry", "RoomState"]

RECEIPTS: Final = "notice:"
"""Begins the name of a tally that counts who has a notice; its offset follows. A choice is 0 for who is to get it, 1 for who
has got it, 2 for who has read it. Every other tally counts votes for the entry that it is named after, ``kind:key``."""

NOTICES: Final = 32
"""Notices whose receipts viewers are told, the newest."""
_RATE_MS: Final = 3_000
"""Over which time the rate of likes is taken."""
_SLOT_MS: Final = 100
"""Likes that come within this time are remembered as one number."""

_KEPT: Final = 4
"""Translated events kept from one snapshot to the next, most of which are the same, for each that a newcomer is shown."""

Entry = tuple[str, str, Any, int]
"""Kind, key, value and version of a part of the room's state, as in `engine.schema.Snapshot`."""


class RoomState:
    """Counters, totals and snapshot of one room.

    The rate of likes is only ever known from likes that come: it is told with what else there is to tell, and until it was told
    that it is 0 the room counts as changed.

    :param entries: the room's state now.
    :param recent: offset, time and event of the last events up to the position that newcomers are to be shown, oldest first.
    :ivar counters: ``(likes, viewers)``, totals over all nodes.
    :ivar announced: the counters as last sent to viewers.
    :ivar builds: how often a snapshot was built.
    """

    __slots__ = (
        "_changes",
        "_dirty",
        "_entries",
        "_feeds",
        "_frames",
        "_gains",
        "_givers",
        "_key",
        "_known",
        "_notices",
        "_peak",
        "_rate",
        "_reactions",
        "_recent",
        "_settings",
        "_top",
        "_translated",
        "_unique",
        "_votes",
        "_whole_ms",
        "_withheld",
        "announced",
        "builds",
        "counters",
        "handle",
        "room",
    )

    def __init__(
        self,
        room: str,
        settings: RoomSettings,
        feeds: Feeds,
        entries: Callable[[], list[Entry]] = list,
        recent: Callable[[], list[tuple[int, int, bytes]]] = list,
    ) -> None:
        self.room = room
        self.handle = handle_of(room)
        self._settings = settings
        self._feeds = feeds
        self._entries = entries
        self._recent = recent
        self.counters: tuple[int, ...] = (0, 0)
        self.announced: tuple[int, ...] = (0, 0)
        self._known = False
        self._gains: deque[tuple[int, int]] = deque()
        self._rate = 0
        self._peak = self._unique = 0
        self._withheld = (0, 0)
        self._reactions: dict[str, int] = {}
        self._givers: list[tuple[str, str, int]] = []
        self._top: dict[str, int] = {}
        self._votes: dict[str, tuple[int, ...]] = {}
        self._notices: dict[int, tuple[int, int]] = {}
        self._dirty: set[str | int] = set()
        """What viewers are to be told next: a total, a vote's name, or a notice's offset."""
        self._whole_ms = 0
        self._changes = 0
        self._key: Hashable = None
        self._frames: dict[int, bytes] = {}
        self._translated: Translations = {}
        self.builds = 0

    def adopt(self, settings: RoomSettings) -> None:
        """Take other settings; what viewers are told by them, they are told with the next change."""
        self._settings = settings

    # -- what the broker tells ----------------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether viewers should be told something: counters or totals differ from what they know."""
        return self.counters != self.announced or bool(self._dirty) or self._rate > 0

    def update(self, totals: Totals, now_ms: int) -> None:
        """Take in new totals. Nothing goes down but the number of viewers.

        :param now_ms: the room's time.
        """
        likes = max(totals.likes, self.counters[0])
        if self._known and likes > self.counters[0]:
            slot = now_ms - now_ms % _SLOT_MS
            gain = likes - self.counters[0]
            if self._gains and self._gains[-1][0] >= slot:
                slot, before = self._gains.pop()
                gain += before
            self._gains.append((slot, gain))
            self._fade(now_ms)
        # The first totals are those of all the time before.
        self._known = True
        self._changes += self.counters != (likes, totals.viewers)
        self.counters = (likes, totals.viewers)
        if totals.peak > self._peak:
            self._peak = totals.peak
            self._mark("peak")
        if totals.unique > self._unique:
            self._unique = totals.unique
            self._mark("unique")
        withheld = max(totals.withheld[0], self._withheld[0]), max(totals.withheld[1], self._withheld[1])
        if withheld != self._withheld:
            self._withheld = withheld
            self._mark("withheld")
        grown = {name: count for name, count in totals.reactions.items() if count > self._reactions.get(name, 0)}
        if grown:
            self._reactions.update(grown)
            ranked = sorted(self._reactions.items(), key=lambda item: (-item[1], item[0]))
            top = dict(ranked[: self._settings.reactions_shown])
            if top != self._top:
                self._top = top
                self._mark("reactions")

    def tally(self, name: str, counts: tuple[int, ...]) -> None:
        """Take in who chose what (`RECEIPTS`)."""
        if name.startswith(RECEIPTS) and name[len(RECEIPTS) :].isdecimal():
            offset = int(name[len(RECEIPTS) :])
            receipts = sum(counts[1:]), sum(counts[2:])
            if receipts != self.receipts(offset):
                self._notices[offset] = receipts
                self._mark(offset)
        elif self._votes.get(name) != counts:
            self._votes[name] = counts
            self._mark(name)

    def rank(self, givers: list[tuple[str, str, int]]) -> None:
        """Take in who gave most: id, name and amount of each, most first."""
        if givers != self._givers:
            self._givers = givers
            self._mark("givers")

    def forget(self, entry: str) -> None:
        """The entry ``kind:key`` is gone; one that comes under this name later begins without votes."""
        if self._votes.pop(entry, None) is not None:
            self._dirty.discard(entry)
            self._changes += 1

    def receipts(self, offset: int) -> tuple[int, int]:
        """How many users the notice at this offset has come to, and how many have read it."""
        return self._notices.get(offset, (0, 0))

    def _mark(self, what: str | int) -> None:
        self._dirty.add(what)
        self._changes += 1

    def _fade(self, now_ms: int) -> None:
        while self._gains and self._gains[0][0] <= now_ms - _RATE_MS:
            self._gains.popleft()

    def _rate_at(self, now_ms: int) -> int:
        """Likes a second, rounded up: 0 only if there were none."""
        self._fade(now_ms)
        return -(-sum(gain for _, gain in self._gains) * 1000 // _RATE_MS)

    # -- what viewers are told ----------------------------------------------------------------------------------------

    def announce(self, now_ms: int, *, heartbeat: bool = False) -> dict[str, Any]:
        """The totals that belong in a batch with `counters` (`engine.schema.Batch`); both count as told from now on.

        Those that have changed: of ``votes`` and ``receipts`` the changed entries, of everything else all that it consists of.
        In a heartbeat, and as often in a room that needs none, all totals: they mend what a viewer has missed.
        """
        rate = self._rate_at(now_ms)
        if rate != self._rate:
            self._rate = rate
            self._mark("rate")
        dirty = self._dirty
        self._dirty = set()
        self.announced = self.counters
        if heartbeat or now_ms - self._whole_ms >= self._settings.heartbeat_seconds * 1000:
            self._whole_ms = now_ms
            totals = self.all_totals()
            if self.counters[0]:
                # That it is 0 is news to who has missed it.
                totals["rate"] = rate
            return totals
        if not dirty:
            return {}
        shown = self._shown_votes() if any(name in self._votes for name in dirty) else []
        told = {
            **{name: value for name, value in self._single().items() if name in dirty},
            "votes": {name: self._votes[name] for name in shown if name in dirty},
            "receipts": {str(offset): self._notices[offset] for offset in self._shown_notices() if offset in dirty},
        }
        return {name: value for name, value in told.items() if value or name in ("rate", "givers")}

    @property
    def withheld(self) -> dict[str, int]:
        """Events that the room has withheld so far, by reason, but for those that are 0."""
        reasons = WithheldReason.EVENTS, WithheldReason.BYTES
        return {reason.value: count for reason, count in zip(reasons, self._withheld, strict=True) if count}

    def all_totals(self) -> dict[str, Any]:
        """All totals that are not 0, the rate of likes as it was last told."""
        told = {
            **self._single(),
            "votes": {name: self._votes[name] for name in self._shown_votes()},
            "receipts": {str(offset): self._notices[offset] for offset in self._shown_notices()},
        }
        return {name: value for name, value in told.items() if value}

    def _single(self) -> dict[str, Any]:
        """The totals that are told as a whole."""
        return {
            "peak": self._peak,
            "unique": self._unique,
            "rate": self._rate,
            "withheld": self.withheld,
            "reactions": self._top,
            "givers": self._givers,
        }

    def _shown_votes(self) -> list[str]:
        """Names of the votes for entries that are there; the broker remembers those of entries that are gone, too."""
        names = [f"{kind}:{key}" for kind, key, _, _ in self._entries()] if self._votes else []
        return [name for name in names if name in self._votes]

    def _shown_notices(self) -> list[int]:
        return sorted(self._notices)[-NOTICES:]

    # -- what newcomers get -------------------------------------------------------------------------------------------

    def snapshot(self, position: Position, now_ms: int, revision: Hashable, variants: Collection[int]) -> dict[int, bytes]:
        """Finished frames of the room's state at ``position``, in these variants at least; the same objects until something
        changes.

        :param revision: differs whenever the entries or the recent events do.
        """
        key = (position, self._changes, revision)
        if key != self._key:
            self._key = key
            self._frames = {}
            self.builds += 1
        missing = [variant for variant in variants if variant not in self._frames]
        if missing:
            messages = dict(self._messages(position, now_ms, {feed_of(variant) for variant in missing}))
            if len(self._translated) > _KEPT * self._settings.recent_events:
                self._translated.clear()
            self._frames.update(encode_shared(messages, missing, self._translated))
        return self._frames

    def snapshot_at(self, position: Position, now_ms: int, variant: int) -> bytes:
        """A finished frame of the state as it is now, as if it were that after an earlier position. What changed in between is
        told once more by what follows, which does no harm."""
        return encode_shared(dict(self._messages(position, now_ms, (feed_of(variant),))), (variant,), {})[variant]

    def _messages(self, position: Position, now_ms: int, feeds: Collection[int]) -> Iterator[tuple[int, ServerMessage]]:
        heartbeat_ms = int(self._settings.heartbeat_seconds * 1000)
        totals, entries, recent = self.all_totals(), self._entries(), self._recent()
        for feed in feeds:
            view = self._feeds.view(feed)
            shown = [
                (offset, time, Raw(event))
                for offset, time, event in recent
                if offset <= position.offset and view.shows(event, time)
            ]
            yield (
                feed,
                Snapshot(
                    self.handle,
                    self.room,
                    position.epoch,
                    position.offset,
                    now_ms,
                    self.counters,
                    heartbeat_ms,
                    totals,
                    entries,
                    shown,
                ),
            )

    def gap(self, epoch: int, first: int, last: int, reason: str, variants: Collection[int]) -> dict[int, bytes]:
        """Finished frames that tell everybody of missing offsets (`engine.schema.Gap`)."""
        return encode_shared(Gap(self.handle, epoch, first, last, reason), variants)
