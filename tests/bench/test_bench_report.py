"""A report says what its record says, whatever that is, and needs nothing but itself."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.certificate import Certificate
from bench.cli import app
from bench.engineproc import read_config
from bench.load import Load
from bench.report import charts as drawing
from bench.report.charts import charts
from bench.report.html import ReportError, check_available, page, read_peers, write_html
from bench.report.markup import el
from bench.report.record import Record, RecordError, read_record
from bench.report.repeat import repeat
from bench.scenario import OPEN_LIMITS, read_scenario

VOID = {"meta", "br", "hr", "img", "input", "link"}
NASTY = "<script>alert('毒')</script>\"&'</style><!-- ]]>"
CHART_BYTES_MAX = 40_000


def sections(**more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    common: dict[str, dict[str, Any]] = {
        "edge": {"host": "127.0.0.1", "port": 0, "compression": False},
        "limits": dict(OPEN_LIMITS),
    }
    return common | {"log": {"level": "warning"}} | more


def windows(count: int) -> list[dict[str, float]]:
    """Every seventh has no deliveries and is missing, as in a record."""
    return [
        {"second": n - 0.25, "deliveries": 4000 + n, "p50_ms": 30 + n % 5, "p99_ms": 80 + n % 9, "max_ms": 90.0 * (1 + n % 3)}
        for n in range(count)
        if n % 7 != 3
    ]


def samples(count: int) -> list[dict[str, float]]:
    return [
        {
            "second": n / 2,
            "engine_cpu_share": 0.5 + n % 3 / 10,
            "engine_memory_bytes": 50_000_000 + 1000 * n,
            "generator_cpu_share": 0.25,
            "deliveries": 2000 * n,
        }
        for n in range(count)
    ]


def distribution() -> list[tuple[float, float]]:
    shares = [round(1 - 10 ** (-5 * point / 60), 6) for point in range(60)] + [1.0]
    return [(share, round(20 + 30 * -math.log10(1.00001 - share), 3)) for share in shares]


def record(**changes: Any) -> Record:
    """As a run of `steady` with three rounds leaves it."""
    scenario = read_scenario("steady")
    figures = {
        "messages_sent": 1000,
        "deliveries": 500_000,
        "frames": 40_000,
        "deliveries_per_second": 50_000.5,
        "latency_p50_ms": 31.25,
        "latency_p99_ms": 88.0,
        "engine_cpu_us_per_frame": 9.5,
        "engine_memory_bytes": 50_835_456,
        "frames_per_core_second": 105_263.0,
        "generator_busy": 0.4,
    }
    values: dict[str, Any] = {
        "scenario": "steady",
        "viewers": 500,
        "text": scenario.text,
        "load": asdict(scenario.load),
        "config": sections(**scenario.sections),
        "figures": figures,
        "rounds": [{name: value * factor for name, value in figures.items()} for factor in (1, 1.1, 0.9)],
        "certificate": Certificate(expected=500_000, delivered=500_000, connections=500, connections_closed=500),
    }
    return Record(**values | changes)


def drawn(**changes: Any) -> Record:
    """One with everything that there is a picture of."""
    curves = {"latency_curve": distribution(), "lag_curve": distribution(), "windows": windows(40), "samples": samples(60)}
    return record(**curves | changes)


def failed(*faults: str) -> Certificate:
    return Certificate(expected=10, delivered=9, lost=1, fault_counts={"lost": 30}, faults=list(faults))


class Strict(HTMLParser):
    """Fails on a tag that is not closed, or closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.names: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []

    def note(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} has a handler {name}"
            if name == "id":
                self.names.append(value or "")
            if name in ("src", "href", "xlink:href", "action"):
                self.references.append(value or "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def parsed(text: str) -> Strict:
    found = Strict()
    found.feed(text)
    found.close()
    assert not found.open
    return found


def peers() -> dict[str, Any]:
    verdict = {"status": "verified", "common_order": True, "faults": []}
    burst = {
        "frames_per_core_second": 30_000.0,
        "deliveries_per_core_second": 3e6,
        "cpu_us_per_delivery": 0.33,
        "seconds": 0.02,
        "bytes_per_delivery": 128.0,
        "generator_busy": 0.95,
        "engine_factor": 1.0,
        "verdict": verdict,
    }
    slow = {"slow": 1, "messages": 700, "lost": 600, "admitted": 600, "closed": 0, "memory_growth_bytes": 9, "verdict": verdict}
    return {
        "viewers": 200,
        "messages": 100,
        "rounds": 2,
        "body_bytes": 100,
        "peers": [
            {"name": "roomcast", "status": "done", "unbatched": burst, "batched": burst, "slow": slow, "join_cpu_us": 100.0},
            {"name": NASTY, "status": "not installed", "note": NASTY, "link": "javascript:alert(1)", "unbatched": None},
            {
                "name": "half",
                "status": "failed",
                "note": "it fell over",
                "unbatched": burst | {"seconds": None},
                "batched": "?",
            },
            "no peer at all",
        ],
    }


# -- the page ------------------------------------------------------------------------------------------------------------


def test_a_page_is_well_formed_and_needs_nothing_else() -> None:
    limit = record(scenario="limit", figures={"limit_us_per_frame": 8.0, "engine_cpu_us_per_frame": 9.0})
    text = page(drawn(), limit=limit, peers=peers())
    found = parsed(text)
    assert not re.search(r"(?:https?:)?//", re.sub(r"<title>.*?</title>", "", text)), "something is loaded from elsewhere"
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(found.tags)
    assert all(reference.startswith("#") for reference in found.references)
    assert {reference[1:] for reference in found.references} <= set(found.names)
    assert len(found.names) == len(set(found.names)), "two parts of pictures have one name"
    assert "@import" not in text
    assert found.tags.count("svg") == 6
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_the_verdict_comes_first() -> None:
    text = parsed(page(drawn())).text
    assert text.index("Verified: every delivery accounted for.") < text.index("Headline figures") < text.index("Charts")
    assert "500,000 of 500,000 expected deliveries arrived" in text
    assert "bottleneck" not in text


def test_a_failure_shows_every_fault_that_the_record_has() -> None:
    text = page(record(certificate=failed("lost: viewer 3 has not 7…9", NASTY)))
    found = parsed(text)
    assert "Verification failed: lost 30" in found.text
    assert "verdict bad" in text
    assert "the first 2 of 30" in found.text
    assert "lost: viewer 3 has not 7…9" in found.text
    assert "Verified" not in found.text


def test_an_interrupted_run_says_so() -> None:
    text = page(record(partial=True, figures={}, rounds=[]))
    assert "Interrupted: a partial result, not verified." in text
    assert "verdict warn" in text
    assert "Verified:" not in text
    assert "<svg" not in text


def test_a_generator_at_its_end_is_told_in_red() -> None:
    text = page(record(bottleneck=True, figures={"generator_busy": 0.97}))
    assert "warning bad" in text
    assert "The generator was the bottleneck (busy 97%)." in text
    assert "The generator was the bottleneck." in page(record(bottleneck=True, figures={}))


def test_whatever_a_record_says_is_text() -> None:
    nasty = record(
        scenario=NASTY,
        text=NASTY,
        certificate=failed(NASTY),
        notes=[NASTY],
        began=NASTY,
        load={"seed": NASTY, "kinds": {NASTY: NASTY}, NASTY: NASTY},
        config={"edge": {NASTY: NASTY}, NASTY: NASTY},
        environment={NASTY: NASTY, "versions": {NASTY: [NASTY]}},
    )
    found = parsed(page(nasty, peers=peers()))
    assert "script" not in found.tags
    assert found.tags.count("style") == 1
    assert "<script>alert('毒')</script>" in found.text


def test_chinese_text_and_emoji_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "报告.html"
    write_html(record(text="弹幕“你好，世界”🎉", certificate=failed("丢失：第 3 位观众", "half a pair: \ud83c")), file)
    text = file.read_text(encoding="utf-8")
    assert "弹幕“你好，世界”🎉" in text
    assert "丢失：第 3 位观众" in text
    assert "Noto Sans CJK SC" in text


def test_rounds_are_told_with_their_spread() -> None:
    text = parsed(page(record())).text
    assert "medians of 3 rounds" in text
    assert "latency p50, ms 31.25 28.12 34.38 20.0% 31.25 34.38 28.12" in text
    assert "Spread" not in parsed(page(record(rounds=[{}]))).text


def test_what_failed_meanwhile_is_told_with_its_recovery() -> None:
    told = {"kind": "edge", "what": f"edge {NASTY}", "second": 12.5, "recovery_seconds": 0.75}
    text = page(record(faults=[told, told | {"recovery_seconds": 91.25}]))
    assert "2 faults in a row" in text
    assert NASTY not in text
    assert re.findall(r"(12\.5|0\.75|91\.25)</td>", text) == ["12.5", "0.75", "12.5", "91.25"]
    assert "faults in a row" not in page(record())


def test_every_figure_is_in_the_table() -> None:
    found = parsed(page(record())).text
    assert "engine memory, bytes 50,835,456 engine_memory_bytes" in found


def test_the_limit_stands_beside_the_run() -> None:
    limit = record(scenario="limit", figures={"limit_us_per_frame": 8.0, "engine_cpu_us_per_frame": 9.0})
    text = parsed(page(record(), limit=limit)).text
    assert "bare send loop 8 125,000 1.00" in text
    assert "engine's fan-out, same sockets in turn 9 111,111 1.12" in text
    assert "engine in steady, all its CPU 9.5 105,263 1.19" in text
    assert "Caution" not in text
    elsewhere = record(figures=limit.figures, environment={"kernel": "7"}, certificate=failed())
    assert parsed(page(record(), limit=elsewhere)).text.count("Caution") == 2
    assert "bare send loop" in parsed(page(limit)).text


def test_peers_are_told_as_far_as_they_are_known() -> None:
    text = parsed(page(record(), peers=peers())).text
    assert "roomcast 30,000 3,000,000 0.33 20* 128 1 verified" in text
    assert "600 of 700, is told" in text
    assert "failed: it fell over" in text
    assert f"not installed: {' '.join(NASTY.split())}" in text


def test_only_a_peers_file_is_read_as_one(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    for wrong in ("", "[]", "{}", '{"peers": 3}'):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(ReportError, match=r"peers\.json"):
            read_peers(file)
    file.write_text(json.dumps(peers()), encoding="utf-8")
    assert read_peers(file) == peers()


# -- pictures ------------------------------------------------------------------------------------------------------------


def test_pictures_are_small_and_take_the_pages_colours_and_fonts() -> None:
    longest = drawn(windows=windows(120), samples=samples(240))
    for chart in charts(longest):
        assert len(chart.svg) < CHART_BYTES_MAX, chart.title
        assert "var(--first)" in chart.svg
        assert "var(--sans)" in chart.svg
        assert not re.search(r"#[0-9a-f]{6}\b|DejaVu", chart.svg), "a colour or font of its own"
        assert "<text" in chart.svg
        parsed(chart.svg)


def test_axes_say_what_they_are_with_separated_thousands() -> None:
    found = {chart.title: parsed(chart.svg).text for chart in charts(drawn())}
    assert "deliveries per second" in found["Throughput over time"]
    assert "4,000" in found["Throughput over time"]
    assert "99.9 %" in found["Latency by percentile"]
    assert "latency, ms" in found["Latency over time"]
    assert "memory, MB" in found["Engine memory over time"]
    assert list(found) == [
        "Latency over time",
        "Latency by percentile",
        "Throughput over time",
        "CPU over time",
        "Engine memory over time",
        "Lag between viewers",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"windows": windows(1), "samples": samples(1)},
        {"windows": windows(2), "samples": samples(2), "figures": {}},
        {"latency_curve": [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]},
        {"latency_curve": [(1.0, 3.0)]},
        {"latency_curve": [(0.0, 1e7), (0.9, 1e9), (1.0, 1e12)]},
        {"windows": [{"second": 1.0, "deliveries": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}] * 2},
        {"windows": [{"second": math.nan, "deliveries": 1, "p50_ms": 1, "p99_ms": 1, "max_ms": math.inf}, {"second": 1}]},
        {"samples": [dict.fromkeys(samples(1)[0], 0.0)] * 2},
    ],
)
def test_curves_that_are_empty_short_or_strange_do_not_break_a_page(changes: dict[str, Any]) -> None:
    parsed(page(record(**changes)))


