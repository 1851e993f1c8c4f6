"""How a rule of advice is made.

Owns the list of rules. Must not know any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from engine.advice.seen import Finding, Seen

__all__ = ["RULES", "STATIC", "Rule", "rule"]

Rule = Callable[[Seen], Iterator[Finding]]
RULES: Final[dict[str, Rule]] = {}
"""By name."""
STATIC: Final[set[str]] = set()
"""Names of those that need settings and a machine, and no node."""


def rule(name: str, *, static: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule under its name, which is what machines know it by.

    :param static: it says what it has to say of settings and a machine, too.
    """

    def register(made: Rule) -> Rule:
        assert name not in RULES, f"two rules are called {name}"
        RULES[name] = made
        if static:
            STATIC.add(name)
        return made

    return register
