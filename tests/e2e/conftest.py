"""Fixtures of the end-to-end tests: over which link, in which codec, with whose client."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from bench.postgresproc import FORGETFUL, PostgresProcess, postgres_server
from bench.redisproc import redis_server
from engine.node import Node, open_node
from engine.settings import Settings

from .nodejs import install_ws
from .people import Foreign, open_people
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


class Clock:
    """The clock of the edges in this process."""

    def __init__(self) -> None:
        self.ahead_seconds = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_seconds * 1_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Can be set, and edges look at it all the time."""
    made = Clock()
    monkeypatch.setattr("engine.node.now_ms", made)
    monkeypatch.setattr("engine.edge.bearers._LONGEST_SECONDS", 0.05)
    monkeypatch.setattr("engine.edge.bearers._PAUSE_SECONDS", 0.01)
    return made


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


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One server for all."""
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server.url


@pytest.fixture
def redis(redis_url: str) -> dict[str, Any]:
    """Settings of a Redis that this test has for itself."""
    return {"url": redis_url, "prefix": f"test-{uuid4().hex}", "totals_seconds": 0.02}


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresProcess]:
    """One server for all."""
    with tempfile.TemporaryDirectory() as directory, postgres_server(Path(directory), *FORGETFUL) as server:
        yield server


@pytest.fixture
def shared_ledger(postgres: PostgresProcess) -> str:
    """A database for a ledger that several nodes share, which this test has for itself."""
    name = f"test{uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return postgres.url_of(name)


@pytest.fixture
def foreign(request: pytest.FixtureRequest, ws_home: Path) -> Foreign:
    """People in a room, every other one with `websockets`, the rest with Node's `ws`; who begins differs by link."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    return partial(open_people, ws_home, bool(parameters.get("running")))
