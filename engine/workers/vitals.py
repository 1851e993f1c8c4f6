"""An edge process tells the hub how it fares.

Owns when. Must not know what the hub does with it (`engine.hub.vitals`).
"""

from __future__ import annotations

import dataclasses
import os
from typing import Final

import trio

from engine.edge import Edge
from engine.link.base import End
from engine.link.messages import Down, Up, Vitals
from engine.pulse import Pulse

__all__ = ["Reporter"]

_PERIOD_SECONDS: Final = 5.0
"""A third of the time after which metrics are usually read."""
_LOOK_SECONDS: Final = 0.01
_LAST_SECONDS: Final = 1.0
"""For the last report to leave."""


class Reporter:
    """See the module's docstring."""

    def __init__(self, edge: Edge, pulse: Pulse) -> None:
        self._edge = edge
        self._pulse = pulse
        self._link: End[Up, Down] | None = None

    async def serve(self, link: End[Up, Down]) -> None:
        """Let the edge have this hub until the link ends; a report is the first thing that the hub hears."""
        self._link = link
        try:
            self._report(link)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report_regularly, link)
                await self._edge.serve(link)
                nursery.cancel_scope.cancel()
        finally:
            self._link = None

    async def finish(self) -> None:
        """The edge has told its viewers to leave, which counts, too."""
        if (link := self._link) is not None:
            self._report(link)
            with trio.move_on_after(_LAST_SECONDS):
                while link.backlog:  # noqa: ASYNC110  # a link does not tell when it is empty
                    await trio.sleep(_LOOK_SECONDS)

    async def _report_regularly(self, link: End[Up, Down]) -> None:
        while True:
            await trio.sleep(_PERIOD_SECONDS)
            self._report(link)

    def _report(self, link: End[Up, Down]) -> None:
        process = {"pid": os.getpid(), "process": dataclasses.asdict(self._pulse.statistics())}
        link.send([Vitals(dataclasses.asdict(self._edge.statistics()) | process)])
