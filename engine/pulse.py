"""How a process fares: what it takes from the machine, and how late its loop is.

Owns the probe. Must not know what the process does. Every second a task sleeps until a moment of its own, and by how much it
wakes too late is how long anything else in this process had to wait for its turn then. That is a timer, of which a process
otherwise has none that only looks: it costs some 20 microseconds a second. Rejected: to take the time of each turn of the loop,
which would miss nothing but is paid thousands of times a second; to watch the deadlines there are, which in an idle process are
none.
"""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import trio

from engine.durations import Durations

__all__ = ["ProcessStatistics", "Pulse"]

_PERIOD_SECONDS: Final = 1.0
_REMEMBERED: Final = 60
"""Periods over which the longest delay is told: longer than the time between two looks at it."""
_PAGE: Final = resource.getpagesize()
_DESCRIPTORS: Final = "/proc/self/fd"


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """A frozen picture of a process, or of several in one.

    :ivar processes: how many they are.
    :ivar loop_delays: `engine.durations.Durations.table` of the times by which the loop was late.
    :ivar loop_delay_max: the longest in the last minute, seconds.
    """

    processes: int
    cpu_seconds: float
    resident_bytes: int
    descriptors: int
    loop_delays: dict[str, Any]
    loop_delay_max: float


class Pulse:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._delays = Durations()
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)

    async def run(self) -> None:
        """Watch the loop until cancelled."""
        while True:
            due = trio.current_time() + _PERIOD_SECONDS
            await trio.sleep_until(due)
            late = trio.current_time() - due
            self._delays.add(late)
            self._recent.append(late)

    def statistics(self) -> ProcessStatistics:
        """A frozen picture of this process."""
        with open("/proc/self/statm", "rb") as file:
            resident = int(file.read().split()[1]) * _PAGE
        return ProcessStatistics(
            processes=1,
            cpu_seconds=time.process_time(),
            resident_bytes=resident,
            descriptors=_descriptors(),
            loop_delays=self._delays.table(),
            loop_delay_max=max(self._recent, default=0.0),
        )


def _descriptors() -> int:
    # Linux tells how many since 6.2. To list 10,000 takes 7 ms.
    return os.stat(_DESCRIPTORS).st_size or len(os.listdir(_DESCRIPTORS)) - 1
