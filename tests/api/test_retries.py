"""The same request with the same key gets the first answer and does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from engine.api.bodies import Bodies
from engine.api.context import Caller
from engine.api.problems import Problem
from engine.api.retries import Answers, Retries
from engine.errors import Code
from engine.settings import ApiSettings

from .calling import calling


class World:
    """An application that counts what it did, and who calls it."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ApiSettings(**settings)
        self.time = 0.0
        self.done = count(1)
        self.answers = Answers(lambda: self.settings, lambda: self.time, 10_000)
        self.answer: Response | None = None
        self.hold: trio.Event | None = None
        self.state = self
        self.callers = self
        stack = Bodies(Retries(self._act, self.answers))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await stack(scope | {"app": self}, receive, send)

        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")

    def identify(self, authorization: str | None, address: str) -> Caller:
        if authorization is None:
            raise Problem("who?", code=Code.BAD_TOKEN)
        name, _, scopes = authorization.partition(" ")
        return Caller(name, frozenset(scopes.split()))

    async def _act(self, scope: Any, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()
        number = next(self.done)
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answer or JSONResponse({"number": number, "body": body.decode()}, 201, {"Location": "/1"})
        await answer(scope, receive, send)

    async def post(
        self, key: str | bytes | None = "k", body: Any = 1, *, who: str | None = "a", path: str = "/x"
    ) -> httpx.Response:
        headers: list[tuple[Any, Any]] = [] if who is None else [("authorization", who)]
        if key is not None:
            headers.append((b"idempotency-key", key))
        return await self.http.post(path, json=body, headers=headers)


async def test_a_retry_gets_the_first_answer() -> None:
    world = World()
    first = await world.post()
    again = await world.post()
    assert again.content == first.content
    assert again.status_code == 201
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == "/1"
    assert again.headers["content-length"] == first.headers["content-length"]
    assert next(world.done) == 2


async def test_other_keys_callers_scopes_and_paths_are_other_requests() -> None:
    world = World()
    answers = [
        await world.post(),
        await world.post("other"),
        await world.post(who="b"),
        await world.post(who="a publish"),
        await world.post(path="/y"),
        await world.post(None),
        await world.post(None),
    ]
    assert [each.json()["number"] for each in answers] == [1, 2, 3, 4, 5, 6, 7]


async def test_the_same_key_for_something_else_is_refused() -> None:
    world = World()
    await world.post()
    for answer in (await world.post(body=2), await world.post(path="/x?dry=1")):
        assert (answer.status_code, answer.json()["code"]) == (422, Code.CONFLICT)
    assert (await world.post()).status_code == 201


async def test_what_is_under_way_is_not_done_twice() -> None:
    world = World()
    world.hold = trio.Event()
    answers: list[httpx.Response] = []

    async def first() -> None:
        answers.append(await world.post())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        meanwhile = await world.post()
        assert (meanwhile.status_code, meanwhile.headers["retry-after"]) == (409, "1")
        assert (await world.post(body=2)).status_code == 422
        world.hold.set()
    assert (await world.post()).content == answers[0].content


@pytest.mark.parametrize("status", [500, 503, 429, 409])
async def test_an_answer_that_says_try_again_is_not_remembered(status: int) -> None:
    world = World()
    world.answer = PlainTextResponse("later", status, {"Retry-After": "1"} if status == 409 else None)
    assert (await world.post()).status_code == status
    world.answer = None
    assert (await world.post()).json()["number"] == 2


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
async def test_a_refusal_is_remembered(status: int) -> None:
    world = World()
    world.answer = PlainTextResponse("no", status)
    await world.post()
    world.answer = None
    assert (await world.post()).status_code == status


async def test_who_is_cut_off_may_try_again() -> None:
    world = World()
    world.hold = trio.Event()
    with trio.move_on_after(0):
        await world.post()
    world.hold = None
    assert (await world.post()).status_code == 201


async def test_a_slow_reader_of_what_is_not_remembered_is_in_nobodys_way() -> None:
    world = World(retry_keys=0)
    reading, read, second = trio.Event(), trio.Event(), trio.Event()
    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": [(b"idempotency-key", b"k")]}
    stack = Retries(world._act, world.answers)

    async def ask(send: Any) -> None:
        async def body() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        await stack({**scope, "state": {"body": b"", "caller": Caller("a", frozenset())}}, body, send)

    async def slow(message: Any) -> None:
        if "body" in message:
            reading.set()
            await read.wait()

    async def quick(message: Any) -> None:
        assert message.get("status", 201) == 201

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, slow)
        await reading.wait()
        world.hold = second
        nursery.start_soon(ask, quick)
        await trio.testing.wait_all_tasks_blocked()
        read.set()
        await trio.testing.wait_all_tasks_blocked()
        second.set()
    assert len(world.answers) == 0


