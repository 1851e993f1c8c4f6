"""A regression is found where there is one, and only there."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner, Result

from bench.certificate import Certificate
from bench.load import Load
from bench.report.command import compare_command, report_command, show_comparison
from bench.report.compare import CompareError, Comparison, bounds, compare
from bench.report.record import FIGURES, Record

JUDGED = [name for name, figure in FIGURES.items() if figure.better]
OPPOSITE = {"better": "worse", "worse": "better", "same": "same"}
ENVIRONMENT = {"kernel": "6.1", "cores": 2, "versions": {"trio": "0.35"}}

app = Typer()
app.command("compare")(compare_command)
app.command("report")(report_command)


def record(*rounds: dict[str, float], **changes: Any) -> Record:
    names = [name for name in FIGURES if all(name in figures for figures in rounds)]
    values: dict[str, Any] = {
        "scenario": "burst",
        "viewers": 100_000,
        "load": asdict(Load(viewers=100_000)),
        "figures": {name: median(figures[name] for figures in rounds) for name in names},
        "rounds": list(rounds),
        "environment": ENVIRONMENT,
    }
    return Record(**values | changes)


def latencies(*values: float, **changes: Any) -> Record:
    return record(*({"latency_p99_ms": value} for value in values), **changes)


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {change.name: change.verdict for change in comparison.changes}


VALUES = st.floats(min_value=-1e12, max_value=1e12).map(lambda value: round(value, 3))
ROUNDS = st.lists(st.fixed_dictionaries(dict.fromkeys(JUDGED[:12], VALUES)), min_size=1, max_size=7)
TOLERANCES = st.floats(min_value=0, max_value=3)


@settings(deadline=None)
@given(ROUNDS, TOLERANCES)
def test_a_record_never_regresses_against_itself(rounds: list[dict[str, float]], tolerance: float) -> None:
    comparison = compare(record(*rounds), record(*rounds), tolerance)
    assert not comparison.regressed
    assert set(verdicts(comparison).values()) == {"same"}


@settings(deadline=None)
@given(ROUNDS, ROUNDS, TOLERANCES)
def test_exchanging_the_records_exchanges_better_and_worse(
    some: list[dict[str, float]], others: list[dict[str, float]], tolerance: float
) -> None:
    forth = verdicts(compare(record(*some), record(*others), tolerance))
    back = verdicts(compare(record(*others), record(*some), tolerance))
    assert {name: OPPOSITE[verdict] for name, verdict in forth.items()} == back


@settings(deadline=None)
@given(
    st.sampled_from(JUDGED),
    st.floats(min_value=1e6, max_value=1e9),
    st.lists(st.floats(min_value=0.9, max_value=1.1), min_size=1, max_size=9),
    st.lists(st.floats(min_value=0.9, max_value=1.1), min_size=1, max_size=9),
)
def test_twice_as_bad_is_found_in_every_figure(name: str, value: float, some: list[float], others: list[float]) -> None:
    factor = 2 if FIGURES[name].better == "lower" else 0.5
    before = record(*({name: value * noise} for noise in some))
    after = record(*({name: value * factor * noise} for noise in others))
    assert compare(before, after, 0.1).regressed
    assert verdicts(compare(after, before, 0.1)) == {name: "better"}


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=60))
def test_bounds_hold_the_median_and_lie_among_the_values(values: list[float]) -> None:
    found = bounds(values)
    assert (found is None) == (len(values) < 3)
    if found is not None:
        assert set(found) <= set(values)
        assert found[0] <= median(values) <= found[1]


@pytest.mark.parametrize(("count", "place"), [(3, 0), (5, 0), (6, 0), (8, 0), (9, 1), (10, 1), (15, 3), (25, 7)])
def test_bounds_are_those_of_the_tables_of_order_statistics(count: int, place: int) -> None:
    assert bounds(list(range(count))) == (place, count - 1 - place)


def test_worse_is_beyond_tolerance_and_noise_and_what_the_unit_can_tell() -> None:
    def reason(before: Record, after: Record, tolerance: float = 0.1) -> str:
        (change,) = compare(before, after, tolerance).changes
        return change.reason if change.verdict == "same" else change.verdict

    assert reason(latencies(50), latencies(54)) == "tolerance"
    assert reason(latencies(50), latencies(56)) == "worse"
    assert reason(latencies(50), latencies(56), 0.2) == "tolerance"
    assert reason(latencies(50), latencies(45)) == "better"
    assert reason(latencies(40, 50, 60), latencies(55, 65, 75)) == "noise"
    assert reason(latencies(48, 50, 52), latencies(63, 65, 67)) == "worse"
    assert reason(latencies(0.1), latencies(0.2)) == "too small"
    assert reason(latencies(0.0), latencies(2.0)) == "worse"
    assert reason(record({"engine_cpu_share": 0.001}), record({"engine_cpu_share": 0.004})) == "too small"
    assert reason(record({"engine_bytes_per_viewer": 1000.0}), record({"engine_bytes_per_viewer": 1200.0})) == "worse"
    few = {"viewers": 10, "load": asdict(Load(viewers=10))}
    before, after = (record({"engine_bytes_per_viewer": value}, **few) for value in (1000.0, 1200.0))
    assert reason(before, after) == "too small"


def test_throughput_and_its_time_are_judged_alike() -> None:
    for slower in (1.05, 1.09, 1.11, 1.3):
        slow = verdicts(compare(record({"join_seconds": 10.0}), record({"join_seconds": 10 * slower}), 0.1))
        few = verdicts(compare(record({"joins_per_second": 10.0}), record({"joins_per_second": 10 / slower}), 0.1))
        assert list(slow.values()) == list(few.values())


def test_changes_are_shares_of_the_first_with_bounds_from_both() -> None:
    (change,) = compare(latencies(90, 100, 110), latencies(108, 120, 132), 0.1).changes
    assert change.change == pytest.approx(0.2)
    assert change.change_bounds == pytest.approx((108 / 110 - 1, 132 / 90 - 1))
    growth = [record(*({"engine_memory_growth_bytes": value * 1e6} for value in values)) for values in ((-1, 1, 3), (4, 5, 6))]
    (change,) = compare(growth[0], growth[1], 0.1).changes
    assert change.change_bounds == pytest.approx((1.0, 7.0))
    (change,) = compare(latencies(0), latencies(9), 0.1).changes
    assert change.change is None
    assert change.change_bounds is None


def test_without_rounds_it_says_that_there_are_no_bounds() -> None:
    assert any("--rounds 5" in line for line in compare(latencies(5), latencies(5, 6, 7), 0.1).warnings)
    assert not any("--rounds 5" in line for line in compare(latencies(5, 6, 7), latencies(5, 6, 7), 0.1).warnings)


def test_different_loads_are_refused_unless_forced() -> None:
    before = latencies(50)
    other = replace(before, viewers=5, load=before.load | {"viewers": 5, "seed": 9})
    with pytest.raises(CompareError) as caught:
        compare(before, other, 0.1)
    assert "viewers: 100000 and 5" in str(caught.value)
    assert "seed: 1 and 9" in str(caught.value)
    assert "seed: 1 and 9" in compare(before, other, 0.1, force=True).warnings
    with pytest.raises(CompareError, match="scenario: burst and soak"):
        compare(before, replace(before, scenario="soak"), 0.1)


def test_a_field_that_an_older_record_lacks_is_as_it_is_by_default() -> None:
    before = latencies(50)
    older = replace(before, load={name: value for name, value in before.load.items() if name != "workers"})
    assert not compare(older, before, 0.1).warnings[:-1]
    with pytest.raises(CompareError, match="workers: 0 and 3"):
        compare(older, replace(before, load=before.load | {"workers": 3}), 0.1)


def test_different_machines_and_settings_are_a_warning() -> None:
    before = latencies(50, config={"room": {"tick_ms": 50}})
    after = latencies(50, config={"room": {"tick_ms": 20}}, environment=ENVIRONMENT | {"versions": {"trio": "0.36"}})
    found = compare(before, after, 0.1)
    assert "different versions.trio: 0.35 and 0.36" in found.warnings
    assert "different setting room.tick_ms: 50 and 20" in found.warnings
    assert not found.failed


def test_only_verified_runs_are_accepted() -> None:
    sound, broken = latencies(50), latencies(50, certificate=Certificate(fault_counts={"lost": 1}))
    assert compare(sound, broken, 0.1).failed
    assert "B failed its verification" in compare(sound, broken, 0.1).warnings
    found = compare(broken, sound, 0.1)
    assert not found.failed
    assert "A failed its verification" in found.warnings
    assert compare(sound, latencies(50, partial=True), 0.1).failed
    saturated = compare(sound, latencies(50, bottleneck=True), 0.1)
    assert any("B: the generator was the bottleneck" in line for line in saturated.warnings)


def test_chosen_figures_are_judged_and_no_others() -> None:
    before, after = (record({"latency_p99_ms": value, "join_seconds": value, "frames": value}) for value in (50.0, 100.0))
    assert list(verdicts(compare(before, after, 0.1, ["join_seconds"]))) == ["join_seconds"]
    with pytest.raises(CompareError) as caught:
        compare(before, latencies(3), 0.1, ["latency_p98_ms", "frames", "join_seconds"])
    assert str(caught.value).splitlines() == [
        "latency_p98_ms: no such figure",
        "frames: neither more nor less of it is better",
        "join_seconds: B does not have it",
    ]
    with pytest.raises(CompareError, match="no figure in common"):
        compare(before, record({"frames": 3.0}), 0.1)
    assert any("only A has join_seconds" in line for line in compare(before, latencies(50), 0.1).warnings)


def test_what_is_no_number_is_not_judged() -> None:
    with pytest.raises(CompareError, match="no figure in common"):
        compare(latencies(50), latencies(float("nan")), 0.1)


# -- the commands --------------------------------------------------------------------------------------------------------


def run(tmp_path: Path, a: Record, b: Record, *options: str) -> Result:
    for name, each in (("a.json", a), ("b.json", b)):
        each.write(tmp_path / name)
    return CliRunner().invoke(app, ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), *options])


def test_the_command_exits_by_its_judgement(tmp_path: Path) -> None:
    good, bad = latencies(48, 50, 52), latencies(98, 100, 102)
    assert run(tmp_path, good, good).exit_code == 0
    found = run(tmp_path, good, bad)
    assert found.exit_code == 1
    assert "Regressed: latency_p99_ms" in found.output
    assert run(tmp_path, bad, good).exit_code == 0
    assert run(tmp_path, good, bad, "--tolerance", "2").exit_code == 0
    assert run(tmp_path, good, replace(good, partial=True)).exit_code == 1
    refused = run(tmp_path, good, replace(good, scenario="soak"))
    assert refused.exit_code == 2
    assert "scenario: burst and soak" in refused.output
    assert run(tmp_path, good, replace(good, scenario="soak"), "--force").exit_code == 0
    assert run(tmp_path, good, good, "--figure", "join_seconds").exit_code == 2
    (tmp_path / "c.json").write_text("{}", encoding="utf-8")
    assert CliRunner().invoke(app, ["compare", str(tmp_path / "c.json"), str(tmp_path / "a.json")]).exit_code == 2


def test_the_comparison_is_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    run(tmp_path, latencies(48, 50, 52), latencies(98, 100, 102), "--json", str(file))
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["regressed"] is found["failed"] is True
    assert found["changes"][0] | {"change_bounds": None} == {
        "name": "latency_p99_ms",
        "a": 50,
        "b": 100,
        "change": 1.0,
        "a_bounds": [48, 52],
        "b_bounds": [98, 102],
        "change_bounds": None,
        "verdict": "worse",
        "reason": "",
    }


def test_the_table_takes_no_orders_from_a_record() -> None:
    console = Console(record=True, width=120, force_terminal=False)
    nasty = latencies(50, scenario="[red]x[/nonsense]", environment={"kernel": "[/]"})
    show_comparison(console, compare(latencies(50, scenario="[red]x[/nonsense]"), nasty, 0.1))
    shown = console.export_text()
    assert "[red]x[/nonsense]: A 1 and B 1 rounds" in shown
    assert "No regression." in shown


def test_a_saved_record_becomes_a_page(tmp_path: Path) -> None:
    source, target = tmp_path / "record.json", tmp_path / "报告.html"
    latencies(50).write(source)
    made = CliRunner().invoke(app, ["report", str(source), "--html", str(target)])
    assert made.exit_code == 0
    assert "latency p99" in target.read_text(encoding="utf-8")
    for wrong in (["--limit", str(target)], ["--peers", str(source)], ["--html", str(tmp_path / "no" / "where.html")]):
        found = CliRunner().invoke(app, ["report", str(source), "--html", str(target), *wrong])
        assert found.exit_code == 2, found.output
