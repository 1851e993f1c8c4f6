"""Rules about the product behind the node: what it is asked before, and told after.

Owns these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.rules.rule import rule
from engine.advice.seen import Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say
from engine.settings import HookSettings

__all__: list[str] = []

_PATIENT: Final = 1.0
"""Seconds that viewers may wait for an answer without minding."""
_OLD_MS: Final = 60_000
_HOOKS: Final = HookSettings()


@rule("hooks_unanswered")
def _hooks_unanswered(seen: Seen) -> Iterator[Finding]:
    unanswered = seen.grew("hub.asking.fallbacks")
    if not unanswered:
        return
    path = "hooks.answer_seconds"
    soon = 0.75 * seen.number(path)
    late, _ = seen.beyond("hub.asking.delays", soon)
    slow = late >= unanswered / 2
    evidence = [
        seen.over("hub.asking.fallbacks"),
        seen.over("hub.asking.asked"),
        seen.late("hub.asking.delays", soon),
    ]
    evidence += [seen.over("hub.asking.requests_failed")] if seen.grew("hub.asking.requests_failed") else []
    evidence += [seen.at("hub.asking.breakers_open")] if seen.now("hub.asking.breakers_open") else []
    changes = seen.raised(path, max(_PATIENT, 2 * seen.number(path))) if slow else []
    if not changes or seen.now("hub.asking.breakers_open"):
        changes.append(Change("hooks", say("fail"), say("answer with a verdict for each question"), "product"))
    yield Finding(
        cause="product" if not slow else "setting",
        severity="fault",
        what=say(
            "The product was asked and gave no answer in time, or none that can be used; hooks.fallback decided: {fallback}.",
            fallback=seen.setting("hooks.fallback"),
        ),
        evidence=evidence,
        changes=changes,
        effect=say("The product decides; whoever is asked about waits for as long.")
        if slow
        else say("The product decides again."),
        watch={"hub.asking.fallbacks": "falls"},
    )


@rule("webhooks_dead")
def _webhooks_dead(seen: Seen) -> Iterator[Finding]:
    if not seen.grew("hub.webhooks.dead"):
        return
    path = "hooks.attempts"
    letters = say("{letters:,.0f} put aside", letters=seen.now("hub.webhooks.letters"))
    yield Finding(
        cause="product",
        severity="fault",
        what=say("The product did not take webhooks, and after hooks.attempts they were put aside."),
        evidence=[
            seen.over("hub.webhooks.dead"),
            seen.over("hub.webhooks.failures"),
            seen.at("hub.webhooks.letters"),
            seen.set_to(path),
        ],
        changes=[
            *seen.raised(path, _HOOKS.attempts),
            Change("roomcast webhooks replay --all", letters, say("none, once the product takes them"), "product"),
        ],
        effect=say("With more attempts the product may be away for longer before anything is put aside."),
        watch={"hub.webhooks.dead": "stops"},
    )


@rule("webhooks_behind")
def _webhooks_behind(seen: Seen) -> Iterator[Finding]:
    lost, old = seen.grew("hub.webhooks.lost"), seen.now("hub.webhooks.oldest_ms")
    if not lost and old < _OLD_MS:
        return
    counters = "hub.webhooks.lost", "hub.webhooks.failures"
    yield Finding(
        cause="database" if lost else "product",
        severity="fault" if lost else "limit",
        what=(
            say("Happenings could not be written down, and the product will not be told of them.")
            if lost
            else say(
                "The product is told late what has happened: it does not take webhooks as fast as they come, or not at all."
            )
        ),
        evidence=[seen.over(each) for each in counters] + [seen.at("hub.webhooks.waiting"), seen.at("hub.webhooks.oldest_ms")],
        changes=[Change("hooks.events_url", say("behind"), say("answers 2xx as soon as it has written them down"), "product")]
        if not lost
        else [],
        effect=say("With a database that can be written nothing is lost.") if lost else say("What waits is told, in order."),
        # Who answers slowly fails at nothing: then only the age tells.
        watch=(
            {"hub.webhooks.lost": "stops"} if lost else {"hub.webhooks.failures": "falls", "hub.webhooks.oldest_ms": "falls"}
        ),
    )
