"""What crosses a link, as plain values that could go over a socket. Versioned with `VERSION`.

Owns the shapes. Knows neither edge nor hub. Up is edge to hub, down is hub to edge; rooms go by name. A **viewer** here is a
number that an edge gave one connection and will not give again; only that edge can read it.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from engine.access import VIEWER, Standing
from engine.quality import RoomQuality
from engine.schema import Act, Author

__all__ = [
    "VERSION",
    "VIEWER",
    "Arrivals",
    "AskRoll",
    "Backfill",
    "Barred",
    "CloseRoom",
    "DirectTo",
    "Down",
    "Expel",
    "FetchBackfill",
    "FetchSnapshot",
    "Frames",
    "Gate",
    "Knock",
    "Left",
    "Likes",
    "Located",
    "Notable",
    "OpenRoom",
    "Pace",
    "Packets",
    "Presence",
    "PrivateTo",
    "Qualities",
    "Receipts",
    "Redact",
    "RefuseRoom",
    "ReplyTo",
    "Request",
    "Restart",
    "Roll",
    "Say",
    "SharedSnapshot",
    "Standing",
    "Stop",
    "Trust",
    "Up",
    "Vitals",
    "Wants",
]

VERSION: Final = 6

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
    """An event a viewer sent. ``name`` is empty for a comment, else the name of a custom event. Answered by `ReplyTo`.

    :ivar standing: of its author.
    :ivar reply_to: as ``mentions`` and ``lifetime_ms`` in `engine.schema.Comment`.
    """

    room: str
    viewer: int
    session: str
    ref: int
    author: Author
    body: str
    name: str = ""
    standing: Standing = VIEWER
    reply_to: int = 0
    mentions: list[str] = []
    lifetime_ms: int = 0


class Likes(Struct, array_like=True, frozen=True, tag=5, gc=False):
    """Likes and reactions counted at this edge in this room since it opened it, cumulative. Told again over another link."""

    room: str
    total: int
    reactions: dict[str, int] = {}


class Presence(Struct, array_like=True, frozen=True, tag=6, gc=False):
    """Viewers of the room at this edge now."""

    room: str
    viewers: int


class Pace(Struct, array_like=True, frozen=True, tag=7, gc=False):
    """How long the edge's fan-out took for how many frames, over all rooms, since the last report."""

    seconds: float
    frames: int


class FetchBackfill(Struct, array_like=True, frozen=True, tag=8, gc=False):
    """Frames for the offsets ``after + 1 .. before - 1``, which the edge's log does not have. Answered by `Backfill`.

    :ivar snapshot: and the state as if it were that after ``after``, for who comes from another epoch.
    """

    room: str
    epoch: int
    after: int
    before: int
    variant: int
    snapshot: bool = False


class FetchSnapshot(Struct, array_like=True, frozen=True, tag=9, gc=False):
    """A newer snapshot. Answered by `SharedSnapshot`."""

    room: str


class DirectTo(Struct, array_like=True, frozen=True, tag=10):
    """A message to one user of the room. Goes up from the sender's edge and down to every edge of the room.

    :ivar standing: of its author.
    """

    room: str
    author: Author
    user: str
    body: str
    time: int = 0
    standing: Standing = VIEWER


class Qualities(Struct, array_like=True, frozen=True, tag=11):
    """How this edge's rooms reached their viewers since the last time, of each room where anything happened
    (``quality.seconds``)."""

    rooms: list[RoomQuality]


class Request(Struct, array_like=True, frozen=True, tag=12):
    """Something else that a viewer wants. Answered by `ReplyTo` or `PrivateTo`.

    :ivar codec: in which a private answer is to be encoded.
    """

    room: str
    viewer: int
    session: str
    author: Author
    standing: Standing
    codec: int
    act: Act

    @property
    def ref(self) -> int:
        """Of the viewer's message."""
        return self.act.ref


class Receipts(Struct, array_like=True, frozen=True, tag=13, gc=False):
    """Users of whom this edge has heard, since the last report, that they have or have read a notice."""

    room: str
    offset: int
    read: bool
    users: list[str]


class Roll(Struct, array_like=True, frozen=True, tag=17, gc=False):
    """Answer to `AskRoll`: users of the room who are at this edge, in parts of at most 1,000."""

    room: str
    offset: int
    users: list[str]


class Left(Struct, array_like=True, frozen=True, tag=18, gc=False):
    """A session is gone that had a `Change` with ``on_leave``."""

    room: str
    session: str


class Arrivals(Struct, array_like=True, frozen=True, tag=14, gc=False):
    """Users who have entered the room at this edge since the last report; each once while it is here."""

    room: str
    users: list[str]


class Notable(Struct, array_like=True, frozen=True, tag=15, gc=False):
    """A notable viewer has come, or the last of its connections at this edge is gone. Those who are here are told again when
    the edge opens the room again.

    :ivar session: of the connection that came first.
    """

    room: str
    author: Author
    standing: Standing
    session: str
    present: bool


class Located(Struct, array_like=True, frozen=True, tag=16, gc=False):
    """A user that the edge was to send away with its address (`Barred.locate`) was at this one."""

    room: str
    user: str
    address: str


