"""Observations without a node, from a few numbers.

Owns what a busy node in good health looks like. Asserts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.advice import Advice, Language, Observation, advise, plain
from engine.settings import Settings

__all__ = ["HEALTHY", "MACHINE", "ROOM", "look", "names", "put"]

ROOM = "大厅"
MACHINE: dict[str, Any] = {
    "cores": 4,
    "descriptors_soft": 100_000,
    "descriptors_hard": 100_000,
    "somaxconn": 4_096,
    "wmem_max": 4 << 20,
    "tcp_wmem": [4_096, 16_384, 4 << 20],
    "congestion_control": "cubic",
    "memory_bytes": 16 << 30,
    "quota_cores": 4.0,
}
HEALTHY: dict[str, tuple[float, float]] = {
    "hub.viewers": (9_000, 9_000),
    "hub.events_published": (5_000, 8_000),
    "hub.events_withheld": (10, 40),
    "hub.refused.slow_mode": (10, 50),
    "hub.refused.duplicate": (10, 30),
    "hub.batches": (100, 700),
    "hub.backfills": (3, 30),
    "hub.quality.reports": (500, 800),
    "hub.publish_delays.counts.2": (10, 600),
    "hub.publish_delays.counts.9": (0, 3),
    "hub.money.lane.booked": (100, 3_000),
    "hub.money.lane.groups": (50, 400),
    "hub.money.lane.commits.counts.5": (50, 395),
    "hub.money.lane.commits.counts.11": (0, 5),
    "hub.asking.asked.comment": (100, 3_000),
    "hub.asking.delays.counts.6": (100, 3_000),
    "hub.webhooks.sent": (10, 100),
    "hub.webhooks.failures": (0, 2),
    "hub.webhooks.oldest_ms": (100, 900),
    "edge.connections": (9_100, 9_050),
    "edge.viewers": (9_000, 9_000),
    "edge.viewers_max": (99_744, 99_744),
    "edge.laggards": (20, 25),
    "edge.lag_max": (0.2, 1.0),
    "edge.handshakes": (9_000, 9_900),
    "edge.messages_received": (10_000, 60_000),
    "edge.frames_sent": (1_000_000, 5_000_000),
    "edge.stalls": (1_000, 20_000),
    "edge.limited.limits.comments_per_second": (0, 200),
    "edge.refused.404": (0, 3),
    "edge.closed.1000": (10, 900),
    "edge.closed.4201": (0, 1),
    "process.node.processes": (1, 1),
    "process.node.cpu_seconds": (100, 141),
    "process.node.loop_delays.counts.3": (0, 60),
    "process.node.loop_delays.counts.11": (0, 1),
    "edge.connections_dropped": (7, 7),
    "machine.listen_overflows": (7, 900),
    "machine.retrans_segs": (100, 40_000),
    "machine.out_segs": (100_000, 4_000_000),
    "machine.sent_bytes": (0, 1 << 30),
    "machine.periods": (0, 600),
    "machine.throttled_periods": (0, 5),
    "room.viewers": (9_000, 9_000),
    "room.measured.reports": (500, 800),
    "room.networks.203.0.0.0/16.reconnects.1006": (1, 40),
    "room.networks.203.0.0.0/16.entitled": (1_000, 9_000),
    "room.networks.203.0.0.0/16.received": (1_000, 8_999),
    "room.networks.mobile.reconnects.1006": (5, 60),
}
"""Counters of a node that serves 9,000 viewers for a minute, with the troubles that are always there: before and after."""


def put(table: dict[str, Any], path: str, value: Any) -> None:
    """Into nested tables; the name of a network, or of a setting, is one key."""
    for whole in ("203.0.0.0/16", *(f"limits.{name}" for name in ("comments_per_second", "pending_events"))):
        path = path.replace(whole, whole.replace(".", "\0"))
    *way, last = (step.replace("\0", ".") for step in path.split("."))
    for step in way:
        table = table.setdefault(step, {})
    table[last] = value


def look(
    numbers: Mapping[str, Any],
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    machine: Mapping[str, Any] | None = None,
    seconds: float = 60.0,
    room: str = "",
    language: Language = "en",
) -> list[Advice]:
    """Advice from counters by path, each from 0 to what is given or, as a pair, from one to the other.

    :param settings: the defaults, changed by path; or whole.
    """
    moments: list[Observation] = []
    in_force = plain(settings if isinstance(settings, Settings) else Settings())
    in_force |= settings if isinstance(settings, Mapping) else {}
    for moment in (0, 1):
        vitals: dict[str, Any] = {}
        seen: dict[str, Any] = dict(MACHINE if machine is None else machine)
        certificate: dict[str, Any] = {}
        for path, value in numbers.items():
            now = value[moment] if isinstance(value, tuple) else value if moment or isinstance(value, str) else 0
            root, _, rest = path.partition(".")
            if root == "machine":
                put(seen, rest, now)
            elif root == "room":
                put(certificate, rest, now)
            else:
                put(vitals, path, now)
        moments.append(Observation(moment * seconds, vitals, {ROOM: certificate} if certificate else {}, seen, in_force))
    return advise(moments[0], moments[1], room, language)


def names(advice: list[Advice]) -> set[str]:
    """Of the rules that have spoken."""
    return {each.rule for each in advice}
