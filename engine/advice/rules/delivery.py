"""Rules about what does not reach viewers, or late: sockets, lag, the past, lines that break.

Owns these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.bounds import rounded
from engine.advice.rules.rule import rule
from engine.advice.seen import Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say
from engine.settings import BrokerSettings, EdgeSettings, RoomSettings

__all__: list[str] = []

_STALLS: Final = 10
"""Sends that did not fit that are worth a word."""
_STALL_SHARE: Final = 0.05
"""Of all sends."""
_BUFFER: Final = 1 << 20
"""Bytes: the largest send buffer that is advised. More would only hide who does not read."""
_MEMORY_SHARE: Final = 0.25
"""Of the machine's memory that send buffers of all viewers may take."""
_FEW: Final = 0.1
"""Share of viewers who may be slow without it being anything of the node's."""
_ALONE: Final = 3
"""Viewers who may be slow, however few there are."""
_EDGE, _ROOM, _BROKER = EdgeSettings(), RoomSettings(), BrokerSettings()
_CUTS: Final = 5
"""Connections that broke off that are worth a word."""
_HEARTBEAT: Final = 10.0
"""Seconds: shorter than the shortest timeout for silent connections that is usual."""
_LOSS: Final = 0.03
"""Share of segments sent again from which on a way is bad."""
_SEGMENTS: Final = 10_000
_EGRESS: Final = 5_000_000
"""Bytes per second from which on compression saves a noticeable part of a line."""


@rule("send_buffers")
def _send_buffers(seen: Seen) -> Iterator[Finding]:
    stalls, frames, path = seen.grew("edge.stalls"), seen.grew("edge.frames_sent"), "edge.send_buffer_bytes"
    behind, viewers = seen.now("edge.laggards"), seen.now("edge.viewers")
    # Who is behind for long does not read, and a larger buffer would only be filled, too.
    if stalls < max(_STALLS, _STALL_SHARE * frames) or behind > _FEW * viewers or seen.grew("edge.lag_policies"):
        return
    to = min(max(4 * seen.number(path), _EDGE.send_buffer_bytes), _BUFFER)
    memory = seen.machine("memory_bytes")
    if memory is not None and 2 * to * viewers > _MEMORY_SHARE * memory:
        return
    yield Finding(
        cause="kernel",
        severity="hint",
        what=say(
            "Sockets do not take a whole frame, though their viewers catch up at once: each costs a wait and a second write."
        ),
        evidence=[seen.over("edge.stalls"), seen.over("edge.frames_sent"), seen.at("edge.laggards"), seen.set_to(path)],
        changes=[*seen.kernel("net.core.wmem_max", to), *seen.raised(path, to)],
        effect=say("Fewer sends end with EAGAIN; a viewer who stops reading may hold as much more kernel memory."),
        watch={"edge.stalls": "falls"},
    )


