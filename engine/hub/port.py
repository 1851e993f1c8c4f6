"""One edge as the hub sees it: its link, what it needs, how fast it is.

Owns the messages collected for an edge during one turn. Must not know what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.hub.actor import Actor
from engine.link.base import End
from engine.link.messages import Down, Pace, Stop, Up

__all__ = ["Nowhere", "Port"]

_FIRST_GUESS: Final = 12e-6
"""Seconds a frame takes until an edge has reported; the kernel's cost of a small loopback send on current machines."""
_MEMORY: Final = 0.3
"""Weight of a new report against the older ones: a few ticks to follow, no jump for one pause."""


class Nowhere(End[Down, Up]):
    """A link behind which nobody is: the hub's own, for rooms that it has open for itself."""

    def send(self, messages: Sequence[Down]) -> None:
        """Nobody hears it."""

    async def receive(self) -> Sequence[Up]:
        """Nobody says anything."""
        return ()

    @property
    def backlog(self) -> int:
        """Nothing waits."""
        return 0

    @property
    def sent_bytes(self) -> int:
        """Nothing was sent."""
        return 0

    def close(self) -> None:
        """There is nothing to close."""


class Port:
    """The hub's side of one edge.

    :param edge: incarnation of the edge's process, or another name that no other edge has.
    :ivar wants: variants the edge needs, by room.
    :ivar openings: number of its present opening, by room.
    :ivar notables: who is there and notable, by room and id; ``leavers`` the sessions of which something is to be deleted when
        they leave, by room.
    :ivar seconds_per_frame: of its fan-out, waits between slices included.
    """

    __slots__ = ("_link", "_outbox", "_stopped", "edge", "leavers", "notables", "openings", "seconds_per_frame", "wants")

    def __init__(self, link: End[Down, Up], edge: str) -> None:
        self._link = link
        self.edge = edge
        self._outbox: list[Down] = []
        self._stopped = False
        self.wants: dict[str, tuple[int, ...]] = {}
        self.openings: dict[str, int] = {}
        self.notables: dict[str, dict[str, Actor]] = {}
        self.leavers: dict[str, set[str]] = {}
        self.seconds_per_frame = _FIRST_GUESS

    async def receive(self) -> Sequence[Up]:
        """What the edge sent; empty when it is gone."""
        return await self._link.receive()

    def post(self, message: Down) -> None:
        """Collect a message for the edge. After `stop` there are none."""
        if not self._stopped:
            self._outbox.append(message)

    def stop(self) -> None:
        """The edge is to be told that what was collected is the last."""
        self.post(Stop())
        self._stopped = True

    def flush(self) -> None:
        """Hand over what was collected."""
        if self._outbox:
            outbox, self._outbox = self._outbox, []
            self._link.send(outbox)

    @property
    def sent_bytes(self) -> int:
        """To the edge so far; 0 if it is in the same process."""
        return self._link.sent_bytes

    def close(self) -> None:
        """Let the edge go."""
        self._link.close()

    def forget(self, room: str) -> None:
        """The edge does not show the room any more."""
        self.wants.pop(room, None)
        self.openings.pop(room, None)
        self.notables.pop(room, None)
        self.leavers.pop(room, None)

    def source(self, room: str) -> str:
        """Name of the edge's count of likes in this opening of a room: the same at every hub."""
        return f"{self.edge}/{self.openings[room]}"

    def learn(self, pace: Pace) -> None:
        """Take in a report of the edge's fan-out."""
        if pace.frames:
            self.seconds_per_frame += _MEMORY * (pace.seconds / pace.frames - self.seconds_per_frame)
