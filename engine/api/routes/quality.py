"""How a room reaches its viewers.

Owns this call. What is measured, and when a certificate begins and ends, is for `engine.hub.quality` to say.
"""

from __future__ import annotations

from fastapi import APIRouter

from engine.api.context import Engine, RoomName, authorized
from engine.api.models.quality import QualityAnswer
from engine.errors import Code, Refused

__all__ = ["router"]

router = APIRouter(prefix="/v1/rooms", tags=["rooms"])


@router.get("/{room}/quality", dependencies=[authorized("rooms:read")])
async def read_quality(engine: Engine, room: RoomName) -> QualityAnswer:
    """The delivery certificate of a room that has viewers at this node: what was sent to all of them, and what came to those
    who report (SDKs do, for a sample of the viewers), with delays, reconnects and networks."""
    found = engine.quality(room)
    if found is None:
        raise Refused(Code.NOT_FOUND, "the room has no viewers at this node, or no stream that is on")
    return QualityAnswer.model_validate(found)
