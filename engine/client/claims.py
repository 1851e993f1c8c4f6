"""Claims of red packets that are under way: how they end when the server does not answer.

Owns which request waits for which packet. Knows no socket. The server answers who gets a share; that a packet is over it tells
everybody at once, and drops every claim that comes later. What the room's stream says is as good as an answer: a share of this
user's is one, and a packet that the room's state does not hold any more has none left.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager

from engine.client.control import PaidAnswer
from engine.client.items import Paid, Share
from engine.client.requests import Requests
from engine.client.state import PACKET
from engine.errors import Code, Refused

__all__ = ["Claims"]


class Claims:
    """See the module's docstring."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._refs: dict[int, set[int]] = {}

    @contextmanager
    def waiting(self, packet: int, ref: int) -> Iterator[None]:
        """While the block runs, ``ref`` is a claim of ``packet``."""
        refs = self._refs.setdefault(packet, set())
        refs.add(ref)
        try:
            yield
        finally:
            refs.discard(ref)
            if not refs and self._refs.get(packet) is refs:
                del self._refs[packet]

    def won(self, share: Share) -> None:
        """This user has a share."""
        for ref in self._refs.get(share.packet, ()):
            self._requests.answer(ref, PaidAnswer(ref, Paid(share.entry, share.offset, share.amount)))

    def settle(self, state: Container[tuple[str, str]]) -> None:
        """The room's state is another one, perhaps."""
        for packet, refs in self._refs.items():
            if (PACKET, str(packet)) not in state:
                for ref in refs:
                    self._requests.answer(ref, over())


def over() -> Refused:
    """What a claim of a packet ends with that is not there, or not any more."""
    return Refused(Code.PACKET_OVER, "the red packet is over")