def test_what_is_missing_is_told_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_available()
    check_available(tmp_path / "report.html")
    with pytest.raises(ReportError, match="cannot be written"):
        check_available(tmp_path / "nowhere" / "report.html")
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    with pytest.raises(ReportError, match=r"pip install 'roomcast\[bench\]'"):
        check_available()


@settings(deadline=None)
@given(st.text(), st.text())
def test_markup_cannot_be_broken_out_of(text: str, attribute: str) -> None:
    found = Strict()
    found.feed(el("p", text, el("b", [text, None]), title=attribute))
    found.close()
    assert found.tags == ["p", "b"]
    assert not found.open


# -- again ---------------------------------------------------------------------------------------------------------------


def test_a_command_repeats_the_run_with_what_deviates() -> None:
    plain = record(rounds=[])
    assert repeat(plain).command == "roomcast-bench run steady"
    changed = plain.load | {"viewers": 7, "kinds": {"comment": 0.7, "like": 0.3}, "alone": not plain.load["alone"], "rate": 2.5}
    assert plain.load["alone"] is False
    words = shlex.split(repeat(record(load=changed)).command)
    assert words[:3] == ["roomcast-bench", "run", "steady"]
    options = " ".join(words[3:])
    assert options == "--viewers 7 --rate 2.5 --kinds comment=0.7,like=0.3 --alone --rounds 3"


