"""What the moderators of a room see: who may not speak or enter, what waits for a decision, what was done and why.

Owns the names of these calls; the acts themselves are those of `engine.backend.room.Room`. Must not know in which loop it is
called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from engine.backend.room import Room
from engine.backend.values import Held, Past, Sanctioned
from engine.hub.backfill import PAGE
from engine.hub.undecided import decided
from engine.schema import EVERYWHERE, EventKind, backstage_of

if TYPE_CHECKING:
    from engine.backend.carry import Carry
    from engine.hub import Hub

__all__ = ["Backstage"]


class Backstage:
    """See the module's docstring; made by `engine.backend.Backend.backstage`. Methods raise `engine.brokers.base.Unavailable`
    while the broker is out of reach."""

    def __init__(self, hub: Hub, name: str, carry: Carry) -> None:
        self._hub = hub
        self._carry = carry
        self._name = name

    async def page(self, after: int = 0, limit: int = 100) -> Past:
        """What is kept of what happened backstage: held comments, what moderators did and why. See `Room.page`."""
        return await Room(self._hub, backstage_of(self._name), carry=self._carry).page(after, limit)

    async def held(self, after: int = 0, limit: int = 100) -> list[Held]:
        """The first comments above an offset backstage on which nobody has decided, as far as they are kept."""
        return await self._carry(self._held, after, limit)

    async def _held(self, after: int, limit: int) -> list[Held]:
        name = backstage_of(self._name)
        behind = Room(self._hub, name)
        waiting: dict[int, Held] = {}
        async with self._hub.opened(name):
            page = await behind.page(after, PAGE)
            last = page.head
            while page.events and page.events[0].offset <= last:
                for past in page.events:
                    event = past.event
                    if event[0] == EventKind.HELD:
                        waiting[past.offset] = Held(past.offset, past.time, event[4], event[5] if len(event) > 5 else "")
                    for offset in decided(event):
                        waiting.pop(offset, None)
                await trio.lowlevel.checkpoint()
                page = await behind.page(page.events[-1].offset, PAGE)
        return list(waiting.values())[:limit]

    async def sanctions(self) -> list[Sanctioned]:
        """All that hold in the room now, those that hold everywhere included."""
        return await self._carry(self._sanctions)

    async def _sanctions(self) -> list[Sanctioned]:
        found = []
        async with self._hub.opened(self._name) as room, self._hub.opened(EVERYWHERE) as all_rooms:
            for each in (room, all_rooms):
                for kind, subject, held in each.rules.sanctions.listed(room.time()):
                    if kind != "locate":
                        found.append(Sanctioned(kind, subject, held.until, held.actor, held.reason, each is all_rooms))
        return sorted(found, key=lambda each: (each.everywhere, each.kind, each.subject))
