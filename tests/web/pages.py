"""Chromium with pages that have the SDK, and what they need: a server for the files, and a node in a thread.

Owns these three for as long as a file's tests run. Must not know what is tested.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from engine.embedding.thread import Running
from engine.web import Asset, sdk_files

__all__ = ["PATIENCE_MS", "Hall", "open_browser", "reach", "serve_files", "still"]

PATIENCE_MS = 20_000
"""Milliseconds that anything may take on a machine that is busy."""
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
_PAGE = Path(__file__).with_name("page.html")
_CODEC = Path(__file__).with_name("messagepack.mjs")


class _Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        if name == "":
            asset: Asset | None = Asset(_PAGE.read_bytes(), "text/html; charset=utf-8")
        elif name == _CODEC.name:
            asset = Asset(_CODEC.read_bytes(), "text/javascript; charset=utf-8")
        else:
            asset = sdk_files().get(name.removeprefix("sdk/"))
        self.send_response(200 if asset else 404)
        if asset:
            self.send_header("Content-Type", asset.media_type)
        self.end_headers()
        self.wfile.write(asset.content if asset else b"")

    def log_message(self, *_: object) -> None:
        """Quietly."""


@contextmanager
def serve_files() -> Iterator[str]:
    """A server on loopback for the page and the SDK; yields the page's address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


class Hall:
    """One room, and the pages that are in it."""

    def __init__(self, browser: Browser, running: Running, address: str, room: str) -> None:
        self._browser = browser
        self._running = running
        self._address = address
        self._pages: list[Page] = []
        self.room = room
        self.faults: list[str] = []
        self.sent: list[str | bytes] = []
        """What the SDK of any page has sent."""

    def enter(self, name: str, **options: Any) -> Page:
        """A page of a browser of its own, in the room."""
        page = self._browser.new_context().new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("websocket", lambda websocket: websocket.on("framesent", lambda sent: self.sent.append(sent)))
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self._pages.append(page)
        page.goto(self._address)
        self.enter_again(page, name, **options)
        return page

    def enter_again(self, page: Page, name: str, **options: Any) -> str:
        """The page has been loaded, perhaps not for the first time. Returns the id of its user."""
        page.wait_for_function("window.loaded")
        where = [self._running.node.url, self.room, {"name": name, **options}]
        user: str = page.evaluate("([url, room, options]) => enter(url, room, options)", where)
        return user

    def say(self, count: int, text: str = "服务器") -> int:
        """The product says so many; returns the last offset."""

        async def say() -> int:
            offset = 0
            for number in range(count):
                offset = await self._running.node.comment(self.room, f"{text} {number}")
            return offset

        return self._running.call(say)

    def likes(self) -> int:
        """As the node counts them."""
        counters = self._running.call(self._running.node.counters, self.room)
        return counters[0] if counters else 0

    def cut(self) -> None:
        """Break the connections of all viewers in the room."""

        def cut() -> None:
            for sock in self._running.node.edge.sockets(self.room):
                sock.shutdown(socket.SHUT_RDWR)

        self._running.call(cut)

    def close(self) -> None:
        """Close the pages; nothing may have gone wrong there."""
        for page in self._pages:
            page.context.close()
        assert self.faults == []


def reach(page: Page, offset: int) -> None:
    """Wait until everything up to an offset has come to a page; each once and in order, from 1."""
    page.wait_for_function("last => offsets.at(-1) >= last", arg=offset)
    seen = page.evaluate("offsets")
    assert seen == list(range(1, len(seen) + 1))


def still(page: Page) -> None:
    """Wait until nothing moves: what is half-way from one colour to another is nothing's colour. What one movement ends may
    begin the next, as where a colour is inherited."""
    page.evaluate("""async () => {
        while (document.getAnimations().length) {
            await Promise.all(document.getAnimations().map((each) => each.finished.catch(() => {})));
            await new Promise(requestAnimationFrame);
        }
    }""")
