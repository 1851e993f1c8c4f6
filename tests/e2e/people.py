"""People of a live room: a host, moderators, viewers with a name, guests, each with a client that is not ours.

Owns the settings and tokens with which the tests of what a room means run. Must not know what is tested.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.access import mint
from engine.settings import FeedSettings, Settings

from .nodes import lively
from .viewers import JSON, MSGPACK, Viewer, open_viewer

__all__ = ["ROOM", "SECRET", "Foreign", "live", "open_people", "token"]

ROOM = "大厅🎬"
SECRET = "只有产品和服务器知道的密钥-0123456789"

Foreign = Callable[..., AbstractAsyncContextManager[tuple[Viewer, ...]]]
"""``foreign(url, *tokens, room=ROOM)``: who has joined a room, None for a guest."""


def live(*, feeds: dict[str, FeedSettings] | None = None, **sections: dict[str, Any]) -> Settings:
    """Settings with tokens, changed by section as in `lively`."""
    sections["access"] = {"secret": SECRET, "anonymous": "write", **sections.get("access", {})}
    return replace(lively(**sections), feeds=feeds or {})


def token(user: str, role: str = "viewer", **more: Any) -> str:
    """Of a user."""
    return mint(SECRET, user, role=role, **more)


@asynccontextmanager
async def open_people(
    home: Path, turned: bool, url: str, *tokens: str | None, room: str = ROOM, **more: Any
) -> AsyncIterator[tuple[Viewer, ...]]:
    """Connect somebody for each token, and join.

    :param home: where `ws` is.
    :param turned: whether the first one has `ws`.
    :param more: of `Viewer.join`.
    """
    async with AsyncExitStack() as stack:
        people = []
        for number, each in enumerate(tokens):
            make, codec = (("websockets", MSGPACK), ("ws", JSON))[(number + turned) % 2]
            viewer = await stack.enter_async_context(open_viewer(make, url, codec, home=home))
            await viewer.join(room, token=each, **more)
            # A snapshot may be older than what follows it at once.
            await viewer.settle()
            people.append(viewer)
        yield tuple(people)
