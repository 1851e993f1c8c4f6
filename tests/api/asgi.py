"""An ASGI application that does what its path says, and a client that reads answers with h11."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h11
import trio
import trio.testing

from engine.api.connection import Connection
from engine.settings import ApiSettings

SMALL = ApiSettings(body_bytes=1024, request_seconds=5, idle_seconds=20)


class Ending(Exception):
    """What the application raises on purpose."""


class Application:
    """Paths: ``/echo`` answers with the body, ``/scope`` with what it was told; the others are named for what goes wrong.

    :ivar events: what became of requests, in order.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.release = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        try:
            await getattr(self, scope["path"].partition("/")[2].split("/")[0].replace("-", "_"))(scope, receive, send)
        except trio.Cancelled:
            self.events.append("cancelled")
            raise

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.events.append("disconnect")
                return
            body += message["body"]
            more = message["more_body"]
        self.events.append("whole")
        await answer(send, body)

    async def scope(self, scope: Any, receive: Any, send: Any) -> None:
        told = {name: value for name, value in scope.items() if name not in ("headers", "asgi")}
        told |= {name: told[name].decode("latin-1") for name in ("raw_path", "query_string")}
        told["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        await answer(send, json.dumps(told).encode())

    async def unread(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"did not look")

    async def empty(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"nobody may see this"})

    async def parts(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one ", b"two ", b""):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"three"})
        assert (await receive())["type"] == "http.disconnect"

    async def raises(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Ending

    async def exits(self, scope: Any, receive: Any, send: Any) -> None:
        raise SystemExit(3)

    async def exits_in_a_group(self, scope: Any, receive: Any, send: Any) -> None:
        async with trio.open_nursery():
            raise SystemExit(3)

    async def raises_late(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        raise Ending

    async def raises_after(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")
        raise Ending

    async def says_nothing(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    async def nonsense(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\ninjected: 1")]})
        await send({"type": "http.response.body", "body": b""})

    async def unknown(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    async def too_short(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"12345"})

    async def hangs(self, scope: Any, receive: Any, send: Any) -> None:
        self.events.append("began")
        await trio.sleep_forever()

    async def waits(self, scope: Any, receive: Any, send: Any) -> None:
        self.events.append("began")
        await self.release.wait()
        await answer(send, b"released")

    async def leaves(self, scope: Any, receive: Any, send: Any) -> None:
        """Notices that its client has gone."""
        assert (await receive())["type"] == "http.request"
        self.events.append("began")
        self.events.append((await receive())["type"])

    async def floods(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            try:
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
            except OSError:
                self.events.append("gone")
                raise


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        told: dict[str, Any] = json.loads(self.body)
        assert told["status"] == self.status
        assert told["request_id"] == self.headers["x-request-id"]
        return told


def answers(data: bytes | bytearray, methods: Sequence[str] = ("GET",) * 100, *, ended: bool = True) -> list[Answer]:
    """All answers in what a server has sent; interim ones are left out."""
    found: list[Answer] = []
    for method in methods:
        if not data:
            break
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(bytes(data))
        if ended:
            parser.receive_data(b"")
        current: Answer | None = None
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                break
            if isinstance(event, h11.Response):
                headers = {name.decode(): value.decode() for name, value in event.headers}
                current = Answer(event.status_code, headers, b"", whole=False)
                found.append(current)
            elif isinstance(event, h11.Data):
                assert current is not None
                current.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert current is not None
                current.whole = True
                break
            elif not isinstance(event, h11.InformationalResponse):
                break
        data = bytes(parser.trailing_data[0])
        if current is None or not current.whole or parser.their_state is not h11.DONE:
            break
    assert not data, f"left over: {data[:80]!r}"
    return found


async def talk(*pieces: bytes, app: Any = None, settings: ApiSettings = SMALL, close: bool = False) -> bytes:
    """Send these on a connection of its own, and return all that comes back before it ends."""
    ours, theirs = trio.testing.memory_stream_pair()
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(app or Application(), theirs, lambda: settings, ("192.0.2.1", 7)).run)
        for piece in pieces:
            await ours.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        if close:
            await ours.send_eof()
        try:
            async for data in ours:
                received += data
        except trio.BrokenResourceError:
            pass
    return received
