"""One site and its generators, ready to be put through phases: what every scenario has in common.

Owns the order of things (site, generators, joins, phases, closing, certificate) and the arithmetic from counts to
figures. Must not know any particular scenario.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import fmean
from typing import Any, Final

from bench.audience import Audience
from bench.certificate import certify
from bench.engineproc import Sample, Sections, quiet, rss_bytes, slab_bytes
from bench.fleet import Fleet
from bench.generator.process import WINDOWS_MAX, Share
from bench.generator.sender import Plan
from bench.generator.tally import Clock, Tally
from bench.histogram import Histogram
from bench.load import Load
from bench.money import close_books, describe_ledger
from bench.report.record import BUSY_MAX, Record, curve
from bench.report.show import Show
from bench.sampler import Sampler
from bench.site import Site

__all__ = ["PROCESS_VIEWERS", "Phase", "Stage"]

PROCESS_VIEWERS: Final = 18_000
"""Connections of one generator process; the hard limit on descriptors is often 20,000."""
CLOCK_MS: Final = 2
"""By how much a time in milliseconds may be off."""
LEAD_SECONDS: Final = 0.3
"""From the order to the first intended send, so that every process has prepared its part."""


@dataclass(slots=True, kw_only=True)
class Phase:
    """What one phase cost and brought.

    :ivar withheld: comments that were.
    :ivar counted: batches of all rooms that carried nothing but counters and totals.
    :ivar expected: deliveries that became due in it.
    :ivar generator: CPU seconds, and seconds waiting for a core, of each generator process.
    :ivar paid: what was asked for → acknowledged, of gifts and of shares of red packets.
    :ivar ledger_cpu_ns: of the database server.
    :ivar samples: as in `bench.report.record.Record`.
    :ivar broker: what the nodes asked of Redis, as `bench.site.Backing.traffic`; empty without one, or where it fails.
    """

    tally: Tally
    acknowledged: Histogram
    paid: Histogram
    late: Histogram
    loop_delay: Histogram
    sent: int
    accepted: int
    likes_sent: int
    withheld: int
    counted: int
    expected: int
    start_ns: int
    before: Sample
    after: Sample
    generator: list[tuple[float, float]]
    ledger_cpu_ns: int = 0
    samples: list[dict[str, float]] = field(default_factory=list)
    broker: dict[str, int] = field(default_factory=dict)

    @property
    def engine_cpu(self) -> float:
        """Seconds."""
        return (self.after.cpu_ns - self.before.cpu_ns) / 1e9

    @property
    def generator_cpu(self) -> float:
        """Seconds, of all processes."""
        return sum(cpu for cpu, _ in self.generator)

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
        return min(1.0, max(map(sum, self.generator)) / span) if span else 0.0


class Stage:
    """A running engine with generator processes; a context manager.

    :param record: to be filled.
    :param sections: settings of the engine.
    :param command: how to start it.
    :raises EngineError: it did not start.
    :raises bench.children.ChildError: a generator did not.
    """

    def __init__(self, load: Load, record: Record, sections: Sections, command: tuple[str, ...], show: Show) -> None:
        self.load = load
        self.show = show
        self.record = record
        self.audience = Audience(load)
        self.site = Site(load, sections, command)
        self._epoch_ns = time.monotonic_ns()
        self._failures: list[str] = []
        self.held = 0
        """Memory while slow viewers did not read, where somebody looked."""
        self.company = False
        """Whether others than the generators are connected: what the engine says of all connections is not only theirs."""
        self._path = sections.get("edge", {}).get("path", "/ws")
        self._fleet: Fleet | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._fleet is not None:
                self._fleet.__exit__()
        finally:
            self.site.stop()

    @property
    def fleet(self) -> Fleet:
        """All generators, started when first needed."""
        if self._fleet is None:
            load, everybody = self.load, self.audience.everybody
            share = Share(
                addresses=self.site.addresses,
                path=self._path,
                load=asdict(load),
                first=0,
                stop=everybody,
                epoch_ns=self._epoch_ns,
                prices={name: gift["price"] for name, gift in self.record.config.get("gifts", {}).items()},
            )
            self._fleet = Fleet(share, load.processes or -(-everybody // PROCESS_VIEWERS), load.stall_seconds)
        return self._fleet

    # -- joining ------------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Bring all viewers in; sets the figures of joining and of memory per viewer."""
        fleet, everybody = self.fleet, self.audience.everybody
        held, slab = sum(map(rss_bytes, fleet.pids)), slab_bytes()
        cost = fleet.cost()
        before = quiet(self.site.sample)
        began = time.monotonic()
        with self.show.task("joining", everybody) as progress:
            fleet.join(progress, self.load.joins_per_second)
        seconds = time.monotonic() - began
        joined = self.site.sample(memory=False)
        spent = [(now - then) for (now, _), (then, _) in zip(fleet.cost(), cost, strict=True)]
        after = quiet(self.site.sample)
        cpu = (joined.cpu_ns - before.cpu_ns) / 1e9
        self.record.set(
            joins_per_second=everybody / seconds,
            join_seconds=seconds,
            engine_cpu_us_per_join=cpu * 1e6 / everybody,
            engine_memory_bytes=after.rss_bytes,
            engine_bytes_per_viewer=(after.rss_bytes - before.rss_bytes) / everybody,
            generator_bytes_per_viewer=(sum(map(rss_bytes, fleet.pids)) - held) / everybody,
            kernel_bytes_per_viewer=max(0.0, (slab_bytes() - slab) / 2 / everybody),
            generator_cpu_seconds=sum(spent),
            generator_busy=min(1.0, max(spent) / seconds),
            engine_cpu_seconds=cpu,
            engine_cpu_share=cpu / seconds,
        )

    # -- phases -------------------------------------------------------------------------------------------------------

    def phase(
        self,
        label: str,
        plan: Plan,
        meanwhile: Callable[[], None] | None = None,
        during: Callable[[], None] | None = None,
    ) -> Phase:
        """Send one plan and wait until everybody who reads has everything.

        :param plan: its start is set here.
        :param during: called when the plan has been given to all; when it returns they end what they were saying.
        :param meanwhile: called when all is answered and delivered, before the engine is measured.
        :raises KeyboardInterrupt: after the figures of what has come so far are set.
        """
        fleet = self.fleet
        before, asked = quiet(self.site.sample), self._traffic()
        fleet.ask("mark")
        old, cost, entitled = fleet.ask("status"), fleet.cost(), fleet.entitled()
        booked_ns = self._ledger_cpu_ns()
        start_ns = time.monotonic_ns() + int(LEAD_SECONDS * 1e9)
        sampler = Sampler(self.site.sample, fleet, self.show, start_ns, plan)
        endless = during is not None or plan.speech in ("taps", "visits") or (plan.speech == "flood" and plan.like_share == 1)
        interrupted: KeyboardInterrupt | None = None
        try:
            with self.show.task(label, None if endless else self._due(plan)) as progress:

                def note(done: int) -> None:
                    sampler.look(done)
                    progress(done)

                fleet.go(plan, start_ns)
                if during is not None:
                    during()
                    fleet.ask("hush")
                complete = fleet.wait_answered(note)
                complete = fleet.wait_delivered(note) and complete
                if self.load.money:
                    # Only who has all gifts knows of all combos, of which ends are still to come.
                    complete = fleet.wait_settled(note) and complete
                    complete = fleet.wait_delivered(note) and complete
                if not self.load.faults:
                    complete = fleet.wait_told(note) and complete
        except KeyboardInterrupt as error:
            interrupted, complete = error, True
        if not complete:
            self.fail("stalled", f"{label} did not complete: nothing moved for {self.load.stall_seconds:g} s")
        if meanwhile is not None and interrupted is None:
            meanwhile()
        after, answered = self.site.sample(), self._traffic()
        new, spent = fleet.ask("status"), fleet.cost()
        tally = Tally(Clock(self._epoch_ns))
        histograms = {name: Histogram() for name in ("acknowledged", "paid", "late", "loop_delay")}
        for answer in fleet.ask("phase"):
            tally.merge(answer["tally"])
            for name, histogram in histograms.items():
                histogram.merge(Histogram.load(answer[name]))

        def grown(name: str) -> int:
            return sum(int(b[name]) - int(a[name]) for a, b in zip(old, new, strict=True))

        phase = Phase(
            tally=tally,
            **histograms,
            sent=grown("sent"),
            accepted=grown("accepted"),
            likes_sent=grown("likes_sent"),
            withheld=grown("withheld"),
            counted=max(int(b["counted"]) - int(a["counted"]) for a, b in zip(old, new, strict=True)),
            expected=fleet.entitled() - entitled,
            start_ns=start_ns,
            before=before,
            after=after,
            generator=[(cpu - then, wait - stood) for (cpu, wait), (then, stood) in zip(spent, cost, strict=True)],
            ledger_cpu_ns=self._ledger_cpu_ns() - booked_ns,
            samples=sampler.samples,
            broker={name: answered[name] - number for name, number in asked.items()},
        )
        if interrupted is not None:
            self.describe(phase)
            raise interrupted
        return phase

    def _ledger_cpu_ns(self) -> int:
        return self.site.treasury.cpu_ns if self.site.treasury is not None else 0

    def _traffic(self) -> dict[str, int]:
        backing = self.site.backing
        return backing.traffic() if backing is not None and not self.load.faults else {}

    def _due(self, plan: Plan) -> int:
        """About how many deliveries a plan makes; exactly, where rooms are alike and nothing is random."""
        audience = self.audience
        hearers = sum(audience.sizes[audience.room_of(sender)] for sender in plan.senders) / len(plan.senders)
        return round(plan.total * plan.bursts * (1 - plan.like_share) * hearers)

    def idle(self, seconds: float) -> None:
        """Nobody says anything; sets the figures of silence."""
        fleet = self.fleet
        before = quiet(self.site.sample)
        fleet.ask("mark")
        cost = fleet.cost()
        steps = max(1, round(seconds))
        with self.show.task("idle", steps) as progress:
            for step in range(steps):
                time.sleep(seconds / steps)
                progress(step + 1)
        after = self.site.sample()
        spent = [cpu - then for (cpu, _), (then, _) in zip(fleet.cost(), cost, strict=True)]
        wall = (after.at_ns - before.at_ns) / 1e9
        cpu = (after.cpu_ns - before.cpu_ns) / 1e9
        self.record.set(
            seconds=wall,
            frames=fleet.total("frames"),
            engine_cpu_seconds=cpu,
            engine_cpu_share=cpu / wall,
            engine_memory_bytes=after.rss_bytes,
            engine_memory_growth_bytes=after.rss_bytes - before.rss_bytes,
            generator_cpu_seconds=sum(spent),
            generator_busy=min(1.0, max(spent) / wall),
        )

    # -- figures ------------------------------------------------------------------------------------------------------

    def describe(self, phase: Phase) -> None:
        """Set the figures of the measured phase."""
        record, tally, cpu = self.record, phase.tally, phase.engine_cpu
        messages = phase.sent + phase.likes_sent
        seconds = phase.seconds or phase.wall
        hub_cpu = _role(phase, "hub")
        record.set(
            messages_sent=messages or None,
            deliveries=tally.deliveries,
            frames=tally.frames,
            seconds=seconds,
            messages_per_second=messages / seconds if messages else None,
            engine_cpu_seconds=cpu,
            engine_cpu_share=cpu / phase.wall,
            engine_cpu_us_per_message=cpu * 1e6 / messages if messages else None,
            hub_cpu_seconds=hub_cpu,
            counter_batches=phase.counted if phase.likes_sent or phase.withheld else None,
            taps_per_second=phase.likes_sent / self.load.seconds if self.load.speech == "taps" else None,
            offered_per_second=phase.sent / self.load.seconds if phase.withheld else None,
            accepted_per_second=phase.accepted / self.load.seconds if phase.withheld else None,
            engine_memory_bytes=phase.after.rss_bytes,
            engine_memory_growth_bytes=phase.after.rss_bytes - phase.before.rss_bytes,
            generator_cpu_seconds=phase.generator_cpu,
            generator_busy=phase.busy,
            **_percentiles("generator_late", phase.late, "p99", "max"),
            **_percentiles("generator_delay", phase.loop_delay, "p99"),
            **_percentiles("reply", phase.acknowledged, "p50", "p99"),
        )
        if phase.broker and messages:
            record.set(
                broker_operations_per_second=phase.broker["operations"] / phase.wall,
                broker_operations_per_message=phase.broker["operations"] / messages,
                broker_bytes_in_per_message=phase.broker["bytes_in"] / messages,
                broker_bytes_out_per_message=phase.broker["bytes_out"] / messages,
                broker_cpu_us_per_message=phase.broker["cpu_ns"] / 1e3 / messages,
            )
        if tally.frames:
            record.set(
                engine_cpu_us_per_frame=cpu * 1e6 / tally.frames,
                frames_per_viewer=tally.frames / self.audience.everybody,
                # A batch is a frame at every viewer of its room, and every node makes its own.
                hub_cpu_us_per_batch=hub_cpu
                and hub_cpu * 1e6 * self.audience.everybody / (tally.frames * self.load.rooms * self.load.nodes),
                frames_per_core_second=tally.frames / cpu if cpu else None,
                generator_frames_per_core_second=tally.frames / phase.generator_cpu if phase.generator_cpu else None,
                **_percentiles("lag", tally.lag, "p99", "max"),
            )
            record.lag_curve = curve(tally.lag)
        if tally.deliveries:
            latency = tally.whole_latency()
            record.set(
                deliveries_per_second=tally.deliveries / seconds,
                deliveries_per_core_second=tally.deliveries / cpu if cpu else None,
                bytes_per_delivery=tally.wire_bytes / tally.deliveries,
                **_percentiles("latency", latency, "p50", "p90", "p99", "p999", "max"),
            )
            record.latency_curve = curve(latency)
        record.windows = self._windows(phase)
        record.samples = phase.samples
        record.bottleneck = record.bottleneck or phase.busy > BUSY_MAX

    def latency(self, phase: Phase, begin: float, end: float) -> Histogram:
        """Of what was received in a part of a phase, seconds after its start, and in the windows that this cuts."""
        found = Histogram()
        started = (phase.start_ns - self._epoch_ns) / 1e9
        for window, latency in phase.tally.latency.items():
            if window + 1 > (started + begin) / self._window_seconds and window < (started + end) / self._window_seconds:
                found.merge(latency)
        return found

    @property
    def _window_seconds(self) -> float:
        return max(1.0, self.load.seconds / WINDOWS_MAX)

    def _windows(self, phase: Phase) -> list[dict[str, float]]:
        seconds = self._window_seconds
        began = (phase.start_ns - self._epoch_ns) / 1e9
        found = []
        for window, latency in sorted(phase.tally.latency.items()):
            quantiles = latency.milliseconds()
            found.append(
                {
                    "second": round(window * seconds - began, 3),
                    "deliveries": latency.total,
                    **{f"{name}_ms": quantiles[name] or 0.0 for name in ("p50", "p99", "max")},
                }
            )
        return found

    def fail(self, kind: str, text: str) -> None:
        """A scenario's own expectation was not met."""
        self._failures.append(f"{kind}: {text}")

    # -- the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Final checks of every process and across them, orderly closing, the engine's last words: the certificate."""
        record, fleet = self.record, self.fleet
        totals = fleet.totals()
        reports = fleet.ask("report", heads=fleet.heads(), totals=totals)
        record.certificate = certify(reports, totals, self._failures)
        self._describe_senders(reports)
        joins, returns = Histogram(), Histogram()
        for report in reports:
            joins.merge(Histogram.load(report["join_times"]))
            returns.merge(Histogram.load(report["return_times"]))
        record.set(
            refused_for_now=sum(report["busy"] for report in reports) or None,
            returned=returns.total or None,
            **_percentiles("join", joins, "p50", "p99"),
            **_percentiles("return", returns, "p50", "p99"),
        )
        for what in ("gapped", "closed"):
            counts: Counter[str] = sum((Counter(report[what]) for report in reports), Counter())
            if counts:
                record.notes.append(f"viewers {what}: {', '.join(f'{reason} {count:,}' for reason, count in counts.items())}")
        with self.show.task("closing", self.audience.everybody) as progress:
            closing = fleet.close(progress)
        statuses = self.site.stop(partial(close_books, record, fleet, reports) if self.load.money else None)
        record.certificate.close(closing, None if self.company else self.site.statistics)
        describe_ledger(record, self.site.lanes)
        if self.load.speech == "reports":
            self._check_quality(reports)
        edge, hub = ((self.site.statistics or {}).get(role, {}) for role in ("edge", "hub"))
        if hub.get("snapshots"):
            record.set(snapshots_built=hub["snapshots"])
        if hub.get("link_bytes") and hub["batches"]:
            record.set(link_bytes_per_batch=hub["link_bytes"] / hub["batches"])
        if edge.get("frames_sent"):
            record.set(pass_us_per_frame=edge["fanout_seconds"] * 1e6 / edge["frames_sent"])
        for status in filter(None, statuses):
            record.certificate.add(f"engine: it ended with status {status}")

    def _check_quality(self, reports: list[Any]) -> None:
        """What viewers reported is what the engine has added up."""
        for name, ours in {"reports": "reports", "entitled": "reported", "received": "reported"}.items():
            told, sent = sum(each[name] for each in self.site.qualities), sum(report[ours] for report in reports)
            if told != sent:
                self.record.certificate.add(f"quality: the engine says {name} {told}, the viewers {sent}")

    def _describe_senders(self, reports: list[Any]) -> None:
        """Figures of counters and of what was withheld."""
        record, config = self.record, self.record.config
        apart = min((apart for report in reports for apart in report["apart_ms"]), default=None)
        record.set(counters_apart_ms=apart)
        grid = float(config.get("room", {}).get("tick_grid_seconds", 0.02)) * 1000
        if apart is not None and apart < grid - CLOCK_MS:
            record.certificate.add(f"counters: two batches of counters {apart} ms apart, a tick is {grid:g} ms at least")
        if record.certificate.withheld_comments:
            shares = [accepted / said for report in reports for said, accepted in report["shares"] if said]
            record.set(accepted_share=fmean(shares), accepted_least=min(shares), accepted_most=max(shares))

    def broken(self, error: Exception | KeyboardInterrupt) -> None:
        """Keep what is known when a run ends early."""
        self.record.partial = isinstance(error, KeyboardInterrupt)
        if not self.record.partial:
            self.record.certificate.add(f"run: {error}")


def _percentiles(name: str, histogram: Histogram, *which: str) -> dict[str, float | None]:
    found = histogram.milliseconds()
    return {f"{name}_{percentile}_ms": found[percentile] for percentile in which}


def _role(phase: Phase, role: str) -> float | None:
    if role not in phase.after.cpu_by_role:
        return None
    return (phase.after.cpu_by_role[role] - phase.before.cpu_by_role.get(role, 0)) / 1e9
