"""The way of a command into a room: as a viewer who gives up soon when nobody is there.

Owns how patient commands are, and the words for what cannot be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from engine.client import Client, Options, open_client
from engine.errors import RoomcastError

__all__ = ["entering"]

_ATTEMPTS = 3


@asynccontextmanager
async def entering(url: str, room: str, *, patient: bool = False, **more: Any) -> AsyncIterator[Client]:
    """Be in a room while the block runs; see `engine.client.open_client`.

    :param patient: come back however long it takes. The first time there must be somebody in any case.
    :raises RoomcastError: the URL is none, or what `open_client` raises.
    """
    if not url.startswith(("ws://", "wss://")):
        raise RoomcastError(f"--url must be such as ws://host:port/ws, not {url!r}")
    async with open_client(url, room=room, options=Options(attempts=None if patient else _ATTEMPTS), **more) as client:
        yield client
