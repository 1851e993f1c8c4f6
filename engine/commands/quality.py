"""`roomcast quality`: a room's delivery certificate, as a table for people or as JSON.

Owns its words. What is in a certificate is for `engine.quality.certificate` to say, and how several are added up.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import typer

from engine.commands.arguments import API, JsonOption, KeyOption, RoomArgument
from engine.errors import Close, Code

if TYPE_CHECKING:
    from rich.console import Group

    from engine.commands.nodes import Node

__all__ = ["quality", "rate", "shown", "word_of"]

_BROKEN: Final = "1006"
"""Close code of a connection that ended without one (RFC 6455 section 7.1.5)."""
_DIGITS: Final = 2
"""Of what is missing to 1 that are shown, the first that is not 0 being one."""
_WIDTH: Final = 120
"""Columns where there is no terminal."""


def quality(
    room: RoomArgument,
    api: Annotated[
        list[str],
        typer.Option("--api", metavar="URL", help="Of a node's HTTP API; several nodes are added up.", envvar="ROOMCAST_API"),
    ] = [API],  # noqa: B006  # typer wants a list
    key: KeyOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.01, help="How often, with --watch.")] = 2.0,
) -> None:
    """Show how a room reaches its viewers: how much of what they were entitled to has come, how late, and why they came back.

    It counts since the first viewer came, or since the stream began. Nodes at which the room has no viewers are left out.

    roomcast quality 大厅 --key rc_…

    roomcast quality 大厅 --api http://10.0.0.1:8780 --api http://10.0.0.2:8780 --json
    """
    from engine.commands.nodes import asking

    with asking(api, key) as nodes:
        if as_json:
            _print(nodes, room, every if watch else None)
        else:
            _show(nodes, room, every if watch else None)


def _print(nodes: list[Node], room: str, every: float | None) -> None:
    while True:
        print(json.dumps(_read(nodes, room), ensure_ascii=False), flush=True)
        if every is None:
            return
        time.sleep(every)


def _show(nodes: list[Node], room: str, every: float | None) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    if every is None:
        console.print(shown(_read(nodes, room)))
        return
    with Live(shown(_read(nodes, room)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(shown(_read(nodes, room)), refresh=True)


def _read(nodes: list[Node], room: str) -> dict[str, Any]:
    from engine.commands.nodes import Absent
    from engine.quality import combined

    found: list[dict[str, Any]] = []
    absent: Absent | None = None
    for node in nodes:
        try:
            found.append(node.read(f"/v1/rooms/{quote(room, safe='')}/quality"))
        except Absent as error:
            absent = error
    if not found:
        assert absent is not None
        raise absent
    return found[0] if len(found) == 1 else combined(found)


# -- words ------------------------------------------------------------------------------------------------------------


def rate(part: int, whole: int) -> str:
    """Such as 0.99987: as many digits as it takes to tell what is missing, and 1 only if nothing is."""
    if not whole:
        return "–"
    if part >= whole:
        return "1"
    # The digits before what is missing shows are nines.
    nines = math.floor(-math.log10((whole - part) / whole))
    step = Decimal(1).scaleb(-(nines + _DIGITS))
    exact = (Decimal(part) / Decimal(whole)).quantize(step, ROUND_DOWN)
    return f"{exact:f}".rstrip("0").rstrip(".") or "0"


def word_of(cause: str) -> str:
    """What a close code, or that of a refusal, is called; empty if nothing is known of it."""
    if cause == _BROKEN:
        return "connection broke"
    for codes in (Code, Close):
        try:
            return codes(int(cause)).name.lower().replace("_", " ")
        except ValueError:
            continue
    return ""


def shown(certificate: Mapping[str, Any]) -> Group:
    """The certificate for a terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from engine.commands.lines import clean

    def text(words: str, style: str = "") -> Text:
        # What somebody has chosen is no markup, and does nothing to the terminal.
        return Text(clean(words), style)

    facts = Table.grid(padding=(0, 3))
    for name, words in _facts(certificate):
        facts.add_row(text(name, "dim"), text(words))
    networks = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    networks.add_column("network", overflow="fold")
    # In two lines: all of them fit into 80 columns.
    for name in ("arrival\nrate", "reports", "events", "p50\nms", "p90\nms", "p99\nms", "gaps", "came\nback"):
        networks.add_column(name, justify="right", no_wrap=True)
    rows = [*certificate["networks"].items()]
    rows.sort(key=lambda row: (-row[1]["entitled"], row[0]))
    for name, measured in [("all", certificate["measured"]), *rows]:
        networks.add_row(text(name), *_row(measured), style="bold" if measured is certificate["measured"] else "")
    parts: list[Any] = [_title(certificate), facts, networks]
    for title, causes in (
        ("why viewers came back", certificate["measured"]["reconnects"]),
        ("how connections ended", certificate["sent"]["closed"]),
    ):
        if causes:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            table.add_column("code")
            table.add_column(title)
            table.add_column("times", justify="right")
            for cause, count in sorted(causes.items(), key=lambda each: (-each[1], each[0])):
                table.add_row(text(cause), text(word_of(cause)), f"{count:,}")
            parts.append(table)
    return Group(*parts)


def _title(certificate: Mapping[str, Any]) -> Any:
    from rich.text import Text

    from engine.commands.lines import clean

    stream = f"  {clean(certificate['stream'])}" if certificate["stream"] else ""
    return Text.assemble((clean(certificate["room"]), "bold"), stream, ("  ended" if certificate["ended"] else "", "yellow"))


def _facts(certificate: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    sent, measured = certificate["sent"], certificate["measured"]
    since = datetime.fromtimestamp(certificate["since"] / 1000).astimezone()
    seconds = (certificate["until"] - certificate["since"]) // 1000
    minutes = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    yield "node", certificate["node"]
    yield "since", f"{since:%Y-%m-%d %H:%M:%S}, for {minutes}"
    yield "events", f"{certificate['events']:,}, offsets {certificate['first']:,} to {certificate['last']:,}"
    yield "viewers", f"{certificate['viewers']:,}, at most {certificate['viewers_max']:,}"
    arrived = f"{measured['received']:,} of {measured['entitled']:,} events, in {measured['reports']:,} reports"
    yield "arrival rate", f"{rate(measured['received'], measured['entitled'])}  ({arrived})"
    made = sent["entitled"] - sent["skipped"]
    yield "sent", f"{rate(made, sent['entitled'])}  ({made:,} of {sent['entitled']:,} deliveries, to all viewers)"
    yield "behind", f"{sent['laggards']:,} viewers now, the longest for {sent['lag_max']:.1f} s"
    yield "stalls", f"{sent['stalls']:,}, lag policy applied {sent['lag_policies']:,} times"
    for name in ("withheld", "refused"):
        if certificate[name]:
            yield name, ", ".join(f"{count:,} {reason}" for reason, count in certificate[name].items())


def _row(measured: Mapping[str, Any]) -> Iterable[str]:
    yield rate(measured["received"], measured["entitled"])
    yield f"{measured['reports']:,}"
    yield f"{measured['entitled']:,}"
    for milliseconds in measured["delay_ms"].values():
        yield "–" if milliseconds is None else f"{milliseconds:,.0f}"
    yield f"{measured['gaps']:,}"
    yield f"{sum(measured['reconnects'].values()):,}"
