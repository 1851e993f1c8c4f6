"""A record as one page for people: verdict first, then the certificate, figures, charts, and how to repeat it.

Owns the order and the words. Must not know how anything was measured. The page needs nothing but itself: no network, no
script, no fonts of its own. Whatever a record says is text and stays text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.engineproc import to_toml
from bench.report.beside import limit_section, peers_section, read_peers
from bench.report.charts import Chart, ReportError, available, charts
from bench.report.markup import Child, Markup, el
from bench.report.record import FIGURES, Record
from bench.report.repeat import repeat
from bench.report.show import certificate_rows, faults_text, money_rows, number
from bench.report.style import STYLE

__all__ = ["ReportError", "check_available", "page", "read_peers", "write_html"]

HEADLINES: Final = (
    ("deliveries_per_second", 1, "/s"),
    ("latency_p50_ms", 1, "ms"),
    ("latency_p99_ms", 1, "ms"),
    ("latency_p99_to_calm", 1, "×"),
    ("lag_p99_ms", 1, "ms"),
    ("return_p99_ms", 1, "ms"),
    ("messages_per_second", 1, "/s"),
    ("ratio_to_limit", 1, "×"),
    ("frames_per_core_second", 1, ""),
    ("deliveries_per_core_second", 1, ""),
    ("engine_cpu_us_per_frame", 1, "µs"),
    ("engine_cpu_share", 100, "%"),
    ("joins_per_second", 1, "/s"),
    ("engine_cpu_us_per_join", 1, "µs"),
    ("engine_memory_bytes", 1e-6, "MB"),
    ("engine_bytes_per_viewer", 1e-3, "kB"),
)
"""Figures that are shown large, with the factor to their unit; the first few that a run has."""
MONEY_HEADLINES: Final = (
    ("gifts_per_second", 1, "/s"),
    ("paid_p50_ms", 1, "ms"),
    ("paid_p99_ms", 1, "ms"),
    ("engine_cpu_us_per_gift", 1, "µs"),
    ("winners", 1, ""),
    ("emptied_ms", 1, "ms"),
    ("claims_per_second", 1, "/s"),
    ("rush_latency_to_before", 1, "×"),
    ("ledger_commit_p99_ms", 1, "ms"),
)
"""The same of money."""
HEADLINES_MAX: Final = 12
ROUNDS_SHOWN: Final = 12
"""Of more rounds than this only median, least and most are shown."""
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def check_available(path: Path | None = None) -> None:
    """Before a run: can a report be made, and written to ``path``? Raises `ReportError` saying what to do."""
    available()
    if path is not None and not (path.parent.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)):
        raise ReportError(f"{path} cannot be written: its directory does not exist, or may not be written to")


def write_html(record: Record, path: Path, *, limit: Record | None = None, peers: Mapping[str, Any] | None = None) -> None:
    """Write the page.

    :param limit: of `roomcast-bench limit`, to compare with.
    :param peers: the result of `roomcast-bench peers`, as `read_peers` reads it.
    :raises ReportError: matplotlib is missing, or the file cannot be written.
    """
    text = page(record, limit=limit, peers=peers)
    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from None


def page(record: Record, *, limit: Record | None = None, peers: Mapping[str, Any] | None = None) -> str:
    """The page as text. See `write_html`."""
    body = el(
        "main",
        _heading(record),
        _verdict(record),
        _warnings(record),
        _headlines(record),
        _certificate(record),
        _money(record),
        _failed(record),
        _charts(charts(record)),
        limit_section(record, limit),
        peers_section(peers) if peers is not None else None,
        _rounds(record),
        _figures(record),
        _circumstances(record),
        el("footer", "Made by roomcast-bench from the run's own record. Everything on this page is in the page itself."),
    )
    head = el(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        el("title", f"{record.scenario}: {_word(record)} · Roomcast benchmark"),
        el("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', body), lang='en')}\n"


# -- first the verdict ---------------------------------------------------------------------------------------------------


def _heading(record: Record) -> Child:
    facts = [f"{number(record.viewers)} viewers"]
    if len(record.rounds) > 1:
        facts.append(f"medians of {len(record.rounds)} rounds")
    facts += [_moment(record.began), f"seed {record.load.get('seed', '?')}"]
    return el(
        "header",
        el("p", "Roomcast benchmark", class_="brand"),
        el("h1", record.scenario),
        el("p", record.text) if record.text else None,
        el("p", " · ".join(facts), class_="quiet small"),
    )


def _moment(began: str) -> str:
    try:
        return f"{datetime.fromisoformat(began).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return began


def _word(record: Record) -> str:
    if record.partial:
        return "interrupted"
    return "verified" if record.verified else "failed"


def _verdict(record: Record) -> Child:
    found = record.certificate
    counts = (
        f"{number(found.delivered)} of {number(found.expected)} expected deliveries arrived; {number(found.lost)} lost, "
        f"{number(found.doubled)} doubled, {number(found.reordered)} out of order, {number(found.altered)} altered."
    )
    if record.partial:
        return _banner("verdict warn", "Interrupted: a partial result, not verified.", counts)
    if record.verified:
        return _banner("verdict good", "Verified: every delivery accounted for.", counts)
    return _banner("verdict bad", f"Verification failed: {faults_text(found)}", counts)


def _warnings(record: Record) -> Iterable[Child]:
    if record.bottleneck:
        busy = record.figures.get("generator_busy")
        yield _banner(
            "warning bad",
            f"The generator was the bottleneck{'' if busy is None else f' (busy {busy:.0%})'}.",
            "The engine can do better than this. More generator processes or more cores are needed.",
        )
    faults = record.certificate.faults
    if faults:
        told = sum(record.certificate.fault_counts.values())
        more = f", the first {len(faults):,} of {told:,}" if told > len(faults) else ""
        yield el("h2", f"Faults{more}")
        yield el("div", el("pre", "\n".join(faults), class_="wrap"), class_="box")


def _banner(kind: str, head: str, text: str) -> Markup:
    return el("div", el("strong", head), el("span", text), class_=kind, role="status")


def _headlines(record: Record) -> Iterable[Child]:
    if chosen := _tiles(record, HEADLINES):
        yield el("h2", "Headline figures")
        yield el("dl", chosen[:HEADLINES_MAX], class_="tiles")


def _tiles(record: Record, headlines: Iterable[tuple[str, float, str]]) -> list[Markup]:
    figures = record.figures
    return [_tile(name, figures[name] * factor, unit) for name, factor, unit in headlines if name in figures]


def _tile(name: str, value: float, unit: str) -> Markup:
    label = FIGURES[name].label
    for ending in (", ms", ", µs", ", bytes", ", share of a core"):
        label = label.removesuffix(ending)
    if unit == "/s":
        label = label.replace(" per second", "").removesuffix(" a second")
    shown = _short(value)
    return el("div", el("dt", label), el("dd", shown, " " if unit else None, el("small", unit) if unit else None))


def _short(value: float) -> str:
    """Three digits are enough to remember; large numbers whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _certificate(record: Record) -> Iterable[Child]:
    rows = [el("tr", el("th", label, scope="row"), _number(value)) for label, value in certificate_rows(record.certificate)]
    yield el("h2", "Delivery certificate")
    yield el(
        "p",
        "Counted by the receivers over the whole run, all rounds together: what every viewer was entitled to, and what became "
        "of it.",
        class_="quiet small",
    )
    yield el("div", el("table", el("tbody", rows)), class_="box")
    if record.notes:
        yield el("ul", (el("li", note) for note in record.notes), class_="small")


