"""The link contract: two ends, each sends lists of messages and receives them in order.

Owns the interface. What every link promises: messages arrive once, in order, in batches of what was sent in one turn of the
sender; `send` never blocks; what waits is bounded: an edge that finds the hub far behind by `backlog` refuses its viewers'
input with a retry, and a link between processes ends when too many bytes wait.

A link between processes may end at any time, and what had not been received then is lost. An edge that gets another one opens
its rooms again with the position that its viewers have, tells totals, and repeats what was not answered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

__all__ = ["End"]

Out = TypeVar("Out", contravariant=True)
In = TypeVar("In", covariant=True)


class End(ABC, Generic[Out, In]):
    """One side of a link: sends ``Out``, receives ``In``."""

    @abstractmethod
    def send(self, messages: Sequence[Out]) -> None:
        """Hand over messages; they are the link's from now on. After either side closed, they are dropped."""

    @abstractmethod
    async def receive(self) -> Sequence[In]:
        """Return what has arrived, at least one message; an empty sequence when the other side has closed and all is read."""

    @property
    @abstractmethod
    def backlog(self) -> int:
        """Messages sent that still wait on this side: those that the other side has not received, but for the few that an
        operating system holds in between."""

    @property
    def lost(self) -> int:
        """Messages that waited on this side when the link broke: none of them has left."""
        return 0

    @property
    def sent_bytes(self) -> int:
        """Bytes of all that was handed over so far; 0 where nothing is encoded."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Let the other side's `receive` end after what was sent."""
