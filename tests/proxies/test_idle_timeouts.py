"""A proxy that cuts silent connections: viewers come back and say so, and shorter heartbeats, as advised, keep them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from advice.situations import ROOM, Site, helped, until
from readme import replaced

from bench.redisproc import claimed_ports
from engine.advice import reading
from engine.client import Client, Options, open_client
from engine.settings import Settings

from .dialing import open_viewer
from .proxying import NGINX, Certificate, certificate, open_proxy

pytestmark = pytest.mark.proxies

VIEWERS = 6
"""One more than is taken for chance."""
ADVISED, DEFAULT = 10.0, Settings().room.heartbeat_seconds
CUT_SECONDS = 14
"""Of silence, after which the proxy cuts: between the two, and no shorter, so that a busy machine may be late."""


def _impatient(
    home: Path, made: Certificate, listener: socket.socket, node: str, behind_balancer: bool
) -> tuple[list[str], list[str], dict[str, str]]:
    prepared = NGINX.prepare(home, made, listener, node, behind_balancer)
    file = home / "nginx.conf"
    file.write_text(replaced(file.read_text(), {"proxy_read_timeout 75s": f"proxy_read_timeout {CUT_SECONDS}s"}))
    return prepared


IMPATIENT = replace(NGINX, prepare=_impatient)


@asynccontextmanager
async def audience(url: str, trust: ssl.SSLContext) -> AsyncIterator[list[Client]]:
    """Viewers who have been answered all that they asked, and say nothing. They report when they come back."""
    options = Options(ssl_context=trust, quality=1.0, quality_seconds=300.0, backoff_base_seconds=0.01)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(url, room=ROOM, options=options)) for _ in range(VIEWERS)]
        for client in clients:
            await client.ping()
        yield clients


async def test_heartbeats_as_advised_keep_the_connections_of_a_silent_room(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    trust = made.trust()

    def told(site: Site) -> float:
        """How many have reported that they were cut off."""
        seen = site.observe()
        return sum(reading(seen, f"room.networks.{name}.reconnects.1006", ROOM) for name in seen.rooms[ROOM]["networks"])

    async def be_silent(site: Site, url: str) -> None:
        async with audience(url, trust) as clients, open_viewer(url, trust) as witness:
            # Who never joins is sent nothing at all. When it has been cut off, the room has been silent for as long.
            assert (await witness.until_gone()).code == 1006
            if site.node.settings.room.heartbeat_seconds > CUT_SECONDS:
                await until(lambda: told(site) >= VIEWERS)
            assert {each.reconnects for each in clients} == {int(site.node.settings.room.heartbeat_seconds > CUT_SECONDS)}

    with claimed_ports(1) as (port,):
        # That somebody is gone is not told at once: it would keep the connections of the others.
        quiet = {"room.counters_seconds": 60.0, "edge.join_seconds": 300.0}
        settings = {"edge.port": port, "edge.trusted_proxies": ["127.0.0.0/8"], **quiet}
        async with (
            Site(tmp_path, settings) as site,
            open_proxy(IMPATIENT, tmp_path, made, f"127.0.0.1:{port}", behind_balancer=False) as proxy,
        ):
            url = f"wss://127.0.0.1:{proxy}/ws"
            advice = await helped(site, "cut_off", partial(be_silent, url=url), room=ROOM)
            assert (advice.cause, advice.severity) == ("network", "limit")
            assert [(change.setting, change.now, change.to) for change in advice.changes] == [
                ("room.heartbeat_seconds", f"{DEFAULT}", f"{ADVISED}")
            ]
