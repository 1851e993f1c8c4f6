"""An edge that comes back over a new link: what its viewers are missing, before they go on with everybody else.

Owns the way from the broker's history to that edge. Must not know why the link had ended, nor what a viewer is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from engine.brokers.base import Broker, Unavailable
from engine.errors import Code
from engine.hub.backfill import PAGE
from engine.hub.port import Port
from engine.hub.room import HubRoom, Phase
from engine.hub.upstream import Upstream
from engine.link.messages import RefuseRoom

__all__ = ["bring_up"]

_RETRY_SECONDS: Final = 1.0
"""Pause before a broker that was out of reach is asked again."""

_PAGES: Final = 20
"""Of another epoch, at most: more than what is published again when a history was lost."""
_GOING: Final = (Phase.LIVE, Phase.REPAIRING)

log = logging.getLogger("roomcast.hub")


async def bring_up(broker: Broker, upstream: Upstream, room: HubRoom, port: Port, turn_over: Callable[[], None]) -> None:
    """Read the history until the edge has what the others of the room have. If the room is in another epoch by now, it is told
    so, and given the new epoch from where the room began in it, or its last pages. Ends early when the edge or room is gone,
    or the room restarts."""
    while room.phase in _GOING and not room.welcome(port):
        known, position = room.behind[port], room.position
        if known.epoch == position.epoch and known.offset > position.offset:
            log.error("broker_behind", extra={"room": room.name, "position": position, "edge": known})
            # The edge closes it, which takes it out of the room here, and its viewers come back to where the broker is.
            port.post(RefuseRoom(room.name, port.openings[room.name], Code.UNAVAILABLE, "the room's history is not complete"))
            break
        after = known.offset if known.epoch == position.epoch else _beginning(room)
        try:
            history = await broker.history(room.name, after, PAGE)
        except Unavailable as error:
            log.warning("broker_unavailable", extra={"room": room.name, "error": str(error)})
            await trio.sleep(_RETRY_SECONDS)
            continue
        if history.head.epoch != position.epoch:
            upstream.lost(room)
        elif room.phase in _GOING and room.behind.get(port) == known and room.position.epoch == position.epoch:
            if known.epoch != position.epoch:
                room.begin_anew(port, history.events)
            else:
                room.catch_up(port, history.events)
        turn_over()
        await trio.lowlevel.checkpoint()
    turn_over()


def _beginning(room: HubRoom) -> int:
    """After which offset the room's present epoch is given to who was in another one."""
    head = room.position.offset
    return max(min(room.origin, head - PAGE), head - _PAGES * PAGE, 0)