class Knock(Struct, array_like=True, frozen=True, tag=19, gc=False):
    """May this viewer enter? Only asked while the last `Gate` said so. Answered by `ReplyTo`; told again over another link.

    :ivar ref: names this knock: below 0, so that no message of a viewer's has it.
    :ivar address: as `engine.edge.admission` writes it; empty if unknown.
    """

    room: str
    viewer: int
    ref: int
    author: Author
    standing: Standing = VIEWER
    address: str = ""


class Vitals(Struct, array_like=True, frozen=True, tag=20, gc=False):
    """`engine.edge.EdgeStatistics` of an edge in another process, as a table; every few seconds."""

    statistics: dict[str, Any]


Up = (
    OpenRoom
    | CloseRoom
    | Wants
    | Say
    | Likes
    | Presence
    | Pace
    | FetchBackfill
    | FetchSnapshot
    | DirectTo
    | Qualities
    | Request
    | Receipts
    | Arrivals
    | Notable
    | Located
    | Roll
    | Left
    | Knock
    | Vitals
)

# -- down -------------------------------------------------------------------------------------------------------------


class SharedSnapshot(Struct, array_like=True, frozen=True, tag=32):
    """A room's state after ``offset`` in the variants that the edge needs; `Frames` continue after it.

    :ivar origin: offset after which the hub began to show this epoch, if that is not long ago; -1, or else, ``offset``.
    """

    room: str
    opening: int
    epoch: int
    offset: int
    frames: dict[int, bytes]
    origin: int = -1


class Frames(Struct, array_like=True, frozen=True, tag=33):
    """One batch of a room, finished: WebSocket frame bytes by variant."""

    room: str
    epoch: int
    first: int
    last: int
    frames: dict[int, bytes]


class Backfill(Struct, array_like=True, frozen=True, tag=34):
    """Answer to `FetchBackfill`: consecutive batches that join up with ``before``. The first one may begin later than
    asked for, or the list be empty: what is older is gone.

    :ivar after: as it was asked for; ``snapshot`` a frame if one was.
    """

    room: str
    epoch: int
    variant: int
    before: int
    batches: list[tuple[int, int, bytes]]
    after: int = 0
    snapshot: bytes = b""


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


class PrivateTo(Struct, array_like=True, frozen=True, tag=39, gc=False):
    """Answer to one `Request`: a finished frame for that viewer only."""

    viewer: int
    ref: int
    frame: bytes


class Redact(Struct, array_like=True, frozen=True, tag=40, gc=False):
    """The events at these offsets are gone: what the edge holds of them is not to be sent to anybody any more.

    :ivar offsets: first and last of each stretch, ascending, one after the other.
    :ivar reason: `engine.schema.OmittedReason`.
    """

    room: str
    epoch: int
    offsets: list[int]
    reason: int


class Barred(Struct, array_like=True, frozen=True, tag=41, gc=False):
    """Who may not be in the room; the whole of it each time. Whoever is there is sent away (`engine.errors.Close.BANNED`).

    :ivar users: id → Unix milliseconds until when, 0: for good.
    :ivar addresses: the same by address, as `engine.edge.admission` writes it.
    :ivar locate: users whose address is to be told (`Located`) when they are found.
    """

    room: str
    users: dict[str, int]
    addresses: dict[str, int]
    locate: list[str]


class AskRoll(Struct, array_like=True, frozen=True, tag=43, gc=False):
    """Tell who is in the room, for the notice at this offset. Answered by `Roll`."""

    room: str
    offset: int


class Packets(Struct, array_like=True, frozen=True, tag=44):
    """The red packets of the room that are not over, all of them each time. Claims for others are dropped: what is said of
    their end tells everybody. `Claim` requests that wait for an answer are over, too, if their packet was among the last ones
    and is not any more. Comes before the frames that tell of the change."""

    room: str
    open: list[int]


class Expel(Struct, array_like=True, frozen=True, tag=42, gc=False):
    """Send a user out of the room now (`engine.errors.Close.KICKED`)."""

    room: str
    user: str


class Trust(Struct, array_like=True, frozen=True, tag=45):
    """Which tokens hold beside those signed with keys of the settings; the whole of it each time.

    :ivar jwks: JSON Web Keys (RFC 7517), JSON each; None: not known yet, who needs one of them is to try again.
    :ivar revoked: ``jti:`` with the id of a token, and ``sub:`` with that of a user → Unix milliseconds: that token, or those
        of the user that were issued until then, do not hold.
    :ivar passes: what each pass grants (`engine.tokens.Claims` in JSON), by the hexadecimal BLAKE2b-128 of the pass.
    """

    jwks: list[str] | None
    revoked: dict[str, int]
    passes: dict[str, str] = {}


class Gate(Struct, array_like=True, frozen=True, tag=46, gc=False):
    """Whether viewers have to wait for the answer to a `Knock` before they enter."""

    asked: bool


Down = (
    SharedSnapshot
    | Frames
    | Backfill
    | ReplyTo
    | RefuseRoom
    | Restart
    | DirectTo
    | Stop
    | PrivateTo
    | Redact
    | Barred
    | AskRoll
    | Packets
    | Expel
    | Trust
    | Gate
)