def test_settings_of_the_operator_are_a_file_beside_the_command(tmp_path: Path) -> None:
    config = sections(room={"lag_seconds": 3.0})
    config["edge"]["compression"] = "never"
    again = repeat(record(config=config, rounds=[]))
    assert again.command == "roomcast-bench run steady --config engine.toml"
    file = tmp_path / again.file
    file.write_text(again.content, encoding="utf-8")
    assert read_config(file) == {"edge": {"compression": "never"}, "room": {"lag_seconds": 3.0}}


def test_a_scenario_of_ones_own_is_written_out_as_it_was_played(tmp_path: Path) -> None:
    load = asdict(Load(viewers=3, kinds={"like": 1.0}, codec="json", alone=True))
    again = repeat(
        record(scenario="自己的", text='says "all"', load=load, config=sections(room={"lag_seconds": 3.0}), rounds=[])
    )
    assert shlex.split(again.command) == ["roomcast-bench", "run", "./自己的.toml"]
    file = tmp_path / again.file
    file.write_text(again.content, encoding="utf-8")
    scenario = read_scenario(str(file))
    assert asdict(scenario.load) == load
    assert scenario.text == 'says "all"'
    assert scenario.sections == {"room": {"lag_seconds": 3.0}}


def test_the_limit_is_repeated_by_its_own_command() -> None:
    load = asdict(Load(viewers=50, seed=4)) | {"frame_bytes": 300, "rounds": 9}
    again = repeat(record(scenario="limit", viewers=50, load=load, config=sections()))
    assert again.command == "roomcast-bench limit --viewers 50 --frame-bytes 300 --rounds 9 --processes 0 --seed 4"


