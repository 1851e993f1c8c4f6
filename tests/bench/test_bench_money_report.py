"""Money has a section of its own in every report, and only where there is money."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.certificate import Certificate
from bench.engineproc import merge, to_toml
from bench.report.command import show_comparison
from bench.report.compare import compare
from bench.report.html import page
from bench.report.record import Record, read_record, together
from bench.report.repeat import repeat
from bench.report.show import Show, money_rows
from bench.scenario import common_sections, read_scenario
from bench.settlement import Money

MONEY = Money(entries=12, offered=10, acknowledged=9, refused={"2": 1}, gifts=9, gifts_amount=900, combos=3)


def record(paid: float, money: Money | None = MONEY) -> Record:
    scenario = read_scenario("gift-storm" if money else "steady")
    figures = {"latency_p99_ms": 40.0} | ({"paid_p99_ms": paid, "ledger_commit_mean_ms": 4.0} if money else {})
    return Record(
        scenario=scenario.name,
        viewers=200,
        load=asdict(scenario.load),
        config=merge(common_sections(scenario.load), scenario.sections),
        figures=figures,
        rounds=[figures],
        certificate=Certificate(expected=12, delivered=12, money=money),
    )


def shown(made: Record, *, details: bool = False) -> str:
    console = Console(file=StringIO(), width=160)
    Show(console, details=details).table(made)
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert isinstance(text, str)
    return text


def test_the_terminal_shows_money_apart() -> None:
    before, _, after = shown(record(60.0)).partition("money")
    assert "latency p99" in before
    assert "asked to acknowledged p99" not in before
    assert "asked to acknowledged p99" in after
    assert "gifts refused with code 2" in after
    assert "transaction mean" not in after
    assert "transaction mean" in shown(record(60.0), details=True)
    assert "money" not in shown(record(60.0, None))


def test_the_page_shows_money_apart() -> None:
    text = page(record(60.0))
    assert "<h2>Money</h2>" in text
    assert text.count("paid_p99_ms") == 1
    assert "gifts refused with code 2" in text
    assert "Money" not in page(record(60.0, None))


def test_a_comparison_shows_money_apart_and_judges_it() -> None:
    console = Console(file=StringIO(), width=200)
    comparison = compare(record(60.0), record(90.0), 0.1)
    show_comparison(console, comparison)
    first, _, second = console.file.getvalue().partition(": money")  # type: ignore[attr-defined]  # it is a StringIO
    assert "latency p99" in first
    assert "asked to acknowledged p99" in second
    assert "Regressed: paid_p99_ms" in second
    assert comparison.regressed


@pytest.mark.parametrize("money", [MONEY, None])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, money: Money | None) -> None:
    record(60.0, money).write(tmp_path / "record.json")
    assert read_record(tmp_path / "record.json").certificate == record(60.0, money).certificate


def test_rounds_are_summed_without_changing_the_first() -> None:
    first, second = record(60.0), record(70.0)
    whole = together([first, second])
    assert whole.certificate.money is not None
    assert (whole.certificate.money.gifts, whole.certificate.money.refused) == (18, {"2": 2})
    assert second.certificate.money == MONEY
    assert whole.figures["paid_p99_ms"] == 65.0


def test_lines_without_anything_to_tell_are_left_out() -> None:
    assert [label for label, _ in money_rows(Money(gifts=1))] == ["gifts in the ledger"]


def test_a_catalogue_survives_toml_and_a_command_repeats_the_run() -> None:
    gifts = {"嘉年华🎆": {"name": "嘉年华🎆", "price": 3}, "plain": {"price": 1}}
    sections: dict[str, dict[str, object]] = {"gifts": dict(gifts), "ledger": {"spend": "free"}, "log": {}}
    assert tomllib.loads(to_toml(sections)) == sections
    assert repeat(record(60.0)).command == "roomcast-bench run gift-storm"
    other = record(60.0)
    other.config = merge(other.config, {"gifts": {"dragon": {"name": "龙", "price": 8}}})
    other.scenario = "mine"
    assert tomllib.loads(repeat(other).content)["engine"]["gifts"]["dragon"] == {"name": "龙", "price": 8}
