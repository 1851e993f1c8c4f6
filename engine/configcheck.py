"""Whether settings are allowed: each value by its type and bounds, and those that go together by rules.

Owns the order in which this is found out. Must not know config files or the environment; `engine.config` reads them and says
where a fault came from. The rules are in `engine.configrules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.configfile import SETTINGS
from engine.configrules import RULES, value_of
from engine.configvalues import Fault, verify
from engine.settings import Settings

__all__ = ["Fault", "broken_rules", "check", "value_of"]

_ORDER: Final = {path: index for index, path in enumerate(SETTINGS)}
"""Faults are told as the settings stand in the file."""


def check(settings: Settings) -> list[Fault]:
    """Everything that is wrong with settings made in Python: types, bounds, and the rules between settings."""
    faults: list[Fault] = []
    wrong: set[str] = set()
    for setting in SETTINGS.values():
        if found := list(verify(setting, value_of(setting, settings))):
            faults += found
            wrong.add(setting.path)
    return faults + [fault for fault, _ in broken_rules(settings, wrong)]


def broken_rules(settings: Settings, unsure: set[str]) -> Iterator[tuple[Fault, tuple[str, ...]]]:
    """Faults of the rules about settings that are not ``unsure``, each with the paths of all settings it is about."""
    for paths, rule in sorted(RULES, key=lambda each: _ORDER[each[0][0]]):
        if unsure.isdisjoint(paths):
            for fault in rule(settings):
                yield fault, paths
