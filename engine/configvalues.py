"""One value against one setting: whether it is allowed, what it becomes, and the words for what is wrong with it.

Owns `Fault`, and that no message shows a secret. Must not know files or the environment (`engine.config`), nor which values go
together (`engine.configcheck`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from engine.configfile import SETTINGS, Setting, number, toml_key, toml_value

__all__ = ["Fault", "element_path", "read", "shown", "verify"]

_SHOWN: Final = 100
"""Characters of a wrong value that a message repeats."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a configuration.

    :ivar path: of the setting, ``section.name``, ``[index]`` for an element of a list; empty for a file as a whole.
    :ivar value: what was found there, secrets as asterisks; None for a file as a whole.
    :ivar problem: what is allowed instead, as the rest of a sentence about the setting.
    :ivar source: where the value came from; empty for `Settings` made in Python.
    :ivar suggestion: what was probably meant, empty if that is anybody's guess.
    """

    path: str
    value: Any
    problem: str
    source: str = ""
    suggestion: str = ""

    def __post_init__(self) -> None:
        # Here, so that no message, no log and no traceback can forget it.
        object.__setattr__(self, "value", shown(self.path, self.value))

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        if not self.path:
            return _printable(f"{self.source}: {self.problem}{hint}")
        value = toml_value(self.value)
        shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
        return _printable(f"{self.path} = {shown}: {self.problem}{hint}{f' ({self.source})' if self.source else ''}")


def _printable(text: str) -> str:
    """One line that any terminal takes, whatever keys, values and names of files hold."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


_SECRETS: Final = ("access.secret", "hooks.secret")
_SECRETIVE: Final = re.compile(r"secret|passw|token|key", re.IGNORECASE)
_PASSWORD: Final = re.compile(r"(://[^/@:]*:).*@|([?&][^=&]*passw[^=&]*=)[^&]*", re.IGNORECASE)
"""In a URL: in front of the host, where a slash that should have been escaped belongs to it, or among the parameters."""


def shown(path: str, value: Any) -> Any:
    """A value as it may be shown: secrets are asterisks, also where they stand under a wrong name, and URLs lose
    their passwords."""
    if path in _SECRETS:
        return value if value in ("", None) else "***"
    if is_dataclass(value) and not isinstance(value, type):
        # One of several tables, such as a key.
        return replace(value, **{each.name: shown(f"{path}.{each.name}", getattr(value, each.name)) for each in fields(value)})
    if isinstance(value, Mapping):
        return {key: shown(f"{path}.{key}", each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(shown(f"{path}.", each) for each in value)
    if not isinstance(value, str):
        return value
    name = path.rpartition(".")[2]
    if path not in SETTINGS and (_SECRETIVE.search(name) or get_close_matches(name.lower(), ["secret"])):
        return "***"
    if path.startswith("hooks."):
        # A product may have put a key there.
        value = value.partition("?")[0] + ("?…" if "?" in value else "")
    return _PASSWORD.sub(lambda found: f"{found[1]}…@" if found[1] else f"{found[2]}…", value)


# -- values ------------------------------------------------------------------------------------------------------------


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    # Infinity and NaN would pass half of the bounds and break every deadline computed from them.
    return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))


def read(setting: Setting, value: Any, source: str = "", *, strict: bool = True) -> tuple[Any, list[Fault]]:
    """A value of a file or the environment as the model holds it, or what is wrong with it.

    :param strict: text is text; otherwise it may stand for a value of any type.
    """
    if setting.model:
        return _read_tables(setting, value, source)
    given = tuple(value) if setting.is_list and isinstance(value, list) else value
    try:
        return _adapter(setting.annotation).validate_python(given, strict=strict), []
    except ValidationError as error:
        return None, list(_explain(setting, value, error, source))


