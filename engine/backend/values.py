"""What is seen of a room by the product behind it, as plain values.

Owns their shapes. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Held", "Past", "PastEvent", "RoomStatistics", "Sanctioned", "StateEntry"]


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One offset of a room's history.

    :ivar time: Unix milliseconds.
    :ivar event: as in `engine.schema.Batch`, its kind first; kind 0 for what was deleted or has vanished.
    """

    offset: int
    time: int
    event: list[Any]


@dataclass(frozen=True, slots=True)
class Past:
    """A part of a room's history.

    :ivar head: the room's last offset.
    :ivar events: at consecutive offsets.
    """

    epoch: int
    head: int
    events: list[PastEvent]


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One thing of a room's state (`engine.hub.kinds`).

    :ivar value: not to be changed.
    :ivar version: to build on (`Room.set`).
    :ivar born: version with which it was created.
    """

    kind: str
    key: str
    value: dict[str, Any]
    version: int
    born: int


@dataclass(frozen=True, slots=True)
class RoomStatistics:
    """A frozen picture of an open room.

    :ivar offset: of its last event.
    :ivar totals: see `engine.schema.Batch`.
    :ivar refused: comments that its rules refused at this node, by the name of the code.
    :ivar snapshots: built at this node.
    """

    room: str
    epoch: int
    offset: int
    likes: int
    viewers: int
    totals: dict[str, Any]
    refused: dict[str, int]
    snapshots: int


@dataclass(frozen=True, slots=True)
class Held:
    """A comment that waits.

    :ivar offset: backstage; by it the comment is approved or rejected.
    :ivar time: Unix milliseconds.
    :ivar event: as it will be published.
    :ivar reason: the words for which it is held.
    """

    offset: int
    time: int
    event: list[Any]
    reason: str


@dataclass(frozen=True, slots=True)
class Sanctioned:
    """Who is muted, shadow-muted or banned.

    :ivar kind: ``mute``, ``shadow``, ``ban``, or ``address``: a ban of that address.
    :ivar subject: id of the user, or the address.
    :ivar until: Unix milliseconds; 0: for good.
    :ivar actor: id of who did it.
    :ivar everywhere: in all rooms.
    """

    kind: str
    subject: str
    until: int
    actor: str
    reason: str
    everywhere: bool
