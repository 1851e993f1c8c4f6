"""What a storm found out, as JSON for machines and a table for people.

Owns the record's shape and its words. Must not know how it was found out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.kills.judge import Fault
from bench.report.record import environment

__all__ = ["Fallen", "StormRecord", "row"]

FAULTS_SHOWN: Final = 40
COLUMNS: Final = (
    ("kill", 4),
    ("second", 6),
    ("moment", 9),
    ("killed", 13),
    ("down ms", 7),
    ("ack ms", 6),
    ("acked", 6),
    ("retried", 7),
    ("again", 5),
)


@dataclass(frozen=True, slots=True)
class Fallen:
    """One kill and what came of it.

    :ivar second: since the storm began.
    :ivar moment: as in `bench.kills.plan.Moment`, with the ``delay_ms`` from it.
    :ivar down_ms: from the kill until the node listened again; None: it was killed again before, or a part of it was killed.
    :ivar first_ack_ms: from the restart until the node acknowledged something; None: it was killed again before.
    :ivar at_ms: the kill, Unix milliseconds.
    :ivar acknowledged: requests so far, as are ``retried`` and ``repeated`` (answers beyond the first).
    """

    number: int
    second: float
    moment: str
    delay_ms: float
    killed: str
    down_ms: float | None
    first_ack_ms: float | None
    acknowledged: int
    retried: int
    repeated: int
    at_ms: int


@dataclass(slots=True, kw_only=True)
class StormRecord:
    """Everything a storm found out.

    :ivar figures: by name, see `StormRecord.show`.
    :ivar faults: each with ``kind``, ``room`` and ``text``.
    :ivar partial: interrupted.
    """

    storm: dict[str, Any]
    version: int = 1
    kills: list[Fallen] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    partial: bool = False
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    environment: dict[str, Any] = field(default_factory=environment)

    @property
    def verified(self) -> bool:
        """Whether the storm is complete and nothing was wrong."""
        return not self.partial and not self.faults

    def write(self, path: Path) -> None:
        """As JSON."""
        whole = asdict(self) | {"faults": [fault._asdict() for fault in self.faults], "verified": self.verified}
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def reckon(self) -> None:
        """Take the figures of the kills."""
        down = [kill.down_ms for kill in self.kills if kill.down_ms is not None]
        first = [kill.first_ack_ms for kill in self.kills if kill.first_ack_ms is not None]
        self.figures["kills"] = len(self.kills)
        for name, values in (("down", down), ("first_ack", first)):
            if values:
                self.figures |= {f"{name}_p50_ms": round(median(values), 1), f"{name}_max_ms": round(max(values), 1)}

    def show(self, console: Console) -> None:
        """The figures, every kind of fault with its first ones, and a verdict."""
        table = Table(title="kill storm", title_justify="left", show_header=False)
        table.add_column(style="cyan")
        table.add_column(justify="right")
        for name, value in self.figures.items():
            table.add_row(LABELS.get(name, name), f"{value:,.6g}" if isinstance(value, float) else f"{value:,}")
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False)
        for fault in self.faults[:FAULTS_SHOWN]:
            console.print(f"[red]{fault.kind}[/] in {fault.room}: {fault.text}", highlight=False)
        counts = Counter(fault.kind for fault in self.faults)
        if self.partial:
            console.print("[yellow]Interrupted: this is what was found so far.[/]")
        if counts:
            console.print(f"[bold red]Faults: {', '.join(f'{kind} {count:,}' for kind, count in counts.items())}.[/]")
        elif not self.partial:
            console.print(
                "[bold green]All that was acknowledged is in the ledger and in the stream, once; all sums are exact.[/]"
            )


LABELS: Final = {
    "kills": "kills",
    "down_p50_ms": "from a kill until the node listened again p50, ms",
    "down_max_ms": "from a kill until the node listened again max, ms",
    "first_ack_p50_ms": "from a restart until the first acknowledgement p50, ms",
    "first_ack_max_ms": "from a restart until the first acknowledgement max, ms",
    "gifts": "gifts acknowledged",
    "packets": "red packets acknowledged",
    "shares": "shares acknowledged",
    "retried": "requests sent again",
    "repeated": "answers that came again, all the same",
    "delayed": "refusals for the time being",
    "between": "booked before a kill, acknowledged only after it",
    "entries": "entries in the ledger",
    "ledger_sum": "gifts in the ledger, sum",
    "shown_sum": "gifts as each viewer was shown them, sum",
    "board_sum": "gifts by the leaderboards, sum",
    "epochs": "epochs of the first room",
    "watchers": "viewers who were there all the time",
    "shown": "entries shown to all of them",
    "shown_again": "of these again, in a new epoch",
    "settled_seconds": "until everything was over and published, s",
}


def row(console: Console, fallen: Fallen | None) -> None:
    """One line of the table that grows; None: its head."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    for _, width in COLUMNS:
        table.add_column(justify="right", width=width, no_wrap=True)
    if fallen is None:
        table.add_row(*(f"[cyan]{name}[/]" for name, _ in COLUMNS))
    else:
        down, first = (("-" if value is None else f"{value:,.0f}") for value in (fallen.down_ms, fallen.first_ack_ms))
        counts = (f"{value:,}" for value in (fallen.acknowledged, fallen.retried, fallen.repeated))
        table.add_row(str(fallen.number), f"{fallen.second:.1f}", fallen.moment, fallen.killed, down, first, *counts)
    console.print(table)
