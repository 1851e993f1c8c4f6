"""Rules about who does not get in: connections, addresses, the kernel's queue, rooms.

Owns these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.bounds import power, rounded
from engine.advice.rules.rule import rule
from engine.advice.seen import RESERVED_DESCRIPTORS, Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say

__all__: list[str] = []

_BACKLOG: Final = 4_096
"""What a node that many come to at once should have at least."""
_MORE: Final = 10
"""Times what it is now that a limit is raised at most: who is refused tries again, and a flood is not to choose the limit."""
_HELD_BYTES: Final = 16_384
"""Memory of process and kernel for a viewer who reads, generously."""
_MEMORY_SHARE: Final = 0.5
"""Of the machine's memory that viewers may take."""
_CLOSED: Final = 3
"""Viewers closed for one reason from which on it may be a setting rather than one broken client."""


@rule("viewers_refused")
def _viewers_refused(seen: Seen) -> Iterator[Finding]:
    refused = seen.grew("edge.refused.503")
    if not refused:
        return
    asked, hard = int(seen.number("edge.viewers_max")), seen.machine("descriptors_hard")
    place = hard - RESERVED_DESCRIPTORS if isinstance(hard, int) else None
    had, memory = seen.now("edge.viewers_max"), seen.machine("memory_bytes")
    # Half as many again as wanted to come, in each process, as far as memory holds them.
    wanted = rounded(1.5 * (had + min(refused, (_MORE - 1) * had)) / seen.edges)
    if isinstance(memory, int):
        wanted = min(wanted, int(_MEMORY_SHARE * memory / _HELD_BYTES / seen.edges))
    changes: list[Change] = []
    limited = bool(asked) and (place is None or asked < place)
    if limited:
        changes += seen.raised("edge.viewers_max", wanted if place is None else min(wanted, place))
    if place is not None and wanted > place:
        limit = power(wanted + RESERVED_DESCRIPTORS)
        changes.append(Change("LimitNOFILE", str(hard), str(limit), "service", restart=True))
    yield Finding(
        cause="setting" if limited else "descriptors",
        severity="fault",
        what=say("The node has no place for more viewers, and sends them away."),
        evidence=[seen.over("edge.refused.503"), seen.at("edge.connections"), seen.at("edge.viewers_max")],
        changes=changes,
        effect=(
            say("Place for {wanted:,} viewers in each edge process: nobody is refused with 503.", wanted=wanted)
            if changes
            else say("This machine's memory holds no more of them: another machine does.")
        ),
        watch={"edge.refused.503": "stops"},
    )


@rule("address_limit")
def _address_limit(seen: Seen) -> Iterator[Finding]:
    refused, limit = seen.grew("edge.refused.429"), seen.number("edge.viewers_per_address")
    if not refused or not limit:
        return
    what = say("Viewers are refused because their address has as many connections as it may: a school, a provider, or a flood.")
    if seen.empty("edge.trusted_proxies"):
        what = say(
            "{what} If a proxy is in front of the node, edge.trusted_proxies is missing: all viewers seem to come from it.",
            what=what,
        )
    yield Finding(
        cause="setting",
        severity="limit",
        what=what,
        evidence=[seen.over("edge.refused.429"), seen.set_to("edge.viewers_per_address")],
        changes=seen.raised("edge.viewers_per_address", rounded(2 * (limit + min(refused, (_MORE - 1) * limit)))),
        effect=say("Viewers who share an address get in: nobody is refused with 429."),
        watch={"edge.refused.429": "stops"},
    )


@rule("listen_queue")
def _listen_queue(seen: Seen) -> Iterator[Finding]:
    # Of this node's own sockets: machine.listen_overflows counts those of all servers there.
    if not seen.grew("edge.connections_dropped"):
        return
    backlog, most = seen.number("edge.backlog"), seen.machine("somaxconn")
    to = min(max(4 * backlog, _BACKLOG), 65_535)
    changes = [*seen.kernel("net.core.somaxconn", to), *seen.raised("edge.backlog", to)]
    evidence = [seen.over("edge.connections_dropped"), seen.set_to("edge.backlog")]
    if most is not None:
        evidence.append(seen.at("machine.somaxconn"))
    yield Finding(
        cause="kernel",
        severity="fault",
        what=say("Connections came faster than they were accepted, and a queue of the kernel's for new ones was full."),
        evidence=evidence,
        changes=changes,
        effect=say("As many may wait; a client whose connection was dropped waits a second before it tries again."),
        watch={"edge.connections_dropped": "stops"},
    )


@rule("rooms_full")
def _rooms_full(seen: Seen) -> Iterator[Finding]:
    for path, what in (
        ("room.viewers_max", say("A room has as many viewers at this node as it may, and more are sent away.")),
        ("room.rooms_max", say("As many rooms are open at this node as may be, and viewers of others are sent away.")),
    ):
        counter = f"edge.limited.{path}"
        refused, limit = seen.grew(counter), seen.number(path)
        if refused:
            yield Finding(
                cause="setting",
                severity="fault",
                what=what,
                evidence=[seen.over(counter), seen.set_to(path)],
                changes=seen.raised(path, rounded(2 * (limit + min(refused, (_MORE - 1) * limit)))),
                effect=say("Nobody is refused with ROOM_FULL."),
                watch={counter: "stops"},
            )


@rule("flooding")
def _flooding(seen: Seen) -> Iterator[Finding]:
    closed = seen.grew("edge.closed.4201")
    if closed < _CLOSED:
        return
    yield Finding(
        cause="setting",
        severity="limit",
        what=say("Viewers were closed because they sent far more than they may: clients that send too much, or a flood."),
        evidence=[
            seen.over("edge.closed.4201"),
            seen.set_to("limits.messages_per_second"),
            seen.set_to("limits.messages_burst"),
        ],
        changes=[
            *seen.raised("limits.messages_burst", rounded(4 * seen.number("limits.messages_burst"))),
            *seen.raised("limits.messages_per_second", rounded(2 * seen.number("limits.messages_per_second"))),
        ],
        effect=say("Fewer viewers are closed with 4201, if it is they who are meant to send so much."),
        watch={"edge.closed.4201": "falls"},
    )


@rule("answers_unread")
def _answers_unread(seen: Seen) -> Iterator[Finding]:
    closed = seen.grew("edge.closed.4202")
    if closed < _CLOSED:
        return
    yield Finding(
        cause="setting",
        severity="limit",
        what=say("Viewers were closed because more answers waited for them than may: they ask much at once, or do not read."),
        evidence=[seen.over("edge.closed.4202"), seen.set_to("edge.private_bytes")],
        changes=seen.raised("edge.private_bytes", 4 * seen.number("edge.private_bytes")),
        effect=say("Fewer viewers are closed with 4202, for as many bytes more that each of them may hold."),
        watch={"edge.closed.4202": "falls"},
    )