def test_the_command_of_every_record_is_one_that_the_program_takes() -> None:
    load = record().load | {"viewers": 7, "kinds": {"like": 1.0}, "compression": True, "storm_share": 0.25}
    words = shlex.split(repeat(record(load=load)).command)
    # Something that ends the program after it has read its options, before it runs anything.
    result = CliRunner().invoke(app, [*words[1:], "--senders", "none"])
    assert "none" in str(result.exception)
    assert "senders" in str(result.exception)


# -- the record's file ---------------------------------------------------------------------------------------------------

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=30, deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8")),
    figures=st.dictionaries(st.sampled_from(sorted(record().figures)), NUMBERS),
    curve=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3),
    partial=st.booleans(),
    faults=st.lists(st.text(st.characters(codec="utf-8")), max_size=2),
)
def test_a_record_written_and_read_is_written_alike(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    figures: dict[str, float],
    curve: list[tuple[float, float]],
    partial: bool,
    faults: list[str],
) -> None:
    file = tmp_path_factory.mktemp("records") / "record.json"
    certificate = Certificate(fault_counts={"lost": len(faults)} if faults else {}, faults=faults)
    made = drawn(text=text, figures=figures, latency_curve=curve, partial=partial, certificate=certificate)
    made.write(file)
    once = json.loads(file.read_text(encoding="utf-8"))
    found = read_record(file)
    assert found.verified == made.verified
    found.write(file)
    assert json.loads(file.read_text(encoding="utf-8")) == once


def test_only_a_record_is_read_as_one(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    record().write(file)
    whole = json.loads(file.read_text(encoding="utf-8"))
    for wrong in ("", "[]", "{}", json.dumps(whole | {"version": 0}), json.dumps(whole | {"certificate": 3})):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(RecordError, match=r"record\.json"):
            read_record(file)
