"""Roomcast: a large-room live-chat broadcast engine.

`open_node` runs the engine inside a trio program, `embed` inside an asyncio one, `start` in a thread of any other;
`open_client` joins a room. Names are loaded when they are first used, so that a client does not import the server, and an edge
process not what it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.client import open_client
    from engine.config import load
    from engine.embedding.hosted import EmbeddedNode, embed
    from engine.embedding.thread import Running, start
    from engine.errors import Close, Code, Refused, RoomcastError
    from engine.node import Node, open_node
    from engine.settings import Settings

__all__ = [
    "Close",
    "Code",
    "EmbeddedNode",
    "Node",
    "Refused",
    "RoomcastError",
    "Running",
    "Settings",
    "embed",
    "load",
    "open_client",
    "open_node",
    "start",
]

_HOMES = {
    "Close": "engine.errors",
    "Code": "engine.errors",
    "EmbeddedNode": "engine.embedding.hosted",
    "Node": "engine.node",
    "Refused": "engine.errors",
    "RoomcastError": "engine.errors",
    "Running": "engine.embedding.thread",
    "Settings": "engine.settings",
    "embed": "engine.embedding.hosted",
    "load": "engine.config",
    "open_client": "engine.client",
    "open_node": "engine.node",
    "start": "engine.embedding.thread",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
