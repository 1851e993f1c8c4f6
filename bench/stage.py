"""One engine and its generators, ready to be put through phases: what every scenario has in common.

Owns the order of things (engine, generators, joins, phases, final checks) and the arithmetic from counts to a record.
Must not know any particular scenario.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bench.engineproc import EngineProcess, Sample, Sections, wait_ns
from bench.fleet import Fleet, FleetError
from bench.generator.body import BODY_BYTES_MIN
from bench.generator.process import Share
from bench.generator.sender import Plan, sender_indexes
from bench.generator.verify import Fault, Tally
from bench.histogram import Histogram
from bench.report.record import BUSY_MAX, Record, Show, environment

__all__ = ["Load", "Phase", "Stage"]

PROCESS_VIEWERS = 18_000
"""Connections of one generator process; the hard limit on descriptors is often 20,000."""
LEAD_SECONDS = 0.3
"""From the order to the first intended send, so that every process has prepared its part."""
FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Size and kind of a run, as the command line gives it.

    :ivar viewers: in each room. ``senders`` of them speak.
    :ivar rate: comments a second in each room.
    :ivar messages: of all senders, where the scenario counts instead of keeping time.
    """

    scenario: str
    viewers: int = 1000
    rooms: int = 1
    senders: int = 10
    rate: float = 10.0
    seconds: float = 10.0
    messages: int = 0
    body_bytes: int = BODY_BYTES_MIN
    processes: int = 0
    codec: str = "msgpack"
    compression: bool = False
    seed: int = 1
    in_flight: int = 128
    window: int = 64
    slow_share: float = 0.0
    likes: bool = False
    stall_seconds: float = 20.0

    @property
    def everybody(self) -> int:
        """Viewers of all rooms."""
        return self.viewers * self.rooms

    @property
    def slow(self) -> tuple[int, ...]:
        """Indexes of the viewers who will stop reading: evenly spread, never senders of even spread."""
        count = round(self.everybody * self.slow_share)
        speaking = set(sender_indexes(self.senders, self.viewers, self.rooms))
        quiet = [index for index in range(self.everybody) if index not in speaking]
        return tuple(quiet[number * len(quiet) // count] for number in range(count))


@dataclass(slots=True, kw_only=True)
class Phase:
    """What one phase cost and brought."""

    tally: Tally
    acknowledged: Histogram
    late: Histogram
    loop_delay: Histogram
    sent: int
    accepted: int
    likes_sent: int
    start_ns: int
    before: Sample
    after: Sample
    generator_cpu: list[float]
    generator_wait: list[float]
    complete: bool

    @property
    def engine_cpu(self) -> float:
        """Seconds."""
        return (self.after.cpu_ns - self.before.cpu_ns) / 1e9

    @property
    def wall(self) -> float:
        """Seconds from mark to mark."""
        return (self.after.at_ns - self.before.at_ns) / 1e9

    @property
    def seconds(self) -> float:
        """First intended send → last receipt."""
        return max(0, self.tally.last_ns - self.start_ns) / 1e9

    @property
    def busy(self) -> float:
        """Share of the active time that the busiest generator computed or waited for a core."""
        span = min(self.wall, self.seconds + LEAD_SECONDS) if self.tally.last_ns else self.wall
        most = max(cpu + wait for cpu, wait in zip(self.generator_cpu, self.generator_wait, strict=True))
        return min(1.0, most / span) if span else 0.0


class Stage:
    """A running engine with generator processes; a context manager.

    :param sections: settings of the engine.
    :param command: how to start it.
    """

    def __init__(self, load: Load, sections: Sections, command: tuple[str, ...], show: Show) -> None:
        self.load = load
        self.show = show
        self.record = Record(
            scenario=load.scenario,
            viewers=load.everybody,
            load=asdict(load),
            config=sections,
            seed=load.seed,
            environment=environment(),
        )
        self._accepted = 0
        self._likes = 0
        self._complete = True
        self._failures: list[str] = []
        self.engine = EngineProcess(sections, command)
        try:
            self.empty = self.engine.sample()
            self.fleet = Fleet(
                self._share(sections), load.processes or -(-load.everybody // PROCESS_VIEWERS), load.stall_seconds
            )
        except BaseException:
            self.engine.stop()
            raise

    def _share(self, sections: Sections) -> Share:
        load = self.load
        return Share(
            host=self.engine.host,
            port=self.engine.port,
            path=sections.get("edge", {}).get("path", "/ws"),
            first=0,
            stop=load.everybody,
            per_room=load.viewers,
            seed=load.seed,
            body_bytes=load.body_bytes,
            json_codec=load.codec == "json",
            compression=load.compression,
            in_flight=load.in_flight,
            slow=load.slow,
            slow_rcvbuf=4096,
        )

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.fleet.__exit__()
        finally:
            self.engine.stop()

    def join(self) -> tuple[Sample, Sample, float]:
        """Bring all viewers in; fills in the cost of a join. Returns the engine before and after, and the seconds."""
        before = self.engine.quiet()
        began = time.monotonic()
        with self.show.task("joining", self.load.everybody) as progress:
            self.fleet.join(0, self.load.everybody, progress)
        seconds = time.monotonic() - began
        after = self.engine.sample()
        self.record.handshake_cpu_us = (after.cpu_ns - before.cpu_ns) / 1e3 / self.load.everybody
        self.record.joins_per_second = self.load.everybody / seconds
        return before, after, seconds

    def senders(self) -> tuple[int, ...]:
        """Indexes of all speakers."""
        return sender_indexes(self.load.senders, self.load.viewers, self.load.rooms)

    def phase(
        self,
        label: str,
        *,
        mode: str,
        total: int,
        rate: float = 0.0,
        senders: tuple[int, ...] = (),
        meanwhile: Callable[[], bool] | None = None,
    ) -> Phase:
        """Send one plan and wait until everybody who reads has everything.

        :param meanwhile: called when all is answered and delivered, before the engine is measured; False: it did not
            come about.
        """
        fleet, load = self.fleet, self.load
        before = self.engine.quiet()
        fleet.ask("mark")
        old = fleet.ask("status")
        waits = [wait_ns(pid) for pid in fleet.pids]
        plan = Plan(
            mode=mode,
            start_ns=time.monotonic_ns() + int(LEAD_SECONDS * 1e9),
            total=total,
            senders=senders or self.senders(),
            rate=rate,
            window=load.window,
        )
        with self.show.task(label, None if mode == "likes" else total * load.viewers) as progress:
            fleet.go(plan)
            complete = fleet.wait_answered(progress)
            complete = fleet.wait_delivered(progress) and complete
            if mode == "likes":
                complete = fleet.wait_for("likes", (self._likes + total) * len(fleet.pids), lambda _: None) and complete
        if meanwhile is not None:
            complete = meanwhile() and complete
        after = self.engine.sample()
        new = fleet.ask("status")
        phase = self._phase(fleet.ask("phase"), old, new, plan.start_ns, before, after, complete)
        phase.generator_wait = [(wait_ns(pid) - wait) / 1e9 for pid, wait in zip(fleet.pids, waits, strict=True)]
        self._accepted += phase.accepted
        self._likes += phase.likes_sent
        self._complete = self._complete and complete
        return phase

    def _phase(
        self,
        answers: list[dict[str, Any]],
        old: list[dict[str, Any]],
        new: list[dict[str, Any]],
        start_ns: int,
        before: Sample,
        after: Sample,
        complete: bool,
    ) -> Phase:
        tally = Tally()
        histograms = {name: Histogram() for name in ("acknowledged", "late", "loop_delay")}
        for answer in answers:
            tally.merge(answer["tally"])
            for name, histogram in histograms.items():
                histogram.merge(Histogram.load(answer[name]))

        def grown(name: str) -> int:
            return sum(int(b[name]) - int(a[name]) for a, b in zip(old, new, strict=True))

        return Phase(
            tally=tally,
            **histograms,
            sent=grown("sent"),
            accepted=grown("accepted"),
            likes_sent=grown("likes_sent"),
            start_ns=start_ns,
            before=before,
            after=after,
            generator_cpu=[(b["cpu_ns"] - a["cpu_ns"]) / 1e9 for a, b in zip(old, new, strict=True)],
            generator_wait=[],
            complete=complete,
        )

    def describe(self, phase: Phase) -> None:
        """Fill the record with the measured phase."""
        record, tally = self.record, phase.tally
        record.messages_sent = phase.sent
        record.deliveries_expected = phase.accepted * self.load.viewers
        record.deliveries = tally.deliveries
        record.frames = tally.frames
        record.seconds = phase.seconds
        record.engine_cpu_seconds = phase.engine_cpu
        record.generator_cpu_seconds = sum(phase.generator_cpu)
        record.generator_busy = phase.busy
        record.bottleneck = phase.busy > BUSY_MAX
        record.generator_late_ms = phase.late.milliseconds()
        record.generator_loop_delay_ms = phase.loop_delay.milliseconds()
        record.rss_bytes = phase.after.rss_bytes
        if tally.frames:
            record.engine_cpu_us_per_frame = phase.engine_cpu * 1e6 / tally.frames
            record.frames_per_viewer = tally.frames / self.load.everybody
        if tally.deliveries:
            record.deliveries_per_second = tally.deliveries / phase.seconds
            record.bytes_per_delivery = tally.wire_bytes / tally.deliveries
            record.latency_ms = tally.latency.milliseconds()
        if phase.acknowledged.total:
            record.acknowledged_ms = phase.acknowledged.milliseconds()

    def fail(self, kind: str, text: str) -> None:
        """A scenario's own expectation was not met."""
        self._failures.append(f"{kind}: {text}")

    def finish(self) -> Record:
        """Final checks of every process, and across processes; fills in the verdict."""
        record = self.record
        reports = self.fleet.ask("report", heads=self.fleet.heads())
        total = Tally()
        faults: list[Fault] = []
        for report in reports:
            total.merge(report["total"])
            faults += (Fault(**fault) for fault in report["faults"])
            for kind, count in report["fault_counts"].items():
                record.fault_counts[kind] = record.fault_counts.get(kind, 0) + count
        extra = self._failures + self._across(reports)
        expected = self._accepted * self.load.viewers
        closures = sum(report["closures"] for report in reports)
        accounted = total.deliveries + total.gap_offsets
        if accounted != expected and not closures:
            extra.append(f"count: {total.deliveries} deliveries + {total.gap_offsets} in gaps instead of {expected}")
        if not self._complete:
            extra.append("stalled: a phase did not complete")
        for text in extra:
            kind = text.partition(":")[0]
            record.fault_counts[kind] = record.fault_counts.get(kind, 0) + 1
        record.faults = [str(fault) for fault in faults[:FAULTS_SHOWN]] + extra
        record.lost = max(total.lost, 0 if closures else expected - accounted)
        record.duplicated, record.reordered = total.duplicated, total.reordered
        record.gaps, record.gap_offsets, record.overlap = total.gaps, total.gap_offsets, total.overlap
        for name in ("gapped", "closed"):
            counts: Counter[str] = sum((Counter(report[name]) for report in reports), Counter())
            if counts:
                record.extra[f"viewers_{name}"] = dict(counts)
        joins = Histogram()
        for report in reports:
            joins.merge(Histogram.load(report["join_times"]))
        record.extra["join_ms"] = joins.milliseconds()
        record.verified = not record.fault_counts and not record.lost
        return record

    def _across(self, reports: list[dict[str, Any]]) -> list[str]:
        """Processes that watched one room must have seen the same messages at the same offsets."""
        seen: dict[str, list[int]] = {}
        wrong = []
        for report in reports:
            for room, facts in report["rooms"].items():
                if seen.setdefault(room, facts) != facts:
                    wrong.append(f"disagree: two processes saw room {room} differently: {seen[room]} and {facts}")
        return wrong

    def broken(self, error: FleetError | KeyboardInterrupt) -> None:
        """Keep what is known when a run ends early."""
        self.record.partial = isinstance(error, KeyboardInterrupt)
        if not self.record.partial:
            self.record.fault_counts["run"] = 1
            self.record.faults.append(f"run: {error}")
