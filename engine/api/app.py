"""The HTTP API as an ASGI application: routes, what stands before them, and what they say of themselves.

Owns the composition. Must not know sockets (`engine.api.server`), nor what a call does (`engine.api.routes`). What every
request passes is plain ASGI, from the outside in: the journal, who is known, the body, retries, then FastAPI.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import compile_path

from engine.api.bodies import Bodies
from engine.api.callers import ApiCallers
from engine.api.docs import POLICY, page
from engine.api.heads import Heads
from engine.api.journal import Journal
from engine.api.known import Known
from engine.api.openapi import METHODS, PROBLEMS, describe
from engine.api.pages import router as _site
from engine.api.problems import handle, problem_of
from engine.api.retries import Answers, Retries
from engine.api.routes import (
    console,
    health,
    history,
    metrics,
    moderation,
    money,
    node,
    quality,
    rooms,
    speech,
    state,
    tokens,
    webhooks,
)
from engine.api.tracing import tracing
from engine.backend import Backend
from engine.link.messages import Trust
from engine.metrics.requests import Requests

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

__all__ = ["make_app"]

_ROUTERS: tuple[APIRouter, ...] = (
    rooms.router,
    quality.router,
    speech.router,
    state.router,
    moderation.router,
    money.router,
    history.router,
    webhooks.router,
    tokens.router,
    node.router,
    console.router,
    health.router,
    metrics.router,
)
"""In the order of the documentation."""

_SILENT: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""FastAPI's own telemetry tells paths, which hold names; `engine.api.tracing` does not."""


class _About:
    """What the application says of itself, made when somebody asks: it never changes."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @cached_property
    def document(self) -> dict[str, Any]:
        return describe(self._app)

    @cached_property
    def text(self) -> bytes:
        return json.dumps(self.document, ensure_ascii=False).encode()

    @cached_property
    def page(self) -> bytes:
        return page(self.document).encode()

    @cached_property
    def bare_page(self) -> bytes:
        return page(self.document, site=False).encode()

    @cached_property
    def methods(self) -> list[tuple[Any, str]]:
        """The methods of each path."""
        return [
            (compile_path(path)[0], ", ".join(method.upper() for method in METHODS if method in item))
            for path, item in self.document["paths"].items()
        ]

    def allowed(self, path: str) -> str:
        """The methods of a path, as the header Allow has them (RFC 9110 section 10.2.1)."""
        return next((methods for regex, methods in self.methods if regex.match(path)), "GET")


def make_app(
    backend: Backend,
    *,
    trust: Callable[[], Trust | None] = lambda: None,
    tracer_provider: Any = None,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Put the HTTP API of a node together.

    :param trust: what the hub says of tokens.
    :param tracer_provider: of OpenTelemetry; None: that of the process, if there is one.
    :param clock: seconds, monotonic.
    """
    figures = Requests()
    answers = Answers(lambda: backend.settings.api, clock)
    app = FastAPI(
        title="Roomcast",
        summary="Large-room live chat, for the product behind it",
        version=version("roomcast"),
        # Nobody is sent to another machine for a page.
        openapi_url=None,
        redirect_slashes=False,
        responses=PROBLEMS,
        generate_unique_id_function=lambda route: route.name,
        telemetry=_SILENT,
        middleware=[
            Middleware(Journal, figures, tracing(tracer_provider)),
            Middleware(Heads),
            Middleware(Known),
            Middleware(Bodies),
            Middleware(Retries, answers),
        ],
    )
    app.state.backend = backend
    app.state.callers = ApiCallers(lambda: backend.settings, trust, clock=clock)
    app.state.rendered = metrics.Rendered(figures)
    app.state.about = about = _About(app)
    handle(app)

    async def not_for_this(request: Request, error: HTTPException) -> Response:
        # Starlette tells the methods of the first route that has the path, not of all.
        error.headers = {"Allow": about.allowed(request.scope["path"])}
        return problem_of(error).response(request.state.request_id)

    app.add_exception_handler(405, not_for_this)  # type: ignore[arg-type]
    for router in (*_ROUTERS, _own, _site):
        app.include_router(router)
    return app


_own = APIRouter(include_in_schema=False)


@_own.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return Response(request.app.state.about.text, media_type="application/json")


@_own.get("/docs")
async def docs(request: Request) -> Response:
    """The same for people."""
    about, pages = request.app.state.about, request.app.state.backend.settings.api.pages
    return HTMLResponse(about.page if pages else about.bare_page, headers={"Content-Security-Policy": POLICY})
