"""``roomcast-bench``: command line → scenario → record.

Owns the options, their help and the exit status: 0 verified, 1 verification failed or the run broke, 2 a wrong option,
130 interrupted.
"""

from __future__ import annotations

import inspect
import shlex
import signal
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.children import ChildError
from bench.engineproc import ENGINE, EngineError, read_config
from bench.generator.process import raise_descriptor_limit
from bench.kills.command import kill_storm
from bench.kills.plan import StormError
from bench.load import Load, LoadError, changed, load_fields
from bench.micro import CASES, measure, to_json
from bench.peers.command import peers
from bench.plan.command import plan
from bench.play import play
from bench.postgresproc import PostgresError
from bench.redisproc import RedisError
from bench.report.command import compare_command, report_command
from bench.report.html import ReportError, check_available, write_html
from bench.report.record import Record, RecordError
from bench.report.show import Show
from bench.scenario import read_scenario, shipped

__all__ = ["app", "main"]

app = typer.Typer(
    help="Load generator for Roomcast: starts an engine, drives viewers against it, checks every delivery, reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BrokerKind = StrEnum("BrokerKind", ["memory", "redis", "sentinel"])
TextKind = StrEnum("TextKind", ["mixed", "chinese", "english", "emoji"])
MicroName = StrEnum("MicroName", {name: name for name in CASES})  # type: ignore[misc]  # made from a table

JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the whole record to this file.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write a report for people to this file: one page.")]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with engine settings; they win over the scenario's.")]
SeedOption = Annotated[int, typer.Option(help="Of message texts and room names; the same seed repeats a run.")]
ProcessesOption = Annotated[int, typer.Option(min=0, max=200, help="Generator processes; 0: one per 18,000 viewers.")]


@app.command("list")
def list_scenarios() -> None:
    """List the scenarios that come with this, and what each measures."""
    table = Table("scenario", "measures", "rooms", "viewers each", "speech")
    for name in shipped():
        scenario = read_scenario(name)
        load = scenario.load
        table.add_row(name, scenario.text, f"{load.rooms:,}", f"{load.viewers:,}", load.speech)
    Console().print(table)


def run(
    scenario: Annotated[str, typer.Argument(metavar="NAME|FILE", help="As `roomcast-bench list` shows, or a TOML file.")],
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Run it so often; figures are medians.")] = 1,
    details: Annotated[bool, typer.Option("--details", help="Show every figure.")] = False,
    config: ConfigOption = None,
    json_file: JsonOption = None,
    html_file: HtmlOption = None,
    engine: Annotated[str, typer.Option(help="Command that starts the engine.", show_default="python -m engine serve")] = "",
    **fields: Any,
) -> None:
    """Run a scenario. Exits with 1 if a delivery is lost, doubled, out of order or altered.

    The options from --rooms on are the scenario's fields; what is not given is as its file says.
    """
    if html_file is not None:
        check_available(html_file)
    show = Show(Console(), details=details)
    given = {name: _parsed(name, value) for name, value in fields.items() if value is not None}
    chosen = read_scenario(scenario)
    chosen = replace(chosen, load=changed(chosen.load, given, strict=False, where="--"))
    raise_descriptor_limit()
    record = play(chosen, read_config(config) if config else {}, tuple(shlex.split(engine)) or ENGINE, show, rounds)
    conclude(record, show, json_file, html_file)


def _parsed(name: str, value: Any) -> Any:
    """``comment=0.7,like=0.3`` as a table; everything else as it is."""
    if load_fields()[name].kind is not dict:
        return value
    pairs = [part.partition("=") for part in value.split(",")]
    return {key.strip(): share.strip() or "1" for key, _, share in pairs}


def _with_fields(command: Any) -> Any:
    """Give a command an option for each field of a load; None stands for what the scenario says."""
    parameters = [
        each for each in inspect.signature(command, eval_str=True).parameters.values() if each.kind is not each.VAR_KEYWORD
    ]
    for field in load_fields().values():
        text = f"{field.text} [{'|'.join(field.choices)}]" if field.choices else field.text
        metavar = {int: "N", float: "X", dict: "KIND=SHARE,…"}.get(field.kind, "WORD")
        flag = f"--{field.name.replace('_', '-')}"
        if field.kind is bool:
            hint: Any = Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=text, show_default=False)]
        else:
            hint = Annotated[str | None, typer.Option(flag, metavar=metavar, help=text, show_default=False)]
        parameters.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint))
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


app.command()(_with_fields(run))
app.command()(peers)
app.command()(plan)
app.command("kill-storm")(kill_storm)
app.command("compare")(compare_command)
app.command("report")(report_command)


