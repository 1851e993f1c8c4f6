"""What crosses a link, as plain values that could go over a socket. Versioned with `VERSION`.

Owns the shapes. Knows neither edge nor hub. Up is edge to hub, down is hub to edge; rooms go by name. A **viewer** here is a
number that an edge gave one connection and will not give again; only that edge can read it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from engine.schema import Author

__all__ = [
    "VERSION",
    "Backfill",
    "CloseRoom",
    "DirectTo",
    "Down",
    "FetchBackfill",
    "FetchSnapshot",
    "Frames",
    "Likes",
    "OpenRoom",
    "Pace",
    "Presence",
    "QualitySum",
    "RefuseRoom",
    "ReplyTo",
    "Restart",
    "Say",
    "SharedSnapshot",
    "Stop",
    "Up",
    "Wants",
]

VERSION: Final = 2

# -- up ---------------------------------------------------------------------------------------------------------------


class OpenRoom(Struct, array_like=True, frozen=True, tag=1):
    """The edge has a viewer for this room and needs its frames in these variants. Answered by `SharedSnapshot` or
    `RefuseRoom`.

    An edge that comes back over a new link opens its rooms again and says where its viewers are. What they are missing comes
    before the `SharedSnapshot`: as `Frames`, or as a `Restart` if the room is in another epoch now.

    :ivar opening: number of the time from when the edge opened the room until it closes it; the same when it comes back over
        another link. The answers carry it, so that one to an earlier opening is not taken for one to this. With the edge's name
        it names the edge's count of `Likes`.
    :ivar epoch: with ``offset`` the position up to which the edge's viewers have been given everything; 0: it has none yet.
    """

    room: str
    opening: int
    variants: list[int]
    epoch: int = 0
    offset: int = 0


class CloseRoom(Struct, array_like=True, frozen=True, tag=2, gc=False):
    """The edge has nobody there any more and forgot the room."""

    room: str


class Wants(Struct, array_like=True, frozen=True, tag=3):
    """The variants (`engine.room.encoder.variant_of`) this edge needs of the room's frames from now on. Answered by
    `SharedSnapshot`; the frames after it come in all of them."""

    room: str
    variants: list[int]


class Say(Struct, array_like=True, frozen=True, tag=4):
    """An event a viewer sent. ``name`` is empty for a comment, else the name of a custom event. Answered by `ReplyTo`."""

    room: str
    viewer: int
    session: str
    ref: int
    author: Author
    body: str
    name: str = ""


class Likes(Struct, array_like=True, frozen=True, tag=5, gc=False):
    """Likes counted at this edge in this room since it opened it, cumulative. Told again over another link."""

    room: str
    total: int


class Presence(Struct, array_like=True, frozen=True, tag=6, gc=False):
    """Viewers of the room at this edge now."""

    room: str
    viewers: int


class Pace(Struct, array_like=True, frozen=True, tag=7, gc=False):
    """How long the edge's fan-out took for how many frames, over all rooms, since the last report."""

    seconds: float
    frames: int


class FetchBackfill(Struct, array_like=True, frozen=True, tag=8, gc=False):
    """Frames for the offsets ``after + 1 .. before - 1``, which the edge's log does not have. Answered by `Backfill`."""

    room: str
    epoch: int
    after: int
    before: int
    variant: int


class FetchSnapshot(Struct, array_like=True, frozen=True, tag=9, gc=False):
    """A newer snapshot. Answered by `SharedSnapshot`."""

    room: str


class DirectTo(Struct, array_like=True, frozen=True, tag=10):
    """A message to one user of the room. Goes up from the sender's edge and down to every edge of the room."""

    room: str
    author: Author
    user: str
    body: str
    time: int = 0


class QualitySum(Struct, array_like=True, frozen=True, tag=11, gc=False):
    """Sums of the viewers' quality reports since the last one."""

    room: str
    reports: int
    received: int
    gaps: int
    reconnects: int


Up = OpenRoom | CloseRoom | Wants | Say | Likes | Presence | Pace | FetchBackfill | FetchSnapshot | DirectTo | QualitySum

# -- down -------------------------------------------------------------------------------------------------------------


class SharedSnapshot(Struct, array_like=True, frozen=True, tag=32):
    """A room's state after ``offset`` in the uncompressed variants that the edge needs; `Frames` continue after it."""

    room: str
    opening: int
    epoch: int
    offset: int
    frames: dict[int, bytes]


class Frames(Struct, array_like=True, frozen=True, tag=33):
    """One batch of a room, finished: WebSocket frame bytes by variant."""

    room: str
    epoch: int
    first: int
    last: int
    frames: dict[int, bytes]


class Backfill(Struct, array_like=True, frozen=True, tag=34):
    """Answer to `FetchBackfill`: consecutive batches that join up with ``before``. The first one may begin later than
    asked for, or the list be empty: what is older is gone."""

    room: str
    epoch: int
    variant: int
    before: int
    batches: list[tuple[int, int, bytes]]


class ReplyTo(Struct, array_like=True, frozen=True, tag=35, gc=False):
    """Answer to one `Say`."""

    viewer: int
    ref: int
    code: int
    offset: int = 0
    text: str = ""
    retry_after_ms: int = 0


class RefuseRoom(Struct, array_like=True, frozen=True, tag=36, gc=False):
    """The room cannot be opened (`engine.errors.Code`)."""

    room: str
    opening: int
    code: int
    text: str


class Restart(Struct, array_like=True, frozen=True, tag=37):
    """The room's history was lost; it goes on in a new epoch after ``offset``. The frames say so: a `Gap`, a `Snapshot`."""

    room: str
    epoch: int
    offset: int
    frames: dict[int, bytes]


class Stop(Struct, array_like=True, frozen=True, tag=38, gc=False):
    """The last message: nothing more will come, every frame has been handed over."""


Down = SharedSnapshot | Frames | Backfill | ReplyTo | RefuseRoom | Restart | DirectTo | Stop
