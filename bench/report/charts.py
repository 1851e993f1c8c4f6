"""The charts of a record as inline SVG that takes its colours and fonts from the page.

Owns what is drawn and how. Numbers are all that enters a picture: words from a record, which may say anything, never do.
matplotlib is imported when the first chart is drawn, since that takes a second.

A picture is as wide as a large phone and scaled up from there, so that its text can be read on both. Its texts stay texts,
its colours are the page's variables: one picture serves light, dark and paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from itertools import pairwise
from math import nan
from typing import TYPE_CHECKING, Any, Final

from bench.report.markup import Markup
from bench.report.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Chart", "ReportError", "available", "charts"]

SIZE: Final = (5.2, 3.0)
"""Inches of 72 units."""
INK, QUIET, GRID = "#000001", "#000002", "#000003"
FIRST, SECOND, THIRD = "#000011", "#000012", "#000013"
VARIABLES: Final = {INK: "ink", QUIET: "quiet", GRID: "grid", FIRST: "first", SECOND: "second", THIRD: "third"}
"""Colours that stand for the page's variables until the picture is drawn."""
SETTINGS: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "roomcast",
    "font.size": 12,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.5,
    "path.simplify": True,
}
NO_METADATA: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}
MARKED_MAX: Final = 40
"""Points of a line that are few enough to be shown each."""
ROOM: Final = 1.15
"""Of an axis beyond the largest value."""
LEAST_MS: Final = 0.01
"""What a logarithmic axis shows for less, and for nothing."""
LEAST_SHARE: Final = 0.1
"""The luckiest are of no interest, and would stretch a logarithmic axis down to nothing."""
NINES: Final = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


class ReportError(Exception):
    """A report cannot be made. The text says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One picture and what stands beside it.

    :ivar legend: CSS variable of the colour, and what it shows; empty where one line needs no telling.
    """

    title: str
    text: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


def available() -> None:
    """Raises `ReportError` when what draws the charts is not installed."""
    if find_spec("matplotlib") is None:
        raise ReportError("--html draws its charts with matplotlib, which is not installed: pip install 'roomcast[bench]'")


def charts(record: Record) -> list[Chart]:
    """Every chart that the record has numbers for."""
    available()
    windows = _rows(record.windows, "second", "deliveries", "p50_ms", "p99_ms", "max_ms")
    samples = _rows(record.samples, "second", "engine_cpu_share", "generator_cpu_share", "engine_memory_bytes")
    made = []
    over_time = len(windows) > 1
    if over_time:
        made.append(_latency_over_time(windows))
    if points := _points(record.latency_curve):
        text = "How long the best of all deliveries took at most. Each step to the right is ten times rarer."
        made.append(_percentiles("latency", "Latency by percentile", text, points, record.figures.get("deliveries")))
    if over_time:
        made.append(_throughput(windows))
    if len(samples) > 1:
        made += [_cpu(samples), _memory(samples)]
    if points := _points(record.lag_curve):
        text = "How long after its first viewer the others had a frame: what being last in a large room costs."
        made.append(_percentiles("lag", "Lag between viewers", text, points, record.figures.get("frames")))
    return made


# -- what is drawn -------------------------------------------------------------------------------------------------------


def _latency_over_time(windows: Sequence[tuple[float, ...]]) -> Chart:
    width = _width(windows)
    lines = ((2, FIRST, "-"), (3, SECOND, "-"), (4, THIRD, ":"))
    values = [max(LEAST_MS, row[column]) for row in windows for column, _, _ in lines]
    rows: list[tuple[float, ...]] = []
    for row in windows:
        if rows and row[0] - rows[-1][0] > 1.5 * width:
            rows.append((nan,) * len(row))
        rows.append(row)

    def draw(axes: Axes) -> None:
        seconds = [row[0] + width / 2 for row in rows]
        for column, colour, style in lines:
            # A gap is not a number, which comes out of max() only as its first argument.
            _line(axes, seconds, [max(row[column], LEAST_MS) for row in rows], color=colour, linestyle=style)
        _logarithmic(axes, values)
        axes.set(xlabel="time, s", ylabel="latency, ms")

    return Chart(
        title="Latency over time",
        text=f"From the intended send to the receipt, by windows of {width:g} s. A line is broken where nothing came.",
        svg=_picture("latency", "Latency over time", draw),
        legend=(("first", "p50"), ("second", "p99"), ("third", "max (dotted)")),
    )


def _percentiles(what: str, title: str, text: str, points: Sequence[tuple[float, float]], total: float | None) -> Chart:
    """:param total: of what is distributed; rarer than one in so many is not drawn."""
    most = max(value for _, value in points)
    rarest = 1 / total if total else 0.0
    shown = [
        (-math.log10(1 - share), max(LEAST_MS, value))
        for share, value in points
        if LEAST_SHARE <= share < 1 and 1 - share >= rarest
    ]

    def draw(axes: Axes) -> None:
        axes.axhline(max(LEAST_MS, most), color=THIRD, linestyle=":", linewidth=1.4)
        _line(axes, [x for x, _ in shown], [y for _, y in shown], color=FIRST, marker="")
        _logarithmic(axes, [y for _, y in shown] + [max(LEAST_MS, most)])
        right = max([1.0, *(x for x, _ in shown)])
        axes.set_xlim(0, right * 1.03)
        ticks = [share for share in NINES if -math.log10(1 - share) <= right * 1.01]
        axes.set_xticks([-math.log10(1 - share) for share in ticks], [f"{100 * share:.7g} %" for share in ticks])
        axes.set(xlabel="share of all", ylabel=f"{what}, ms")

    return Chart(
        title=title,
        text=text,
        svg=_picture(f"{what}-share", title, draw),
        legend=(("first", "percentile"), ("third", f"max, {_plain(round(most, 3 if most < 10 else 1))} ms (dotted)")),
    )