@rule("lag_policy")
def _lag_policy(seen: Seen) -> Iterator[Finding]:
    treated = seen.grew("edge.lag_policies") + seen.grew("edge.closed.4002")
    if not treated:
        return
    changes: list[Change] = []
    lag, log = seen.number("room.lag_seconds"), seen.number("room.log_seconds")
    if lag < _ROOM.lag_seconds:
        lag = _ROOM.lag_seconds
        changes += seen.raised("room.lag_seconds", lag)
    if log < max(2 * lag, _ROOM.log_seconds):
        changes += seen.raised("room.log_seconds", max(2 * lag, _ROOM.log_seconds))
    if seen.number("edge.dead_peer_seconds") <= lag:
        changes += seen.raised("edge.dead_peer_seconds", 3 * lag)
    changes += seen.raised("room.log_bytes", max(_ROOM.log_bytes, 4 * seen.number("room.batch_bytes")))
    evidence = [
        *(seen.over(path) for path in ("edge.lag_policies", "edge.closed.4001", "edge.closed.4002") if seen.grew(path)),
        seen.at("edge.laggards"),
        seen.at("edge.log_bytes"),
        *map(seen.set_to, ("room.lag_seconds", "room.log_seconds", "room.log_bytes")),
    ]
    if changes:
        yield Finding(
            cause="setting",
            severity="fault",
            what=say(
                "Viewers who were behind for a moment have missed something: the log does not last until they have caught up."
            ),
            evidence=evidence,
            changes=changes,
            effect=say("Who reads on catches up from the log, without a gap."),
            watch={"edge.lag_policies": "stops", "edge.closed.4002": "stops"},
        )
    elif treated / (1 + seen.seconds / lag if lag else 1) <= max(_ALONE, _FEW * seen.now("edge.viewers")):
        # Who stays slow is skipped again whenever it is as far behind again, and is one of these.
        yield Finding(
            cause="last_mile",
            severity="hint",
            what=say("A few viewers are slower than the room: their own lines or devices."),
            evidence=evidence + _worst_networks(seen),
            changes=_feed(seen),
            effect=say("Who chooses the feed gets fewer bytes. For everybody else there is nothing to change."),
        )
    else:
        yield Finding(
            cause="network",
            severity="fault",
            what=say("Many viewers are slower than the room, though the log is long: the way out of this machine."),
            evidence=[*evidence, seen.over("machine.sent_bytes"), seen.over("machine.retrans_segs")],
            changes=[*seen.change("edge.compression", True), *_feed(seen)],
            effect=say("Fewer bytes for each viewer, and fewer of them behind."),
            watch={"edge.lag_policies": "falls"},
        )


def _feed(seen: Seen) -> list[Change]:
    """A feed that can be read, if there is none."""
    if not seen.empty("feeds"):
        return []
    return [Change("feeds.readable", "", "{ comments_per_second = 10.0 }", restart=True)]


def _worst_networks(seen: Seen) -> list[str]:
    """Where what was sent has arrived least, as evidence."""
    found: list[tuple[float, str]] = []
    for room in seen.rooms:
        for name in seen.names("networks", room):
            due, came = (seen.grew(f"room.networks.{name}.{each}", room) for each in ("entitled", "received"))
            if due and came < due:
                words = say(
                    "{room}: of network {name} {came:,.0f} of {due:,.0f} arrived", room=room, name=name, came=came, due=due
                )
                found.append((came / due, words))
    return [words for _, words in sorted(found)[:3]]


@rule("past_lost")
def _past_lost(seen: Seen) -> Iterator[Finding]:
    if not seen.grew("edge.past_lost"):
        return
    least = {
        "broker.history_events": _BROKER.history_events,
        "broker.history_bytes": _BROKER.history_bytes,
        "broker.history_seconds": _BROKER.history_seconds,
        "room.log_bytes": _ROOM.log_bytes,
        "room.log_seconds": _ROOM.log_seconds,
    }
    short = {path: to for path, to in least.items() if seen.number(path) < to}
    late = not short
    if late:
        # Some are away for longer than anything is kept, and that they are told of a gap is as it should be.
        short = {path: 4 * seen.number(path) for path in ("broker.history_events", "broker.history_bytes", "room.log_bytes")}
        memory, rooms = seen.machine("memory_bytes"), max(seen.now("hub.rooms"), 1)
        kept = rooms * (short["broker.history_bytes"] + short["room.log_bytes"])
        if isinstance(memory, int) and kept > _MEMORY_SHARE * memory:
            short = {}
    yield Finding(
        cause="setting",
        severity="hint" if late else "fault",
        what=say("Viewers came back, and what they had missed was not kept any more: they were told of a gap."),
        evidence=[seen.over("edge.past_lost"), seen.over("hub.backfills"), *map(seen.set_to, least)],
        changes=[change for path, to in short.items() for change in seen.raised(path, to)],
        effect=(
            say("Who comes back gets all that was said meanwhile; memory of the node and the broker grows with what is kept.")
            if short
            else say("Nothing to change: to keep more would take more memory than there is, and they go on from what is kept.")
        ),
        watch={"edge.past_lost": "falls" if late else "stops"} if short else {},
    )


