"""Settings from files, the environment and the command line; every fault of all of them at once, in plain words.

Owns where values come from and which source wins. Must not know what a setting does or what is allowed: the model is
`engine.settings`, `engine.configvalues` and `engine.configcheck` judge values, and the words come from `engine.configfile`.

Each value is validated on its own, by pydantic, in the source that holds it. pydantic-settings was not used: it merges
its sources before it validates, so that a fault cannot say where its value came from, and ignores misspelt variables.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Final

from engine.configcheck import broken_rules, check, value_of
from engine.configfile import SECTIONS, SETTINGS, Setting, toml_value
from engine.configvalues import Fault, read, shown
from engine.errors import RoomcastError
from engine.settings import Settings

__all__ = ["ConfigError", "Fault", "check", "load", "report"]

_PREFIX: Final = "ROOMCAST_"
_BESIDE: Final = [each.path for each in SETTINGS.values() if not each.section]
"""Settings that stand beside the sections."""


class ConfigError(RoomcastError):
    """A configuration cannot be used. Its text is one line for each fault.

    :ivar faults: all of them, in the order of the sources and of what stands in them; never empty.
    """

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


# -- use ---------------------------------------------------------------------------------------------------------------


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings. Later wins: the defaults, the file, the environment, the overrides. All of them must be valid.

    :param path: a TOML file; None for none. Types are strict there, but a whole number may stand for a fraction.
    :param environ: ``ROOMCAST_EDGE__PORT`` sets ``edge.port``, ``ROOMCAST_FEEDS`` all feeds; lists and tables are written as
        in TOML, on one line, or as in JSON. Other variables without ``__`` are left alone: Kubernetes sets ``ROOMCAST_PORT``
        and the like for a service called roomcast.
    :param overrides: ``{section: {name: value}}`` from the command line. None means not given; text is parsed as in the
        environment.
    :raises ConfigError: with all faults.
    """
    return _load(path, environ, overrides)[0]


def report(path: Path, *, environ: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Exit status and text of ``roomcast check FILE``: 0 and what deviates from the defaults, or 1 and all faults.

    The environment counts, as it does for a node that is started in it.
    """
    try:
        settings, sources = _load(path, environ, None)
    except ConfigError as error:
        what = "1 fault" if len(error.faults) == 1 else f"{len(error.faults)} faults"
        return 1, f"{path} cannot be used, {what}:\n{error}"
    lines = []
    for setting in SETTINGS.values():
        value = value_of(setting, settings)
        if value != setting.default:
            origin = sources[setting.path]
            default = toml_value(setting.default)
            lines.append(f"{setting.path} = {toml_value(shown(setting.path, value))} (default {default}; {origin})")
    if not lines:
        return 0, f"{path} is valid; every setting has its default."
    what = "1 setting deviates" if len(lines) == 1 else f"{len(lines)} settings deviate"
    return 0, "\n".join([f"{path} is valid; {what} from the defaults:", *lines])


# -- sources -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that a source holds for a setting."""

    setting: Setting
    value: Any
    source: str
    lenient: bool = False
    """Whether text stands for a value of any type."""


def _load(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None
) -> tuple[Settings, dict[str, str]]:
    """The settings, and the source of each that was given, by path."""
    faults: list[Fault] = []
    unsure: set[str] = set()
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    sources: dict[str, str] = {}
    for found in chain(_from_file(path), _from_environment(environ), _from_overrides(overrides or {})):
        if isinstance(found, Fault):
            faults.append(found)
            unsure |= _doubtful(found)
            continue
        setting = found.setting
        sources[setting.path] = found.source
        value, wrong = _read(found)
        if wrong:
            faults += wrong
            unsure.add(setting.path)
        else:
            sections.setdefault(setting.section, {})[setting.name] = value
    beside = sections.pop("", {})
    settings = Settings(**{section: model(**sections[section]) for section, model in SECTIONS.items()}, **beside)
    for fault, paths in broken_rules(settings, unsure):
        origins = [sources.get(each, "default") for each in paths]
        plain = origins[0] if len(set(origins)) == 1 else ", ".join(map("{}: {}".format, paths, origins))
        faults.append(replace(fault, source=plain))
    if faults:
        raise ConfigError(tuple(faults))
    return settings, sources


def _doubtful(fault: Fault) -> set[str]:
    """Settings whose value is not known because of a fault, so that rules about them would only confuse."""
    if not fault.path:
        return set(SETTINGS)
    meant = _nearest(fault.path)
    return {each for each in SETTINGS if each == meant or each.startswith(f"{meant or fault.path}.")}


def _from_file(path: Path | None) -> Iterator[_Given | Fault]:
    if path is None:
        return
    try:
        # Editors on Windows begin UTF-8 with a byte order mark.
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        yield Fault("", None, 'does not exist; "roomcast init" writes a file with every setting', str(path))
        return
    except OSError as error:
        yield Fault("", None, f"cannot be read: {error.strerror or error}", str(path))
        return
    try:
        text = data.decode()
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode())
        problem = f"byte 0x{data[error.start]:02x} is not UTF-8, which TOML requires"
        yield Fault("", None, problem, f"{path}, line {line}, column {column}")
    except RecursionError:
        yield Fault("", None, "arrays or tables are nested too deeply", str(path))
    except ValueError as error:
        # Python 3.11 tells the position only in the text.
        problem, _, where = str(error).partition(" (at ")
        if where.startswith("end of document"):
            where = "line {}, column {}".format(*_position(text))
        yield Fault("", None, f"is not valid TOML: {problem}", f"{path}, {where.rstrip(')')}".removesuffix(", "))
    else:
        yield from _from_table(table, str(path))


