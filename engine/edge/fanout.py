"""Shares the time of the process between rooms that have something to send.

Owns the order of the passes and their measurement. Must not know what a frame is: a track sends, this one says how much.

A huge room's pass takes a fraction of a second. It is cut into slices, with a checkpoint between them, and rooms take turns
slice by slice: a small room waits for one slice of a huge one, not for its pass.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import trio

from engine.durations import Durations
from engine.edge.track import Track
from engine.timing import Bell

__all__ = ["Fanout"]


class Fanout:
    """See the module's docstring.

    :param turn_over: called after each slice.
    :ivar slice_frames: sends between two checkpoints.
    :ivar frames: sent so far by passes.
    :ivar seconds: that passes took so far, the time of others between their slices included.
    :ivar delays: times from when a track had something new until every live viewer had been sent it.
    """

    def __init__(self, slice_frames: int, turn_over: Callable[[], None]) -> None:
        self.slice_frames = slice_frames
        self._turn_over = turn_over
        self._tracks: deque[Track] = deque()
        self._queued: dict[Track, float] = {}
        self._bell = Bell()
        self.frames = 0
        self.seconds = 0.0
        self.delays = Durations()

    def add(self, track: Track) -> None:
        """The track has new frames."""
        if track not in self._queued:
            self._queued[track] = time.perf_counter()
            self._tracks.append(track)
            self._bell.ring()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent to live viewers."""
        return not self._tracks

    async def run(self) -> None:
        """Serve until cancelled."""
        tracks, queued = self._tracks, self._queued
        while True:
            await self._bell.wait()
            start = time.perf_counter()
            while tracks:
                budget = self.slice_frames
                while tracks and budget > 0:
                    track = tracks.popleft()
                    if track.begin():
                        sent = track.step(budget)
                        budget -= sent
                        self.frames += sent
                    if track.settled:
                        self.delays.add(time.perf_counter() - queued.pop(track))
                    else:
                        tracks.append(track)
                now = time.perf_counter()
                self.seconds += now - start
                start = now
                self._turn_over()
                await trio.lowlevel.checkpoint()
