"""What an answer says that is none: problem details (RFC 9457) with our codes.

Owns the status and the title of every `engine.errors.Code`, and how each exception that a call may raise is told. Must not know
routes. Never repeats what was sent, and never shows what went wrong inside: that is for the log, under the request's id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from engine.brokers.base import Conflict, RecordFull, Unavailable
from engine.errors import Code, Refused, RoomcastError
from engine.ledger.errors import LedgerError

__all__ = ["CODES", "MEDIA_TYPE", "NAMES", "Problem", "handle", "problem_of"]

MEDIA_TYPE: Final = "application/problem+json"

CODES: Final[Mapping[Code, tuple[int, str]]] = {
    Code.RATE_LIMITED: (429, "Too many requests"),
    Code.OVERLOADED: (503, "The node holds as much unpublished input as it may"),
    Code.UNAVAILABLE: (503, "The broker or the room is out of reach"),
    Code.ROOM_FULL: (503, "As many rooms or viewers as the operator allows"),
    Code.SLOW_MODE: (429, "The room is in slow mode"),
    Code.WITHHELD: (429, "The room takes no more at the moment"),
    Code.LEDGER: (503, "The ledger cannot be written at the moment"),
    Code.TOO_EARLY: (409, "Not open yet"),
    Code.INVALID: (422, "Not of the documented shape"),
    Code.UNKNOWN_KIND: (422, "There is no such kind"),
    Code.NOT_JOINED: (409, "Not in the room"),
    Code.ALREADY_JOINED: (409, "In the room already"),
    Code.FORBIDDEN: (403, "Not allowed"),
    Code.TOO_LONG: (422, "Longer than the operator allows"),
    Code.EMPTY: (422, "Nothing visible"),
    Code.BAD_ROOM: (422, "Not a name for a room"),
    Code.CONFLICT: (409, "Something else has been done before"),
    Code.STATE_FULL: (409, "The room's state is as large as the operator allows"),
    Code.DUPLICATE: (409, "Just said already"),
    Code.MUTED: (403, "May not speak"),
    Code.BANNED: (403, "May not enter"),
    Code.BLOCKED: (403, "Holds something that the operator does not allow"),
    Code.ROOM_MODE: (403, "The room's mode does not allow it"),
    Code.NOT_FOUND: (404, "Not there, or not any more"),
    Code.ALREADY_VOTED: (409, "Has voted already"),
    Code.BAD_TOKEN: (401, "No valid key or token"),
    Code.UNPAID: (402, "The product does not let this user spend"),
    Code.CONDITION: (403, "The red packet's condition is not met"),
    Code.PACKET_OVER: (410, "The red packet is over"),
    Code.DECLINED: (403, "The product does not allow it"),
    Code.HELD: (202, "A moderator will decide"),
}
"""Status and title of each."""

NAMES: Final[Mapping[str, tuple[int, str]]] = {
    "bad_request": (400, "Cannot be read"),
    "method_not_allowed": (405, "Not a method of this path"),
    "content_too_large": (413, "Larger than the operator allows"),
    "internal": (500, "Something went wrong inside"),
}
"""Status and title of problems that have no code, by name."""

_RETRY_MS: Final = 1_000
"""When to come back if nobody knows better."""


class Problem(RoomcastError):
    """An answer that is none; raise it in a route, or let a `engine.errors.Refused` become one.

    :param detail: for people; names the field, the value or the setting.
    :param code: gives ``status`` and ``name`` their defaults.
    :param status: of HTTP.
    :param name: of the kind of problem, for its type; one of `NAMES` if there is no code.
    :param retry_after_ms: milliseconds until the same request may succeed, 0 if unknown or never.
    :param errors: each thing that is wrong: ``{"path": "body.events[3].body", "problem": …}``.
    :param headers: more headers of the answer.
    """

    def __init__(
        self,
        detail: str = "",
        *,
        code: Code | None = None,
        status: int = 0,
        name: str = "",
        retry_after_ms: int = 0,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name or (code.name.lower() if code is not None else "internal")
        usual, self.title = CODES[code] if code is not None else NAMES[self.name]
        self.status = status or usual
        super().__init__(f"{self.status} {self.name}{': ' if detail else ''}{detail}")
        self.detail = detail
        self.code = code
        self.retry_after_ms = retry_after_ms
        self.errors = list(errors)
        self.headers = dict(headers or {})
        if self.status in (429, 503) or (code is not None and code.retriable):
            self.headers.setdefault("Retry-After", str(math.ceil((retry_after_ms or _RETRY_MS) / 1000)))
        if self.status == 401:
            self.headers.setdefault("WWW-Authenticate", 'Bearer realm="roomcast"')

    def response(self, request_id: str = "") -> Response:
        """The answer; its ``type`` is a section of /docs."""
        told: dict[str, Any] = {"type": f"/docs#{self.name}", "title": self.title, "status": self.status}
        if self.detail:
            told["detail"] = self.detail
        if request_id:
            told["request_id"] = request_id
        told["name"] = self.name
        if self.code is not None:
            told["code"] = int(self.code)
        if self.retry_after_ms:
            told["retry_after_ms"] = self.retry_after_ms
        if self.errors:
            told["errors"] = self.errors
        # Escaped, so that whatever a name holds, the text can be encoded.
        body = json.dumps(told, ensure_ascii=not _encodable(self.detail), separators=(",", ":")).encode()
        return Response(body, self.status, self.headers, MEDIA_TYPE)

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with it."""
        await self.response(scope.get("state", {}).get("request_id", ""))(scope, receive, send)


def problem_of(error: Exception) -> Problem:
    """How an exception is told; of one that nobody expected nothing is."""
    match error:
        case Problem():
            return error
        case Refused():
            return Problem(error.text, code=error.code, retry_after_ms=error.retry_after_ms)
        case Unavailable():
            return Problem(str(error), code=Code.UNAVAILABLE)
        case LedgerError():
            # Its text is for operators, and may name files and hosts.
            return Problem("the ledger cannot be reached or written; the same may be tried again", code=Code.LEDGER)
        case Conflict():
            return Problem(str(error), code=Code.CONFLICT)
        case RecordFull():
            return Problem(str(error), code=Code.STATE_FULL)
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return _http(error)
    return Problem("the log has more under the request's id")


def _invalid(error: RequestValidationError) -> Problem:
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return Problem("the body is no JSON", name="bad_request")
    errors = [{"path": _path(fault["loc"]), "problem": fault["msg"]} for fault in faults]
    return Problem("; ".join(f"{each['path']}: {each['problem']}" for each in errors[:3]), code=Code.INVALID, errors=errors)


def _path(location: Sequence[str | int]) -> str:
    """Such as ``body.events[3].body``."""
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in location).lstrip(".")


def _http(error: HTTPException) -> Problem:
    headers = error.headers
    match error.status_code:
        case 400:
            return Problem(error.detail, name="bad_request", headers=headers)
        case 404:
            return Problem("there is no such path", code=Code.NOT_FOUND, headers=headers)
        case 405:
            return Problem("see the header Allow", name="method_not_allowed", headers=headers)
        case 413:
            return Problem(error.detail, name="content_too_large", headers=headers)
    name = "bad_request" if error.status_code < 500 else "internal"
    return Problem(HTTPStatus(error.status_code).phrase, name=name, status=error.status_code, headers=headers)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    return problem.response(getattr(request.state, "request_id", ""))


def handle(app: FastAPI) -> None:
    """Have an application tell every exception that is expected; others are for `engine.api.journal`."""
    for kind in (Problem, Refused, Unavailable, LedgerError, Conflict, RecordFull, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)
