"""What a room is beyond what is said: attributes, cards, polls, questions, pins.

Owns these calls. What each kind of entry holds is for `engine.hub.kinds` to say.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from engine.api.context import Engine, RetryKey, RoomName, authorized, room_of
from engine.api.events import state_value
from engine.api.models.common import Expect
from engine.api.models.state import AttributeBody, CardBody, EntryAnswer, EntryBody, PollBody, StateAnswer
from engine.api.paths import OffsetId, Once, StateKey, StateKind
from engine.api.routes.rooms import location_of
from engine.backend import Room, StateEntry
from engine.errors import Code, Refused

__all__ = ["router"]

router = APIRouter(prefix="/v1/rooms/{room}", tags=["state"])

_READ: Any = [authorized("rooms:read")]
_WRITE: Any = [authorized("rooms:write")]
_CREATED: Any = {201: {"model": EntryAnswer, "description": "Created."}}
_Expect = Annotated[Expect, Query()]


@router.get("/state", dependencies=_READ)
async def read_state(request: Request, engine: Engine, room: RoomName) -> StateAnswer:
    """All entries of the room's state."""
    entries = await room_of(request, engine, room).entries()
    return StateAnswer(entries=[_told(entry) for entry in entries])


@router.put("/state/{kind}/{key}", dependencies=_WRITE, responses=_CREATED)
async def put_entry(
    request: Request,
    response: Response,
    engine: Engine,
    room: RoomName,
    kind: StateKind,
    key: StateKey,
    body: EntryBody,
    retry: Once,
) -> EntryAnswer:
    """Change an entry of any kind that has keys, or make one. Fields that are left out stay as they are."""
    here = room_of(request, engine, room)
    return await _set(here, response, kind, key, body.value, body.expect, retry, location_of(room, "state", kind, key))


@router.delete("/state/{kind}/{key}", dependencies=_WRITE, status_code=204)
async def delete_entry(
    request: Request, engine: Engine, room: RoomName, kind: StateKind, key: StateKey, retry: Once, expect: _Expect = -1
) -> None:
    """Delete an entry."""
    await _delete(room_of(request, engine, room), kind, key, retry, expect)


# -- attributes -------------------------------------------------------------------------------------------------------


@router.put("/attributes/{key}", dependencies=_WRITE, responses=_CREATED)
async def put_attribute(
    request: Request, response: Response, engine: Engine, room: RoomName, key: StateKey, body: AttributeBody, retry: Once
) -> EntryAnswer:
    """Set a fact of the product's own."""
    here, place = room_of(request, engine, room), location_of(room, "attributes", key)
    return await _set(here, response, "attribute", key, {"value": body.value}, body.expect, retry, place)


@router.delete("/attributes/{key}", dependencies=_WRITE, status_code=204)
async def delete_attribute(
    request: Request, engine: Engine, room: RoomName, key: StateKey, retry: Once, expect: _Expect = -1
) -> None:
    """Delete an attribute."""
    await _delete(room_of(request, engine, room), "attribute", key, retry, expect)


# -- cards ------------------------------------------------------------------------------------------------------------


@router.put("/cards/{key}", dependencies=_WRITE, responses=_CREATED)
async def put_card(
    request: Request, response: Response, engine: Engine, room: RoomName, key: StateKey, body: CardBody, retry: Once
) -> EntryAnswer:
    """Show a product, or change what is shown of it. Of the card that is `now`, there is at most one: the one before is not any
    more."""
    here, place = room_of(request, engine, room), location_of(room, "cards", key)
    value = body.model_dump(exclude_none=True, exclude={"expect"})
    return await _set(here, response, "card", key, value, body.expect, retry, place)


@router.delete("/cards/{key}", dependencies=_WRITE, status_code=204)
async def delete_card(
    request: Request, engine: Engine, room: RoomName, key: StateKey, retry: Once, expect: _Expect = -1
) -> None:
    """Take a card away."""
    await _delete(room_of(request, engine, room), "card", key, retry, expect)


# -- polls ------------------------------------------------------------------------------------------------------------


@router.put("/polls/{key}", dependencies=_WRITE, responses=_CREATED)
async def put_poll(
    request: Request, response: Response, engine: Engine, room: RoomName, key: StateKey, body: PollBody, retry: Once
) -> EntryAnswer:
    """Let viewers choose. Its votes are among the room's totals, under `poll:` and the key."""
    here, place = room_of(request, engine, room), location_of(room, "polls", key)
    value = {"question": body.question, "options": body.options, "closes_ms": int(body.closes_seconds * 1000)}
    return await _set(here, response, "poll", key, value, body.expect, retry, place)


@router.post("/polls/{key}/close", dependencies=_WRITE)
async def close_poll(request: Request, engine: Engine, room: RoomName, key: StateKey, retry: Once) -> EntryAnswer:
    """Take no more votes; a poll that is closed stays so."""
    here = room_of(request, engine, room)
    if await here.entry("poll", key) is None:
        raise Refused(Code.NOT_FOUND, "there is no such poll")
    entry = await here.set("poll", key, {"open": False}, session=retry.session, ref=1)
    return _told(_there(entry))


@router.delete("/polls/{key}", dependencies=_WRITE, status_code=204)
async def delete_poll(
    request: Request, engine: Engine, room: RoomName, key: StateKey, retry: Once, expect: _Expect = -1
) -> None:
    """Delete a poll and its votes."""
    await _delete(room_of(request, engine, room), "poll", key, retry, expect)


# -- pins -------------------------------------------------------------------------------------------------------------


@router.put("/pins/{offset}", dependencies=_WRITE, responses=_CREATED)
async def put_pin(
    request: Request, response: Response, engine: Engine, room: RoomName, offset: OffsetId, retry: Once
) -> EntryAnswer:
    """Keep a comment or notice in sight."""
    here, place = room_of(request, engine, room), location_of(room, "pins", offset)
    return await _set(here, response, "pin", str(offset), {"offset": offset}, -1, retry, place)


@router.delete("/pins/{offset}", dependencies=_WRITE, status_code=204)
async def delete_pin(request: Request, engine: Engine, room: RoomName, offset: OffsetId, retry: Once) -> None:
    """Keep it in sight no longer."""
    await _delete(room_of(request, engine, room), "pin", str(offset), retry, -1)


# -- what they share ----------------------------------------------------------------------------------------------------


async def _set(
    room: Room,
    response: Response,
    kind: str,
    key: str,
    value: dict[str, Any],
    expect: int,
    retry: RetryKey,
    location: str,
) -> EntryAnswer:
    entry = _there(await room.set(kind, key, value, expect=expect, session=retry.session, ref=1))
    if entry.version == entry.born:
        response.status_code = 201
        response.headers["Location"] = location
    return _told(entry)


async def _delete(room: Room, kind: str, key: str, retry: RetryKey, expect: int) -> None:
    await room.set(kind, key, None, expect=expect, session=retry.session, ref=1)


def _there(entry: StateEntry | None) -> StateEntry:
    if entry is None:
        raise Refused(Code.NOT_FOUND, "it was changed, and somebody else has deleted it since")
    return entry


def _told(entry: StateEntry) -> EntryAnswer:
    return EntryAnswer(kind=entry.kind, key=entry.key, value=state_value(entry.kind, entry.value), version=entry.version)
