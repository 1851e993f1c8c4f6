"""Rules of advice without nodes: that each speaks when it should and says what can be done, and that none cries wolf."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.advice import Advice, Change, plain, preview
from engine.advice.bounds import power, rounded, within
from engine.advice.counters import beyond
from engine.advice.rules import RULES, STATIC
from engine.configcheck import check, value_of
from engine.configfile import SETTINGS
from engine.configvalues import read, shown
from engine.durations import BOUNDS, Durations
from engine.settings import Settings

from .looking import HEALTHY, MACHINE, ROOM, look, names

REDIS = {"redis.url": "redis://…"}
Case = tuple[str, dict[str, Any], dict[str, Any], str, list[str]]
CASES: list[Case] = [
    # rule, counters on top of a busy node's, settings, cause, what is to be changed
    (
        *("viewers_refused", {"edge.refused.503": 40, "edge.viewers_max": 5_000}, {"edge.viewers_max": 5_000}, "setting"),
        ["edge.viewers_max"],
    ),
    ("viewers_refused", {"edge.refused.503": 40}, {}, "descriptors", ["LimitNOFILE"]),
    ("address_limit", {"edge.refused.429": 40}, {}, "setting", ["edge.viewers_per_address"]),
    (
        *("listen_queue", {"edge.connections_dropped": (7, 99)}, {"edge.backlog": 2_048}, "kernel"),
        ["net.core.somaxconn", "edge.backlog"],
    ),
    ("rooms_full", {"edge.limited.room": {"viewers_max": 3}}, {"room.viewers_max": 50}, "setting", ["room.viewers_max"]),
    ("flooding", {"edge.closed.4201": 9}, {}, "setting", ["limits.messages_burst", "limits.messages_per_second"]),
    ("answers_unread", {"edge.closed.4202": 9}, {}, "setting", ["edge.private_bytes"]),
    (
        *("rate_limits", {"edge.limited.limits.comments_per_second": 9_000}, {}, "setting"),
        ["limits.comments_burst", "limits.comments_per_second"],
    ),
    ("room_rules", {"hub.refused.slow_mode": 9_000}, {"limits.slow_seconds": 9.0}, "setting", ["limits.slow_seconds"]),
    ("room_rules", {"hub.refused.slow_mode": 9_000}, {}, "product", ["room.mode(…, slow=…)"]),
    (
        *("budget", {"hub.events_withheld": 9_000}, {"limits.room_events_per_second": 50.0}, "setting"),
        ["limits.room_events_per_second"],
    ),
    (
        "budget",
        {"hub.events_withheld": 9_000, "process.node.cpu_seconds": (0, 48)},
        {"limits.room_events_per_second": 50.0},
        "cpu",
        [],
    ),
    (
        *("overload", {"edge.limited.limits.pending_events": 9}, {"limits.pending_events": 500}, "setting"),
        ["limits.pending_events"],
    ),
    ("overload", {"hub.events_overloaded": 9, "hub.publish_delays.counts.14": 900}, {}, "broker", []),
    ("overload", {"hub.events_overloaded": 9}, {}, "cpu", []),
    (
        *("send_buffers", {"edge.stalls": 900_000}, {"edge.send_buffer_bytes": 16_384}, "kernel"),
        ["edge.send_buffer_bytes"],
    ),
    (
        *("lag_policy", {"edge.lag_policies": 5}, {"room.lag_seconds": 5.0, "edge.dead_peer_seconds": 15.0}, "setting"),
        ["room.lag_seconds", "edge.dead_peer_seconds"],
    ),
    ("lag_policy", {"edge.lag_policies": 5}, {}, "last_mile", ["feeds.readable"]),
    ("lag_policy", {"edge.lag_policies": 5}, {"feeds": 1}, "last_mile", []),
    (
        *("lag_policy", {"edge.lag_policies": 5_000}, {"edge.compression": False}, "network"),
        ["edge.compression", "feeds.readable"],
    ),
    ("past_lost", {"edge.past_lost": 5}, {"broker.history_events": 100}, "setting", ["broker.history_events"]),
    (
        *("past_lost", {"edge.past_lost": 5}, {}, "setting"),
        ["broker.history_events", "broker.history_bytes", "room.log_bytes"],
    ),
    (
        "cut_off",
        {"room.viewers": 500, "room.networks.mobile.reconnects.1006": 400},
        {},
        "last_mile",
        ["room.heartbeat_seconds"],
    ),
    (
        "cut_off",
        {"room.networks.mobile.reconnects.1006": 9_000, "room.networks.203.0.0.0/16.reconnects.1006": 7_000},
        {"room.heartbeat_seconds": 10.0},
        "network",
        [],
    ),
    ("retransmissions", {"machine.retrans_segs": (0, 400_000)}, {}, "network", ["net.ipv4.tcp_congestion_control"]),
    ("uncompressed", {}, {"edge.compression": False}, "network", ["edge.compression"]),
    ("return_window", {"edge.viewers": 60_000}, {}, "setting", ["node.return_window_seconds"]),
    ("cpu", {"process.node.cpu_seconds": (0, 59)}, {}, "cpu", ["node.workers"]),
    (
        *("cpu", {"process": {"edge": {"processes": 4, "cpu_seconds": 236}}}, {"node.workers": 4}, "cpu"),
        ["room.fanout_share", "room.tick_max_seconds"],
    ),
    ("cpu", {"process": {"hub": {"processes": 1, "cpu_seconds": 59}}}, {"node.workers": 4}, "cpu", ["roomcast serve"]),
    ("throttled", {"machine.throttled_periods": (0, 300)}, {}, "cpu", ["cpu.max"]),
    ("loop", {"process.node.loop_delays.counts.12": 5}, {}, "loop", ["hooks in Python"]),
    ("broker_away", {"hub.events_failed": 5}, REDIS, "broker", ["redis.url"]),
    (
        "broker_away",
        {"hub.events_failed": 5},
        REDIS | {"redis.answer_seconds": 0.5},
        "broker",
        ["redis.answer_seconds", "redis.url"],
    ),
    ("broker_slow", {"hub.publish_delays.counts.11": 900}, REDIS, "broker", ["redis.url"]),
    (
        "broker_slow",
        {"hub.publish_delays.counts.11": 900},
        REDIS | {"redis.wait_replicas": 1},
        "broker",
        ["redis.url", "redis.wait_replicas"],
    ),
    ("ledger_away", {"hub.money.lane.failures": 3}, {}, "database", ["ledger.url"]),
    ("ledger_away", {"hub.money.lane.ledger": "disk full"}, {}, "database", ["ledger.url"]),
    (
        "ledger_groups",
        {"hub.money.lane.groups": 300, "hub.money.lane.booked": 3_000},
        {"ledger.group": 10},
        "setting",
        ["ledger.group"],
    ),
    ("ledger_slow", {"hub.money.lane.commits.counts.12": 500}, {}, "database", ["ledger.url"]),
    (
        "hooks_unanswered",
        {"hub.asking.fallbacks": 50, "hub.asking.delays.counts.11": 60},
        {"hooks.fallback": "allow"},
        "setting",
        ["hooks.answer_seconds"],
    ),
    ("hooks_unanswered", {"hub.asking.fallbacks": 50, "hub.asking.breakers_open": 1}, {}, "product", ["hooks"]),
    (
        "webhooks_dead",
        {"hub.webhooks.dead": 5},
        {"hooks.attempts": 3},
        "product",
        ["hooks.attempts", "roomcast webhooks replay --all"],
    ),
    ("webhooks_behind", {"hub.webhooks.oldest_ms": 600_000}, {}, "product", ["hooks.events_url"]),
    ("webhooks_behind", {"hub.webhooks.lost": 3}, {}, "database", []),
    ("workers_beyond_cores", {}, {"node.workers": 9}, "setting", ["node.workers"]),
    ("descriptors_short", {}, {"edge.viewers_max": 200_000}, "descriptors", ["LimitNOFILE"]),
    ("memory_short", {}, {"edge.viewers_max": 80_000, "edge.send_buffer_bytes": 1 << 20}, "kernel", ["edge.send_buffer_bytes"]),
    (
        "memory_short",
        {},
        {"edge.viewers_max": 800_000, "edge.send_buffer_bytes": 1 << 20},
        "kernel",
        ["edge.send_buffer_bytes", "edge.viewers_max"],
    ),
    ("backlog_capped", {}, {"edge.backlog": 8_192}, "kernel", ["net.core.somaxconn"]),
    ("guests_write", {}, {"edge.host": "0.0.0.0"}, "setting", ["access.secret"]),
    (
        *("guests_write", {}, {"edge.host": "0.0.0.0", "access.secret": "…", "access.anonymous": "write"}, "setting"),
        ["access.anonymous"],
    ),
    (
        "quality_unknown",
        {"hub.quality.reports": (9, 9), "room.measured.reports": (9, 9)},
        {},
        "product",
        ["SDK"],
    ),
]


TOGETHER = {
    "viewers_refused": ("descriptors_short",),
    "lag_policy": ("uncompressed",),
    "descriptors_short": ("memory_short",),
    "memory_short": ("descriptors_short",),
    "budget": ("cpu",),
    "overload": ("broker_slow",),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[3]}")
def test_a_rule_speaks_when_it_should(case: Case) -> None:
    rule, counters, settings, cause, changed = case
    base = {path: pair for path, pair in HEALTHY.items() if "process" not in counters or not path.startswith("process")}
    given = look(base | counters, settings)
    (advice,) = [each for each in given if each.rule == rule]
    assert advice.cause == cause
    assert [change.setting for change in advice.changes] == changed
    assert advice.evidence
    assert all(advice.evidence)
    assert advice.effect
    # Nothing else has happened, but for what comes with it.
    assert names(given) <= {rule, *TOGETHER.get(rule, ())}
    for change in advice.changes:
        assert change.now != change.to
        if change.where == "config":
            tomllib.loads(f"{change.setting} = {change.to}")
    assert msgspec.json.decode(msgspec.json.encode(asdict(advice))) == asdict(advice)


def test_every_rule_is_tried() -> None:
    assert {case[0] for case in CASES} == RULES.keys()


def test_every_rule_that_a_setting_can_help_is_provoked_at_a_real_node() -> None:
    situations = Path(__file__).with_name("test_situations.py").read_text(encoding="utf-8")
    provoked = {node.value for node in ast.walk(ast.parse(situations)) if isinstance(node, ast.Constant)} & RULES.keys()
    # Times and shares of a machine, and what takes a machine of its own, are only told to rules.
    told = {"cpu", "throttled", "broker_slow", "ledger_slow", "webhooks_behind"}
    told |= {"retransmissions", "uncompressed", "return_window", "answers_unread"}
    assert provoked >= RULES.keys() - STATIC - told


def test_a_busy_node_is_left_alone() -> None:
    assert look(HEALTHY) == []
    assert look(HEALTHY, REDIS) == []
    assert look(HEALTHY, {"limits.room_events_per_second": 200.0, "limits.slow_seconds": 5.0}) == []


def test_a_node_that_does_nothing_is_left_alone() -> None:
    assert look({}) == []
    assert look({path: (after, after) for path, (_, after) in HEALTHY.items() if "quality" not in path}) == look(
        {path: (after, after) for path, (_, after) in HEALTHY.items()}
    )


def changed(advice: list[Advice], rule: str) -> dict[str, Any]:
    """What a rule says is to be set, by path."""
    (found,) = [each for each in advice if each.rule == rule]
    return {each.setting: tomllib.loads(f"to = {each.to}")["to"] for each in found.changes if each.where == "config"}


@pytest.mark.parametrize(
    ("counters", "settings", "rule", "most"),
    [
        ({"edge.refused.429": 10**6}, {"edge.viewers_per_address": 50}, "address_limit", {"edge.viewers_per_address": 1_000}),
        ({"edge.limited.room": {"rooms_max": 10**6}}, {"room.rooms_max": 100}, "rooms_full", {"room.rooms_max": 2_000}),
        (
            {"edge.refused.503": 10**6, "edge.viewers_max": (500, 500)},
            {"edge.viewers_max": 500},
            "viewers_refused",
            {"edge.viewers_max": 10_000},
        ),
        (
            {"edge.limited.limits.pending_events": 10**7},
            {"limits.pending_events": 500},
            "overload",
            {"limits.pending_events": 100_000},
        ),
    ],
)
def test_a_flood_does_not_choose_its_limit(
    counters: dict[str, Any], settings: dict[str, Any], rule: str, most: dict[str, int]
) -> None:
    assert changed(look(HEALTHY | counters, settings), rule) == most


def test_a_buffer_that_is_as_large_as_usual_is_made_larger_up_to_a_bound() -> None:
    usual = Settings().edge.send_buffer_bytes
    stalls: dict[str, Any] = HEALTHY | {"edge.stalls": 900_000, "edge.viewers": (500, 500)}
    for now, to in ((usual, 4 * usual), (1 << 19, 1 << 20)):
        assert changed(look(stalls, {"edge.send_buffer_bytes": now}), "send_buffers") == {"edge.send_buffer_bytes": to}
    # Nor is what all viewers may hold then more than there is.
    assert look(stalls, machine=MACHINE | {"memory_bytes": 1 << 28}) == []


def test_more_viewers_than_memory_holds_are_not_let_in() -> None:
    refused = HEALTHY | {"edge.refused.503": 9_000, "edge.viewers_max": (5_000, 5_000)}
    small = MACHINE | {"memory_bytes": 256 << 20}
    assert changed(look(refused, {"edge.viewers_max": 5_000}, machine=small), "viewers_refused") == {"edge.viewers_max": 8_192}
    full = MACHINE | {"memory_bytes": 64 << 20}
    (advice,) = [each for each in look(refused, {"edge.viewers_max": 5_000}, machine=full) if each.rule == "viewers_refused"]
    assert not advice.changes
    assert "another machine" in advice.effect


def test_a_budget_is_raised_by_what_a_room_was_offered_not_by_what_all_were() -> None:
    # A thousand rooms say as much together as no room does.
    counters: dict[str, Any] = HEALTHY | {"hub.events_withheld": 90_000, "hub.events_published": 90_000}
    counters |= {"room.withheld": {"events": 300}, "room.events": 3_000}
    assert changed(look(counters, {"limits.room_events_per_second": 50.0}), "budget") == {
        "limits.room_events_per_second": 200.0
    }


def test_who_was_away_for_longer_than_anything_is_kept_is_no_fault() -> None:
    lost = HEALTHY | {"edge.past_lost": 3}
    (advice,) = look(lost)
    assert (advice.severity, advice.watch) == ("hint", {"edge.past_lost": "falls"})
    # Of thousands of rooms each would keep as much.
    (many,) = look(lost | {"hub.rooms": 5_000})
    assert (many.severity, many.changes, many.watch) == ("hint", [], {})
    (short,) = look(lost, {"broker.history_events": 10})
    assert short.severity == "fault"


def test_a_loop_is_not_blamed_where_others_take_the_cpu() -> None:
    late = {"process.node.loop_delays.counts.12": 5, "machine.cpu_ticks": (0, 12_000)}
    assert names(look(late | {"machine.idle_ticks": (0, 6_000)})) == {"loop"}
    assert look(late | {"machine.idle_ticks": (0, 300)}) == []


def test_few_who_are_slow_for_long_are_not_many() -> None:
    # Skipped every twenty seconds for a quarter of an hour, and one of three.
    assert look({"edge.lag_policies": 45, "edge.viewers": (3, 3)}, seconds=900.0)[0].cause == "last_mile"
    assert look({"edge.lag_policies": 450, "edge.viewers": (100, 100)}, seconds=900.0)[0].cause == "last_mile"
    assert look({"edge.lag_policies": 4_500, "edge.viewers": (200, 200)}, seconds=900.0)[0].cause == "network"


def test_that_nobody_reports_is_said_when_somebody_of_the_sample_must_have() -> None:
    # One in twenty does, every 45 seconds at most.
    for viewers, seconds in ((60, 900.0), (9_000, 50.0)):
        assert look({"edge.viewers": (viewers, viewers)}, seconds=seconds) == []
    assert names(look({"edge.viewers": (200, 200)})) == {"quality_unknown"}


def test_guests_who_write_are_not_silenced_before_anybody_can_have_a_token() -> None:
    public = {"edge.host": "0.0.0.0", "access.anonymous": "write"}
    for keys in ({}, {"access.secret": "…"}):
        assert changed(look({}, public | keys), "guests_write") == {"access.anonymous": "auto"}


def test_buffers_that_are_small_are_not_made_larger_to_save_memory() -> None:
    small = {"edge.viewers_max": 9_000_000, "edge.send_buffer_bytes": 4_096}
    assert changed(look({}, small), "memory_short") == {"edge.viewers_max": 1_048_576}


def test_processes_that_are_as_many_as_can_be_are_not_to_become_more() -> None:
    # One of four is being replaced.
    processes = {"process": {"edge": {"processes": 3, "cpu_seconds": 177}}}
    assert "node.workers" not in changed(look(processes, {"node.workers": "auto"}), "cpu")


def test_one_look_is_no_time() -> None:
    assert look({path: (after, after) for path, (_, after) in HEALTHY.items()}, seconds=0.0) == []


def test_the_worst_comes_first() -> None:
    given = look(HEALTHY | {"edge.refused.503": 1, "edge.refused.429": 1, "edge.closed.4202": 5}, {"node.workers": 9})
    order = [("fault", "limit", "hint").index(each.severity) for each in given]
    assert order == sorted(order)
    assert len(set(order)) == 3


def test_a_counter_that_began_anew_counts_as_it_is() -> None:
    (advice,) = look({"edge.refused.503": (1_000, 12)}, seconds=10.0)
    assert advice.evidence[0] == "edge.refused.503: 12 in 10 s"


def test_of_the_rooms_only_the_one_that_is_asked_about_is_looked_at() -> None:
    cuts = HEALTHY | {"room.viewers": 500, "room.networks.mobile.reconnects.1006": 400}
    assert names(look(cuts, room=ROOM)) == names(look(cuts)) == {"cut_off"}
    assert look(cuts, room="other") == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[3]}")
def test_settings_as_the_node_observes_them_are_as_good(
    case: Case,
) -> None:
    # Tables as tables, secrets as asterisks, paths of everything.
    rule, counters, changed, *_ = case
    observed = {path: shown(path, value_of(setting, Settings())) for path, setting in SETTINGS.items()}
    ours = look(HEALTHY | counters, changed)
    assert ours == look(HEALTHY | counters, observed | changed)
    assert rule in names(ours)


# -- before a node runs ------------------------------------------------------------------------------------------------


def test_without_a_node_settings_and_machine_are_looked_at() -> None:
    settings = plain(Settings()) | {"node.workers": 9, "edge.backlog": 9_999, "edge.host": "192.0.2.1"}
    given = preview(settings, MACHINE | {"descriptors_hard": 1_024})
    assert names(given) == {"workers_beyond_cores", "backlog_capped", "guests_write", "descriptors_short"} <= STATIC
    assert not [each for each in given if each.watch]
    assert preview(plain(Settings()), MACHINE) == []


def test_a_machine_that_tells_nothing_is_no_reason_to_say_something() -> None:
    assert preview(plain(Settings()), {}) == []
    assert look(HEALTHY, machine={}) == []
    for rule, counters, settings, *_ in CASES:
        for advice in look(HEALTHY | counters, settings, machine={}):
            assert "None" not in advice.what + advice.effect, rule


# -- what is advised can be done ---------------------------------------------------------------------------------------


PATHS = [path for path in {path for _, counters, *_ in CASES for path in counters} | HEALTHY.keys() if "." in path]
ADVISED = {
    change.setting
    for _, counters, settings, *_ in CASES
    for each in look(HEALTHY | counters, settings)
    for change in each.changes
}
TRIED = sorted(path for path in ADVISED & SETTINGS.keys() if SETTINGS[path].kind in (int, float))


def applied(settings: Settings, changes: list[Change]) -> Settings:
    for change in changes:
        path, value = change.setting, tomllib.loads(f"value = {change.to}")["value"]
        if path.startswith("feeds."):
            path, value = "feeds", {path.partition(".")[2]: value}
        setting = SETTINGS[path]
        made, faults = read(setting, value)
        assert not faults, faults
        section = replace(getattr(settings, setting.section), **{setting.name: made}) if setting.section else made
        settings = replace(settings, **{setting.section or setting.name: section})
    return settings


@hypothesis.settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(PATHS), st.integers(0, 10**6)),
    st.dictionaries(st.sampled_from(TRIED), st.floats(0, 1)),
    st.floats(0, 900),
)
def test_what_is_advised_can_be_set(counters: dict[str, Any], shares: dict[str, float], seconds: float) -> None:
    settings = Settings()
    for path, share in shares.items():
        setting = SETTINGS[path]
        value = within(path, share * share * 2 * getattr(getattr(settings, setting.section), setting.name))
        settings = replace(settings, **{setting.section: replace(getattr(settings, setting.section), **{setting.name: value})})
    if check(settings):
        return
    for advice in look(counters, settings, seconds=seconds):
        changes = [change for change in advice.changes if change.where == "config"]
        assert not check(applied(settings, changes)), advice


def test_numbers_are_round_and_within_what_a_setting_takes() -> None:
    assert [rounded(value) for value in (0, 1, 1.2, 2, 3, 7, 11, 201, 5_000, 5_001)] == [
        1,
        1,
        2,
        2,
        5,
        10,
        20,
        500,
        5_000,
        10_000,
    ]
    assert [power(value) for value in (0, 1, 2, 3, 256, 257, 256.5)] == [1, 1, 2, 4, 256, 512, 512]
    assert within("edge.backlog", 10**9) == 65_535
    assert within("edge.backlog", 1.5) == 16
    assert within("room.lag_seconds", 7) == 7.0
    assert isinstance(within("room.lag_seconds", 7), float)
    for path, setting in SETTINGS.items():
        if setting.kind in (int, float):
            for value in (-1e30, 0.5, 1e30):
                _, faults = read(setting, within(path, value))
                # A bound that is not allowed itself is one below: nothing is advised to be less than nothing.
                assert not faults or value < 0, path


def test_what_is_told_of_settings_holds_no_secret() -> None:
    settings = Settings()
    settings = replace(
        settings,
        access=replace(settings.access, secret="s3cret" * 9),
        redis=replace(settings.redis, url="redis://me:s3cret@host"),
        ledger=replace(settings.ledger, url="postgresql://me:s3cret@host/d"),
        hooks=replace(settings.hooks, secret="whsec_s3cret", comment_url="https://host/?key=s3cret"),
    )
    told = plain(settings)
    assert "s3cret" not in repr(told)
    assert told["redis.url"] == "redis://…"
    assert told["edge.backlog"] == 4096
    assert told["feeds"] == told["edge.trusted_proxies"] == 0
    assert told.keys() == SETTINGS.keys()


@given(st.lists(st.floats(0, 20), max_size=30), st.sampled_from(BOUNDS))
def test_what_took_longer_than_a_bound_is_counted_exactly(durations: list[float], bound: float) -> None:
    counted = Durations()
    for each in durations:
        counted.add(each)
    assert beyond(counted.table()["counts"], bound) == (sum(each > bound for each in durations), len(durations))
