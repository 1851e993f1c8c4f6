"""A swarm without sockets: its viewers are fed server bytes by hand.

Owns the server's side of the bytes. Asserts nothing.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

import msgpack

from bench.generator.body import Bodies, Claim
from bench.generator.receiver import JOIN_REF, Viewer
from bench.generator.swarm import Swarm
from bench.generator.tally import Tally
from bench.generator.wire import BINARY, accept_of, server_frame

__all__ = ["HANDLE", "Pipe", "Table"]

HANDLE = 77


class Pipe:
    """A transport that remembers what was written and whether it was aborted."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


class Table:
    """A swarm, its viewers, and somebody who writes batches."""

    def __init__(self, viewers: int = 1) -> None:
        self.bodies = Bodies(5, 60)
        self.swarm = Swarm(json_codec=False, compression=False, bodies=self.bodies, room_name=lambda room: f"r{room}")
        self.pipes = [Pipe() for _ in range(viewers)]
        self.viewers = [Viewer(self.swarm, index, 0) for index in range(viewers)]
        for viewer, pipe in zip(self.viewers, self.pipes, strict=True):
            viewer.connection_made(pipe)  # type: ignore[arg-type]  # a fake transport
            viewer.data_received(self.upgrade(viewer) + self.joined(False) + self.snapshot(0))

    @staticmethod
    def upgrade(viewer: Viewer) -> bytes:
        protocol = viewer.swarm.subprotocol
        accept = accept_of(viewer._key())
        head = f"HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        return head.encode()

    @staticmethod
    def message(*fields: Any) -> bytes:
        return server_frame(BINARY, msgpack.packb(fields))

    def joined(self, resumed: bool) -> bytes:
        return self.message(32, JOIN_REF, HANDLE, "s" * 16, "u1", "guest", resumed, 25_000)

    def snapshot(self, offset: int, epoch: int = 1) -> bytes:
        return self.message(33, HANDLE, "r0", epoch, offset, 0, [0, 0], 25_000)

    def event(self, sequence: int, room: int = 0) -> list[Any]:
        return [1, ["u9", "", {}], sequence, self.bodies.write(Claim(9, sequence, monotonic_ns() // 1000), room)]

    def batch(self, first: int, last: int, **changes: Any) -> bytes:
        events = changes.get("events", [self.event(number) for number in range(first, last + 1)])
        return self.message(34, changes.get("handle", HANDLE), changes.get("epoch", 1), first, last, 0, events, [], [3, 4])

    def reconnect(self, index: int, resumed: bool) -> None:
        """A viewer connects again and is let in; the snapshot, if it is not resumed, is the caller's."""
        viewer = self.viewers[index]
        viewer.connection_made(self.pipes[index])  # type: ignore[arg-type]  # a fake transport
        viewer.data_received(self.upgrade(viewer) + self.joined(resumed))

    @property
    def faults(self) -> dict[str, int]:
        return self.swarm.faults.counts

    @property
    def tally(self) -> Tally:
        return self.swarm.settle()
