"""When an edge tells what it and its viewers have measured.

Owns the rooms of which there is something to tell, and the task that has it told every ``quality.seconds``. Must not know what
is counted (`engine.edge.meter`), nor the link: it is told whether there is somebody to tell.

A room in which nothing happens costs nothing, and while there is none in which anything does, nobody wakes up. What cannot be
told is kept in its sums and told to the next hub, and so is what the link had not handed over when it ended. What the system
had of it when a link between processes broke is lost, as much of it on either side of each quotient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import trio

from engine.edge.meter import Meter
from engine.edge.networks import Networks
from engine.edge.session import Session
from engine.schema import Quality
from engine.settings import QualitySettings
from engine.timing import Bell

__all__ = ["Measuring"]

_CHUNK: Final = 100
"""Rooms in one message to the hub, and told between two checkpoints."""


class Measuring:
    """See the module's docstring.

    :param tell: takes meters, and tells the hub what is in them; returns False if there is none.
    :ivar ignored: viewers' reports that were not counted.
    """

    def __init__(self, settings: QualitySettings, tell: Callable[[Sequence[Meter]], bool]) -> None:
        self._settings = settings
        self._tell = tell
        self._networks = Networks(settings)
        self._changed: dict[Meter, None] = {}
        self._bell = Bell()
        self._interval = trio.CancelScope()
        self.ignored = 0

    def adopt(self, settings: QualitySettings) -> None:
        """Take other settings."""
        self._settings = settings
        self._networks.adopt(settings)
        self._interval.deadline = min(self._interval.deadline, trio.current_time() + settings.seconds)

    def open(self, room: str) -> Meter:
        """The meter of a room that opens."""
        return Meter(room, self._note)

    def forget(self, meter: Meter) -> None:
        """Its room is closed, and its last numbers were told."""
        self._changed.pop(meter, None)

    def _note(self, meter: Meter) -> None:
        self._changed[meter] = None
        self._bell.ring()

    def report(self, meter: Meter, session: Session, quality: Quality, place: int) -> None:
        """A viewer tells what came to it.

        :param place: of the offset that the room has next (`engine.edge.meter`).
        """
        network = self._networks.name_of(session.address)
        networks_max = self._settings.networks_max
        self.ignored += not meter.report(session, quality, network, networks_max, place, trio.current_time())

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._bell.wait()
            with trio.CancelScope(deadline=trio.current_time() + self._settings.seconds) as self._interval:
                await trio.sleep(math.inf)
            # What changes from here on is for the next time: of a room with laggards there is always something to tell.
            due = list(self._changed)
            while due and self.tell(due[:_CHUNK]):
                del due[:_CHUNK]
                await trio.lowlevel.checkpoint()

    def hub_came(self) -> None:
        """There is a hub again: what was kept for it is told in time."""
        if self._changed:
            self._bell.ring()

    def tell(self, meters: Sequence[Meter] | None = None) -> bool:
        """Tell of these meters, or of all, what has changed. Returns False, and keeps it, if there is nobody to tell."""
        some = [meter for meter in (self._changed if meters is None else meters) if meter in self._changed]
        for meter in some:
            # Before it is taken: it may have something to tell again at once.
            del self._changed[meter]
        if self._tell(some):
            return True
        self._changed.update(dict.fromkeys(some))
        return False