@rule("cut_off")
def _cut_off(seen: Seen) -> Iterator[Finding]:
    for room in seen.rooms:
        cuts = {name: seen.grew(f"room.networks.{name}.reconnects.1006", room) for name in seen.names("networks", room)}
        total, viewers = sum(cuts.values()), seen.now("room.viewers", room)
        if total < max(_CUTS, _FEW * viewers):
            continue
        worst = max(cuts, key=lambda name: cuts[name])
        alone = len(cuts) > 1 and cuts[worst] > 0.8 * total
        path = "room.heartbeat_seconds"
        yield Finding(
            cause="last_mile" if alone else "network",
            severity="limit",
            what=(
                say("Connections of one network, {network}, break off without a word.", network=worst)
                if alone
                else say("Connections break off without a word: a proxy's timeout for silent connections, or its restarts.")
            ),
            evidence=[seen.over(f"room.networks.{name}.reconnects.1006", room) for name in cuts if cuts[name]]
            + [seen.set_to(path)],
            changes=seen.change(path, _HEARTBEAT) if seen.number(path) > _HEARTBEAT else [],
            effect=say("A silent room sends often enough for any proxy or router; fewer have to come back for 1006."),
            watch={f"room.networks.{worst}.reconnects.1006": "falls"},
            room=room,
        )


@rule("retransmissions")
def _retransmissions(seen: Seen) -> Iterator[Finding]:
    again, sent = seen.grew("machine.retrans_segs"), seen.grew("machine.out_segs")
    if sent < _SEGMENTS or again < _LOSS * sent:
        return
    control = seen.machine("congestion_control")
    name = "net.ipv4.tcp_congestion_control"
    yield Finding(
        cause="network",
        severity="hint",
        what=say(
            "{share:.0%} of TCP segments of this machine had to be sent again: packets are lost on the way.", share=again / sent
        ),
        evidence=[seen.over("machine.retrans_segs"), seen.over("machine.out_segs")],
        changes=[Change(name, str(control), "bbr", "kernel")] if control not in (None, "bbr") else [],
        effect=say("A viewer behind a lossy line is sent as fast as the line takes it."),
        watch={"machine.retrans_segs": "falls"},
    )


@rule("uncompressed")
def _uncompressed(seen: Seen) -> Iterator[Finding]:
    path = "edge.compression"
    if seen.setting(path) is not False or not seen.seconds or seen.grew("machine.sent_bytes") < _EGRESS * seen.seconds:
        return
    yield Finding(
        cause="network",
        severity="hint",
        what=say("Much leaves this machine, and nothing of it is compressed."),
        evidence=[seen.over("machine.sent_bytes"), seen.set_to(path)],
        changes=seen.change(path, True),
        effect=say("Browsers get about 40 % of the bytes; each batch is compressed once, for everybody."),
        watch={"machine.sent_bytes": "falls"},
    )


@rule("return_window")
def _return_window(seen: Seen) -> Iterator[Finding]:
    path, viewers = "node.return_window_seconds", seen.now("edge.viewers")
    # A fifth of a millisecond of CPU each; half of it is to be left for those who are there.
    needed = 2 * 0.0002 * viewers / seen.edges
    if viewers < 1_000 or seen.setting(path) is None or needed <= seen.number(path):
        return
    yield Finding(
        cause="setting",
        severity="hint",
        what=say("When this node stops, its viewers come back faster than they can be let in."),
        evidence=[seen.at("edge.viewers"), seen.set_to(path)],
        changes=seen.raised(path, rounded(needed)),
        effect=say("A restart spreads the returns: no full queues, and nobody is refused with 503."),
        watch={"edge.connections_dropped": "falls", "edge.refused.503": "falls"},
    )
