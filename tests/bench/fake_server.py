"""A small server of the wire protocol that can be told to break it: what the benchmark's checks are tried on.

Owns nothing worth keeping: one event loop, no limits, no backpressure. It is started like the engine
(``python fake_server.py [--break FAULT] --config FILE --json``), so that everything but the engine is the real thing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
from fake_bank import MONEY_FAULTS, Bank

from bench.generator.wire import BINARY, CLOSE, TEXT, accept_of, server_frame
from engine.schema import handle_of

FAULTS = (
    *("none", "drop", "lose", "tail", "double", "echo", "swap", "shuffle"),
    *("late", "alter", "hole", "gap", "gaps", "close", "refuse", "bytes", "likes"),
    *("deaf", "reaction", "miscount", "silence", "notice"),
    *MONEY_FAULTS,
)
TICK_SECONDS = 0.008
SWEEP_SECONDS = 0.1
"""Between two looks at what is over."""
VICTIM = 1
"""Which viewer meets a fault that only one meets: the second to join."""
BROKEN_BATCH = 3
"""The first batch after so many that has two events is broken."""


def unmasked(data: bytearray) -> tuple[int, bytes] | None:
    """Take one client frame off the buffer."""
    if len(data) < 6:
        return None
    size, start = data[1] & 0x7F, 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    if len(data) < start + 4 + size:
        return None
    mask = data[start : start + 4]
    payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data[start + 4 : start + 4 + size]))
    opcode = data[0] & 0x0F
    del data[: start + 4 + size]
    return opcode, payload


@dataclass(eq=False)
class Room:
    name: str
    offset: int = 0
    batches: int = 0
    broken: bool = False
    likes: dict[int, int] = field(default_factory=dict)
    reactions: dict[int, dict[str, int]] = field(default_factory=dict)
    due: bool = False
    offered: int = 0
    withheld: int = 0
    pending: list[list[Any]] = field(default_factory=list)
    viewers: list[Peer] = field(default_factory=list)
    held: bytes = b""


class Server:
    def __init__(self, fault: str, limited: bool, bank: Bank | None) -> None:
        self.fault = fault
        self.bank = bank
        self.limited = limited
        self.rooms: dict[str, Room] = {}
        self.dropped = False
        self.orderly = self.orderly_bytes = 0

    def noticed(self, room: Room, peer: Peer, ref: int, body: str) -> None:
        if self.fault == "notice" and not self.dropped:
            self.dropped = True
            peer.send([35, ref, 6, 0, "limits.room_events_per_second", 50])
            return
        self.append(room, [4, [f"u{id(peer)}", "", {}, "host", 0], ref, body, False])
        peer.send([35, ref, 0, room.offset, "", 0])

    def said(self, room: Room, peer: Peer, ref: int, body: str) -> None:
        room.offered += 1
        if self.limited and room.offered % 2:
            room.withheld += 1
            self.schedule(room)
            if not (self.fault == "silence" and room.offered == 1):
                peer.send([35, ref, 6, 0, "limits.room_events_per_second", 50])
            else:
                peer.send([35, ref, 0, 1, "", 0])
            return
        event = [1, [f"u{id(peer)}", "", {}], ref, body]
        broken = self.fault in ("drop", "refuse", "echo") and room.offset >= BROKEN_BATCH and not self.dropped
        self.dropped = self.dropped or broken
        if broken and self.fault == "refuse":
            peer.send([35, ref, 1])
            return
        self.append(room, event, lost=broken and self.fault == "drop")
        peer.send([35, ref, 0, room.offset + broken * (self.fault == "drop"), "", 0])
        if broken and self.fault == "echo":
            self.append(room, event)

    def shown(self, room: Room, event: list[Any]) -> int:
        self.append(room, event)
        return room.offset

    def spent(self, room: Room, peer: Peer, message: list[Any]) -> None:
        assert self.bank is not None
        show = partial(self.shown, room)
        match message:
            case [18, ref, _, gift, count, to]:
                answer = self.bank.give(room.name, peer.user, ref, gift, count, to, show)
            case [19, ref, _, packet]:
                answer = self.bank.claim(room.name, peer.user, ref, packet, show)
            case [20, ref, _, total, shares, split]:
                answer = self.bank.pack(room.name, peer.user, ref, total, shares, split, show)
        if answer is not None:
            peer.send(answer)

    def sweep(self) -> None:
        assert self.bank is not None
        self.bank.sweep(lambda name: partial(self.shown, self.rooms[name]))
        asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.sweep)

    def append(self, room: Room, event: list[Any], lost: bool = False) -> None:
        self.schedule(room)
        if not lost:
            room.pending.append(event)
            room.offset += 1

    def liked(self, room: Room, peer: Peer, total: int, reactions: dict[str, int]) -> None:
        room.reactions[id(peer)] = reactions
        room.likes[id(peer)] = total
        self.schedule(room)

    def schedule(self, room: Room) -> None:
        if not room.due:
            room.due = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self.flush, room)

    def flush(self, room: Room) -> None:
        events, room.pending, room.due = room.pending, [], False
        room.batches += 1
        broken = not room.broken and room.batches >= BROKEN_BATCH and len(events) >= 2
        room.broken = room.broken or broken
        if broken and self.fault == "hole":
            room.offset += 1
        first = room.offset - len(events) + 1
        counters = [sum(room.likes.values()) + (self.fault == "likes"), len(room.viewers)]
        batch = [34, handle_of(room.name), 1, first, room.offset, room.batches * 20, events, [], counters]
        given: Counter[str] = Counter()
        for reactions in room.reactions.values():
            given.update(reactions)
        if given or room.withheld:
            given.update({"👍": 1} if self.fault == "reaction" else {})
            told = {"events": room.withheld + (self.fault == "miscount")} if room.withheld else {}
            batch.append({"reactions": dict(given), "withheld": told, "peak": 7})
        if broken and self.fault == "shuffle":
            events.reverse()
        for number, peer in enumerate(room.viewers):
            if number == VICTIM and self.fault == "late" and room.held:
                peer.send(batch)
                peer.write(room.held)
                room.held = b""
            elif number == VICTIM and broken:
                self.meet(room, peer, batch)
            elif self.fault == "gaps" and events:
                peer.send([36, handle_of(room.name), 1, first, room.offset, "lag"])
            elif number == VICTIM and (
                (self.fault == "deaf" and not events) or (self.fault == "tail" and room.batches > BROKEN_BATCH)
            ):
                pass
            else:
                peer.send(batch)

    def meet(self, room: Room, peer: Peer, batch: list[Any]) -> None:
        """One viewer gets one batch in a way of its own."""
        _, handle, epoch, first, last, _, events, *_ = batch
        match self.fault:
            case "lose" | "tail":
                return
            case "late":
                room.held = peer.encode(batch)
                return
            case "gap":
                peer.send([36, handle, epoch, first, last, "lag"])
                return
            case "close":
                peer.send([37, 4000, "bye", 0, 0])
                peer.write(server_frame(CLOSE, (4000).to_bytes(2, "big")))
                return
            case "double":
                peer.send(batch)
            case "swap":
                batch = [*batch[:6], events[::-1], *batch[7:]]
            case "alter":
                altered = [*events[0][:3], events[0][3].replace(" ", "_", 1)]
                batch = [*batch[:6], [altered, *events[1:]], *batch[7:]]
        peer.send(batch)


class Peer(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.data = bytearray()
        self.upgraded = self.text = False
        self.written = 0
        self.room: Room | None = None
        self.user = f"u{id(self)}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.room is not None and self in self.room.viewers:
            self.room.viewers.remove(self)

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self.transport.write(data)

    def encode(self, message: list[Any]) -> bytes:
        payload = json.dumps(message).encode() if self.text else msgpack.packb(message)
        return server_frame(TEXT if self.text else BINARY, payload)

    def send(self, message: list[Any]) -> None:
        self.write(self.encode(message))

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.upgraded and b"\r\n\r\n" in self.data:
            head, _, rest = bytes(self.data).partition(b"\r\n\r\n")
            headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
            protocol = headers[b"Sec-WebSocket-Protocol"]
            self.text = protocol.endswith(b"json")
            accept = accept_of(headers[b"Sec-WebSocket-Key"]).encode()
            self.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: " + protocol + b"\r\n\r\n"
            )
            self.upgraded, self.data = True, bytearray(rest)
        while self.upgraded and (frame := unmasked(self.data)) is not None:
            opcode, payload = frame
            if opcode == CLOSE:
                self.write(server_frame(CLOSE, payload))
                self.server.orderly += 1
                self.server.orderly_bytes += self.written
                self.transport.close()
                return
            self.received(json.loads(payload) if self.text else msgpack.unpackb(payload))

    def received(self, message: list[Any]) -> None:
        match message:
            case [1, ref, name, *_]:
                self.room = room = self.server.rooms.setdefault(name, Room(name))
                room.viewers.append(self)
                self.send([32, ref, handle_of(name), f"session-{id(self):016x}", self.user, "viewer", False, 25_000])
                self.send([33, handle_of(name), name, 1, room.offset - len(room.pending), 0, [0, 0], 25_000, {}, [], []])
            case [3, ref, _, body]:
                assert self.room is not None
                self.server.said(self.room, self, ref, body)
            case [4, _, total, *reactions]:
                assert self.room is not None
                self.server.liked(self.room, self, total, *(reactions or [{}]))
            case [11, ref, _, body]:
                assert self.room is not None
                self.server.noticed(self.room, self, ref, body)
            case [18 | 19 | 20, *_]:
                assert self.room is not None
                self.server.spent(self.room, self, message)


async def serve(fault: str, config: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    edge = config["edge"]
    bank = None
    if config["ledger"]["url"]:
        gifts = config.get("gifts", {}).items()
        prices = {name: (gift["price"], int(gift.get("combo_seconds", 5.0) * 1000)) for name, gift in gifts}
        bank = Bank(config["ledger"]["url"], prices, fault)
    server = Server(fault, "room_events_per_second" in config["limits"], bank)
    if bank is not None:
        server.sweep()
    listener = await loop.create_server(lambda: Peer(server), edge["host"], edge["port"])
    port = listener.sockets[0].getsockname()[1]
    listening = {"event": "listening", "host": edge["host"], "port": port, "pid": os.getpid(), "viewers_max": 32}
    print(json.dumps(listening), flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    listener.close()
    if bank is not None:
        bank.close()
    told = {"orderly": server.orderly, "orderly_bytes": server.orderly_bytes + (fault == "bytes")}
    print(json.dumps({"event": "stopped", "statistics": {"edge": told}}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--break", dest="fault", choices=FAULTS, default="none")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.fault, tomllib.loads(arguments.config.read_text())))
