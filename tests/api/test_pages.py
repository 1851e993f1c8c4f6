"""What people see at the API's address: every file as it is, to everybody, asked for again and not sent again; nothing else."""

from __future__ import annotations

import gzip
import posixpath
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from engine.api.app import make_app
from engine.api.pages import POLICY
from engine.node import open_node
from engine.settings import EdgeSettings, Settings
from engine.web import site

from .calling import Called, calling, settings

PAGES = ("/", "/console")
DYNAMIC = {"/entrance.json", "/docs", "/openapi.json"}


@asynccontextmanager
async def visiting(given: Settings | None = None, **more: Any) -> AsyncIterator[Called]:
    async with calling(given, **more) as called:
        # httpx would ask for compression by itself.
        called.client.headers["Accept-Encoding"] = "identity"
        yield called


async def get(called: Called, path: str, **headers: str) -> httpx.Response:
    """As anybody: without a key."""
    return await called.call("GET", path, key=None, headers={name.replace("_", "-"): text for name, text in headers.items()})


# -- files -----------------------------------------------------------------------------------------------------------------


def test_the_pages_and_what_they_need_are_there() -> None:
    assert {*PAGES, "/sdk/roomcast.js", "/sdk/roomcast.d.ts", "/web/shared/tokens.css"} <= set(site())


async def test_every_file_is_served_as_what_it_is() -> None:
    async with visiting() as called:
        for path, asset in site().items():
            answer = await get(called, path)
            assert (answer.status_code, answer.content) == (200, asset.content), path
            headers = answer.headers
            assert headers["content-type"] == asset.media_type
            assert headers["content-type"].startswith(("image/png", "image/webp", "font/", "application/json")) or headers[
                "content-type"
            ].endswith("charset=utf-8")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert headers["cache-control"] == "no-cache"
            assert re.fullmatch(r'"[0-9a-f]{32}"', headers["etag"])


async def test_what_a_browser_has_is_not_sent_again() -> None:
    async with visiting() as called:
        for path in site():
            first = await get(called, path)
            tag = first.headers["etag"]
            for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
                answer = await get(called, path, If_None_Match=condition)
                assert (answer.status_code, answer.content) == (304, b"")
                assert answer.headers["etag"] == tag
                assert answer.headers["cache-control"] == "no-cache"
                assert "content-type" not in answer.headers
            for condition in ('"other"', "", tag.strip('"')):
                assert (await get(called, path, If_None_Match=condition)).status_code == 200
        tags = [(await get(called, path)).headers["etag"] for path in site()]
        assert len(set(tags)) == len(tags)


async def test_who_can_unpack_gets_it_packed() -> None:
    path = "/sdk/roomcast.js"
    takes = dict.fromkeys(("gzip, deflate, br, zstd", "GZIP;q=0.1", "*", "br, *;q=0.5"), True)
    takes |= dict.fromkeys(("", "identity", "br", "gzip;q=0", "gzip; q=0.000, *", "*;q=0"), False)
    async with visiting() as called:
        whole = await get(called, path)
        for accepted, packed in takes.items():
            async with called.client.stream("GET", path, headers={"Accept-Encoding": accepted}) as answer:
                raw = b"".join([part async for part in answer.aiter_raw()])
            assert answer.headers["vary"] == whole.headers["vary"] == "Accept-Encoding"
            assert ("content-encoding" in answer.headers) is packed, accepted
            assert (gzip.decompress(raw) if packed else raw) == site()[path].content
            # A strong validator stands for these bytes and no others.
            assert (answer.headers["etag"] != whole.headers["etag"]) is packed
            if packed:
                assert len(raw) < len(whole.content) / 2
                again = await get(called, path, Accept_Encoding=accepted, If_None_Match=answer.headers["etag"])
                assert (again.status_code, "content-encoding" in again.headers) == (304, False)
                assert (await get(called, path, If_None_Match=answer.headers["etag"])).status_code == 200


async def test_a_head_is_that_of_the_answer() -> None:
    async with visiting() as called:
        for path in (*site(), "/entrance.json"):
            whole, head = await get(called, path), await called.call("HEAD", path, key=None)
            assert head.status_code == 200
            assert {**whole.headers, "x-request-id": ""} == {**head.headers, "x-request-id": ""}


async def test_nothing_else_can_be_had() -> None:
    paths = [
        *("/sdk", "/sdk/", "/sdk/none.js", "/sdk/__init__.py", "/sdk/..", "/sdk/%2e%2e%2f__init__.py", "/sdk/ROOMCAST.js"),
        *("/web", "/web/", "/web/demo", "/web/demo/", "/web/demo/index.html", "/web/console/index.html"),
        *("/web/shared/..%2F..%2F..%2Fpyproject.toml", "/web/../engine/cli.py", "/web/shared/%00", "/web/shared/tokens.css/"),
        *("/console/", "/index.html", "/entrance.json/", "/web/api/pages.py", "//sdk/roomcast.js", "/sdk//roomcast.js"),
        *("/sdk/%2Fetc%2Fpasswd", "/web/sdk/roomcast.js", "/../../etc/passwd", f"/web/shared/{'x' * 4_000}"),
    ]
    async with calling(settings(enabled=True)) as called:
        assert called.node.api is not None
        for path in paths:
            # As it stands: a client would put such a path in order.
            stream = await trio.open_tcp_stream(*called.node.api.addresses[0])
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join([part async for part in stream])
            await stream.aclose()
            assert answer.startswith(b"HTTP/1.1 404 "), (path, answer)


