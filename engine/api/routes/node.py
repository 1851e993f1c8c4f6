"""The node itself: its figures, its settings, and reading them again.

Owns the shapes. Secrets are never shown (`engine.configvalues.shown`).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from engine.api.context import Engine, authorized
from engine.api.problems import Problem
from engine.configcheck import value_of
from engine.configfile import SETTINGS
from engine.configvalues import shown
from engine.errors import Code, RoomcastError
from engine.reload import ReloadRefused

__all__ = ["Changed", "Deviation", "Deviations", "NodeFigures", "router"]

router = APIRouter(prefix="/v1/node", tags=["node"])


class NodeFigures(BaseModel):
    """A node and what it has done since it started."""

    name: str
    version: str
    statistics: Annotated[dict[str, Any], Field(description="By part; cumulative, unless it is a number of things now.")]


class Deviation(BaseModel):
    """A setting that is not as it is by default. Its value is among the settings."""

    path: Annotated[
        str, Field(description="Such as limits.comments_burst; of tables by name, such as gifts, without the name.")
    ]
    default: Annotated[Any, Field(description="What it would be if nobody had set it.")]


class Deviations(BaseModel):
    """What deviates from the defaults, in the order of the config file."""

    deviations: list[Deviation]


class Changed(BaseModel):
    """What came of reading the settings again; paths such as limits.comments_burst."""

    changed: Annotated[list[str], Field(description="Hold from now on with another value.")]
    restart: Annotated[list[str], Field(description="Differ from what is in force, and will hold after a restart.")]


@router.get("", dependencies=[authorized("node:read")])
async def read_node(engine: Engine) -> NodeFigures:
    """Name, version and statistics of the node."""
    return NodeFigures(name=engine.name, version=version("roomcast"), statistics=engine.vitals())


@router.get("/settings", dependencies=[authorized("node:read")])
async def read_settings(engine: Engine) -> dict[str, Any]:
    """The settings in force, by section, without secrets."""
    settings = engine.settings
    told: dict[str, Any] = {}
    for path, setting in SETTINGS.items():
        section = told.setdefault(setting.section, {}) if setting.section else told
        section[setting.name] = shown(path, _plain(value_of(setting, settings)))
    return told


@router.get("/settings/deviations", dependencies=[authorized("node:read")])
async def read_deviations(engine: Engine) -> Deviations:
    """The settings in force that differ from their defaults. Of a secret only that it does is told, as of all others."""
    settings = engine.settings
    return Deviations(
        deviations=[
            Deviation(path=path, default=_plain(setting.default))
            for path, setting in SETTINGS.items()
            if value_of(setting, settings) != setting.default
        ]
    )


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


@router.post("/reload", dependencies=[authorized("node:write")])
async def reload_settings(engine: Engine) -> Changed:
    """Read the settings again and let those hold that can change while viewers stay. Settings that cannot be used change
    nothing."""
    try:
        reloaded = await engine.reload()
    except ReloadRefused as refused:
        errors = [{"path": path, "problem": problem} for path, problem in refused.faults]
        raise Problem("the settings cannot be used; nothing has changed", code=Code.INVALID, errors=errors) from None
    except RoomcastError as error:
        raise Problem(str(error), code=Code.CONFLICT) from None
    return Changed(changed=reloaded.changed, restart=reloaded.restart)
