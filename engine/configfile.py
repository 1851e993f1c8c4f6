"""The settings as an operator reads them: a commented config file, a JSON Schema, words for what a value may be.

Owns every text that is derived from the model in `engine.settings`, so that none can drift from it. Must not know where
values come from (`engine.config`) or which of them go together (`engine.configcheck`).
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from datetime import date, time
from inspect import cleandoc
from itertools import chain
from types import MappingProxyType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import DocInfo
from pydantic import TypeAdapter

from engine.settings import Settings

__all__ = ["SECTIONS", "SETTINGS", "Setting", "commented", "json_schema", "number", "toml_key", "toml_value"]

_WIDTH: Final = 100
_PREFIX: Final = "ROOMCAST_"
_UNITS: Final = (("_per_second", " per second"), ("_seconds", " of seconds"), ("_bytes", " of bytes"))
_BOUNDS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_KINDS: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_EXAMPLES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "moderation.lists": ("", {"file": "words.txt"}),
    "feeds": ("readable", {"comments_per_second": 10.0}),
    "gifts": ("rose", {"name": "Rose", "price": 10}),
    "access.keys": ("", {"kid": "2026-11", "secret": "at least 32 bytes that nobody can guess"}),
    "api.keys": ("", {"name": "backend", "sha256": "0" * 64}),
    "quality.networks": ("", {"name": "a provider", "addresses": ["203.0.113.0/24", "2001:db8::/32"]}),
}
"""Of settings that are tables: name, if they have one, and what is in it beside the defaults."""

_HEADER: Final = """\
Roomcast configuration, in TOML (https://toml.io).

Every setting is listed with its default and commented out. To change one, remove the "# " in front of it; what is not
commented out is then what deviates from the defaults. Lines that begin with "##" explain.

Later sources win: the defaults, this file, environment variables (ROOMCAST_EDGE__PORT=9000 sets port in [edge]; a list
is written as in this file, tables on one line: ROOMCAST_FEEDS='{readable = {comments_per_second = 10}}'), options of the
command line. "roomcast check FILE" shows every fault at once, or what deviates from the defaults.

Units are part of the names: _seconds (fractions are allowed), _bytes, _per_second. 1_000_000 is the same as 1000000."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the model.

    :ivar section: name of the table in the config file; empty for a setting that stands beside the sections.
    :ivar annotation: its type with bounds and documentation, `typing.Annotated`.
    :ivar kind: its type alone, of numbers if a word may stand for one.
    :ivar description: what it does, in one or two sentences.
    :ivar default: `dataclasses.MISSING` if it must be given.
    :ivar model: class of each table, if it is a list of tables, or tables by name.
    :ivar parts: the settings in each of them.
    """

    section: str
    name: str
    annotation: Any
    kind: Any
    description: str
    default: Any
    model: Any = None
    parts: tuple[Setting, ...] = ()

    def at(self, section: str) -> Setting:
        """The same in another table."""
        return replace(self, section=section)

    @property
    def path(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{_PREFIX}{self.path.replace('.', '__')}".upper()

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return get_origin(self.kind) is tuple

    @property
    def is_named(self) -> bool:
        """Whether the value is tables by name."""
        return get_origin(self.kind) is dict

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values, or elements of a list, when they are a fixed few, otherwise empty."""
        kind = get_args(self.kind)[0] if self.is_list else self.kind
        return get_args(kind) if get_origin(kind) is Literal else ()

    @property
    def words(self) -> tuple[str, ...]:
        """Words that may stand for a number."""
        return () if self.choices or self.model else tuple(chain.from_iterable(map(get_args, _branches(self.annotation)[1:])))

    @property
    def allowed(self) -> str:
        """What the value may be, with unit and bounds, to go after *must be*."""
        if self.model:
            return f"tables by name, [{self.path}.NAME]" if self.is_named else f"a list of tables, [[{self.path}]]"
        if self.choices:
            *head, last = map(toml_value, self.choices)
            return f"{'a list of ' if self.is_list else ''}{', '.join(head)} or {last}"
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


def _describe(section: str, model: Any) -> Iterator[Setting]:
    hints = get_type_hints(model, include_extras=True)
    for field in fields(model):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        annotation = hints[field.name]
        if is_dataclass(annotation):
            yield from _describe(field.name, annotation)
            continue
        text = " ".join(each.documentation for each in annotation.__metadata__ if isinstance(each, DocInfo))
        kind = _branches(annotation)[0]
        kind = kind.__origin__ if hasattr(kind, "__metadata__") else kind
        tables = next(filter(is_dataclass, get_args(kind)), None)
        parts = tuple(_describe("", tables)) if tables else ()
        yield Setting(section, field.name, annotation, kind, text, default, tables, parts)


SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({each.path: each for each in _describe("", Settings)})
"""Every setting by its path, in the order of the model."""
SECTIONS: Final[Mapping[str, Any]] = MappingProxyType(
    {name: model for name, model in get_type_hints(Settings).items() if is_dataclass(model)}
)
"""The class of every section by its name, in the order of the model. Settings that are tables by name are none."""


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
        return f"{{{', '.join(f'{toml_key(key)} = {toml_value(each)}' for key, each in value.items())}}}"
    if is_dataclass(value):
        # What deviates: the rest is in the model.
        said = ((each, getattr(value, each.name)) for each in fields(value))
        return toml_value({each.name: given for each, given in said if given != each.default})
    return value.isoformat() if isinstance(value, date | time) else repr(value)


def toml_key(key: str) -> str:
    """A name as TOML 1.0, quoted if it must be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def commented() -> str:
    """Text of a config file that lists, explains and changes nothing: each setting is a comment that holds its default.

    Explanations begin with ``##`` and settings with ``# ``, so that uncommenting every line, by hand or with an editor,
    leaves a valid file that loads to the defaults, and one example of each table.
    """
    parts = [_explain(_HEADER)]
    for field in fields(Settings):
        if model := SECTIONS.get(field.name):
            parts.append(f"\n\n{_explain(cleandoc(model.__doc__))}\n[{field.name}]")
            parts += [_entry(each) for each in SETTINGS.values() if each.section == field.name]
        else:
            parts.append(f"\n{_entry(SETTINGS[field.name])}")
    return "\n".join(parts) + "\n"


def _entry(setting: Setting, example: Any = None) -> str:
    """Lines of one setting; of one that is tables, with an example."""
    if setting.model is None:
        default = "" if setting.required else toml_value(setting.default)
        allowed = f"{setting.allowed[0].upper()}{setting.allowed[1:]}; " + (
            f"default {default}" if default else "must be given"
        )
        value = toml_value(setting.default if example is None else example)
        return f"\n{_explain(setting.description)}\n{_explain(allowed)}\n# {setting.name} = {value}"
    name, values = _EXAMPLES[setting.path]
    head = f"[{setting.path}.{name}]" if name else f"[[{setting.path}]]"
    about = f"{cleandoc(setting.model.__doc__)}\n\n{setting.description}"
    return "\n".join([f"\n{_explain(about)}\n# {head}", *(_entry(part, values.get(part.name)) for part in setting.parts)])


def _explain(text: str) -> str:
    wrap = textwrap.TextWrapper(_WIDTH, initial_indent="## ", subsequent_indent="## ", break_on_hyphens=False)
    return "\n##\n".join(wrap.fill(paragraph) for paragraph in text.split("\n\n"))


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the config file, for editors and for checks without Roomcast.

    Holds types, bounds, allowed values, defaults and descriptions. Rules between settings are not in it.
    """
    schema = TypeAdapter(Settings).json_schema()
    for setting in SETTINGS.values():
        model = schema["$defs"][SECTIONS[setting.section].__name__] if setting.section else schema
        model["properties"][setting.name]["description"] = setting.description
        for part in setting.parts:
            schema["$defs"][setting.model.__name__]["properties"][part.name]["description"] = part.description
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Roomcast configuration"}
