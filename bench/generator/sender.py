"""The viewers of one process that speak: what they send when, and what they were answered.

Owns schedules, sequence numbers and acknowledgements. Must not know sockets beyond a viewer's `send`, nor scenarios.

A schedule is fixed before the first message: a late generator or a slow engine delays a message, never its intended
time, so that no delay is hidden (no coordinated omission).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

from bench.generator.body import Claim
from bench.generator.receiver import Viewer, ViewerState
from bench.generator.swarm import Swarm
from bench.histogram import Histogram

__all__ = ["Plan", "Desk", "sender_indexes"]

WRITE_BUFFER_BYTES = 65_536
"""Unanswered messages (likes) are sent only as fast as the socket takes them."""
COMMENT, LIKE = 3, 4
"""Kinds of the messages sent here; a like has no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be said in one phase.

    :ivar mode: ``burst`` (each sender ``total // senders`` comments at the start instant), ``steady`` (``total``
        comments ``1 / rate`` apart, senders in turn), ``comments`` (each sender keeps ``window`` unanswered until all
        are sent) or ``likes`` (as fast as the socket takes them).
    :ivar start_ns: ``time.monotonic_ns()`` of the first intended time.
    :ivar total: messages of all senders in all processes.
    :ivar senders: viewer indexes, of all processes.
    """

    mode: str
    start_ns: int
    total: int
    senders: tuple[int, ...]
    rate: float = 0.0
    window: int = 64


class Voice:
    """One sender."""

    __slots__ = ("accepted", "intended", "likes", "refused", "sent", "viewer")

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.sent = 0
        self.likes = 0
        self.intended: dict[int, int] = {}
        self.accepted: dict[int, int] = {}
        self.refused: dict[int, int] = {}


class Desk:
    """All senders of one process."""

    def __init__(self, swarm: Swarm, viewers: Mapping[int, Viewer]) -> None:
        self._swarm = swarm
        self._viewers = viewers
        self._voices: dict[int, Voice] = {}
        self._wake: dict[int, asyncio.Event] = {}
        self.sending = False
        self.acknowledged = Histogram()
        """Intended time → reply, microseconds."""
        self.late = Histogram()
        """Intended time → handed to the socket, microseconds: how punctual this generator was."""
        swarm.on_reply = self._replied

    def mark(self) -> None:
        """Begin the histograms anew; sequence numbers go on."""
        self.acknowledged = Histogram()
        self.late = Histogram()

    async def speak(self, plan: Plan) -> None:
        """Send this process's part of a plan; returns when the last message has been handed over."""
        mine = [index for index in plan.senders if index in self._viewers]
        for index in mine:
            self._voices.setdefault(index, Voice(self._viewers[index]))
        self.sending = True
        try:
            match plan.mode:
                case "burst":
                    await self._burst(plan, mine)
                case "steady":
                    await self._steady(plan)
                case _:
                    await _until(plan.start_ns)
                    share = plan.total // len(plan.senders)
                    one = self._comments if plan.mode == "comments" else self._likes
                    await asyncio.gather(*(one(self._voices[index], share, plan.window) for index in mine))
        finally:
            self.sending = False

    async def _burst(self, plan: Plan, mine: list[int]) -> None:
        share = plan.total // len(plan.senders)
        frames = [
            (voice, b"".join(self._comment(voice, plan.start_ns) for _ in range(share)))
            for voice in (self._voices[index] for index in mine)
        ]
        await _until(plan.start_ns)
        for voice, frame in frames:
            self._hand(voice, frame, plan.start_ns)

    async def _steady(self, plan: Plan) -> None:
        count = len(plan.senders)
        step = 1e9 / plan.rate
        for number in range(plan.total):
            voice = self._voices.get(plan.senders[number % count])
            if voice is None:
                continue
            due = plan.start_ns + int(number * step)
            await _until(due)
            self._hand(voice, self._comment(voice, due), due)

    async def _comments(self, voice: Voice, share: int, window: int) -> None:
        wake = self._wake[voice.viewer.index] = asyncio.Event()
        goal = voice.sent + share
        while voice.sent < goal and voice.viewer.state is not ViewerState.CLOSED:
            free = min(window - len(voice.intended), goal - voice.sent)
            now = monotonic_ns()
            if free > 0:
                self._hand(voice, b"".join(self._comment(voice, now) for _ in range(free)), now)
            wake.clear()
            await wake.wait()
        del self._wake[voice.viewer.index]

    async def _likes(self, voice: Voice, share: int, window: int) -> None:
        assert voice.viewer.log is not None
        handle = voice.viewer.log.handle
        goal = voice.likes + share
        while voice.likes < goal and voice.viewer.transport is not None:
            if voice.viewer.transport.get_write_buffer_size() < WRITE_BUFFER_BYTES:
                totals = range(voice.likes + 1, min(voice.likes + window, goal) + 1)
                voice.likes = totals[-1]
                voice.viewer.send(b"".join(self._swarm.encode([LIKE, handle, total]) for total in totals))
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.001)

    def _comment(self, voice: Voice, intended_ns: int) -> bytes:
        voice.sent += 1
        viewer = voice.viewer
        assert viewer.log is not None
        voice.intended[voice.sent] = intended_ns
        body = self._swarm.bodies.write(Claim(viewer.room, viewer.index, voice.sent, intended_ns))
        return self._swarm.encode([COMMENT, voice.sent, viewer.log.handle, body])

    def _hand(self, voice: Voice, frame: bytes, intended_ns: int) -> None:
        if voice.viewer.transport is None:
            return
        voice.viewer.send(frame)
        self.late.add((monotonic_ns() - intended_ns) // 1000)

    def _replied(self, viewer: Viewer, ref: int, code: int, offset: int) -> None:
        voice = self._voices[viewer.index]
        intended = voice.intended.pop(ref)
        self.acknowledged.add((monotonic_ns() - intended) // 1000)
        if code:
            voice.refused[ref] = code
        else:
            voice.accepted[ref] = offset
            assert viewer.log is not None
            viewer.log.head = max(viewer.log.head, offset)
        wake = self._wake.get(viewer.index)
        if wake is not None:
            wake.set()

    def statistics(self) -> dict[str, Any]:
        """Totals of all phases: comments sent, waiting for their reply, accepted and refused; likes sent."""
        voices = self._voices.values()
        return {
            "sending": self.sending,
            "sent": sum(voice.sent for voice in voices),
            "waiting": sum(len(voice.intended) for voice in voices if voice.viewer.state is not ViewerState.CLOSED),
            "accepted": sum(len(voice.accepted) for voice in voices),
            "refused": sum(len(voice.refused) for voice in voices),
            "likes_sent": sum(voice.likes for voice in voices),
        }

    def verify(self) -> int:
        """After the run: every accepted comment stands where its reply said. Returns how many do not.

        Refused and unanswered ones become faults.
        """
        wrong = 0
        for voice in self._voices.values():
            viewer = voice.viewer
            if viewer.log is not None:
                pairs = voice.accepted.items()
                wrong += sum(not viewer.log.check_reply(viewer.index, sequence, at) for sequence, at in pairs)
            for sequence, code in voice.refused.items():
                self._swarm.fault(viewer, "refused", detail=f"reply {code} to message {sequence}")
            if voice.intended:
                self._swarm.fault(viewer, "missing", detail=f"{len(voice.intended)} comments were never answered")
        return wrong


def sender_indexes(senders: int, viewers_per_room: int, rooms: int) -> tuple[int, ...]:
    """Viewer indexes of ``senders`` speakers of each room, evenly spread; rooms take turns."""
    return tuple(
        room * viewers_per_room + number * viewers_per_room // senders for number in range(senders) for room in range(rooms)
    )


async def _until(moment_ns: int) -> None:
    """Sleep until a ``time.monotonic_ns()``; yields once even if it is past."""
    await asyncio.sleep(0)
    while (rest := moment_ns - monotonic_ns()) > 0:  # noqa: ASYNC110  # a timer may fire a little early
        await asyncio.sleep(rest / 1e9)
