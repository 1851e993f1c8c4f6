"""How money is played: a storm of gifts, a rush for a red packet; and the figures and the certificate of both.

Owns the order of their phases and the arithmetic from counts to figures. Must not know sockets, nor what adds up
(`bench.settlement`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bench.fleet import Fleet
from bench.generator.cashier import claims_begin
from bench.generator.process import room_name
from bench.generator.sender import Plan
from bench.histogram import Histogram
from bench.report.record import Record
from bench.settlement import settle
from bench.treasury import Treasury

if TYPE_CHECKING:
    from bench.stage import Phase, Stage

__all__ = ["close_books", "describe_ledger", "give", "rush"]

TIMES: Final = ("mean", "p50", "p99", "max")
"""That are known of transactions."""


def give(stage: Stage, plan: Plan) -> None:
    """Gifts at fixed intended times, until all are acknowledged, shown, and their combos over."""
    phase = stage.phase("gifts", plan)
    stage.describe(phase)
    _describe(stage, phase, plan.total)


def rush(stage: Stage, plan: Plan) -> None:
    """Comments; comments and the red packet; comments."""
    load, record = stage.load, stage.record
    before = stage.phase("before", plan)
    during = stage.phase("red packet", replace(plan, rush=True))
    after = stage.phase("after", plan)
    stage.describe(during)
    _describe(stage, during, load.claims * load.rooms)
    begins = claims_begin(load)
    # What was said during the claims has come by then, however late.
    ends = begins + load.claim_seconds + during.tally.whole_latency().high / 1e6
    calm, busy, again = (
        histogram.milliseconds()["p99"]
        for histogram in (
            before.tally.whole_latency(),
            stage.latency(during, begins, ends),
            after.tally.whole_latency(),
        )
    )
    record.set(
        before_latency_p99_ms=calm,
        rush_latency_p99_ms=busy,
        after_latency_p99_ms=again,
        rush_latency_to_before=busy / calm if busy and calm else None,
        rush_cpu_to_before=during.engine_cpu / before.engine_cpu if before.engine_cpu else None,
        claims_per_second=load.claims * load.rooms / load.claim_seconds,
    )


def _describe(stage: Stage, phase: Phase, requests: int) -> None:
    paid: Histogram = phase.paid
    found = paid.milliseconds()
    stage.record.set(
        **{f"paid_{name}_ms": found[name] for name in ("p50", "p99", "max")},
        engine_cpu_us_per_gift=phase.engine_cpu * 1e6 / requests if stage.load.speech == "gifts" else None,
        ledger_cpu_us_per_entry=phase.ledger_cpu_ns / 1e3 / paid.total if phase.ledger_cpu_ns and paid.total else None,
    )


def close_books(record: Record, fleet: Fleet, reports: Sequence[Mapping[str, Any]], treasury: Treasury) -> None:
    """The engine has stopped: the money's part of the certificate, and the figures of what was asked for.

    :param reports: of each process (`bench.generator.process.Generator.report`).
    """
    own = [report["money"] for report in reports]

    def entries_of(process: int, room: int) -> dict[int, list[int]]:
        seen = fleet.ask("entries", room=room)[process]["entries"]
        return {int(entry): facts for entry, facts in seen.items()}

    certificate = record.certificate
    money, faults = settle(own, treasury.read(), lambda room: room_name(record.load["seed"], room), entries_of)
    certificate.money = money
    for text in faults:
        certificate.add(text)
    if money.offered:
        seconds = max(report["paid_seconds"] for report in own)
        record.set(
            gifts_offered=money.offered,
            gifts_acknowledged=money.acknowledged,
            gifts_refused=sum(money.refused.values()),
            gifts_per_second=money.acknowledged / seconds if seconds else None,
            combos=money.combos,
        )
    if money.claims:
        ended = [report["emptied_ms"] for report in own if report["emptied_ms"] is not None]
        record.set(
            claims=money.claims, claims_dropped=money.claims_dropped, winners=money.winners, emptied_ms=max(ended, default=None)
        )


def describe_ledger(record: Record, lanes: Sequence[Mapping[str, Any]]) -> None:
    """Figures of what the nodes say about their ways to the ledger.

    :param lanes: fields of `engine.ledger.lane.LaneStatistics`.
    """
    booked = [lane for lane in lanes if lane["groups"]]
    if not booked:
        return
    groups = sum(lane["groups"] for lane in booked)
    times = {f"ledger_commit_{name}_ms": max(lane[f"commit_{name}_ms"] for lane in booked) for name in TIMES}
    record.set(
        ledger_groups=groups,
        ledger_group_mean=sum(lane["group_mean"] * lane["groups"] for lane in booked) / groups,
        ledger_group_max=max(lane["group_max"] for lane in booked),
        **times,
    )
