"""What viewers sent that the hub has not answered: kept to be sent again over a new link.

Owns the messages, by viewer and ref, and their bounds. Must not know what is in them, but for claims of red packets: that these
are over is told to everybody, not to each.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import trio

from engine.errors import Code, Refused
from engine.link.messages import Request, Say
from engine.schema import MSGPACK, Claim, Give

__all__ = ["RETRY_MS", "Held"]

RETRY_MS: Final = 1_000
"""How long viewers are asked to wait for the hub."""
_BYTES: Final = 16 << 20
"""Of what the hub has not answered, beside ``limits.pending_events``: what is said again fits a new link."""
_OVERHEAD: Final = 256
"""Bytes of such a message beside what the viewer wrote."""
_SHORT: Final = frozenset((Give, Claim))
"""What comes so often that it is not measured; it holds a few names at most."""


class Held:
    """See the module's docstring.

    :ivar most: how many messages.
    """

    __slots__ = ("_bytes", "_empty", "_messages", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._messages: dict[tuple[int, int], Say | Request] = {}
        self._bytes = 0
        self._empty = trio.Event()

    def add(self, message: Say | Request) -> None:
        """Keep a message until `done`; one that is kept already, only once. Raises `Refused` when there are too many."""
        size = _size(message)
        if len(self._messages) >= self.most or self._bytes + size > _BYTES:
            limit = "limits.pending_events"
            raise Refused(Code.OVERLOADED, f"too many events wait to be published ({limit})", RETRY_MS, limit=limit)
        key = message.viewer, message.ref
        if key not in self._messages:
            self._messages[key] = message
            self._bytes += size

    def done(self, viewer: int, ref: int) -> None:
        """The hub has answered."""
        message = self._messages.pop((viewer, ref), None)
        if message is not None:
            self._bytes -= _size(message)
            if not self._messages:
                self._empty.set()

    def release(self, room: str, packets: Collection[int]) -> None:
        """Of the red packets in a room only these are open: claims of others are not going to be answered."""
        over = [
            key
            for key, message in self._messages.items()
            if isinstance(message, Request)
            and isinstance(message.act, Claim)
            and message.room == room
            and message.act.packet not in packets
        ]
        for key in over:
            self.done(*key)

    @property
    def messages(self) -> Collection[Say | Request]:
        """All of them, in the order in which they came."""
        return self._messages.values()

    async def empty(self) -> None:
        """Wait until everything is answered."""
        while self._messages:
            self._empty = trio.Event()
            await self._empty.wait()


def _size(message: Say | Request) -> int:
    if isinstance(message, Say):
        size = len(message.body) + _OVERHEAD
        return size + sum(map(len, message.mentions)) if message.mentions else size
    if type(message.act) in _SHORT:
        return _OVERHEAD
    return len(MSGPACK.encode(message.act)) + _OVERHEAD
