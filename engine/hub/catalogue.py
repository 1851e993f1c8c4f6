"""What can be given: the gifts of the config file, and those that the product offers while the node runs.

Owns the gifts as they are now at this node. Those of the product are kept by the ledger, so that all nodes have them; another
node's change comes here within seconds. Of one id the product's counts.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from engine.errors import Code, Refused
from engine.ledger.lane import Lane
from engine.ledger.values import Gift
from engine.settings import GiftSettings

__all__ = ["Catalogue"]

_LOOK_SECONDS: Final = 5.0
"""Time between looks at what other nodes have changed."""

log = logging.getLogger("roomcast.hub")


class Catalogue:
    """See the module's docstring."""

    def __init__(self, gifts: dict[str, GiftSettings], lane: Lane) -> None:
        self._lane = lane
        self._offered: dict[str, Gift] = {}
        self.adopt(gifts)

    def adopt(self, gifts: dict[str, GiftSettings]) -> None:
        """Let these be the gifts of the config file."""
        self._configured = {
            name: Gift(name, each.name, each.price, each.effect, int(each.combo_seconds * 1000)) for name, each in gifts.items()
        }
        self._gifts = self._configured | self._offered

    def get(self, gift: str) -> Gift:
        """A gift. Raises `Refused`."""
        found = self._gifts.get(gift)
        if found is None:
            raise Refused(Code.NOT_FOUND, "there is no such gift")
        return found

    def all(self) -> list[Gift]:
        """All of them, cheapest first."""
        return sorted(self._gifts.values(), key=lambda gift: (gift.price, gift.id))

    async def offer(self, gift: Gift) -> None:
        """Add a gift, or replace it; what is booked from now on is of the new price. Raises `Refused`."""
        await self._lane.write(lambda store: store.offer(gift))
        self._offered[gift.id] = self._gifts[gift.id] = gift

    async def withdraw(self, gift_id: str) -> None:
        """Let a gift that was offered not be given any more. Raises `Refused`."""
        if not await self._lane.write(lambda store: store.withdraw(gift_id)):
            raise Refused(Code.NOT_FOUND, "no gift was offered under this id; those of the config file stay")
        await self._look()

    async def run(self) -> None:
        """Follow what other nodes offer, until cancelled."""
        while True:
            if self._lane.opened:
                try:
                    await self._look()
                except Refused as refused:
                    log.warning("catalogue_unknown", extra={"error": str(refused)})
            await trio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        offered = await self._lane.read(lambda store: store.gifts())
        self._offered = {gift.id: gift for gift in offered}
        self._gifts = self._configured | self._offered