def _money(record: Record) -> Iterable[Child]:
    money = record.certificate.money
    figures = _figure_rows(record, money=True)
    if money is None and not figures:
        return
    yield el("h2", "Money")
    if tiles := _tiles(record, MONEY_HEADLINES):
        yield el("dl", tiles, class_="tiles")
    if money is not None:
        yield el(
            "p",
            "What was asked for, acknowledged, booked in the ledger, and received by every viewer; amounts are in the smallest "
            "unit. The ledger was read from its database when the engine had stopped.",
            class_="quiet small",
        )
        rows = [el("tr", el("th", label, scope="row"), _number(value)) for label, value in money_rows(money)]
        yield el("div", el("table", el("tbody", rows)), class_="box")
    if figures:
        table = el("div", el("table", el("tbody", figures)), class_="box", tabindex="0")
        yield el("details", el("summary", f"All {len(figures)} figures about money"), table)


def _failed(record: Record) -> Iterable[Child]:
    if not record.faults:
        return
    heads = ("at, s", "until everybody had everything, s")
    rows = [
        el("tr", el("th", told["what"], scope="row"), *(_number(number(told[key])) for key in ("second", "recovery_seconds")))
        for told in record.faults
    ]
    head = el("tr", el("th", "what failed", scope="col"), (el("th", each, scope="col", class_="number") for each in heads))
    table = el("div", el("table", el("thead", head), el("tbody", rows)), class_="box", tabindex="0")
    yield el("h2", "What failed meanwhile")
    yield el("details", el("summary", f"{len(rows):,} faults in a row"), table, open=len(rows) <= 12)