async def test_they_can_only_be_read() -> None:
    async with visiting() as called:
        for path in (*PAGES, "/sdk/roomcast.js", "/entrance.json"):
            answer = await called.call("POST", path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


# -- what browsers may do with them ------------------------------------------------------------------------------------------


async def test_a_page_may_run_ours_and_nothing_else() -> None:
    async with visiting() as called:
        for path in PAGES:
            assert (await get(called, path)).headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert "*" not in POLICY
    allowed = dict(each.split(" ", 1) for each in POLICY.split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["script-src"] == allowed["style-src"] == "'self'"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_to_its_policy(path: str) -> None:
    text = site()[path].content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert all("src=" in each for each in re.findall(r"<script[^>]*>", text))


def test_pages_ask_for_nothing_that_is_not_there() -> None:
    asked = {
        "text/html": r"""(?:src|href)=["']([^"'#]+)""",
        "text/javascript": r"""^(?:import|export)\b(?:[^;"']*?\bfrom)?\s*["']([^"']+)["'];""",
        "text/css": r"""url\(["']?([^"')#]+)|@import ["']([^"']+)""",
    }
    there = {*site(), *DYNAMIC}
    for path, asset in site().items():
        for found in re.finditer(asked.get(asset.media_type.split(";")[0], r"(?!)"), asset.content.decode(), re.MULTILINE):
            target = next(each for each in found.groups() if each)
            if not target.startswith("data:"):
                assert not urlsplit(target).netloc, (path, target)
                wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), urlsplit(target).path))
                assert wanted in there, (path, target)


async def test_the_sdk_is_for_pages_of_others_too() -> None:
    async with visiting() as called:
        for path in (*site(), "/entrance.json"):
            headers = (await get(called, path, Origin="https://product.example")).headers
            shared = path.startswith("/sdk/") or path == "/entrance.json"
            assert headers.get("access-control-allow-origin") == ("*" if shared else None), path
            assert headers["cross-origin-resource-policy"] == ("cross-origin" if shared else "same-origin"), path


# -- where viewers connect ---------------------------------------------------------------------------------------------------


async def test_a_page_is_told_where_viewers_connect() -> None:
    async with visiting() as called:
        answer = await get(called, "/entrance.json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {"url": called.node.url, "room": "demo", "version": called.app.version}
        # The edge listens there and nowhere else, by whatever name the page was reached.
        assert (await get(called, "/entrance.json", Host="chat.example")).json()["url"] == called.node.url


async def test_who_listens_everywhere_is_found_where_the_page_was() -> None:
    told = {
        "192.168.1.5:8780": "192.168.1.5",
        "chat.example": "chat.example",
        "[2001:db8::5]:8780": "[2001:db8::5]",
        "localhost:1": "localhost",
    }
    told |= dict.fromkeys(("", "a b", "x@y", "a/b", "a:b", "a:1:2", "evil.example#", "[::1", "a?b", "[x]", "é"), "localhost")
    everywhere = replace(settings(), edge=EdgeSettings(host="0.0.0.0", port=0))
    async with visiting(everywhere) as called:
        port = called.node.edge.addresses[0][1]
        for host, found in told.items():
            answer = await called.call("GET", "/entrance.json", key=None, headers={"Host": host.encode()})
            assert answer.json()["url"] == f"ws://{found}:{port}/ws", host


async def test_an_operator_s_word_counts_most() -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        given = replace(settings(viewers_url="wss://chat.example/live"), edge=EdgeSettings(host=host, port=0))
        async with visiting(given) as called:
            assert (await get(called, "/entrance.json", Host="192.168.1.5")).json()["url"] == "wss://chat.example/live"


# -- whether they are there ----------------------------------------------------------------------------------------------------


async def test_pages_can_be_switched_off_and_on_while_the_node_runs() -> None:
    given = settings()

    def reread() -> Settings:
        return given

    async with visiting(given, reread=reread) as called:
        for pages in (True, False, True):
            given = replace(given, api=replace(given.api, pages=pages))
            await called.node.reload()
            for path in ("/console", "/sdk/roomcast.js", "/web/shared/tokens.css", "/entrance.json"):
                assert (await get(called, path)).status_code == (200 if pages else 404)
            root = await get(called, "/")
            assert (root.status_code, root.headers.get("location")) == ((200, None) if pages else (307, "/docs"))
            docs = (await get(called, "/docs")).text
            assert all((f"href='{path}'" in docs) is pages for path in (*PAGES, "/sdk/roomcast.js"))


async def test_they_are_no_part_of_the_api() -> None:
    async with open_node(settings()) as node:
        paths = set(make_app(node).state.about.document["paths"])
    assert not any(path in ("/", "/console", "/entrance.json") or path.startswith(("/sdk", "/web")) for path in paths)
