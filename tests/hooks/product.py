"""A product's backend as a test wants it: a real HTTP server on loopback that answers, lies, dawdles, or falls silent.

Owns the server and an independent reading of Standard Webhooks. Must not know how the engine asks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
import trio

__all__ = ["ALLOW", "SECRET", "Answer", "Asked", "Product", "open_product", "verdicts"]

SECRET = "whsec_" + base64.b64encode("一把只有测试知道的钥匙🔑".encode()).decode()
ALLOW = {"verdict": "allow"}


@dataclass(frozen=True)
class Asked:
    """A request that has come.

    :ivar genuine: whether it is signed with the secret, and new.
    """

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    genuine: bool

    @property
    def questions(self) -> list[dict[str, Any]]:
        """In it."""
        questions: list[dict[str, Any]] = self.body["questions"]
        return questions


@dataclass(frozen=True)
class Answer:
    """What is sent back.

    :ivar raw: bytes instead of an answer, after which the connection is closed.
    :ivar endless: the body never ends.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    endless: bool = False


Behave = Callable[[Asked], Awaitable[Answer]]


def verdicts(asked: Asked, judge: Callable[[dict[str, Any]], dict[str, Any]] = lambda question: ALLOW) -> Answer:
    """A verdict for each question."""
    return of({"verdicts": {question["id"]: judge(question) for question in asked.questions}})


def of(value: Any) -> Answer:
    """JSON."""
    return Answer(json.dumps(value, ensure_ascii=False).encode())


async def _allow(asked: Asked) -> Answer:
    return verdicts(asked)


class Product:
    """See the module's docstring.

    :ivar behave: what it does about a request; by default it allows everything.
    :ivar asked: all requests, in the order in which they came.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.behave: Behave = _allow
        self.asked: list[Asked] = []
        self._came = trio.Event()

    def url(self, path: str = "/ask") -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def questions(self) -> list[dict[str, Any]]:
        """All that were asked."""
        return [question for asked in self.asked for question in asked.questions]

    async def until(self, requests: int) -> None:
        """Wait until so many requests have come."""
        with trio.fail_after(30):
            while len(self.asked) < requests:
                self._came = trio.Event()
                await self._came.wait()

    def judge(self, judge: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Give each question a verdict."""

        async def behave(asked: Asked) -> Answer:
            return verdicts(asked, judge)

        self.behave = behave

    def answer(self, answer: Answer) -> None:
        """Answer all requests with this."""

        async def behave(asked: Asked) -> Answer:
            return answer

        self.behave = behave

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        connection = h11.Connection(h11.SERVER)
        async with stream:
            try:
                while await self._one(stream, connection):
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
                pass

    async def _one(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        body, head = b"", None
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return False
        assert head is not None
        headers = {name.decode(): value.decode() for name, value in head.headers}
        self.asked.append(Asked(head.target.decode(), headers, json.loads(body), _genuine(headers, body)))
        self._came.set()
        answer = await self.behave(self.asked[-1])
        if answer.raw is not None:
            await stream.send_all(answer.raw)
            return False
        length = () if answer.endless else (("content-length", str(len(answer.body))),)
        response = h11.Response(status_code=answer.status, headers=[*length, *answer.headers])
        await stream.send_all(connection.send(response) or b"")
        while answer.endless:
            await stream.send_all(connection.send(h11.Data(data=b" " * 65_536)) or b"")
        await stream.send_all(
            (connection.send(h11.Data(data=answer.body)) or b"") + (connection.send(h11.EndOfMessage()) or b"")
        )
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE


def _genuine(headers: Mapping[str, str], body: bytes) -> bool:
    """As https://www.standardwebhooks.com says."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    stamp = headers.get("webhook-timestamp", "0")
    content = f"{headers.get('webhook-id')}.{stamp}.".encode() + body
    signature = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return abs(time.time() - int(stamp)) < 300 and signature in headers.get("webhook-signature", "").split(" ")


@asynccontextmanager
async def open_product() -> AsyncIterator[Product]:
    """Run it while the block runs."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        product = Product(listener.socket.getsockname()[1])
        nursery.start_soon(partial(trio.serve_listeners, product.serve, [listener]))
        yield product
        nursery.cancel_scope.cancel()
