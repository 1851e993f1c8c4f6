"""A link inside one process, optionally encoding every message as if it went over a socket.

Owns two lists and two bells. The encoding form exists for the tests: whatever works over it works over a real socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from engine.link.base import End
from engine.link.messages import Down, Up
from engine.timing import Bell

__all__ = ["memory_link"]

Out = TypeVar("Out")
In = TypeVar("In")


class _Pipe:
    """One direction: what was sent and not yet received."""

    __slots__ = ("bell", "closed", "decode", "encode", "messages")

    def __init__(self, kind: object, encoded: bool) -> None:
        self.messages: list[object] = []
        self.bell = Bell()
        self.closed = False
        self.encode = msgspec.msgpack.Encoder().encode if encoded else None
        self.decode = msgspec.msgpack.Decoder(list[kind]).decode if encoded else None  # type: ignore[valid-type]  # a type held in a variable


class _MemoryEnd(End[Out, In], Generic[Out, In]):
    __slots__ = ("_in", "_out")

    def __init__(self, out: _Pipe, into: _Pipe) -> None:
        self._out = out
        self._in = into

    def send(self, messages: Sequence[Out]) -> None:
        pipe = self._out
        if pipe.closed:
            return
        if pipe.encode is not None and pipe.decode is not None:
            messages = pipe.decode(pipe.encode(messages))
        pipe.messages.extend(messages)
        pipe.bell.ring()

    async def receive(self) -> Sequence[In]:
        pipe = self._in
        while not pipe.closed:
            await pipe.bell.wait()
            if pipe.messages:
                break
        messages, pipe.messages = pipe.messages, []
        return messages  # type: ignore[return-value]  # what the other end sent

    @property
    def backlog(self) -> int:
        return len(self._out.messages)

    def close(self) -> None:
        for pipe in (self._out, self._in):
            pipe.closed = True
            pipe.bell.ring()


def memory_link(*, encoded: bool = False) -> tuple[End[Up, Down], End[Down, Up]]:
    """Return the edge's end and the hub's end of a link.

    :param encoded: pass every message through its serialised form.
    """
    up, down = _Pipe(Up, encoded), _Pipe(Down, encoded)
    return _MemoryEnd(up, down), _MemoryEnd(down, up)
