"""Arguments and options that several commands have.

Owns their words. Knows nothing of what is done with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "API",
    "URL",
    "ConfigOption",
    "JsonOption",
    "KeyOption",
    "NameOption",
    "RoomArgument",
    "TokenOption",
    "UrlOption",
]

API = "http://127.0.0.1:8780"
URL = "ws://127.0.0.1:8765/ws"

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="TOML file; `roomcast init` writes one.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of text for people.")]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="API key, or token, with which the node's HTTP API is asked.",
        envvar="ROOMCAST_KEY",
        show_default=False,
        show_envvar=True,
    ),
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name shown with what you say.", show_default=False)]
RoomArgument = Annotated[str, typer.Argument(metavar="ROOM", help="Name of the room.")]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Says who you are and what you may do; `roomcast token` makes one.",
        envvar="ROOMCAST_TOKEN",
        show_default=False,
        show_envvar=True,
    ),
]
UrlOption = Annotated[str, typer.Option("--url", metavar="URL", help="WebSocket address of the node.", envvar="ROOMCAST_URL")]
