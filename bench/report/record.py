"""The result of a run: one record, as JSON for machines and as a table for people.

Owns the record's fields and how they are shown. Must not know how they were measured.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Record", "Show", "environment"]

PACKAGES = ("roomcast", "trio", "msgspec", "uvloop", "msgpack")
BUSY_MAX = 0.9
"""A generator that computed, or waited for a core, for more than this share of the measured time was the bottleneck."""


@dataclass(slots=True, kw_only=True)
class Record:
    """Everything a run found out; None where the scenario does not measure it.

    Deliveries (one event at one viewer), seconds, CPU and latencies are those of the measured phase. Lost, duplicated,
    reordered and all other faults are those of the whole run.

    :ivar seconds: first intended send → last receipt.
    :ivar latency_ms: intended send → receipt, each delivery; for ``join`` connecting → snapshot, each viewer.
    :ivar generator_busy: of the busiest generator process, the share of the phase it computed or waited for a core.
    """

    scenario: str
    viewers: int
    load: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    messages_sent: int | None = None
    deliveries_expected: int | None = None
    deliveries: int | None = None
    lost: int | None = None
    duplicated: int | None = None
    reordered: int | None = None
    frames: int | None = None
    seconds: float | None = None
    deliveries_per_second: float | None = None
    frames_per_viewer: float | None = None
    engine_cpu_seconds: float | None = None
    engine_cpu_share: float | None = None
    generator_cpu_seconds: float | None = None
    engine_cpu_us_per_frame: float | None = None
    engine_cpu_us_per_further_frame: float | None = None
    engine_cpu_us_per_message: float | None = None
    limit_cpu_us_per_frame: float | None = None
    ratio_to_limit: float | None = None
    rss_bytes: int | None = None
    rss_bytes_per_viewer: float | None = None
    handshake_cpu_us: float | None = None
    joins_per_second: float | None = None
    latency_ms: dict[str, float | None] | None = None
    acknowledged_ms: dict[str, float | None] | None = None
    bytes_per_delivery: float | None = None
    gaps: int | None = None
    gap_offsets: int | None = None
    overlap: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    generator_busy: float | None = None
    generator_late_ms: dict[str, float | None] | None = None
    generator_loop_delay_ms: dict[str, float | None] | None = None
    bottleneck: bool = False
    partial: bool = False
    verified: bool = False
    fault_counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def environment() -> dict[str, Any]:
    """Kernel, processor count, Python and package versions."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": sys.version.split()[0],
        "versions": {package: version(package) for package in PACKAGES},
    }


_ROWS: tuple[tuple[str, str], ...] = (
    ("messages_sent", "messages sent"),
    ("deliveries_expected", "deliveries expected"),
    ("deliveries", "deliveries"),
    ("lost", "lost"),
    ("duplicated", "duplicated"),
    ("reordered", "reordered"),
    ("gaps", "explicit gaps"),
    ("overlap", "overlap after resume"),
    ("frames", "frames received"),
    ("frames_per_viewer", "frames per viewer"),
    ("bytes_per_delivery", "bytes per delivery"),
    ("seconds", "seconds"),
    ("deliveries_per_second", "deliveries per second"),
    ("latency_ms", "latency, ms"),
    ("acknowledged_ms", "send to reply, ms"),
    ("engine_cpu_seconds", "engine CPU, s"),
    ("engine_cpu_share", "engine CPU, share of a core"),
    ("engine_cpu_us_per_frame", "engine CPU per frame, µs"),
    ("engine_cpu_us_per_further_frame", "  of each further viewer, µs"),
    ("engine_cpu_us_per_message", "engine CPU per message, µs"),
    ("limit_cpu_us_per_frame", "bare send loop per frame, µs"),
    ("ratio_to_limit", "ratio to the bare loop"),
    ("handshake_cpu_us", "engine CPU per join, µs"),
    ("joins_per_second", "joins per second"),
    ("rss_bytes", "engine RSS"),
    ("rss_bytes_per_viewer", "engine RSS per viewer"),
    ("generator_cpu_seconds", "generator CPU, s"),
    ("generator_busy", "busiest generator"),
    ("generator_late_ms", "generator late, ms"),
)


class Show:
    """What a person sees: progress while it runs, the table at the end.

    :param console: where to; progress bars only on a terminal, otherwise plain lines.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str) -> None:
        """One line of news."""
        self.console.print(text, highlight=False)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Progress of one step; the value is called with how much is done."""
        began = monotonic()
        done = 0

        def note(value: int) -> None:
            nonlocal done
            done = value
            if bar is not None:
                bar.update(number, completed=value)
                bar.refresh()

        bar: Progress | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            bar = Progress(*columns, console=self.console, auto_refresh=False, transient=True)
            number = bar.add_task(label, total=total)
            bar.start()
        try:
            yield note
        finally:
            if bar is not None:
                bar.stop()
        self.line(f"{label}: {done:,}{f' of {total:,}' if total else ''} in {monotonic() - began:.1f} s")

    def table(self, record: Record) -> None:
        """The whole record, the faults, and a verdict."""
        table = Table(title=f"{record.scenario}: {record.viewers:,} viewers", title_justify="left", show_header=False)
        table.add_column(style="cyan")
        table.add_column(justify="right")
        values = asdict(record)
        for name, label in _ROWS:
            if values[name] is not None:
                table.add_row(label, _text(values[name]))
        for name, value in record.extra.items():
            table.add_row(name.replace("_", " "), _text(value))
        self.console.print(table)
        if record.bottleneck:
            self.console.print(
                f"[bold red]The generator was the bottleneck (busy {record.generator_busy:.0%}): the engine can do "
                "better than this. More processes or more cores are needed.[/]"
            )
        for fault in record.faults:
            self.console.print(f"[red]{fault}[/]", highlight=False)
        if record.partial:
            self.console.print("[bold yellow]Interrupted: a partial result, not verified.[/]")
        elif record.verified:
            self.console.print("[bold green]Verified: every delivery accounted for.[/]")
        else:
            self.console.print(f"[bold red]Verification failed: {_text(record.fault_counts)}[/]")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
