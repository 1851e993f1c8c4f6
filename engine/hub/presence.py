"""Notable viewers: that they come and go is an event, told once however many connections, edges and nodes they are at.

Owns, for each of them, the field of the room's record that says at which edges it is. Must not know links, nor who counts as
notable: edges know. Of everybody else only counts are told, by the totals.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

import msgspec
import trio

from engine.brokers.base import Broker, Conflict, RecordFull, Unavailable
from engine.hub.actor import Actor
from engine.hub.room import HubRoom
from engine.schema import PresenceEvent

__all__ = ["Attendance", "field_of"]

_ATTEMPTS: Final = 20
_RETRY_SECONDS: Final = 1.0
"""Pause before a broker that was out of reach is asked again."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[str]).decode

log = logging.getLogger("roomcast.hub")


def field_of(user: str) -> str:
    """Field of the record that says where a notable viewer is."""
    return f"n:{user}"


class Attendance:
    """See the module's docstring."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._turns: WeakValueDictionary[tuple[str, str, str], trio.Lock] = WeakValueDictionary()

    async def note(self, room: HubRoom, actor: Actor, edge: str, present: Callable[[], bool | None]) -> None:
        """Whether a notable viewer is at an edge may have changed.

        :param present: whether it is there now; None: nobody knows, so what is written down stays.
        """
        # What is under way for the same viewer is not in the record yet: whoever looked meanwhile would see nothing to change.
        turn = self._turns.setdefault((room.name, edge, actor.user), trio.Lock())
        async with turn:
            for _ in range(_ATTEMPTS):
                if await self._settle(room, actor, edge, present()):
                    return

    async def _settle(self, room: HubRoom, actor: Actor, edge: str, present: bool | None) -> bool:
        """Write down, if need be, whether a viewer is at an edge; return whether nothing is left to be done."""
        field = field_of(actor.user)
        holders = _decode(room.rules.record.fields[field]) if field in room.rules.record.fields else []
        if present is None or present == (edge in holders):
            return True
        others = [each for each in holders if each != edge]
        now = [*others, edge] if present else others
        event = PresenceEvent(actor.shown, present) if not holders or not now else None
        try:
            revision = await self._broker.amend(
                room.name,
                field,
                _encode(now) if now else None,
                0,
                room.rules.record.revision,
                # No key: the revision sees to it that this happens once.
                Actor(actor.author, actor.standing).pending(event) if event is not None else None,
            )
        except Conflict as conflict:
            revision = conflict.revision
        except RecordFull as error:
            log.warning("presence_not_told", extra={"room": room.name, "error": str(error)})
            return True
        except Unavailable:
            await trio.sleep(_RETRY_SECONDS)
            return False
        with trio.move_on_after(_RETRY_SECONDS):
            await room.rules.reached(revision)
        return False
