"""An edge on real sockets whose hub is the test: what only its connections can show."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
import trio
from e2e.nodes import lively
from e2e.transports import connect_raw, request, upgrade
from e2e.viewers import JOIN, MSGPACK, PATIENCE, Viewer, open_viewer

from engine.edge import Edge
from engine.errors import Close, Code
from engine.link.base import End
from engine.link.memory import memory_link
from engine.link.messages import Barred, Down, Expel, Located, OpenRoom, SharedSnapshot, Up, Wants
from engine.schema import handle_of
from engine.ws import Opcode, frame

ROOM = "room"
HANDLE = handle_of(ROOM)
EPOCH = 5


class Stage:
    """An edge, and a hub that answers with snapshots of an empty room."""

    def __init__(self, edge: Edge, hub: End[Down, Up], padding: int) -> None:
        self.edge = edge
        self.hub = hub
        self.url = "ws://{}:{}/ws".format(*edge.addresses[0])
        self.padding = padding
        self.located: list[Located] = []

    async def serve(self) -> None:
        state = [["card", f"{number}", {"text": "x" * 1_000}, 1] for number in range(self.padding)]
        while messages := await self.hub.receive():
            for message in messages:
                if isinstance(message, OpenRoom | Wants):
                    shown = [33, HANDLE, ROOM, EPOCH, 0, 1, [0, 0], 25_000, {}, state, []]
                    encoded = frame(Opcode.BINARY, msgpack.packb(shown))
                    frames = dict.fromkeys(message.variants, encoded)
                    self.tell(SharedSnapshot(ROOM, 1, EPOCH, 0, frames))
                elif isinstance(message, Located):
                    self.located.append(message)

    def tell(self, *messages: Down) -> None:
        self.hub.send(messages)

    async def until(self, connections: int) -> None:
        with trio.fail_after(PATIENCE):
            while self.edge.statistics().connections > connections:
                await trio.lowlevel.checkpoint()


@asynccontextmanager
async def staged(padding: int = 0, **sections: dict[str, Any]) -> AsyncIterator[Stage]:
    edge = Edge(lively(**sections), lambda: int(time.time() * 1000))
    edge.listen()
    ours, theirs = memory_link(encoded=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(edge.run)
        await nursery.start(edge.serve, ours)
        stage = Stage(edge, theirs, padding)
        nursery.start_soon(stage.serve)
        yield stage
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("limit", [0, 256])
@pytest.mark.parametrize(
    ("address", "banned"),
    [("203.0.113.7", "203.0.113.7"), ("2001:db8::7", "2001:db8::/64"), ("::ffff:203.0.113.7", "203.0.113.7")],
)
async def test_a_ban_by_address_reaches_who_comes_through_a_proxy_and_nobody_else(
    limit: int, address: str, banned: str
) -> None:
    edge = {"viewers_per_address": limit, "trusted_proxies": ("127.0.0.0/8",)}
    async with staged(edge=edge) as stage:
        headers = {"X-Forwarded-For": address}
        async with (
            open_viewer("raw", stage.url, headers=headers) as evil,
            open_viewer("raw", stage.url, headers={"X-Forwarded-For": "203.0.113.8"}) as good,
            open_viewer("raw", stage.url) as unknown,
        ):
            for viewer in (evil, good, unknown):
                await viewer.join(ROOM)
            # The proxy's own address is nobody's.
            stage.tell(Barred(ROOM, {}, {banned: 0, "127.0.0.1": 0}, [evil.user, good.user, unknown.user]))
            gone = await evil.until_gone()
            assert (gone.code, gone.reason) == (Close.BANNED, "you are banned from this room")
            async with open_viewer("raw", stage.url, headers=headers) as again:
                assert (await again.ask(JOIN, ROOM)).code == Code.BANNED
            stage.tell(Expel(ROOM, good.user))
            assert (await good.until_gone()).code == Close.KICKED
            # Without an address there is nothing to tell.
            assert {(found.user, found.address) for found in stage.located} == {
                (evil.user, banned),
                (good.user, "203.0.113.8"),
            }
            stage.tell(Expel(ROOM, unknown.user))
            assert (await unknown.until_gone()).code == Close.KICKED
        await stage.until(0)


async def test_loopback_can_be_banned_where_no_proxy_is_trusted() -> None:
    async with staged() as stage, open_viewer("websockets", stage.url) as viewer:
        await viewer.join(ROOM)
        stage.tell(Barred(ROOM, {}, {"127.0.0.1": int(time.time() * 1000) + 60_000}, []))
        assert (await viewer.until_gone()).code == Close.BANNED
        async with open_viewer("raw", stage.url) as again:
            reply = await again.ask(JOIN, ROOM)
            assert reply.code == Code.BANNED
            assert 0 < reply.retry_after_ms <= 60_000


async def test_a_state_that_no_socket_takes_at_once_arrives_whole() -> None:
    """Far more than may wait for one viewer in private (``edge.private_bytes``)."""
    async with staged(500, edge={"send_buffer_bytes": 16_384}) as stage:
        slow = []
        for _ in range(3):
            stream = await connect_raw(stage.url)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            viewer = Viewer(await upgrade(stream, request(stage.url, MSGPACK)), MSGPACK)
            await viewer.send(1, 1, ROOM)
            slow.append(viewer)
        with trio.fail_after(PATIENCE):
            while stage.edge.statistics().laggards < len(slow):
                await trio.lowlevel.checkpoint()
        # One snapshot, however many have half of it.
        assert stage.edge.statistics().log_bytes < 600_000
        for viewer in slow:
            await viewer.until(lambda viewer=viewer: viewer.position == (EPOCH, 0))  # type: ignore[misc]
            assert len(viewer.snapshots[0][9]) == 500
        with trio.fail_after(PATIENCE):
            while stage.edge.statistics().log_bytes:
                await trio.lowlevel.checkpoint()
        assert not stage.edge.statistics().closed
        for viewer in slow:
            await viewer.raw.stream.aclose()
