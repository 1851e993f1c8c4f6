"""What is given in a run, gift by gift, and under which numbers requests about money go.

Owns the choice: a function of the seed, so that every process works it out for itself and a receiver can tell whether a gift is
as it was given. Pure.

A giver's gifts come in runs of the same gift to the same receiver, some of them long: these become combos.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple
from zlib import crc32

__all__ = ["CLAIM_REF", "GIFT_REF", "PACK_REF", "RECEIVERS", "Offer", "Wares"]

GIFT_REF, CLAIM_REF, PACK_REF = 1 << 49, 1 << 50, 1 << 51
"""Refs count from here: of gifts through all givers, of claims through all viewers. Comments have lower ones."""
RECEIVERS: Final = ("", "主播小雅", "嘉宾阿杰", "歌手林夏🎤", "舞者·云朵", "guest-on-stage")
"""Ids of who is given to; empty: the host."""
RUNS: Final = (1, 3, 1, 6, 2, 1, 10)
"""Lengths of a giver's runs; then they begin anew."""
COUNTS: Final = (1, 1, 1, 2, 1, 1, 10, 1, 1, 1, 66, 1, 520)
"""How many are given at once."""


class Offer(NamedTuple):
    """One gift: who gives it, and what.

    :ivar sender: number of a viewer.
    """

    sender: int
    gift: str
    pieces: int
    to: str
    amount: int


class Wares:
    """See the module's docstring.

    :param prices: of each gift of the catalogue, by its id.
    :param senders: who give, in the order in which they take turns.
    """

    def __init__(self, seed: int, prices: Mapping[str, int], senders: Sequence[int]) -> None:
        self._seed = seed
        self._prices = sorted(prices.items())
        self._senders = senders
        self._ends = list(accumulate(RUNS))

    def offer(self, number: int) -> Offer:
        """The gift with this number, from 0."""
        turn, place = divmod(number, len(self._senders))
        sender = self._senders[place]
        cycle, rest = divmod(turn, self._ends[-1])
        chance = crc32(b"%d %d %d" % (self._seed, sender, cycle * len(RUNS) + bisect_right(self._ends, rest)))
        gift, price = self._prices[chance % len(self._prices)]
        pieces = COUNTS[(chance + turn) % len(COUNTS)]
        return Offer(sender, gift, pieces, RECEIVERS[(chance >> 8) % len(RECEIVERS)], price * pieces)
