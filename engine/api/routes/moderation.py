"""What moderators do: mutes, bans, kicks, deletions, decisions on what is held. And what of it is written down.

Owns these calls. What they do, at all nodes within a tick, is for `engine.hub.moderation`. Doing twice what sanctions a user is
as doing it once.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from engine.api.context import Engine, RoomName, authorized, room_of
from engine.api.events import as_object
from engine.api.models.common import Position, Reason
from engine.api.models.history import HistoryAnswer
from engine.api.models.moderation import (
    BanBody,
    HeldAnswer,
    HeldPage,
    KickBody,
    SanctionAnswer,
    SanctionBody,
    SanctionsAnswer,
)
from engine.api.paths import After, Everywhere, HeldOffset, Limit, OffsetId, Once, UserPath, caller_of
from engine.api.routes.history import history_answer
from engine.errors import Code, Refused

__all__ = ["router"]

router = APIRouter(prefix="/v1/rooms/{room}", tags=["moderation"])

_MODERATE: Any = [authorized("moderate")]
_KINDS: Final[dict[str, Any]] = {"mute": "mute", "shadow": "shadow-mute", "ban": "ban", "address": "address-ban"}
_Why = Annotated[Reason, Query()]
_Address = Annotated[bool, Query(description="What was banned is an address: `user` is it.")]


def _check_everywhere(request: Request, *, everywhere: bool) -> None:
    if everywhere and not caller_of(request).everywhere:
        raise Refused(Code.FORBIDDEN, "everywhere: this key or token is for some rooms only")


# -- users ------------------------------------------------------------------------------------------------------------


@router.get("/sanctions", dependencies=_MODERATE)
async def list_sanctions(request: Request, engine: Engine, room: RoomName) -> SanctionsAnswer:
    """Who may not speak in the room or enter it. A key or token that is for all rooms is told also what holds in all rooms."""
    shown = caller_of(request).everywhere
    return SanctionsAnswer(
        sanctions=[
            SanctionAnswer(
                kind=_KINDS[each.kind],
                subject=each.subject,
                until=each.until,
                actor=each.actor,
                reason=each.reason,
                everywhere=each.everywhere,
            )
            for each in await engine.backstage(room).sanctions()
            if shown or not each.everywhere
        ]
    )


async def _sanction(
    request: Request, engine: Engine, room: str, action: str, user: str, body: SanctionBody, session: str
) -> None:
    _check_everywhere(request, everywhere=body.everywhere)
    await room_of(request, engine, room).moderate(
        action, user, seconds=body.seconds, reason=body.reason, everywhere=body.everywhere, session=session, ref=1
    )


async def _lift(request: Request, engine: Engine, room: str, action: str, user: str, everywhere: bool, session: str) -> None:
    _check_everywhere(request, everywhere=everywhere)
    await room_of(request, engine, room).moderate(action, user, everywhere=everywhere, session=session, ref=1)


@router.put("/mutes/{user}", dependencies=_MODERATE, status_code=204)
async def mute_user(request: Request, engine: Engine, room: RoomName, user: UserPath, body: SanctionBody, retry: Once) -> None:
    """Let a user not speak; it is told."""
    await _sanction(request, engine, room, "mute", user, body, retry.session)


@router.delete("/mutes/{user}", dependencies=_MODERATE, status_code=204)
async def unmute_user(
    request: Request, engine: Engine, room: RoomName, user: UserPath, retry: Once, everywhere: Everywhere = False
) -> None:
    """Let a user speak again."""
    await _lift(request, engine, room, "unmute", user, everywhere, retry.session)


@router.put("/shadow-mutes/{user}", dependencies=_MODERATE, status_code=204)
async def shadow_mute_user(
    request: Request, engine: Engine, room: RoomName, user: UserPath, body: SanctionBody, retry: Once
) -> None:
    """Let nobody else see what a user says; it is not told."""
    await _sanction(request, engine, room, "shadow", user, body, retry.session)


@router.delete("/shadow-mutes/{user}", dependencies=_MODERATE, status_code=204)
async def unshadow_user(
    request: Request, engine: Engine, room: RoomName, user: UserPath, retry: Once, everywhere: Everywhere = False
) -> None:
    """Let others see again what a user says from now on."""
    await _lift(request, engine, room, "unshadow", user, everywhere, retry.session)


@router.put("/bans/{user}", dependencies=_MODERATE, status_code=204)
async def ban_user(request: Request, engine: Engine, room: RoomName, user: UserPath, body: BanBody, retry: Once) -> None:
    """Send a user away, and let it not come back. With `address`, `user` may also be an address: IPv4, or IPv6 up to a /64."""
    await _sanction(request, engine, room, "ban_address" if body.address else "ban", user, body, retry.session)


@router.delete("/bans/{user}", dependencies=_MODERATE, status_code=204)
async def unban_user(
    request: Request,
    engine: Engine,
    room: RoomName,
    user: UserPath,
    retry: Once,
    everywhere: Everywhere = False,
    address: _Address = False,
) -> None:
    """Let a user come back. Its address is another ban, if that was banned, too."""
    await _lift(request, engine, room, "unban_address" if address else "unban", user, everywhere, retry.session)


@router.post("/kicks", dependencies=_MODERATE)
async def kick_user(request: Request, engine: Engine, room: RoomName, body: KickBody, retry: Once) -> Position:
    """Send a user away; it may come back. Answered with the offset of the event that tells of it."""
    here = room_of(request, engine, room)
    return Position(offset=await here.moderate("kick", body.user, reason=body.reason, session=retry.session, ref=1))


# -- what was said ----------------------------------------------------------------------------------------------------


@router.delete("/comments/{offset}", dependencies=_MODERATE)
async def delete_comment(
    request: Request, engine: Engine, room: RoomName, offset: OffsetId, retry: Once, reason: _Why = ""
) -> Position:
    """Delete a comment, custom event or notice, on screens and in the history. Answered with the offset of the event that tells
    of it."""
    here = room_of(request, engine, room)
    return Position(offset=await here.moderate("delete", offset=offset, reason=reason, session=retry.session, ref=1))


@router.delete("/comments", dependencies=_MODERATE)
async def delete_comments(
    request: Request,
    engine: Engine,
    room: RoomName,
    retry: Once,
    user: Annotated[str, Query(max_length=64, description="Of this user.", examples=["anna"])] = "",
    everybody: Annotated[bool, Query(description="Of everybody: the room is cleared.")] = False,
    reason: _Why = "",
) -> Position:
    """Delete all comments and custom events that are kept, of a user or of everybody. Answered with the offset of the last
    event that tells of it."""
    if bool(user) is everybody:
        raise Refused(Code.INVALID, "either user or everybody says whose comments go")
    here = room_of(request, engine, room)
    action = "clear" if everybody else "delete_user"
    return Position(offset=await here.moderate(action, user, reason=reason, session=retry.session, ref=1))


# -- what is held -----------------------------------------------------------------------------------------------------


@router.get("/held", dependencies=_MODERATE)
async def list_held(engine: Engine, room: RoomName, after: After = 0, limit: Limit = 100) -> HeldPage:
    """Comments that wait for a decision, oldest first, as far as they are kept."""
    found = await engine.backstage(room).held(after, limit + 1)
    held = [
        HeldAnswer(offset=each.offset, time=each.time, event=as_object(each.event), reason=each.reason)
        for each in found[:limit]
    ]
    return HeldPage(held=held, next=held[-1].offset if len(found) > limit else None)


@router.post("/held/{offset}/approve", dependencies=_MODERATE)
async def approve_held(request: Request, engine: Engine, room: RoomName, offset: HeldOffset, retry: Once) -> Position:
    """Publish a held comment; however often it is approved, once. Answered with its offset in the room."""
    here = room_of(request, engine, room)
    return Position(offset=await here.moderate("approve", offset=offset, session=retry.session, ref=1))


@router.post("/held/{offset}/reject", dependencies=_MODERATE, status_code=204)
async def reject_held(
    request: Request, engine: Engine, room: RoomName, offset: HeldOffset, retry: Once, reason: _Why = ""
) -> None:
    """Let a held comment not be published."""
    here = room_of(request, engine, room)
    await here.moderate("reject", offset=offset, reason=reason, session=retry.session, ref=1)


@router.get("/audit", dependencies=_MODERATE, response_model=HistoryAnswer)
async def read_audit(engine: Engine, room: RoomName, after: After = 0, limit: Limit = 100) -> Response:
    """What happened backstage, oldest first, as far as it is kept: what moderators did and why (`moderated`), what was held
    (`held`), and who has not read a notice (`custom`)."""
    return history_answer(await engine.backstage(room).page(after, limit))
