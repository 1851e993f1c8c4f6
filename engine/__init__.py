"""Roomcast: a large-room live-chat broadcast engine.

`open_node` runs the engine inside a trio program, `open_client` joins a room from one. Names are loaded when they are first
used, so that a client does not import the server, and an edge process not what it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.client import open_client
    from engine.config import load
    from engine.errors import Close, Code, Refused, RoomcastError
    from engine.node import Node, open_node
    from engine.settings import Settings

__all__ = ["Close", "Code", "Node", "Refused", "RoomcastError", "Settings", "load", "open_client", "open_node"]

_HOMES = {
    "Close": "engine.errors",
    "Code": "engine.errors",
    "Node": "engine.node",
    "Refused": "engine.errors",
    "RoomcastError": "engine.errors",
    "Settings": "engine.settings",
    "load": "engine.config",
    "open_client": "engine.client",
    "open_node": "engine.node",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
