"""A comparison as tables for people.

Owns what is shown and in which words. Must not know how it was measured.
"""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.peers.catalogue import ENGINE_NAME
from bench.peers.record import Burst, Comparison, Peer, Verdict

__all__ = ["print_comparison"]

BUSY_MAX = 0.9
"""Above, the time of a burst tells of the generator."""


def print_comparison(result: Comparison, console: Console) -> None:
    """Both bursts, joining and slow viewers, then who is missing and what went wrong."""
    what = f"{result.messages:,} messages of {result.body_bytes:,} bytes at once to {result.viewers:,} viewers"
    console.print(_bursts(result, "unbatched", f"{what}, one a message"), "", sep="\n")
    batched = f"{what}, all in one message; {ENGINE_NAME} takes one a message and batches itself"
    console.print(_bursts(result, "batched", batched), "", _others(result), "", sep="\n")
    console.print("Thousands are per core-second, a second of CPU of all the server's processes; × compares deliveries.")
    if any(_late(burst) for peer in result.peers for burst in (peer.unbatched, peer.batched) if burst is not None):
        console.print("* the generator was busy all the time: the server may be faster than this.")
    for peer in result.peers:
        if peer.version:
            console.print(f"{peer.name}: {peer.version}", highlight=False, markup=False)
        if peer.status == "not installed":
            console.print(f"{peer.name}: not installed. {peer.note}", highlight=False, markup=False)
        elif peer.note:
            console.print(f"{peer.name}: {peer.status}. {peer.note}", style="red", highlight=False, markup=False)
        for label, verdict in _verdicts(peer):
            console.print(f"{peer.name}, {label}: {_words(verdict)}", style="red", highlight=False, markup=False)
    if result.partial:
        console.print("[bold yellow]Interrupted: the peers that were done.[/]")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("peer", style="cyan", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _bursts(result: Comparison, kind: str, title: str) -> Table:
    table = _table(
        title,
        "thousand\nframes",
        "thousand\ndeliv.",
        "CPU, µs\n/deliv.",
        "burst,\nms",
        "bytes\n/deliv.",
        "frames\n/read",
        f"{ENGINE_NAME}\n= × this",
        "checked",
    )
    for peer in result.peers:
        burst: Burst | None = getattr(peer, kind)
        if burst is None:
            if peer.status != "not installed":
                table.add_row(peer.name, *[""] * 7, peer.status)
            continue
        table.add_row(
            peer.name,
            _thousands(burst.frames_per_core_second),
            _thousands(burst.deliveries_per_core_second),
            _number(burst.cpu_us_per_delivery),
            _number(None if burst.seconds is None else burst.seconds * 1000) + "*" * _late(burst),
            _number(burst.bytes_per_delivery),
            _number(burst.frames_per_read),
            _number(burst.engine_factor),
            "yes" if burst.verdict.status == "verified" else burst.verdict.status,
        )
    return table


def _others(result: Comparison) -> Table:
    slows = [peer.slow for peer in result.peers if peer.slow is not None]
    title = "Joining; and what happens when a viewer stops reading"
    if slows:
        title += f" ({slows[0].slow} of {slows[0].viewers}, for {slows[0].sent_bytes / 1e6:.0f} MB of messages)"
    table = _table(
        title,
        "CPU\nµs/join",
        "memory,\nkB/viewer",
        "grows,\nMB",
        "p99, ms\nbefore",
        "of others\nthen",
        "who stopped loses",
    )
    for peer in result.peers:
        if peer.status == "not installed":
            continue
        slow = peer.slow
        table.add_row(
            peer.name,
            _number(peer.join_cpu_us),
            _number(None if peer.viewer_bytes is None else peer.viewer_bytes / 1000),
            _number(None if slow is None else slow.memory_growth_bytes / 1e6),
            _number(None if slow is None else slow.p99_before_ms),
            _number(None if slow is None else slow.p99_during_ms),
            "" if slow is None else slow.loses,
        )
    return table


def _verdicts(peer: Peer) -> list[tuple[str, Verdict]]:
    parts = (("unbatched", peer.unbatched), ("batched", peer.batched), ("slow viewer", peer.slow))
    shown = [(label, part.verdict) for label, part in parts if part is not None]
    return [(label, verdict) for label, verdict in shown if verdict.status != "verified" or not verdict.common_order]


def _words(verdict: Verdict) -> str:
    counts = {
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "reordered": verdict.reordered,
        "altered": verdict.altered,
        "viewers closed": verdict.closed,
    }
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    order = "" if verdict.common_order else "viewers saw different orders"
    return "; ".join(filter(None, (verdict.status, found, order, *verdict.faults[:1])))


def _late(burst: Burst) -> bool:
    return (burst.generator_busy or 0) > BUSY_MAX


def _thousands(value: float | None) -> str:
    return _number(None if value is None else value / 1000)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