@pytest.mark.parametrize("key", ["", "x" * 256, b"a\tb", "é".encode(), b"a\x7f"])
async def test_what_is_no_key_is_refused(key: str | bytes) -> None:
    world = World()
    answer = await world.post(key)
    assert (answer.status_code, answer.json()["name"]) == (400, "bad_request")
    assert next(world.done) == 1


async def test_two_keys_are_none() -> None:
    world = World()
    answer = await world.http.post("/x", headers=[("idempotency-key", "a"), ("idempotency-key", "b"), ("authorization", "a")])
    assert answer.status_code == 400


async def test_who_is_not_known_gets_nothing_of_what_is_remembered() -> None:
    world = World()
    await world.post()
    answer = await world.post(who=None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="roomcast"')


async def test_reading_takes_no_key() -> None:
    world = World()
    for number in (1, 2):
        answer = await world.http.get("/x", headers={"idempotency-key": "k", "authorization": "a"})
        assert answer.json()["number"] == number


async def test_answers_go_by_age_number_and_size() -> None:
    world = World(retry_keys=3, retry_seconds=10.0)
    for key in "abc":
        await world.post(key)
    world.time = 9.9
    assert "idempotency-replayed" in (await world.post("a")).headers
    await world.post("d")
    assert "idempotency-replayed" not in (await world.post("a")).headers
    world.time = 19.8
    assert len(world.answers) == 3
    world.time = 19.95
    await world.post("e")
    assert len(world.answers) == 1
    world.settings = replace(world.settings, retry_keys=0)
    await world.post("f")
    assert len(world.answers) == 0


async def test_an_answer_as_large_as_all_is_not_remembered() -> None:
    world = World()
    world.answer = PlainTextResponse("x" * 9_500)
    await world.post("a")
    assert len(world.answers) == 0
    world.answer = PlainTextResponse("x" * 9_000)
    await world.post("b")
    await world.post("c")
    assert len(world.answers) == 1


_STEPS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("12"), st.integers(0, 4000), st.booleans()), min_size=1, max_size=40
)


@given(_STEPS)
def test_memory_is_bounded_and_answers_are_those_given(steps: list[tuple[str, str, int, bool]]) -> None:
    settings = ApiSettings(retry_keys=4, retry_seconds=5.0)
    clock: Iterator[int] = count()
    answers = Answers(lambda: settings, lambda: next(clock) / 4, 8_000)
    told: dict[bytes, tuple[bytes, bytes]] = {}
    for name, asked, size, kept in steps:
        key, request = name.encode(), asked.encode()
        try:
            found = answers.begin(key, request)
        except Problem:
            assert told[key][0] != request
            continue
        if found is not None:
            assert (found.request, found.body) == told[key]
        elif kept:
            told[key] = (request, b"x" * size)
            answers.finish(key, 200, [], b"x" * size)
        else:
            answers.abandon(key)
        assert len(answers) <= 4
        assert answers.held <= 8_000


async def test_of_the_real_thing() -> None:
    async with calling() as called:
        headers = {"Idempotency-Key": "one"}
        first = await called.call("POST", "/v1/tokens", json={"user": "anna"}, headers=headers)
        again = await called.call("POST", "/v1/tokens", json={"user": "anna"}, headers=headers)
        assert first.status_code == again.status_code == 201
        assert first.json() == again.json()
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
