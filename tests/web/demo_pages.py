"""The demo page in Chromium, at a real node that serves it.

Owns a node with the HTTP API and everything that the page can show, pages of it, and what must hold of every page: nothing
asked from elsewhere, nothing in the console, no error. Must not know what is tested.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from e2e.nodes import lively
from playwright.sync_api import Browser, BrowserContext, Page

import engine
from engine.backend import Room
from engine.embedding.thread import Running
from engine.settings import GiftSettings, ModerationSettings, Settings, WordList

from .pages import PATIENCE_MS

__all__ = ["PHONE", "WIDE", "Theatre", "open_theatre", "until_holds"]

WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
_GIFTS = {
    "rose": GiftSettings(name="玫瑰", price=10, effect="rose", combo_seconds=10.0),
    "rocket": GiftSettings(name="火箭", price=1_000, effect="rocket", combo_seconds=0),
}


def _settings(directory: Path, **sections: dict[str, Any]) -> Settings:
    words = directory / "words.txt"
    words.write_text("剧透\n", encoding="utf-8")
    made = lively(
        limits={"gifts_per_second": 1e6, "gifts_burst": 1_000_000},
        ledger={"url": f"sqlite:///{directory / 'ledger.db'}", "spend": "free", "guests": True},
        api={"enabled": True, "port": 0},
        **sections,
    )
    return replace(made, gifts=_GIFTS, moderation=ModerationSettings(lists=(WordList(file=str(words), action="hold"),)))


def until_holds(page: Page, expression: str, arg: Any = None) -> None:
    """Wait until an expression, or a function of ``arg``, is true in a page. Playwright's own way evaluates in the page, which
    its policy forbids."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


class Theatre:
    """One room of the node, and the pages that are in it.

    :ivar room: its name.
    """

    def __init__(self, browser: Browser, running: Running, room: str) -> None:
        self._browser = browser
        self._running = running
        self._contexts: list[BrowserContext] = []
        self.room = room
        self.faults: list[str] = []

    @property
    def address(self) -> str:
        """Of the page."""
        api = self._running.node.api
        assert api is not None
        return api.url

    def enter(self, name: str | None = "小明", *, ready: bool = True, language: str = "en-GB", **options: Any) -> Page:
        """A page of a browser of its own, in the room; None: without a name.

        :param options: of the browser's context, such as ``viewport``.
        """
        context = self._browser.new_context(**{"viewport": WIDE, "locale": language, **options})
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        self.watch(page)
        query = f"?room={quote(self.room)}" + (f"&name={quote(name)}" if name is not None else "")
        page.goto(f"{self.address}/{query}")
        if ready:
            until_holds(page, "document.documentElement.dataset.status === 'open' && roomcastDemo.room.position")
        return page

    def watch(self, page: Page) -> None:
        """Let whatever goes wrong there be a fault of the test."""
        home = urlsplit(self.address)
        allowed = ((home.scheme, home.netloc), ("ws", urlsplit(self._running.node.url).netloc), ("data", ""))

        def ask(url: str) -> None:
            if urlsplit(url)[:2] not in allowed:
                self.faults.append(f"asked elsewhere: {url}")

        page.on("request", lambda request: ask(request.url))
        page.on("websocket", lambda opened: ask(opened.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        # That there is no network the browser itself says.
        if kind in ("error", "warning") and "ERR_INTERNET_DISCONNECTED" not in text:
            self.faults.append(text)

    def act(self, do: Callable[[Room], Any]) -> Any:
        """What the product does in the room: ``act(lambda room: room.comment("…"))``; returns what that returns."""
        return self._running.call(do, self._running.node.room(self.room))

    def say(self, count: int, text: str = "评论") -> int:
        """The product says so many; returns the last offset."""

        async def say(room: Room) -> int:
            offset = 0
            for number in range(count):
                offset = await room.comment(f"{text} {number}")
            return offset

        last: int = self.act(say)
        return last

    def cut(self) -> None:
        """Break the connections of all viewers in the room."""

        def cut() -> None:
            for sock in self._running.node.edge.sockets(self.room):
                sock.shutdown(socket.SHUT_RDWR)

        self._running.call(cut)

    def close(self) -> None:
        """Close the pages; nothing may have gone wrong there."""
        for context in self._contexts:
            context.close()
        assert self.faults == []


@contextmanager
def open_theatre(directory: Path, **sections: dict[str, Any]) -> Iterator[Running]:
    """A node with API, pages, money, and a list of words that are held; changed by section."""
    with engine.start(_settings(directory, **sections)) as running:
        yield running
