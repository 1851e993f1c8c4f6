"""Whatever goes wrong is told as RFC 9457 says, with our codes, and without what is inside."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from engine.api.bodies import Bodies
from engine.api.journal import Journal
from engine.api.problems import CODES, NAMES, Problem, handle, problem_of
from engine.brokers.base import Conflict, RecordFull, Unavailable
from engine.errors import Code, Refused, RoomcastError
from engine.ledger.errors import LedgerError
from engine.metrics.requests import Requests

from .calling import fault_of


class Part(BaseModel):
    size: Annotated[int, Field(ge=1)]


class Whole(BaseModel):
    parts: list[Part]


@pytest.fixture
async def client() -> AsyncIterator[tuple[httpx.AsyncClient, list[Exception]]]:
    """Calls an application that raises what is put into the list."""
    app = FastAPI(middleware=[Middleware(Journal, Requests(), None), Middleware(Bodies)])
    handle(app)
    raised: list[Exception] = []

    @app.get("/raise")
    async def fails() -> None:
        raise raised.pop()

    @app.post("/take")
    async def takes(whole: Whole) -> Whole:
        return whole

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as opened:
        yield opened, raised


def test_every_code_has_a_status_and_a_title() -> None:
    assert set(CODES) == set(Code) - {Code.OK}
    assert all(202 <= status <= 503 and title for status, title in [*CODES.values(), *NAMES.values()])
    assert not {code.name.lower() for code in Code} & set(NAMES)


@pytest.mark.parametrize("code", CODES)
async def test_a_refusal_says_its_code_and_whether_to_come_back(client: Any, code: Code) -> None:
    http, raised = client
    raised.append(Refused(code, "the reason", 1500))
    answer = await http.get("/raise")
    told = fault_of(answer)
    assert (answer.status_code, told["title"]) == CODES[code]
    assert (told["code"], told["name"], told["detail"], told["retry_after_ms"]) == (code, code.name.lower(), "the reason", 1500)
    assert ("retry-after" in answer.headers) == code.retriable
    if code.retriable:
        assert answer.headers["retry-after"] == "2"
        assert answer.status_code in (409, 429, 503)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unavailable("the broker is out of reach"), 503, Code.UNAVAILABLE),
        (LedgerError("cannot open /secret/ledger.db"), 503, Code.LEDGER),
        (Conflict(1, 2), 409, Code.CONFLICT),
        (RecordFull("record_bytes"), 409, Code.STATE_FULL),
        (HTTPException(404), 404, Code.NOT_FOUND),
        (HTTPException(413, "too large"), 413, None),
        (HTTPException(418), 418, None),
        (HTTPException(501), 501, None),
        (Problem("gone", code=Code.NOT_FOUND, status=410), 410, Code.NOT_FOUND),
    ],
)
async def test_each_exception_becomes_a_problem(client: Any, error: Exception, status: int, code: Code | None) -> None:
    http, raised = client
    raised.append(error)
    answer = await http.get("/raise")
    told = fault_of(answer)
    assert (answer.status_code, told.get("code")) == (status, code)
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), RoomcastError("secret"), ExceptionGroup("secret", [KeyError("secret")])]
)
async def test_what_nobody_expected_is_in_the_log_and_not_in_the_answer(
    client: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    http, raised = client
    raised.append(error)
    answer = await http.get("/raise", headers={"X-Request-Id": "mine.1"})
    told = fault_of(answer)
    assert (answer.status_code, told["name"], told["request_id"]) == (500, "internal", "mine.1")
    assert "secret" not in answer.text
    (line,) = [each for each in caplog.records if each.message == "request_failed"]
    assert line.exc_info is not None
    assert (line.__dict__["request_id"], line.__dict__["route"]) == ("mine.1", "/raise")


async def test_validation_names_each_place_and_repeats_nothing(client: Any) -> None:
    http, _ = client
    answer = await http.post("/take", json={"parts": [{"size": 1}, {"size": "private"}, {}]})
    told = fault_of(answer)
    assert (answer.status_code, told["code"]) == (422, Code.INVALID)
    assert [each["path"] for each in told["errors"]] == ["body.parts[1].size", "body.parts[2].size"]
    assert "private" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"parts": NaN}',
        b'{"parts": [{"size": Infinity}]}',
        b'"\\ud800"',
        b"\xff",
        b"[" * 100_000,
        b"1" * 10_000 + b"x",
        b"{}{}",
        b"\xef\xbb\xbf{}",
    ],
    ids=["open", "nan", "infinity", "surrogate", "utf-8", "deep", "number", "two", "mark"],
)
async def test_what_is_no_json_is_told_so(client: Any, body: bytes) -> None:
    http, _ = client
    answer = await http.post("/take", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, fault_of(answer)["name"]) == (400, "bad_request")


async def test_a_body_without_its_type_is_not_read_as_json(client: Any) -> None:
    http, _ = client
    answer = await http.post("/take", content=b'{"parts": []}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422
    assert (await http.post("/take", json={"parts": []})).json() == {"parts": []}


async def test_paths_and_methods_that_are_none(client: Any) -> None:
    http, _ = client
    assert fault_of(await http.get("/nowhere"))["code"] == Code.NOT_FOUND
    answer = await http.delete("/raise")
    assert (fault_of(answer)["name"], answer.headers["allow"]) == ("method_not_allowed", "GET")


def test_a_text_that_cannot_be_encoded_is_told_nevertheless() -> None:
    answer = problem_of(Refused(Code.INVALID, "\ud800")).response("id")
    assert b"\\ud800" in answer.body


async def test_ids_of_requests_are_taken_if_they_are_some(client: Any) -> None:
    http, _ = client
    seen = set()
    for given in ("", "a b", "x" * 65, "é"):
        answer = await http.get("/nowhere", headers={"X-Request-Id": given.encode()})
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 4
    assert all(len(each) == 16 for each in seen)
    assert (await http.get("/nowhere", headers={"X-Request-Id": "a-b.c_1"})).headers["x-request-id"] == "a-b.c_1"


async def test_a_line_in_the_log_tells_the_route_and_no_name(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    http, _ = client
    with caplog.at_level(logging.INFO, "roomcast.api"):
        await http.post("/take?private=1", json={"parts": []}, headers={"Authorization": "Bearer private"})
        await http.get("/private")
    lines = [each.__dict__ for each in caplog.records if each.message == "request"]
    facts = [(each["method"], each["route"], each["status"], each["caller"], each["bytes"]) for each in lines]
    assert facts[0] == ("POST", "/take", 200, "", 12)
    assert facts[1][:4] == ("GET", "", 404, "")
    assert all(each["ms"] >= 0 and each["request_id"] for each in lines)
    assert "private" not in str(lines)
