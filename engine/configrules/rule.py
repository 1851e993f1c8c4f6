"""How a rule about settings is made, and what several rules need.

Owns the list of rules. Must not know any of them.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

from engine.configfile import SETTINGS, Setting, toml_value
from engine.configvalues import Fault
from engine.settings import Settings

__all__ = ["NAME_MAX", "RULES", "address_of", "encodable", "presentable", "rule", "said", "unreadable", "value_of"]

Rule = Callable[[Settings], Iterator[Fault]]
NAME_MAX: Final = 64
"""Characters of a name that an operator gives."""
RULES: Final[list[tuple[tuple[str, ...], Rule]]] = []
"""Each with the paths of the settings that it is about."""


def rule(*paths: str) -> Callable[[Rule], Rule]:
    """Register a rule about these settings, the one it blames first. It is asked only when each of them is valid."""

    def register(made: Rule) -> Rule:
        RULES.append((paths, made))
        return made

    return register


def value_of(setting: Setting, settings: Settings) -> Any:
    """What a setting is set to."""
    return getattr(getattr(settings, setting.section) if setting.section else settings, setting.name)


def said(path: str, settings: Settings) -> str:
    """A setting with its value, for a message."""
    return f"{path} ({toml_value(value_of(SETTINGS[path], settings))})"


def presentable(name: str) -> bool:
    """Whether people can read it and tell it from others."""
    return 1 <= len(name) <= NAME_MAX and name.isprintable() and name == name.strip()


def encodable(text: str) -> bool:
    """Whether it is UTF-8: bytes of the environment that are not are lone surrogates in Python."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Of a host; None if it is a name."""
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def unreadable(file: str) -> str:
    """Why a file cannot be read; empty if it can."""
    try:
        # Opening a pipe would wait for somebody who writes.
        if not stat.S_ISREG(Path(file).stat().st_mode):
            return "it is not a file"
        with open(file, "rb"):
            return ""
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)
