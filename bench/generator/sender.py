"""The viewers of one process that speak: what they send when, and what they were answered.

Owns schedules, sequence numbers and acknowledgements. Must not know sockets beyond a viewer's `send`, nor scenarios.

A schedule is fixed before the first message: a late generator or a slow engine delays a message, never its intended
time, so that no delay is hidden (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Final

from bench.generator.body import Claim
from bench.generator.receiver import NEVER, Viewer, ViewerState
from bench.generator.swarm import Swarm
from bench.generator.totals import LIKES, reaction, withheld
from bench.generator.verify import key_of
from bench.histogram import Histogram

__all__ = ["Desk", "Plan"]

WRITE_BUFFER_BYTES = 65_536
"""Unanswered messages (likes) are sent only as fast as the socket takes them."""
COMMENT, LIKE, NOTICE = 3, 4, 11
"""Kinds of the messages sent here; a like has no answer."""
WITHHELD: Final = 6
"""Code of the reply to a comment for which the room's budget had nothing left; its text names the budget."""
REACTIONS: Final = ("❤️", "👍", "👏", "🔥")
"""Given in turn."""
RETRY_MS = 50
"""A comment that was refused for the time being is repeated after so long, or what the reply says."""
_LIVE = ViewerState.LIVE, ViewerState.RESUMING
PATTERN = 1009
"""Kinds repeat after so many messages; a prime, so that senders do not always send the same kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be said, and what is to happen meanwhile, in one phase.

    :ivar speech: ``burst`` (``total`` messages at the start instant, and again ``bursts - 1`` times, a second apart),
        ``rate`` (``total`` messages ``1 / rate`` apart), ``flood`` (each sender keeps ``window`` unanswered until all
        are sent), ``taps`` (``total`` likes and reactions; each sender tells its sum once a second), ``visits``
        (`bench.generator.visits`) or ``gifts`` (``total`` gifts ``1 / rate`` apart, `bench.generator.cashier`). Senders take
        turns.
    :ivar start_ns: ``time.monotonic_ns()`` of the first intended time.
    :ivar total: messages of all senders in all processes.
    :ivar senders: viewer numbers, of all processes.
    :ivar like_share: of the messages; the others are comments. Of taps: those that are no reactions.
    :ivar hosts: viewers who say ``notices`` notices a second meanwhile, each, at fixed intended times as with ``rate``.
    :ivar storms: seconds after the start, and number, of each storm.
    :ivar slow: whether slow viewers are slow.
    :ivar bare: whether visitors only connect.
    :ivar rush: whether there is a red packet, which everybody claims.
    :ivar reports: how many a second all viewers together send of what came to them.
    """

    speech: str
    total: int
    senders: tuple[int, ...]
    start_ns: int = 0
    rate: float = 0.0
    bursts: int = 1
    window: int = 64
    like_share: float = 0.0
    hosts: tuple[int, ...] = ()
    notices: float = 0.0
    storms: tuple[tuple[float, int], ...] = ()
    slow: bool = False
    bare: bool = False
    rush: bool = False
    reports: float = 0.0


class Voice:
    """One sender.

    :ivar accepted: sequence → (epoch in which it was then, offset).
    :ivar withheld: comments for which the room had no place, by reason.
    :ivar reactions: given so far, by name; ``told``: the totals of likes and reactions that were sent last.
    :ivar notices: sequence numbers of notices among what was said.
    :ivar due: where viewers are steadfast: intended times of what waits until the previous comment is accepted, and whether it
        is a like; ``unanswered`` is the frame of that comment.
    """

    __slots__ = (
        "accepted",
        "due",
        "intended",
        "likes",
        "notices",
        "reactions",
        "refused",
        "sent",
        "told",
        "unanswered",
        "viewer",
        "withheld",
    )

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.sent = 0
        self.likes = 0
        self.intended: dict[int, int] = {}
        self.accepted: dict[int, tuple[int, int]] = {}
        self.refused: dict[int, int] = {}
        self.notices: set[int] = set()
        self.reactions: dict[str, int] = {}
        self.told: list[Any] = [0]
        self.withheld: dict[str, int] = {}
        self.due: deque[tuple[int, bool]] = deque()
        self.unanswered = b""


