"""The command line: arguments in, a node or a client running, an exit status out.

Owns the commands' words. Must not know how anything works: each command is a few lines over the Python API.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import trio
import typer

from engine.errors import RoomcastError

__all__ = ["main"]

app = typer.Typer(
    name="roomcast",
    help="Large-room live-chat broadcast engine: one huge room, everybody gets everything, in order, once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="TOML file; `roomcast init` writes one.", show_default=False),
]
UrlOption = Annotated[str, typer.Option("--url", metavar="URL", help="WebSocket address of the node.", envvar="ROOMCAST_URL")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of text for people.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name shown with what you say.", show_default=False)]
RoomArgument = Annotated[str, typer.Argument(metavar="ROOM", help="Name of the room.")]

_URL = "ws://127.0.0.1:8765/ws"


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (edge.host).", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="TCP port (edge.port).", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve viewers until SIGTERM or Ctrl-C; a second one cuts the farewell short.

    With node.workers the process supervises one hub process and several edge processes, and replaces those that die.
    """
    from engine import logs
    from engine.config import load

    settings = load(config, overrides={"edge": {"host": host, "port": port}})
    if settings.node.workers:
        from engine.workers.launch import launch

        launch(settings, as_json=as_json)
    logs.configure(settings.log)
    trio.run(_serve, settings, as_json)


async def _serve(settings: Any, as_json: bool) -> None:
    from engine.greeting import STOPPING, greeting, say
    from engine.node import open_node

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            async with open_node(settings) as node:
                viewers_max = node.edge.admission.viewers_max
                if as_json:
                    host, port = node.edge.addresses[0]
                    say("listening", host=host, port=port, url=node.url, pid=os.getpid(), viewers_max=viewers_max)
                else:
                    print(greeting(settings, node.url, viewers_max), flush=True)
                await anext(signals)
                if not as_json:
                    print(STOPPING, flush=True)
                nursery.start_soon(_hurry, signals, node)
            if as_json:
                say("stopped", statistics=dataclasses.asdict(node.statistics()))
            nursery.cancel_scope.cancel()


async def _hurry(signals: Any, node: Any) -> None:
    await anext(signals)
    node.hurry()


@app.command()
def restart(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="TCP port of the node (edge.port).", show_default=False)] = None,
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", help="Process id of the supervisor.", show_default=False)
    ] = None,
) -> None:
    """Replace the processes of a node with workers, one after the other, and refuse nobody meanwhile.

    With redis.url the hub goes first, and viewers do not notice; without, it stays: it holds the memory broker's history.
    Then the edges: their viewers are told to come back, and continue where they were. The node keeps the settings that it was
    started with. It is found by its port, given here or in the config file, or by its process id.
    """
    from engine.config import load
    from engine.workers.rundir import ask_to_restart, directory_of, find_supervisor

    if pid is None:
        settings = load(config, overrides={"edge": {"port": port}})
        pid = find_supervisor(directory_of(settings.node.run_directory), settings.edge.port)
    ask_to_restart(pid)
    print(f"process {pid} replaces its edge processes, and with redis.url its hub before; the log says how it goes")


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="Config file.")]) -> None:
    """Check a config file and the environment: all errors at once, or what deviates from the defaults."""
    from engine.config import report

    status, text = report(file)
    print(text, file=sys.stderr if status else sys.stdout)
    raise typer.Exit(status)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; - for standard output.")] = Path(
        "roomcast.toml"
    ),
    schema: Annotated[bool, typer.Option("--schema", help="Write the JSON Schema instead, for editors.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a config file with every setting, its unit, default and effect."""
    from engine.configfile import commented, json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n" if schema else commented()
    if str(file) == "-":
        print(text, end="")
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise RoomcastError(f"{file} exists; --force overwrites it") from None
    except OSError as error:
        raise RoomcastError(f"cannot write {file}: {error.strerror}") from error
    print(f"wrote {file}")


@app.command()
def tail(room: RoomArgument, url: UrlOption = _URL, as_json: JsonOption = False) -> None:
    """Follow a room: print its events as they come, and what is missing if anything is."""
    trio.run(_tail, room, url, as_json)


async def _tail(room: str, url: str, as_json: bool) -> None:
    from engine.client import open_client

    async with open_client(url, room=room) as client:
        async for item in client:
            if as_json:
                kind = type(item).__name__.lower()
                _line({"type": kind, **(dataclasses.asdict(item) if dataclasses.is_dataclass(item) else item._asdict())})
            else:
                text = _text(item)
                if text:
                    print(text, flush=True)


def _text(item: Any) -> str:
    from engine import client as items

    match item:
        case items.Comment():
            return f"{item.offset:>8}  {item.author.name or item.author.id}: {item.body}"
        case items.Custom():
            return f"{item.offset:>8}  {item.author.name or item.author.id} [{item.name}] {item.body}"
        case items.Gap():
            return f"    -- missing {item.first}..{item.last or '?'} ({item.reason})"
        case items.Counters():
            return f"    -- {item.likes:,} likes, {item.viewers:,} viewers"
        case items.Direct():
            return f"  direct  {item.author.name or item.author.id}: {item.body}"
        case items.Disconnected():
            return f"    -- connection lost ({item.code}), trying again in {item.delay_seconds:.1f} s"
        case items.Reconnected():
            return f"    -- back, {'continued' if item.resumed else 'from the present state'}"
        case items.Snapshot():
            return ""
        case _:
            return f"          {item}"


@app.command()
def say(
    room: RoomArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    name: NameOption = None,
    url: UrlOption = _URL,
) -> None:
    """Say something in a room and print the offset it was given."""
    trio.run(_say, room, text, name, url)


async def _say(room: str, text: str, name: str | None, url: str) -> None:
    from engine.client import Options, open_client

    async with open_client(url, room=room, name=name, options=Options(attempts=3)) as client:
        print(await client.comment(text))


@app.command()
def like(
    room: RoomArgument,
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many likes.")] = 1,
    url: UrlOption = _URL,
) -> None:
    """Like a room. What exceeds the node's rate for one viewer does not count."""
    trio.run(_like, room, count, url)


async def _like(room: str, count: int, url: str) -> None:
    from engine.client import Options, open_client

    async with open_client(url, room=room, options=Options(attempts=3)) as client:
        client.like(count)


def _line(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def main() -> None:
    """Console script. Errors that we raise on purpose are one line on standard error and exit status 1."""
    status = 0
    try:
        app()
    except* RoomcastError as group:
        # In a group when it comes out of a nursery.
        for error in _leaves(group):
            print(f"roomcast: {error}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
