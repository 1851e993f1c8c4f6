"""``roomcast-bench plan``: calibrate, compute, say it in words.

Owns the options and the words.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.engineproc import ENGINE, merge, read_config
from bench.generator.process import raise_descriptor_limit
from bench.load import Load
from bench.plan.calibrate import CalibrationError, Check, calibrate, check
from bench.plan.model import ASSUMPTIONS, Costs, Demand, Sizing, size
from bench.report.show import Show, number
from bench.scenario import common_sections
from engine.settings import RoomSettings

__all__ = ["plan"]

CHECK_BOUND = 0.2
"""A prediction further off than this fails ``--check``."""
JUDGED = ("cpu", "memory")


def plan(
    viewers: Annotated[int, typer.Option(min=1, help="Viewers of all rooms together.")] = 1_000_000,
    rooms: Annotated[int, typer.Option(min=1, help="Rooms, all alike.")] = 1,
    messages_per_second: Annotated[float, typer.Option(min=0.001, help="Comments in each room.")] = 100.0,
    likes_per_second: Annotated[float, typer.Option(min=0, help="Like messages in each room.")] = 0.0,
    joins_per_second: Annotated[float, typer.Option(min=0, help="Viewers who come, all rooms together.")] = 0.0,
    body_bytes: Annotated[int, typer.Option(min=1, max=16_000, help="Text of a comment.")] = 48,
    latency_ms: Annotated[float, typer.Option(min=50, help="Longest time from a send to the last viewer.")] = 1000.0,
    utilisation: Annotated[float, typer.Option(min=0.05, max=0.95, help="Of cores, memory and network, at most.")] = 0.75,
    process_viewers: Annotated[int, typer.Option(min=100, help="Connections of one edge process (descriptors).")] = 100_000,
    node_cores: Annotated[int, typer.Option(min=1, help="Cores of a machine.")] = 16,
    node_memory_gb: Annotated[float, typer.Option(min=0.5, help="Memory of a machine, GB.")] = 64.0,
    node_gbit: Annotated[float, typer.Option(min=0.1, help="Network of a machine, Gbit/s.")] = 10.0,
    check_it: Annotated[bool, typer.Option("--check", help="Run a small load and set the prediction beside it.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file with engine settings.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write costs, sizing and check to this file.")] = None,
    engine: Annotated[str, typer.Option(help="Command that starts the engine.", show_default="python -m engine serve")] = "",
) -> None:
    """Say what a load takes: cores, nodes, memory, network, broker, from costs measured on this host in half a minute.

    With --check a prediction is compared with a run; exits with 1 if CPU or memory is more than 20 % off.
    """
    demand = Demand(
        viewers=viewers,
        rooms=min(rooms, viewers),
        messages_per_second=messages_per_second,
        likes_per_second=likes_per_second,
        joins_per_second=joins_per_second,
        body_bytes=body_bytes,
        latency_ms=latency_ms,
        utilisation=utilisation,
        process_viewers=process_viewers,
        node_cores=node_cores,
        node_memory_gb=node_memory_gb,
        node_gbit=node_gbit,
    )
    show = Show(Console())
    raise_descriptor_limit()
    sections = merge(common_sections(Load()), read_config(config) if config else {})
    command = tuple(shlex.split(engine)) or ENGINE
    checked: Check | None = None
    try:
        costs = calibrate(sections, command, show)
        if check_it:
            checked = check(costs, sections, command, show)
    except CalibrationError as error:
        show.console.print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    room = RoomSettings(**sections.get("room", {}))
    sizing = size(costs, demand, room)
    _show_costs(show, costs)
    _show_sizing(show, demand, sizing)
    worst = max(abs(checked.error(name)) for name in JUDGED) if checked else 0.0
    if checked is not None:
        _show_check(show, checked)
    _show_doubts(show, costs, worst if checked else None)
    if json_file is not None:
        found = {
            "costs": asdict(costs),
            "demand": asdict(demand),
            "sizing": asdict(sizing) | {"saturates_first": sizing.saturates_first},
            "check": asdict(checked) if checked else None,
        }
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if worst > CHECK_BOUND or not sizing.feasible:
        raise typer.Exit(1)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="cyan")
    table.add_column(justify="right")
    return table


def _show_costs(show: Show, costs: Costs) -> None:
    table = _table("costs on this host")
    for label, value in (
        ("a join, µs of CPU", costs.join * 1e6),
        ("a comment in, µs", costs.message * 1e6),
        ("a like in, µs", costs.like * 1e6),
        ("a batch, µs", costs.batch * 1e6),
        ("a frame out to one viewer, µs", costs.frame * 1e6),
        ("  and of each kB of it, µs", costs.byte * 1e9),
        ("a viewer in the engine, bytes", costs.viewer_bytes),
        ("a viewer in the kernel, bytes", costs.kernel_bytes),
        ("an engine process, MB", costs.process_bytes / 1e6),
    ):
        table.add_row(label, number(float(value)))
    show.console.print(table)


def _show_sizing(show: Show, demand: Demand, sizing: Sizing) -> None:
    share = sizing.share
    table = _table(f"{demand.viewers:,} viewers in {demand.rooms:,} rooms, {demand.messages_per_second:g} comments/s in each")
    for label, value in (
        ("deliveries a second", f"{sizing.deliveries:,.0f}"),
        ("nodes", f"{sizing.nodes:,} of {demand.node_cores} cores, {demand.node_memory_gb:g} GB, {demand.node_gbit:g} Gbit/s"),
        ("what saturates first", sizing.saturates_first),
        ("nodes by each alone", "  ".join(f"{name} {value:.2f}" for name, value in sizing.by.items())),
        ("cores", f"{sizing.cores:,.1f}"),
        ("edge processes", f"{sizing.edges:,} of {share.rooms * share.viewers:,.0f} viewers, {share.load:.0%} of a core each"),
        ("memory, engine and kernel", f"{sizing.memory_bytes / 1e9:,.1f} GB"),
        ("network out", f"{sizing.egress_bits / 1e9:,.2f} Gbit/s, headers included"),
        ("a viewer gets", f"{share.frames:.3g} frames/s of {share.frame_bytes:,.0f} bytes"),
        ("send to last receipt", f"{share.latency * 1000:,.0f} ms at most, tick {share.tick * 1000:,.0f} ms"),
        ("broker", f"{sizing.broker_operations:,.0f} operations/s, {sizing.broker_bytes / 1e6:,.2f} MB/s"),
    ):
        table.add_row(label, value)
    show.console.print(table)
    if not sizing.feasible:
        show.console.print(f"[bold red]No edge keeps {demand.latency_ms:g} ms: allow more, or send less.[/]")


def _show_check(show: Show, checked: Check) -> None:
    table = Table("check", "predicted", "measured", "off by", title="a further run", title_justify="left")
    for name, label in (
        ("cpu", "engine CPU, share of a core"),
        ("memory", "engine memory, bytes"),
        ("frames", "frames a second"),
        ("bytes", "bytes a second"),
    ):
        error = checked.error(name)
        colour = "red" if name in JUDGED and abs(error) > CHECK_BOUND else "green"
        values = (number(float(each[name])) for each in (checked.predicted, checked.measured))
        table.add_row(label, *values, f"[{colour}]{error:+.0%}[/]")
    show.console.print(table)


def _show_doubts(show: Show, costs: Costs, error: float | None) -> None:
    doubt = max(costs.spread, error or 0.0)
    how = f"repeated measurements differed by ±{costs.spread:.0%}"
    if error is not None:
        how += f", the check was {error:.0%} off"
    show.line(f"How wrong it may be: {how}; take ±{max(0.15, 1.5 * doubt):.0%} for this host. It rests on this:")
    for assumption in ASSUMPTIONS:
        show.line(f"  - {assumption}")
