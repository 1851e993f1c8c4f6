"""Figures for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).

Owns when they are rendered: in a thread, since it takes milliseconds in which nothing else would run, one at a time, and for
everybody who asks within a second. What they are called is for `engine.metrics`.
"""

from __future__ import annotations

import math
from typing import Final

import trio
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from engine.api.context import Engine, permitted
from engine.metrics import CONTENT_TYPE, render
from engine.metrics.requests import Requests

__all__ = ["Rendered", "router"]

_FRESH_SECONDS: Final = 1.0

router = APIRouter(tags=["node"])


class Rendered:
    """The figures as they were last rendered.

    :param figures: of the HTTP API's requests.
    """

    def __init__(self, figures: Requests) -> None:
        self._figures = figures
        self._lock = trio.Lock()
        self._text = b""
        self._time = -math.inf

    async def get(self, engine: Engine) -> bytes:
        """The text, at most a second old."""
        async with self._lock:
            if trio.current_time() - self._time > _FRESH_SECONDS:
                vitals = {**engine.vitals(), "api": self._figures.table()}
                self._text = await trio.to_thread.run_sync(render, vitals)
                self._time = trio.current_time()
            return self._text


async def _may_read(request: Request, engine: Engine) -> None:
    if not engine.settings.api.public_metrics:
        permitted(request, "node:read")


@router.get(
    "/metrics",
    dependencies=[Depends(_may_read)],
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}, "description": "Text, one figure a line."}},
    openapi_extra={"security": [{}, {"key": ["node:read"]}]},
)
async def metrics(request: Request, engine: Engine) -> Response:
    """Figures of the node in Prometheus's text format. Needs a key only if `api.public_metrics` is off."""
    rendered: Rendered = request.app.state.rendered
    return Response(await rendered.get(engine), media_type=CONTENT_TYPE)