@app.command()
def limit(
    viewers: Annotated[int, typer.Option(min=1, help="Viewers of the one room.")] = 10_000,
    frame_bytes: Annotated[int, typer.Option(min=130, max=16_000, help="Length of a frame on the wire.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of each kind.")] = 9,
    processes: ProcessesOption = 0,
    config: ConfigOption = None,
    json_file: JsonOption = None,
    html_file: HtmlOption = None,
    seed: SeedOption = 1,
) -> None:
    """Compare the engine's fan-out with a bare loop of send() on the same sockets: CPU per frame."""
    import trio

    from bench.limit import measure as measure_limit

    if html_file is not None:
        check_available(html_file)
    show = Show(Console())
    raise_descriptor_limit()
    load = Load(viewers=viewers, senders=1, body_bytes=100, processes=processes, seed=seed)
    record = trio.run(measure_limit, load, frame_bytes, rounds, read_config(config) if config else {}, show)
    conclude(record, show, json_file, html_file)


@app.command()
def pages(
    rate: Annotated[float, typer.Option(min=1, max=5000, help="Comments a second.")] = 200.0,
    likes: Annotated[float, typer.Option(min=0, max=5000, help="Likes a second beside them.")] = 50.0,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long the page is watched.")] = 300.0,
    phone: Annotated[bool, typer.Option("--phone", help="In the size of a phone.")] = False,
    json_file: JsonOption = None,
    html_file: HtmlOption = None,
) -> None:
    """Show the demo room in Chromium while its room is busy: CPU, memory, lost events, first paint."""
    from bench.pages import measure_pages

    if html_file is not None:
        check_available(html_file)
    raise_descriptor_limit()
    show = Show(Console())
    width, height = (390, 844) if phone else (1440, 900)
    conclude(measure_pages(rate, likes, seconds, show, width=width, height=height), show, json_file, html_file)


@app.command()
def advice(
    rooms: Annotated[int, typer.Option(min=1, help="Rooms of 20 viewers.")] = 600,
    rate: Annotated[float, typer.Option(min=0.1, help="Comments a second in each.")] = 6.0,
    seconds: Annotated[float, typer.Option(min=5, max=3600, help="How long the node is watched, each time.")] = 15.0,
    json_file: JsonOption = None,
) -> None:
    """Leave a node no CPU, ask it what to do, do that, and look whether it helps."""
    from bench.advised import measure_advice

    raise_descriptor_limit()
    show = Show(Console())
    conclude(measure_advice(rooms, rate, seconds, show), show, json_file, None)


@app.command()
def broker(
    kind: Annotated[
        BrokerKind, typer.Option("--broker", help="memory: in this process; redis, sentinel: servers started for it.")
    ] = BrokerKind.redis,
    events: Annotated[int, typer.Option(min=10, max=10_000_000, help="Events of each round.")] = 20_000,
    text: Annotated[TextKind, typer.Option(help="What comments are made of.")] = TextKind.mixed,
    json_file: JsonOption = None,
    seed: SeedOption = 1,
) -> None:
    """Publish events in batches of 1 to 1,000, without viewers: events a second, CPU and bytes on both sides."""
    import trio

    from bench.broker import BATCHES
    from bench.broker import measure as measure_broker
    from bench.broker import to_json as rounds_to_json

    show = Show(Console())
    with show.task("batches", len(BATCHES)) as progress:
        rounds = trio.run(measure_broker, kind.value, events, text.value, seed, progress)
    table = Table("batch", "events/s", "answer, ms", "CPU here, µs", "CPU of Redis, µs", "bytes to it", "bytes from it")
    for each in rounds:
        figures = (each.answer_ms, each.cpu_us, each.broker_cpu_us, each.bytes_in, each.bytes_out)
        table.add_row(f"{each.batch:,}", f"{each.events_per_second:,.0f}", *(f"{value:.3g}" for value in figures))
    show.console.print(table)
    show.line("CPU and bytes are per event; a publish leaves when the previous one was answered.")
    if json_file is not None:
        json_file.write_text(rounds_to_json(rounds), encoding="utf-8")


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


def conclude(record: Record, show: Show, json_file: Path | None, html_file: Path | None) -> None:
    """Show and write a record and turn it into an exit status."""
    show.table(record)
    if json_file is not None:
        record.write(json_file)
    if html_file is not None:
        write_html(record, html_file)
    if record.partial:
        raise typer.Exit(130)
    if not record.verified:
        raise typer.Exit(1)


def main() -> None:
    """Entry of the console script. Errors that we raise on purpose are told in plain words."""
    from engine.errors import RoomcastError

    # As Ctrl-C: whatever was started is to be stopped in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except LoadError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except (EngineError, ChildError, PostgresError, RoomcastError, RecordError, RedisError, ReportError, StormError) as error:
        print(f"roomcast-bench: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
