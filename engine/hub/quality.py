"""How rooms reached their viewers: what edges tell, added up from a room's first viewer here to the end of its stream.

Owns the certificates of the rooms that are shown here, and when one begins and ends. Must not know how edges find their
numbers (`engine.edge.quality`), what a certificate looks like (`engine.quality.certificate`), nor how it is written
(`engine.hub.shelf`).

A certificate ends when nobody shows the room here any more, when its life is over, or when its stream becomes another one; the
next one begins then, or with the next viewer of a room that goes on. Edges tell every ``quality.seconds``, and before they
close a room. So one whose room is closed here has everything; one whose room's life is over is kept for as long, until all
have told once more; and of what passed just before another stream began, the part that is told later counts for that one.
Rejected: to ask the edges at that moment. What viewers report is as old as their own interval, which is longer.

Backstage rooms, `#everywhere` and `#console` have none: they are no broadcasts.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import trio
from msgspec import structs

from engine.hub.port import Port
from engine.hub.room import HubRoom, Phase
from engine.hub.shelf import Shelf
from engine.link.messages import Qualities
from engine.quality import Account, Measured, RoomQuality, certificate
from engine.schema import CONSOLE, EVERYWHERE
from engine.settings import Settings

__all__ = ["Certificates", "QualityStatistics"]

OTHER: Final = "other"
"""Stands for the networks, or the causes, beyond those that are told apart."""
_CAUSES: Final = 64
"""Causes of reconnects told apart in one network. Clients name them."""
_LATE_SECONDS: Final = 1.0
"""How much later than it should an edge may tell."""

log = logging.getLogger("roomcast.quality")


@dataclass(frozen=True, slots=True)
class QualityStatistics:
    """What edges have told, of all rooms, since the hub started.

    :ivar reports: of viewers who take part in the sample. They were ``entitled`` to so many offsets and ``received`` so many.
    :ivar gaps: that they had; ``reconnects``: how often they had to come back.
    :ivar sent_entitled: deliveries that were due to all viewers; ``sent_skipped`` those that the lag policy spared.
    """

    reports: int
    entitled: int
    received: int
    gaps: int
    reconnects: int
    sent_entitled: int
    sent_skipped: int


class _Stage(Enum):
    """How a certificate stands."""

    OPEN = "open"
    ENDING = "ending"
    """It has ended; edges may still tell of the time before."""
    ENDED = "ended"


class _Certificate:
    """One certificate while it is kept.

    :ivar lag: viewers who have something left over now, and seconds that the one furthest behind has waited, by edge.
    """

    __slots__ = ("_passed", "_refused", "_withheld", "account", "lag", "room", "stage")

    def __init__(self, room: HubRoom, node: str, now_ms: int, lag: dict[Port, tuple[int, float]]) -> None:
        self.room = room
        self.lag = lag
        self.stage = _Stage.OPEN
        self._passed = room.passed
        self._refused = _names(room)
        self._withheld = room.state.withheld
        self.account = Account(
            room=room.name,
            node=node,
            stream=room.rules.entries.stream,
            since=now_ms,
            epoch=room.position.epoch,
            first=room.head,
        )
        self.look(now_ms)

    def look(self, now_ms: int) -> None:
        """Take over what the room itself knows."""
        account, room = self.account, self.room
        # A clock that is put back makes nothing end before it began.
        account.until = max(now_ms, account.since)
        account.epoch, account.last = room.position.epoch, room.head
        account.events = room.passed - self._passed
        self.count()
        account.withheld = _since(room.state.withheld, self._withheld)
        account.refused = _since(_names(room), self._refused)

    def count(self) -> None:
        """Take over how many viewers there are."""
        self.account.viewers = viewers = self.room.viewers
        self.account.viewers_max = max(self.account.viewers_max, viewers)

    def add(self, told: RoomQuality, networks_max: int) -> None:
        """What an edge has told."""
        self.account.sent.add(told.sent)
        networks = self.account.networks
        for name, measured in told.networks.items():
            if name not in networks and len(networks) - (OTHER in networks) >= networks_max:
                name = OTHER
            mine = networks.setdefault(name, Measured())
            if len(mine.reconnects) + len(measured.reconnects) > _CAUSES:
                measured = structs.replace(measured, reconnects=_folded(measured.reconnects, mine.reconnects))
            mine.add(measured)
            self.account.measured.add(measured)

    def table(self) -> dict[str, Any]:
        """The certificate as it is now."""
        self.lags()
        return certificate(self.account)

    def lags(self) -> None:
        """Take over who is behind now."""
        sent = self.account.sent
        if self.stage is not _Stage.ENDED:
            sent.laggards = sum(laggards for laggards, _ in self.lag.values())
            sent.lag_max = max((seconds for _, seconds in self.lag.values()), default=0.0)


class Certificates:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    :param spawn: begins a task that the hub owns.
    :ivar stopping: no certificate begins any more.
    """

    def __init__(self, settings: Settings, now_ms: Callable[[], int], spawn: Callable[..., None]) -> None:
        self._settings = settings.quality
        self._node = settings.node.name or platform.node()
        self._now_ms = now_ms
        self._spawn = spawn
        self._shelf = Shelf(settings.quality.directory)
        self._known: dict[str, _Certificate] = {}
        self.stopping = False
        self._reports = self._entitled = self._received = self._gaps = self._reconnects = 0
        self._sent_entitled = self._sent_skipped = 0

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._settings = settings.quality
        self._shelf.adopt(settings.quality.directory)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what has ended, until cancelled."""
        await self._shelf.run(task_status=task_status)

    async def finish(self) -> None:
        """Let all certificates end, and return when they are written. What is not when this is cancelled is lost."""
        self.stopping = True
        for each in self._known.values():
            self._end(each)
        await self._shelf.finish()

    def statistics(self) -> QualityStatistics:
        """A frozen picture."""
        return QualityStatistics(
            reports=self._reports,
            entitled=self._entitled,
            received=self._received,
            gaps=self._gaps,
            reconnects=self._reconnects,
            sent_entitled=self._sent_entitled,
            sent_skipped=self._sent_skipped,
        )

    # -- looking in ---------------------------------------------------------------------------------------------------

    def of(self, name: str) -> dict[str, Any] | None:
        """A room's certificate as it is now, or its last one as long as viewers are there; None if it has none."""
        known = self._known.get(name)
        return self._table(known) if known is not None else None

    def account(self, name: str) -> tuple[Account, Measured] | None:
        """What a room's certificate is made from, and the reports of all networks in one; do not change them. For who looks at
        many rooms every second: the rates and quantiles of each network cost a millisecond a room."""
        known = self._known.get(name)
        if known is None:
            return None
        if known.stage is _Stage.OPEN:
            known.look(self._now_ms())
        known.lags()
        return known.account, known.account.measured

    def all(self) -> dict[str, dict[str, Any]]:
        """Those of all rooms, by room."""
        return {name: self._table(known) for name, known in self._known.items()}

    def _table(self, known: _Certificate) -> dict[str, Any]:
        if known.stage is _Stage.OPEN:
            known.look(self._now_ms())
        return known.table()

    # -- what happens -------------------------------------------------------------------------------------------------

    def noticed(self, room: HubRoom) -> None:
        """A room is live, or its record, its totals or its viewers have changed."""
        if room.phase is Phase.OPENING or room.backstage or room.name in (EVERYWHERE, CONSOLE):
            return
        known, entries = self._known.get(room.name), room.rules.entries
        goes_on = entries.life == "open"
        if known is not None and known.stage is _Stage.OPEN:
            known.count()
            if not goes_on:
                self._close(known)
                self._spawn(self._end_later, known)
                return
            if entries.stream == known.account.stream:
                return
            self._end(known)
        if goes_on and room.viewers and not self.stopping:
            if known is not None:
                self._end(known)
            lag = known.lag if known is not None else {}
            self._known[room.name] = _Certificate(room, self._node, self._now_ms(), lag)

    def told(self, port: Port, message: Qualities) -> None:
        """An edge tells of its rooms."""
        for each in message.rooms:
            self._sum(each)
            known = self._known.get(each.room)
            if known is None or known.stage is _Stage.ENDED:
                continue
            known.add(each, self._settings.networks_max)
            if each.sent.laggards and port in known.room.ports:
                known.lag[port] = each.sent.laggards, each.sent.lag_max
            else:
                known.lag.pop(port, None)

    def _sum(self, told: RoomQuality) -> None:
        self._sent_entitled += told.sent.entitled
        self._sent_skipped += told.sent.skipped
        for measured in told.networks.values():
            self._reports += measured.reports
            self._entitled += measured.entitled
            self._received += measured.received
            self._gaps += measured.gaps
            self._reconnects += sum(measured.reconnects.values())

    def left(self, port: Port, room: HubRoom, shown: bool) -> None:
        """An edge does not show a room any more.

        :param shown: another one does.
        """
        known = self._known.get(room.name)
        if known is None:
            return
        known.lag.pop(port, None)
        if not shown:
            del self._known[room.name]
            self._end(known)

    # -- the end of a certificate -------------------------------------------------------------------------------------

    def _close(self, known: _Certificate) -> None:
        """What comes to pass from now on is not its business."""
        known.look(self._now_ms())
        known.account.ended = True
        known.stage = _Stage.ENDING

    async def _end_later(self, known: _Certificate) -> None:
        await trio.sleep(self._settings.seconds + _LATE_SECONDS)
        self._end(known)

    def _end(self, known: _Certificate) -> None:
        if known.stage is _Stage.ENDED:
            return
        if known.stage is _Stage.OPEN:
            self._close(known)
        known.lags()
        known.stage = _Stage.ENDED
        account = known.account
        log.info(
            "certificate",
            extra={
                "room": account.room,
                "stream": account.stream,
                "seconds": (account.until - account.since) / 1000,
                "events": account.events,
                "viewers_max": account.viewers_max,
                "sent_rate": account.sent.rate,
                "reports": account.measured.reports,
                "arrival_rate": account.measured.arrival_rate,
            },
        )
        self._shelf.add(account)


def _names(room: HubRoom) -> dict[str, int]:
    """What its rules have refused, by the name of the code."""
    return {code.name.lower(): times for code, times in room.rules.refused.items()}


def _since(now: Mapping[str, int], then: Mapping[str, int]) -> dict[str, int]:
    return {name: count - then.get(name, 0) for name, count in now.items() if count > then.get(name, 0)}


def _folded(causes: Mapping[str, int], known: Mapping[str, int]) -> dict[str, int]:
    """Causes so that with those that are known there are not too many."""
    folded: dict[str, int] = {}
    for cause, count in causes.items():
        told = cause in known or len(known.keys() | folded.keys()) < _CAUSES
        name = cause if told else OTHER
        folded[name] = folded.get(name, 0) + count
    return folded
