"""One request and its answer, and between them an ASGI application (https://asgi.readthedocs.io, spec version 2.4).

Owns what the application receives and sends, and the limits of both: size, time, and a client that has gone. Must not know
connections (`engine.api.connection`), nor what the application does.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import h11
import trio

from engine.api.target import parse_target
from engine.api.wire import Wire
from engine.settings import ApiSettings

__all__ = ["App", "Exchange", "Fault", "Message", "problem"]

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
"""An ASGI application; it gets connections of type ``http`` only."""

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_GONE_SECONDS: Final = 1.0
"""Left to the application when its client has gone: what is nearly done is better done than cancelled."""
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BODILESS: Final = {204, 304}
_FRAMING: Final = {b"content-length", b"transfer-encoding"}
_NAMES: Final = {400: "bad_request", 413: "content_too_large", 500: "internal"}
_CONTINUE: Final = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")

log = logging.getLogger("roomcast.api")


class Fault(Exception):
    """A request that is answered without the application.

    :ivar status: of the answer; ``detail`` for people.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def problem(fault: Fault, request_id: str = "", *, head_only: bool = False) -> bytes:
    """A whole answer with problem details (RFC 9457) like those of `engine.api.problems`, after which the connection is to be
    closed. Its type is a section of /docs, or nothing but the status."""
    title = HTTPStatus(fault.status).phrase
    name = _NAMES.get(fault.status, "")
    request_id = request_id or _new_id()
    facts = {
        "type": f"/docs#{name}" if name else "about:blank",
        "title": title,
        "status": fault.status,
        "detail": fault.detail,
        "request_id": request_id,
        "name": name or title.lower().replace(" ", "_"),
    }
    body = json.dumps(facts).encode()
    head = (
        f"HTTP/1.1 {fault.status} {title}\r\ndate: {_date(int(time.time()))}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)


class Exchange:
    """See the module's docstring.

    :param parser: has just given the request's head.
    :param arrive_by: when its body must be here (trio's clock).
    :param last: whether the connection is to be closed after it; asked when the answer begins.
    """

    def __init__(
        self,
        wire: Wire,
        parser: h11.Connection,
        request: h11.Request,
        settings: ApiSettings,
        addresses: dict[str, Any],
        arrive_by: float,
        last: Callable[[], bool],
    ) -> None:
        self._wire = wire
        self._parser = parser
        self._request = request
        self._settings = settings
        self._addresses = addresses
        self._arrive_by = arrive_by
        self._last = last
        self._headers = list(request.headers)
        self.request_id = _request_id(self._headers)
        self._scope = trio.CancelScope(deadline=arrive_by + settings.request_seconds)
        self._fault: Fault | None = None
        self._size = 0
        self._arrived = False
        self._start: Message | None = None
        self._began = False
        self._finished = False
        self._over = trio.Event()

    async def run(self, app: App) -> bool:
        """Let the application answer. Returns whether another request may follow on the connection."""
        try:
            asgi = self._asgi_scope()
        except Fault as fault:
            await self._apologise(fault)
            return False
        self._wire.on_end = self._lost
        if self._wire.ended:
            self._lost()
        try:
            with self._scope:
                await app(asgi, self.receive, self.send)
        except (Exception, SystemExit, BaseExceptionGroup) as error:
            if isinstance(error, BaseExceptionGroup) and error.subgroup((trio.Cancelled, KeyboardInterrupt)) is not None:
                raise
            # The application's, whatever it is: it must not reach beyond this request.
            if not self._wire.ended:
                log.exception("api_request_failed", extra=self._facts())
        finally:
            self._wire.on_end = None
        if self._finished:
            return await self._rest()
        if self._wire.ended and self._fault is None:
            return False
        if self._began:
            log.warning("api_answer_cut", extra=self._facts())
        else:
            await self._apologise(self._fault or self._failure())
        return False

    def _asgi_scope(self) -> Message:
        """What the application is told of the request. Raises `Fault` for one that is not for it."""
        request, framing = self._request, {name: value for name, value in self._headers if name in _FRAMING}
        if not request.http_version.startswith(b"1."):
            raise Fault(505, "HTTP/1.1 is spoken here")
        # What others on the way here may have understood differently (RFC 9112 section 6.1).
        if b"transfer-encoding" in framing and (len(framing) > 1 or request.http_version < b"1.1"):
            raise Fault(400, "Transfer-Encoding goes neither with Content-Length nor with HTTP/1.0")
        if request.method == b"CONNECT":
            raise Fault(501, "this is no proxy")
        if int(framing.get(b"content-length", 0)) > self._settings.body_bytes:
            raise self._too_large()
        try:
            path, raw_path, query = parse_target(request.target)
        except ValueError as error:
            raise Fault(400, str(error)) from None
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            **self._addresses,
            "state": {"request_id": self.request_id},
        }

    def _lost(self) -> None:
        """The client has gone."""
        self._over.set()
        if not self._finished:
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + _GONE_SECONDS)

    def _failure(self) -> Fault:
        """The application has ended without an answer."""
        if not self._scope.cancelled_caught:
            return Fault(500, "something went wrong here; the log says more under this request_id")
        log.warning("api_request_slow", extra=self._facts())
        return Fault(503, "there was no answer in time (api.request_seconds)")

    async def _apologise(self, fault: Fault) -> None:
        await self._wire.farewell(problem(fault, self.request_id, head_only=self._request.method == b"HEAD"))

    async def _rest(self) -> bool:
        """Read what the application did not, so that the next request is found."""
        try:
            while self._parser.our_state is h11.DONE and not self._arrived:
                await self._body()
        except (Fault, EOFError):
            return False
        return self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE

    def _facts(self) -> dict[str, str]:
        """For the log: not the path, which may name somebody."""
        return {"request_id": self.request_id, "method": self._request.method.decode()}

    # -- what the application receives ----------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """ASGI's: the next part of the body, or that the client has gone or has its answer."""
        if self._arrived or self._finished:
            await self._over.wait()
            return {"type": "http.disconnect"}
        try:
            data = await self._body()
        except EOFError:
            return {"type": "http.disconnect"}
        except Fault as fault:
            self._fault = fault
            self._scope.cancel()
            await trio.lowlevel.checkpoint()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": data, "more_body": not self._arrived}

    async def _body(self) -> bytes:
        """What has come of the body, waiting if there is nothing. Raises `Fault`, and EOFError when the client has gone."""
        while not (data := self._parsed()) and not self._arrived:
            if self._parser.they_are_waiting_for_100_continue:
                await self._wire.send(self._parser.send(_CONTINUE))
            if not self._wire.waiting:
                with trio.move_on_at(self._arrive_by):
                    await self._wire.arrival()
                if not self._wire.waiting and not self._wire.ended:
                    raise Fault(408, "the request did not arrive in time (api.request_seconds)")
            piece = self._wire.take()
            if not piece:
                raise EOFError
            self._parser.receive_data(piece)
        return data

    def _parsed(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while (event := self._parser.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.EndOfMessage):
                    self._arrived = True
                    self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._settings.request_seconds)
                    break
                assert isinstance(event, h11.Data)
                pieces.append(bytes(event.data))
                self._size += len(event.data)
                if self._size > self._settings.body_bytes:
                    raise self._too_large()
        except h11.RemoteProtocolError as error:
            raise Fault(error.error_status_hint, str(error)) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self) -> Fault:
        return Fault(413, f"a request has at most {self._settings.body_bytes} bytes (api.body_bytes)")

    # -- what the application sends ---------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """ASGI's: a part of the answer. The head leaves with the first part of the body, so that a small answer is one segment.

        :raises OSError: the client has gone.
        :raises RuntimeError: the message has no place here; h11.LocalProtocolError: or cannot be said in HTTP.
        """
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            self._start = message
            return
        if kind != "http.response.body" or self._start is None or self._finished:
            raise RuntimeError(f"{kind} has no place here")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        pieces: list[bytes] = []
        if not self._began:
            pieces.append(self._parser.send(self._response(self._start, None if more else len(body))))
        if body and self._request.method != b"HEAD" and self._start["status"] not in _BODILESS:
            pieces.append(self._parser.send(h11.Data(data=body)))
        if not more:
            pieces.append(self._parser.send(h11.EndOfMessage()))
        self._began = True
        await self._wire.send(b"".join(pieces))
        if not more:
            self._finished = True
            self._over.set()
            self._scope.deadline = trio.current_time() + self._settings.request_seconds

    def _response(self, start: Message, size: int | None) -> h11.Response:
        """The head of the answer.

        :param size: of the body, if it is known.
        """
        status: int = start["status"]
        headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"transfer-encoding"]
        names = {name.lower() for name, _ in headers}
        if b"date" not in names:
            headers.append((b"date", _date(int(time.time())).encode()))
        if b"x-request-id" not in names:
            headers.append((b"x-request-id", self.request_id.encode()))
        if b"content-length" not in names and size is not None and self._request.method != b"HEAD" and status not in _BODILESS:
            headers.append((b"content-length", b"%d" % size))
        if self._last() or self._parser.they_are_waiting_for_100_continue:
            headers.append((b"connection", b"close"))
        return h11.Response(status_code=status, headers=headers, reason=_reason(status))


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return _new_id()


def _new_id() -> str:
    return secrets.token_hex(8)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=64)
def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
