"""How a backend is played: viewers served alone, then while it publishes in each of its ways, and alone again.

Owns the order of phases and the arithmetic from counts to figures. Must not know how anything is published.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from bench.children import Children
from bench.generator.sender import Plan

if TYPE_CHECKING:
    from bench.engineproc import Sections
    from bench.load import Load
    from bench.stage import Phase, Stage

__all__ = ["publish", "sections_for"]

ENDLESS: Final = 1_000_000_000
"""Messages of a schedule that is ended by a word."""
BATCH: Final = 100
"""Events in one request."""
KEY: Final = "rc_benchmark"
ROOM: Final = "后台 backend"
FEED: Final = "quiet"
KEPT: Final = 5_000_000
WAYS: Final = {"single": "one by one over HTTP", "batch": f"{BATCH} in a request", "socket": "over a WebSocket of its own"}
OFFERED: Final = {"single": 400.0, "batch": 20_000.0, "socket": 15_000.0}
"""Events a second while it is looked how viewers fare."""


def sections_for(load: Load) -> Sections:
    """What the engine needs for it: an API with a key, and a history that keeps all that is published."""
    key = {"name": "benchmark", "sha256": sha256(KEY.encode()).hexdigest()}
    return {
        "api": {"enabled": True, "port": 0, "requests_per_second": 1e6, "requests_burst": 1_000_000, "keys": [key]},
        "broker": {"history_events": KEPT, "history_bytes": 4 << 30, "retry_keys": 100_000},
        "feeds": {FEED: {"roles": ["host"]}},
    }


def publish(stage: Stage, plan: Plan) -> None:
    """See the module's docstring."""
    load, record = stage.load, stage.record
    # Here: a process that mints nothing does not load what it takes.
    from engine.access import mint

    token = mint(load.secret, "shop", role="server", seconds=86_400)
    share = {
        "api": stage.site.nodes[0].api,
        "viewers": stage.site.addresses[0],
        "path": record.config["edge"].get("path", "/ws"),
        "key": KEY,
        "token": token,
        "room": ROOM,
        "feed": FEED,
    }
    children = Children("bench.backend.publisher", [share])
    told: dict[str, dict[str, Any]] = {}

    def ask(do: str, **more: Any) -> Callable[[], None]:
        def during() -> None:
            told[do] = children.ask(do, **more)[0]

        return during

    def phase(label: str, during: Callable[[], None]) -> Phase:
        return stage.phase(label, replace(plan, total=ENDLESS), during=during)

    def alone() -> None:
        time.sleep(load.seconds)

    more: dict[str, dict[str, Any]] = {"single": {}, "batch": {"size": BATCH}, "socket": {"window": load.window}}
    try:
        before = phase("viewers alone", alone)
        phases = {
            way: phase(f"{text}, {OFFERED[way]:,.0f} a second", ask(way, seconds=load.seconds, rate=OFFERED[way], **more[way]))
            for way, text in WAYS.items()
        }
        after = phase("viewers alone again", alone)
        offered = dict(told)
        for way, text in WAYS.items():
            phase(f"{text}, as fast as it goes", ask(way, seconds=load.seconds, rate=0, **more[way]))
        fastest = dict(told)
        told["verify"] = children.ask("verify")[0]
    finally:
        children.close()
    stage.describe(phases["batch"])
    for answers in (offered, told):
        for do, answer in answers.items():
            for fault in [*answer.get("faults", ()), *filter(None, [answer.get("fault")])]:
                stage.fail("backend", f"{do}: {fault}")
    _describe(stage, offered, phases, before, after)
    stage.record.set(
        backend_kept=told["verify"].get("kept"),
        **{
            f"backend_{way}_per_second": answer["events"] / answer["seconds"]
            for way, answer in fastest.items()
            if "events" in answer
        },
    )


def _describe(stage: Stage, told: dict[str, dict[str, Any]], phases: dict[str, Phase], before: Phase, after: Phase) -> None:
    calm = [p99 for p99 in map(_p99, (before, after)) if p99]
    usual = sum(calm) / len(calm) if calm else None
    idle = (before.engine_cpu + after.engine_cpu) / (before.wall + after.wall)
    figures: dict[str, float | None] = {"backend_calm_p99_ms": usual}
    for way, phase in phases.items():
        answer, p99 = told[way], _p99(phase)
        if "events" not in answer:
            continue
        figures |= {
            f"backend_{way}_offered": answer["events"] / answer["seconds"],
            f"backend_{way}_p50_ms": answer["p50_ms"],
            f"backend_{way}_p99_ms": answer["p99_ms"],
            f"backend_{way}_cpu_us": (phase.engine_cpu - idle * phase.wall) * 1e6 / answer["events"],
            f"backend_{way}_latency_to_calm": p99 / usual if p99 and usual else None,
        }
    stage.record.set(**figures)


def _p99(phase: Phase) -> float | None:
    return phase.tally.whole_latency().milliseconds()["p99"]
