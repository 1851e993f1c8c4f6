"""A viewer that counts the money it receives, frame by frame.

Owns a viewer's own sums: they must be those of the ledger, at each. Viewers of loads without money do none of this.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

from bench.generator.account import Coins
from bench.generator.receiver import Viewer
from bench.generator.swarm import Swarm
from bench.generator.verify import SLOT_SHIFT, Frame

__all__ = ["Payee"]


class Payee(Viewer):
    """See the module's docstring.

    :ivar coins: all that it has received.
    """

    __slots__ = ("coins",)

    def __init__(self, swarm: Swarm, index: int, room: int) -> None:
        super().__init__(swarm, index, room)
        self.coins = Coins()

    def data_received(self, data: bytes) -> None:
        """As every viewer's, and what is in the frame."""
        self.received += len(data)
        frame = self.frames.get(self.cursor + 1)
        if frame is not None and data == frame.raw and not self.tail:
            self.cursor = frame.last
            slot = monotonic_ns() >> SLOT_SHIFT
            times = frame.times
            times[slot] = times.get(slot, 0) + 1
            if frame.coins is not None:
                self._take(frame.coins)
            return
        self._read(data)

    def _accept(self, frame: Frame) -> None:
        super()._accept(frame)
        if frame.coins is not None:
            self._take(frame.coins)

    def _take(self, coins: Coins) -> None:
        self.coins.add(coins)
        if coins.ended and self.log is not None and self.log.account is not None and not self.log.account.ended_ns:
            self.log.account.ended_ns = monotonic_ns()

    def _joined(self, message: list[Any]) -> None:
        super()._joined(message)
        self.swarm.users[self.index] = message[4]
