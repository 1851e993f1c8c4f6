"""Enemies of the HTTP API on real sockets: whatever they send, viewers who are in a room while it happens notice nothing, and
the node is afterwards what it was before."""

from __future__ import annotations

import gzip
import http.client
import os
import random
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
from workers.nodes import members

from engine.configcheck import check
from engine.errors import Close, Code
from engine.node import open_node
from engine.settings import ApiSettings, EdgeSettings, HookSettings, LedgerSettings, Settings

from .backends import API_KEY, CALLERS, KEY, Api, Doors, Site, doors, of_room, serving, settings
from .people import SECRET, token
from .test_room_tokens import FORGED
from .transports import Gone, HttpRefusal, request
from .viewers import JSON, MSGPACK, PATIENCE, Viewer, open_viewer

ROOM = "安静的房间 🤫"
WORDS = "谁也不该在日志里读到的话"
SLOTS = 48
"""Connections that the API serves at once."""
RESET = b"\x01\0\0\0\0\0\0\0"
"""SO_LINGER with no time: close sends a reset."""
GROWTH = 24 << 20
"""Bytes by which a process may grow that has kept nothing: what its allocator holds back, and codes for which it had no use
before."""
HEAD = b"Host: x\r\nContent-Type: application/json\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n"
COMMENTS = of_room("x", "comments").encode()
HELLO = bytes.fromhex("16030100c2010000be0303" + "ab" * 32 + "20" + "cd" * 32 + "0006130113021303" + "0100006f") + bytes(111)
"""As a TLS client says it."""
_NUMBER = count(10_000_000)
_UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One node for all."""
    directory = tmp_path_factory.mktemp("hostile")
    with serving(directory, settings(directory, api=f"connections_max = {SLOTS}", more='[log]\nlevel = "debug"')) as running:
        yield running


@pytest.fixture
async def api(site: Site) -> AsyncIterator[Api]:
    """Somebody who is welcome, with a connection of its own."""
    async with CALLERS["http.client"](site) as found:
        yield found


async def look(site: Site, api: Api) -> dict[str, int]:
    """What the node holds, when nobody is in a room."""
    with trio.fail_after(PATIENCE):
        while True:
            figures = (await api.done("GET", "/v1/node"))["statistics"]
            if not figures["edge"]["connections"]:
                break
    process = figures["process"]["node"]
    threads = len(os.listdir(f"/proc/{site.process.pid}/task"))
    return {
        "descriptors": process["descriptors"],
        "resident": process["resident_bytes"],
        "threads": threads,
    }


@pytest.fixture(scope="module")
def known() -> dict[str, int]:
    """What the node held before anything was done to it."""
    return {}


@pytest.fixture
async def before(site: Site, api: Api, known: dict[str, int]) -> dict[str, int]:
    """The same, looked at before the first test."""
    if not known:
        for path in ("/docs", "/openapi.json", "/metrics", of_room("warm"), "/v1/node/settings"):
            await api.done("GET", path)
        await api.done("POST", of_room("warm", "gifts"), {"user": "anna", "gift": "rose"}, once="warm")
        known |= await look(site, api)
    return known


class Stage:
    """A room with viewers, to whom the product talks all the time.

    :ivar said: bodies, by offset.
    """

    def __init__(self, api: Api, viewers: list[Viewer]) -> None:
        self.api = api
        self.viewers = viewers
        self.said: dict[int, str] = {}
        self._before = 0
        self._stop = False
        self._silent = trio.Event()

    async def say(self) -> None:
        """Say something, with one key as often as it takes."""
        body = f"{WORDS} {next(_NUMBER)}"
        with trio.fail_after(PATIENCE):
            while True:
                with suppress(OSError):
                    answer = await self.api.ask("POST", of_room(ROOM, "comments"), {"body": body}, once=body[-8:].strip())
                    if answer.status == 201:
                        break
                    assert answer.status in (408, 503), answer
        offset = answer.body["offset"]
        self._before = self._before or offset
        self.said[offset] = body

    async def talk(self) -> None:
        while not self._stop:
            await self.say()
        self._silent.set()

    async def end(self) -> None:
        """Everybody got everything, in order."""
        self._stop = True
        await self._silent.wait()
        await self.say()
        assert sorted(self.said) == list(range(self._before, max(self.said) + 1))
        for viewer in self.viewers:
            await viewer.until_offset(max(self.said))
            assert {offset: event[3] for offset, event in viewer.events.items() if offset in self.said} == self.said
            assert not viewer.gaps
            assert viewer.bye is None


@pytest.fixture
async def stage(site: Site, before: dict[str, int]) -> AsyncIterator[Stage]:
    """Somebody is there while a test does its worst."""
    async with (
        CALLERS["http.client"](site) as api,
        open_viewer("websockets", site.url, MSGPACK) as first,
        open_viewer("raw", site.url, JSON, deflate=False) as second,
    ):
        for viewer in (first, second):
            await viewer.join(ROOM)
        stage = Stage(api, [first, second])
        await stage.say()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.talk)
            yield stage
            await stage.end()
        assert (await api.ask("GET", "/health/ready")).status == 200


async def connected(site: Doors, *, receive_buffer: int = 0) -> trio.SocketStream:
    sock = trio.socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await sock.connect((site.host, site.port))
    return trio.SocketStream(sock)


async def rest(stream: trio.SocketStream) -> bytes:
    """All that comes until the connection ends."""
    data = bytearray()
    with suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE):
        while chunk := await stream.receive_some(1 << 16):
            data += chunk
    return bytes(data)


async def poke(site: Doors, data: bytes, *, end: bool = True) -> list[int]:
    """Send this and, if so wished, that nothing more comes; returns the statuses of the answers."""
    async with await connected(site) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            if end:
                await stream.send_eof()
        answer = await rest(stream)
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", answer)]


def post(path: bytes, body: bytes, *lines: bytes) -> bytes:
    more = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n%b\r\n%b" % (path, HEAD, len(body), more, body)


# -- what is no request ----------------------------------------------------------------------------------------------------


async def test_what_is_no_request_ends_its_connection(site: Site, stage: Stage) -> None:
    chance = random.Random(5)
    start = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    chunked = b"POST " + COMMENTS + b" HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    for data, wanted in {
        HELLO: {400},
        bytes(5000): {400},
        b"\xff" * 50_000: {400, 431},
        b"\r\n" * 20_000: {400, 431},
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": {400, 505},
        b"\x81\x85\x00\x00\x00\x00hello" * 50: {0},
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n": {400, 505},
        b"GET /\r\n\r\n": {400},
        b"GET /" + b"a" * 200_000: {414, 431, 400},
        start + b"".join(b"A%d: b\r\n" % number for number in range(10_000)) + b"\r\n": {431},
        start + b"A: " + b"b" * 100_000 + b"\r\n\r\n": {431},
        start + b"A: \x00\r\n\r\n": {400},
        start + b"A\xff: b\r\n\r\n": {400},
        start + b" folded: x\r\n\r\n": {200, 400},
        start + b"Host: y\r\n\r\n": {400},
        b"GET /health/live HTTP/1.1\r\n\r\n": {400},
        start + b"Content-Length: -1\r\n\r\n": {400},
        start + b"Content-Length: 1, 2\r\n\r\n": {400},
        start + b"Content-Length: +1\r\n\r\n": {400},
        start + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n": {400, 413},
        start + b"Content-Length: " + b"9" * 15 + b"\r\n\r\n": {413},
        start + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": {400},
        start + b"Transfer-Encoding: gzip\r\n\r\n": {400, 501},
        b"POST " + COMMENTS + b" HTTP/1.1\r\n" + HEAD + b"Content-Length: 104857600\r\n\r\n": {413},
        chunked + b"fffffffffffffffff\r\n": {0, 400, 413},
        chunked + b"f" * 50 + b"\r\n": {400},
        chunked + b"zz\r\n": {400},
        chunked + b"1;" + b"x" * 100_000: {400, 431},
        chunked + b"1\r\na\r\n" * 3: {0},
        chunked + b"10000\r\n%b\r\n" % (b" " * 65_536) * 40: {413},
        chunked + b"1\r\n[\r\n0\r\n" + b"T: x\r\n" * 20_000: {400, 431},
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n": {501},
        b"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: x\r\n\r\n": {404},
        b"GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n": {400},
        b"GET /docs/../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n": {404},
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n": {404},
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n": {404, 405},
        b"BREW /docs HTTP/1.1\r\nHost: [::\xff/\r\n\r\n": {400, 401, 405},
        _UPGRADE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: \xe9\xff\r\n\r\n": {404},
        _UPGRADE + b"Sec-WebSocket-Key: \xc3\x28\r\nSec-WebSocket-Protocol: \x80\r\n\r\n\x81\x80\x00": {404},
        start + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n": {100, 200},
    }.items():
        # Nothing, where more might have come.
        found = await poke(site, data) or [0]
        assert set(found) <= wanted, (data[:100], found)
    assert await poke(site, chunked + b"f" * 50 + b"\r\n", end=False) == [400]
    for _ in range(40):
        garbage = chance.randbytes(chance.randrange(1, 3_000))
        before = chance.choice([b"", start, chunked, HELLO[:20]])
        assert set(await poke(site, before + garbage)) <= {400, 405, 413, 431}


async def test_half_requests_and_hanging_up_cost_nobody_anything(site: Site, stage: Stage) -> None:
    whole = post(COMMENTS, b'{"body": "x"}')
    for size in range(0, len(whole) - 1, 7):
        assert await poke(site, whole[:size]) == []

    async def reset(data: bytes) -> None:
        async with await connected(site) as stream:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        for size in range(0, len(whole), 9):
            nursery.start_soon(reset, whole[:size])
            nursery.start_soon(reset, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * (size + 1))


# -- bodies ----------------------------------------------------------------------------------------------------------------


def _bodies() -> dict[bytes, int]:
    """What is sent where a comment is expected, and the status of the answer."""
    good = b'{"body": "x"}'
    deep = {each * 100_000: 400 for each in (b"[", b'{"body":', b'[{"a":')}
    closed = {b"[" * each + b"]" * each: 0 for each in (100, 990, 3_000, 100_000)}
    nested = {b'{"body": "x", "author": {"id": "a", "attributes": ' + b"[" * 900 + b"]" * 900 + b"}}": 0}
    return {
        **deep,
        **dict.fromkeys(closed, 0),
        **nested,
        b"": 422,
        b"null": 422,
        b"\xef\xbb\xbf" + good: 400,
        '{"body": "x"}'.encode("utf-16"): 400,
        gzip.compress(good): 400,
        gzip.compress(bytes(1_000_000)): 400,
        b'{"body": "\xff\xfe"}': 400,
        b'{"body": "\xed\xa0\x80"}': 400,
        b'{"body": "\xc0\x80"}': 400,
        b'{"body": "\\ud800"}': 400,
        b'{"body": "\\udfff\\ud800"}': 400,
        b'{"\\ud800": "x", "body": "x"}': 400,
        b'{"body": "a\x00b"}': 400,
        b'{"body": "\\u0000"}': 422,
        b'{"body": NaN}': 400,
        b'{"body": "x", "lifetime_seconds": NaN}': 400,
        b'{"body": "x", "lifetime_seconds": Infinity}': 400,
        b'{"body": "x", "lifetime_seconds": 1e400}': 0,
        b'{"body": "x", "lifetime_seconds": 1e308}': 422,
        b'{"body": "x", "lifetime_seconds": -0.0000001}': 422,
        b'{"body": "x", "reply_to": %b}' % (b"9" * 50_000): 0,
        b'{"body": "x", "reply_to": 9007199254740992}': 422,
        b'{"body": "x", "reply_to": 18446744073709551616}': 422,
        b'{"body": "x", "reply_to": 1.0}': 422,
        b'{"body": "x", "reply_to": true}': 422,
        b'{"body": "x", "mentions": ["\\u202eanna"]}': 422,
        b'{"body": "x", "mentions": [%b"a"]}' % (b'"a",' * 100_000): 422,
        b'{"body": "x", "author": {"id": "a\\u0000b"}}': 422,
        b'{"body": "x", "author": {"id": "server"}, "role": "host"}': 422,
        b'{"body": "%b"}' % (b"x" * 20_000): 422,
        b'{"body": "%b"}' % (b"\\u0301" * 5_000): 422,
        b'{"body": 1}': 422,
        b'{"body": ["x"]}': 422,
        b'{"__proto__": {"body": "x"}}': 422,
        b"'; DROP TABLE events; --": 400,
        b"{%b}" % (b'"k":1,' * 50_000)[:-1]: 422,
    }


async def test_bodies_that_no_product_means_are_refused_one_by_one(site: Site, stage: Stage, api: Api) -> None:
    paths = (COMMENTS, b"/v1/batch", b"/v1/tokens", of_room("x", "gifts").encode(), b"/v1/tokens/revocations")
    for body, status in _bodies().items():
        (found,) = await poke(site, post(COMMENTS, body, b"Connection: close"), end=False)
        assert found == status if status else found in (400, 422), (body[:80], found)
        for path in paths[1:]:
            (found,) = await poke(site, post(path, body, b"Connection: close", b"Idempotency-Key: k"), end=False)
            assert found in (400, 422), (path, body[:80], found)
    # Of a name that comes twice the last holds, as everywhere with JSON.
    twice = b'{"body": "first", "body": "%b"}' % WORDS.encode()
    assert await poke(site, post(COMMENTS, twice, b"Content-Encoding: gzip", b"Connection: close")) == [201]
    assert (await api.done("GET", of_room("x", "history")))["events"][-1]["event"]["body"] == WORDS
    # Nothing else came of it.
    assert (await api.done("GET", of_room("x")))["offset"] == 1


async def test_names_that_no_room_and_no_user_has_open_nothing(site: Site, stage: Stage) -> None:
    names = (
        "%00",
        "%0A",
        "%0D%0ASet-Cookie:x",
        "%1F",
        "%B0%B2",
        "%C2%85",
        "%E2%80%AE",
        "%E2%80%8D",
        "a%20",
        "a" * 129,
        "%F0%9F%8E%AC" * 65,
    )
    for name in names:
        for path in (f"rooms/{name}", f"rooms/{name}/history", f"rooms/x/state/{name}/y"):
            found = await poke(site, b"GET /v1/%b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (path.encode(), HEAD))
            assert set(found) <= {400, 404, 405, 422}, (path, found)
        for path in (f"rooms/x/mutes/{name}", f"rooms/x/attributes/{name}", f"gifts/{name}"):
            body = b'{"value": "x"}' if "attributes" in path else b'{"name": "x", "price": 1}' if "gifts" in path else b"{}"
            data = post(f"/v1/{path}".encode(), body, b"Connection: close").replace(b"POST", b"PUT", 1)
            (status,) = await poke(site, data)
            assert status in (400, 422), (path, status)


# -- too much of everything --------------------------------------------------------------------------------------------------


async def test_twenty_thousand_requests_at_once_on_one_connection_cost_their_sender(site: Site, stage: Stage) -> None:
    async with await connected(site) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            # More than the node reads ahead: it answers one before it takes the next.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.send_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000)

        nursery.start_soon(send)
        data = b""
        with trio.fail_after(PATIENCE):
            while data.count(b"HTTP/1.1 200") < 300:
                data += await stream.receive_some(1 << 16)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        nursery.cancel_scope.cancel()


async def test_whoever_takes_all_connections_and_dawdles_is_put_out(site: Site, stage: Stage, api: Api) -> None:
    assert (await api.ask("GET", "/health/live")).status == 200
    text = site.file.read_text(encoding="utf-8")
    brief = "request_seconds = 0.4\nidle_seconds = 0.4\nconnections_max"
    site.file.write_text(text.replace("connections_max", brief), encoding="utf-8")
    assert {"api.request_seconds", "api.idle_seconds"} == set((await api.done("POST", "/v1/node/reload"))["changed"])
    whole = post(COMMENTS, b'{"body": "x"}')
    docs = b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 40

    async def dawdle(data: bytes, *, task_status: trio.TaskStatus[None]) -> None:
        async with await connected(site, receive_buffer=4096) as stream:
            task_status.started()
            with suppress(trio.BrokenResourceError):
                await stream.send_all(data)
            if len(data) < len(whole):
                assert b"HTTP/1.1 201" not in await rest(stream)
            else:
                await trio.sleep_forever()

    async def newcomer() -> None:
        with trio.fail_after(PATIENCE):
            while True:
                async with CALLERS["http.client"](site) as again:
                    with suppress(OSError):
                        if (await again.ask("GET", "/health/live")).status == 200:
                            return

    async with trio.open_nursery() as nursery:
        for number in range(SLOTS):
            await nursery.start(dawdle, (b"", whole[:40], whole[:-3], docs)[number % 4])
        async with trio.open_nursery() as newcomers:
            for _ in range(SLOTS // 2):
                newcomers.start_soon(newcomer)
        nursery.cancel_scope.cancel()
    site.file.write_text(text, encoding="utf-8")
    with trio.fail_after(PATIENCE):
        while (await api_status(site, "POST", "/v1/node/reload")) != 200:
            await trio.lowlevel.checkpoint()


async def api_status(site: Site, method: str, path: str) -> int:
    """Of one call; 0: there was no answer."""
    async with CALLERS["http.client"](site) as again:
        with suppress(OSError):
            return (await again.ask(method, path)).status
    return 0


# -- who may not -----------------------------------------------------------------------------------------------------------


async def test_keys_cannot_be_guessed_and_whoever_tries_is_told_to_wait(site: Site, stage: Stage, api: Api) -> None:
    chance = random.Random(3)
    guesses = ["rc_", KEY[:-1], KEY + "x", KEY.upper(), "rc_é", "", "x" * 5_000, sha256(KEY.encode()).hexdigest()]
    guesses += [f"rc_{chance.randbytes(32).hex()}" for _ in range(40)]
    told = [await api.ask("GET", of_room("x"), key=guess.encode().decode("latin-1")) for guess in guesses]
    statuses = [answer.status for answer in told]
    assert set(statuses) == {401, 429}
    for answer in told:
        assert int(answer.headers["retry-after"]) > 0 if answer.status == 429 else "bearer" in str(answer.headers).lower()
    # A good key from there is good.
    assert (await api.ask("GET", of_room("x"))).status == 200
    assert {(await api.ask("GET", of_room("x"), key=None, authorization=f"Basic {KEY}")).status} <= {401, 429}


async def test_no_forged_stale_or_foreign_token_opens_anything_here_or_there(site: Site, stage: Stage, api: Api) -> None:
    forged = [each for each in FORGED if each.isascii() and "\n" not in each]
    eve = {"sub": "eve", "role": "server", "exp": 4_000_000_000}
    forged += [jwt.encode(eve, SECRET * 4, algorithm) for algorithm in ("HS384", "HS512")]
    forged += [
        jwt.encode(eve, SECRET, headers={"kid": "../../dev/null"}),
        jwt.encode(eve, "x" * 32, headers={"jku": site.origin, "jwk": {"kty": "oct", "k": "eHh4"}}),
        jwt.encode({**eve, "exp": 10**30}, "x" * 32),
    ]
    for each in forged:
        answer = await api.ask("POST", of_room("x", "notices"), {"body": "公告"}, key=each)
        assert answer.status in (401, 403, 429), (each, answer)
    async with open_viewer("raw", site.url) as viewer:
        for each in forged:
            refusal = await viewer.knock(ROOM, token=each)
            assert refusal is not None, each
            assert refusal.code in (Code.BAD_TOKEN, Code.RATE_LIMITED)
    for each in forged[1:]:
        with suppress(HttpRefusal, Gone):
            async with open_viewer(
                "raw", site.url, headers={"Sec-WebSocket-Protocol": f"{MSGPACK}, roomcast.token.{each}"}
            ) as one:
                refusal = await one.knock(ROOM)
                assert refusal is not None, each
                assert refusal.code == Code.BAD_TOKEN
    # Who may only watch, may only watch.
    for role in ("reader", "viewer"):
        answer = await api.ask("POST", of_room("x", "notices"), {"body": "公告"}, key=token("eve", role))
        assert (answer.status, answer.body["code"]) == (403, Code.FORBIDDEN)
    limited = token("mod", "moderator", rooms=["y*"])
    assert (await api.ask("POST", of_room("y#backstage", "comments"), {"body": "x"}, key=limited)).status in (201, 403)
    for room in ("x", "x#backstage", "*"):
        assert (await api.ask("POST", of_room(room, "comments"), {"body": "x"}, key=limited)).status in (403, 422)
    batch = {"events": [{"room": room, "type": "comment", "body": "x"} for room in ("y", "x")]}
    assert (await api.ask("POST", "/v1/batch", batch, key=limited)).status == 403
    other = {"body": "x", "author": {"id": "anna"}}
    assert (await api.ask("POST", of_room("y", "comments"), other, key=limited)).status == 403


async def test_upgrade_requests_with_any_bytes_hurt_nobody_at_either_door(site: Site, stage: Stage) -> None:
    head = request(site.url, MSGPACK, deflate=True)
    host, port = site.url[5:].split("/")[0].split(":")
    door = Doors(site.url, host, int(port))
    chance = random.Random(9)
    for field in (b"Sec-WebSocket-Extensions", b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Key", b"Host", b"Upgrade", b"X"):
        for value in (
            b"\xe9",
            b"\xff\xfe" * 50,
            "大".encode(),
            b"roomcast.token.\x80",
            chance.randbytes(60).replace(b"\n", b""),
        ):
            data = head[:-2] + field + b": " + value + b"\r\n\r\n"
            for where in (site, door):
                found = await poke(where, data)
                assert set(found) <= {101, 400, 401, 404, 405, 426}, (field, value, found)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "http://",
        "http://:80/",
        "http://exa mple.com/",
        "http://example.com/\r\nX: y",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1/",
        "unix:///run/docker.sock",
        "data:text/plain,x",
    ],
)
def test_hooks_go_to_http_addresses_only(url: str) -> None:
    secret = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
    for name in ("comment_url", "gift_url", "red_packet_url", "join_url", "spend_url", "events_url"):
        hooks: dict[str, Any] = {name: url}
        made = Settings(hooks=HookSettings(secret=secret, **hooks), ledger=LedgerSettings(url="sqlite:///x.db"))
        assert [fault.path for fault in check(made)] == [f"hooks.{name}"]


# -- afterwards ------------------------------------------------------------------------------------------------------------


async def test_afterwards_the_node_is_what_it_was(site: Site, api: Api, before: dict[str, int]) -> None:
    with trio.fail_after(PATIENCE):
        # Nothing is left open, once the last have gone.
        while (now := await look(site, api))["descriptors"] > before["descriptors"]:
            await trio.lowlevel.checkpoint()
    assert now["threads"] <= before["threads"] + 4
    assert now["resident"] <= before["resident"] + GROWTH
    log = site.log.read_text(encoding="utf-8")
    for secret in (KEY, WORDS, "公告", "eyJ", SECRET, "Traceback", "api_crashed", "api_connection_failed", "request_failed"):
        assert secret not in log, secret


async def test_whoever_comes_and_goes_leaves_no_task_behind() -> None:
    made = Settings(edge=EdgeSettings(port=0), api=ApiSettings(enabled=True, port=0, keys=(API_KEY,), connections_max=SLOTS))
    async with open_node(made) as node:
        site = doors(node)
        whole = post(COMMENTS, b'{"body": "x"}', b"Idempotency-Key: k")
        await poke(site, whole)
        before = trio.lowlevel.current_statistics().tasks_living
        streams = [await connected(site) for _ in range(SLOTS * 3)]
        for number, stream in enumerate(streams):
            with suppress(trio.BrokenResourceError):
                await stream.send_all(
                    (whole[: number * 3], HELLO, whole, b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 99)[number % 4]
                )
        for stream in streams:
            await stream.aclose()
        assert await poke(site, whole) == [201]
        with trio.fail_after(PATIENCE):
            while trio.lowlevel.current_statistics().tasks_living > before:
                await trio.lowlevel.checkpoint()


async def test_a_killed_hub_is_back_at_the_same_port_and_what_was_not_answered_can_be_said_again(
    tmp_path: Path, redis_url: str
) -> None:
    more = f'[redis]\nurl = "{redis_url}"\nprefix = "hostile-{tmp_path.name}"\n'
    text = settings(tmp_path, workers=1, ledger="none", more=more).replace('url = "none"', "").split("[gifts.rose]")
    with serving(tmp_path, text[0] + text[1].partition("price = 10")[2]) as site:
        async with (
            CALLERS["http.client"](site) as api,
            open_viewer("websockets", site.url, MSGPACK) as first,
            open_viewer("raw", site.url, JSON) as second,
        ):
            for viewer in (first, second):
                await viewer.join(ROOM)
            said: dict[int, str] = {}
            failures: list[int] = []
            flowing = trio.Event()

            async def say(numbers: range) -> None:
                async with CALLERS["http.client"](site) as own:
                    for number in numbers:
                        while (offset := await once(own, number)) == 0:
                            failures.append(number)
                        assert offset not in said
                        said[offset] = f"{number}"
                        if len(said) == 20:
                            flowing.set()

            async def once(own: Api, number: int) -> int:
                with suppress(OSError, http.client.HTTPException):
                    answer = await own.ask("POST", of_room(ROOM, "comments"), {"body": f"{number}"}, once=f"n{number}")
                    if answer.status == 201:
                        return int(answer.body["offset"])
                    assert answer.status in (409, 503), answer
                return 0

            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for first_one in range(4):
                        nursery.start_soon(say, range(first_one, 60, 4))
                    await flowing.wait()
                    (hub,) = members(site, "hub")  # type: ignore[arg-type]
                    os.kill(hub, signal.SIGKILL)
            assert failures
            assert sorted(said) == list(range(1, 61)), "each once"
            for viewer in (first, second):
                await viewer.until_offset(60)
                assert {offset: event[3] for offset, event in viewer.events.items()} == said
                assert not viewer.gaps
            # Viewers are where they were, and a moderator finds them there.
            with trio.fail_after(PATIENCE):
                while (await api.done("GET", of_room(ROOM)))["viewers"] != 2:
                    await trio.lowlevel.checkpoint()
            await api.done("PUT", of_room(ROOM, "bans", first.user), {})
            assert (await first.until_gone()).code == Close.BANNED
