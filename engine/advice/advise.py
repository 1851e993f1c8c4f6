"""Advice out of two observations of a node, or out of settings and a machine alone.

Owns the order in which advice is given, and in which languages. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from engine.advice.chinese import CHINESE
from engine.advice.rules import RULES, STATIC
from engine.advice.seen import Finding, Seen
from engine.advice.values import Advice, Language, Observation
from engine.advice.words import told

__all__ = ["advise", "preview"]

_ORDER: Final = ("fault", "limit", "hint")
_CATALOGUES: Final[Mapping[Language, Mapping[str, str]]] = {"en": {}, "zh": CHINESE}


def advise(earlier: Observation, later: Observation, room: str = "", language: Language = "en") -> list[Advice]:
    """What limits a node, the worst first.

    :param room: of the rooms only this one is looked at, besides the node.
    """
    return _asked(RULES, Seen(earlier, later, room), language)


def preview(settings: dict[str, Any], machine: dict[str, Any], language: Language = "en") -> list[Advice]:
    """What can be said before a node runs.

    :param settings: by path (`engine.advice.plain`).
    :param machine: `engine.machine.machine`.
    """
    only = Observation(0.0, {}, {}, machine, settings)
    return _asked((name for name in RULES if name in STATIC), Seen(only, only), language)


def _asked(names: Iterable[str], seen: Seen, language: Language) -> list[Advice]:
    found = [_made(name, finding, _CATALOGUES[language]) for name in names for finding in RULES[name](seen)]
    return sorted(found, key=lambda advice: _ORDER.index(advice.severity))


def _made(name: str, finding: Finding, catalogue: Mapping[str, str]) -> Advice:
    """In a language. What is in none stays as it is."""
    made = Advice(rule=name, **{each.name: getattr(finding, each.name) for each in fields(finding)})
    return replace(
        made,
        what=told(finding.what, catalogue),
        evidence=[told(each, catalogue) for each in finding.evidence],
        changes=[
            replace(each, setting=told(each.setting, catalogue), now=told(each.now, catalogue), to=told(each.to, catalogue))
            for each in finding.changes
        ],
        effect=told(finding.effect, catalogue),
    )
