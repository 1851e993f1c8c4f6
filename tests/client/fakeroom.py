"""A server for the client's tests: one room, kept in a list, served over loopback by trio-websocket.

Owns a log of events and a script of misbehaviour. Encodes by hand what `engine.schema` describes, so that the client is
tested against the words of the protocol rather than against the engine.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgpack
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from engine.schema import JSON, MSGPACK, handle_of

__all__ = ["GARBAGE", "HANDLE", "HANG_UP", "ROOM", "FakeRoom", "Peer", "comment", "serving"]

ROOM = "大厅"
HANDLE = handle_of(ROOM)
HANG_UP: tuple[int, list[tuple[bytes, bytes]]] = (0, [])
"""For `FakeRoom.reject`: accept the TCP connection and end it."""
GARBAGE: tuple[int, list[tuple[bytes, bytes]]] = (1, [])
"""Likewise: answer something that is not HTTP."""


def comment(body: str, ref: int = 0, user: str = "u0") -> list[Any]:
    """A comment event."""
    return [1, [user, "Ann", {"flag": "🇳🇱"}], ref, body]


class FakeRoom:
    """The room. Tests change it while it runs.

    :ivar events: the log; the offset of ``events[i]`` is ``i + 1``.
    :ivar kept: offsets up to this are no longer in the history.
    :ivar overlap: events before the position that a resume repeats.
    :ivar state: ``[value, version]`` by kind and key; changes of it are events.
    :ivar totals: all that are not in the counters.
    :ivar recent: events that a snapshot shows.
    :ivar page: offsets that a page has at most.
    :ivar received: client messages, decoded, of all connections.
    :ivar entries: of the room's ledger, so many; ``paid`` are the answers by ref, ``left`` the shares by red packet.
    :ivar joins: those that were joins.
    :ivar on_join: called before each join is answered; returns an answer to send instead, or None.
    :ivar on_request: likewise for requests; returning [] answers nothing.
    :ivar chooses: whether a subprotocol is agreed upon.
    :ivar reject: called for each handshake; returns an HTTP status and headers to refuse it with, or None.
    """

    def __init__(self) -> None:
        self.url = ""
        self.epoch = 7
        self.events: list[list[Any]] = []
        self.kept = 0
        self.overlap = 0
        self.heartbeat_ms = 60_000
        self.counters = [0, 1]
        self.totals: dict[str, Any] = {}
        self.state: dict[tuple[str, str], list[Any]] = {}
        self.recent = 0
        self.page = 100
        self.session = "s" * 20
        self.chooses = True
        self.received: list[Any] = []
        self.joins: list[Any] = []
        self.published: dict[int, int] = {}
        self.entries = 0
        self.paid: dict[int, list[Any]] = {}
        self.left: dict[int, int] = {}
        self.handshakes = 0
        self.changed = trio.Condition()
        self.on_join: Callable[[list[Any]], list[Any] | None] = lambda message: None
        self.on_request: Callable[[list[Any]], list[Any] | None] = lambda message: None
        self.reject: Callable[[], tuple[int, list[tuple[bytes, bytes]]] | None] = lambda: None
        self.peers: list[Peer] = []
        self.connected: list[Peer] = []

    @property
    def peer(self) -> Peer:
        """The viewer who joined last."""
        return self.peers[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something received makes ``condition`` true."""
        async with self.changed:
            while not condition():
                await self.changed.wait()

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def say(self, *bodies: str) -> None:
        """Publish comments as one batch to everybody."""
        await self.publish([comment(body) for body in bodies])

    async def publish(self, events: list[list[Any]]) -> None:
        first = len(self.events) + 1
        self.events += events
        last = len(self.events)
        for peer in list(self.peers):
            async with peer.joining:
                if peer.covered < last:
                    await peer.batch(max(first, peer.covered + 1), last)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.handshakes += 1
        refusal = self.reject()
        if refusal in (HANG_UP, GARBAGE):
            if refusal == GARBAGE:
                await stream.send_all(b"SSH-2.0-no\r\n\r\n")
                await trio.sleep_forever()
            await stream.aclose()
            return
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            if refusal is not None:
                await request.reject(refusal[0], extra_headers=refusal[1], body=b"no")
                await stream.aclose()
                return
            (proposed,) = request.proposed_subprotocols
            websocket = await request.accept(subprotocol=proposed if self.chooses else None)
            await self.converse(Peer(self, websocket, stream, text=proposed.endswith("json")))
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)

    async def converse(self, peer: Peer) -> None:
        self.connected.append(peer)
        try:
            while True:
                await self.take(peer, peer.decode(await peer.websocket.get_message()))
        except ConnectionClosed:
            if peer in self.peers:
                self.peers.remove(peer)
            if peer.closing is not None:
                await peer.closing.wait()
            await self.notify()

    async def take(self, peer: Peer, message: list[Any]) -> None:
        self.received.append(message)
        if message[0] == 1:
            self.joins.append(message)
            await self.join(peer, message)
        elif message[0] not in (2, 4, 6, 12):
            answer = self.on_request(message)
            if answer is None:
                await self.answer(peer, message)
            elif answer:
                await peer.send(answer)
        await self.notify()

    async def answer(self, peer: Peer, message: list[Any]) -> None:
        kind, ref = message[:2]
        match kind:
            case 5:
                await peer.send([38, ref, 1_700_000_000_000, "tomorrow"])
            case 18 | 19 | 20:
                await self.pay(peer, message)
            case 21:
                stream, after, limit = message[3:]
                lines = [["u1", "Ann", 300], ["u2", "", 200], ["u3", "", -1]][after : after + limit]
                await peer.send([43, ref, HANDLE, "today" if stream is None else stream, after, lines, "tomorrow"])
            case 22:
                await peer.send([44, ref, HANDLE, [["rose", "玫瑰", 10, "petals", 5000, "tomorrow"]], "tomorrow"])
            case 8 | 13 | 17:
                await peer.send([35, ref, 0])
            case 15:
                await peer.page(ref, *message[3:])
            case 16:
                now = [[*key, *entry] for key, entry in self.state.items()]
                await peer.send([41, ref, HANDLE, self.epoch, len(self.events), self.totals, now, "tomorrow"])
            case _:
                if ref not in self.published:
                    event = self.event_of(message)
                    self.published[ref] = len(self.events) + 1
                    await self.publish([event])
                await peer.send([35, ref, 0, self.published[ref], "", 0, "tomorrow"])

    async def pay(self, peer: Peer, message: list[Any]) -> None:
        """Book it, publish it, answer; a claim of what is over is dropped, a retry has the first answer."""
        kind, ref, _, *fields = message
        if ref not in self.paid:
            packet = str(fields[0])
            if kind == 19 and ("packet", packet) not in self.state:
                return
            self.entries += 1
            entry, author = self.entries, ["u0", "Ann"]
            match kind:
                case 18:
                    gift, count, to = fields
                    amount = 10 * count
                    events = [[8, author, entry, ref, gift, count, amount, to, entry, count, 5000, amount, "tomorrow"]]
                case 19:
                    amount = 7
                    self.left[fields[0]] -= 1
                    shares = self.state["packet", packet][0]["shares"]
                    events = [[12, author, entry, fields[0], shares - self.left[fields[0]], amount]]
                    if not self.left[fields[0]]:
                        events.append(self.packet_over(fields[0]))
                case _:
                    amount, self.left[entry] = fields[:2]
                    split, opens, expires = fields[2], 1000 + fields[3], 1000 + fields[3] + fields[4]
                    rest = [*fields[:2], split, opens, expires, *fields[5:], "c0"]
                    events = [[11, author, entry, ref, *rest]]
                    names = ("total", "shares", "split", "opens", "expires", "followers", "phrase", "text", "commitment")
                    self.state["packet", str(entry)] = [dict(zip(names, rest, strict=True)) | {"author": author}, 1]
            self.paid[ref] = [42, ref, HANDLE, entry, len(self.events) + 1, amount, "tomorrow"]
            await self.publish(events)
        await peer.send(self.paid[ref])

    def packet_over(self, packet: int, reason: str = "emptied") -> list[Any]:
        """End a red packet; return the event."""
        self.entries += 1
        del self.state["packet", str(packet)]
        return [13, ["u0", "Ann"], self.entries, packet, reason, 3, 0, "5eed"]

    def event_of(self, message: list[Any]) -> list[Any]:
        """What a request publishes."""
        kind, ref, _, *fields = message
        match kind:
            case 3:
                reply_to, mentions, lifetime_ms = fields[1:] or (0, [], 0)
                linked: list[Any] = [reply_to, mentions, 1000 + lifetime_ms] if len(fields) > 1 else []
                return [*comment(fields[0], ref), *linked]
            case 7:
                return [2, ["u0"], ref, *fields]
            case 9:
                action, user, offset, seconds, reason, _ = fields
                return [5, ["u0"], action, user, [offset, offset] if offset else [], seconds * 1000, reason]
            case 11:
                return [4, ["u0"], ref, *fields[:2]]
            case 14:
                return self.changed_to(ref, "question", f"q{ref}", {"body": fields[0]})
        return self.changed_to(ref, *fields[:3])

    def changed_to(self, ref: int, kind: str, key: str, value: Any) -> list[Any]:
        """Change the state; return the event."""
        version = self.state.pop((kind, key), [None, 0])[1] + 1
        if value is not None:
            self.state[kind, key] = [value, version]
        return [3, ["u0"], ref, kind, key, value, version]

    async def join(self, peer: Peer, message: list[Any]) -> None:
        instead = self.on_join(message)
        if instead is not None:
            if instead:
                await peer.send(instead)
            return
        _, ref, _, epoch, offset = message[:5]
        resumed = epoch == self.epoch
        user, role = "u0", "guest"
        async with peer.joining:
            self.peers.append(peer)
            await peer.send([32, ref, HANDLE, self.session, user, role, resumed, self.heartbeat_ms, "tomorrow"])
            await self.catch_up(peer, epoch, offset, resumed=resumed)

    async def catch_up(self, peer: Peer, epoch: int, offset: int, *, resumed: bool) -> None:
        peer.covered = len(self.events)
        if not resumed:
            if epoch:
                await peer.send([36, HANDLE, epoch, offset + 1, 0, "epoch"])
            await peer.snapshot()
            return
        if offset < self.kept:
            await peer.send([36, HANDLE, epoch, offset + 1, self.kept, "history"])
            offset = self.kept
        if offset < peer.covered:
            await peer.batch(max(offset + 1 - self.overlap, 1), peer.covered)


