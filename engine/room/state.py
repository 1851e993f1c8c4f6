"""What a room is right now, for those who come in: its counters and a snapshot shared by all who join about now.

Owns the totals of a room (hub half) and the encoded snapshot, built at most once for each position and set of counters.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.brokers.base import Position, Totals
from engine.room.encoder import encode_shared
from engine.schema import Gap, Snapshot, handle_of

__all__ = ["RoomState"]


class RoomState:
    """Counters and snapshot of one room.

    :ivar counters: ``(likes, viewers)``, totals over all nodes.
    :ivar announced: the counters as last sent to viewers.
    """

    __slots__ = ("_built", "_frames", "announced", "counters", "handle", "room")

    def __init__(self, room: str) -> None:
        self.room = room
        self.handle = handle_of(room)
        self.counters: tuple[int, ...] = (0, 0)
        self.announced: tuple[int, ...] = (0, 0)
        self._built: tuple[object, ...] | None = None
        self._frames: dict[int, bytes] = {}

    @property
    def changed(self) -> bool:
        """Whether the counters differ from what viewers know."""
        return self.counters != self.announced

    def update(self, totals: Totals) -> None:
        """Take in new totals; likes never go down."""
        self.counters = (max(totals.likes, self.counters[0]), totals.viewers)

    def snapshot(self, position: Position, now_ms: int, heartbeat_ms: int, variants: Collection[int]) -> dict[int, bytes]:
        """Finished frames of the room's state at ``position``; the same objects until something changes."""
        key = (position, self.counters, tuple(sorted(variants)))
        if key != self._built:
            epoch, offset = position
            message = Snapshot(self.handle, self.room, epoch, offset, now_ms, self.counters, heartbeat_ms)
            self._frames = encode_shared(message, variants)
            self._built = key
        return self._frames

    def gap(self, epoch: int, first: int, last: int, reason: str, variants: Collection[int]) -> dict[int, bytes]:
        """Finished frames that tell everybody of missing offsets (`engine.schema.Gap`)."""
        return encode_shared(Gap(self.handle, epoch, first, last, reason), variants)
