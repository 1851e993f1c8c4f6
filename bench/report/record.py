"""The record of a run: everything it found out, as JSON for machines.

Owns the record's shape and the list of figures. Must not know how they were measured or how they are shown.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import msgspec

from bench.certificate import Certificate
from bench.histogram import Histogram

__all__ = ["BUSY_MAX", "FIGURES", "Figure", "Record", "RecordError", "curve", "environment", "read_record", "together"]

VERSION: Final = 1
"""Of the record's shape."""
PACKAGES: Final = ("roomcast", "trio", "msgspec", "uvloop", "msgpack")
BUSY_MAX: Final = 0.9
"""A generator that computed, or waited for a core, for more than this share of the measured time was the bottleneck."""
CURVE_POINTS: Final = 60


class RecordError(Exception):
    """A file is no record of a run."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    :ivar better: which way is better; None where neither is, or where it follows from the load.
    :ivar detail: of interest to who looks closer; files have it always, the terminal when asked.
    :ivar money: shown apart.
    """

    label: str
    better: Literal["lower", "higher"] | None = None
    detail: bool = False
    money: bool = False


FIGURES: Final[dict[str, Figure]] = {
    "messages_sent": Figure("messages sent"),
    "deliveries": Figure("deliveries"),
    "taps_per_second": Figure("taps a second", "higher"),
    "counter_batches": Figure("batches of nothing but counters and totals"),
    "counters_apart_ms": Figure("least time between two of these, ms"),
    "offered_per_second": Figure("comments offered a second"),
    "accepted_per_second": Figure("of these accepted a second, notices included"),
    "accepted_share": Figure("share of a sender's comments that was accepted, mean"),
    "accepted_least": Figure("the same, the sender with the least"),
    "accepted_most": Figure("the same, the sender with the most"),
    "frames": Figure("frames received"),
    "frames_per_viewer": Figure("frames per viewer", detail=True),
    "bytes_per_delivery": Figure("bytes per delivery", "lower"),
    "seconds": Figure("seconds, first intended send to last receipt"),
    "deliveries_per_second": Figure("deliveries per second", "higher"),
    "messages_per_second": Figure("messages per second", "higher", detail=True),
    "latency_p50_ms": Figure("latency p50, ms", "lower"),
    "latency_p90_ms": Figure("latency p90, ms", "lower", detail=True),
    "latency_p99_ms": Figure("latency p99, ms", "lower"),
    "latency_p999_ms": Figure("latency p99.9, ms", "lower", detail=True),
    "latency_max_ms": Figure("latency max, ms", "lower"),
    "calm_latency_p99_ms": Figure("latency p99 of the same load undisturbed, ms", "lower"),
    "latency_p99_to_calm": Figure("latency p99, disturbed to undisturbed", "lower"),
    "engine_cpu_to_calm": Figure("engine CPU, disturbed to undisturbed", "lower"),
    "lag_p99_ms": Figure("frame after its first viewer had it p99, ms", "lower", detail=True),
    "lag_max_ms": Figure("frame after its first viewer had it max, ms", "lower", detail=True),
    "reply_p50_ms": Figure("send to reply p50, ms", "lower", detail=True),
    "reply_p99_ms": Figure("send to reply p99, ms", "lower"),
    "join_p50_ms": Figure("join p50, ms", detail=True),
    "join_p99_ms": Figure("join p99, ms"),
    "joins_per_second": Figure("joins per second", "higher"),
    "join_seconds": Figure("seconds until all had joined", "lower", detail=True),
    "return_p50_ms": Figure("return after a storm p50, ms", detail=True),
    "return_p99_ms": Figure("return after a storm p99, ms", "lower"),
    "returned": Figure("connections cut and brought back"),
    "faults": Figure("faults in a row"),
    "recovery_p50_ms": Figure("from a fault until everybody had everything p50, ms", "lower"),
    "recovery_max_ms": Figure("from a fault until everybody had everything max, ms", "lower"),
    "slow_viewers": Figure("slow viewers"),
    "met_lag_policy": Figure("of them met the lag policy"),
    "refused_for_now": Figure("handshakes refused for the time being"),
    "engine_cpu_seconds": Figure("engine CPU, s", detail=True),
    "engine_cpu_share": Figure("engine CPU, share of a core", "lower"),
    "engine_cpu_us_per_frame": Figure("engine CPU per frame, µs", "lower"),
    "engine_cpu_us_per_further_frame": Figure("engine CPU per frame of each further viewer, µs", "lower"),
    "engine_cpu_us_per_message": Figure("engine CPU per message, µs", "lower"),
    "engine_cpu_us_per_message_alone": Figure("engine CPU per message with one viewer in each room, µs", "lower"),
    "engine_cpu_us_per_join": Figure("engine CPU per join, µs", "lower"),
    "handshake_cpu_us": Figure("engine CPU per bare handshake, µs", "lower"),
    "visit_cpu_us": Figure("engine CPU per visit: handshake, join, leave, µs", "lower"),
    "presence_cpu_us": Figure(
        "engine CPU per visit beyond the bare handshake: coming in, going, and who knows of it, µs", "lower"
    ),
    "presence_core_share": Figure("the same for 100,000 visits a minute, share of a core", "lower"),
    "visits": Figure("visits"),
    "quality_core_share": Figure("what everybody's reports cost the engine, share of a core", "lower"),
    "report_cpu_us": Figure("engine CPU per report, µs", "lower"),
    "reports": Figure("reports"),
    "snapshots_built": Figure("snapshots built"),
    "hub_cpu_seconds": Figure("of it the hub, s", "lower"),
    "hub_cpu_us_per_batch": Figure("hub CPU per batch, µs", "lower"),
    "broker_operations_per_second": Figure("operations asked of Redis a second"),
    "broker_operations_per_message": Figure("operations asked of Redis per message", "lower"),
    "broker_bytes_in_per_message": Figure("bytes to Redis per message", "lower"),
    "broker_bytes_out_per_message": Figure("bytes from Redis per message, to all nodes", "lower"),
    "broker_cpu_us_per_message": Figure("Redis CPU per message, µs", "lower"),
    "link_bytes_per_batch": Figure("bytes from the hub to its edges per batch, all in", "lower"),
    "pass_us_per_frame": Figure("fan-out per frame by the wall clock, µs", "lower", detail=True),
    "frames_per_core_second": Figure("frames per engine core-second", "higher"),
    "deliveries_per_core_second": Figure("deliveries per engine core-second", "higher"),
    "limit_us_per_frame": Figure("bare send loop per frame, µs"),
    "ratio_to_limit": Figure("engine to bare send loop", "lower"),
    "engine_memory_bytes": Figure("engine memory, bytes", "lower"),
    "engine_memory_growth_bytes": Figure("engine memory growth over the phase, bytes", "lower", detail=True),
    "engine_bytes_per_viewer": Figure("engine memory per viewer, bytes", "lower"),
    "kernel_bytes_per_viewer": Figure("kernel memory per viewer, one end, bytes", detail=True),
    "generator_cpu_seconds": Figure("generator CPU, s", detail=True),
    "generator_frames_per_core_second": Figure("generator, verified frames per core-second", "higher"),
    "generator_bytes_per_viewer": Figure("generator memory per viewer, bytes", "lower"),
    "generator_busy": Figure("busiest generator, share of the time"),
    "generator_late_p99_ms": Figure("generator late p99, ms"),
    "generator_late_max_ms": Figure("generator late max, ms", detail=True),
    "generator_delay_p99_ms": Figure("generator scheduling delay p99, ms", detail=True),
    "gifts_offered": Figure("gifts offered", money=True),
    "gifts_acknowledged": Figure("of these acknowledged", money=True),
    "gifts_refused": Figure("of these refused for now", money=True),
    "gifts_per_second": Figure("gifts acknowledged a second", "higher", money=True),
    "paid_p50_ms": Figure("asked to acknowledged p50, ms", "lower", money=True),
    "paid_p99_ms": Figure("asked to acknowledged p99, ms", "lower", money=True),
    "paid_max_ms": Figure("asked to acknowledged max, ms", "lower", money=True),
    "engine_cpu_us_per_gift": Figure("engine CPU per gift, deliveries included, µs", "lower", money=True),
    "combos": Figure("combos", money=True),
    "claims": Figure("claims of the red packet", money=True),
    "claims_per_second": Figure("claims a second", money=True),
    "claims_dropped": Figure("of these not answered, since it was over", money=True),
    "winners": Figure("winners", money=True),
    "emptied_ms": Figure("first claim to emptied, ms", "lower", money=True),
    "rush_latency_p99_ms": Figure("latency p99 of comments during the claims, ms", "lower", money=True),
    "before_latency_p99_ms": Figure("latency p99 of comments before, ms", "lower", money=True),
    "after_latency_p99_ms": Figure("latency p99 of comments after, ms", "lower", money=True),
    "rush_latency_to_before": Figure("latency p99 of comments, during the claims to before", "lower", money=True),
    "rush_cpu_to_before": Figure("engine CPU, with the red packet to before", "lower", money=True),
    "backend_calm_p99_ms": Figure("latency p99 of viewers when no backend publishes, ms", "lower"),
    "backend_single_per_second": Figure("a backend's events a second at most, one by one over HTTP", "higher"),
    "backend_single_offered": Figure("at so many events a second, one by one over HTTP:"),
    "backend_single_p50_ms": Figure("asked to answered p50, ms", "lower", detail=True),
    "backend_single_p99_ms": Figure("asked to answered p99, ms", "lower"),
    "backend_single_cpu_us": Figure("engine CPU an event, µs", "lower"),
    "backend_single_latency_to_calm": Figure("latency p99 of viewers meanwhile, to that without", "lower"),
    "backend_batch_per_second": Figure("a backend's events a second at most, in batches over HTTP", "higher"),
    "backend_batch_offered": Figure("at so many events a second, in batches over HTTP:"),
    "backend_batch_p50_ms": Figure("asked to answered p50, ms", "lower", detail=True),
    "backend_batch_p99_ms": Figure("asked to answered p99, ms", "lower"),
    "backend_batch_cpu_us": Figure("engine CPU an event, µs", "lower"),
    "backend_batch_latency_to_calm": Figure("latency p99 of viewers meanwhile, to that without", "lower"),
    "backend_socket_per_second": Figure("a backend's events a second at most, over a WebSocket", "higher"),
    "backend_socket_offered": Figure("at so many events a second, over a WebSocket:"),
    "backend_socket_p50_ms": Figure("asked to answered p50, ms", "lower", detail=True),
    "backend_socket_p99_ms": Figure("asked to answered p99, ms", "lower"),
    "backend_socket_cpu_us": Figure("engine CPU an event, µs", "lower"),
    "backend_socket_latency_to_calm": Figure("latency p99 of viewers meanwhile, to that without", "lower"),
    "backend_kept": Figure("events read back, each once and in order"),
    "page_paint_demo_ms": Figure("first paint of the demo room, nothing cached, ms", "lower"),
    "page_paint_console_ms": Figure("first paint of the console, nothing cached, ms", "lower"),
    "page_events": Figure("events that the page was given"),
    "page_dropped": Figure("events that it was not", "lower"),
    "page_cpu_share": Figure("Chromium, all its processes, share of a core", "lower"),
    "page_renderer_share": Figure("of it the page's own process", "lower"),
    "page_frames_per_second": Figure("pictures a second", "higher"),
    "page_heap_bytes": Figure("held by the page's scripts, second half, bytes", "lower"),
    "page_heap_growth_bytes": Figure("the same, growth against the first half, bytes", "lower"),
    "page_nodes": Figure("nodes in its documents", "lower"),
    "advised_share_before": Figure("share of a core of the busiest processes before the advice"),
    "advised_share_after": Figure("the same after it", "lower"),
    "advised_latency_to_before": Figure("latency p99, after the advice to before", "lower"),
    "ledger_groups": Figure("transactions", money=True, detail=True),
    "ledger_group_mean": Figure("booked in one transaction, mean", money=True),
    "ledger_group_max": Figure("booked in one transaction, most", money=True),
    "ledger_commit_mean_ms": Figure("transaction mean, ms", "lower", money=True, detail=True),
    "ledger_commit_p50_ms": Figure("transaction p50, ms", "lower", money=True),
    "ledger_commit_p99_ms": Figure("transaction p99, ms", "lower", money=True),
    "ledger_commit_max_ms": Figure("transaction max, ms", "lower", money=True, detail=True),
    "ledger_cpu_us_per_entry": Figure("CPU of the database server per entry, µs", "lower", money=True),
}
"""Every figure a run can have, in the order in which they are shown."""


