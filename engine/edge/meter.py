"""What one room's viewers at this edge were to get, did not get, and say that they got: counted until it is told.

Owns the sums and what a viewer's report may say. Must not know sockets, nor when anything is told (`engine.edge.quality`).

Nothing here happens for each viewer and frame. What is due is added once for a frame and track; everything else only when
something is amiss, when a viewer comes or goes, or when one reports.

Offsets of all epochs that were shown lie on one line, each at its **place**. So how much lies between two of them is a
difference, also when the epoch has changed in between.

A viewer may say what it wants of how much came to it: that is what is asked. It may not say more than one viewer can. What its
report says it was entitled to is at most what the room has passed since what its last report on this connection told, or since
where it came in. The last one of a viewer who comes back may have reached nobody: what passed within two minutes before
counts, too, and all of the room's while it has not been here for so long. A report of more is taken at the weight of that, all
its parts alike: of who was away for an hour, and of who lies. Why it came back it says in the first report of a connection: it
has not come back since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

from engine.edge.session import Session
from engine.quality import Measured, RoomQuality, Sent
from engine.schema import Quality

__all__ = ["OTHER", "Meter", "code_of"]

OTHER: Final = "other"
"""Stands for the networks, or the causes, beyond those that are told apart."""
_EPOCHS: Final = 8
"""Epochs of which places are known. An older one has left any log."""
_REPORT_SECONDS: Final = 5.0
"""Time between two reports of a connection that count."""
_REACH_SECONDS: Final = 120.0
"""How far back a viewer who returns may have to tell: two of its intervals, and a moment away."""
_STEP_SECONDS: Final = 30.0
"""Resolution of that."""
_TIMES: Final = 100
"""Gaps, and reconnects for whatever cause, that count of one report: nobody has more of them in a minute."""
_CAUSES: Final = 64
"""Causes told apart in one network between two times that it is told."""
_CODE_DIGITS: Final = 4
_OWN_CODES: Final = 1100
"""WebSocket codes from here on mean what a server and its clients agree on: for a viewer to say they mean nothing."""
_NORMAL: Final = 1000


class Meter:
    """See the module's docstring.

    :param changed: called when there is something to tell again.
    :ivar room: name.
    """

    __slots__ = ("_bases", "_changed", "_networks", "_past", "_sent", "_told", "room")

    def __init__(self, room: str = "", changed: Callable[[Meter], None] = lambda _: None) -> None:
        self.room = room
        self._changed = changed
        self._told = True
        self._sent = Sent()
        self._networks: dict[str, Measured] = {}
        self._bases: dict[int, int] = {}
        self._past: deque[tuple[float, int]] = deque()

    # -- places -------------------------------------------------------------------------------------------------------

    def begins(self, epoch: int) -> None:
        """A track begins; its offsets are their places, unless its epoch followed another one here."""
        if epoch not in self._bases:
            self._add(epoch, 0)

    def goes_on(self, epoch: int, head: int, following: int, offset: int) -> None:
        """An epoch is over after ``head``; the following one goes on after ``offset``. Each track may say so."""
        if following not in self._bases:
            self._add(following, self._bases.get(epoch, 0) + head - offset)

    def _add(self, epoch: int, base: int) -> None:
        self._bases[epoch] = base
        if len(self._bases) > _EPOCHS:
            del self._bases[next(iter(self._bases))]

    def place(self, epoch: int, offset: int) -> int:
        """Of an offset."""
        base = self._bases.get(epoch, 0)
        # All who come in at one entry share its number.
        return base + offset if base else offset

    def after(self, epoch: int, offset: int) -> float:
        """Place of what follows a viewer's position; infinity for one in an epoch that was not here."""
        return self.place(epoch, offset + 1) if epoch in self._bases else inf

    def reach(self, epoch: int, now: float) -> int:
        """Place from which on a viewer may report who returns now."""
        past = self._past
        if past and past[0][0] <= now - _REACH_SECONDS:
            return past[0][1]
        return self.place(epoch, 1)

    # -- what edges do ------------------------------------------------------------------------------------------------

    def _change(self) -> None:
        if self._told:
            self._told = False
            self._changed(self)

    def due(self, deliveries: int) -> None:
        """So many offsets, times viewers, are to be delivered."""
        if deliveries:
            self._sent.entitled += deliveries
            self._change()

    def skipped(self, epoch: int, first: int, next_epoch: int, following: int) -> None:
        """A viewer who was to get this offset next was given nothing before the following one."""
        passed = self.place(next_epoch, following) - self.place(epoch, first) if epoch in self._bases else 0
        self._sent.skipped += max(passed, 0)
        self._change()

    def overtaken(self) -> None:
        """The lag policy was applied."""
        self._sent.lag_policies += 1
        self._change()

    def stalled(self) -> None:
        """A socket did not take all that was written to it."""
        self._sent.stalls += 1
        self._change()

    def closed(self, code: int) -> None:
        """The connection of a viewer who was in the room has ended."""
        closed = self._sent.closed
        closed[code] = closed.get(code, 0) + 1
        self._change()

    # -- what viewers say -----------------------------------------------------------------------------------------------

    def report(self, session: Session, quality: Quality, network: str, networks_max: int, place: int, now: float) -> bool:
        """Count a viewer's report. Returns whether it counts.

        :param place: of the offset that the room has next.
        """
        entitled, received = quality.entitled, quality.received
        if now < session.report_at or received > entitled or sum(quality.delays) > received:
            return False
        passed = max(place - session.reported, 0)
        times = 0 if session.report_at else _TIMES
        # What was on its way to the viewer is in its next report.
        session.reported, session.report_at = min(session.reported + entitled, place), now + _REPORT_SECONDS
        part, whole = (passed, entitled) if entitled > passed else (1, 1)
        measured = self._measured(network, networks_max)
        measured.reports += 1
        measured.entitled += min(entitled, passed)
        measured.received += received * part // whole
        measured.gaps += min(quality.gaps, _TIMES)
        delays, reconnects = measured.delays, measured.reconnects
        for bucket, count in enumerate(quality.delays):
            count = count * part // whole
            if count:
                delays[bucket] = delays.get(bucket, 0) + count
        for cause, count in quality.reconnects.items():
            count = min(count, times)
            if count and len(cause) <= _CODE_DIGITS and cause.isascii() and cause.isdigit():
                cause = cause if cause in reconnects or len(reconnects) < _CAUSES else OTHER
                reconnects[cause] = reconnects.get(cause, 0) + count
                times -= count
        self._change()
        return True

    def _measured(self, network: str, networks_max: int) -> Measured:
        networks = self._networks
        if network not in networks and len(networks) - (OTHER in networks) >= networks_max:
            network = OTHER
        measured = networks.get(network)
        if measured is None:
            measured = networks[network] = Measured()
        return measured

    # -- telling ------------------------------------------------------------------------------------------------------

    def take(self, place: int, now: float, laggards: int, lag_max: float) -> RoomQuality:
        """What has come together since the last time; counting begins anew.

        :param place: of the offset that the room has next.
        :param laggards: as there are now, as ``lag_max`` seconds.
        """
        past = self._past
        if place and (not past or past[-1][0] <= now - _STEP_SECONDS):
            past.append((now, place))
        while len(past) > 1 and past[1][0] <= now - _REACH_SECONDS:
            past.popleft()
        sent, self._sent = self._sent, Sent()
        networks, self._networks = self._networks, {}
        sent.laggards, sent.lag_max = laggards, lag_max
        self._told = True
        if laggards:
            # That there are none any more is to be told, too.
            self._change()
        return RoomQuality(self.room, sent, networks)

    def give_back(self, told: RoomQuality) -> None:
        """It did not reach anybody."""
        self._sent.add(told.sent)
        for name, measured in told.networks.items():
            self._networks.setdefault(name, Measured()).add(measured)
        self._change()


def code_of(code: int) -> int:
    """The code under which a close counts that a viewer began: none that only a server has a reason for."""
    return code if code < _OWN_CODES else _NORMAL
