"""How a load is played: engine, joins, phases, certificate, and the same again for further rounds.

Owns the order of phases that follows from a load's fields, and the settings every run needs. Must not know processes or
sockets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from statistics import median
from typing import Any, Final

from bench.audience import Audience
from bench.backend.play import publish
from bench.children import ChildError
from bench.engineproc import ENGINE, HOSTED, EngineError, Sections, merge
from bench.faults import Faults, possible
from bench.generator.sender import Plan
from bench.load import Load, LoadError
from bench.money import give, rush
from bench.postgresproc import PostgresError
from bench.preflight import facts, problems, workers_for
from bench.redisproc import RedisError
from bench.report.record import Record, together
from bench.report.show import Show
from bench.scenario import Scenario, common_sections
from bench.site import Site
from bench.stage import Phase, Stage

__all__ = ["once", "play"]

COUNTERS_SECONDS: Final = 5.0
"""After the last viewer has joined a huge room, a batch with nothing but their number goes out within this time. It is not
part of a burst."""
LAG_SLACK: Final = 1.5
"""So much longer than the lag limit a viewer stops, so that the engine must act."""
RESERVE_SECONDS: Final = 0.5
SLOW_BUFFER: Final = 4096
BUFFERS_SENT: Final = 4
"""A stopped reader gets at least so many times what the kernel can hold for it, so that the engine must notice."""
TEXT_BYTES: Final = 48
"""Of a comment as people write it, on average, with what the generator puts before it."""
ENDLESS: Final = 1_000_000_000
"""Messages of a schedule that is ended by a word."""
VISITS_SHOWN: Final = 100_000
"""Visits a minute for which the share of a core is told."""
SPARE_VIEWERS: Final = 0.97
"""Share of the engine's places that a shrunken load fills."""


