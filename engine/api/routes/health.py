"""Whether the node lives, and whether new viewers are welcome: for those who start, watch and replace it.

Owns the two answers. They need no key.
"""

from __future__ import annotations

from typing import Final, Literal

import trio
from fastapi import APIRouter, Response
from pydantic import BaseModel

from engine.api.context import Engine

__all__ = ["Live", "Ready", "router"]

_PATIENCE_SECONDS: Final = 2.0
"""How long the broker may take to answer; those who ask give up after a few seconds."""

router = APIRouter(prefix="/health", tags=["node"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether new viewers are welcome."""

    status: Literal["ready", "not_ready"]


@router.get("/live")
async def live() -> Live:
    """Whether the process answers. If not, it should be replaced."""
    return Live()


@router.get("/ready", responses={503: {"model": Ready, "description": "Not now: it stops, or its broker does not answer."}})
async def ready(engine: Engine, response: Response) -> Ready:
    """Whether new viewers are welcome: the node is not stopping, and its broker answers."""
    welcome = False
    with trio.move_on_after(_PATIENCE_SECONDS):
        welcome = await engine.ready()
    if not welcome:
        response.status_code = 503
    return Ready(status="ready" if welcome else "not_ready")
