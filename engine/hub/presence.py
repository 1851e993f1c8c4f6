"""Notable viewers: that they come and go is an event, told once however many connections, edges and nodes they are at.

Owns, for each of them, the field of the room's record that says at which edges it is. Must not know links, nor who counts as
notable: edges know. Of everybody else only counts are told, by the totals.
"""

from __future__ import annotations

import logging
from typing import Final

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

    async def note(self, room: HubRoom, actor: Actor, edge: str, present: bool) -> None:
        """A notable viewer is at an edge, or is not any more."""
        field = field_of(actor.user)
        for _ in range(_ATTEMPTS):
            holders = _decode(room.rules.record.fields[field]) if field in room.rules.record.fields else []
            others = [each for each in holders if each != edge]
            if present == (edge in holders):
                return
            now = [*others, edge] if present else others
            event = PresenceEvent(actor.shown, present) if not holders or not now else None
            try:
                await self._broker.amend(
                    room.name,
                    field,
                    _encode(now) if now else None,
                    0,
                    room.rules.record.revision,
                    # No key: the revision sees to it that this happens once.
                    Actor(actor.author, actor.standing).pending(event) if event is not None else None,
                )
            except Conflict as conflict:
                with trio.move_on_after(_RETRY_SECONDS):
                    await room.rules.reached(conflict.revision)
            except RecordFull as error:
                log.warning("presence_not_told", extra={"room": room.name, "error": str(error)})
                return
            except Unavailable:
                await trio.sleep(_RETRY_SECONDS)
            else:
                return