def play(scenario: Scenario, config: Sections, command: tuple[str, ...], show: Show, rounds: int = 1) -> Record:
    """Run a scenario from start to verdict, each round with a fresh engine. Ctrl-C yields a partial record.

    :param config: settings from the operator's file; they win over the scenario's.
    :param command: starts the engine.
    :raises EngineError: the engine did not start, or died.
    :raises LoadError: this machine cannot hold the load.
    """
    machine = facts()
    load = scenario.load
    if load.hosted == "uvicorn" and command == ENGINE:
        command = HOSTED
    if load.workers < 0:
        load = replace(load, workers=workers_for(-(-load.everybody // load.nodes), machine))
    if found := problems(load, machine):
        raise LoadError("\n".join(found))
    sections = merge(common_sections(load), scenario.sections, config)
    if load.faults and (missing := sorted(set(load.fault_kinds) - set(possible(load)))):
        raise LoadError(f"fault_kinds: {', '.join(missing)} need workers, several nodes or another broker")
    if load.shrink:
        load = _shrunken(load, sections, command, show)
    records: list[Record] = []
    for number in range(rounds):
        if rounds > 1:
            show.line(f"round {number + 1} of {rounds}")
        records.append(_round(replace(scenario, load=load), sections, command, show))
        if not records[-1].verified:
            break
    return together(records)


def _shrunken(load: Load, sections: Sections, command: tuple[str, ...], show: Show) -> Load:
    """As many of the rooms as the engine has places for."""
    with Site(load, sections, command) as site:
        places = int(site.viewers_max * SPARE_VIEWERS)
    if not places or load.everybody <= places:
        return load
    rooms = max(1, places // load.viewers)
    show.line(f"the engine has {places:,} places: {rooms:,} rooms of {load.viewers:,} instead of {load.rooms:,}")
    return replace(load, rooms=rooms)


def _round(scenario: Scenario, sections: Sections, command: tuple[str, ...], show: Show) -> Record:
    load = scenario.load
    alone: Record | None = None
    if load.alone and load.viewers > 1:
        show.line("first the same with one viewer in each room, to know what a further one costs")
        alone = once(replace(scenario, load=replace(load, viewers=1, senders=1)), sections, command, show)
        if not alone.verified:
            return alone
    record = once(scenario, sections, command, show)
    if alone is not None:
        _net(record, alone)
    return record


def once(scenario: Scenario, sections: Sections, command: tuple[str, ...], show: Show) -> Record:
    """One engine, one load, one record.

    :param sections: all settings of the engine.
    """
    load = scenario.load
    record = Record(
        scenario=scenario.name,
        text=scenario.text,
        viewers=Audience(load).everybody,
        load=asdict(load),
        config=sections,
    )
    with Stage(load, record, sections, command, show) as stage:
        try:
            stage.join()
            _speak(stage)
            stage.finish()
        except (ChildError, EngineError, RedisError, PostgresError, KeyboardInterrupt) as error:
            stage.broken(error)
    return record


def _net(record: Record, alone: Record) -> None:
    """The cost of the frames that the additional viewers got, free of what one comment costs anyway."""
    more = record.figures["frames"] - alone.figures["frames"]
    cpu = record.figures["engine_cpu_seconds"] - alone.figures["engine_cpu_seconds"]
    record.set(
        engine_cpu_us_per_further_frame=cpu * 1e6 / more if more > 0 else None,
        engine_cpu_us_per_message_alone=alone.figures.get("engine_cpu_us_per_message"),
    )


def _speak(stage: Stage) -> None:
    load = stage.load
    if load.speech == "silence":
        if load.seconds:
            stage.idle(load.seconds)
        return
    if load.speech == "burst":
        time.sleep(COUNTERS_SECONDS)
    if load.speech == "visits":
        _be_visited(stage)
        return
    if load.speech == "reports":
        _report(stage)
        return
    plan = _plan(stage)
    if load.money:
        (give if load.speech == "gifts" else rush)(stage, plan)
        return
    if load.speech == "backend":
        publish(stage, plan)
        return
    if load.faults:
        _suffer(stage, plan)
        return
    if not (load.slow_share or load.storm_share):
        stage.describe(stage.phase(load.speech, plan))
        return
    calm = stage.phase("undisturbed", plan)
    storms = _storms(load)
    slow = bool(stage.audience.slow)
    phase = stage.phase("disturbed", replace(plan, storms=storms, slow=slow), _after_slow(stage) if slow else None)
    stage.describe(phase)
    _compare(stage, phase, calm)
    if slow:
        _judge_slow(stage)


def _be_visited(stage: Stage) -> None:
    """Bare handshakes and whole visits in turn, so that what else goes on in the machine falls on both alike."""
    load = stage.load
    rate = load.rate * load.rooms
    plan = Plan(speech="visits", total=max(1, round(rate * load.seconds)), senders=(), rate=rate)
    cost: dict[bool, list[float]] = {True: [], False: []}
    for number in range(load.bursts):
        for bare in (True, False):
            phase = stage.phase(f"{'bare handshakes' if bare else 'visits'} {number + 1}", replace(plan, bare=bare))
            cost[bare].append(phase.engine_cpu * 1e6 / plan.total)
            if not bare:
                stage.describe(phase)
    beyond = median(whole - part for whole, part in zip(cost[False], cost[True], strict=True))
    stage.record.set(
        handshake_cpu_us=median(cost[True]),
        visit_cpu_us=median(cost[False]),
        presence_cpu_us=beyond,
        presence_core_share=beyond / 1e6 * VISITS_SHOWN / 60,
        visits=load.bursts * plan.total,
    )


def _report(stage: Stage) -> None:
    """Comments with everybody's reports and without in turn, so that what else goes on in the machine falls on both alike."""
    load, everybody = stage.load, stage.audience.everybody
    rate = load.rate * load.rooms
    total = max(1, round(rate * load.seconds))
    plan = Plan(speech="rate", total=total, senders=stage.audience.senders, rate=rate)
    spent: dict[bool, list[float]] = {True: [], False: []}
    for number in range(load.bursts):
        for silent in (True, False):
            label = f"{'comments' if silent else 'comments and reports'} {number + 1}"
            phase = stage.phase(label, plan if silent else replace(plan, reports=everybody / load.report_seconds))
            spent[silent].append(phase.engine_cpu / load.seconds)
            if not silent:
                stage.describe(phase)
    beyond = median(spent[False]) - median(spent[True])
    sent = stage.fleet.total("reports")
    stage.record.set(
        quality_core_share=beyond, report_cpu_us=beyond * 1e6 * load.report_seconds / everybody, reports=sent or None
    )


def _suffer(stage: Stage, plan: Plan) -> None:
    """Speak until all faults are over."""
    faults = Faults(stage.load, stage.site, stage.fleet, stage.show)

    def during() -> None:
        if not faults.play():
            stage.fail("fault", f"{faults.told[-1]['kind']} was not survived")

    stage.describe(stage.phase("faults", replace(plan, total=ENDLESS), during=during))
    times = sorted(told["recovery_seconds"] * 1000 for told in faults.told)
    stage.record.faults = faults.told
    if times:
        stage.record.set(faults=len(times), recovery_p50_ms=median(times), recovery_max_ms=times[-1])


def _plan(stage: Stage) -> Plan:
    load, senders = stage.load, stage.audience.senders
    likes = load.kinds.get("like", 0.0) / sum(load.kinds.values())
    common: dict[str, Any] = {"senders": senders, "like_share": likes, "window": load.window}
    if load.speech == "taps":
        seconds, each = round(load.seconds), max(1, round(load.rate * load.rooms / len(senders)))
        taps = each * len(senders)
        return Plan(speech="taps", total=taps * seconds, rate=taps, **common)
    if load.speech == "gifts":
        rate = load.rate * load.rooms
        return Plan(speech="gifts", total=max(1, round(rate * load.seconds)), rate=rate, **common)
    if load.speech in ("rate", "rush", "backend"):
        rate = load.rate * load.rooms
        total = max(1, round(rate * load.seconds))
        if load.slow_share and load.slow_kind == "stopped":
            # Longer than the lag limit, too: it is judged when there is something new to send.
            total = max(total, _felt(stage), round(rate * _lag_seconds(stage) * LAG_SLACK))
        return Plan(speech="rate", total=total, rate=rate, hosts=stage.audience.hosts, notices=load.notices, **common)
    total = max(len(senders), load.messages // len(senders) * len(senders))
    return Plan(speech=load.speech, total=total, bursts=load.bursts if load.speech == "burst" else 1, **common)


def _felt(stage: Stage) -> int:
    """Messages until the engine must notice that somebody does not read, whatever the kernel holds for them."""
    load = stage.load
    held = 2 * int(stage.record.config["edge"].get("send_buffer_bytes", 65_536)) + 2 * SLOW_BUFFER
    return load.rooms * -(-BUFFERS_SENT * held // (load.body_bytes or TEXT_BYTES))


def _storms(load: Load) -> tuple[tuple[float, int], ...]:
    if not load.storm_share:
        return ()
    every = load.storm_every_seconds or load.seconds / 2
    count = max(1, int((load.seconds - 0.001) / every))
    return tuple(((number + 1) * every, number) for number in range(count))


def _after_slow(stage: Stage) -> Callable[[], None]:
    """What follows a phase with slow viewers: the lag limit passes, they read again, return, and catch up."""

    def after() -> None:
        fleet, quiet = stage.fleet, _ignore
        if stage.load.slow_kind == "stopped":
            time.sleep(_lag_seconds(stage) * LAG_SLACK + RESERVE_SECONDS)
        stage.held = stage.site.sample().rss_bytes
        fleet.ask("read")
        with stage.show.task("slow ones read on", len(stage.audience.slow)) as progress:
            caught_up = fleet.wait_delivered(quiet)
            fleet.come_back(quiet)
            caught_up = fleet.wait_delivered(quiet) and caught_up
            progress(len(stage.audience.slow))
        if not caught_up:
            stage.fail("lag", "not every viewer who read on caught up")

    return after


def _lag_seconds(stage: Stage) -> float:
    return float(stage.record.config.get("room", {}).get("lag_seconds", 20.0))


def _judge_slow(stage: Stage) -> None:
    slow, met = len(stage.audience.slow), stage.fleet.total("met_policy")
    stage.record.set(slow_viewers=slow, met_lag_policy=met)
    if stage.load.slow_kind == "stopped" and met < slow:
        text = f"{met} of {slow} viewers who stopped for {_lag_seconds(stage):g} s or more met the lag policy"
        stage.fail("lag", text)


def _compare(stage: Stage, phase: Phase, calm: Phase) -> None:
    p99 = calm.tally.whole_latency().milliseconds()["p99"]
    record = stage.record
    record.set(
        calm_latency_p99_ms=p99,
        latency_p99_to_calm=record.figures["latency_p99_ms"] / p99 if p99 and "latency_p99_ms" in record.figures else None,
        engine_cpu_to_calm=phase.engine_cpu / calm.engine_cpu if calm.engine_cpu else None,
        engine_memory_growth_bytes=(stage.held or phase.after.rss_bytes) - phase.before.rss_bytes,
    )


def _ignore(_: int) -> None:
    pass