def _throughput(windows: Sequence[tuple[float, ...]]) -> Chart:
    width = _width(windows)
    first = windows[0][0]
    bins = [0.0] * (round((windows[-1][0] - first) / width) + 1)
    for row in windows:
        bins[round((row[0] - first) / width)] += row[1] / width
    edges = [first + width * number for number in range(len(bins) + 1)]

    def draw(axes: Axes) -> None:
        axes.stairs(bins, edges, fill=True, color=FIRST, alpha=0.3, linewidth=0)
        axes.stairs(bins, edges, color=FIRST, baseline=None)
        axes.set_ylim(bottom=0)
        _thousands(axes)
        axes.set(xlabel="time, s", ylabel="deliveries per second")

    text = f"Deliveries by windows of {width:g} s; the first and the last may be cut short."
    return Chart(title="Throughput over time", text=text, svg=_picture("throughput", "Throughput over time", draw))


def _cpu(samples: Sequence[tuple[float, ...]]) -> Chart:
    seconds = [row[0] for row in samples]

    def draw(axes: Axes) -> None:
        _line(axes, seconds, [100 * row[1] for row in samples], color=FIRST)
        _line(axes, seconds, [100 * row[2] for row in samples], color=SECOND, linestyle="--")
        axes.set_ylim(bottom=0)
        _thousands(axes)
        axes.set(xlabel="time, s", ylabel="CPU, % of one core")

    return Chart(
        title="CPU over time",
        text="Of all the engine's processes, and of all the generator's. 100 % is one core.",
        svg=_picture("cpu", "CPU over time", draw),
        legend=(("first", "engine"), ("second", "generator (dashed)")),
    )


def _memory(samples: Sequence[tuple[float, ...]]) -> Chart:
    def draw(axes: Axes) -> None:
        _line(axes, [row[0] for row in samples], [row[3] / 1e6 for row in samples], color=FIRST)
        axes.set_ylim(0, ROOM * max(row[3] / 1e6 for row in samples) or 1)
        _thousands(axes)
        axes.set(xlabel="time, s", ylabel="memory, MB")

    grown = (samples[-1][3] - samples[0][3]) / 1e6
    text = f"Resident memory of all the engine's processes; {grown:+,.1f} MB from the first to the last look."
    return Chart(title="Engine memory over time", text=text, svg=_picture("memory", "Engine memory over time", draw))


# -- numbers -------------------------------------------------------------------------------------------------------------


def _rows(found: Iterable[Mapping[str, float]], *names: str) -> list[tuple[float, ...]]:
    """The named numbers of each row that has them all, by time."""
    rows = (tuple(float(row[name]) for name in names) for row in found if all(name in row for name in names))
    return sorted(row for row in rows if all(map(math.isfinite, row)))


def _points(curve: Iterable[Sequence[float]]) -> list[tuple[float, float]]:
    points = ((float(share), float(value)) for share, value in curve)
    return sorted((share, value) for share, value in points if 0 <= share <= 1 and math.isfinite(value))


def _width(windows: Sequence[tuple[float, ...]]) -> float:
    """Seconds of a window; those without deliveries are missing, so it is the least distance."""
    steps = [later[0] - row[0] for row, later in pairwise(windows) if later[0] - row[0] > 0.001]
    return round(min(steps, default=1.0), 3)


def _plain(value: float) -> str:
    """A tick's number: thousands separated, no needless zeros, never an exponent."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")


# -- pictures ------------------------------------------------------------------------------------------------------------


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    """Points are marked where they are few, and those that stand alone, which no line shows."""
    alone = [
        place
        for place in range(len(x))
        if not any(0 <= beside < len(x) and not math.isnan(x[beside]) for beside in (place - 1, place + 1))
    ]
    marked = list(range(len(x))) if len(x) <= MARKED_MAX else alone
    axes.plot(x, y, **({"marker": "o", "markevery": marked} | style))


def _thousands(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Axis from and to a round number of the 1, 2, 5 series, with at least two of them to tell the scale."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    series = [digit * 10.0**power for power in range(-3, 10) for digit in (1, 2, 5)]
    low = max((tick for tick in series if tick <= min(values)), default=series[0])
    high = min((tick for tick in series if tick >= max(values) and tick > low), default=series[-1])
    ticks = [tick for tick in series if low <= tick <= high]
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if math.log10(tick) % 1 < 1e-9 or math.log10(tick) % 1 > 1 - 1e-9]
    axes.set_yscale("log")
    axes.set_ylim(low / 1.08, high * 1.08)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


def _picture(name: str, title: str, draw: Callable[[Axes], None]) -> Markup:
    """:param name: of this picture in the page; its parts' names begin with it."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    out = StringIO()
    with rc_context(SETTINGS):
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.subplots())
        figure.savefig(out, format="svg", transparent=True, metadata=NO_METADATA)
    return _adapted(out.getvalue(), name, title)


def _adapted(svg: str, name: str, title: str) -> Markup:
    """A picture for a file of its own → one of several in a page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    opening, _, rest = svg.partition(">")
    box = re.search(r'viewBox="[^"]*"', opening)
    rest = re.sub(r'\bid="', f'id="{name}-', rest)
    rest = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', rest).replace("url(#", f"url(#{name}-")
    rest = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", rest)
    rest = re.sub(r"(font: [^;\"']*?px) [^;\"]*", r"\1 var(--sans)", rest)
    rest = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found.group()):.2f}", rest)
    for colour, variable in VARIABLES.items():
        rest = rest.replace(colour, f"var(--{variable})")
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    return Markup(f'<svg {box.group() if box else ""} role="img" aria-label="{title}">{rest}')
