"""``roomcast-bench peers``: command line → comparison → tables.

Owns the options, their help and the exit status: 0 compared, 1 this engine lost, doubled or reordered something or failed,
130 interrupted. A peer that is not installed, fails or loses something is reported and changes no status.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.peers.catalogue import ADAPTERS, ENGINE_NAME
from bench.peers.match import compare
from bench.peers.payload import PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN
from bench.peers.stage import Load
from bench.peers.table import print_comparison
from bench.report.show import Show

__all__ = ["peers"]

MESSAGES_MAX = 1000
"""Of one burst: what the small servers queue for a viewer."""
BATCH_BYTES_MAX = 8 << 20
"""Of one message that carries a whole burst: what every peer is set to take."""

PeerName = StrEnum("PeerName", {adapter.name: adapter.name for adapter in ADAPTERS})  # type: ignore[misc]  # from a table


def peers(
    viewers: Annotated[int, typer.Option(min=1, help="Viewers of the one room.")] = 2000,
    messages: Annotated[int, typer.Option(min=1, max=MESSAGES_MAX, help="Messages of one burst.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Bursts of each kind that are measured.")] = 5,
    body_bytes: Annotated[int, typer.Option(min=PAYLOAD_BYTES_MIN, max=PAYLOAD_BYTES_MAX, help="Length of a message.")] = 100,
    only: Annotated[list[PeerName] | None, typer.Option(help="Only this peer, and the engine. May be repeated.")] = None,
    slow_rate: Annotated[
        float, typer.Option(min=0, max=10_000, help="Messages a second while a viewer does not read; 0 leaves that out.")
    ] = 100.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the whole record to this file.")] = None,
    seed: Annotated[int, typer.Option(help="Of the message texts.")] = 1,
) -> None:
    """Compare with other broadcast servers that are installed: the same load, counted the same way, in one run."""
    if messages * body_bytes > BATCH_BYTES_MAX:
        raise typer.BadParameter(f"--messages times --body-bytes may be at most {BATCH_BYTES_MAX:,}")
    chosen = {name.value for name in only or PeerName} | {ENGINE_NAME}
    load = Load(viewers=viewers, messages=messages, rounds=rounds, body_bytes=body_bytes, seed=seed, slow_rate=slow_rate)
    show = Show(Console())
    result = compare([adapter for adapter in ADAPTERS if adapter.name in chosen], load, show)
    print_comparison(result, show.console)
    if json_file is not None:
        result.write(json_file)
    if result.partial:
        raise typer.Exit(130)
    if any(peer.name == ENGINE_NAME and peer.status != "done" for peer in result.peers):
        raise typer.Exit(1)
