"""What was said and done in a room.

Owns this call. What an event looks like is for `engine.api.events` to say.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from engine.api.context import Engine, RoomName, authorized, room_of
from engine.api.events import as_object
from engine.api.models.history import HistoryAnswer
from engine.api.paths import After, Limit
from engine.backend import Past

__all__ = ["history_answer", "router"]

router = APIRouter(prefix="/v1/rooms/{room}", tags=["history"])

_READ: Any = [authorized("rooms:read")]
_encode = msgspec.json.Encoder().encode


@router.get("/history", dependencies=_READ, response_model=HistoryAnswer)
async def read_history(request: Request, engine: Engine, room: RoomName, after: After = 0, limit: Limit = 100) -> Response:
    """What is kept of the room, oldest first. Offsets that are left out are not kept; what was deleted is `omitted`."""
    return history_answer(await room_of(request, engine, room).page(after, limit))


def history_answer(past: Past) -> Response:
    """A `HistoryAnswer`: written without validating it again, because events may hold anything that MessagePack can."""
    last = past.events[-1].offset if past.events else past.head
    told = {
        "epoch": past.epoch,
        "head": past.head,
        "events": [{"offset": each.offset, "time": each.time, "event": as_object(each.event)} for each in past.events],
        "next": last if last < past.head else None,
    }
    return Response(_encode(told), media_type="application/json")
