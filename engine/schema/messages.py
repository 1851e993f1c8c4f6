"""What the server sends.

Owns each message's shape. Pure. Those about money are in `engine.schema.money`.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from engine.schema.events import Author

__all__ = ["Batch", "Bye", "DirectMessage", "Gap", "Joined", "Page", "Pong", "Reply", "Snapshot", "State"]


class Joined(Struct, array_like=True, frozen=True, tag=32, gc=False):
    """``[32, ref, handle, session, user, role, resumed, heartbeat_ms]``: private answer to `Join`.

    If ``resumed``, the batches that follow continue at the position; a `Gap` in between names what is missing. The first
    batch may begin before the position: drop the overlap. Otherwise a `Snapshot` follows.

    :ivar user: id under which this viewer's events appear.
    :ivar heartbeat_ms: a room is never silent for longer; after two of these without a frame, reconnect.
    """

    ref: int
    handle: int
    session: str
    user: str
    role: str
    resumed: bool
    heartbeat_ms: int


class Snapshot(Struct, array_like=True, frozen=True, tag=33, gc=False):
    """``[33, handle, room, epoch, offset, time, counters, heartbeat_ms, totals, state, recent]``: state of the room
    *after* ``offset``; the next batch begins at ``offset + 1``. Shared by everybody who joins about now.

    :ivar counters: ``[likes, viewers]``, totals.
    :ivar totals: see `Batch`; all that are not 0.
    :ivar state: ``[kind, key, value, version]`` of each entry, as in `StateEvent`.
    :ivar recent: ``[offset, time, event]`` of the last events before, oldest first; for the screen, not for the count.
    """

    handle: int
    room: str
    epoch: int
    offset: int
    time: int
    counters: tuple[int, ...]
    heartbeat_ms: int
    totals: dict[str, Any] = {}
    state: list[tuple[str, str, Any, int]] = []
    recent: list[tuple[int, int, Raw]] = []


class Batch(Struct, array_like=True, frozen=True, tag=34):
    """``[34, handle, epoch, first, last, time, events, delays, counters, totals]``: the offsets ``first..last`` of a room,
    complete.

    Without events (``last == first - 1``) it is a heartbeat, or carries counters only.

    :ivar time: of the first event; of the batch when there is none.
    :ivar events: see `Event`; an `OmittedEvent` covers ``count`` offsets, every other event one.
    :ivar delays: milliseconds after ``time``, one for each element of ``events``; empty when all are 0.
    :ivar counters: ``[likes, viewers]``, totals.
    :ivar totals: those that have changed, all of them in a heartbeat: ``peak`` and ``unique`` viewers; ``rate``, likes a
        second; ``withheld``, events by reason (`WithheldReason`); ``reactions``, the most given; ``givers``, who gave most in
        the present stream: ``[user, name, given]`` of each; ``votes``, of polls and questions, a list for each ``kind:key``;
        ``receipts``, ``[came, read]`` by the offset of the notice.
    """

    handle: int
    epoch: int
    first: int
    last: int
    time: int
    events: list[Raw]
    delays: list[int] = []
    counters: tuple[int, ...] = ()
    totals: dict[str, Any] = {}


class Reply(Struct, array_like=True, frozen=True, tag=35, gc=False):
    """``[35, ref, code, offset, text, retry_after_ms]``: answer to one request (`engine.errors.Code`; 0 is success).

    :ivar ref: of the request; 0 when the request had none.
    :ivar offset: of the event that came of the request, such as a comment or a change of the state; 0 if none did.
    """

    ref: int
    code: int
    offset: int = 0
    text: str = ""
    retry_after_ms: int = 0


class Gap(Struct, array_like=True, frozen=True, tag=36, gc=False):
    """``[36, handle, epoch, first, last, reason]``: the offsets ``first..last`` of ``epoch`` will not come.

    :ivar last: 0 when unknown (the epoch's end is not known any more).
    :ivar reason: ``lag`` (this viewer was too slow), ``history`` (older than what is kept; a `Snapshot` or the next batch
        follows) or ``epoch`` (the room's history was lost; a `Snapshot` of the new epoch follows).
    """

    handle: int
    epoch: int
    first: int
    last: int
    reason: str


class Bye(Struct, array_like=True, frozen=True, tag=37, gc=False):
    """``[37, code, text, return_after_ms, return_window_ms]``: the server is about to close with ``code``
    (`engine.errors.Close`). Come back after ``return_after_ms`` plus a random part of ``return_window_ms``."""

    code: int
    text: str
    return_after_ms: int
    return_window_ms: int


class Pong(Struct, array_like=True, frozen=True, tag=38, gc=False):
    """``[38, ref, time]``: answer to `Ping`; ``time`` is the server's, Unix milliseconds."""

    ref: int
    time: int


class DirectMessage(Struct, array_like=True, frozen=True, tag=39, gc=False):
    """``[39, handle, author, body, time]``: for this user only."""

    handle: int
    author: Author
    body: str
    time: int


class Page(Struct, array_like=True, frozen=True, tag=40, gc=False):
    """``[40, ref, handle, epoch, first, last, times, events]``: answer to `ReadHistory`: the offsets ``first..last``, complete;
    ``last == first - 1`` when nothing older is kept.

    :ivar times: Unix milliseconds, one for each element of ``events``.
    :ivar events: as in `Batch`.
    """

    ref: int
    handle: int
    epoch: int
    first: int
    last: int
    times: list[int]
    events: list[Raw]


class State(Struct, array_like=True, frozen=True, tag=41, gc=False):
    """``[41, ref, handle, epoch, offset, totals, state]``: answer to `ReadState`: as in `Snapshot`. Changes up to
    ``offset`` are part of it, so that the client applies later ones only."""

    ref: int
    handle: int
    epoch: int
    offset: int
    totals: dict[str, Any]
    state: list[tuple[str, str, Any, int]]
