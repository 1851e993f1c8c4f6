"""What viewers report of what came to them: the offsets their own cursors have passed, at intended times.

Owns the schedule of reports and the message. Must not know what a server makes of them.

As real viewers they tell what they got since they told last, so that what a server adds up can be held against what this side
has checked offset by offset.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from bench.generator.crowd import Crowd
from bench.generator.receiver import Viewer, ViewerState
from bench.generator.sender import Plan
from bench.generator.swarm import Swarm

__all__ = ["Reports"]

QUALITY = 6
DELAYS = 24
"""Buckets of delays that a report has: up to 63 ms, as on a good network, with one event in a hundred up to a second."""
LATE_BUCKET = 40
LATE_EVERY = 100


class Reports:
    """See the module's docstring.

    :param number: of this process, of so many ``processes``; each tells for its own viewers.
    :ivar sent: reports so far; ``entitled`` the offsets in them.
    """

    def __init__(self, swarm: Swarm, crowd: Crowd, viewers: Mapping[int, Viewer], processes: int) -> None:
        self._swarm = swarm
        self._crowd = crowd
        self._viewers = viewers
        self._processes = processes
        self._told: dict[int, int] = {}
        self._next = 0
        self.sent = self.entitled = 0

    def begin(self) -> None:
        """From here on what comes is reported."""
        self._told = {index: viewer.cursor for index, viewer in self._viewers.items()}

    async def play(self, plan: Plan) -> None:
        """Let this process's viewers take turns for as long as the plan's messages come; a phase is not over before."""
        self._crowd.opening += 1
        if not self._told:
            self.begin()
        rate = plan.reports / self._processes
        order = sorted(self._viewers)
        for number in range(int(plan.total / plan.rate * rate)):
            due = plan.start_ns / 1e9 + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._tell(self._viewers[order[self._next % len(order)]])
            self._next += 1
        self._crowd.opening -= 1

    def _tell(self, viewer: Viewer) -> None:
        log = viewer.log
        if log is None or viewer.transport is None or viewer.state is not ViewerState.LIVE:
            return
        before, self._told[viewer.index] = self._told[viewer.index], viewer.cursor
        count = viewer.cursor - before
        delays = [0] * DELAYS
        late, rest = divmod(count, LATE_EVERY)
        delays[-1] = rest + late * (LATE_EVERY - 1)
        if late:
            delays += [0] * (LATE_BUCKET - DELAYS) + [late]
        viewer.send(self._swarm.encode([QUALITY, log.handle, count, count, 0, delays, {}]))
        self.sent += 1
        self.entitled += count
