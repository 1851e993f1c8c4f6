"""A node, its HTTP API in this process, and somebody who calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import httpx
from fastapi import FastAPI

from engine.api.app import make_app
from engine.node import Node, open_node
from engine.settings import AccessSettings, ApiKey, ApiSettings, EdgeSettings, LedgerSettings, NodeSettings, Settings

SECRET = "a secret that is long enough for every one of the HMAC algorithms there are"
KEY = "rc_everything"

_SETTINGS = Settings(
    node=NodeSettings(name="test", shutdown_seconds=2.0, return_window_seconds=0.0),
    edge=EdgeSettings(port=0),
    access=AccessSettings(secret=SECRET),
)


def key_of(name: str, *scopes: Any, rooms: Iterable[str] = ("*",)) -> ApiKey:
    """The setting for the key ``rc_`` and this name."""
    return ApiKey(name=name, sha256=sha256(f"rc_{name}".encode()).hexdigest(), scopes=scopes or ("*",), rooms=tuple(rooms))


def settings(*keys: ApiKey, ledger: LedgerSettings | None = None, **api: Any) -> Settings:
    """Settings of a node that one key may do everything with, and others what they say."""
    made = ApiSettings(port=0, keys=(key_of("everything"), *keys), **api)
    return replace(_SETTINGS, api=made, ledger=ledger or _SETTINGS.ledger)


@dataclass
class Called:
    """A node whose API is called."""

    node: Node
    app: FastAPI
    client: httpx.AsyncClient

    async def call(self, method: str, path: str, *, key: str | None = KEY, **more: Any) -> httpx.Response:
        """One call, with a key or a token; None: without."""
        headers = dict(more.pop("headers", None) or {})
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return await self.client.request(method, path, headers=headers, **more)


@asynccontextmanager
async def calling(
    given: Settings | None = None, *, reread: Callable[[], Settings] | None = None, **more: Any
) -> AsyncIterator[Called]:
    """Run a node and its API while the block runs."""
    async with open_node(given or settings(), reread=reread) as node:
        app = make_app(node, trust=lambda: node.hub.trust.news, **more)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            yield Called(node, app, client)


def fault_of(answer: httpx.Response) -> dict[str, Any]:
    """The problem that an answer is."""
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["status"] == answer.status_code
    assert told["type"] == f"/docs#{told['name']}"
    assert told["request_id"] == answer.headers["x-request-id"]
    return told