# -- then pictures and numbers -------------------------------------------------------------------------------------------


def _charts(found: list[Chart]) -> Iterable[Child]:
    if found:
        yield el("h2", "Charts")
        yield el("div", map(_chart, found), class_="charts")


def _chart(chart: Chart) -> Markup:
    legend = [el("span", el("i", class_=colour), label) for colour, label in chart.legend]
    return el(
        "figure",
        el("figcaption", el("h3", chart.title), el("p", chart.text), el("div", legend, class_="legend") if legend else None),
        chart.svg,
    )


def _rounds(record: Record) -> Iterable[Child]:
    rounds = record.rounds
    if len(rounds) < 2:
        return
    names = [name for name in FIGURES if all(name in figures for figures in rounds)]
    each = [f"round {count + 1}" for count in range(len(rounds))] if len(rounds) <= ROUNDS_SHOWN else []
    heads = ["median", "least", "most", "spread", *each]
    rows = [_round_row(name, [figures[name] for figures in rounds], bool(each)) for name in names]
    yield el("h2", f"{len(rounds):,} rounds")
    yield el("p", "Spread is the distance from the least to the most, as a share of the median.", class_="quiet small")
    head = el("tr", el("th", "figure", scope="col"), (el("th", head, scope="col", class_="number") for head in heads))
    table = el("div", el("table", el("thead", head), el("tbody", rows)), class_="box", tabindex="0")
    yield el("details", el("summary", "All rounds"), table, open=len(names) <= 8)


def _round_row(name: str, values: list[float], each: bool) -> Markup:
    middle, least, most = median(values), min(values), max(values)
    spread = "" if not middle else f"{(most - least) / abs(middle):.1%}"
    cells = [number(middle), number(least), number(most), spread, *(map(number, values) if each else ())]
    return el("tr", el("th", FIGURES[name].label, scope="row"), map(_number, cells))


def _figure_rows(record: Record, *, money: bool) -> list[Markup]:
    return [
        el(
            "tr",
            el("th", figure.label, scope="row"),
            _number(number(record.figures[name])),
            el("td", name, class_="quiet small"),
        )
        for name, figure in FIGURES.items()
        if name in record.figures and figure.money == money
    ]


def _figures(record: Record) -> Iterable[Child]:
    if rows := _figure_rows(record, money=False):
        yield el("h2", "Everything measured")
        table = el("div", el("table", el("tbody", rows)), class_="box", tabindex="0")
        yield el("details", el("summary", f"All {len(rows)} figures"), table)


def _number(text: str) -> Markup:
    return el("td", text, class_="number")


# -- last how it came about ----------------------------------------------------------------------------------------------


def _circumstances(record: Record) -> Iterable[Child]:
    again = repeat(record)
    yield el("h2", "Run it again")
    yield el("div", el("pre", again.command), class_="box", tabindex="0")
    if again.file:
        yield el("p", "With this file as ", el("code", again.file), ":", class_="small")
        yield el("div", el("pre", again.content), class_="box", tabindex="0")
    yield el("h2", "Circumstances")
    yield el("details", el("summary", "Machine and versions"), _facts(_flat(record.environment)))
    yield el("details", el("summary", "Load"), _facts(record.load))
    yield el("details", el("summary", "Engine settings"), el("div", el("pre", _settings(record.config)), class_="box"))


def _settings(config: Mapping[str, Any]) -> str:
    if config and all(isinstance(section, dict) for section in config.values()):
        return to_toml(config).strip()
    return json.dumps(config, indent=1, ensure_ascii=False)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Tables in a table, such as versions by package, one level up."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found


def _facts(values: Mapping[str, Any]) -> Markup:
    rows = [el("tr", el("th", name.replace("_", " "), scope="row"), el("td", _fact(value))) for name, value in values.items()]
    return el("div", el("table", el("tbody", rows)), class_="box")


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float | str) else json.dumps(value, ensure_ascii=False)
