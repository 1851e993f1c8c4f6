"""A room that the API's tests act on, and a viewer in it who sees what comes of that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import trio

from engine.access import mint
from engine.api.app import make_app
from engine.api.routes.rooms import location_of
from engine.client import Client, open_client

from .calling import SECRET, Called

__all__ = ["ROOM", "at", "key", "restarted", "token", "until", "watching"]

ROOM = "大厅/一号 🎬"
"""With a slash: in a path it comes as `engine.api.target.SLASH`."""
PATIENCE = 20.0

_Item = TypeVar("_Item")


def at(*names: str | int, room: str = ROOM) -> str:
    """A path in the room, as an application gets it from the server."""
    return location_of(room, *names).replace("%2F", "%1F")


def key(name: str) -> dict[str, str]:
    """The header of a retry."""
    return {"Idempotency-Key": name}


def token(user: str, role: str = "viewer", **more: Any) -> str:
    """Of a user."""
    return mint(SECRET, user, role=role, **more)


@asynccontextmanager
async def watching(called: Called, user: str = "", *, room: str = ROOM, **more: Any) -> AsyncIterator[Client]:
    """Be a viewer of the room: a user with a token, or a guest."""
    own = token(user, **more) if user else None
    async with open_client(called.node.url, room=room, token=own) as client:
        yield client


async def until(client: Client, kind: type[_Item], /, **fields: Any) -> _Item:
    """Follow the room up to the first thing of this kind that is so."""
    with trio.fail_after(PATIENCE):
        async for item in client:
            if isinstance(item, kind) and all(getattr(item, name) == value for name, value in fields.items()):
                return item
    raise AssertionError("the room has ended")


@asynccontextmanager
async def restarted(called: Called) -> AsyncIterator[Called]:
    """The same node with an API that remembers no answers."""
    app = make_app(called.node)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        yield Called(called.node, app, client)
