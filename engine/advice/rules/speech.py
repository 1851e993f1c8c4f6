"""Rules about what viewers say and is not taken: rates, budgets, slow mode, too much waiting.

Owns these rules. A limit is somebody's decision, and one that meets a few who flood does what it is for: most of these speak
only when many viewers meet it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.bounds import rounded
from engine.advice.rules.rule import rule
from engine.advice.seen import Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say

__all__: list[str] = []

_LEAST: Final = 10
"""Refusals that are worth a word."""
_OF_VIEWERS: Final = 0.5
"""Refusals by viewer from which on they are not a few who flood."""
_REFUSED: Final = 0.3
"""Share of comments that a rule of the room may refuse."""
_WITHHELD: Final = 0.05
"""Share of what is said that a budget may withhold before more is worth considering."""
_BUSY: Final = 0.7
"""Share of a core beyond which there is none left for more events."""
_RATES: Final = (
    ("comments", say("Comments")),
    ("reads", say("Looks at the past and the state")),
    ("gifts", say("Gifts and claims")),
    ("likes", say("Likes")),
)
_MANNERS: Final = (
    ("slow_mode", "limits.slow_seconds", say("slow mode")),
    ("duplicate", "limits.duplicate_seconds", say("not to repeat themselves")),
)
_BUDGETS: Final = (("limits.room_events_per_second", 1), ("limits.room_bytes_per_second", 1_000))
"""Each with what an event takes of it; of bytes a good deal more than most, since nobody has counted those withheld."""
_PENDING: Final = 100_000
"""Events beyond which it is no burst that waits, and memory that senders decide on."""
_SLOW_BROKER: Final = 0.25


@rule("budget")
def _budget(seen: Seen) -> Iterator[Finding]:
    withheld, published = seen.grew("hub.events_withheld"), seen.grew("hub.events_published")
    share = withheld / (withheld + published) if withheld else 0.0
    if share < _WITHHELD:
        return
    more = 1.5 / (1 - share) if share < 1 else 100.0
    offered = 1.5 * _most_offered(seen) / seen.seconds if seen.seconds else 0.0
    changes: list[Change] = []
    room = seen.busiest < _BUSY
    for path, each in _BUDGETS:
        if seen.number(path) and room:
            changes += seen.raised(path, rounded(max(more * seen.number(path), offered * each)))
    effect = say("What is said fits, and everybody gets it; frames grow as much.")
    if not room:
        effect = say("There is no CPU left for more. Rather raise node.workers, or offer a feed that can be read (feeds).")
    yield Finding(
        cause="setting" if room else "cpu",
        severity="limit",
        what=say("{share:.0%} of what is said is withheld by the room's budget.", share=share),
        evidence=[
            seen.over("hub.events_withheld"),
            seen.over("hub.events_published"),
            *(seen.set_to(path) for path, _ in _BUDGETS if seen.number(path)),
        ],
        changes=changes,
        effect=effect,
        watch={"hub.events_withheld": "falls"} if changes else {},
    )


def _most_offered(seen: Seen) -> float:
    """To the room that was offered most: a budget is each room's own."""
    rooms = [seen.grew("room.withheld", room) + seen.grew("room.events", room) for room in seen.rooms]
    return max(rooms, default=0.0)


@rule("rate_limits")
def _rate_limits(seen: Seen) -> Iterator[Finding]:
    viewers = seen.now("edge.viewers")
    for name, what in _RATES:
        rate, burst = f"limits.{name}_per_second", f"limits.{name}_burst"
        counter = f"edge.limited.{rate}"
        refused = seen.grew(counter)
        if refused < max(_LEAST, _OF_VIEWERS * viewers):
            continue
        yield Finding(
            cause="setting",
            severity="hint",
            what=say("{what} of many viewers are more than one may make; unless a few flood, the limit is low.", what=what),
            evidence=[seen.over(counter), seen.at("edge.viewers"), seen.set_to(rate), seen.set_to(burst)],
            changes=[
                *seen.raised(burst, rounded(4 * seen.number(burst))),
                *seen.raised(rate, 2 * seen.number(rate)),
            ],
            effect=say("Viewers who make several at once are refused less often."),
            watch={counter: "falls"},
        )


@rule("room_rules")
def _room_rules(seen: Seen) -> Iterator[Finding]:
    published = seen.grew("hub.events_published")
    for code, path, manner in _MANNERS:
        refused = seen.grew(f"hub.refused.{code}")
        if refused < _LEAST or refused < _REFUSED * (published + refused):
            continue
        ours = bool(seen.number(path))
        by_room = Change(
            f"room.mode(…{', slow=…' if code == 'slow_mode' else ''})", say("the room's own"), say("shorter"), "product"
        )
        yield Finding(
            cause="setting" if ours else "product",
            severity="hint",
            what=say(
                "{share:.0%} of comments are refused because viewers are asked for {manner}.",
                share=refused / (published + refused),
                manner=manner,
            ),
            evidence=[seen.over(f"hub.refused.{code}"), seen.over("hub.events_published"), seen.set_to(path)],
            changes=seen.change(path, 0.0) if ours else [by_room],
            effect=say(
                "They are published; a budget (limits.room_events_per_second) bounds a room without asking anybody to wait."
            ),
            watch={f"hub.refused.{code}": "falls"},
        )


@rule("overload")
def _overload(seen: Seen) -> Iterator[Finding]:
    counters = "edge.limited.limits.pending_events", "hub.events_overloaded"
    refused = sum(map(seen.grew, counters))
    if not refused:
        return
    path = "limits.pending_events"
    slow, of = seen.beyond("hub.publish_delays", _SLOW_BROKER)
    broker = bool(seen.grew("hub.events_failed")) or slow > of / 2
    evidence = [*(seen.over(each) for each in counters if seen.grew(each)), seen.at("hub.events_waiting"), seen.set_to(path)]
    if broker:
        evidence.append(seen.late("hub.publish_delays", _SLOW_BROKER))
    burst = seen.number(path) < _PENDING
    yield Finding(
        cause="broker" if broker else "setting" if burst else "cpu",
        severity="fault",
        what=say("As many events wait to be published as may, and senders are told to try again."),
        evidence=evidence,
        changes=seen.raised(path, min(rounded(2 * (seen.number(path) + refused)), _PENDING)) if burst else [],
        effect=(
            say("A burst waits for its turn instead of being refused.")
            if burst
            else say("It is not a burst that waits: the broker, or the CPU, has to become faster.")
        ),
        watch=dict.fromkeys(counters, "stops") if burst else {},
    )
