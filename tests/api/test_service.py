"""The HTTP server on real sockets, with clients that are not ours, and the service that keeps it going."""

from __future__ import annotations

import http.client
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, cast

import httpx
import pytest
import trio
import trio.testing
from fastapi import FastAPI

from engine.api.exchange import App
from engine.api.server import Server, open_listeners
from engine.api.service import Service
from engine.errors import RoomcastError
from engine.settings import ApiSettings

from .asgi import Application, answers

SETTINGS = ApiSettings(enabled=True, port=0, connections_max=2)
GENEROUS = 30.0


@asynccontextmanager
async def serving(make: Callable[[], App], settings: ApiSettings = SETTINGS) -> AsyncIterator[Service]:
    service = Service(settings, make)
    service.listen()
    with trio.fail_after(GENEROUS):
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            yield service
            nursery.cancel_scope.cancel()


async def dial(service: Service) -> trio.SocketStream:
    return await trio.open_tcp_stream(*service.addresses[0])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (it has no event to wait for)
        await trio.sleep(0.001)


def thing() -> FastAPI:
    app = FastAPI()

    @app.post("/things/{name}")
    async def put(name: str, body: dict[str, int]) -> dict[str, Any]:
        return {"name": name, **body}

    return app


async def test_a_fastapi_application_with_a_foreign_client() -> None:
    async with serving(thing) as service, httpx.AsyncClient(base_url=service.url) as client:
        for number in range(3):
            answer = await client.post("/things/%E5%A4%A7%2Fa", json={"number": number})
            assert answer.json() == {"name": "大\x1fa", "number": number}
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.post("/things/a", content=b"x" * (SETTINGS.body_bytes + 1))).status_code == 413


async def test_a_client_in_another_thread() -> None:
    def ask(host: str, port: int) -> list[bytes]:
        connection = http.client.HTTPConnection(host, port, timeout=GENEROUS)
        bodies = []
        for body in (b"1", iter([b"a", b"b"]), b""):
            connection.request("POST", "/echo", body)
            bodies.append(connection.getresponse().read())
        connection.close()
        return bodies

    async with serving(Application) as service:
        assert await trio.to_thread.run_sync(ask, *service.addresses[0]) == [b"1", b"ab", b""]


async def test_hostile_connections_cost_nobody_else_anything() -> None:
    async with serving(Application) as service:
        well = await dial(service)
        for evil in (
            b"\x00\xff" * 100,
            b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Extensions: \xff\r\nUpgrade: \xff\r\n\r\n",
        ):
            stream = await dial(service)
            await stream.send_all(evil)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 ")
            await stream.aclose()
        reset = await dial(service)
        reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await reset.send_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        await reset.aclose()
        await well.send_all(b"GET /unread HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await well.receive_some()).endswith(b"did not look")
        await well.aclose()


async def test_connections_beyond_the_limit_wait_until_one_goes() -> None:
    app = Application()
    async with serving(lambda: app) as service:
        streams = [await dial(service) for _ in range(3)]
        for stream in streams:
            await stream.send_all(b"GET /waits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await until(lambda: len(app.events) == 2)
        app.release.set()
        for stream in streams:
            assert (await stream.receive_some()).endswith(b"released")
            await stream.aclose()
        assert app.events == ["began"] * 3


async def test_draining_ends_what_is_under_way_and_refuses_others() -> None:
    app = Application()
    async with serving(lambda: app) as service:
        idle, busy = [await dial(service) for _ in range(2)]
        await idle.send_all(b"GET /unread HTTP/1.1\r\nHost: x\r\n\r\n")
        await idle.receive_some()
        await busy.send_all(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: bool(app.events))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.drain, GENEROUS)
            assert await idle.receive_some() == b""
            app.release.set()
            (answer,) = answers(await busy.receive_some())
            assert (answer.body, answer.headers["connection"]) == (b"released", "close")
            assert await busy.receive_some() == b""
            await busy.aclose()
            await idle.aclose()
        with pytest.raises(OSError, match="connect"):
            await dial(service)


async def test_draining_has_a_deadline() -> None:
    app = Application()
    async with serving(lambda: app) as service:
        stream = await dial(service)
        await stream.send_all(b"GET /hangs HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: bool(app.events))
        await service.drain(0.01)
        assert await stream.receive_some() == b""
        assert app.events == ["began", "cancelled"]
        await stream.aclose()


async def test_a_server_that_crashes_is_started_again_on_the_same_sockets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.api.service._PAUSE_FIRST_SECONDS", 0.01)
    made: list[App] = []

    def make() -> App:
        made.append(thing())
        if len(made) == 1:
            raise ImportError("not there yet")
        return made[-1]

    async with serving(make) as service, httpx.AsyncClient(base_url=service.url, timeout=GENEROUS) as client:
        assert (await client.get("/nothing", headers={"Connection": "close"})).status_code == 404
        # What no request can do: something wrong in the server itself.
        service.adopt(cast(Any, None))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                assert (await client.get("/nothing")).status_code == 404

            await until(lambda: len(caplog.records) > 3)
            service.adopt(SETTINGS)
    assert {record.message for record in caplog.records if record.name == "roomcast.api"} == {"api_crashed"}
    assert len(made) == 2


async def test_an_address_that_cannot_be_had_is_said() -> None:
    (taken,) = open_listeners(SETTINGS)
    with taken, pytest.raises(RoomcastError, match=r"cannot listen on 127\.0\.0\.1:.*choose another api\.port"):
        open_listeners(ApiSettings(port=taken.getsockname()[1]))
    with pytest.raises(RoomcastError, match=r"api\.host"):
        open_listeners(ApiSettings(host="192.0.2.1", port=0))


async def test_one_that_was_never_run_gives_its_address_back() -> None:
    service = Service(SETTINGS, Application)
    service.listen()
    port = service.addresses[0][1]
    assert service.url == f"http://127.0.0.1:{port}"
    service.close()
    again = Service(ApiSettings(port=port), Application)
    again.listen()
    again.close()


async def test_every_socket_takes_the_places_that_become_free() -> None:
    current = ApiSettings(connections_max=2, idle_seconds=30)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for listener in listeners:
        listener.setblocking(False)
    server = Server(Application(), lambda: current, listeners)

    async def connect(listener: socket.socket) -> trio.SocketStream:
        return await trio.open_tcp_stream(*listener.getsockname()[:2])

    async def served(*streams: trio.SocketStream) -> trio.SocketStream:
        """One of these that has its answer."""
        answered: list[trio.SocketStream] = []

        async def one(stream: trio.SocketStream) -> None:
            await stream.send_all(b"GET /unread HTTP/1.1\r\nHost: x\r\n\r\n")
            await stream.receive_some(1)
            answered.append(stream)
            waiting.cancel_scope.cancel()

        with trio.fail_after(20):
            async with trio.open_nursery() as waiting:
                for stream in streams:
                    waiting.start_soon(one, stream)
        return answered[0]

    with ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            first, second = await connect(listeners[0]), await connect(listeners[1])
            for stream in (first, second):
                await served(stream)
            late = [await connect(listener) for listener in listeners]
            await trio.testing.wait_all_tasks_blocked(0.02)
            current = ApiSettings(connections_max=1, idle_seconds=30)
            for stream in (first, second):
                await stream.aclose()
                await trio.testing.wait_all_tasks_blocked(0.02)
            for _ in range(2):
                found = await served(*late)
                late.remove(found)
                await found.aclose()
            nursery.cancel_scope.cancel()
