"""The scenarios: what each one does to a running engine and what it fills into the record.

Owns their defaults, the settings each needs, and their meaning. Must not know processes, sockets or the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bench.engineproc import Sections, merge
from bench.fleet import FleetError
from bench.report.record import Record, Show
from bench.stage import Load, Phase, Stage

__all__ = ["SCENARIOS", "Scenario", "run"]

PLENTY = 1_000_000
OPEN_LIMITS = {
    "comments_per_second": float(PLENTY),
    "comments_burst": PLENTY,
    "likes_per_second": float(PLENTY) * 1000,
    "likes_burst": PLENTY * 1000,
    "messages_per_second": float(PLENTY),
    "messages_burst": PLENTY,
}
"""What is measured is the engine, not its rate limits."""
COUNTERS_SECONDS = 5.0
"""After the last viewer has joined a huge room, a batch with nothing but their number goes out within this time. It is not
part of the burst."""
LAG_SECONDS = 3.0
RESERVE_SECONDS = 0.5
LAG_SLACK = 1.5
"""So much longer than the lag limit a viewer stops, so that the engine must act."""
RECEIVE_BUFFER = 4096
BUFFERS_SENT = 4
"""A stopped reader gets at least so many times what the kernel can hold for it, so that the engine must notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario.

    :ivar text: what it measures, one line.
    :ivar load: defaults of the command line.
    :ivar play: drives a joined-up stage and fills its record.
    :ivar sections: settings it needs beyond the common ones.
    :ivar baseline: whether the same is first run with one viewer in each room, to know what a further one costs.
    """

    text: str
    load: Load
    play: Callable[[Stage], None]
    sections: Sections = field(default_factory=dict)
    baseline: bool = False


def run(load: Load, config: Sections, command: tuple[str, ...], show: Show) -> Record:
    """Run one scenario from start to verdict. Ctrl-C yields a partial record.

    :param config: settings from the operator's file; they win over the scenario's.
    :raises EngineError: the engine did not start, or died.
    """
    scenario = SCENARIOS[load.scenario]
    common: Sections = {
        "edge": {"host": "127.0.0.1", "port": 0, "compression": load.compression},
        "limits": OPEN_LIMITS,
        "log": {"level": "warning"},
    }
    sections = merge(common, scenario.sections, config)
    alone: Record | None = None
    if scenario.baseline and load.viewers > 1:
        show.line("first the same with one viewer in each room, to know what a further one costs")
        alone = _play(replace(load, viewers=1, senders=1), sections, command, show)
        if not alone.verified:
            return alone
    record = _play(load, sections, command, show)
    if alone is not None:
        _net(record, alone)
    return record


def _play(load: Load, sections: Sections, command: tuple[str, ...], show: Show) -> Record:
    with Stage(load, sections, command, show) as stage:
        try:
            SCENARIOS[load.scenario].play(stage)
            return stage.finish()
        except (FleetError, KeyboardInterrupt) as error:
            stage.broken(error)
            return stage.record


def _net(record: Record, alone: Record) -> None:
    """The cost of the frames that the additional viewers got, free of what one comment costs anyway."""
    if record.engine_cpu_seconds is None or alone.engine_cpu_seconds is None or not record.frames or not alone.frames:
        return
    more = record.frames - alone.frames
    record.engine_cpu_us_per_further_frame = (record.engine_cpu_seconds - alone.engine_cpu_seconds) * 1e6 / more
    record.extra["one_viewer_cpu_us_per_message"] = alone.engine_cpu_us_per_message


def _per_message(stage: Stage, phase: Phase) -> None:
    if phase.accepted:
        stage.record.engine_cpu_us_per_message = phase.engine_cpu * 1e6 / phase.accepted


def burst(stage: Stage) -> None:
    """All senders speak at one instant."""
    stage.join()
    time.sleep(COUNTERS_SECONDS)
    load = stage.load
    each = max(1, load.messages // load.senders) if load.messages else 1
    phase = stage.phase("burst", mode="burst", total=each * len(stage.senders()))
    stage.describe(phase)


def steady(stage: Stage) -> None:
    """Comments at a fixed rate."""
    stage.join()
    load = stage.load
    rate = load.rate * load.rooms
    phase = stage.phase("steady", mode="steady", total=round(rate * load.seconds), rate=rate)
    stage.describe(phase)
    _per_message(stage, phase)
    stage.record.engine_cpu_share = phase.engine_cpu / phase.wall


def join(stage: Stage) -> None:
    """Everybody comes as fast as the generator can."""
    cpu = sum(status["cpu_ns"] for status in stage.fleet.ask("status"))
    before, after, seconds = stage.join()
    record = stage.record
    statuses = stage.fleet.ask("status")
    record.seconds = seconds
    record.engine_cpu_seconds = (after.cpu_ns - before.cpu_ns) / 1e9
    record.engine_cpu_share = record.engine_cpu_seconds / seconds
    record.generator_cpu_seconds = (sum(status["cpu_ns"] for status in statuses) - cpu) / 1e9
    record.generator_busy = record.generator_cpu_seconds / seconds / len(statuses)
    record.rss_bytes = stage.engine.quiet().rss_bytes
    record.rss_bytes_per_viewer = (record.rss_bytes - before.rss_bytes) / stage.load.everybody


def ingest(stage: Stage) -> None:
    """A few publishers send as much as is taken; almost no fan-out."""
    stage.join()
    load = stage.load
    total = load.messages // load.senders * load.senders
    mode = "likes" if load.likes else "comments"
    phase = stage.phase(mode, mode=mode, total=total)
    stage.describe(phase)
    if load.likes:
        stage.record.messages_sent = phase.likes_sent
        stage.record.engine_cpu_us_per_message = phase.engine_cpu * 1e6 / phase.likes_sent
        stage.record.seconds = phase.wall
        most = max(status["likes"] for status in stage.fleet.ask("status"))
        stage.record.extra["likes_counted"] = most
    else:
        _per_message(stage, phase)
        stage.record.extra["messages_per_second"] = phase.accepted / phase.seconds if phase.seconds else None


def slow(stage: Stage) -> None:
    """The same load twice: everybody reads; then some stop reading until the lag policy has dealt with them."""
    stage.join()
    load, record = stage.load, stage.record
    rate = load.rate * load.rooms
    edge = record.config["edge"]
    held = 2 * int(edge.get("send_buffer_bytes", 65_536)) + 2 * RECEIVE_BUFFER
    lag_seconds = float(record.config["room"]["lag_seconds"])
    total = max(round(rate * load.seconds), -(-BUFFERS_SENT * held // load.body_bytes))
    before = stage.phase("all read", mode="steady", total=total, rate=rate)
    rss_before = stage.engine.sample().rss_bytes
    stage.fleet.ask("pause")
    wanted = len(load.slow)

    def lag() -> bool:
        time.sleep(lag_seconds * LAG_SLACK + RESERVE_SECONDS)
        return True

    phase = stage.phase("some stopped", mode="steady", total=total, rate=rate, meanwhile=lag)
    rss_after = phase.after.rss_bytes
    stage.fleet.ask("read")
    with stage.show.task("stopped ones read on", wanted) as progress:
        caught_up = stage.fleet.wait_delivered(lambda _: None)
        stage.fleet.come_back(lambda _: None)
        caught_up = stage.fleet.wait_delivered(lambda _: None) and caught_up
        met = stage.fleet.total("met_policy")
        progress(met)
    stage.describe(phase)
    record.deliveries_expected = None
    record.extra |= {
        "slow_viewers": wanted,
        "met_lag_policy": met,
        "bytes_sent_to_each": round(phase.tally.wire_bytes / max(1, load.everybody - wanted)),
        "kernel_buffers_bytes": held,
        "latency_ms_without_slow": before.tally.latency.milliseconds(),
        "rss_before": rss_before,
        "rss_after": rss_after,
    }
    if met < wanted:
        stage.fail("lag", f"{met} of {wanted} viewers who stopped for {lag_seconds:g} s or more met the lag policy")
    if not caught_up:
        stage.fail("lag", "not every viewer who read on caught up")


def idle(stage: Stage) -> None:
    """Nobody says anything."""
    stage.join()
    record, load = stage.record, stage.load
    before = stage.engine.quiet()
    stage.fleet.ask("mark")
    old = stage.fleet.ask("status")
    steps = max(1, round(load.seconds))
    with stage.show.task("idle", steps) as progress:
        for step in range(steps):
            time.sleep(load.seconds / steps)
            progress(step + 1)
    after = stage.engine.sample()
    new = stage.fleet.ask("status")
    seconds = (after.at_ns - before.at_ns) / 1e9
    record.seconds = seconds
    record.frames = sum(status["frames"] for status in new)
    record.engine_cpu_seconds = (after.cpu_ns - before.cpu_ns) / 1e9
    record.engine_cpu_share = record.engine_cpu_seconds / seconds
    record.generator_cpu_seconds = sum(b["cpu_ns"] - a["cpu_ns"] for a, b in zip(old, new, strict=True)) / 1e9
    record.rss_bytes = after.rss_bytes
    record.rss_bytes_per_viewer = (after.rss_bytes - stage.empty.rss_bytes) / load.everybody


_LAG: dict[str, Any] = {"lag_seconds": LAG_SECONDS, "lag_policy": "skip"}

SCENARIOS: dict[str, Scenario] = {
    "burst": Scenario(
        text="senders of one room speak at one instant; first send to last receipt",
        load=Load(scenario="burst", viewers=15_000, senders=100),
        play=burst,
    ),
    "steady": Scenario(
        text="comments at a fixed rate in one room; latency from the intended send time",
        load=Load(scenario="steady", viewers=10_000, senders=100, rate=100.0, seconds=30.0),
        play=steady,
    ),
    "join": Scenario(
        text="connect, upgrade, join and snapshot as fast as possible; engine CPU and memory per viewer",
        load=Load(scenario="join", viewers=15_000, senders=1),
        play=join,
    ),
    "ingest": Scenario(
        text="a few publishers send without pause; engine CPU per comment (or like), reply included",
        load=Load(scenario="ingest", viewers=8, senders=8, messages=40_000),
        play=ingest,
    ),
    "many-rooms": Scenario(
        text="many small rooms at a fixed rate; engine CPU per frame, in all and of each further viewer",
        load=Load(scenario="many-rooms", viewers=4, rooms=4000, senders=1, rate=0.2, seconds=10.0),
        play=steady,
        baseline=True,
    ),
    "slow": Scenario(
        text="some viewers stop reading; what it costs the others, and the engine's memory",
        load=Load(scenario="slow", viewers=2_000, senders=20, rate=100.0, seconds=10.0, body_bytes=1000, slow_share=0.01),
        play=slow,
        sections={"room": _LAG},
    ),
    "idle": Scenario(
        text="silent viewers and heartbeats; engine CPU share and memory per viewer",
        load=Load(scenario="idle", viewers=15_000, senders=1, seconds=30.0),
        play=idle,
    ),
}
