"""``roomcast-bench kill-storm``: command line → storm → record.

Owns the options, their help and the exit status: 0 all is well, 1 something is lost, doubled or miscounted, 2 a wrong option,
130 interrupted.
"""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.engineproc import ENGINE
from bench.kills.plan import Storm, StormError
from bench.report.show import Show

__all__ = ["kill_storm"]

LedgerKind = StrEnum("LedgerKind", ["sqlite", "postgresql"])


def kill_storm(
    kills: Annotated[int, typer.Option(min=1, max=10_000, help="How often something is killed.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the moments, of what is killed, and of what viewers want.")] = 1,
    ledger: Annotated[LedgerKind, typer.Option(help="The database; a server is started for it.")] = LedgerKind.sqlite,
    redis: Annotated[
        bool, typer.Option("--redis", help="With a Redis, which outlives all nodes; else streams are lost.")
    ] = False,
    nodes: Annotated[int, typer.Option(min=1, max=8, help="Nodes; one is killed at a time. Several need --redis.")] = 1,
    workers: Annotated[
        int, typer.Option(min=0, max=8, help="Edge processes of each node; a hub, an edge or all are killed.")
    ] = 0,
    seconds_between: Annotated[float, typer.Option(min=0.05, max=600, help="Mean time between two kills, both served.")] = 1.5,
    rooms: Annotated[int, typer.Option(min=1, max=50, help="Rooms.")] = 3,
    viewers: Annotated[int, typer.Option(min=1, max=100, help="Viewers of each room and node, who all give and claim.")] = 6,
    gifts: Annotated[float, typer.Option("--gifts-per-second", min=1, max=5_000, help="Offered by all together.")] = 60.0,
    engine: Annotated[str, typer.Option(help="Command that starts the engine.", show_default="python -m engine serve")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the whole record to this file.")] = None,
) -> None:
    """Kill -9 an engine at random moments of a storm of gifts and red packets, and start it again each time.

    In the end all must add up: what was acknowledged is in the ledger once and was shown to every viewer, all sums are exact.
    """
    # Here: the other commands need no database.
    from bench.kills.storm import play

    storm = Storm(
        kills=kills,
        seed=seed,
        ledger=ledger.value,
        redis=redis,
        nodes=nodes,
        workers=workers,
        seconds_between=seconds_between,
        rooms=rooms,
        viewers=viewers,
        gifts_per_second=gifts,
    )
    try:
        storm.check()
    except StormError as error:
        raise typer.BadParameter(str(error)) from None
    show = Show(Console())
    record = play(storm, tuple(shlex.split(engine)) or ENGINE, show)
    record.show(show.console)
    if json_file is not None:
        record.write(json_file)
    if record.partial:
        raise typer.Exit(130)
    if not record.verified:
        raise typer.Exit(1)
