"""README's page is a page: as it stands there, but for the addresses, in a browser and loaded from somewhere else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import engine
from engine.settings import ApiSettings, EdgeSettings, Settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from readme import block, replaced

from .pages import PATIENCE_MS, open_browser

pytestmark = pytest.mark.browser


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """A web server of somebody else; the list holds its page."""
    pages: list[bytes] = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(pages[0] if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            """Quietly."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", pages
        server.shutdown()
        thread.join()


def test_the_page_talks(elsewhere: tuple[str, list[bytes]]) -> None:
    url, pages = elsewhere
    settings = Settings(edge=EdgeSettings(port=0), api=ApiSettings(enabled=True, port=0))
    with engine.start(settings) as running, open_browser() as browser:
        service = running.node.api
        assert service is not None
        text = replaced(block("page.html"), {"http://127.0.0.1:8780": service.url, "ws://127.0.0.1:8765/ws": running.node.url})
        pages.append(text.encode())
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        page.locator("input").fill("你好 👋 <b>")
        page.locator("button").click()
        page.locator("li").wait_for()
        assert page.locator("li").all_text_contents() == ["小明: 你好 👋 <b>"]
        assert not faults
