"""The OpenAPI 3.1 document: what FastAPI finds out from the routes, and what holds for all of them.

Owns what it says of errors, keys, retries and tags. Must not know what a route does.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from engine.api.bodies import READS
from engine.api.problems import CODES, MEDIA_TYPE, NAMES
from engine.api.retries import KEY_CHARACTERS

__all__ = ["KEY_NEEDED", "METHODS", "PROBLEMS", "TAGS", "describe"]

METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options", "trace")

TAGS: Final = {
    "rooms": "Create, read, list and close rooms.",
    "speech": "Comments, custom events, notices, likes; one by one or in batches.",
    "state": "What a room is: attributes, cards, polls, questions, pins, its mode.",
    "moderation": "Mute, ban, kick, delete, decide on what is held.",
    "money": "Gifts, red packets, corrections, leaderboards.",
    "history": "What was said.",
    "webhooks": "What could not be told to the product.",
    "tokens": "Tokens for users: made for development, taken back.",
    "node": "The node itself: figures, settings, health.",
}
"""What each says; others may be added by routes."""

KEY_NEEDED: Final = "x-idempotency-key-needed"
"""In what a route adds to its operation: there is no call without a key."""

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, text in (("4XX", "The request cannot be served; the problem says why."), ("5XX", "It may be served later."))
}
"""Answers of every operation."""

_DESCRIPTION: Final = """\
Rooms of a Roomcast node, for the product behind it.

Every answer that is none is a problem (RFC 9457), application/problem+json, with the code that viewers get for the same \
reason. Codes 1 to 99, and every answer with Retry-After, say that the same request may succeed later.

Writes take Idempotency-Key: the same request with the same key gets the first answer and does nothing.

A slash that belongs to a name is written %2F.
"""

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "name"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "A section of /docs."},
        "title": {"type": "string"},
        "status": {"type": "integer", "description": "As in the status line."},
        "detail": {"type": "string", "description": "For people: names the field, the value or the setting."},
        "request_id": {"type": "string", "description": "As in the header X-Request-Id, and in the node's log."},
        "name": {"type": "string", "description": "Of the kind of problem; also the end of its type."},
        "code": {"type": "integer", "description": "As viewers get it; 1 to 99: the same may succeed later."},
        "retry_after_ms": {"type": "integer", "description": "Milliseconds until it may succeed; absent: unknown, or never."},
        "errors": {
            "type": "array",
            "description": "Each thing that is wrong.",
            "items": {
                "type": "object",
                "required": ["path", "problem"],
                "properties": {
                    "path": {"type": "string", "examples": ["body.events[3].body"]},
                    "problem": {"type": "string"},
                },
            },
        },
    },
    "examples": [
        {
            "type": "/docs#rate_limited",
            "title": CODES[next(iter(CODES))][1],
            "status": 429,
            "detail": "more requests than api.requests_per_second",
            "request_id": "5f0c7a2b9d3e4f61",
            "name": "rate_limited",
            "code": 1,
            "retry_after_ms": 40,
        }
    ],
}

_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a retry harmless: the same request with the same key gets the first answer. A UUID, for example.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Make the document."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=_DESCRIPTION,
        routes=app.routes,
        servers=[{"url": "/"}],
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    # FastAPI's own form of them, which nobody gets.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["parameters"] = {"IdempotencyKey": _KEY, "NeededIdempotencyKey": {**_KEY, "required": True}}
    used: list[str] = []
    for item in document["paths"].values():
        for method, operation in item.items():
            if method in METHODS:
                _complete(method, operation)
                used += operation.get("tags", ())
    document["tags"] = [{"name": tag, "description": TAGS.get(tag, "")} for tag in dict.fromkeys([*TAGS, *used]) if tag in used]
    document["x-problems"] = [
        {"name": code.name.lower(), "code": int(code), "status": status, "title": title}
        for code, (status, title) in CODES.items()
    ] + [{"name": name, "status": status, "title": title} for name, (status, title) in NAMES.items()]
    return document


def _complete(method: str, operation: dict[str, Any]) -> None:
    if method.upper() not in READS:
        key = "NeededIdempotencyKey" if operation.pop(KEY_NEEDED, False) else "IdempotencyKey"
        operation.setdefault("parameters", []).append({"$ref": f"#/components/parameters/{key}"})
    for status, answer in PROBLEMS.items():
        operation["responses"].setdefault(str(status), answer)
    if "security" in operation:
        text = f"No key or token, or none that is known. Otherwise needs the scope {_scopes(operation)}."
        operation["responses"].setdefault("401", {**PROBLEMS["4XX"], "description": text})


def _scopes(operation: dict[str, Any]) -> str:
    return " or ".join(sorted({scope for each in operation["security"] for scopes in each.values() for scope in scopes}))
