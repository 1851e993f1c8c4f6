"""Fixtures of the end-to-end tests: over which link, in which codec, with whose client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from engine.node import Node, open_node
from engine.settings import Settings

from .nodejs import install_ws
from .viewers import JSON, MSGPACK, Viewer, open_viewer

Running = Callable[[Settings], AbstractAsyncContextManager[Node]]
Connect = Callable[..., AbstractAsyncContextManager[Viewer]]


@pytest.fixture(scope="session")
def ws_home(pytestconfig: pytest.Config) -> Path:
    """Where Node's `ws` is."""
    return install_ws(pytestconfig)


@pytest.fixture(params=[False, True], ids=["in-process", "encoded"])
def running(request: pytest.FixtureRequest) -> Running:
    """Runs a node, over each kind of link."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[Node]:
        async with open_node(settings, encoded_link=request.param) as node:
            yield node

    return run


@pytest.fixture(params=[MSGPACK, JSON], ids=["msgpack", "json"])
def codec(request: pytest.FixtureRequest) -> str:
    """A subprotocol."""
    name: str = request.param
    return name


@pytest.fixture(params=["websockets", "trio-websocket", "ws"])
def connect(request: pytest.FixtureRequest, ws_home: Path) -> Connect:
    """Connects a viewer with each of three clients that are not ours."""

    def opened(url: str, codec: str = MSGPACK, *, deflate: bool = True) -> AbstractAsyncContextManager[Viewer]:
        return open_viewer(request.param, url, codec, deflate=deflate, home=ws_home)

    return opened
