"""The settings as an operator reads them: a commented config file, a JSON Schema, words for what a value may be.

Owns every text that is derived from the model in `engine.settings`, so that none can drift from it. Must not know where
values come from (`engine.config`) or which of them go together (`engine.configcheck`).
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, time
from inspect import cleandoc
from itertools import chain
from types import MappingProxyType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import DocInfo
from pydantic import TypeAdapter

from engine.settings import Settings

__all__ = ["SECTIONS", "SETTINGS", "Setting", "commented", "json_schema", "number", "toml_value"]

_WIDTH: Final = 100
_PREFIX: Final = "ROOMCAST_"
_UNITS: Final = (("_per_second", " per second"), ("_seconds", " of seconds"), ("_bytes", " of bytes"))
_BOUNDS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_KINDS: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}

_HEADER: Final = """\
Roomcast configuration, in TOML (https://toml.io).

Every setting is listed with its default and commented out. To change one, remove the "# " in front of it; what is not
commented out is then what deviates from the defaults. Lines that begin with "##" explain.

Later sources win: the defaults, this file, environment variables (ROOMCAST_EDGE__PORT=9000 sets port in [edge]; a list
is written as in this file), options of the command line. "roomcast check FILE" shows every fault at once, or what
deviates from the defaults.

Units are part of the names: _seconds (fractions are allowed), _bytes, _per_second. 1_000_000 is the same as 1000000."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the model.

    :ivar section: name of the table in the config file.
    :ivar annotation: its type with bounds and documentation, `typing.Annotated`.
    :ivar kind: its type alone, of numbers if a word may stand for one.
    :ivar description: what it does, in one or two sentences.
    """

    section: str
    name: str
    annotation: Any
    kind: Any
    description: str
    default: Any

    @property
    def path(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{_PREFIX}{self.section}__{self.name}".upper()

    @property
    def is_list(self) -> bool:
        """Whether the value is a list of strings."""
        return get_origin(self.kind) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values when they are a fixed few, otherwise empty."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def words(self) -> tuple[str, ...]:
        """Words that may stand for a number."""
        return () if self.choices else tuple(chain.from_iterable(map(get_args, _branches(self.annotation)[1:])))

    @property
    def allowed(self) -> str:
        """What the value may be, with unit and bounds, to go after *must be*."""
        if self.choices:
            *head, last = map(toml_value, self.choices)
            return f"{', '.join(head)} or {last}"
        if self.is_list:
            return "a list of strings"
        unit = next((words for suffix, words in _UNITS if self.name.endswith(suffix)), "")
        return ", ".join([_KINDS[self.kind] + unit, *self._bounds(), *(f"or {toml_value(word)}" for word in self.words)])

    def _bounds(self) -> Iterator[str]:
        bounds: dict[str, Any] = {
            name: getattr(each, name)
            for source in (self.annotation, _branches(self.annotation)[0])
            for each in getattr(source, "__metadata__", ())
            for name in _BOUNDS
            if hasattr(each, name)
        }
        if {"ge", "le"} <= bounds.keys():
            yield f"from {number(bounds['ge'])} to {number(bounds['le'])}"
        else:
            yield from (f"{words} {number(bounds[name])}" for name, words in _BOUNDS.items() if name in bounds)


def _branches(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may be of; the first says most."""
    kind = annotation.__origin__
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _describe() -> Iterator[Setting]:
    sections = get_type_hints(Settings)
    for section in fields(Settings):
        model = sections[section.name]
        hints, defaults = get_type_hints(model, include_extras=True), model()
        for field in fields(model):
            annotation = hints[field.name]
            text = " ".join(each.documentation for each in annotation.__metadata__ if isinstance(each, DocInfo))
            default = getattr(defaults, field.name)
            kind = _branches(annotation)[0]
            kind = kind.__origin__ if hasattr(kind, "__metadata__") else kind
            yield Setting(section.name, field.name, annotation, kind, text, default)


SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({each.path: each for each in _describe()})
"""Every setting by its path, in the order of the model."""
SECTIONS: Final[Mapping[str, Any]] = MappingProxyType(
    {each.name: get_type_hints(Settings)[each.name] for each in fields(Settings)}
)
"""The class of every section by its name, in the order of the model."""


def number(value: float) -> str:
    """A number for people, as TOML reads it too: whole ones without fraction, long ones in groups of three digits."""
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    return f"{int(value):_}" if abs(value) >= 100_000 else str(int(value))


def toml_value(value: Any) -> str:
    """A value as TOML 1.0 on one line, for a file or a message. What TOML does not have is shown as Python does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for the one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {toml_value(each)}' for key, each in value.items())}}}"
    return value.isoformat() if isinstance(value, date | time) else repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def commented() -> str:
    """Text of a config file that lists, explains and changes nothing: each setting is a comment that holds its default.

    Explanations begin with ``##`` and settings with ``# ``, so that uncommenting every line, by hand or with an editor,
    leaves a valid file that loads to the defaults.
    """
    parts = [_explain(_HEADER)]
    for section, model in SECTIONS.items():
        parts.append(f"\n\n{_explain(cleandoc(model.__doc__))}\n[{section}]")
        for setting in SETTINGS.values():
            if setting.section == section:
                default = toml_value(setting.default)
                allowed = f"{setting.allowed[0].upper()}{setting.allowed[1:]}; default {default}"
                parts.append(f"\n{_explain(setting.description)}\n{_explain(allowed)}\n# {setting.name} = {default}")
    return "\n".join(parts) + "\n"


def _explain(text: str) -> str:
    wrap = textwrap.TextWrapper(_WIDTH, initial_indent="## ", subsequent_indent="## ", break_on_hyphens=False)
    return "\n##\n".join(wrap.fill(paragraph) for paragraph in text.split("\n\n"))


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the config file, for editors and for checks without Roomcast.

    Holds types, bounds, allowed values, defaults and descriptions. Rules between settings are not in it.
    """
    schema = TypeAdapter(Settings).json_schema()
    for setting in SETTINGS.values():
        model = schema["$defs"][SECTIONS[setting.section].__name__]
        model["properties"][setting.name]["description"] = setting.description
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Roomcast configuration"}
