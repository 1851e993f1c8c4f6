"""All viewers of one process: their codec, what they share, and what was counted.

Owns the counts and the rooms' logs. Must not know sockets, nor how a viewer reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

import msgpack

from bench.generator.account import Account
from bench.generator.body import Bodies
from bench.generator.tally import Clock, Tally
from bench.generator.verify import Fault, Faults, Frame, Log, fold
from bench.generator.wire import BINARY, TEXT, Header, WireError, client_frame, inflate

if TYPE_CHECKING:
    from bench.generator.receiver import Viewer

__all__ = ["Swarm"]


class Swarm:
    """All viewers of one process: what they share, and what was counted.

    :ivar on_reply: called with (viewer, ref, code, offset, text, retry_after_ms) for each reply to a comment.
    :ivar on_paid: called with (viewer, ref, entry, offset, amount) for each acknowledgement of money.
    :ivar account_of: made for a room's log; None: there is no money in it.
    :ivar users: ids of viewers, as the server gave them, where somebody wants to know.
    :ivar token_of: the token with which a viewer joins, None for a guest.
    :ivar on_lost: called with a viewer whose connection ended by itself; None: that is a fault. ``on_back`` is called when it
        has joined again.
    :ivar past_logs: of rooms that have gone on in another epoch.
    :ivar holes: ranges that a viewer missed without a gap.
    :ivar may_gap: viewers that the scenario allows a gap or a resumable close.
    :ivar orderly: connections that this side closed and the server answered; ``orderly_bytes`` is all that was read from
        them, handshakes included.
    :ivar busy: handshakes that were refused for the time being.
    """

    def __init__(
        self,
        *,
        json_codec: bool,
        compression: bool,
        bodies: Bodies,
        room_name: Callable[[int], str],
        clock: Clock | None = None,
    ) -> None:
        self.json_codec = json_codec
        self.compression = compression
        self.subprotocol = "roomcast.v1.json" if json_codec else "roomcast.v1.msgpack"
        self.bodies = bodies
        self.room_name = room_name
        self.host = ""
        self.path = "/"
        self.clock = clock or Clock()
        self.tally = Tally(self.clock)
        self.past = Tally(self.clock)
        self.faults = Faults()
        self.logs: dict[int, Log] = {}
        self.past_logs: list[Log] = []
        self.holes: dict[int, list[tuple[int, int]]] = {}
        self.sessions: dict[int, str] = {}
        self.gapped: dict[int, str] = {}
        self.closed: dict[int, int] = {}
        self.byes: dict[int, int] = {}
        self.may_gap: Container[int] = frozenset()
        self.on_reply: Callable[[Viewer, int, int, int, str, int], None] = lambda *_: None
        self.on_paid: Callable[[Viewer, int, int, int, int], None] = lambda *_: None
        self.account_of: Callable[[int], Account | None] = lambda _: None
        self.users: dict[int, str] = {}
        self.token_of: Callable[[int], str | None] = lambda _: None
        self.on_lost: Callable[[Viewer], None] | None = None
        self.on_back: Callable[[Viewer], None] = lambda viewer: None
        self.limit_frame: Frame | None = None
        self.limit_received = 0
        self.live = 0
        self.orderly = self.orderly_bytes = self.busy = 0
        self.stopping = False

    def encode(self, message: list[Any]) -> bytes:
        """One message as a whole client frame."""
        if self.json_codec:
            return client_frame(TEXT, json.dumps(message, ensure_ascii=False).encode(), os.urandom(4))
        packed: bytes = msgpack.packb(message)
        return client_frame(BINARY, packed, os.urandom(4))

    def decode(self, header: Header, data: bytes) -> list[Any]:
        """One server message. Raises `WireError` or ValueError."""
        if header.opcode != (TEXT if self.json_codec else BINARY):
            raise WireError(f"a frame with opcode {header.opcode}")
        payload = data[header.start : header.end]
        if header.deflated:
            if not self.compression:
                raise WireError("a compressed frame, though compression was not negotiated")
            payload = inflate(payload)
        message = json.loads(payload) if self.json_codec else msgpack.unpackb(payload)
        if not isinstance(message, list) or not message:
            raise ValueError(f"not an array: {message!r:.80}")
        return message

    def fault(self, viewer: Viewer, kind: str, first: int = 0, last: int = 0, detail: str = "") -> None:
        """Record a fault of one viewer."""
        self.faults.add(Fault(kind, viewer.index, viewer.room, first, last, detail))

    @property
    def entitled(self) -> int:
        """Offsets that this process's viewers are entitled to so far, as far as this process knows the rooms' heads."""
        return sum(log.viewers * log.head - log.bases for log in self.every_log())

    @property
    def steadfast(self) -> bool:
        """Whether viewers come back by themselves and senders repeat what was not answered."""
        return self.on_lost is not None

    def every_log(self) -> list[Log]:
        """Of all rooms and epochs."""
        return self.past_logs + list(self.logs.values())

    def log_of(self, room: int, handle: int, epoch: int, base: int) -> Log:
        """The log of a room in an epoch; of a new one it becomes the room's present log."""
        log = self.logs.get(room)
        if log is not None and log.epoch == epoch:
            return log
        for past in self.past_logs:
            # Somebody is told of an epoch that others have left already.
            if (past.room, past.epoch) == (room, epoch):
                return past
        if log is not None:
            self.past_logs.append(log)
        made = self.logs[room] = Log(room, handle, epoch, base, self.bodies, self.faults, self.account_of(room))
        return made

    def settle(self) -> Tally:
        """Bring the counts up to date and return them."""
        for log in self.every_log():
            log.settle(self.tally)
        self._settle_limit()
        return self.tally

    def _settle_limit(self) -> None:
        if self.limit_frame is not None:
            self.limit_received += sum(self.limit_frame.times.values())
            fold(self.limit_frame, self.tally)

    def limit(self, raw: bytes) -> Frame:
        """The frame of a limit round, from now on the one to compare with."""
        self._settle_limit()
        self.limit_frame = Frame(raw, 1, 0)
        return self.limit_frame

    def mark(self) -> None:
        """Begin counting anew; positions stay."""
        self.past.merge(self.settle().dump())
        self.tally = Tally(self.clock)
