"""A peer's server and its viewers together: joining, one burst, one steady phase, the verdict.

Owns both ends for as long as they run, and the goal: how many messages every viewer should have. Must not know what
matches are made of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bench.peers.base import Adapter
from bench.peers.crew import Crew
from bench.peers.order import Tally
from bench.peers.process import Plan, Share
from bench.peers.record import Verdict
from bench.peers.server import PeerError, Server

__all__ = ["ROUND_SECONDS", "Load", "News", "Rounds", "Stage"]

LEAD_SECONDS = 0.15
"""From the order to publish until the instant, so that the messages are written by then."""
ROUND_SECONDS = 60.0
JOIN_SECONDS = 300.0
JOIN_STALL_SECONDS = 30.0


class News(Protocol):
    """Where progress is told, as `bench.report.show.Show` does."""

    def line(self, text: str) -> None:
        """One line of news."""

    def task(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Progress of one step; the value is called with how much is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What every peer gets.

    :ivar stall_seconds: no progress for so long ends a wait.
    :ivar processes: generator processes; 0: one for each 18,000 viewers.
    :ivar slow_rate: messages a second while a viewer does not read; 0 leaves that part out.
    """

    viewers: int = 2000
    messages: int = 100
    rounds: int = 5
    body_bytes: int = 100
    seed: int = 1
    stall_seconds: float = 10.0
    processes: int = 0
    slow_rate: float = 100.0


@dataclass(slots=True)
class Rounds:
    """Measurements of each burst: CPU of the server, first publish → last receipt, generator's CPU, counts."""

    cpu: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    generator: list[float] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)


class Stage:
    """A server and its viewers; a context manager that ends both.

    :param share: the viewers; its port is filled in here.
    :ivar goal: messages that every viewer should have by now.
    :ivar viewer_bytes: memory of the server for one idle viewer, once they have joined; ``join_cpu_us`` its CPU for one.
    :ivar reports: of all generator processes, once there is a verdict.
    :raises PeerError: the server does not start.
    :raises bench.children.ChildError: the generator does not.
    """

    def __init__(self, adapter: Adapter, share: Share, load: Load) -> None:
        self._load = load
        self._viewers = share.stop - share.first
        self._slow = frozenset(share.slow)
        self.goal = 0
        self.viewer_bytes = self.join_cpu_us = 0.0
        self.reports: list[dict[str, Any]] = []
        self.server = Server(adapter)
        try:
            self.crew = Crew(replace(share, port=self.server.port), load.processes)
        except BaseException:
            self.server.stop()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.crew.__exit__()
        finally:
            self.server.stop()

    def join(self, label: str, show: News) -> None:
        """Everybody connects and subscribes. Raises `PeerError` when not everybody can."""
        before = self.server.quiet()
        with show.task(label, self._viewers) as progress:
            self.crew.ask("open")
            self.crew.wait(0, JOIN_STALL_SECONDS, JOIN_SECONDS, lambda: progress(self.crew.total("subscribed")))
            subscribed = self.crew.total("subscribed")
            progress(subscribed)
        after = self.server.quiet()
        if subscribed != self._viewers:
            faults = [fault for status in self.crew.ask("status") for fault in status["faults"]]
            why = f": {faults[0]}" if faults else ""
            raise PeerError(f"{subscribed} of {self._viewers} viewers could subscribe{why}")
        self.viewer_bytes = (after.rss_bytes - before.rss_bytes) / self._viewers
        self.join_cpu_us = (after.cpu_ns - before.cpu_ns) / 1e3 / self._viewers

    def burst(self, mode: str, publishers: tuple[int, ...], rounds: Rounds) -> bool:
        """One burst, entered into the rounds. Returns whether everybody got everything."""
        load = self._load
        self.goal += load.messages
        generator = self._generator()
        self.crew.ask("mark")
        before = self.server.sample()
        start_ns = time.monotonic_ns() + int(LEAD_SECONDS * 1e9)
        self.crew.publish(
            Plan(mode=mode, start_ns=start_ns, messages=load.messages, body_bytes=load.body_bytes, publishers=publishers)
        )
        complete = self.crew.wait(self.goal, load.stall_seconds, ROUND_SECONDS)
        spent = [new - old for new, old in zip(self._generator(), generator, strict=True)]
        after = self.server.quiet()
        tally = self.crew.phase()
        if complete and tally.deliveries:
            seconds = (tally.last_ns - start_ns) / 1e9
            rounds.cpu.append((after.cpu_ns - before.cpu_ns) / 1e9)
            rounds.seconds.append(seconds)
            rounds.generator.append(max(spent) / 1e9 / seconds)
            rounds.tallies.append(tally)
        return complete

    def steady(
        self, messages: int, body_bytes: int, publishers: tuple[int, ...], rate: float, most_seconds: float
    ) -> tuple[bool, Tally, int]:
        """Messages at a steady rate. Returns whether all who read got everything, the counts, and the highest memory."""
        self.goal += messages
        self.crew.ask("mark")
        peak = 0

        def watch() -> None:
            nonlocal peak
            peak = max(peak, self.server.sample().rss_bytes)

        start_ns = time.monotonic_ns() + int(LEAD_SECONDS * 1e9)
        self.crew.publish(
            Plan(mode="steady", start_ns=start_ns, messages=messages, body_bytes=body_bytes, publishers=publishers, rate=rate)
        )
        complete = self.crew.wait(self.goal, self._load.stall_seconds, most_seconds, watch)
        watch()
        return complete, self.crew.phase(), peak

    def _generator(self) -> list[int]:
        return [status["cpu_ns"] for status in self.crew.ask("status")]

    def verdict(self, complete: bool) -> Verdict:
        """Check what everybody got since the beginning. The slow ones are left out of the losses.

        :param complete: whether every wait ended with everybody having everything.
        """
        self.reports = self.crew.ask("report", published=self.crew.published())
        verdict = Verdict()
        total = Tally()
        strays = 0
        for report in self.reports:
            total.merge(report["total"])
            verdict.lost += sum(lost for index, lost in report["missing"].items() if int(index) not in self._slow)
            verdict.closed += sum(int(index) not in self._slow for index in report["closed"])
            verdict.faults += report["faults"]
            strays += sum(index not in self._slow for index in report["strays"])
        verdict.doubled, verdict.reordered, verdict.altered = total.doubled, total.reordered, total.altered
        verdict.common_order = not strays and len({report["digest"] for report in self.reports}) == 1
        if any((verdict.lost, verdict.doubled, verdict.reordered, verdict.altered, verdict.closed)):
            verdict.status = "faulty"
        if not complete:
            verdict.status = "stalled"
        return verdict
