"""What people see at the API's address: the demo room, the console, the browser SDK, and where viewers connect.

Owns how files go out (RFC 9110: validators, content codings; Fetch: who else may load them), and the address that a page is
told. Must not know what is in a file (`engine.web`). Nobody needs a key for any of it: what the console shows it asks the API
for, with the key that its user types.

A path is looked up among the names that there are, so nothing else can be had by whatever stands in it. Files that a browser
has are asked for again each time and answered with 304: there is no build that would put a version into their names.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from engine.api.context import Engine
from engine.backend import Backend
from engine.web import site

__all__ = ["DEMO_ROOM", "POLICY", "router"]

DEMO_ROOM: Final = "demo"
"""Room of the page at ``/``."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the pages: scripts and styles of ours only, connections to a node wherever it is."""

_EVERY: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OURS: Final = {**_EVERY, "Cross-Origin-Resource-Policy": "same-origin"}
_EVERYBODY_S: Final = {**_EVERY, "Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
"""For what a product's own page loads from here."""

_DOCUMENTS: Final = ("text/html", "image/svg")
"""What a browser shows as a page of its own, so that a policy means something."""
_COMPRESSED: Final = ("text/", "application/json", "image/svg")
_SMALL: Final = 512
"""Bytes below which a content coding saves no packet."""
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
"""Header Host (RFC 9110 section 7.2), without what a URL would take for something else."""
_OF_THE_BODY: Final = ("Content-Type", "Content-Encoding")
_WILDCARDS: Final = ("0.0.0.0", "::")

router = APIRouter(include_in_schema=False)


class _Representation(NamedTuple):
    """A file in one content coding."""

    body: bytes
    headers: dict[str, str]


async def _serve(request: Request, engine: Engine) -> Response:
    if not engine.settings.api.pages:
        raise HTTPException(404)
    forms = _forms(request.scope["path"])
    if not forms:
        raise HTTPException(404)
    chosen = forms[-1] if _takes_gzip(request.headers.get("accept-encoding", "")) else forms[0]
    if _known(request.headers.get("if-none-match", ""), chosen.headers["ETag"]):
        return Response(status_code=304, headers={k: v for k, v in chosen.headers.items() if k not in _OF_THE_BODY})
    return Response(chosen.body, headers=chosen.headers)


for _path in ("/console", "/sdk/{file}", "/web/{directory}/{file}"):
    router.add_api_route(_path, _serve, methods=["GET"])


@router.get("/")
async def root(request: Request, engine: Engine) -> Response:
    """The demo room; where there is none, the documentation."""
    return await _serve(request, engine) if engine.settings.api.pages else RedirectResponse("/docs")


@router.get("/entrance.json")
async def entrance(request: Request, engine: Engine) -> Response:
    """Where viewers connect, for pages: ``{"url", "room", "version"}``."""
    if not engine.settings.api.pages:
        raise HTTPException(404)
    told = {"url": _viewers_url(engine, request.headers.get("host", "")), "room": DEMO_ROOM, "version": version("roomcast")}
    # Not to be kept: it depends on how this request came here.
    return JSONResponse(told, headers=_EVERYBODY_S)


def _viewers_url(engine: Backend, host: str) -> str:
    """The address for this browser. Who listens on all addresses is found at the one by which the page was reached."""
    url = engine.viewers_url()
    parts = urlsplit(url)
    if engine.settings.api.viewers_url or parts.hostname not in _WILDCARDS:
        return url
    found = _HOST.fullmatch(host)
    return parts._replace(netloc=f"{found[1] if found else 'localhost'}:{parts.port}").geturl()


def _forms(path: str) -> tuple[_Representation, ...]:
    """A file as it is and, if it is worth it, compressed; empty: there is none."""
    return _made(path) if path in site() else ()


@cache
def _made(path: str) -> tuple[_Representation, ...]:
    asset = site()[path]
    headers = {
        **(_EVERYBODY_S if path.startswith("/sdk/") else _OURS),
        "Content-Type": asset.media_type,
        "Cache-Control": "no-cache",
    }
    if asset.media_type.startswith(_DOCUMENTS):
        headers["Content-Security-Policy"] = POLICY
    tag = sha256(asset.content + asset.media_type.encode()).hexdigest()[:32]
    if len(asset.content) < _SMALL or not asset.media_type.startswith(_COMPRESSED):
        return (_Representation(asset.content, {**headers, "ETag": f'"{tag}"'}),)
    headers["Vary"] = "Accept-Encoding"
    packed = gzip.compress(asset.content, 9, mtime=0)
    return (
        _Representation(asset.content, {**headers, "ETag": f'"{tag}"'}),
        # Other bytes have another strong validator (RFC 9110 section 8.8.3).
        _Representation(packed, {**headers, "ETag": f'"{tag}-gzip"', "Content-Encoding": "gzip"}),
    )


def _takes_gzip(accepted: str) -> bool:
    """Whether gzip may be used for an Accept-Encoding (RFC 9110 section 12.5.3)."""
    weights: dict[str, bool] = {}
    for each in accepted.lower().split(","):
        name, _, parameter = each.partition(";")
        weights[name.strip()] = re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameter) is None
    return weights.get("gzip", weights.get("*", False))


def _known(condition: str, tag: str) -> bool:
    """Whether an If-None-Match names this representation (RFC 9110 section 13.1.2: compared weakly)."""
    return condition.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in condition.split(","))
