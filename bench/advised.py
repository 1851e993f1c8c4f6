"""Advice about CPU put to the test: a node that has none left is asked what to do, that is done, and the same load comes again.

Owns the order of this and the figures. Other advice is tested by counters, in the tests of `engine.advice`; of this only a
measurement can say whether it helps, so it is one. Must not know what the advice is: whatever change of the settings the node
names for the cause ``cpu`` is made.
"""

from __future__ import annotations

import time
import tomllib
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.backend.http import ApiClient
from bench.backend.play import ENDLESS, KEY, sections_for
from bench.engineproc import ENGINE, EngineError, Sections, merge
from bench.generator.sender import Plan
from bench.load import Load
from bench.report.record import Record
from bench.report.show import Show
from bench.scenario import common_sections
from bench.stage import Stage

__all__ = ["measure_advice"]

CAUSE: Final = "cpu"
ROOM_VIEWERS: Final = 20
"""Of each room. In a huge one the tick grows so that sending leaves something of the core; with many small ones it cannot."""
WARM_SECONDS: Final = 6.0
"""Until the node has seen the load for as long as advice looks back at least."""


@dataclass(slots=True)
class _Asked:
    """What a node said of itself under load.

    :ivar advice: with the cause that is tried.
    :ivar share: of a core that each of its busiest kind of processes took.
    """

    advice: list[dict[str, Any]] = field(default_factory=list)
    share: float = 0.0


def measure_advice(rooms: int, rate: float, seconds: float, show: Show) -> Record:
    """Play the load, follow the advice, play it again; fails if there is no advice, or if it does not help.

    :raises EngineError: the engine did not start, or does not with the change.
    :raises bench.children.ChildError: a generator failed.
    """
    load = Load(rooms=rooms, viewers=ROOM_VIEWERS, senders=4, rate=rate, seconds=seconds)
    sections = merge(common_sections(load), sections_for(load))
    before, first = _play(load, sections, show, "as it is")
    if not before.verified:
        return before
    changes = [change for each in first.advice for change in each["changes"] if change["where"] == "config"]
    if not changes:
        before.certificate.add(f"advice: {first.share:.0%} of a core, and nothing was advised")
        return before
    changed = sections
    for change in changes:
        show.line(f"advised: {change['setting']} = {change['to']} instead of {change['now']}")
        changed = merge(changed, tomllib.loads(f"{change['setting']} = {change['to']}"))
    after, second = _play(load, changed, show, "as advised")
    if second.share >= first.share:
        after.certificate.add(f"advice: {second.share:.0%} of a core after it, {first.share:.0%} before")
    p99 = before.figures.get("latency_p99_ms")
    after.set(
        advised_share_before=first.share,
        advised_share_after=second.share,
        advised_latency_to_before=after.figures["latency_p99_ms"] / p99 if p99 else None,
    )
    return after


def _play(load: Load, sections: Sections, show: Show, label: str) -> tuple[Record, _Asked]:
    text = "a node without CPU to spare, its own advice, and the same load after that"
    record = Record(scenario="advice", viewers=load.everybody, text=text, load=asdict(load), config=sections)
    asked = _Asked()
    with Stage(load, record, sections, ENGINE, show) as stage:
        stage.join()
        api = ApiClient(*stage.site.nodes[0].api, KEY)

        def during() -> None:
            time.sleep(WARM_SECONDS)
            then, began = _processes(api), time.monotonic()
            time.sleep(load.seconds)
            now, gone = _processes(api), time.monotonic() - began
            shares = {role: (now[role][0] - then[role][0]) / gone / now[role][1] for role in now}
            show.line(f"{label}: {', '.join(f'{role} {share:.0%} of a core each' for role, share in shares.items())}")
            asked.share = max(shares.values())
            told = api.ask("GET", f"/v1/node/advice?seconds={max(1, round(load.seconds))}")
            asked.advice = [each for each in told["advice"] if each["cause"] == CAUSE]

        rate = load.rate * load.rooms
        plan = Plan(speech="rate", total=ENDLESS, senders=stage.audience.senders, rate=rate)
        stage.describe(stage.phase(label, plan, during=during))
        api.close()
        stage.finish()
    return record, asked


def _processes(api: ApiClient) -> dict[str, tuple[float, int]]:
    """CPU seconds of a node's processes and how many there are, by their kind."""
    processes = api.ask("GET", "/v1/node")["statistics"]["process"]
    if not processes:
        raise EngineError("the node says nothing of its processes")
    return {role: (each["cpu_seconds"], each["processes"]) for role, each in processes.items()}
