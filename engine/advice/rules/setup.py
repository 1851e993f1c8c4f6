"""Rules about settings and the machine alone, which can be told before a node runs; and about what cannot be judged.

Owns these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.bounds import power
from engine.advice.rules.rule import rule
from engine.advice.seen import RESERVED_DESCRIPTORS, Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say

__all__: list[str] = []

_SMALLEST: Final = 16_384
"""Bytes of a send buffer that still take a batch of a lively room."""
_HELD: Final = 2
"""Linux doubles what is asked for as a send buffer."""
_SHARE: Final = 0.5
"""Of memory that viewers' buffers may take when all of them stop reading."""
_UNSEEN: Final = 100
"""Viewers of whom somebody is in the sample, which is one in twenty by default."""
_LOOK: Final = 60.0
"""Seconds in which a report of a sampled viewer must have come: they report every 45 at most, and edges tell it later."""
_PLACE: Final = 4_096
"""Viewers for which a node should have descriptors, unless it was told otherwise."""
_LOOPBACK: Final = ("127.", "::1", "localhost")


@rule("workers_beyond_cores", static=True)
def _workers_beyond_cores(seen: Seen) -> Iterator[Finding]:
    workers, cores = seen.setting("node.workers"), seen.machine("cores")
    if not isinstance(workers, int) or not isinstance(cores, int) or workers <= cores:
        return
    yield Finding(
        cause="setting",
        severity="hint",
        what=say(
            "There are more edge processes than cores that they may use: they take time from each other and from the hub."
        ),
        evidence=[seen.set_to("node.workers"), say("cores: {cores}", cores=cores)],
        changes=seen.change("node.workers", "auto"),
        effect=say("One edge process for each core, less memory, and the same number of frames."),
        watch={"process.edge.processes": "falls"} if seen.live else {},
    )


@rule("descriptors_short", static=True)
def _descriptors_short(seen: Seen) -> Iterator[Finding]:
    hard, asked = seen.machine("descriptors_hard"), int(seen.number("edge.viewers_max"))
    if not isinstance(hard, int) or seen.setting("edge.viewers_max") is None:
        return
    place = hard - RESERVED_DESCRIPTORS
    if place >= (asked or _PLACE):
        return
    limit = power((asked or _PLACE) + RESERVED_DESCRIPTORS)
    yield Finding(
        cause="descriptors",
        severity="limit",
        what=say(
            "A process may have {hard:,} descriptors, place for {place:,} viewers: fewer than it should serve.",
            hard=hard,
            place=max(place, 0),
        ),
        evidence=[seen.at("machine.descriptors_hard"), seen.set_to("edge.viewers_max")],
        changes=[Change("LimitNOFILE", str(hard), str(limit), "service", restart=True)],
        effect=say("Place for {wanted:,} viewers in each edge process.", wanted=asked or _PLACE),
        watch={"edge.refused.503": "stops"} if seen.live else {},
    )


@rule("memory_short", static=True)
def _memory_short(seen: Seen) -> Iterator[Finding]:
    memory, viewers = seen.machine("memory_bytes"), seen.number("edge.viewers_max")
    path = "edge.send_buffer_bytes"
    workers = seen.setting("node.workers")
    processes = max(workers if isinstance(workers, int) else seen.machine("cores") or 1, 1)
    if not isinstance(memory, int) or not viewers or viewers * processes * _HELD * seen.number(path) <= _SHARE * memory:
        return
    fits = 1 << max(int(_SHARE * memory / (_HELD * viewers * processes)), 1).bit_length() - 1
    least = min(_SMALLEST, int(seen.number(path)))
    changes = seen.change(path, max(fits, least))
    if fits < least:
        most = int(_SHARE * memory / (_HELD * least * processes))
        changes += seen.change("edge.viewers_max", max(most, 1))
    yield Finding(
        cause="kernel",
        severity="hint",
        what=say(
            "If as many viewers as may come all stopped reading, their send buffers would take more than half of the memory."
        ),
        evidence=[seen.set_to("edge.viewers_max"), seen.set_to(path), seen.at("machine.memory_bytes")],
        changes=changes,
        effect=say("What stopped readers can hold is bounded by half of the memory."),
    )


@rule("backlog_capped", static=True)
def _backlog_capped(seen: Seen) -> Iterator[Finding]:
    backlog = seen.number("edge.backlog")
    changes = seen.kernel("net.core.somaxconn", backlog)
    if changes:
        yield Finding(
            cause="kernel",
            severity="hint",
            what=say(
                "The kernel queues fewer connections than edge.backlog asks for, which counts when all come back at once."
            ),
            evidence=[seen.set_to("edge.backlog"), seen.at("machine.somaxconn")],
            changes=changes,
            effect=say(
                "As many connections may wait as edge.backlog says; it holds with the next reload or restart of the node."
            ),
            watch={"edge.connections_dropped": "falls"} if seen.live else {},
        )


@rule("guests_write", static=True)
def _guests_write(seen: Seen) -> Iterator[Finding]:
    host = str(seen.setting("edge.host") or "127.")
    keys = any(seen.setting(f"access.{name}") for name in ("secret", "jwks", "keys"))
    writes = seen.setting("access.anonymous") == "write" or (seen.setting("access.anonymous") == "auto" and not keys)
    if not writes or host.startswith(_LOOPBACK):
        return
    # Not "read": without keys nobody at all could write.
    changes = seen.change("access.anonymous", "auto")
    if not keys:
        changes.append(Change("access.secret", '""', say("a secret that the product signs tokens with"), "product"))
    yield Finding(
        cause="setting",
        severity="hint",
        what=say("Anybody who reaches the address may write, under any name: no ban outlives a reconnect."),
        evidence=[seen.set_to("edge.host"), seen.set_to("access.anonymous")],
        changes=changes,
        effect=say("Only who has a token of the product writes; guests read."),
    )


@rule("quality_unknown")
def _quality_unknown(seen: Seen) -> Iterator[Finding]:
    viewers = seen.now("edge.viewers")
    reports = seen.grew("hub.quality.reports") + sum(seen.grew("room.measured.reports", room) for room in seen.rooms)
    if viewers < _UNSEEN or seen.seconds < _LOOK or reports:
        return
    yield Finding(
        cause="product",
        severity="hint",
        what=say("No viewer reports what has come to it: what is said of delays, networks and reconnects is said of nobody."),
        evidence=[seen.at("edge.viewers"), seen.over("hub.quality.reports")],
        changes=[Change("SDK", say("does not report"), say("one that does, as those of this release"), "product")],
        effect=say("The certificate tells how much arrived, and how late, by network."),
        watch={"hub.quality.reports": "rises"},
    )
