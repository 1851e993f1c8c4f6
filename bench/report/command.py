"""``roomcast-bench compare`` and ``roomcast-bench report``: command line → saved records → judgement or page.

Owns the options, their help and the exit status. Compare: 0 no regression, 1 a regression or B not verified, 2 not comparable
or not readable.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report.compare import Change, CompareError, Comparison, compare
from bench.report.html import ReportError, check_available, read_peers, write_html
from bench.report.record import FIGURES, RecordError, read_record
from bench.report.show import number

__all__ = ["compare_command", "report_command", "show_comparison"]

COLOURS = {"better": "green", "worse": "bold red", "same": "dim"}


def compare_command(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="What to judge by: a record that `run --json` wrote.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="What is judged.")],
    tolerance: Annotated[float, typer.Option(min=0.0, max=100.0, help="Share by which a figure may be worse.")] = 0.1,
    figure: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Judge only this one, by its name in the JSON. May be repeated.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare different loads all the same.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the comparison to this file.")] = None,
) -> None:
    """Compare two records. Exits with 1 if a figure of B is worse by more than the tolerance and the noise.

    Noise bounds come from repeated rounds: run both with --rounds 5, one right after the other.
    """
    try:
        comparison = compare(read_record(a), read_record(b), tolerance, figure or (), force=force)
        show_comparison(Console(), comparison)
        if json_file is not None:
            json_file.write_text(json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except (RecordError, CompareError, OSError) as error:
        _refuse(error)
    if comparison.failed:
        raise typer.Exit(1)


def report_command(
    record: Annotated[Path, typer.Argument(metavar="RECORD.json", help="What `run --json` or `limit --json` wrote.")],
    html_file: Annotated[Path, typer.Option("--html", help="Write the page to this file.")],
    limit: Annotated[Path | None, typer.Option(help="Compare with this: what `limit --json` wrote.")] = None,
    peers: Annotated[Path | None, typer.Option(help="Compare with these: what `peers --json` wrote.")] = None,
) -> None:
    """Turn a saved record into a report for people: one page that needs nothing but itself."""
    try:
        check_available(html_file)
        write_html(
            read_record(record),
            html_file,
            limit=read_record(limit) if limit is not None else None,
            peers=read_peers(peers) if peers is not None else None,
        )
    except (RecordError, ReportError) as error:
        _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    print(error, file=sys.stderr)
    raise typer.Exit(2) from None


def show_comparison(console: Console, comparison: Comparison) -> None:
    """The table, what to mind, and the verdict."""
    first, second = comparison.rounds
    title = f"{comparison.scenario}: A {first} and B {second} rounds, tolerance {comparison.tolerance:.0%}"
    for heading, money in ((title, False), (f"{title}: money", True)):
        if changes := [change for change in comparison.changes if FIGURES[change.name].money == money]:
            console.print(_changes(heading, changes))
    for warning in comparison.warnings:
        console.print(warning, style="yellow", highlight=False, markup=False)
    worse = [change.name for change in comparison.changes if change.verdict == "worse"]
    if not comparison.verified[1]:
        console.print("[bold red]B is not verified: its figures prove nothing.[/]")
    if worse:
        console.print(f"[bold red]Regressed: {', '.join(worse)}[/]")
    elif comparison.verified[1]:
        console.print("[bold green]No regression.[/]")


def _changes(title: str, changes: Sequence[Change]) -> Table:
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure", style="cyan", overflow="fold")
    for heading in ("A", "B", "change", "bounds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("B is", no_wrap=True)
    for change in changes:
        table.add_row(
            FIGURES[change.name].label,
            number(change.a),
            number(change.b),
            "" if change.change is None else f"{change.change:+.1%}",
            "" if change.change_bounds is None else " … ".join(f"{bound:+.0%}" for bound in change.change_bounds),
            Text(change.verdict + (f" ({change.reason})" if change.reason else ""), COLOURS[change.verdict]),
        )
    return table
