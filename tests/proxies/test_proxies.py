"""Viewers on the far side of HAProxy and nginx, configured as the README says."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from e2e.viewers import JSON, MSGPACK, PATIENCE
from readme import block

from engine.client import Comment, Disconnected, Options, open_client
from engine.errors import Close
from engine.settings import Settings

from .dialing import Door, open_viewer, request
from .proxying import HAPROXY, NGINX, Make, program, proxied, served

pytestmark = pytest.mark.proxies

ROOM = "直播间"
SAID = "太好看了！🎉🧧👨‍👩‍👧‍👦 " * 20
TWO = {"ROOMCAST_EDGE__VIEWERS_PER_ADDRESS": "2"}
_EDGE, _ROOM = Settings().edge, Settings().room
NUMBERS = [
    ("haproxy.cfg", r"timeout tunnel (\d+)s", 3 * _ROOM.heartbeat_seconds),
    ("haproxy.cfg", r"tune\.sndbuf\.client (\d+)", _EDGE.send_buffer_bytes),
    ("haproxy.cfg", r"tcp-ut (\d+)s", _EDGE.dead_peer_seconds),
    ("nginx.conf", r"proxy_read_timeout (\d+)s", 3 * _ROOM.heartbeat_seconds),
    ("nginx.conf", r"sndbuf=(\d+)k", _EDGE.send_buffer_bytes // 1024),
    ("nginx.conf", r"backlog=(\d+)", _EDGE.backlog),
]
CLIENT, OTHER = "203.0.113.7", "203.0.113.8"


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    """Fails once and clearly, before anything is started."""
    for name, package in (("haproxy", "haproxy"), ("nginx", "nginx-light"), ("openssl", "openssl")):
        program(name, package)


@pytest.fixture(params=[HAPROXY, NGINX], ids=["haproxy", "nginx"])
def make(request: pytest.FixtureRequest) -> Make:
    """A proxy."""
    made: Make = request.param
    return made


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
async def test_comments_pass_in_both_directions_compressed_and_not(make: Make, tmp_path: Path, codec: str) -> None:
    async with (
        proxied(make, tmp_path) as there,
        open_viewer(there.url, there.trust, codec) as viewer,
        open_client(there.url, room=ROOM, name="小明", options=Options(ssl_context=there.trust, attempts=0)) as client,
    ):
        assert viewer.transport.deflate
        await viewer.join(ROOM, name="小红")
        with trio.fail_after(PATIENCE):
            first = await viewer.comment(SAID)
            second = await client.comment(f"{SAID}!")
            await viewer.until_offset(second)
            assert viewer.events[first][-1] == SAID
            assert viewer.events[second][-1] == f"{SAID}!"
            heard = {}
            async for item in client:
                if isinstance(item, Comment):
                    heard[item.offset] = item.author.name, item.body
                    if item.offset == second:
                        break
        assert heard == {first: ("小红", SAID), second: ("小明", f"{SAID}!")}


async def test_whoever_stops_the_node_says_goodbye_through_the_proxy(make: Make, tmp_path: Path) -> None:
    async with (
        proxied(make, tmp_path, {"ROOMCAST_NODE__RETURN_WINDOW_SECONDS": "2.5"}) as there,
        open_viewer(there.url, there.trust) as viewer,
        open_client(there.url, room=ROOM, options=Options(ssl_context=there.trust)) as client,
    ):
        await viewer.join(ROOM)
        there.node.process.send_signal(signal.SIGTERM)
        gone = await viewer.until_gone()
        assert gone.code == Close.SHUTDOWN
        assert viewer.bye is not None
        assert viewer.bye[1:] == [Close.SHUTDOWN, "the node stops", 0, 2500]
        with trio.fail_after(PATIENCE):
            async for item in client:
                if isinstance(item, Disconnected):
                    assert item.code == Close.SHUTDOWN
                    break
        assert await there.node.ended() == 0
        async with Door(there.port, there.trust) as door:
            assert await door.knock(request(upgrade=False)) in (502, 503)


@pytest.mark.parametrize(("name", "pattern", "number"), NUMBERS)
def test_the_numbers_fit_the_nodes_defaults(name: str, pattern: str, number: float) -> None:
    assert list(map(int, re.findall(pattern, block(name)))) == [number]


async def test_a_request_that_is_no_upgrade_shows_that_the_node_lives(make: Make, tmp_path: Path) -> None:
    async with proxied(make, tmp_path) as there, Door(there.port, there.trust) as door:
        assert await door.knock(request(upgrade=False)) == 426
        assert await door.knock(request()) == 101


@pytest.mark.parametrize("forged", [None, "198.51.100.{}", "127.0.0.1", "127.0.0.1, 198.51.100.{}, 2001:db8:{}::1", "rubbish"])
async def test_the_limit_is_the_viewers_whatever_it_says_about_itself(make: Make, tmp_path: Path, forged: str | None) -> None:
    def head(number: int) -> bytes:
        return request(*([] if forged is None else [f"X-Forwarded-For: {forged.format(*[number] * 2)}"]))

    async with proxied(make, tmp_path, TWO, behind_balancer=True) as there, Door(there.port, there.trust) as door:
        assert await door.knock(head(1), source=CLIENT) == 101
        assert await door.knock(head(2), source=CLIENT) == 101
        assert await door.knock(head(3), source=CLIENT) == 429
        assert await door.knock(head(4), source=OTHER) == 101
        await door.leave(0)
        assert await door.knock(head(5), source=CLIENT) == 101
        assert await door.knock(head(6), source=CLIENT) == 429


async def test_a_header_field_twice_does_not_help_either(make: Make, tmp_path: Path) -> None:
    head = request("X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 198.51.100.1")
    async with proxied(make, tmp_path, TWO, behind_balancer=True) as there, Door(there.port, there.trust) as door:
        assert [await door.knock(head, source=CLIENT) for _ in range(3)] == [101, 101, 429]


async def test_the_limit_is_one_for_a_whole_ipv6_network(make: Make, tmp_path: Path) -> None:
    async with proxied(make, tmp_path, TWO, behind_balancer=True) as there, Door(there.port, there.trust) as door:
        neighbours = [await door.knock(request(), source=f"2001:db8:0:7::{number}") for number in (1, 2, 3)]
        assert neighbours == [101, 101, 429]
        assert await door.knock(request(), source="2001:db8:0:8::1") == 101


async def test_loopback_behind_the_proxy_has_no_limit(make: Make, tmp_path: Path) -> None:
    async with proxied(make, tmp_path, TWO) as there, Door(there.port, there.trust) as door:
        assert [await door.knock(request()) for _ in range(4)] == [101] * 4


async def test_the_node_reads_proxy_headers_without_a_proxy(tmp_path: Path) -> None:
    async with served(HAPROXY, tmp_path, TWO) as node, Door(urlsplit(node.url).port or 0, None) as door:
        forged = request("X-Forwarded-For: 198.51.100.1")
        assert [await door.knock(forged, source=CLIENT) for _ in range(3)] == [101, 101, 429]
        assert await door.knock(request(), source=OTHER) == 101
        assert await door.knock(request()) == 400, "a trusted proxy that sends no PROXY header is misconfigured"


async def test_the_node_takes_the_rightmost_address_that_is_no_proxys(tmp_path: Path) -> None:
    async with served(NGINX, tmp_path, TWO) as node, Door(urlsplit(node.url).port or 0, None) as door:
        heads = [request(f"X-Forwarded-For: 198.51.100.{number}, {CLIENT}, 127.0.0.12") for number in range(3)]
        assert [await door.knock(head) for head in heads] == [101, 101, 429]
        assert await door.knock(request(f"X-Forwarded-For: {CLIENT}, {OTHER}")) == 101
