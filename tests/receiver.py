"""A product that is told of happenings: a small HTTP server that takes them, refuses them, hangs or lies.

Owns an independent reading of Standard Webhooks (its specification, "Verifying webhook authenticity") and of what arrives. Must
not know what is tested: it imports nothing of the engine.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio

__all__ = ["KEY", "SECRET", "Receiver", "Reply", "receiver"]

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()

Reply = tuple[int, bytes] | None
"""Status and body; None: the connection is closed without an answer."""
Happening = dict[str, Any]


class Receiver:
    """What has arrived.

    :ivar answer: decides on each request; by default everything is taken. What it takes it must `take`, unless it answers with
        a status of success.
    :ivar requests: headers and body of each request that arrived, ``targets`` what its URL ended with.
    :ivar batches: ids and happenings of each request that arrived, whatever became of it.
    :ivar taken: happenings in the order in which they were taken.
    :ivar genuine: whether every request so far had a signature that holds.
    :ivar late: seconds until the answer to the next request.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answer: Callable[[list[Happening]], Reply] = lambda _: (204, b"")
        self.batches: list[tuple[str, list[Happening]]] = []
        self.taken: list[Happening] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.targets: list[str] = []
        self.genuine = True
        self.late = 0.0
        self._more = trio.Event()

    def take(self, happenings: Iterable[Happening]) -> None:
        self.taken += happenings

    def ids(self) -> list[str]:
        """Of what was taken, each when it came first."""
        return list(dict.fromkeys(each["id"] for each in self.taken))

    def firsts(self) -> dict[str, list[Happening]]:
        """What was taken of each room, each when it came first."""
        rooms: dict[str, dict[str, Happening]] = {}
        for each in self.taken:
            rooms.setdefault(each["room"], {}).setdefault(each["id"], each)
        return {room: list(found.values()) for room, found in rooms.items()}

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until this holds after some request."""
        with trio.fail_after(30):
            while not holds():
                self._more = trio.Event()
                await self._more.wait()

    async def has(self, count: int) -> None:
        """Wait until so many different happenings were taken."""
        await self.until(lambda: len(self.ids()) >= count)

    # -- a connection -------------------------------------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        async with stream:
            try:
                while await self._request(connection, stream):
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                pass

    async def _request(self, connection: h11.Connection, stream: trio.SocketStream) -> bool:
        headers: dict[str, str] = {}
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(1 << 16))
            elif isinstance(event, h11.Request):
                assert event.method == b"POST"
                self.targets.append(event.target.decode())
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        reply = self._arrived(headers, body)
        if late := self.late:
            self.late = 0.0
            await trio.sleep(late)
        if reply is None:
            return False
        status, content = reply
        answer = h11.Response(status_code=status, headers=[("content-length", str(len(content)))])
        for part in (answer, h11.Data(content), h11.EndOfMessage()):
            await stream.send_all(connection.send(part) or b"")
        return True

    def _arrived(self, headers: dict[str, str], body: bytes) -> Reply:
        self.genuine &= is_genuine(headers, body)
        self.requests.append((headers, body))
        happenings = json.loads(body)["happenings"]
        self.batches.append((headers["webhook-id"], happenings))
        reply = self.answer(happenings)
        if reply is not None and reply[0] < 300:
            self.take(happenings)
        self._more.set()
        return reply


def is_genuine(headers: dict[str, str], body: bytes, key: bytes = KEY) -> bool:
    """As the specification says: HMAC-SHA256 of id, timestamp and body, joined by full stops, in base64 after ``v1,``."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    new = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return new and wanted in headers["webhook-signature"].split()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that listens while the block runs."""
    one = Receiver()
    async with trio.open_nursery() as nursery:
        (listener, *_) = listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, one.serve, listeners)
        one.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/told"
        yield one
        nursery.cancel_scope.cancel()