@dataclass(slots=True, kw_only=True)
class Record:
    """Everything a run found out.

    Figures are those of the measured phase; the certificate is the whole run's.

    :ivar figures: by name (`FIGURES`); of several rounds the medians.
    :ivar rounds: figures of each round.
    :ivar latency_curve: (share, milliseconds): that share of deliveries took at most so long.
    :ivar lag_curve: the same for a frame's receipt after the first viewer of the same process had it.
    :ivar windows: ``{second, deliveries, p50_ms, p99_ms, max_ms}`` since the phase began.
    :ivar samples: ``{second, engine_cpu_share, engine_memory_bytes, generator_cpu_share, deliveries}`` likewise.
    :ivar faults: ``{kind, what, second, recovery_seconds}`` of each that was brought about; the last is the time until
        everybody had everything.
    :ivar bottleneck: the generator was; the engine can do better.
    :ivar partial: interrupted.
    """

    scenario: str
    viewers: int
    text: str = ""
    version: int = VERSION
    load: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)
    certificate: Certificate = field(default_factory=Certificate)
    notes: list[str] = field(default_factory=list)
    latency_curve: list[tuple[float, float]] = field(default_factory=list)
    lag_curve: list[tuple[float, float]] = field(default_factory=list)
    windows: list[dict[str, float]] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    bottleneck: bool = False
    partial: bool = False
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    environment: dict[str, Any] = field(default_factory=lambda: environment())

    @property
    def verified(self) -> bool:
        """Whether the run is complete and its certificate balances."""
        return not self.partial and self.certificate.balanced

    def set(self, **figures: float | None) -> None:
        """Set figures; None is left out. Raises KeyError for one that is not in `FIGURES`."""
        for name, value in figures.items():
            FIGURES[name]
            if value is not None:
                self.figures[name] = value

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(
            json.dumps(asdict(self) | {"verified": self.verified}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_record(path: Path) -> Record:
    """The inverse of `Record.write`. Raises `RecordError`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values.pop("verified")
        if values["version"] != VERSION:
            raise RecordError(f"{path}: version {values['version']} of a record; this reads {VERSION}")
        return msgspec.convert(values, Record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} is not a record that `roomcast-bench run --json` wrote: {error}") from None


def together(records: list[Record]) -> Record:
    """Several rounds of one run as one: the medians of the figures, the sum of the certificates, the curves of the round
    whose p99 (or else CPU) is the median."""

    def weight(record: Record) -> float:
        return record.figures.get("latency_p99_ms", record.figures.get("engine_cpu_seconds", 0.0))

    whole = sorted(records, key=weight)[(len(records) - 1) // 2]
    rounds = [record.figures for record in records]
    certificate = deepcopy(records[0].certificate)
    for record in records[1:]:
        certificate.merge(record.certificate)
    names = [name for name in FIGURES if all(name in figures for figures in rounds)]
    whole.figures = {name: median(figures[name] for figures in rounds) for name in names}
    whole.rounds = rounds
    whole.certificate = certificate
    whole.bottleneck = any(record.bottleneck for record in records)
    whole.partial = any(record.partial for record in records)
    return whole


def curve(histogram: Histogram) -> list[tuple[float, float]]:
    """Points of a histogram's distribution in milliseconds, dense towards 1, for a logarithmic axis."""
    if not histogram.total:
        return []
    shares = [1 - 10 ** (-5 * point / CURVE_POINTS) for point in range(CURVE_POINTS)] + [1.0]
    return [(round(share, 6), round((histogram.quantile(share) or 0.0) / 1000, 3)) for share in shares]


def environment() -> dict[str, Any]:
    """Machine, kernel, Python and package versions."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "python": sys.version.split()[0],
        "versions": {package: version(package) for package in PACKAGES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
