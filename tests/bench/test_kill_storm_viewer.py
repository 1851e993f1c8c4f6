"""A storm's viewer against a server that says what a test wants: what it asks again, drops, and calls trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import msgpack
import trio

from bench.generator.wire import BINARY, PING, accept_of, server_frame
from bench.kills.book import END, GIFT, PACKET, Book
from bench.kills.viewer import PAID, Asked, Viewer

JOIN, GIVE = 1, 18
HANDLE, EPOCH = 12, 5
PATIENCE = 10


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""
        self.session = ""

    async def shake(self) -> None:
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += await self.stream.receive_some()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        (key,) = [line.partition(b": ")[2] for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")]
        answer = f"HTTP/1.1 101 Go on\r\nSec-WebSocket-Accept: {accept_of(key)}\r\n\r\n"
        await self.stream.send_all(answer.encode())

    async def send(self, *message: Any) -> None:
        await self.stream.send_all(server_frame(BINARY, msgpack.packb(message)))

    async def frame(self) -> bytes:
        """The payload of one short client frame."""
        while len(self.buffer) < 2 or len(self.buffer) < 6 + (self.buffer[1] & 0x7F):
            data = await self.stream.receive_some()
            assert data, "the viewer has gone"
            self.buffer += data
        size, mask = self.buffer[1] & 0x7F, self.buffer[2:6]
        assert size < 126
        payload, self.buffer = self.buffer[6 : 6 + size], self.buffer[6 + size :]
        return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))

    async def hear(self) -> list[Any]:
        message: list[Any] = msgpack.unpackb(await self.frame())
        return message

    async def let_in(self, *, resumed: bool, user: str = "ann") -> list[Any]:
        """Take a join and answer it; return it."""
        join = await self.hear()
        assert join[0] == JOIN
        await self.send(32, join[1], HANDLE, join[5], user, "viewer", resumed, 1000)
        return join

    async def snapshot(
        self, offset: int, epoch: int = EPOCH, state: tuple[Any, ...] = (), recent: tuple[Any, ...] = ()
    ) -> None:
        await self.send(33, HANDLE, "room", epoch, offset, 1, [0, 1], 1000, {}, state, recent)

    async def batch(self, first: int, *events: Any, epoch: int = EPOCH) -> None:
        last = first - 1 + sum(event[2] if event[0] == 0 else 1 for event in events)
        await self.send(34, HANDLE, epoch, first, last, 1, events)

    async def drop(self) -> None:
        await trio.aclose_forcefully(self.stream)


@dataclass
class Place:
    port: int
    life: int = 1


@dataclass
class Stage:
    """A viewer, and the connections that it makes."""

    viewer: Viewer
    book: Book
    place: Place
    peers: trio.MemoryReceiveChannel[Peer]
    nursery: trio.Nursery

    async def peer(self) -> Peer:
        peer = await self.peers.receive()
        await peer.shake()
        return peer


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    sending, receiving = trio.open_memory_channel[Peer](10)

    async def accept(stream: trio.SocketStream) -> None:
        await sending.send(Peer(stream))
        # The connection lasts until a test drops it.
        await trio.sleep_forever()

    book = Book()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, accept, [listener])
            place = Place(listener.socket.getsockname()[1])
            viewer = Viewer("ann", "room", [place], 0, book, Random(1))
            nursery.start_soon(viewer.run)
            yield Stage(viewer, book, place, receiving, nursery)
            nursery.cancel_scope.cancel()


def gift(entry: int) -> list[Any]:
    return [GIFT, ["ann", "", {}], entry, entry, "rose", 1, 1, "", entry, 1, 1000, entry, ""]


def comment(ref: int) -> list[Any]:
    return [1, ["ann", "", {}], ref, "hello"]


async def pong(peer: Peer) -> None:
    """Return when the viewer has taken everything that was sent."""
    await peer.stream.send_all(server_frame(PING, b"?"))
    assert await peer.frame() == b"?"


async def test_what_was_not_answered_is_asked_again_after_the_return_by_the_same_viewer_with_the_same_ref() -> None:
    async with stage() as now:
        peer = await now.peer()
        join = await peer.let_in(resumed=False)
        await peer.snapshot(4)
        asked = Asked([GIVE, now.viewer.ref(), "rose", 2])
        answers: list[list[Any]] = []

        async def ask() -> None:
            answers.append(await now.viewer.ask(asked))

        again: list[None] = []
        now.viewer.on_again = lambda: again.append(None)
        now.nursery.start_soon(ask)
        assert await peer.hear() == [GIVE, 1, HANDLE, "rose", 2]
        await peer.batch(5, comment(1))
        await pong(peer)
        await peer.drop()

        now.place.life = 2
        peer = await now.peer()
        returned = await peer.let_in(resumed=True)
        assert returned[3:5] == [EPOCH, 5]
        assert returned[5] == join[5]
        assert returned[1] != join[1]
        assert await peer.hear() == [GIVE, 1, HANDLE, "rose", 2]
        assert len(again) == 1
        await peer.send(PAID, 1, HANDLE, 3, 6, 2)
        await peer.send(PAID, 1, HANDLE, 9, 9, 9)
        await pong(peer)
        assert answers == [[PAID, 1, HANDLE, 3, 6, 2]]
        assert asked.at == (0, 2)
        assert not now.viewer.watcher.trouble


async def test_who_is_not_let_in_comes_again() -> None:
    async with stage() as now:
        peer = await now.peer()
        join = await peer.hear()
        await peer.send(35, join[1], 3, 0, "out of reach", 0)
        peer = await now.peer()
        assert (await peer.let_in(resumed=False))[5] == join[5]


async def test_what_a_resume_repeats_is_dropped_and_what_a_stream_repeats_is_not() -> None:
    async with stage() as now:
        watcher = now.viewer.watcher
        peer = await now.peer()
        await peer.let_in(resumed=False)
        await peer.snapshot(0)
        await peer.batch(1, gift(1), comment(1), gift(2))
        await pong(peer)
        await peer.drop()
        peer = await now.peer()
        await peer.let_in(resumed=True)
        # Shared frames begin before the position.
        await peer.batch(1, gift(1), comment(1))
        await peer.batch(3, gift(2), gift(3))
        await peer.batch(5, [0, 4, 2], gift(2))
        await pong(peer)
        assert watcher.seen == {1: [(EPOCH, 1)], 2: [(EPOCH, 3), (EPOCH, 7)], 3: [(EPOCH, 4)]}
        assert now.viewer.position == (EPOCH, 7)
        assert not watcher.trouble


async def test_a_new_epoch_is_announced_and_its_money_noted_again() -> None:
    async with stage() as now:
        watcher = now.viewer.watcher
        peer = await now.peer()
        await peer.let_in(resumed=False)
        await peer.snapshot(0)
        await peer.batch(1, gift(1))
        await pong(peer)
        await peer.drop()
        peer = await now.peer()
        await peer.let_in(resumed=False)
        await peer.send(36, HANDLE, EPOCH, 2, 0, "epoch")
        await peer.snapshot(0, EPOCH + 1, recent=((1, 1, gift(7)), (2, 1, comment(1))))
        await peer.batch(1, gift(1), gift(2), epoch=EPOCH + 1)
        await pong(peer)
        assert watcher.seen == {1: [(EPOCH, 1), (EPOCH + 1, 1)], 2: [(EPOCH + 1, 2)]}
        assert watcher.epochs == {EPOCH, EPOCH + 1}
        assert watcher.hinted == {7}
        assert not watcher.trouble


async def test_what_does_not_join_up_is_trouble() -> None:
    async with stage() as now:
        trouble = now.viewer.watcher.trouble
        peer = await now.peer()
        await peer.let_in(resumed=False)
        await peer.snapshot(0)
        await peer.batch(1, gift(1))
        await peer.batch(3, gift(3))
        await pong(peer)
        assert trouble.pop() == f"a batch of {EPOCH}:3..3 after {EPOCH}:1"
        await peer.batch(3, gift(3))
        await pong(peer)
        assert trouble.pop() == f"a batch of {EPOCH}:3..3 after {EPOCH}:3"
        await peer.send(36, HANDLE, EPOCH, 4, 9, "lag")
        await pong(peer)
        assert trouble.pop() == f"a gap of {EPOCH}:4..9 (lag) after {EPOCH}:3"
        await peer.send(34, HANDLE, EPOCH, 10, 12, 1, [gift(4)])
        await pong(peer)
        assert trouble.pop() == f"a batch of {EPOCH}:10..12 has events up to 10"
        await peer.snapshot(20)
        await pong(peer)
        assert trouble.pop() == f"a snapshot at {EPOCH}:20 without a gap after {EPOCH}:12"
        await peer.drop()
        peer = await now.peer()
        await peer.let_in(resumed=True, user="bob")
        await pong(peer)
        assert trouble == ["came back as bob, not as ann"]


async def test_red_packets_are_told_whether_they_come_as_state_or_as_events() -> None:
    async with stage() as now:
        told: list[tuple[int, int]] = []
        now.viewer.on_packet = lambda packet, opens: told.append((packet, opens))
        peer = await now.peer()
        await peer.let_in(resumed=False)
        await peer.snapshot(0, state=(("packet", "3", {"opens": 33}, 1), ("life", "", {}, 1)))
        await peer.batch(
            1,
            [PACKET, ["bob", "", {}], 4, 1, 10, 2, "equal", 44, 50, False, "", "", "…"],
            [END, ["bob", "", {}], 5, 3, "expired", 0, 10, "…"],
        )
        await pong(peer)
        assert told == [(3, 33), (4, 44)]
        assert now.viewer.over == {3}
