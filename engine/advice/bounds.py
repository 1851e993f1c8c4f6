"""What a setting may be, as the model says, so that nothing is advised that a config file must not hold.

Owns the arithmetic of values that are advised: rounding and bounds. Pure; the library that validates is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin, get_type_hints

from engine.settings import Settings

__all__ = ["plain", "power", "rounded", "within"]

_BOUNDS: Final = ("ge", "gt", "le", "lt")


def plain(settings: Settings) -> dict[str, Any]:
    """Settings by path for an `engine.advice.values.Observation`: numbers, switches and words. Of addresses only the kind is
    told, such as ``redis://…``, and of other secrets whether there is one."""
    return dict(_plain(settings, ""))


def _plain(section: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in fields(section):
        value, path = getattr(section, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            yield from _plain(value, f"{path}.")
        elif isinstance(value, str) and "://" in value:
            yield path, f"{value.partition('://')[0]}://…"
        elif isinstance(value, str) and not field.repr:
            yield path, "…" if value else ""
        elif isinstance(value, bool | int | float | str):
            yield path, value
        else:
            yield path, len(value)


def rounded(value: float) -> int:
    """The next 1, 2 or 5 with zeros that is not below; at least 1."""
    if value <= 1:
        return 1
    step = 10 ** math.floor(math.log10(value))
    return int(next(step * digit for digit in (1, 2, 5, 10) if step * digit >= value))


def power(value: float) -> int:
    """The next power of two that is not below; at least 1."""
    return 1 << max(math.ceil(value) - 1, 0).bit_length()


def within(path: str, value: float) -> int | float:
    """A number as this setting takes it: within its bounds, whole if it is one."""
    kind, bounds = _SETTINGS[path]
    value = max(value, bounds.get("ge", value), bounds.get("gt", value))
    value = min(value, bounds.get("le", value), bounds.get("lt", value))
    return int(value) if kind is int else float(value)


def _described(model: Any, prefix: str) -> Iterator[tuple[str, tuple[Any, dict[str, float]]]]:
    for name, hint in get_type_hints(model, include_extras=True).items():
        if is_dataclass(hint):
            yield from _described(hint, f"{prefix}{name}.")
        elif get_origin(hint) is not None and hasattr(hint, "__metadata__"):
            kind = hint.__origin__
            # Of a number for which a word may stand, the number.
            inner = next((each for each in get_args(kind) if hasattr(each, "__metadata__")), None)
            marks = [*hint.__metadata__, *(inner.__metadata__ if inner is not None else ())]
            bounds = {name: getattr(each, name) for each in marks for name in _BOUNDS if hasattr(each, name)}
            yield f"{prefix}{name}", (inner.__origin__ if inner is not None else kind, bounds)


_SETTINGS: Final[Mapping[str, tuple[Any, dict[str, float]]]] = MappingProxyType(dict(_described(Settings, "")))
