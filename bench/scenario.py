"""Scenarios: named loads with the engine settings they need, each a TOML file.

Owns the files' shape, where the shipped ones are, and the settings that every run needs. Must not know how a load is played.

A file has the fields of `bench.load.Load`, ``text`` (what it measures, one line), and tables ``[engine.SECTION]`` with
settings of the engine.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.backend.play import sections_for
from bench.engineproc import Sections, merge
from bench.load import Load, LoadError, changed

__all__ = ["OPEN_LIMITS", "Scenario", "common_sections", "read_scenario", "shipped"]

PLENTY: Final = 1_000_000
OPEN_LIMITS: Final = {
    "comment_characters": 16_384,
    "comments_per_second": float(PLENTY),
    "comments_burst": PLENTY,
    "likes_per_second": float(PLENTY) * 1000,
    "likes_burst": PLENTY * 1000,
    "gifts_per_second": float(PLENTY),
    "gifts_burst": PLENTY,
    "messages_per_second": float(PLENTY),
    "messages_burst": PLENTY,
}
"""What is measured is the engine, not its rate limits."""
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


def common_sections(load: Load) -> Sections:
    """Settings that every run needs: a free port on loopback, no rate limits, a quiet log, and what the load asks for."""
    sections: Sections = {
        "edge": {"host": "127.0.0.1", "port": 0, "compression": load.compression},
        "limits": OPEN_LIMITS,
        "log": {"level": "warning"},
    }
    if not load.money:
        # Whatever lies about in the working directory is none of a benchmark's business.
        sections["ledger"] = {"url": ""}
    if load.withhold != "configured":
        sections["limits"] = OPEN_LIMITS | {"withhold": load.withhold}
    if load.secret:
        # Whoever has no token is a guest as ever.
        sections["access"] = {"secret": load.secret, "anonymous": "write"}
    if load.workers:
        sections["node"] = {"workers": load.workers}
    return merge(sections, sections_for(load)) if load.speech == "backend" else sections
