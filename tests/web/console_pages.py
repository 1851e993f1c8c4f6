"""The console in Chromium, at a real node that serves it.

Owns a node whose settings are in a file, with a key that may do everything and others; pages of the console; viewers in its
rooms; and what must hold of every page: nothing asked from elsewhere, no error. Must not know what is tested.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import trio
from playwright.sync_api import Browser, BrowserContext, Page, Response

import engine
from engine.client import Options, open_client
from engine.embedding.thread import Running
from engine.errors import RoomcastError
from engine.schema import CONSOLE

from .pages import PATIENCE_MS

__all__ = ["KEY", "PHONE", "WIDE", "Desk", "Guest", "House", "at_room", "console_file", "open_house"]

KEY = "rc_everything"
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
_SCOPES = {"everything": '["*"]', "reader": '["rooms:read"]', "moderator": '["rooms:read", "moderate"]'}
_STATUS = "Failed to load resource: the server responded with a status of "
_OFFLINE = "Failed to load resource: net::ERR_CONNECTION"
_NO_SOCKET = "WebSocket connection to "


def console_file(directory: Path, *, ports: tuple[int, int] = (0, 0), more: str = "") -> Path:
    """The settings of a node for the console; ``ports`` of the viewers' side and of the API."""
    words = directory / "words.txt"
    words.write_text("加微信\n", encoding="utf-8")
    keys = "".join(
        f'[[api.keys]]\nname = "{name}"\nsha256 = "{sha256(f"rc_{name}".encode()).hexdigest()}"\nscopes = {scopes}\n'
        for name, scopes in _SCOPES.items()
    )
    file = directory / "roomcast.toml"
    file.write_text(
        f"""
[node]
name = "bühne"
shutdown_seconds = 2.0
return_window_seconds = 0.0
[edge]
port = {ports[0]}
[room]
counters_seconds = 0.05
tick_grid_seconds = 0.002
[limits]
comments_per_second = 1000.0
{more}
[quality]
seconds = 0.1
[ledger]
url = "sqlite:///{directory / "ledger.db"}"
spend = "free"
guests = true
[gifts.rose]
name = "玫瑰 🌹"
price = 10
[[moderation.lists]]
file = "{words}"
action = "hold"
[api]
enabled = true
port = {ports[1]}
{keys}""",
        encoding="utf-8",
    )
    return file


def at_room(room: str) -> str:
    """Its place in the console's address."""
    return f"#/rooms/{quote(room, safe='')}"


class Guest:
    """A viewer in a thread of its own who hears everything and tells how well it is served. A context manager."""

    def __init__(self, url: str, room: str, name: str = "安娜 🌸") -> None:
        self._where = url, room, name
        self._entered = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), daemon=True)
        self.user = ""

    async def _main(self) -> None:
        url, room, name = self._where
        self._token, self._scope = trio.lowlevel.current_trio_token(), trio.CancelScope()
        options = Options(quality=1.0, quality_seconds=0.05)
        # Also when it is sent out.
        with self._scope, suppress(RoomcastError):
            async with open_client(url, room=room, name=name, options=options) as self._client:
                self.user = self._client.user
                self._entered.set()
                async for _ in self._client:
                    pass

    def say(self, body: str) -> int:
        """Returns the offset, 0 if it is held. Raises what the client does."""
        return trio.from_thread.run(self._client.comment, body, trio_token=self._token)

    def __enter__(self) -> Guest:
        self._thread.start()
        assert self._entered.wait(PATIENCE_MS / 1000)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()


class House:
    """A node that can be stopped and started again at the same place.

    :ivar file: its settings.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = (0, 0)
        self.file = console_file(directory)
        self.running: Running = engine.start(self.file)
        assert self.running.node.api is not None
        self.api: str = self.running.node.api.url
        self._ports = urlsplit(self.running.node.url).port or 0, urlsplit(self.api).port or 0
        self.write()

    def write(self, more: str = "") -> None:
        """The file, with more under ``[limits]``."""
        console_file(self._directory, ports=self._ports, more=more)

    @property
    def url(self) -> str:
        """Of the viewers' side."""
        return self.running.node.url

    def start(self) -> None:
        """Again."""
        self.running = engine.start(self.file)

    def call(self, do: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """In the node's thread."""
        return self.running.call(do, *args, **more)

    def cut(self, room: str = CONSOLE) -> None:
        """Break the connections of all who are in a room."""

        def cut() -> None:
            for sock in self.running.node.edge.sockets(room):
                sock.shutdown(socket.SHUT_RDWR)

        self.call(cut)


@contextmanager
def open_house(directory: Path) -> Iterator[House]:
    """A node for the console."""
    house = House(directory)
    try:
        yield house
    finally:
        house.running.stop()


class Desk:
    """Pages of the console at one node.

    :ivar refusals: answers of the API that were none, as method, path and status.
    """

    def __init__(self, browser: Browser, house: House) -> None:
        self._browser = browser
        self._house = house
        self._contexts: list[BrowserContext] = []
        self.faults: list[str] = []
        self.refusals: list[tuple[str, str, int]] = []
        self.alone = False

    def enter(self, place: str = "", key: str | None = KEY, *, language: str = "en-GB", **options: Any) -> Page:
        """A page of a browser of its own; None: as far as the way in.

        :param place: of the address, behind the #.
        :param options: of the browser's context, such as ``viewport``.
        """
        context = self._browser.new_context(**{"viewport": WIDE, "locale": language, **options})
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        self._watch(page)
        page.goto(f"{self._house.api}/console" + (f"#key={key}" if key is not None else ""))
        if key is not None:
            page.locator(".shell").wait_for()
            go(page, place or "#/overview")
        return page

    def _watch(self, page: Page) -> None:
        home = urlsplit(self._house.api)
        allowed = ((home.scheme, home.netloc), ("ws", urlsplit(self._house.url).netloc), ("data", ""), ("blob", ""))

        def ask(url: str) -> None:
            if urlsplit(url)[:2] not in allowed:
                self.faults.append(f"asked elsewhere: {url}")

        def said(kind: str, text: str) -> None:
            # The browser itself tells every answer that is none; `refusals` has them.
            known = text.startswith(_STATUS) or (self.alone and text.startswith((_OFFLINE, _NO_SOCKET)))
            if kind in ("error", "warning") and not known:
                self.faults.append(text)

        page.on("request", lambda request: ask(request.url))
        page.on("websocket", lambda opened: ask(opened.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        page.on("console", lambda message: said(message.type, message.text))
        page.on("response", self._answered)

    def _answered(self, answer: Response) -> None:
        if answer.status >= 400:
            self.refusals.append((answer.request.method, urlsplit(answer.url).path, answer.status))

    def close(self, refusals: bool = False) -> None:
        """Close the pages; nothing may have gone wrong there.

        :param refusals: the API was right to refuse something.
        """
        for context in self._contexts:
            context.close()
        assert self.faults == []
        assert refusals or self.refusals == []


def go(page: Page, place: str) -> None:
    """To another part of the console."""
    leave = "document.querySelectorAll('.section').forEach((each) => each.classList.add('left'))"
    page.evaluate(f"place => {{ if (location.hash !== place) {{ {leave}; location.hash = place }} }}", place)
    page.locator(".section:not(.left)").wait_for()
