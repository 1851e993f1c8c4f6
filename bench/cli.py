"""``roomcast-bench``: command line → load → scenario → report.

Owns the options, their help and the exit status: 0 verified, 1 verification failed or the run broke, 130 interrupted.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import play as scenarios
from bench.engineproc import ENGINE, EngineError, read_config
from bench.fleet import FleetError
from bench.generator.body import BODY_BYTES_MIN
from bench.generator.process import raise_descriptor_limit
from bench.micro import CASES, measure, to_json
from bench.report.record import Record, Show
from bench.stage import Load

__all__ = ["app", "main"]

app = typer.Typer(
    help="Load generator for Roomcast: starts an engine, drives viewers against it, checks every delivery, reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


class CodecName(StrEnum):
    """Subprotocols by the name of their encoding."""

    MSGPACK = "msgpack"
    JSON = "json"


ScenarioName = StrEnum("ScenarioName", {name: name for name in scenarios.SCENARIOS})  # type: ignore[misc]  # made from a table

MicroName = StrEnum("MicroName", {name: name for name in CASES})  # type: ignore[misc]  # made from a table

JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the whole record to this file.")]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with engine settings; they win over the scenario's.")]
SeedOption = Annotated[int, typer.Option(help="Of message texts and room names; the same seed repeats a run.")]
ProcessesOption = Annotated[int, typer.Option(min=0, max=200, help="Generator processes; 0: one per 18,000 viewers.")]


@app.command("list")
def list_scenarios() -> None:
    """List the scenarios and their defaults."""
    table = Table("scenario", "measures", "viewers", "rooms", "senders")
    for name, scenario in scenarios.SCENARIOS.items():
        load = scenario.load
        table.add_row(name, scenario.text, f"{load.viewers:,}", f"{load.rooms:,}", f"{load.senders:,}")
    Console().print(table)


@app.command()
def run(
    scenario: Annotated[ScenarioName, typer.Argument(help="One of those that `roomcast-bench list` shows.")],
    viewers: Annotated[int | None, typer.Option(min=1, help="Viewers in each room.")] = None,
    rooms: Annotated[int | None, typer.Option(min=1, help="Rooms.")] = None,
    senders: Annotated[int | None, typer.Option(min=1, help="Viewers of each room who speak.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Comments a second in each room.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Length of the measured phase.")] = None,
    messages: Annotated[int | None, typer.Option(min=1, help="Messages in all (burst, ingest).")] = None,
    body_bytes: Annotated[int | None, typer.Option(min=BODY_BYTES_MIN, max=16_000, help="Length of a comment.")] = None,
    processes: ProcessesOption = 0,
    codec: Annotated[CodecName, typer.Option(help="Encoding of the messages.")] = CodecName.MSGPACK,
    compression: Annotated[bool, typer.Option(help="Negotiate permessage-deflate.")] = False,
    in_flight: Annotated[int, typer.Option(min=1, max=4096, help="Handshakes at once, per process.")] = 128,
    window: Annotated[int, typer.Option(min=1, max=10_000, help="Unanswered comments of a publisher (ingest).")] = 64,
    likes: Annotated[bool, typer.Option("--likes", help="Send likes instead of comments (ingest).")] = False,
    slow_share: Annotated[float | None, typer.Option(min=0, max=0.9, help="Viewers who stop reading (slow).")] = None,
    stall_seconds: Annotated[float, typer.Option(min=0.1, help="No progress for so long ends a wait.")] = 20.0,
    config: ConfigOption = None,
    json_file: JsonOption = None,
    seed: SeedOption = 1,
    engine: Annotated[str, typer.Option(help="Command that starts the engine.", show_default="python -m engine serve")] = "",
) -> None:
    """Run one scenario. Exits with 1 if a delivery is lost, doubled, out of order or altered."""
    given: dict[str, Any] = {
        "viewers": viewers,
        "rooms": rooms,
        "senders": senders,
        "rate": rate,
        "seconds": seconds,
        "messages": messages,
        "body_bytes": body_bytes,
        "slow_share": slow_share,
    }
    load = replace(
        scenarios.SCENARIOS[scenario.value].load,
        processes=processes,
        codec=codec.value,
        compression=compression,
        in_flight=in_flight,
        window=window,
        likes=likes,
        stall_seconds=stall_seconds,
        seed=seed,
        **{name: value for name, value in given.items() if value is not None},
    )
    load = replace(load, senders=min(load.senders, load.viewers))
    show = Show(Console())
    raise_descriptor_limit()
    command = tuple(shlex.split(engine)) or ENGINE
    try:
        record = scenarios.run(load, read_config(config) if config else {}, command, show)
    except EngineError as error:
        show.console.print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
    conclude(record, show, json_file)


@app.command()
def limit(
    viewers: Annotated[int, typer.Option(min=1, help="Viewers of the one room.")] = 10_000,
    frame_bytes: Annotated[int, typer.Option(min=130, max=16_000, help="Length of a frame on the wire.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of each kind.")] = 9,
    processes: ProcessesOption = 0,
    config: ConfigOption = None,
    json_file: JsonOption = None,
    seed: SeedOption = 1,
) -> None:
    """Compare the engine's fan-out with a bare loop of send() on the same sockets: CPU per frame."""
    import trio

    from bench.limit import measure as measure_limit
    from engine.errors import RoomcastError

    show = Show(Console())
    raise_descriptor_limit()
    load = Load(scenario="limit", viewers=viewers, senders=1, body_bytes=100, processes=processes, seed=seed)
    try:
        sections = read_config(config) if config else {}
        record = trio.run(measure_limit, load, frame_bytes, rounds, sections, show)
    except (EngineError, FleetError, RoomcastError) as error:
        show.console.print(f"[bold red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None
    conclude(record, show, json_file)


@app.command()
def micro(
    names: Annotated[list[MicroName] | None, typer.Argument(metavar="[CASE]...", help="Cases; all if none is named.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of each case.")] = 9,
    json_file: JsonOption = None,
    seed: SeedOption = 1,
) -> None:
    """Time single steps of the engine in a loop, without sockets: CPU per unit. For development."""
    chosen = [name.value for name in names] if names else list(CASES)
    show = Show(Console())
    timings = []
    with show.task("timing", len(chosen)) as progress:
        for timing in measure(chosen, rounds, seed):
            timings.append(timing)
            progress(len(timings))
    table = Table("case", "a unit is", "median, µs", "least, µs")
    for timing in timings:
        table.add_row(timing.name, timing.text, f"{timing.median_us:.3g}", f"{timing.least_us:.3g}")
    show.console.print(table)
    if json_file is not None:
        json_file.write_text(to_json(timings), encoding="utf-8")


def conclude(record: Record, show: Show, json_file: Path | None) -> None:
    """Show and write a record and turn it into an exit status."""
    show.table(record)
    if json_file is not None:
        record.write(json_file)
    if record.partial:
        raise typer.Exit(130)
    if not record.verified:
        raise typer.Exit(1)


def main() -> None:
    """Entry of the console script."""
    app()


if __name__ == "__main__":
    main()