def _position(text: str) -> tuple[int, int]:
    """Line and column, counted from 1, of what follows this text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _from_table(table: Mapping[str, Any], source: str, *, lenient: bool = False) -> Iterator[_Given | Fault]:
    for section, content in table.items():
        if section in SETTINGS:
            yield _Given(SETTINGS[section], content, source, lenient)
        elif section not in SECTIONS:
            kind = "section" if isinstance(content, Mapping) else "setting"
            near = _nearest(section)
            meant = f"[{near}]" if near in SECTIONS else f"[{near}.NAME]" if near in _BESIDE else near
            yield Fault(section, content, f"there is no such {kind}", source, meant)
        elif not isinstance(content, Mapping):
            yield Fault(section, content, f"must be a section, [{section}], with settings below it", source)
        else:
            for name, value in content.items():
                setting = SETTINGS.get(f"{section}.{name}")
                if setting is None:
                    path = f"{section}.{name}"
                    yield Fault(path, value, "there is no such setting", source, _nearest(path))
                else:
                    yield _Given(setting, value, source, lenient)


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given | Fault]:
    variables = {setting.variable: setting for setting in SETTINGS.values()}
    for variable in sorted(environ):
        source = f"environment {variable}"
        if variable in variables:
            yield _Given(variables[variable], environ[variable], source, lenient=True)
            continue
        if not variable.startswith(_PREFIX) or "__" not in variable:
            continue
        path = variable.removeprefix(_PREFIX).lower().replace("__", ".")
        meant = SETTINGS.get(path) or SETTINGS.get(_nearest(path))
        suggestion = meant.variable if meant else ""
        yield Fault(path, environ[variable], "there is no such setting", source, suggestion)


def _from_overrides(overrides: Mapping[str, Any]) -> Iterator[_Given | Fault]:
    for found in _from_table(overrides, "command line", lenient=True):
        if isinstance(found, Fault) or found.value is not None:
            yield found


def _nearest(path: str) -> str:
    """Path of the setting that was probably meant, or the section for a path without a dot; empty if none is near."""
    section, _, name = path.lower().rpartition(".")
    beside = [each for each in _BESIDE if section.partition(".")[0] == each]
    if beside or not section:
        for near in beside or get_close_matches(name, [*SECTIONS, *_BESIDE], n=1):
            return near
    here = get_close_matches(section, list(SECTIONS), n=1)
    # The right name here or elsewhere, a similar one here, a very similar one elsewhere.
    for places, cutoff in ((here, 1.0), (list(SECTIONS), 1.0), (here, 0.6), (list(SECTIONS), 0.85)):
        settings = [each for each in SETTINGS.values() if each.section in places]
        for near in get_close_matches(name, [each.name for each in settings], n=1, cutoff=cutoff):
            return next(each.path for each in settings if each.name == near)
    return ""


# -- values ------------------------------------------------------------------------------------------------------------


def _read(given: _Given) -> tuple[Any, list[Fault]]:
    """The value as the model holds it, or what is wrong with it."""
    value, strict = given.value, not (given.lenient and isinstance(given.value, str))
    if not strict and (given.setting.is_list or given.setting.model):
        value, strict = _inline(given.value), True
    return read(given.setting, value, given.source, strict=strict)


def _inline(text: str) -> Any:
    """A list or a table written as JSON or TOML, whose strings differ; the text itself if it is neither."""
    readers: tuple[Callable[[], Any], ...] = (lambda: json.loads(text), lambda: tomllib.loads(f"value = {text}")["value"])
    for reader in readers:
        try:
            value = reader()
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, list | dict) else text
    return text
