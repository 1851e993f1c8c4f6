"""`roomcast doctor`: what limits a node, how that is seen, and what to change.

Owns who is asked, and for how long. How it is printed is for `engine.commands.advising`, what is advised for `engine.advice`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from engine.commands.arguments import ConfigOption, JsonOption, KeyOption
from engine.errors import RoomcastError

if TYPE_CHECKING:
    from engine.advice import Language
    from engine.commands.nodes import Node
    from engine.settings import Settings

__all__ = ["doctor"]

_GRAIN: Final = 0.1
"""Seconds between two looks at the clock while it waits."""
_ASKING: Final = 5.0
"""Seconds after which a node that is watched is asked again: it may have gone."""
_WATCHING: Final[dict[Language, str]] = {"en": "watching", "zh": "正在观察"}


def doctor(
    room: Annotated[
        str, typer.Option("--room", metavar="ROOM", help="Of the rooms look at this one only.", show_default=False)
    ] = "",
    api: Annotated[
        str | None,
        typer.Option(
            "--api",
            metavar="URL",
            help="Of the node's HTTP API; else it is that of the config file and the environment.",
            envvar="ROOMCAST_API",
            show_default=False,
        ),
    ] = None,
    key: KeyOption = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="SECONDS", min=1, max=900, help="How much of the past to look at.")
    ] = 10.0,
    language: Annotated[
        Literal["en", "zh"] | None,
        typer.Option("--language", help="Of advice; else that of LC_ALL, LC_MESSAGES or LANG.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what limits a node now, what that is seen by, exactly what to change, and what the change should do.

    Each piece of advice rests on counters of the node and its machine, and names those that should move when it is followed:
    change what it says, `roomcast reload`, and ask again. A node that has been running for less than --seconds is watched until
    then. The exit status is 1 if viewers or the product lose something now, else 0.

    If no node answers where the config file has it, only that file and the machine are looked at.

    roomcast doctor --key rc_…

    roomcast doctor --config roomcast.toml --room 大厅 --seconds 60 --json
    """
    from engine.commands.nodes import Unreachable, asking
    from engine.config import load

    settings = load(config)
    url = api or _url_of(settings)
    language = language or _language(os.environ)
    told, why = None, ""
    if url:
        try:
            with asking([url], key) as (node,):
                told = {"node": url} | _ask(node, room, seconds, language)
        except Unreachable as error:
            if api:
                # This machine and its settings say nothing of a node elsewhere.
                raise
            why = str(error)
    if told is None:
        told = {"node": "", "since_seconds": 0.0, "advice": _looked_at(settings, language)}
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        from engine.commands.advising import show

        show(told, "" if config is None else str(config), why, language)
    raise typer.Exit(int(any(each["severity"] == "fault" for each in told["advice"])))


def _url_of(settings: Settings) -> str:
    """Where a node with these settings has its API; empty if it has none, or nobody can know."""
    from engine.greeting import http_url

    api = settings.api
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(api.host, api.host)
    return http_url(host, api.port) if api.enabled and api.port else ""


def _ask(node: Node, room: str, seconds: float, language: Language) -> dict[str, Any]:
    """At once if the node has looked at itself for so long, else when it has. Raises `RoomcastError` if it goes meanwhile."""
    from engine.commands.nodes import Unreachable
    from engine.commands.progress import bar

    told: dict[str, Any] = node.read("/v1/node/advice", seconds=seconds, room=room, language=language)
    if (left := seconds - told["since_seconds"]) <= 0:
        return told
    begun = time.monotonic()
    with bar(f"{_WATCHING[language]} {node.url}", round(left)) as progress:
        asked = 0.0
        while asked < left:
            if (passed := time.monotonic() - begun) >= min(asked + _ASKING, left):
                asked = passed
                try:
                    told = node.read("/v1/node/advice", seconds=seconds, room=room, language=language)
                except Unreachable as error:
                    raise RoomcastError(f"{error}; it went away while it was watched") from None
            progress.at(int(passed))
            time.sleep(_GRAIN)
    return told


def _looked_at(settings: Settings, language: Language) -> list[dict[str, Any]]:
    """Without a node."""
    from engine.advice import plain, preview
    from engine.machine import machine

    return [asdict(advice) for advice in preview(plain(settings), machine(), language)]


def _language(environment: Mapping[str, str]) -> Language:
    """Of who asks; POSIX has it in these, the first that is set counts (Base Definitions, 8.2)."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    chosen = next((environment[name] for name in names if environment.get(name)), "")
    return "zh" if chosen.startswith("zh") else "en"