def _read_tables(setting: Setting, value: Any, source: str) -> tuple[Any, list[Fault]]:
    if not isinstance(value, Mapping if setting.is_named else list):
        return None, [Fault(setting.path, value, f"must be {setting.allowed}", source)]
    parts = {part.name: part for part in setting.parts}
    made: dict[Any, Any] = {}
    faults: list[Fault] = []
    for key, table in _tables(value):
        path = element_path(setting, key)
        if not isinstance(table, Mapping):
            faults.append(Fault(path, table, "must be a table of settings", source))
            continue
        fields: dict[str, Any] = {}
        for name, each in table.items():
            if name in parts:
                fields[name], wrong = read(parts[name].at(path), each, source)
                faults += wrong
            else:
                near = get_close_matches(name.lower(), parts, n=1)
                meant = f"{path}.{near[0]}" if near else ""
                faults.append(Fault(f"{path}.{toml_key(name)}", each, "there is no such setting", source, meant))
        missing = [part.name for part in setting.parts if part.required and part.name not in table]
        faults += [Fault(path, table, f"must have {name}", source) for name in missing]
        if not faults:
            made[key] = setting.model(**fields)
    return (made if setting.is_named else tuple(made.values())), faults


def verify(setting: Setting, value: Any) -> Iterator[Fault]:
    """What is wrong with a value that was made in Python."""
    if not setting.model:
        try:
            _adapter(setting.annotation).validate_python(value, strict=True)
        except ValidationError as error:
            yield from _explain(setting, value, error, "")
    elif not isinstance(value, Mapping if setting.is_named else tuple):
        yield Fault(setting.path, value, f"must be a {'dictionary' if setting.is_named else 'tuple'} in Python")
    else:
        for key, table in _tables(value):
            path = element_path(setting, key)
            if not isinstance(table, setting.model):
                yield Fault(path, table, f"must be a {setting.model.__name__} in Python")
                continue
            for part in setting.parts:
                yield from verify(part.at(path), getattr(table, part.name))


def _tables(value: Any) -> Iterable[tuple[Any, Any]]:
    """Each table with its name or index."""
    return value.items() if isinstance(value, Mapping) else enumerate(value)


def element_path(setting: Setting, key: Any) -> str:
    """Path of one table of a setting that is several."""
    return f"{setting.path}.{toml_key(str(key))}" if setting.is_named else f"{setting.path}[{key}]"


_BOUNDS: Final = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def _explain(setting: Setting, given: Any, error: ValidationError, source: str) -> Iterator[Fault]:
    if setting.words:
        # Pydantic tells for each type why it is not that one.
        yield Fault(setting.path, given, f"must be {setting.allowed}", source, _meant(setting, given))
        return
    for detail in error.errors(include_url=False):
        index = "".join(f"[{each}]" for each in detail["loc"])
        value = detail["input"] if index else given
        suggestion = ""
        if detail["type"] in _BOUNDS:
            (bound,) = detail["ctx"].values()
            problem = f"{_BOUNDS[detail['type']]} {number(bound)}"
        elif index:
            problem = setting.allowed.removeprefix("a list of ") if setting.choices else "a string"
            suggestion = _choice(setting, value)
        elif detail["type"] == "finite_number":
            problem = setting.allowed.replace("a number", "a finite number")
        elif setting.is_list and isinstance(value, list):
            problem = "a tuple of strings in Python"
        else:
            problem = setting.allowed
            suggestion = _meant(setting, value)
        yield Fault(setting.path + index, value, f"must be {problem}", source, suggestion)


def _meant(setting: Setting, value: Any) -> str:
    """A value of the right type that a wrong one probably stands for, as TOML; empty if there is none."""
    if setting.choices and not setting.is_list:
        return _choice(setting, value)
    if setting.is_list and isinstance(value, str):
        elements = (each.strip(" '\"") for each in value.strip("[] ").split(","))
        return toml_value([each for each in elements if each])
    # Pydantic reads true as 1, which nobody meant.
    if isinstance(value, bool):
        return ""
    near = get_close_matches(value.lower(), setting.words, n=1) if isinstance(value, str) else []
    if near:
        return toml_value(near[0])
    try:
        return toml_value(_adapter(setting.annotation).validate_python(value, strict=False))
    except ValidationError:
        return ""


def _choice(setting: Setting, value: Any) -> str:
    near = get_close_matches(value.lower(), setting.choices, n=1) if isinstance(value, str) else []
    return next(map(toml_value, near), "")
