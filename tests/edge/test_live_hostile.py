"""Hostile peers on real sockets: whatever one sends, the node serves on and a viewer in a room notices nothing."""

from __future__ import annotations

import random
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import trio
from e2e.nodes import lively
from e2e.transports import ABNORMAL, KEY, Gone, HttpRefusal, connect_raw, read_response, request, upgrade
from e2e.viewers import (
    CHOOSE,
    COMMENT,
    JOIN,
    JSON,
    MSGPACK,
    PATIENCE,
    READ_HISTORY,
    RECEIPT,
    VOTE,
    Viewer,
    open_viewer,
)

from engine.errors import Close, Code
from engine.node import Node, open_node
from engine.settings import FeedSettings
from engine.ws import Opcode, client_frame

ROOM = "安静"
RESET = b"\x01\0\0\0\0\0\0\0"
"""SO_LINGER with no time: close sends a reset."""
FIELDS = (
    "Host",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Origin",
    "X-Forwarded-For",
    "Cookie",
    "X-Anything",
)


class Stage:
    """A node, and a viewer in a room who must notice nothing."""

    def __init__(self, node: Node, bystander: Viewer) -> None:
        self.node = node
        self.url = node.url
        self.bystander = bystander

    async def publish(self) -> int:
        return await self.node.comment(ROOM, f"{self.node.statistics().hub.events_published}")

    async def calm(self) -> None:
        """The bystander got everything; a newcomer is served."""
        head = await self.publish()
        await self.bystander.until_offset(head)
        assert list(self.bystander.events) == list(range(1, head + 1))
        assert not self.bystander.gaps
        async with open_viewer("raw", self.url) as newcomer:
            await newcomer.join(ROOM)
            offset = await newcomer.comment("hello")
            await newcomer.until_offset(offset)
            await self.bystander.until_offset(offset)

    async def alone(self) -> None:
        """Wait until only the bystander is connected."""
        with trio.fail_after(PATIENCE):
            while self.node.statistics().edge.connections > 1:
                await trio.lowlevel.checkpoint()


@asynccontextmanager
async def staged(**sections: dict[str, Any]) -> AsyncIterator[Stage]:
    async with open_node(lively(**sections)) as node, open_viewer("websockets", node.url) as bystander:
        await bystander.join(ROOM)
        stage = Stage(node, bystander)
        await stage.publish()
        yield stage
        await stage.calm()


