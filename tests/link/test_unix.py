"""The link over a Unix socket: the contract, and what only a socket can do wrong."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from engine.link import End
from engine.link.messages import VERSION, Down, Frames, Likes, Stop, Up
from engine.link.unix import Hello, LinkRefused, connect_hub, greet_edge, greet_hub

from .contract import PATIENCE, LinkContract, read, read_all, say

LIMIT = 1 << 20


def framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def hello(version: int = VERSION, magic: str = "roomcast link") -> bytes:
    packed: bytes = msgpack.packb([magic, version, "somebody", "of a later version"])
    return framed(packed)


@asynccontextmanager
async def linked(limit: int = LIMIT) -> AsyncIterator[tuple[End[Up, Down], End[Down, Up]]]:
    """Both ends, as after a connect."""
    ours, theirs = socket.socketpair()
    ends: dict[str, Any] = {}
    done, ready = trio.Event(), [trio.Event(), trio.Event()]

    async def hold(which: int) -> None:
        greet: Any = (greet_hub, greet_edge)[which]
        async with greet((ours, theirs)[which], f"incarnation {which}", limit=limit) as end:
            ends[str(which)] = end
            ready[which].set()
            await done.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, 0)
        nursery.start_soon(hold, 1)
        with trio.fail_after(PATIENCE):
            for event in ready:
                await event.wait()
        assert (ends["0"].peer, ends["1"].peer) == ("incarnation 1", "incarnation 0")
        yield ends["0"], ends["1"]
        done.set()


class TestUnixLink(LinkContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[End[Up, Down], End[Down, Up]]]:
        async with linked() as ends:
            yield ends


@asynccontextmanager
async def bare() -> AsyncIterator[tuple[End[Up, Down], trio.SocketStream]]:
    """An edge's end against a socket in the test's hands, which has said hello."""
    ours, theirs = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    async with stream:
        await stream.send_all(hello())
        async with greet_hub(ours, "edge", limit=LIMIT) as end:
            yield end, stream


async def ends(end: End[Any, Any]) -> None:
    with trio.fail_after(PATIENCE):
        assert not await end.receive()
        assert not await end.receive()


async def test_the_path_of_a_socket_leads_to_the_hub(tmp_path: Path) -> None:
    path = str(tmp_path / "hub.sock")
    with pytest.raises(FileNotFoundError):
        connect_hub(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sock = connect_hub(path)
        accepted, _ = listener.accept()

        async def hub() -> None:
            async with greet_edge(accepted, "hub") as end:
                assert await read_all(end) == [say(1)]
                assert end.peer == "edge"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub)
            async with greet_hub(sock, "edge") as end:
                end.send([say(1)])


async def test_frames_larger_than_any_buffer_arrive_whole() -> None:
    async with linked(limit=16 << 20) as (edge, hub):
        sent: list[Down] = [Frames("room", 1, n, n, {0: os.urandom(3_000_000)}) for n in range(4)]
        hub.send(sent)
        edge.send([say(1)])
        assert await read(edge, 4) == sent
        assert await read(hub, 1) == [say(1)]


async def test_what_arrives_in_pieces_is_put_together() -> None:
    async with bare() as (end, stream):
        data = framed(msgpack.packb([[38]])) * 3
        for at in range(len(data)):
            await stream.send_all(data[at : at + 1])
        assert await read(end, 3) == [Stop()] * 3


async def test_what_comes_right_behind_the_first_words_is_not_lost() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(hello() + framed(msgpack.packb([[38]])))
        async with greet_hub(ours, "edge") as end:
            assert await read(end, 1) == [Stop()]


async def test_a_side_that_does_not_read_ends_the_link_instead_of_filling_memory(caplog: pytest.LogCaptureFixture) -> None:
    async with linked() as (edge, hub):
        message = Frames("room", 1, 1, 1, {0: bytes(100_000)})
        for _ in range(100):
            hub.send([message])
            await trio.lowlevel.checkpoint()
        assert hub.backlog == 0
        assert 0 < hub.lost < 100
        assert [record.message for record in caplog.records] == ["link_broken"]
        assert caplog.records[0].levelno == logging.ERROR
        await ends(hub)
        # What had left is there; then comes the end, in the middle of a frame or not.
        await read_all(edge)


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_the_backlog_tells_how_much_has_not_left(size: int) -> None:
    async with linked(limit=64 << 20) as (edge, hub):
        for number in range(20):
            hub.send([Frames("room", 1, number, number, {0: bytes(size)}), Stop()])
        assert hub.backlog == 40
        await trio.testing.wait_all_tasks_blocked()
        assert (hub.backlog == 0) is (size < 1_000_000)
        await read(edge, 40)
        assert hub.backlog == 0


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        struct.pack("!I", LIMIT + 1),
        framed(b"\xc1"),
        framed(b""),
        framed(msgpack.packb([[99, "no such message"]])),
        framed(msgpack.packb([[1, "room", 1, [0]]])),
        framed(msgpack.packb({"a": 1})),
        framed(b"\x91" * 5_000),
    ],
)
async def test_garbage_ends_the_link(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with bare() as (end, stream):
        await stream.send_all(data)
        await ends(end)
        end.send([Likes("room", 1)])
        assert end.backlog == 0
        assert [record.message for record in caplog.records] == ["link_broken"]


async def test_a_frame_that_is_cut_off_ends_the_link_after_those_before_it(caplog: pytest.LogCaptureFixture) -> None:
    async with bare() as (end, stream):
        await stream.send_all(framed(msgpack.packb([[38]])) + framed(msgpack.packb([[38]]))[:-1])
        await stream.aclose()
        assert await read(end, 1) == [Stop()]
        await ends(end)
        assert [vars(record)["why"] for record in caplog.records] == ["truncated"]


async def test_a_peer_that_only_stops_sending_ends_the_link() -> None:
    async with bare() as (end, stream):
        await stream.send_eof()
        await ends(end)


async def test_a_peer_that_vanishes_with_our_messages_unread_ends_the_link() -> None:
    async with bare() as (end, stream):
        end.send([say(1)])
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await ends(end)
        end.send([say(2)])
        await trio.testing.wait_all_tasks_blocked()
        assert end.backlog == 0


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (hello(VERSION + 1), f"version {VERSION + 1} of the link, this process {VERSION}"),
        (hello(VERSION - 1), f"version {VERSION - 1}"),
        (hello(magic="another"), "not one of ours"),
        (framed(b"\xc1"), "does not begin as one"),
        (framed(msgpack.packb([1])), "does not begin as one"),
        (struct.pack("!I", 5_000), "hung up|does not begin"),
        (b"", "hung up"),
    ],
)
async def test_another_version_is_refused_with_both_named(first: bytes, text: str) -> None:
    for greet in (greet_hub, greet_edge):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(first)
            theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(LinkRefused, match=text):
                async with greet(ours, "us"):
                    raise AssertionError("it was let in")
            assert ours.fileno() == -1


async def test_both_sides_of_two_versions_are_told() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(hello(VERSION + 1))
        with pytest.raises(LinkRefused):
            async with greet_hub(ours, "edge"):
                raise AssertionError("it was let in")
        size = struct.unpack("!I", theirs.recv(4))[0]
        assert msgpack.unpackb(theirs.recv(size)) == ["roomcast link", VERSION, "edge"]
        assert theirs.recv(1) == b""
    assert Hello("roomcast link", VERSION, "x").version == VERSION


async def test_a_peer_that_says_nothing_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(LinkRefused, match="said nothing"):
        async with greet_hub(ours, "edge"):
            raise AssertionError("it was let in")


async def test_what_was_sent_before_the_close_leaves_even_if_it_did_not_fit() -> None:
    ours, theirs = socket.socketpair()
    got: list[Any] = []

    async def hub() -> None:
        async with greet_edge(theirs, "hub", limit=16 << 20) as end:
            end.send([Frames("room", 1, n, n, {0: bytes(1_000_000)}) for n in range(5)])
            end.close()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub)
            async with greet_hub(ours, "edge", limit=16 << 20) as end:
                got += await read_all(end)
    assert [message.first for message in got] == list(range(5))
