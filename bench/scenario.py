"""Scenarios: named loads with the engine settings they need, each a TOML file.

Owns the files' shape and where the shipped ones are. Must not know how a load is played.

A file has the fields of `bench.load.Load`, ``text`` (what it measures, one line), and tables ``[engine.SECTION]`` with
settings of the engine.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.engineproc import Sections
from bench.load import Load, LoadError, changed

__all__ = ["Scenario", "read_scenario", "shipped"]

_SHIPPED = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A load with a name.

    :ivar text: what it measures, one line.
    :ivar sections: engine settings it needs beyond the common ones.
    """

    name: str
    text: str
    load: Load
    sections: Sections = field(default_factory=dict)


def shipped() -> list[str]:
    """Names of the scenarios that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def read_scenario(name: str) -> Scenario:
    """A shipped scenario by its name, or any by its file.

    :raises LoadError: there is none, or it says something that is not allowed.
    """
    path = _SHIPPED / f"{name}.toml" if name in shipped() else Path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadError(f"{name} is neither a file nor one of {', '.join(shipped())}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LoadError(f"{path}: {error}") from None
    text, engine = values.pop("text", ""), values.pop("engine", {})
    if not isinstance(text, str) or not _sections(engine):
        raise LoadError(f"{path}: text is a string, engine a table of tables")
    return Scenario(name=path.stem, text=text, load=changed(Load(), values, strict=True, where=f"{path}: "), sections=engine)


def _sections(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(section, dict) for section in value.values())
