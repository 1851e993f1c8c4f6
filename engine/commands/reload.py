"""`roomcast reload`: a node reads its settings again.

Owns nothing: which settings can change is for `engine.reload`, how a node takes them for the node.
"""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.arguments import ConfigOption

__all__ = ["reload"]


def reload(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="TCP port of the node (edge.port).", show_default=False)] = None,
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", help="Process id of the node or its supervisor.", show_default=False)
    ] = None,
) -> None:
    """Let a node read its config file again, and change what can be changed without dropping a viewer.

    That is nearly everything: limits, budgets, ticks and batching, lag policy, word lists, keys and tokens, gifts, hooks, the
    API's limits and keys, logging. The node's log says what has changed, and what needs a restart: addresses, feeds, where
    Redis and the ledger are, how many processes there are. A file with a fault changes nothing, and all its faults are told.

    A node with node.workers is found by its port, given here or in the config file; any other by its process id (--pid), as
    `roomcast serve --json` tells it. The file that is read again is the one that the node was started with, options
    of its command line still win, and so does the environment that it was started in. With --config the file is checked here
    first. `kill -HUP PID` does the same.
    """
    from engine.config import load
    from engine.workers.rundir import ask_to_reload, directory_of, find_supervisor

    settings = load(config, overrides={"edge": {"port": port}}) if config is not None or pid is None else None
    if pid is None:
        assert settings is not None  # it was loaded
        pid = find_supervisor(directory_of(settings.node.run_directory), settings.edge.port)
    ask_to_reload(pid)
    print(f"process {pid} reads its settings again; its log says what has changed and what needs a restart")
