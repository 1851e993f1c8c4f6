"""`roomcast serve` and `restart`: a node, or a supervisor of its processes, until a signal.

Owns how signals become an orderly end. Must not know how a node works.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import trio
import typer

from engine.commands.arguments import ConfigOption, JsonOption
from engine.errors import RoomcastError

__all__ = ["restart", "run_node", "serve"]

HostOption = Annotated[str | None, typer.Option(help="Address to listen on (edge.host).", show_default=False)]
PortOption = Annotated[int | None, typer.Option(help="TCP port (edge.port).", show_default=False)]


def serve(config: ConfigOption = None, host: HostOption = None, port: PortOption = None, as_json: JsonOption = False) -> None:
    """Serve viewers until SIGTERM or Ctrl-C; a second one cuts the farewell short. SIGHUP reads the settings again.

    With node.workers the process supervises one hub process and several edge processes, and replaces those that die.
    """
    from engine import logs, tracing
    from engine.config import load

    overrides = {"edge": {"host": host, "port": port}}
    settings = load(config, overrides=overrides)
    if settings.node.workers:
        from engine.workers.launch import launch

        launch(settings, as_json=as_json, config=config, overrides=overrides)
    logs.configure(settings.log)
    tracing.configure()
    trio.run(run_node, settings, as_json, None, partial(load, config, overrides=overrides))


async def run_node(
    settings: Any,
    as_json: bool,
    beside: Callable[[Any], Awaitable[bool]] | None = None,
    reread: Callable[[], Any] | None = None,
    words: Callable[[Any], str] | None = None,
) -> None:
    """Run a node and say so, until a signal.

    :param beside: runs with the node while it serves; if it returns True the node stops as if told to.
    :param reread: returns the settings as they are to be now; None: they stay, and SIGHUP ends the process as it does others.
    :param words: what people are told of the node, instead of where it listens and its limits.
    """
    from engine import logs
    from engine.greeting import STOPPING, greeting, say, tell_reloaded
    from engine.interpreter import settle
    from engine.node import open_node

    def adopted(settings: Any, reloaded: Any) -> None:
        if any(path.startswith("log.") for path in reloaded.changed):
            logs.configure(settings.log)
        tell_reloaded(reloaded, as_json=as_json)

    settle(settings)
    told = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if reread is not None else [])]
    with trio.open_signal_receiver(*told) as signals:
        async with trio.open_nursery() as nursery:
            async with open_node(settings, reread=reread, adopted=adopted) as node:
                viewers_max = node.edge.admission.viewers_max
                if as_json:
                    host, port = node.edge.addresses[0]
                    api = {"api": node.api.addresses[0]} if node.api is not None else {}
                    say("listening", host=host, port=port, url=node.url, pid=os.getpid(), viewers_max=viewers_max, **api)
                elif words is not None:
                    print(words(node), flush=True)
                else:
                    of_api = node.api.url if node.api is not None else None
                    print(greeting(settings, node.url, viewers_max, api=of_api), flush=True)
                await _until_told(signals, node, beside, as_json)
                if not as_json:
                    print(STOPPING, flush=True)
                nursery.start_soon(_hurry, signals, node)
            if as_json:
                say("stopped", statistics=dataclasses.asdict(node.statistics()))
            nursery.cancel_scope.cancel()


async def _until_told(signals: Any, node: Any, beside: Callable[[Any], Awaitable[bool]] | None, as_json: bool) -> None:
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            if beside is not None and await beside(node):
                nursery.cancel_scope.cancel()

        nursery.start_soon(work)
        async for number in signals:
            if number != signal.SIGHUP:
                break
            nursery.start_soon(_reload, node, as_json)
        nursery.cancel_scope.cancel()


async def _reload(node: Any, as_json: bool) -> None:
    from engine.greeting import say

    try:
        await node.reload()
    except RoomcastError as error:
        # It is in the log for people, and nothing has changed.
        if as_json:
            say("reload_refused", faults=str(error).splitlines())


async def _hurry(signals: Any, node: Any) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            break
    node.hurry()


def restart(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="TCP port of the node (edge.port).", show_default=False)] = None,
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", help="Process id of the supervisor.", show_default=False)
    ] = None,
) -> None:
    """Replace the processes of a node with workers, one after the other, and refuse nobody meanwhile.

    With redis.url the hub goes first, and viewers do not notice; without, it stays: it holds the memory broker's history.
    Then the edges: their viewers are told to come back, and continue where they were. The node keeps the settings that are in
    force; `roomcast reload` reads them again. It is found by its port, given here or in the config file, or by its process id.
    """
    from engine.config import load
    from engine.workers.rundir import ask_to_restart, directory_of, find_supervisor

    if pid is None:
        settings = load(config, overrides={"edge": {"port": port}})
        pid = find_supervisor(directory_of(settings.node.run_directory), settings.edge.port)
    ask_to_restart(pid)
    print(f"process {pid} replaces its edge processes, and with redis.url its hub before; the log says how it goes")
