"""Rules about what the processes take of the machine.

Owns these rules. They are about shares and times, so that tests of them are told numbers instead of being slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.rules.rule import rule
from engine.advice.seen import Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say

__all__: list[str] = []

_BUSY: Final = 0.85
"""Share of a core from which on a process has nothing left for a burst."""
_SECONDS: Final = 2.0
"""Of a shorter look the share of a core says little."""
_LATE, _VERY_LATE = 0.25, 1.0
"""Seconds by which a loop that is not busy is never late."""
_IDLE: Final = 0.1
"""Share of the machine's CPU that must have been left for a process that is late to be late by itself."""
_THROTTLED: Final = 0.1
"""Share of the scheduler's periods."""
_SHARE, _TICK = 0.5, 2.0
"""What sending may take of a core, and the longest tick, when there is nothing else to give."""


@rule("cpu")
def _cpu(seen: Seen) -> Iterator[Finding]:
    if seen.seconds < _SECONDS:
        return
    cores, workers = seen.machine("cores"), seen.setting("node.workers")
    for role in seen.roles:
        busy, counter = seen.busy(role), f"process.{role}.cpu_seconds"
        if busy < _BUSY:
            continue
        watch = {counter: "falls"}
        if role == "hub":
            changes = [Change("roomcast serve", say("one node"), say("more nodes over one Redis (redis.url)"), "product")]
            effect = say("Rooms are spread over nodes, and each hub encodes only those that its viewers are in.")
            watch = {}
        elif (
            isinstance(cores, int)
            and cores > (1 if role == "node" else seen.edges)
            and (changes := seen.change("node.workers", "auto"))
        ):
            effect = say("Sending takes {cores} cores instead of {now}.", cores=cores, now=1 if role == "node" else seen.edges)
            watch = {}
        else:
            changes = []
            if seen.number("room.fanout_share") > _SHARE:
                changes += seen.change("room.fanout_share", _SHARE)
            changes += seen.raised("room.tick_max_seconds", _TICK)
            effect = say("Fewer and larger frames: less CPU for the same deliveries, each a little later. Else more machines.")
            watch = {"edge.frames_sent": "falls"} if changes else {}
        yield Finding(
            cause="cpu",
            severity="limit",
            what=say("Each {role} process takes {busy:.0%} of a core: the next burst comes late.", role=role, busy=busy),
            evidence=[
                seen.over(counter),
                seen.at(f"process.{role}.processes"),
                f"node.workers = {workers}",
                say("cores: {cores}", cores=cores),
            ],
            changes=changes,
            effect=effect,
            watch=watch,  # type: ignore[arg-type]  # words of the contract
        )


@rule("throttled")
def _throttled(seen: Seen) -> Iterator[Finding]:
    stopped, periods = seen.grew("machine.throttled_periods"), seen.grew("machine.periods")
    if not stopped or stopped < _THROTTLED * periods:
        return
    quota = seen.machine("quota_cores")
    yield Finding(
        cause="cpu",
        severity="limit",
        what=say("The container's CPU quota stops the node in the middle of its work, again and again."),
        evidence=[
            seen.over("machine.throttled_periods"),
            seen.over("machine.periods"),
            say("quota: {quota} cores", quota=quota),
        ],
        changes=[Change("cpu.max", say("{quota} cores", quota=quota), say("more, or no quota"), "service", restart=True)],
        effect=say("No pauses of tens of milliseconds in which nobody is sent anything."),
        watch={"machine.throttled_periods": "falls"},
    )


@rule("loop")
def _loop(seen: Seen) -> Iterator[Finding]:
    if seen.grew("machine.idle_ticks") < _IDLE * seen.grew("machine.cpu_ticks"):
        return
    for role in seen.roles:
        path = f"process.{role}.loop_delays"
        late, _ = seen.beyond(path, _LATE)
        very_late, _ = seen.beyond(path, _VERY_LATE)
        # Once may be the machine itself, which was paused.
        if late + very_late < 2 or (seen.busy(role) >= _BUSY and seen.seconds >= _SECONDS):
            continue
        yield Finding(
            cause="loop",
            severity="limit",
            what=say("The event loop of the {role} process stood still, though it had CPU: something in it blocks.", role=role),
            evidence=[
                seen.late(path, _LATE),
                seen.at(f"process.{role}.loop_delay_max"),
                seen.over(f"process.{role}.cpu_seconds"),
                *([seen.over("hub.asking.asked")] if seen.grew("hub.asking.asked") else []),
            ],
            changes=[
                Change(
                    say("hooks in Python"),
                    say("block the loop"),
                    say("await, or trio.to_thread.run_sync for what blocks"),
                    "product",
                )
            ],
            effect=say("Nobody waits for the database or the service that a hook asks."),
            watch={f"{path}.seconds": "falls"},
        )