class Peer:
    """One connection, from the server's side.

    :ivar joining: held until the answer to a join is complete.
    :ivar covered: last offset that the answer to the join covers; what is published meanwhile comes after it.
    """

    def __init__(self, room: FakeRoom, websocket: WebSocketConnection, stream: trio.SocketStream, *, text: bool) -> None:
        self.room = room
        self.stream = stream
        self.websocket = websocket
        self.closing: trio.Event | None = None
        self.joining = trio.StrictFIFOLock()
        self.covered = 0
        self.text = text

    def decode(self, data: str | bytes) -> list[Any]:
        codec = JSON if self.text else MSGPACK
        codec.decode(data.encode() if isinstance(data, str) else data)  # the engine's own reader accepts it, too
        message = json.loads(data) if self.text else msgpack.unpackb(data)
        assert isinstance(message, list)
        return message

    async def send(self, message: list[Any]) -> None:
        encode = json.dumps if self.text else msgpack.packb
        try:
            await self.websocket.send_message(encode(message))
        except ConnectionClosed:
            return

    async def snapshot(self) -> None:
        room = self.room
        now = [[*key, *entry, "new"] for key, entry in room.state.items()]
        begin = max(self.covered - room.recent, 0)
        recent = [[begin + at + 1, 800 + at, event, "new"] for at, event in enumerate(room.events[begin : self.covered])]
        frame = [33, HANDLE, ROOM, room.epoch, self.covered, 900, room.counters, room.heartbeat_ms]
        await self.send([*frame, room.totals, now, recent, "new"])

    async def page(self, ref: int, before: int, limit: int) -> None:
        """The newest offsets below ``before``, as far as they are kept, at one millisecond each."""
        room = self.room
        last = min(before - 1 if before else len(room.events), len(room.events))
        first = max(last + 1 - min(limit, room.page), room.kept + 1)
        events = room.events[first - 1 : last]
        times = [1000 + first + at for at in range(len(events))]
        await self.send([40, ref, HANDLE, room.epoch, first, first - 1 + len(events), times, events, "new"])

    async def batch(self, first: int, last: int, events: list[Any] | None = None) -> None:
        """The offsets ``first..last``, by default as they are in the log, at one millisecond each."""
        events = self.room.events[first - 1 : last] if events is None else events
        delays = list(range(len(events)))
        frame = [34, HANDLE, self.room.epoch, first, last, 1000 + first, events, delays, self.room.counters]
        await self.send([*frame, self.room.totals, "new"])

    async def close(self, code: int, reason: str = "") -> None:
        self.closing = trio.Event()
        await self.websocket.aclose(code, reason)
        self.closing.set()

    def cut(self) -> None:
        """Reset the TCP connection, without a close frame."""
        self.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


@asynccontextmanager
async def serving(room: FakeRoom | None = None) -> AsyncIterator[FakeRoom]:
    """A room on a free loopback port, for the length of the block."""
    room = room or FakeRoom()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, room.serve, 0, host="127.0.0.1"))
        room.url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/ws"
        yield room
        nursery.cancel_scope.cancel()
