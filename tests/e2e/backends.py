"""Nodes with an HTTP API in processes of their own, and a product's servers that call them with clients that are not ours.

Owns starting the processes for the tests of one file, and three callers behind one face: Python's `http.client`, Node's
`fetch`, and curl where the system has it. Must not know what is tested.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import trio

from engine.node import Node
from engine.settings import ApiKey

from .nodejs import NODE
from .people import SECRET
from .processes import ROOMCAST, clean_environment
from .viewers import PATIENCE

__all__ = ["API_KEY", "CALLERS", "KEY", "Answer", "Api", "Doors", "Site", "doors", "of_room", "serving", "settings"]

KEY = "rc_" + "schluessel-" * 4
API_KEY = ApiKey(name="shop", sha256=sha256(KEY.encode()).hexdigest())
_SETTINGS = """
[node]
name = "site"
workers = {workers}
run_directory = "{directory}/run"
shutdown_seconds = 3
return_window_seconds = 0
[edge]
port = 0
[api]
enabled = true
port = 0
{api}
[[api.keys]]
name = "shop"
sha256 = "{digest}"
[access]
secret = "{secret}"
anonymous = "write"
[ledger]
url = "{ledger}"
spend = "free"
[gifts.rose]
name = "玫瑰 🌹"
price = 10
[room]
tick_grid_seconds = 0.002
counters_seconds = 0.05
[limits]
comments_burst = 1000000
messages_burst = 1000000
reads_burst = 1000000
{more}
"""


class Answer(NamedTuple):
    """What the API said; names of headers in lower case, ``body`` decoded if it is JSON, None if there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Doors:
    """Where a node is found.

    :ivar url: for viewers; ``host`` and ``port`` of the HTTP API.
    """

    url: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True)
class Site(Doors):
    """A node in a process of its own.

    :ivar file: the config file, ``log`` what it has written to standard error.
    """

    process: subprocess.Popen[bytes]
    file: Path
    log: Path


def doors(node: Node) -> Doors:
    """Those of a node in this process."""
    assert node.api is not None
    return Doors(node.url, *node.api.addresses[0])


def settings(directory: Path, *, workers: int = 0, ledger: str = "", api: str = "", more: str = "") -> str:
    """A config file for a node.

    :param api: more lines of its section; ``more``: more sections.
    """
    ledger = ledger or f"sqlite:///{directory / 'ledger.db'}"
    return _SETTINGS.format(
        workers=workers, directory=directory, digest=API_KEY.sha256, secret=SECRET, ledger=ledger, api=api, more=more
    )


@contextmanager
def serving(directory: Path, text: str) -> Iterator[Site]:
    """Run a node while the block runs; its end is orderly, or else told."""
    file, log = directory / "config.toml", directory / "log"
    file.write_text(text, encoding="utf-8")
    command = [*ROOMCAST, "serve", "--config", str(file), "--json"]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=clean_environment()) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text(encoding="utf-8")
            told = json.loads(line)
            host, port = told["api"]
            yield Site(told["url"], host, port, process, file, log)
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def of_room(room: str, *names: str | int) -> str:
    """The path of something in a room, as any client would write it."""
    return "/v1/rooms/" + "/".join(quote(str(name), safe="") for name in (room, *names))


class Api:
    """The API as one of the clients sees it."""

    def __init__(self, call: Callable[[str, str, dict[str, str], bytes | None], Any]) -> None:
        self._call = call

    async def ask(
        self, method: str, path: str, body: Any = None, *, once: str = "", key: str | None = KEY, **headers: str
    ) -> Answer:
        """One call.

        :param body: becomes JSON.
        :param once: the Idempotency-Key.
        :param key: an API key or a token; None: without.
        """
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            given["Authorization"] = f"Bearer {key}"
        if once:
            given["Idempotency-Key"] = once
        data = None
        if body is not None:
            given["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False).encode()
        with trio.fail_after(PATIENCE):
            status, told, raw = await self._call(method, path, given, data)
        content = told.get("content-type", "")
        return Answer(status, told, (json.loads(raw) if "json" in content else raw) if raw else None)

    async def done(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """As `ask`, which must succeed; returns the body."""
        answer = await self.ask(method, path, body, **more)
        assert answer.status < 300, answer
        return answer.body


_Raw = tuple[int, dict[str, str], bytes]


@asynccontextmanager
async def _http_client(site: Doors) -> AsyncIterator[Api]:
    connection = http.client.HTTPConnection(site.host, site.port, timeout=PATIENCE)

    def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> _Raw:
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
        except OSError:
            # The next call makes another one.
            connection.close()
            raise
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    async def call(*given: Any) -> _Raw:
        return await trio.to_thread.run_sync(ask, *given)

    try:
        yield Api(call)
    finally:
        connection.close()


@asynccontextmanager
async def _curl(site: Doors) -> AsyncIterator[Api]:
    async def call(method: str, path: str, headers: dict[str, str], body: bytes | None) -> _Raw:
        command = ["curl", "-sS", "--noproxy", "*", "-X", method, site.origin + path, "-D", "-"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        if body is not None:
            command += ["--data-binary", "@-"]
        done = await trio.run_process(command, stdin=body or b"", capture_stdout=True)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), told, rest

    yield Api(call)


_FETCH = """
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { url, method, headers, body } = JSON.parse(line);
  const given = body === null ? undefined : Buffer.from(body, "base64");
  const response = await fetch(url, { method, headers, body: given });
  const raw = Buffer.from(await response.arrayBuffer()).toString("base64");
  console.log(JSON.stringify({ status: response.status, headers: Object.fromEntries(response.headers), body: raw }));
});
"""


@asynccontextmanager
async def _fetch(site: Doors) -> AsyncIterator[Api]:
    process = await trio.lowlevel.open_process([str(NODE), "-e", _FETCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    buffer = b""

    async def call(method: str, path: str, headers: dict[str, str], body: bytes | None) -> _Raw:
        nonlocal buffer
        given = base64.b64encode(body).decode() if body is not None else None
        question = {"url": site.origin + path, "method": method, "headers": headers, "body": given}
        await stdin.send_all(json.dumps(question).encode() + b"\n")
        while b"\n" not in buffer:
            chunk = await stdout.receive_some(1 << 16)
            assert chunk, "node has ended"
            buffer += chunk
        line, _, buffer = buffer.partition(b"\n")
        told = json.loads(line)
        return told["status"], told["headers"], base64.b64decode(told["body"])

    try:
        yield Api(call)
    finally:
        with trio.CancelScope(shield=True):
            await stdin.aclose()
            await process.wait()
            await stdout.aclose()


CALLERS: dict[str, Callable[[Doors], AbstractAsyncContextManager[Api]]] = {
    "http.client": _http_client,
    "fetch": _fetch,
    **({"curl": _curl} if shutil.which("curl") else {}),
}
"""``CALLERS[name](site)``: the API by each client."""
