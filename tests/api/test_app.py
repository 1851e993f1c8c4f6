"""The application as a whole: what every request passes, the node's own calls, metrics, traces, and the way over TCP."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from fastapi.routing import iter_route_contexts
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from engine.access import mint
from engine.api import tracing
from engine.api.app import make_app
from engine.api.routes import metrics
from engine.config import load
from engine.configfile import SETTINGS
from engine.errors import Code
from engine.metrics.requests import Requests
from engine.node import open_node
from engine.settings import HookSettings, LimitSettings, TokenKey

from .calling import KEY, SECRET, calling, fault_of, key_of, settings

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# -- what every request passes -------------------------------------------------------------------------------------------


async def test_allow_names_every_method_of_a_path() -> None:
    async with calling() as called:
        for path, allowed in (
            ("/v1/rooms/one", "GET, PUT, DELETE"),
            ("/v1/tokens", "POST"),
            ("/health/live", "GET"),
            ("/docs", "GET"),
        ):
            for method in ("PATCH", "OPTIONS", "TRACE"):
                answer = await called.call(method, path)
                assert (answer.status_code, answer.headers["allow"]) == (405, allowed), (method, path)
        assert (await called.call("GET", "/v1/rooms/one/")).status_code == 404


async def test_what_can_be_read_can_be_asked_for_without_its_body() -> None:
    async with calling() as called:
        whole, head = await called.call("GET", "/health/live"), await called.call("HEAD", "/health/live")
        assert (head.status_code, head.headers["content-length"]) == (200, whole.headers["content-length"])
        assert (await called.call("HEAD", "/v1/tokens")).status_code == 405
        figures = (await called.call("GET", "/metrics")).text
        assert 'roomcast_api_requests_total{method="HEAD",route="/health/live",status="200"} 1.0' in figures


async def test_no_part_of_a_call_runs_in_a_thread() -> None:
    def parts(dependant: Any) -> Iterator[Any]:
        yield dependant.call
        for each in dependant.dependencies:
            yield from parts(each)

    async with calling() as called:
        contexts = [each for each in iter_route_contexts(called.app.routes) if each.path]
        assert len(contexts) > 50
        for context in contexts:
            for part in parts(context.dependant):
                called_as = part if inspect.isfunction(part) else type(part).__call__
                assert inspect.iscoroutinefunction(called_as), (context.path, part)


async def test_answers_are_nobody_else_s() -> None:
    async with calling() as called:
        for path in ("/v1/node", "/nowhere", "/docs"):
            headers = (await called.call("GET", path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"


async def test_the_log_names_callers_and_routes_and_neither_rooms_nor_keys(caplog: pytest.LogCaptureFixture) -> None:
    token = mint(SECRET, "anna", role="host")
    async with calling() as called:
        with caplog.at_level(logging.DEBUG, "roomcast"):
            await called.call(
                "POST", "/v1/rooms/hidden/comments", json={"body": "hidden"}, headers={"Idempotency-Key": "hidden"}
            )
            await called.call("POST", "/v1/rooms/hidden/comments?hidden=1", json={"body": "hidden"}, key=token)
            await called.call("POST", "/v1/rooms/hidden/comments", json={"hidden": "hidden"}, key="rc_hidden")
            await called.call("GET", "/health/live", key=None)
    lines = [record.__dict__ for record in caplog.records if record.message == "request"]
    route = "/v1/rooms/{room}/comments"
    assert [(each["caller"], each["route"], each["status"], each["levelname"]) for each in lines] == [
        ("everything", route, 201, "INFO"),
        ("user:anna", route, 201, "INFO"),
        # Nobody has looked for its route.
        ("", "", 401, "INFO"),
        ("", "/health/live", 200, "DEBUG"),
    ]
    text = str([record.__dict__ for record in caplog.records if record.name == "roomcast.api"])
    assert "hidden" not in text
    assert KEY not in text
    assert token not in text


@pytest.mark.parametrize(("credential", "status"), [("rc_unknown", 401), (None, 401), (mint(SECRET, "anna"), 403)])
async def test_nothing_is_read_of_whoever_may_do_nothing(credential: str | None, status: int) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(3):
            read += 1
            yield b" "

    async with calling() as called:
        answers = [
            await called.call("POST", "/v1/batch", key=credential, content=body(), headers=headers)
            for headers in ({}, {"Idempotency-Key": "k"})
        ]
    assert [answer.status_code for answer in answers] == [status] * 2
    assert read == 0


async def test_a_fault_in_a_route_is_one_answer_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with calling() as called:

        @called.app.get("/v1/broken")
        async def broken() -> None:
            raise RuntimeError("hidden")

        answer = await called.call("GET", "/v1/broken")
        assert (answer.status_code, fault_of(answer)["name"]) == (500, "internal")
        assert "hidden" not in answer.text
        assert (await called.call("GET", "/v1/node")).status_code == 200
    assert "request_failed" in caplog.messages


# -- the node ------------------------------------------------------------------------------------------------------------


async def test_the_node_says_who_it_is_and_what_it_did() -> None:
    async with calling() as called:
        told = (await called.call("GET", "/v1/node")).json()
        assert told["name"] == "test"
        assert told["version"]
        assert told["statistics"]["hub"]["rooms"] == 0


async def test_settings_are_shown_without_secrets() -> None:
    hidden = replace(
        settings(),
        hooks=HookSettings(secret="whsec_" + "aGlkZGVu" * 8, join_url="http://me:hidden@127.0.0.1:1/"),
    )
    hidden = replace(hidden, access=replace(hidden.access, keys=(TokenKey(kid="k", secret="hidden" * 8),)))
    async with calling(hidden) as called:
        answer = await called.call("GET", "/v1/node/settings")
        told = answer.json()
        deviating = await called.call("GET", "/v1/node/settings/deviations")
    assert told["api"]["keys"][0]["name"] == "everything"
    assert told["access"]["keys"][0] | {"secret": ""} == {"kid": "k", "algorithm": "HS256", "secret": "", "file": ""}
    assert told["limits"]["comment_bytes"] == 2_000
    for secret in ("hidden", SECRET, "aGlkZGVu"):
        assert secret not in answer.text
        assert secret not in deviating.text


async def test_what_deviates_from_the_defaults_is_told_with_them() -> None:
    async with calling(replace(settings(), limits=LimitSettings(comments_burst=77))) as called:
        told = (await called.call("GET", "/v1/node/settings/deviations")).json()["deviations"]
        in_force = (await called.call("GET", "/v1/node/settings")).json()
    paths = [each["path"] for each in told]
    assert paths == [path for path in SETTINGS if path in paths], "as in the file"
    defaults = {each["path"]: each["default"] for each in told}
    assert defaults["limits.comments_burst"] == LimitSettings().comments_burst != in_force["limits"]["comments_burst"] == 77
    assert (defaults["api.keys"], defaults["access.secret"]) == ([], "")
    assert in_force["access"]["secret"] == "***"
    assert {path for path in paths if path.startswith("limits.")} == {"limits.comments_burst"}


CONFIG = """
[edge]
port = 0
[api]
keys = [{{name = "boss", sha256 = "{digest}", scopes = ["node:read", "node:write"]}}]
[limits]
comments_burst = {burst}
"""


async def test_settings_are_read_again_keys_too(tmp_path: Path) -> None:
    file = tmp_path / "roomcast.toml"

    def write(key: str, burst: object) -> None:
        file.write_text(CONFIG.format(digest=key_of(key).sha256, burst=burst))

    write("first", 10)
    async with calling(load(file, environ={}), reread=lambda: load(file, environ={})) as called:

        async def reload(key: str) -> httpx.Response:
            return await called.call("POST", "/v1/node/reload", key=f"rc_{key}")

        answer = await reload("first")
        assert answer.json() == {"changed": [], "restart": []}
        write("first", '"many"')
        answer = await reload("first")
        told = fault_of(answer)
        assert (answer.status_code, told["code"]) == (422, Code.INVALID)
        assert [each["path"] for each in told["errors"]] == ["limits.comments_burst"]
        write("second", 11)
        assert (await reload("first")).json() == {"changed": ["limits.comments_burst", "api.keys"], "restart": []}
        assert (await reload("first")).status_code == 401
        assert (await reload("second")).status_code == 200


async def test_a_node_that_was_not_started_from_a_file_says_so() -> None:
    async with calling() as called:
        assert fault_of(await called.call("POST", "/v1/node/reload"))["code"] == Code.CONFLICT


async def test_a_node_that_stops_is_live_and_not_ready() -> None:
    async with calling() as called:
        assert (await called.call("GET", "/health/ready", key=None)).json() == {"status": "ready"}
        await called.node.hub.drain()
        answer = await called.call("GET", "/health/ready", key=None)
        assert (answer.status_code, answer.json()) == (503, {"status": "not_ready"})
        assert (await called.call("GET", "/health/live", key=None)).json() == {"status": "live"}
        late = await called.call("POST", "/v1/rooms/r/comments", json={"body": "还在吗?"})
        assert (late.status_code, fault_of(late)["code"]) == (503, Code.UNAVAILABLE)
        assert int(late.headers["retry-after"]) > 0


# -- metrics -------------------------------------------------------------------------------------------------------------


async def test_metrics_tell_of_requests_by_route() -> None:
    async with calling() as called:
        await called.call("GET", "/v1/rooms/hidden")
        answer = await called.call("GET", "/metrics", key=None)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'route="/v1/rooms/{room}"' in answer.text
    assert "hidden" not in answer.text


async def test_metrics_are_rendered_off_the_loop_once_for_all_who_ask(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    rendered: list[int] = []

    def render(vitals: dict[str, Any]) -> bytes:
        rendered.append(threading.get_ident())
        return f"{len(rendered)} {vitals['name']}".encode()

    class Vital:
        def vitals(self) -> dict[str, Any]:
            return {"name": "n"}

    monkeypatch.setattr(metrics, "render", render)
    text = metrics.Rendered(Requests())
    got: list[bytes] = []

    async def ask() -> None:
        got.append(await text.get(Vital()))  # type: ignore[arg-type]

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert got == [b"1 n"] * 5
    await trio.sleep(1.1)
    await ask()
    assert got[-1] == b"2 n"
    assert threading.get_ident() not in rendered


# -- traces --------------------------------------------------------------------------------------------------------------


async def test_a_request_is_a_span_with_the_route_and_no_name() -> None:
    provider, spans = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    seen = []
    async with calling(tracer_provider=provider) as called:

        @called.app.get("/v1/broken")
        async def broken() -> None:
            seen.append(get_current_span().get_span_context().span_id)
            raise RuntimeError("hidden")

        await called.call("GET", "/v1/rooms/hidden?hidden=1", headers={"traceparent": PARENT})
        await called.call("GET", "/v1/broken")
        await called.call("GET", "/hidden")
    provider.shutdown()
    first, second, third = spans.get_finished_spans()
    assert (first.name, first.kind) == ("GET /v1/rooms/{room}", SpanKind.SERVER)
    assert first.attributes is not None
    assert first.attributes["http.route"] == "/v1/rooms/{room}"
    assert first.attributes["http.response.status_code"] == 200
    assert first.parent is not None
    assert f"{first.parent.trace_id:032x}-{first.parent.span_id:016x}" in PARENT
    assert first.status.status_code is StatusCode.UNSET
    assert (second.name, second.status.status_code) == ("GET /v1/broken", StatusCode.ERROR)
    assert second.context is not None
    assert seen == [second.context.span_id]
    assert third.name == "GET"
    assert "hidden" not in "".join(each.to_json() for each in (first, second, third))


async def test_without_anybody_who_traces_there_is_no_span() -> None:
    seen = []
    async with calling() as called:

        @called.app.get("/v1/span")
        async def span() -> None:
            seen.append(get_current_span().get_span_context().is_valid)

        await called.call("GET", "/v1/span", headers={"traceparent": PARENT})
    assert seen == [False]


def test_where_opentelemetry_is_not_installed_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.tracing() is not None
    monkeypatch.setattr(tracing, "_INSTALLED", False)
    assert tracing.tracing() is None


# -- over TCP ------------------------------------------------------------------------------------------------------------


async def test_over_tcp_names_may_hold_slashes_and_belong_to_keys() -> None:
    keys = key_of("there", "publish", "rooms:read", rooms=["a/b"])
    async with open_node(settings(keys, enabled=True)) as node:
        assert node.api is not None
        async with httpx.AsyncClient(base_url=node.api.url, headers={"Authorization": "Bearer rc_there"}) as http:
            assert (await http.post("/v1/rooms/a%2Fb/comments", json={"body": "你好"})).status_code == 201
            assert (await http.get("/v1/rooms/a%2Fb")).json()["room"] == "a/b"
            for other in ("a", "a%2Fb%2Fc", "a%1Fb", "a%FFb", "%2E%2E", "a%00b"):
                assert (await http.get(f"/v1/rooms/{other}")).status_code in (400, 403, 404, 422), other
        viewed = [past.event async for past in node.room("a/b").history()]
        assert [event[-1] for event in viewed if event[0] == 1] == ["你好"]


async def test_over_tcp_a_retry_says_nothing_twice() -> None:
    async with open_node(settings(enabled=True)) as node:
        assert node.api is not None
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "once"}
        async with httpx.AsyncClient(base_url=node.api.url, headers=headers) as http:
            answers = [await http.post("/v1/rooms/one/comments", json={"body": "once"}) for _ in range(3)]
        assert [answer.json() for answer in answers] == [answers[0].json()] * 3
        assert ["idempotency-replayed" in answer.headers for answer in answers] == [False, True, True]
        # Another application, as after a restart, does not know the answer; the broker knows the event.
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(make_app(node)), base_url="http://api", headers=headers
        ) as http:
            again = await http.post("/v1/rooms/one/comments", json={"body": "once"})
        assert again.json()["offset"] == answers[0].json()["offset"]
        assert len([past async for past in node.room("one").history() if past.event[0] == 1]) == 1
