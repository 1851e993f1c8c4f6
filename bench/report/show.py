"""What a person sees on the terminal: progress while it runs, the table at the end.

Owns the words and colours. Must not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.certificate import Certificate
from bench.report.record import FIGURES, Record
from bench.settlement import Money

__all__ = ["Show", "certificate_rows", "faults_text", "money_rows", "number"]

LIVE_SECONDS = 0.25
"""Time between two pictures of the live table: each costs the machine that is being measured."""
LINE_SECONDS = 10.0
"""Time between two plain lines of a long step."""


class Show:
    """See the module's docstring.

    :param console: where to; progress bars and the live table only on a terminal, otherwise plain lines.
    :param details: whether the table has every figure.
    """

    def __init__(self, console: Console, *, details: bool = False) -> None:
        self.console = console
        self._details = details
        self._facts: dict[str, str] = {}

    def line(self, text: str) -> None:
        """One line of news."""
        self.console.print(text, highlight=False)

    def facts(self, **facts: str) -> None:
        """What the live table shows beside the progress, until told otherwise."""
        self._facts |= {name.replace("_", " "): value for name, value in facts.items()}

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Progress of one step; the value is called with how much is done."""
        began = monotonic()
        done, drawn = 0, monotonic()
        self._facts = {}
        whole = f" of {total:,}" if total else ""

        def note(value: int) -> None:
            nonlocal done, drawn
            done = value
            if monotonic() - drawn < (LIVE_SECONDS if live is not None else LINE_SECONDS):
                return
            drawn = monotonic()
            if live is not None:
                bar.update(number, completed=value)
                live.update(self._picture(bar), refresh=True)
            else:
                facts = "".join(f", {name} {fact}" for name, fact in self._facts.items())
                self.line(f"{label}: {done:,}{whole} after {drawn - began:.0f} s{facts}")

        live: Live | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            bar = Progress(*columns, console=self.console, auto_refresh=False)
            number = bar.add_task(label, total=total)
            live = Live(bar, console=self.console, auto_refresh=False, transient=True)
            live.start()
        else:
            self.line(f"{label} …")
        try:
            yield note
        finally:
            if live is not None:
                live.stop()
        self.line(f"{label}: {done:,}{whole} in {monotonic() - began:.1f} s")

    def _picture(self, bar: Progress) -> Table:
        table = Table.grid()
        table.add_row(bar)
        if self._facts:
            inner = Table(show_header=True, show_edge=False)
            for name in self._facts:
                inner.add_column(name, justify="right")
            inner.add_row(*self._facts.values())
            table.add_row(inner)
        return table

    def table(self, record: Record) -> None:
        """The whole record, the certificate, the faults, and a verdict."""
        rounds = f", medians of {len(record.rounds)} rounds" if len(record.rounds) > 1 else ""
        table = Table(title=f"{record.scenario}: {record.viewers:,} viewers{rounds}", title_justify="left", show_header=False)
        table.add_column(style="cyan")
        table.add_column(justify="right")
        for name, figure in FIGURES.items():
            if name in record.figures and not figure.money and (self._details or not figure.detail):
                table.add_row(figure.label, number(record.figures[name]))
        self.console.print(table)
        for note in record.notes:
            self.line(note)
        self._rows("delivery certificate", certificate_rows(record.certificate))
        self._money(record)
        if record.bottleneck:
            self.console.print(
                f"[bold red]The generator was the bottleneck (busy {record.figures['generator_busy']:.0%}): the engine can do "
                "better than this. More processes or more cores are needed.[/]"
            )
        for fault in record.certificate.faults:
            self.console.print(f"[red]{fault}[/]", highlight=False)
        if record.partial:
            self.console.print("[bold yellow]Interrupted: a partial result, not verified.[/]")
        elif record.verified:
            self.console.print("[bold green]Verified: every delivery accounted for.[/]")
        else:
            self.console.print(f"[bold red]Verification failed: {faults_text(record.certificate)}[/]")

    def _money(self, record: Record) -> None:
        figures = [
            (figure.label, number(record.figures[name]))
            for name, figure in FIGURES.items()
            if name in record.figures and figure.money and (self._details or not figure.detail)
        ]
        if figures:
            self._rows("money", figures)
        if record.certificate.money is not None:
            self._rows("money certificate", money_rows(record.certificate.money))

    def _rows(self, title: str, rows: Iterable[tuple[str, str]]) -> None:
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column(style="cyan")
        table.add_column(justify="right")
        for label, value in rows:
            table.add_row(label, value)
        self.console.print(table)


def certificate_rows(certificate: Certificate) -> Iterator[tuple[str, str]]:
    """Label and value of each line of a certificate; lines of no importance when zero are left out then."""
    for name, label, always in (
        ("expected", "expected: events × viewers entitled to them", True),
        ("delivered", "delivered", True),
        ("lost", "lost", True),
        ("doubled", "doubled", True),
        ("reordered", "reordered", True),
        ("altered", "altered", False),
        ("withheld", "offsets left out by rule", False),
        ("in_gaps", "covered by an explicit gap", False),
        ("gaps", "explicit gaps", False),
        ("late", "late", False),
        ("overlap", "resent after a resume", False),
        ("covered", "accepted comments that a reported change of epoch has taken", False),
        ("offered", "offered: what senders said", False),
        ("accepted", "accepted: in the room, at every viewer", False),
        ("notices", "of it notices, at every viewer", False),
        ("likes", "likes, sent and counted", False),
        ("reactions", "reactions, sent and counted", False),
        ("likes_lost", "of them lost with killed edges", False),
    ):
        value = getattr(certificate, name)
        if value or always:
            yield label, f"{value:,}"
        if name == "accepted":
            for reason, count in certificate.withheld_comments.items():
                yield f"withheld for want of {reason}, as senders and every viewer were told", f"{count:,}"
    if certificate.connections:
        yield "connections closed in order", f"{certificate.connections_closed:,} of {certificate.connections:,}"
        yield "bytes read on them", f"{certificate.bytes_read:,}"
        written = certificate.bytes_written
        yield "bytes the engine says it wrote", "not told" if written is None else f"{written:,}"


def money_rows(money: Money) -> Iterator[tuple[str, str]]:
    """Label and value of each line of the money's certificate; lines of no importance when zero are left out then."""
    for name, label in (
        ("entries", "entries in the ledger, each at every viewer as it is there"),
        ("offered", "gifts offered"),
        ("acknowledged", "gifts acknowledged"),
        ("gifts", "gifts in the ledger"),
        ("gifts_amount", "their amount"),
        ("combos", "combos, each with its totals"),
        ("packets", "red packets"),
        ("claims", "claims"),
        ("winners", "viewers who were told of a share"),
        ("repeated", "who claimed again, and were told the same"),
        ("claims_dropped", "claims not answered, since everybody learns the end from one event"),
        ("shares", "shares in the ledger, one for each user"),
        ("shares_amount", "their amount"),
        ("due_amount", "gifts and shares × viewers entitled to see them, amount"),
        ("received_amount", "received, viewer by viewer, amount"),
    ):
        if value := getattr(money, name):
            yield label, f"{value:,}"
        if name == "acknowledged":
            yield from ((f"gifts refused with code {code}", f"{count:,}") for code, count in money.refused.items())
        if name == "claims":
            yield from ((f"claims refused with code {code}", f"{count:,}") for code, count in money.claims_refused.items())


def faults_text(certificate: Certificate) -> str:
    """The counts of faults in words."""
    return ", ".join(f"{kind} {count:,}" for kind, count in certificate.fault_counts.items())


def number(value: Any) -> str:
    """A figure for people: thousands separated, four significant digits."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