class Desk:
    """All senders of one process.

    :param seed: of the order of kinds.
    """

    def __init__(self, swarm: Swarm, viewers: Mapping[int, Viewer], seed: int) -> None:
        self._swarm = swarm
        self._viewers = viewers
        self._seed = seed
        self._voices: dict[int, Voice] = {}
        self._wake: dict[int, asyncio.Event] = {}
        self.sending = self._hushed = False
        self._heard: set[int] = set()
        self.covered = 0
        """Accepted comments that are not in the room any more, which an epoch change has told."""
        self.due_ns = 0
        """When the schedule goes on: until then nobody misses anything."""
        self.acknowledged = Histogram()
        """Intended time → reply, microseconds."""
        self.late = Histogram()
        """Intended time → handed to the socket, microseconds: how punctual this generator was."""
        swarm.on_reply = self._replied
        swarm.on_back = self._back

    def mark(self) -> None:
        """Begin the histograms anew; sequence numbers go on."""
        self.acknowledged = Histogram()
        self.late = Histogram()

    async def speak(self, plan: Plan) -> None:
        """Send this process's part of a plan; returns when the last message has been handed over."""
        for index in (*plan.senders, *plan.hosts):
            if index in self._viewers:
                self._voices.setdefault(index, Voice(self._viewers[index]))
        likes = self._pattern(plan.like_share)
        self.sending, self._hushed = True, False
        announcing = asyncio.create_task(self._announce(plan))
        try:
            match plan.speech:
                case "burst":
                    await self._burst(plan, likes)
                case "rate":
                    await self._rate(plan, likes)
                case "flood":
                    await self._flood(plan, likes)
                case "taps":
                    await self._taps(plan)
                case "visits" | "gifts":
                    pass
                case unknown:
                    raise KeyError(unknown)
            await announcing
        finally:
            announcing.cancel()
            self.sending = False

    async def _announce(self, plan: Plan) -> None:
        """The hosts' notices, as long as comments are offered."""
        hosts = [self._voices[index] for index in plan.hosts if index in self._voices]
        for number in range(round(plan.notices * plan.total / plan.rate) if hosts else 0):
            due = plan.start_ns + int(number * 1e9 / plan.notices)
            await asyncio.sleep(max(0.0, (due - monotonic_ns()) / 1e9))
            for voice in hosts:
                self._hand(voice, self._message(voice, due, like=False, notice=True), due)

    async def _taps(self, plan: Plan) -> None:
        """Each sender tells once a second, at a moment of its own, what it has tapped."""
        count, seconds = len(plan.senders), round(plan.total / plan.rate)
        taps = plan.total // (count * seconds)
        likes = round(taps * plan.like_share)
        for second in range(seconds):
            for number, index in enumerate(plan.senders):
                voice = self._voices.get(index)
                if voice is None:
                    continue
                due = plan.start_ns + second * 1_000_000_000 + number * 1_000_000_000 // count
                await self._until(due)
                voice.likes += likes
                if likes < taps:
                    name = REACTIONS[(number + second) % len(REACTIONS)]
                    voice.reactions[name] = voice.reactions.get(name, 0) + taps - likes
                self._hand(voice, self._tapped(voice), due)

    def _tapped(self, voice: Voice) -> bytes:
        """Its totals, where it can send them; over a connection with which it has come back first those that it had told
        before (`engine.schema.Like`)."""
        viewer = voice.viewer
        if viewer.transport is None:
            return b""
        assert viewer.log is not None
        before, voice.told = voice.told, [voice.likes, *([dict(voice.reactions)] if voice.reactions else [])]
        reports = [before, voice.told] if viewer.returned and before != voice.told else [voice.told]
        viewer.returned = False
        return b"".join(self._swarm.encode([LIKE, viewer.log.handle, *totals]) for totals in reports)

    def _pattern(self, like_share: float) -> list[bool]:
        """Whether a message is a like, by its number modulo `PATTERN`."""
        likes = round(PATTERN * like_share)
        pattern = [True] * likes + [False] * (PATTERN - likes)
        random.Random(self._seed).shuffle(pattern)
        return pattern

    async def _burst(self, plan: Plan, likes: list[bool]) -> None:
        count = len(plan.senders)
        for burst in range(plan.bursts):
            due = plan.start_ns + burst * 1_000_000_000
            frames: dict[Voice, list[bytes]] = {}
            for number in range(plan.total):
                voice = self._voices.get(plan.senders[number % count])
                if voice is not None:
                    frames.setdefault(voice, []).append(self._message(voice, due, likes[number % PATTERN]))
            await self._until(due)
            for voice, parts in frames.items():
                self._hand(voice, b"".join(parts), due)

    async def _rate(self, plan: Plan, likes: list[bool]) -> None:
        count = len(plan.senders)
        step = 1e9 / plan.rate
        for number in range(plan.total):
            voice = self._voices.get(plan.senders[number % count])
            if voice is None:
                continue
            due = plan.start_ns + int(number * step)
            await self._until(due)
            if self._hushed:
                return
            if self._swarm.steadfast:
                voice.due.append((due, likes[number % PATTERN]))
                self._go_on(voice)
            else:
                self._hand(voice, self._message(voice, due, likes[number % PATTERN]), due)

    async def _flood(self, plan: Plan, likes: list[bool]) -> None:
        await self._until(plan.start_ns)
        share = plan.total // len(plan.senders)
        mine = (index for index in plan.senders if index in self._viewers)
        await asyncio.gather(*(self._flow(self._voices[index], share, plan.window, likes) for index in mine))

    async def _flow(self, voice: Voice, share: int, window: int, likes: list[bool]) -> None:
        wake = self._wake[voice.viewer.index] = asyncio.Event()
        done = 0
        while done < share and voice.viewer.transport is not None:
            free = min(window - len(voice.intended), share - done)
            if free <= 0:
                wake.clear()
                await wake.wait()
            elif voice.viewer.transport.get_write_buffer_size() >= WRITE_BUFFER_BYTES:
                await asyncio.sleep(0.001)
            else:
                now = monotonic_ns()
                parts = [self._message(voice, now, likes[(done + n) % PATTERN]) for n in range(free)]
                self._hand(voice, b"".join(parts), now)
                done += free
                await asyncio.sleep(0)
        del self._wake[voice.viewer.index]

    async def _until(self, moment_ns: int) -> None:
        """Sleep until a ``time.monotonic_ns()``; yields once even if it is past."""
        self.due_ns = moment_ns
        await asyncio.sleep(0)
        while (rest := moment_ns - monotonic_ns()) > 0:  # noqa: ASYNC110  # a timer may fire a little early
            await asyncio.sleep(rest / 1e9)

    def _message(self, voice: Voice, intended_ns: int, like: bool, *, notice: bool = False) -> bytes:
        viewer, swarm = voice.viewer, self._swarm
        assert viewer.log is not None
        if like:
            voice.likes += 1
            return self._tapped(voice)
        voice.sent += 1
        voice.intended[voice.sent] = intended_ns
        claim = Claim(viewer.index, voice.sent, (intended_ns - swarm.clock.epoch_ns) // 1000)
        if notice:
            voice.notices.add(voice.sent)
        return swarm.encode(
            [NOTICE if notice else COMMENT, voice.sent, viewer.log.handle, swarm.bodies.write(claim, viewer.room)]
        )

    def _hand(self, voice: Voice, frame: bytes, intended_ns: int) -> None:
        if voice.viewer.transport is None:
            return
        voice.viewer.send(frame)
        self.late.add((monotonic_ns() - intended_ns) // 1000)

    # -- steadfast senders: one comment at a time, repeated until it is accepted, so that their order is kept ------------

    def _go_on(self, voice: Voice) -> None:
        while voice.due and not voice.unanswered and voice.viewer.state in _LIVE:
            due, like = voice.due.popleft()
            frame = self._message(voice, due, like)
            if not like:
                voice.unanswered = frame
            self._hand(voice, frame, due)

    def _back(self, viewer: Viewer) -> None:
        """A viewer has joined again."""
        voice = self._voices.get(viewer.index)
        if voice is not None:
            self._repeat(voice)
            if (voice.likes or voice.reactions) and viewer.returned and viewer.transport is not None:
                viewer.send(self._tapped(voice))
            self._go_on(voice)

    def _repeat(self, voice: Voice) -> None:
        if voice.unanswered and voice.viewer.state in _LIVE:
            voice.viewer.send(voice.unanswered)

    def listen(self) -> None:
        """Count anew who had a comment accepted."""
        self._heard.clear()

    def hush(self) -> None:
        """Say nothing more but what has been said and not answered."""
        self._hushed = True
        for voice in self._voices.values():
            voice.due.clear()

    def _again(self, voice: Voice, ref: int, retry_after_ms: int) -> None:
        """A comment was refused for the time being."""
        loop = asyncio.get_running_loop()
        frame = voice.unanswered

        def repeat() -> None:
            # Perhaps it has come back meanwhile, and said it again.
            if ref in voice.intended and voice.unanswered is frame:
                self._repeat(voice)

        loop.call_later(max(retry_after_ms, RETRY_MS) / 1000, repeat)

    # -- replies ------------------------------------------------------------------------------------------------------

    def _replied(self, viewer: Viewer, ref: int, code: int, offset: int, text: str, retry_after_ms: int) -> None:
        voice = self._voices[viewer.index]
        if self._swarm.steadfast:
            if 0 < code < NEVER:
                self._again(voice, ref, retry_after_ms)
                return
            if ref not in voice.intended:
                # Said twice, answered twice.
                return
            voice.unanswered = b""
        intended = voice.intended.pop(ref)
        self.acknowledged.add((monotonic_ns() - intended) // 1000)
        if code == WITHHELD and ref not in voice.notices:
            reason = "bytes" if "room_bytes_per_second" in text else "events"
            voice.withheld[reason] = voice.withheld.get(reason, 0) + 1
        elif code:
            voice.refused[ref] = code
        else:
            assert viewer.log is not None
            voice.accepted[ref] = viewer.log.epoch, offset
            viewer.log.head = max(viewer.log.head, offset)
            self._heard.add(viewer.index)
        if self._swarm.steadfast:
            self._go_on(voice)
        wake = self._wake.get(viewer.index)
        if wake is not None:
            wake.set()

    def statistics(self) -> dict[str, Any]:
        """Totals of all phases: comments sent, waiting for their reply, accepted and refused; likes sent; and how many senders
        had no comment accepted since `listen`."""
        voices = self._voices.values()
        return {
            "sending": self.sending,
            "scheduled": self.due_ns > monotonic_ns(),
            "sent": sum(voice.sent for voice in voices),
            "waiting": sum(len(voice.intended) for voice in voices if voice.viewer.state is not ViewerState.CLOSED),
            "accepted": sum(len(voice.accepted) for voice in voices),
            "refused": sum(len(voice.refused) for voice in voices),
            "withheld": sum(sum(voice.withheld.values()) for voice in voices),
            "likes_sent": sum(voice.likes + sum(voice.reactions.values()) for voice in voices),
            "unheard": len(voices) - len(self._heard),
        }

    def totals(self) -> dict[int, Counter[str]]:
        """What each room is to tell after all phases, by the names of `bench.generator.totals`."""
        rooms: dict[int, Counter[str]] = {}
        for voice in self._voices.values():
            room = rooms.setdefault(voice.viewer.room, Counter())
            room[LIKES] += voice.likes
            room.update({reaction(name): count for name, count in voice.reactions.items()})
            room.update({withheld(reason): count for reason, count in voice.withheld.items()})
        return {room: totals for room, counts in rooms.items() if (totals := +counts)}

    def shares(self) -> list[tuple[int, int]]:
        """Of each sender of comments: said, accepted."""
        voices = [voice for voice in self._voices.values() if voice.sent and not voice.notices]
        return [(voice.sent, len(voice.accepted)) for voice in voices]

    def accepted(self) -> dict[int, tuple[int, int]]:
        """Of each room: comments and notices accepted, and of these the notices."""
        rooms: dict[int, tuple[int, int]] = {}
        for voice in self._voices.values():
            everything, notices = rooms.get(voice.viewer.room, (0, 0))
            own = len(voice.notices & voice.accepted.keys())
            rooms[voice.viewer.room] = everything + len(voice.accepted), notices + own
        return rooms

    def verify(self) -> int:
        """After the run: every accepted comment stands where its reply said. Returns how many do not.

        Refused and unanswered ones become faults.
        """
        wrong = 0
        for voice in self._voices.values():
            viewer = voice.viewer
            wrong += sum(not self._stands(viewer, sequence, *at) for sequence, at in voice.accepted.items())
            for sequence, code in voice.refused.items():
                self._swarm.fault(viewer, "refused", detail=f"reply {code} to message {sequence}")
            if voice.intended:
                self._swarm.fault(viewer, "missing", detail=f"{len(voice.intended)} comments were never answered")
        return wrong

    def _stands(self, viewer: Viewer, sequence: int, epoch: int, offset: int) -> bool:
        """Whether an accepted comment stands where its reply said, or a change of epoch has been reported since. (An offset
        below where an epoch's first viewer came in is one of the past that this epoch goes on from.)"""
        present = self._swarm.logs[viewer.room]
        if epoch == present.epoch and (offset > present.base or not self._swarm.past_logs):
            return present.check_reply(viewer.index, sequence, offset)
        key = key_of(viewer.index, sequence)
        if all(log.where.get(key) != offset for log in self._swarm.every_log() if log.room == viewer.room):
            self.covered += 1
        return True
