"""A room's money, as a ledger that keeps every rule would book it: what tests alter.

Owns the events. Asserts nothing.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from bench.wares import GIFT_REF, Offer, Wares
from engine.ledger.split import shares

__all__ = ["PRICES", "SEED", "TillRoll"]

PRICES = {"heart": 1, "rose": 10, "plane": 30_000}
SEED = bytes(range(32))
COMBO_MS = 1_000


class TillRoll:
    """Events by entry; every gift continues its giver's combo of that gift and receiver.

    :ivar events: as they are on the wire.
    """

    def __init__(self, senders: int = 3) -> None:
        self.wares = Wares(7, PRICES, range(senders))
        self.events: dict[int, list[Any]] = {}
        self._given: dict[str, int] = {}
        self._combos: dict[tuple[str, str, str], list[int]] = {}

    def _book(self, kind: int, user: str, *content: Any) -> int:
        entry = len(self.events) + 1
        self.events[entry] = [kind, [user, "", {}], entry, *content]
        return entry

    def give(self, number: int) -> Offer:
        """The gift with this number."""
        offer = self.wares.offer(number)
        user = f"u{offer.sender}"
        given = self._given[user] = self._given.get(user, 0) + offer.amount
        entry = len(self.events) + 1
        combo = self._combos.setdefault((user, offer.gift, offer.to), [entry, 0, 0, 0])
        combo[1:] = combo[1] + 1, combo[2] + offer.pieces, combo[3] + offer.amount
        what = offer.gift, offer.pieces, offer.amount, offer.to
        self._book(8, user, GIFT_REF + number, *what, combo[0], combo[2], COMBO_MS, given, "")
        return offer

    def finish(self) -> None:
        """All combos are over."""
        for (user, gift, to), (first, gifts, count, amount) in self._combos.items():
            if gifts > 1:
                self._book(9, user, first, gift, to, count, amount)
        self._combos.clear()

    def packet(self, total: int, count: int, claimed: int, ref: int = 1) -> int:
        """A red packet of which the first shares are claimed; then it is over."""
        commitment = sha256(SEED).hexdigest()
        entry = self._book(11, "u0", ref, total, count, "random", 5, 9, False, "", "", commitment)
        drawn = shares(SEED, total, count, "random")[:claimed]
        for number, amount in enumerate(drawn, 1):
            self._book(12, f"u{number}", entry, number, amount)
        reason = "emptied" if claimed == count else "expired"
        self._book(13, "u0", entry, reason, claimed, total - sum(drawn), SEED.hex())
        return entry