async def answer(url: str, data: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer to some bytes; (0, {}) for none, the connection being over then."""
    async with await connect_raw(url) as stream:
        try:
            await stream.send_all(data)
            with trio.fail_after(PATIENCE):
                status, headers, _ = await read_response(stream)
        except (Gone, trio.BrokenResourceError):
            return 0, {}
        return status, headers


async def until_over(stream: trio.SocketStream) -> bytes:
    """Everything the node sends until it ends the connection."""
    data = b""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                chunk = await stream.receive_some(1 << 16)
            except trio.BrokenResourceError:
                return data
            if not chunk:
                return data
            data += chunk


# -- handshake --------------------------------------------------------------------------------------------------------


async def test_non_ascii_bytes_in_every_header() -> None:
    async with staged() as stage:
        for field in FIELDS:
            for byte in ("\xff", "\x80", "\xe5\xa4\xa7", "\x00", "\x7f", "\x0b"):
                base = {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
                base |= {"Sec-WebSocket-Key": KEY, "Sec-WebSocket-Protocol": MSGPACK}
                base[field] = base.get(field, "") + byte
                head = request(stage.url, MSGPACK, headers=base)
                status, _ = await answer(stage.url, head)
                assert status in (101, 400, 426), (field, byte)
                if field in ("Cookie", "X-Anything", "Origin") and byte > "\x7f":
                    assert status == 101
                name = request(stage.url, MSGPACK).replace(b"Upgrade: ", b"Upgr" + byte.encode("latin-1") + b"ade: ", 1)
                assert (await answer(stage.url, name))[0] == 400


async def test_missing_fields() -> None:
    async with staged() as stage:
        for line in request(stage.url, MSGPACK).split(b"\r\n")[1:-2]:
            head = request(stage.url, MSGPACK).replace(line + b"\r\n", b"")
            status, headers = await answer(stage.url, head)
            assert status in (400, 426), line
            assert headers["connection"].lower().endswith("close")


async def test_other_requests() -> None:
    async with staged() as stage:
        whole = request(stage.url, MSGPACK)
        cases = {
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n": 404,
            b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n": 426,
            b"GET /ws HTTP/1.0\r\nHost: x\r\n\r\n": 400,
            b"GET /ws HTTP/2.0\r\nHost: x\r\n\r\n": 505,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505,
            b"GET /ws\r\n\r\n": 400,
            b"HEAD /ws HTTP/1.1\r\nHost: x\r\n\r\n": 405,
            b"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello": 413,
            b"POST /ws HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n": 400,
            whole.replace(b"\r\n", b"\n"): 400,
            whole.replace(b"Host:", b" Host:"): 400,
            whole.replace(b"Host:", b"Host :"): 400,
            whole.replace(b"Version: 13", b"Version: 8"): 426,
            whole.replace(MSGPACK.encode(), b"chat"): 400,
            whole.replace(KEY.encode(), b"short"): 400,
            whole.replace(b"GET /ws", b"GET /ws/../ws"): 404,
            whole.replace(b"GET /ws", b"GET http://x/ws"): 101,
            whole.replace(b"GET /ws", b"GET /ws?token=1"): 101,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200): 400,
            b"\x00" * 100: 400,
            b"\xff" * 100: 400,
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n": 400,
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n\r\n": 400,
        }
        for data, status in cases.items():
            assert (await answer(stage.url, data))[0] == status, data


async def test_huge_requests() -> None:
    async with staged() as stage:
        for filler in (b"X: " + b"a" * 100_000, b"X: y\r\n" * 20_000, b"Cookie: " + b"\xff" * 100_000):
            head = request(stage.url, MSGPACK)[:-2] + filler
            assert (await answer(stage.url, head))[0] in (431, 0)
        assert (await answer(stage.url, b"GET /" + b"a" * 100_000))[0] in (431, 0)
        assert stage.node.statistics().edge.refused[431] == 4


async def test_one_byte_at_a_time() -> None:
    async with staged() as stage, await connect_raw(stage.url) as stream:
        head = request(stage.url, MSGPACK, deflate=True)
        for index in range(len(head) - 1):
            await stream.send_all(head[index : index + 1])
            await trio.lowlevel.checkpoint()
        raw = await upgrade(stream, head[-1:])
        viewer = Viewer(raw, MSGPACK)
        message = viewer.encode(JOIN, 1, ROOM)
        assert isinstance(message, bytes)
        for byte in client_frame(Opcode.BINARY, message, b"\x01\x02\x03\x04"):
            await stream.send_all(bytes([byte]))
            await trio.lowlevel.checkpoint()
        await viewer.until(lambda: viewer.position is not None)


async def test_request_and_messages_in_one_packet() -> None:
    async with staged() as stage, await connect_raw(stage.url) as stream:
        viewer = Viewer(None, MSGPACK)  # type: ignore[arg-type]  # encodes only, until it is connected
        join = viewer.encode(JOIN, 1, ROOM)
        assert isinstance(join, bytes)
        viewer.transport = await upgrade(stream, request(stage.url, MSGPACK) + client_frame(Opcode.BINARY, join))
        await viewer.until(lambda: viewer.position is not None)


async def test_silence_during_the_handshake() -> None:
    async with staged(edge={"handshake_seconds": 0.3}) as stage:
        for head in (b"", b"G", request(stage.url, MSGPACK)[:-1]):
            async with await connect_raw(stage.url) as stream:
                if head:
                    await stream.send_all(head)
                with trio.fail_after(PATIENCE):
                    status, _, _ = await read_response(stream)
                assert status == 408
        assert stage.node.statistics().edge.refused[408] == 3


async def test_slowloris_does_not_prolong_its_time() -> None:
    async with staged(edge={"handshake_seconds": 0.3}) as stage, await connect_raw(stage.url) as stream:
        ended = False

        async def drip() -> None:
            while not ended:
                try:
                    await stream.send_all(b"X" if stage.node.statistics().edge.refused else b"G")
                except trio.BrokenResourceError:
                    return
                await stage.bystander.until_offset(await stage.publish())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            with trio.fail_after(PATIENCE):
                status, _, _ = await read_response(stream)
            assert status in (408, 431)
            ended = True


async def test_a_storm_of_connections_reset_at_once() -> None:
    async with staged() as stage:
        for _ in range(20):
            streams = [await connect_raw(stage.url) for _ in range(50)]
            for number, stream in enumerate(streams):
                if number % 3:
                    await stream.send_all(request(stage.url, MSGPACK)[: number * 10])
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                await trio.aclose_forcefully(stream)
            await stage.bystander.until_offset(await stage.publish())
        await stage.alone()


async def test_viewers_who_join_and_reset_at_once() -> None:
    async with staged() as stage:
        for _ in range(100):
            async with open_viewer("raw", stage.url) as viewer:
                await viewer.send(JOIN, 1, ROOM)
                viewer.raw.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await stage.alone()
        with trio.fail_after(PATIENCE):
            while stage.node.statistics().edge.viewers > 1:
                await trio.lowlevel.checkpoint()


# -- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [client_frame(Opcode.PING, b""), client_frame(Opcode.PONG, b""), client_frame(Opcode.BINARY, b"")],
    ids=["pings", "pongs", "empty"],
)
async def test_a_million_tiny_frames(frame: bytes) -> None:
    limits = {"messages_per_second": 20.0, "messages_burst": 200}
    async with staged(limits=limits) as stage, open_viewer("raw", stage.url) as viewer:
        await viewer.join("elsewhere")
        try:
            for _ in range(20):
                await viewer.raw.stream.send_all(frame * 1_000)
        except trio.BrokenResourceError:
            pass
        gone = await viewer.until_gone()
        assert gone.code in (Close.FLOOD, ABNORMAL)
        assert stage.node.statistics().edge.closed == {Close.FLOOD: 1}


async def test_a_million_fragments() -> None:
    limits = {"messages_per_second": 20.0, "messages_burst": 200}
    async with staged(limits=limits) as stage, open_viewer("raw", stage.url) as viewer:
        await viewer.join("elsewhere")
        empty = client_frame(Opcode.CONTINUATION, b"", fin=False)
        try:
            await viewer.raw.stream.send_all(client_frame(Opcode.BINARY, b"", fin=False))
            for _ in range(20):
                await viewer.raw.stream.send_all(empty * 1_000)
                await trio.lowlevel.checkpoint()
        except trio.BrokenResourceError:
            pass
        with trio.fail_after(PATIENCE):
            await viewer.raw.stream.send_eof()
        gone = await viewer.until_gone()
        assert gone.code in (Close.FLOOD, ABNORMAL)
        assert stage.node.statistics().edge.closed == {Close.FLOOD: 1}


async def test_bombs() -> None:
    async with staged(edge={"message_bytes": 4096}) as stage:
        deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = (deflated.compress(bytes(100 << 20)) + deflated.flush(zlib.Z_SYNC_FLUSH))[:-4]
        small = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = (small.compress(bytes(4 << 20)) + small.flush(zlib.Z_SYNC_FLUSH))[:-4]
        assert len(packed) < 4_400
        assaults = {
            "oversize": client_frame(Opcode.BINARY, bytes(4097)),
            "announced": b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(4),
            "fragmented": client_frame(Opcode.BINARY, bytes(2048), fin=False)
            + client_frame(Opcode.CONTINUATION, bytes(2048), fin=False)
            + client_frame(Opcode.CONTINUATION, b"x", fin=False),
            "deflate": client_frame(Opcode.BINARY, bomb, rsv1=True),
            "small deflate": client_frame(Opcode.BINARY, packed, rsv1=True),
        }
        for name, data in assaults.items():
            async with open_viewer("raw", stage.url) as viewer:
                assert viewer.transport.deflate
                await viewer.join("elsewhere")
                with suppress(trio.BrokenResourceError):
                    await viewer.raw.stream.send_all(data)
                assert (await viewer.until_gone()).code in (Close.TOO_BIG, ABNORMAL), name
        assert stage.node.statistics().edge.closed == {Close.TOO_BIG: len(assaults)}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x00", Close.PROTOCOL_ERROR),
        (b"\x92\x80\0\0\0\0", Close.PROTOCOL_ERROR),
        (b"\x83\x80\0\0\0\0", Close.PROTOCOL_ERROR),
        (b"\x8b\x80\0\0\0\0", Close.PROTOCOL_ERROR),
        (b"\x09\x80\0\0\0\0", Close.PROTOCOL_ERROR),
        (b"\x89\xfe\x00\x7e\0\0\0\0" + bytes(126), Close.PROTOCOL_ERROR),
        (b"\x80\x80\0\0\0\0", Close.PROTOCOL_ERROR),
        (b"\x88\x81\0\0\0\0x", Close.PROTOCOL_ERROR),
        (b"\x88\x82\0\0\0\0\x03\xed", Close.PROTOCOL_ERROR),
        (b"\x82\xfe\x00\x01\0\0\0\0x", Close.PROTOCOL_ERROR),
        (b"GET /ws HTTP/1.1\r\n\r\n", Close.PROTOCOL_ERROR),
    ],
)
async def test_broken_frames(data: bytes, code: Close) -> None:
    async with staged() as stage, open_viewer("raw", stage.url) as viewer:
        await viewer.join("elsewhere")
        await viewer.raw.stream.send_all(data)
        gone = await viewer.until_gone()
        assert gone.code == code


async def test_a_peer_that_ends_after_a_fault_is_let_go_at_once() -> None:
    async with staged() as stage:
        async with open_viewer("websockets", stage.url) as viewer:
            await viewer.join("elsewhere")
            await viewer.transport.send("text, where binary is spoken")
            assert (await viewer.until_gone()).code == Close.UNSUPPORTED
        await stage.alone()


async def test_random_bytes() -> None:
    generator = random.Random(20260101)
    async with staged() as stage:
        for _ in range(30):
            noise = generator.randbytes(generator.randrange(1, 3000))
            await answer_or_end(stage.url, noise)
        for _ in range(30):
            async with open_viewer("raw", stage.url) as viewer:
                await viewer.join("elsewhere")
                try:
                    await viewer.raw.stream.send_all(generator.randbytes(generator.randrange(1, 3000)))
                    await viewer.raw.stream.send_eof()
                except trio.BrokenResourceError:
                    pass
                await viewer.until_gone()
        await stage.alone()


async def answer_or_end(url: str, data: bytes) -> None:
    async with await connect_raw(url) as stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
        except trio.BrokenResourceError:
            return
        await until_over(stream)


async def test_mutated_messages() -> None:
    """A valid conversation with bytes changed: each message is answered, ignored or closes its sender, never more."""
    generator = random.Random(7)
    async with staged() as stage:
        for subprotocol in (MSGPACK, JSON):
            for _ in range(30):
                async with open_viewer("raw", stage.url, subprotocol) as viewer:
                    await viewer.join("elsewhere")
                    for message in (
                        [COMMENT, 1, viewer.handle, "文字"],
                        [4, viewer.handle, 5],
                        [5, 1],
                        [6, viewer.handle, 1, 2, 3],
                        [RECEIPT, viewer.handle, 1, True],
                        [VOTE, 2, viewer.handle, "poll", "p", 3],
                        [READ_HISTORY, 3, viewer.handle, 9, 5],
                        [CHOOSE, 4, viewer.handle, "calm"],
                    ):
                        data = viewer.encode(*message)
                        raw = bytearray(data.encode() if isinstance(data, str) else data)
                        raw[generator.randrange(len(raw))] = generator.randrange(128 if subprotocol == JSON else 256)
                        opcode = Opcode.TEXT if subprotocol == JSON else Opcode.BINARY
                        await viewer.raw.stream.send_all(client_frame(opcode, bytes(raw)))
                    await viewer.raw.stream.send_all(client_frame(Opcode.CLOSE, b"\x03\xe8"))
                    assert (await viewer.until_gone()).code in (1000, Close.INVALID_TEXT)
        await stage.alone()


async def test_feeds_changed_all_the_time_by_who_hardly_reads() -> None:
    """Each change is answered, the last one counts; `Viewer` sees to it that nothing is missing or comes twice."""
    feeds = {"calm": FeedSettings(kinds=("notice",)), "slow": FeedSettings(comments_per_second=5.0)}
    settings = replace(lively(edge={"send_buffer_bytes": 4096}), feeds=feeds)
    async with open_node(settings) as node, open_viewer("raw", node.url) as speaker, AsyncExitStack() as stack:
        await speaker.join(ROOM)
        changing = []
        for feed in ("", "calm", "slow", ""):
            stream = await stack.enter_async_context(await connect_raw(node.url))
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            viewer = Viewer(await upgrade(stream, request(node.url, MSGPACK, deflate=bool(feed))), MSGPACK)
            await viewer.join(ROOM, feed=feed)
            changing.append(viewer)
        head = 0
        for number in range(120):
            head = await speaker.comment(f"{number} " + "x" * 1_500)
            for viewer in changing:
                viewer.refs += 1
                await viewer.send(CHOOSE, viewer.refs, viewer.handle, ("slow", "calm", "", "calm")[number % 4])
                if number % 20 == 0:
                    await viewer.take()
        await speaker.until_offset(head)
        for viewer in changing:
            # After the last comment that it may have been shown in another feed.
            await viewer.until(lambda viewer=viewer: viewer.refs in viewer.replies)  # type: ignore[misc]
            await viewer.until_offset(head)
            assert viewer.replies[viewer.refs].code == Code.OK
            assert {reply.code for reply in viewer.replies.values()} <= {Code.OK, Code.CONFLICT}
            assert not viewer.gaps
            assert len(viewer.events) < head == len(viewer.events) + len(viewer.omitted)
        last = await speaker.comment("in a calm room nobody hears you")
        for viewer in changing:
            await viewer.until_offset(last)
            assert last in viewer.omitted


async def test_deeply_nested_messages() -> None:
    async with staged() as stage:
        for subprotocol, data in ((MSGPACK, b"\x91" * 15_000), (JSON, b"[" * 15_000), (MSGPACK, b"\xdd\xff\xff\xff\xff\x01")):
            async with open_viewer("raw", stage.url, subprotocol) as viewer:
                await viewer.join("elsewhere")
                opcode = Opcode.TEXT if subprotocol == JSON else Opcode.BINARY
                await viewer.raw.stream.send_all(client_frame(opcode, data))
                await viewer.until(lambda viewer=viewer: bool(viewer.faults))  # type: ignore[misc]
                assert viewer.faults[0].code in (Code.INVALID, Code.UNKNOWN_KIND)
                await viewer.comment("still here")


async def test_whoever_never_joins_is_closed_while_sending() -> None:
    async with staged(edge={"join_seconds": 0.3}) as stage, open_viewer("raw", stage.url) as viewer:

        async def chatter() -> None:
            while True:
                await viewer.settle()

        with trio.fail_after(PATIENCE), pytest.raises(Gone):
            await chatter()
        assert stage.node.statistics().edge.closed == {Close.TIMEOUT: 1}


# -- admission --------------------------------------------------------------------------------------------------------


async def refused(url: str, *, status: int, headers: dict[str, str] | None = None, first: bytes = b"") -> dict[str, str]:
    async with await connect_raw(url) as stream:
        with trio.fail_after(PATIENCE), pytest.raises(HttpRefusal) as caught:
            await upgrade(stream, first + request(url, MSGPACK, headers=headers))
        assert caught.value.status == status
        return dict(caught.value.headers)


async def test_no_place_for_another_viewer() -> None:
    async with staged(edge={"viewers_max": 2}) as stage:
        async with open_viewer("raw", stage.url) as second:
            await second.join(ROOM)
            headers = await refused(stage.url, status=503)
            assert int(headers["retry-after"]) > 0
            assert await second.comment("both here") > 0
        await stage.alone()


async def test_places_are_given_back_after_refusals() -> None:
    async with staged(edge={"viewers_max": 2}) as stage:
        async with open_viewer("raw", stage.url):
            for _ in range(150):
                await refused(stage.url, status=503)
        await stage.alone()
        assert stage.node.statistics().edge.connections == 1


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
async def test_too_many_from_one_address_behind_a_proxy(address: str) -> None:
    edge = {"viewers_per_address": 2, "trusted_proxies": ("127.0.0.0/8",)}
    async with staged(edge=edge) as stage:
        headers = {"X-Forwarded-For": f"1.2.3.4, {address}, 127.0.0.9"}
        async with (
            open_viewer("raw", stage.url, headers=headers) as one,
            open_viewer("raw", stage.url, headers=headers) as two,
        ):
            await one.join(ROOM)
            await two.join(ROOM)
            told = await refused(stage.url, status=429, headers=headers)
            assert int(told["retry-after"]) > 0
            async with open_viewer("raw", stage.url, headers={"X-Forwarded-For": "203.0.113.8"}) as other:
                await other.join(ROOM)
        await stage.alone()
        async with open_viewer("raw", stage.url, headers=headers) as again:
            await again.join(ROOM)


async def test_a_proxy_that_is_not_trusted_is_not_believed() -> None:
    async with staged(edge={"viewers_per_address": 1}) as stage:
        headers = {"X-Forwarded-For": "203.0.113.7"}
        async with (
            open_viewer("raw", stage.url, headers=headers) as one,
            open_viewer("raw", stage.url, headers=headers) as two,
        ):
            await one.join(ROOM)
            await two.join(ROOM)


@pytest.mark.parametrize("value", ["", "nonsense", "127.0.0.1", "unknown, 127.0.0.1", "\xff\xfe", "::1%lo", "1.2.3.4:80"])
async def test_odd_forwarded_headers(value: str) -> None:
    async with staged(edge={"viewers_per_address": 1, "trusted_proxies": ("127.0.0.0/8",)}) as stage:
        async with open_viewer("raw", stage.url, headers={"X-Forwarded-For": value}) as viewer:
            await viewer.join(ROOM)
        await stage.alone()


def proxy_header(address: str, *, command: int = 0x21) -> bytes:
    body = socket.inet_aton(address) + socket.inet_aton("10.0.0.1") + (5555).to_bytes(2, "big") + (80).to_bytes(2, "big")
    return b"\r\n\r\n\x00\r\nQUIT\n" + bytes((command, 0x11)) + len(body).to_bytes(2, "big") + body


async def test_proxy_protocol() -> None:
    edge = {"viewers_per_address": 1, "trusted_proxies": ("127.0.0.0/8",), "proxy_protocol": True}
    async with open_node(lively(edge=edge)) as node:
        head = request(node.url, MSGPACK)
        async with await connect_raw(node.url) as stream:
            viewer = Viewer(await upgrade(stream, proxy_header("203.0.113.7") + head), MSGPACK)
            await viewer.join(ROOM)
            await refused(node.url, status=429, first=proxy_header("203.0.113.7"))
            async with await connect_raw(node.url) as other:
                await upgrade(other, proxy_header("203.0.113.8") + head)
            async with await connect_raw(node.url) as check:
                await upgrade(check, proxy_header("0.0.0.0", command=0x20) + head)
            # Byte by byte, and what is no such header.
            async with await connect_raw(node.url) as slowly:
                for byte in proxy_header("203.0.113.9"):
                    await slowly.send_all(bytes([byte]))
                    await trio.lowlevel.checkpoint()
                await upgrade(slowly, head)
            await refused(node.url, status=400)
            assert (await answer(node.url, b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + bytes(12)))[0] == 400
            assert (await answer(node.url, b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"))[0] == 400
            await viewer.comment("still here")


async def test_origins() -> None:
    edge = {"origins": ("https://live.example.com",)}
    async with staged(edge=edge) as stage:
        for origin in ("https://evil.example", "null", "http://live.example.com", "https://live.example.com.evil.example"):
            await refused(stage.url, status=403, headers={"Origin": origin})
        for headers in ({}, {"Origin": "https://live.example.com"}):
            async with open_viewer("raw", stage.url, headers=headers) as viewer:
                await viewer.join(ROOM)


async def test_each_assault_is_counted() -> None:
    async with staged() as stage:
        assert (await answer(stage.url, b"\x00"))[0] == 400
        assert (await answer(stage.url, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 404
        assert stage.node.statistics().edge.refused == {400: 1, 404: 1}
