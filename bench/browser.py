"""Chromium as a viewer has it, and what it takes of the machine.

Owns the browser's life and the numbers it tells of itself. Must not know what a page shows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from bench.engineproc import EngineError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Chromium", "PageCost", "open_chromium"]

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class PageCost:
    """What one page takes: memory its scripts hold after a collection, and nodes of its documents.

    :param page: it must stay open.
    """

    def __init__(self, page: Page) -> None:
        self._devtools = page.context.new_cdp_session(page)

    def heap_bytes(self) -> int:
        """Held by scripts, when what nobody needs has been collected."""
        self._devtools.send("HeapProfiler.collectGarbage")
        return int(self._devtools.send("Runtime.getHeapUsage")["usedSize"])

    def nodes(self) -> int:
        """Of all documents, those that are only referred to by scripts included."""
        return int(self._devtools.send("Memory.getDOMCounters")["nodes"])


class Chromium:
    """A running browser.

    :ivar strangers: addresses that pages have asked for beyond those they were opened from.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._devtools = browser.new_browser_cdp_session()
        self.strangers: list[str] = []
        self.faults: list[str] = []

    def cpu_seconds(self) -> dict[str, float]:
        """That its processes have taken so far, by kind: ``renderer``, ``browser``, ``GPU``, ``utility``."""
        taken: dict[str, float] = {}
        for each in self._devtools.send("SystemInfo.getProcessInfo")["processInfo"]:
            taken[each["type"]] = taken.get(each["type"], 0.0) + each["cpuTime"]
        return taken

    def open(self, url: str, *, width: int = 1440, height: int = 900) -> Page:
        """A page in a profile of its own, with nothing cached."""
        page = self._browser.new_context(viewport={"width": width, "height": height}).new_page()
        origin = "/".join(url.split("/")[:3])

        def asked(request: Any) -> None:
            if not request.url.startswith((origin, "data:", "blob:")):
                self.strangers.append(request.url)

        page.on("request", asked)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(url, wait_until="commit")
        return page

    def first_paint_ms(self, url: str) -> float:
        """From the beginning of the navigation to the first content, in a profile with nothing cached."""
        page = self.open(url)
        paint = float(page.evaluate(_FIRST_PAINT))
        page.context.close()
        return paint


_FIRST_PAINT: Final = """() => new Promise(resolve => {
    const told = (list) => {
        for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") resolve(entry.startTime);
    };
    new PerformanceObserver(told).observe({ type: "paint", buffered: true });
})"""
"""Playwright's own waiting evaluates texts, which the pages' policy forbids."""


@contextmanager
def open_chromium() -> Iterator[Chromium]:
    """The machine's own Chromium, without a window.

    :raises EngineError: there is none.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None or find_spec("playwright") is None:
        raise EngineError("this needs Chromium (Debian: chromium) and playwright (.ci/setup test)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield Chromium(browser)
        finally:
            browser.close()
