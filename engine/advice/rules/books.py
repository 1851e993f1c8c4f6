"""Rules about the ledger's database.

Owns these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.rules.rule import rule
from engine.advice.seen import Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say
from engine.settings import LedgerSettings

__all__: list[str] = []

_LEDGER: Final = LedgerSettings()
_SLOW: Final = 0.25
"""Seconds from which on a transaction can be felt by who gives."""
_SLOW_SHARE: Final = 0.25
_LEAST: Final = 10
_FULL: Final = 0.9
"""Share of what a transaction may hold."""
_SMALL: Final = 100
"""Requests in a transaction below which its fixed cost is most of it."""
_POSTGRESQL: Final = '"postgresql://user:password@host/database"'


@rule("ledger_away")
def _ledger_away(seen: Seen) -> Iterator[Finding]:
    state, failures = seen.word("hub.money.lane.ledger"), seen.grew("hub.money.lane.failures")
    if not failures and state in ("open", "closed", ""):
        return
    path = "ledger.answer_seconds"
    evidence = [seen.over("hub.money.lane.failures"), seen.at("hub.money.lane.waiting"), seen.set_to(path)]
    if state not in ("open", "closed", ""):
        evidence.append(say("{path}: {state}", path="hub.money.lane.ledger", state=state))
    changes = seen.raised(path, _LEDGER.answer_seconds)
    better = say("a database that is up and writable")
    changes.append(Change("ledger.url", say("cannot be written in time"), better, "product"))
    yield Finding(
        cause="database",
        severity="fault",
        what=say("The ledger's database failed, or was too slow: gifts and claims are answered with LEDGER."),
        evidence=evidence,
        changes=changes,
        effect=say("Gifts are booked. Nothing that was acknowledged is lost meanwhile."),
        watch={"hub.money.lane.failures": "stops"},
    )


@rule("ledger_groups")
def _ledger_groups(seen: Seen) -> Iterator[Finding]:
    booked, groups, path = seen.grew("hub.money.lane.booked"), seen.grew("hub.money.lane.groups"), "ledger.group"
    most = seen.number(path)
    if groups < _LEAST or not 0 < most < _SMALL or booked < _FULL * most * groups:
        return
    yield Finding(
        cause="setting",
        severity="limit",
        what=say("Every transaction of the ledger is full, and what waits for the next one waits for a disk."),
        evidence=[seen.over("hub.money.lane.booked"), seen.over("hub.money.lane.groups"), seen.set_to(path)],
        changes=seen.raised(path, _LEDGER.group),
        effect=say("The same gifts take fewer transactions, and are acknowledged sooner."),
        watch={"hub.money.lane.groups": "falls"},
    )


@rule("ledger_slow")
def _ledger_slow(seen: Seen) -> Iterator[Finding]:
    slow, of = seen.beyond("hub.money.lane.commits", _SLOW)
    if of < _LEAST or slow < _SLOW_SHARE * of:
        return
    kind = str(seen.setting("ledger.url") or "").partition("://")[0]
    better = _POSTGRESQL if kind == "sqlite" else say("a server with a faster disk")
    yield Finding(
        cause="database",
        severity="limit",
        what=say("Transactions of the ledger take long: who gives waits for them."),
        evidence=[seen.late("hub.money.lane.commits", _SLOW), seen.at("hub.money.lane.waiting")],
        changes=[Change("ledger.url", f'"{kind}://…"', better, "product")],
        effect=say("Commits take milliseconds; a disk that syncs fast does the same for a file."),
        watch={"hub.money.lane.commits.seconds": "falls"},
    )
