"""What is known of how a room reaches its viewers, as values that are added up.

Owns their shapes and their sums. Pure. **Entitled** is what the room's own numbering says: the offsets that passed while a
viewer was in the room or away from it for a moment, by its position. **Received** is what the viewer counted one by one as it
came, tombstones included. They are found in two ways, so that their quotient can be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct, field

__all__ = ["Measured", "RoomQuality", "Sent"]

_Key = TypeVar("_Key", int, str)


class Measured(Struct, array_like=True, gc=False):
    """Sums of viewers' reports, those who take part in the sample: what they got.

    :ivar reports: how many.
    :ivar entitled: offsets; ``received`` those that came.
    :ivar gaps: stretches of offsets that did not come, those whose length nobody knows included.
    :ivar delays: how many events came how late (`engine.quality.delays`), by bucket.
    :ivar reconnects: how often they had to come back, by cause: the code of the close or the refusal, as text.
    """

    reports: int = 0
    entitled: int = 0
    received: int = 0
    gaps: int = 0
    delays: dict[int, int] = field(default_factory=dict)
    reconnects: dict[str, int] = field(default_factory=dict)

    def add(self, other: Measured) -> None:
        """Add another sum to this one."""
        self.reports += other.reports
        self.entitled += other.entitled
        self.received += other.received
        self.gaps += other.gaps
        _add(self.delays, other.delays)
        _add(self.reconnects, other.reconnects)

    @property
    def arrival_rate(self) -> float | None:
        """Received by entitled, 1 at most; None of nothing."""
        return self.received / self.entitled if self.entitled else None


class Sent(Struct, array_like=True, gc=False):
    """What edges did for all viewers of a room, in the sample or not.

    :ivar entitled: deliveries that were due: the offsets of each frame times the viewers it was for.
    :ivar skipped: of these, those that the lag policy spared a viewer who was too far behind.
    :ivar stalls: writes that a socket did not take whole.
    :ivar lag_policies: how often the lag policy was applied.
    :ivar closed: viewers whose connection ended while they were in the room, by WebSocket code; 1006: without one.
    :ivar laggards: viewers who have something half-sent or left over **now**; ``lag_max``, seconds that the one furthest behind
        has been waiting **now**. Not sums.
    """

    entitled: int = 0
    skipped: int = 0
    stalls: int = 0
    lag_policies: int = 0
    closed: dict[int, int] = field(default_factory=dict)
    laggards: int = 0
    lag_max: float = 0.0

    def add(self, other: Sent) -> None:
        """Add what has happened since; what there is now is the caller's to put together."""
        self.entitled += other.entitled
        self.skipped += other.skipped
        self.stalls += other.stalls
        self.lag_policies += other.lag_policies
        _add(self.closed, other.closed)

    @property
    def rate(self) -> float | None:
        """Deliveries that were made, by those that were due; None of nothing."""
        return 1 - self.skipped / self.entitled if self.entitled else None


class RoomQuality(Struct, array_like=True):
    """What an edge tells of one room, since it told last.

    :ivar networks: reports by the name of the viewer's network (``quality.networks``).
    """

    room: str
    sent: Sent
    networks: dict[str, Measured]


def _add(sums: dict[_Key, int], more: Mapping[_Key, int]) -> None:
    for key, count in more.items():
        sums[key] = sums.get(key, 0) + count
