"""Rooms: list, look in, create, open, close, and say how people may speak there.

Owns these calls. Must not know how a room works.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from engine.api.context import Engine, RoomName, authorized, room_of
from engine.api.models.rooms import ModeAnswer, ModeBody, RoomAnswer, RoomBody, RoomLineAnswer, RoomsAnswer, ViewersAnswer
from engine.api.paths import Limit, Once, caller_of
from engine.backend import Backend, Room
from engine.errors import Code, Refused

__all__ = ["location_of", "router"]

router = APIRouter(prefix="/v1/rooms", tags=["rooms"])

_READ: Any = [authorized("rooms:read")]
_WRITE: Any = [authorized("rooms:write")]


def location_of(*names: str | int) -> str:
    """The path of something in a room, or of a room."""
    return "/v1/rooms/" + "/".join(quote(str(name), safe="") for name in names)


@router.get("", dependencies=_READ)
async def list_rooms(
    request: Request,
    engine: Engine,
    after: Annotated[
        str, Query(max_length=128, description="The `next` of the page before; empty: from the first.", examples=["大厅"])
    ] = "",
    limit: Limit = 100,
) -> RoomsAnswer:
    """Rooms that have viewers at this node, by name; only those that the key or token is for."""
    covers = caller_of(request).covers
    found = [line for line in engine.rooms() if line.room > after and covers(line.room)]
    rooms = [
        RoomLineAnswer(room=line.room, epoch=line.epoch, offset=line.offset, likes=line.likes, viewers=line.viewers)
        for line in found[:limit]
    ]
    return RoomsAnswer(rooms=rooms, next=rooms[-1].room if len(found) > limit else None)


@router.get("/{room}", dependencies=_READ)
async def read_room(request: Request, engine: Engine, room: RoomName) -> RoomAnswer:
    """A room as it stands, whether it has viewers or not. Any name is that of a room, unless `room.created_only` says that only
    those are there that somebody has created."""
    return await _told(engine, room_of(request, engine, room))


async def _told(engine: Backend, room: Room) -> RoomAnswer:
    statistics = await room.statistics()
    state = await room.state()
    life, mode = state.get(("life", "")), state.get(("mode", ""), {})
    if life is None and engine.settings.room.created_only:
        raise Refused(Code.NOT_FOUND, "there is no such room (room.created_only)")
    life = life or {}
    return RoomAnswer(
        room=statistics.room,
        epoch=statistics.epoch,
        offset=statistics.offset,
        likes=statistics.likes,
        viewers=statistics.viewers,
        totals=statistics.totals,
        refused=statistics.refused,
        life=life.get("state", "open"),
        mode=mode.get("mode", "open"),
        slow=mode.get("slow", {}),
        title=life.get("title", ""),
        stream=life.get("stream", ""),
    )


@router.put("/{room}", dependencies=_WRITE, responses={201: {"model": RoomAnswer, "description": "Created."}})
async def put_room(
    request: Request, response: Response, engine: Engine, room: RoomName, body: RoomBody, retry: Once
) -> RoomAnswer:
    """Create a room, or open one that was closed; title and stream that are left out stay as they are."""
    here = room_of(request, engine, room)
    given = {"state": "open", **body.model_dump(exclude_none=True)}
    entry = await here.set("life", "", given, session=retry.session, ref=1)
    if entry is not None and entry.version == entry.born:
        response.status_code = 201
        response.headers["Location"] = location_of(room)
    return await _told(engine, here)


@router.delete("/{room}", dependencies=_WRITE, status_code=204)
async def close_room(
    request: Request,
    engine: Engine,
    room: RoomName,
    retry: Once,
    archive: Annotated[
        bool,
        Query(description="Nobody may enter any more. Otherwise people may stay, and only hosts and moderators speak."),
    ] = False,
) -> None:
    """Close a room, or archive it. Its history stays as long as that of others; PUT opens it again."""
    state = "archived" if archive else "closed"
    await room_of(request, engine, room).set("life", "", {"state": state}, session=retry.session, ref=1)


@router.put("/{room}/mode", dependencies=_WRITE)
async def put_mode(request: Request, engine: Engine, room: RoomName, body: ModeBody, retry: Once) -> ModeAnswer:
    """Say how people may speak. No mode applies to what this API says."""
    entry = await room_of(request, engine, room).set(
        "mode", "", body.model_dump(exclude_none=True), session=retry.session, ref=1
    )
    return ModeAnswer.model_validate(entry.value if entry is not None else {"mode": "open", "slow": {}})


@router.get("/{room}/viewers", dependencies=_READ)
async def read_viewers(request: Request, engine: Engine, room: RoomName) -> ViewersAnswer:
    """How many watch, at all nodes."""
    statistics = await room_of(request, engine, room).statistics()
    totals = statistics.totals
    return ViewersAnswer(now=statistics.viewers, peak=totals.get("peak", 0), unique=totals.get("unique", 0))
