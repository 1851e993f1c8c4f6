"""What a report shows beside the run itself: the bare send loop, and other servers under the same load.

Owns the two sections. The peers' result comes as plain JSON (`bench.peers.record` tells its fields): a part that is missing
or of the wrong kind is shown as nothing, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.report.charts import ReportError
from bench.report.markup import Child, Markup, el
from bench.report.record import Record

__all__ = ["limit_section", "peers_section", "read_peers"]

OURS: Final = "roomcast"
BUSY_MAX: Final = 0.9
WORDS_FROM: Final = 4
MACHINE: Final = ("kernel", "machine", "processor", "cores", "python")
"""What must be alike for CPU times to be compared."""

Bar = tuple[str, float, bool]
"""Name, length, whether it is this engine's."""


def read_peers(path: Path) -> dict[str, Any]:
    """What `roomcast-bench peers --json` wrote. Raises `ReportError`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("peers"), list):
        raise ReportError(f"{path} is not what `roomcast-bench peers --json` wrote")
    return found


# -- the limit -----------------------------------------------------------------------------------------------------------


def limit_section(record: Record, limit: Record | None) -> Iterable[Child]:
    """The engine by the bare loop of ``send``; the record itself may be such a comparison."""
    if limit is None and "limit_us_per_frame" in record.figures:
        limit = record
    bare = limit.figures.get("limit_us_per_frame") if limit is not None else None
    if limit is None or not bare:
        return
    lines = [("bare send loop", bare, False)]
    if us := limit.figures.get("engine_cpu_us_per_frame"):
        lines.append(("engine's fan-out, same sockets in turn", us, True))
    if limit is not record and (us := record.figures.get("engine_cpu_us_per_frame")):
        lines.append((f"engine in {record.scenario}, all its CPU", us, True))
    yield el("h2", "Beside the physical limit")
    yield el(
        "p",
        "The limit is a loop that does nothing but send() bytes of the same length on the same sockets.",
        None if limit is record else " The run above does more for a frame than fan-out: it takes messages in, too.",
        class_="quiet small",
    )
    yield from _cautions(record, limit)
    rows = [
        el(
            "tr",
            el("th", name, scope="row"),
            _cell(f"{us:.3g}"),
            _cell(_number(1e6 / us)),
            _cell(f"{us / bare:.2f}"),
            class_=_ours(ours),
        )
        for name, us, ours in lines
    ]
    yield _bars([("Frames per core-second", [(name, 1e6 / us, ours) for name, us, ours in lines])])
    yield _table(("", "CPU, µs per frame", "frames per core-second", "× the limit"), rows)


def _cautions(record: Record, limit: Record) -> Iterable[Child]:
    other = [name for name in MACHINE if limit.environment.get(name) != record.environment.get(name)]
    if other:
        yield el("p", f"Caution: measured elsewhere ({', '.join(other)} differ).", class_="small")
    if not limit.verified:
        yield el("p", "Caution: that run was not verified.", class_="small")


# -- the peers -----------------------------------------------------------------------------------------------------------


def peers_section(peers: Mapping[str, Any]) -> Iterable[Child]:
    """Frames and deliveries per core-second as bars, the rest as tables, then who is missing and what went wrong."""
    found = [peer for peer in peers["peers"] if isinstance(peer, dict)]
    here = [peer for peer in found if peer.get("status") != "not installed"]
    yield el("h2", "Beside other servers")
    facts = f"{_number(peers.get('messages'))} messages of {_number(peers.get('body_bytes'))} bytes at once to "
    yield el(
        "p",
        f"{facts}{_number(peers.get('viewers'))} viewers; medians of {_number(peers.get('rounds'))} rounds. The same "
        "generator, every delivery checked. A core-second is one second of CPU of all the server's processes.",
        class_="quiet small",
    )
    if peers.get("partial"):
        yield el("p", "Interrupted: the peers that were done.", class_="small")
    kinds = (
        ("unbatched", f"One message a frame ({OURS} batches by itself)"),
        ("batched", f"Batched by the publisher ({OURS}: as above)"),
    )
    for label, name in (("Frames", "frames_per_core_second"), ("Deliveries", "deliveries_per_core_second")):
        groups = [(f"{label} per core-second. {title}", _peer_bars(here, kind, name)) for kind, title in kinds]
        yield _bars([(title, bars) for title, bars in groups if bars])
    for kind, title in kinds:
        yield el("p", el("strong", title), class_="caption")
        yield _bursts(here, kind)
    yield el("p", el("strong", "Joining, memory, and what happens when a viewer stops reading"), class_="caption")
    yield _others(here)
    yield from _remarks(found)


def _peer_bars(peers: Sequence[Mapping[str, Any]], kind: str, name: str) -> list[Bar]:
    bars = [(_text(peer, "name"), _float(_part(peer, kind).get(name)), _is_ours(peer)) for peer in peers]
    return sorted(((name, value, ours) for name, value, ours in bars if value > 0), key=lambda bar: -bar[1])


def _bursts(peers: Sequence[Mapping[str, Any]], kind: str) -> Markup:
    heads = (
        "server",
        "frames per core-second",
        "deliveries per core-second",
        "CPU, µs per delivery",
        "burst, ms",
        "bytes per delivery",
        "deliveries, this engine by this server",
        "checked",
    )
    rows = []
    for peer in peers:
        burst = _part(peer, kind)
        verdict = _part(burst, "verdict")
        late = "*" if _float(burst.get("generator_busy")) > BUSY_MAX else ""
        seconds = burst.get("seconds")
        cells = (
            _number(burst.get("frames_per_core_second")),
            _number(burst.get("deliveries_per_core_second")),
            _number(burst.get("cpu_us_per_delivery")),
            _number(_float(seconds) * 1000 if seconds is not None else None) + late,
            _number(burst.get("bytes_per_delivery")),
            _number(burst.get("engine_factor")),
        )
        checked = _text(verdict or peer, "status") + ("" if verdict.get("common_order", True) else ", orders differ")
        rows.append(_row(peer, (*map(_cell, cells), el("td", checked))))
    return el(
        "div",
        _table(heads, rows),
        el("p", "* the generator was busy all the time", class_="quiet small") if _late(peers, kind) else None,
    )


def _late(peers: Sequence[Mapping[str, Any]], kind: str) -> bool:
    return any(_float(_part(peer, kind).get("generator_busy")) > BUSY_MAX for peer in peers)


def _others(peers: Sequence[Mapping[str, Any]]) -> Markup:
    heads = (
        "server",
        "CPU, µs per join",
        "memory per viewer, kB",
        "p99 of the others before, ms",
        "and then, ms",
        "server grows, MB",
        "who stopped loses",
    )
    rows = []
    for peer in peers:
        slow = _part(peer, "slow")
        cells = (
            _number(peer.get("join_cpu_us")),
            _number(_scaled(peer.get("viewer_bytes"), 1e-3)),
            _number(slow.get("p99_before_ms")),
            _number(slow.get("p99_during_ms")),
            _number(_scaled(slow.get("memory_growth_bytes"), 1e-6)),
        )
        rows.append(_row(peer, (*map(_cell, cells), el("td", _loss(slow)))))
    return _table(heads, rows)


def _loss(slow: Mapping[str, Any]) -> str:
    if not slow:
        return ""
    if _part(slow, "verdict").get("status") == "stalled":
        return "stalled"
    if slow.get("closed"):
        return "the connection"
    if not (lost := _float(slow.get("lost"))):
        return "nothing"
    told = "is told" if _float(slow.get("admitted")) >= lost else "silently"
    return f"{_number(lost / max(1.0, _float(slow.get('slow'))))} of {_number(slow.get('messages'))}, {told}"


def _remarks(peers: Sequence[Mapping[str, Any]]) -> Iterable[Child]:
    lines = []
    for peer in peers:
        parts = [_text(peer, "what"), _text(peer, "version") and f"version {_text(peer, 'version')}"]
        if peer.get("status") != "done":
            parts.append(f"{_text(peer, 'status')}: {_text(peer, 'note')}")
        for kind in ("unbatched", "batched", "slow"):
            faults = _part(_part(peer, kind), "verdict").get("faults")
            parts += [f"{kind}: {fault}" for fault in faults] if isinstance(faults, list) else []
        lines.append(el("li", el("strong", _text(peer, "name")), ": ", "; ".join(filter(None, parts))))
    yield el(
        "details", el("summary", "The servers: what they are, who is missing, what went wrong"), el("ul", lines, class_="small")
    )


# -- pieces --------------------------------------------------------------------------------------------------------------


def _bars(groups: Sequence[tuple[str, Sequence[Bar]]]) -> Markup:
    """Bars of one scale over all groups."""
    longest = max((length for _, bars in groups for _, length, _ in bars), default=1.0)
    children: list[Child] = []
    for title, bars in groups:
        children.append(el("h3", title))
        children += (
            el(
                "div",
                el("span", name),
                el("i", style=f"width: {100 * length / longest:.1f}%"),
                el("b", _number(length)),
                class_=f"bar {_ours(ours) or ''}".strip(),
            )
            for name, length, ours in bars
        )
    return el("div", children, class_="box bars")


def _table(heads: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """The first column is words, the last too where there are so many."""
    words = {0, len(heads) - 1} if len(heads) > WORDS_FROM else {0}
    cells = [el("th", head, scope="col", class_=None if place in words else "number") for place, head in enumerate(heads)]
    return el("div", el("table", el("thead", el("tr", cells)), el("tbody", rows)), class_="box", tabindex="0")


def _row(peer: Mapping[str, Any], cells: Sequence[Markup]) -> Markup:
    return el("tr", el("th", _text(peer, "name"), scope="row"), cells, class_=_ours(_is_ours(peer)))


def _cell(text: str) -> Markup:
    return el("td", text, class_="number")


def _ours(ours: bool) -> str | None:
    return "ours" if ours else None


def _is_ours(peer: Mapping[str, Any]) -> bool:
    return peer.get("name") == OURS


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _text(values: Mapping[str, Any], name: str) -> str:
    found = values.get(name)
    return found if isinstance(found, str) else ""


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _scaled(value: Any, factor: float) -> float | None:
    return value * factor if isinstance(value, int | float) else None


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
